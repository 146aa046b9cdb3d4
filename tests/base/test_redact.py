"""No credentials in any text."""

import logging

import pytest

from sightline.base.logs import setup_logging
from sightline.base.redact import redact


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("rtsp://admin:hunter2@cam/live", "rtsp://***@cam/live"),
        ("rtsp://admin:hun@ter2@cam/live", "rtsp://***@cam/live"),
        ("rtsp://admin:12/hunter2?3#4@cam/live", "rtsp://***@cam/live"),
        (
            "a rtsp://u:p@a/ and postgresql+psycopg://u:q@b/x",
            "a rtsp://***@a/ and postgresql+psycopg://***@b/x",
        ),
        ("http://cam/x?user=admin&password=hunter2&w=1", "http://cam/x?user=***&password=***&w=1"),
        ("rtsp://u:12/34@cam/live", "rtsp://***@cam/live"),
        ("rtsp://u:a'b\"c@cam/live", "rtsp://***@cam/live"),
        ("rtsp://u:12?3#4@cam/live", "rtsp://***@cam/live"),
        ("rtsp://cam?password=hun@ter2", "rtsp://cam?password=***"),
        ("http://cam/x?access_token=a'b", "http://cam/x?access_token=***"),
        ("rtsp://cam/user=admin_password=x_channel=1.sdp", "rtsp://cam/user=***"),
        ("rtsp://cam:554/live", "rtsp://cam:554/live"),
        ("mail someone@example.org", "mail someone@example.org"),
    ],
)
def test_urls_lose_their_credentials_and_nothing_else(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_the_log_is_redacted_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        setup_logging("info")
        try:
            raise ValueError("rtsp://admin:hunter2@cam/")
        except ValueError:
            logging.getLogger("x").exception("opening %s", "rtsp://admin:hunter2@cam/")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    shown = capsys.readouterr().err
    assert "hunter2" not in shown
    assert shown.count("rtsp://***@cam/") == 3  # the message, the source line and the error
