"""No credentials in any text."""

import logging

import pytest

from sightline.base.logs import setup_logging
from sightline.base.redact import MAX_OUTSIDE, harmless, outside_text, redact


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


def test_what_others_say_is_one_short_line_and_masked_before_it_is_cut() -> None:
    said = outside_text(f"{'x' * (MAX_OUTSIDE - 8)}T0KENT0KEN\r\n\x1b[2J", ["T0KENT0KEN"])
    assert said.isprintable() and len(said) <= MAX_OUTSIDE and "T0K" not in said
    assert outside_text("no\r\n2026-11-29 all is well\x1b]0;") == "no 2026-11-29 all is well]0;"
    assert outside_text("T0K\x00EN", ["T0KEN"]) == "***"
    assert len(outside_text("x" * 60_000)) == MAX_OUTSIDE


def test_text_of_any_script_stays_and_what_steers_how_it_is_shown_goes() -> None:
    hebrew, persian, family = (
        "שלום \u200f(1)",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "👩\u200d👧",
    )
    for text in ("a fox", hebrew, persian, family, "two\nlines\tand a tab", "naïve 猫"):
        assert harmless(text) == text
    assert harmless("a\u202egnp.\u202cb\u2066c\u2069\x1b[2J\x00\x9b\u202a") == "agnp.bc[2J"
    assert harmless("a\r\nb\rc\u2028d\u2029e\x85f") == "a\nb\nc\nd\ne\nf"
    assert harmless(ValueError("a\x07")) == "a"


def test_no_text_forges_a_line_of_the_log_or_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        setup_logging("info")
        logging.getLogger("x").info("%s", "no\r\n2026-11-29 all is well\x1b[2J\u2028")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("x: no\\r")
    assert second == "    2026-11-29 all is well\\x1b[2J\\u2028"


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
