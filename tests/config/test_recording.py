"""Continuous recording: MediaMTX's configuration, and links that its playback server takes."""

from __future__ import annotations

import re
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from sightline.cli.main import main
from sightline.config import parse_config
from sightline.config.recording_options import RecordingOptions
from sightline.errors import ConfigError

CAMERAS = {
    "hall.2": {"url": "rtsp://viewer:pass%2Fword@10.0.0.2/main", "sub_url": "rtsp://10.0.0.2/sub"},
    "udp": {"url": "rtsps://10.0.0.3/1", "stream": {"rtsp_transport": "udp"}},
    "off": {"url": "rtsp://10.0.0.4/1", "enabled": False},
    "web": {"url": "http://10.0.0.5/video"},
    "private": {"url": "rtsp://10.0.0.6/1", "privacy": {"blur": ["faces"]}},
    "wrong": {"url": "rtsp://10.0.0.7/1", "stream": {"fps": -1}},
    "file": {"url": "walk.mp4"},
}


@contextmanager
def playback(
    recorded: dict[str, tuple[float, float]],
) -> Iterator[tuple[str, list[tuple[str, float, float]]]]:
    """MediaMTX's documented ``/get`` of paths, recorded from one second to another; and what it has sent."""
    sent: list[tuple[str, float, float]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=True).items()}
            self.send_response(self.answer(parts.path, query))
            self.end_headers()

        def answer(self, path: str, query: dict[str, str]) -> int:
            rfc3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
            if path != "/get" or set(query) != {"path", "start", "duration"}:
                return 404
            if not re.fullmatch(rfc3339, query["start"]) or not re.fullmatch(
                r"\d+(\.\d+)?", query["duration"]
            ):
                return 400
            start, seconds = datetime.fromisoformat(query["start"]).timestamp(), float(query["duration"])
            first, last = recorded.get(query["path"], (0, 0))
            if start + seconds < first or start > last:
                return 404
            sent.append((query["path"], start, seconds))
            return 200

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield (
            f"http://127.0.0.1:{server.server_port}/get?path={{camera}}&start={{start}}&duration={{seconds}}",
            sent,
        )
    finally:
        server.shutdown()
        server.server_close()


def test_a_link_plays_what_was_around_the_event() -> None:
    begun = datetime(2026, 11, 29, 10, 0, tzinfo=UTC).timestamp()
    with playback({"hall.2": (begun, begun + 3600)}) as (url, sent):
        options = RecordingOptions(url=url, pre_s=5, post_s=10)
        for end_time in (None, begun + 160.25):
            with urllib.request.urlopen(options.link("hall.2", begun + 100.25, end_time)) as answer:
                assert answer.status == 200
        assert sent == [("hall.2", begun + 95.25, 15.0), ("hall.2", begun + 95.25, 75.0)]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(options.link("hall.2", begun - 100, None))
    assert options.link("", begun, None) == ""  # the program's own trouble
    assert RecordingOptions().link("hall.2", begun, None) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://h/get?path={camera}&start={start}",
        "http://h/get?path={camera}&start={start}&duration={seconds}&again={camera}",
        "http://h/get?path={camera}&start={start}&duration={seconds}&x={place}",
        "http://h/get?path={camera}&start={start}&duration={seconds",
        "ftp://h/get?path={camera}&start={start}&duration={seconds}",
        "http://reader:secret@h/get?path={camera}&start={start}&duration={seconds}",
    ],
)
def test_a_template_that_makes_no_link_is_refused(url: str) -> None:
    raw = {"recording": {"url": url}, "cameras": {"gate": {"url": "rtsp://h/"}}}
    with pytest.raises(ConfigError, match=r"^key 'recording\.url': must ") as problem:
        parse_config(raw)
    assert "secret" not in str(problem.value)


def test_mediamtx_is_told_to_record_each_cameras_main_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / "config.yml", tmp_path / "mediamtx.yml"
    raw = {"allow": {"files": True, "http": True}, "recording": {"keep_days": 2.5}, "cameras": CAMERAS}
    (tmp_path / "walk.mp4").touch()
    config.write_text(yaml.safe_dump(raw))
    assert main(["recorder", "-c", str(config), str(out), "--folder", "/disk"]) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600  # it has passwords
    told = capsys.readouterr()
    assert "of 2 of 7 cameras" in told.out
    left_out = {line.split("'")[1]: line.partition(": ")[2] for line in told.err.splitlines()}
    assert set(left_out) == {"off", "web", "file", "private", "wrong"}
    assert main(["recorder", "-c", str(config), str(tmp_path / "nowhere" / "x.yml")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert "--uncovered" in left_out["private"] and "disabled" in left_out["off"]
    recorder = yaml.safe_load(out.read_text())
    assert recorder["paths"] == {
        "hall.2": {"source": "rtsp://viewer:pass%2Fword@10.0.0.2/main", "rtspTransport": "tcp"},
        "udp": {"source": "rtsps://10.0.0.3/1", "rtspTransport": "udp"},
    }
    defaults = recorder["pathDefaults"]
    assert (defaults["record"], defaults["recordDeleteAfter"]) == (True, "60h")
    assert defaults["recordPath"].startswith("/disk/%path/")
    assert (recorder["playback"], recorder["playbackAddress"], recorder["apiAddress"]) == (
        *(True, "127.0.0.1:9996"),
        "127.0.0.1:9997",
    )
    assert not any(
        recorder[server] for server in ("rtsp", "rtmp", "hls", "webrtc", "srt", "metrics", "pprof")
    )
    for user, action in zip(recorder["authInternalUsers"], ("playback", "api"), strict=True):
        assert user["user"] == "any" and set(user["ips"]) <= {"127.0.0.1", "::1"} and user["ips"]
        assert [item["action"] for item in user["permissions"]] == [action]


def test_recordings_are_open_to_others_and_uncovered_only_where_that_is_asked_for(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump({"cameras": {"private": CAMERAS["private"]}}))
    command = ["recorder", "-c", str(config), "--uncovered", "--playback", ":9996"]
    passwords = set()
    for name in ("a.yml", "b.yml"):
        assert main([*command, str(tmp_path / name)]) == 0
        recorder = yaml.safe_load((tmp_path / name).read_text())
        assert (list(recorder["paths"]), recorder["playbackAddress"]) == (["private"], ":9996")
        reader, health = recorder["authInternalUsers"]
        assert (reader["user"], health["ips"]) == ("reader", ["127.0.0.1"])
        assert len(reader["pass"]) >= 20
        passwords.add(reader["pass"])
    assert len(passwords) == 2
