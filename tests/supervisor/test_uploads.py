"""Clips to a real S3 server (moto's), which goes away and comes back, and to a folder."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sightline.config import parse_config
from sightline.config.upload_options import UploadOptions
from sightline.entities import Clip, ClipState
from sightline.errors import ConfigError
from sightline.store.kinds import pending_row
from sightline.store.writer import Writer
from sightline.supervisor.hub import Hub
from sightline.supervisor.sinks import wanted_by
from sightline.supervisor.sinks.sink import DurableRunner, SinkHealth
from sightline.supervisor.sinks.uploads import MAX_ERROR, Uploads
from support.s3 import KEY, SECRET, S3Server
from support.stored import database_options, read_rows
from support.waiting import until

DAY = 1_790_000_000.25  # 2026-09-21


def clip(folder: Path, number: int, size: int = 1000) -> Clip:
    """A finished clip with its files."""
    (folder / "gate").mkdir(parents=True, exist_ok=True)
    video = folder / "gate" / f"clip{number}.mp4"
    video.write_bytes(bytes([number]) * size)
    video.with_suffix(".json").write_text(f'{{"number": {number}}}')
    video.with_suffix(".jpg").write_bytes(b"picture")
    times = (DAY + number, DAY + number + 5)
    files = (str(video), str(video.with_suffix(".jpg")), "h264", size)
    return Clip("gate", *times, 1.5, ClipState.FINISHED, *files, False, (f"event{number}",))


@pytest.fixture
def server() -> Iterator[S3Server]:
    made = S3Server()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DurableRunner.__init__, "__kwdefaults__", {"retry_s": (0.05, 0.2)})


@contextlib.contextmanager
def running(folder: Path, options: UploadOptions) -> Iterator[tuple[Writer, Hub]]:
    sinks = [Uploads(options, options.url or "")]
    database = database_options(f"sqlite:///{folder}/counts.db", folder / "spool.db")
    writer = Writer(database, flush_every_s=0.02, retry_s=(0.02, 0.1), sinks=wanted_by(sinks))
    hub = Hub(writer, sinks)
    yield writer, hub
    hub.close()
    writer.close()


def urls(folder: Path) -> list[str]:
    return sorted(row["url"] for row in read_rows(f"sqlite:///{folder}/counts.db", "clips"))


def have_arrived(folder: Path, count: int) -> bool:
    return sum(map(bool, urls(folder))) == count


def health(hub: Hub) -> SinkHealth:
    [found] = hub.sinks()
    return found


def test_clips_arrive_whole_and_under_names_of_their_own_also_after_an_outage(
    server: S3Server, tmp_path: Path
) -> None:
    first, second = clip(tmp_path, 1), clip(tmp_path, 2, size=12_000_000)  # in parts
    prefix = "site/1/gate/2026/09/21/clip"
    with running(tmp_path, server.options()) as (writer, hub):
        writer.put_results([replace(first, state=ClipState.RECORDING)])  # which is not to be copied yet
        writer.put_results([first, second])
        until(lambda: have_arrived(tmp_path, 2))
        assert urls(tmp_path) == [f"s3://bucket/{prefix}{number}.mp4" for number in (1, 2)]
        objects = server.objects()
        assert sorted(objects) == [
            f"{prefix}{number}.{end}" for number in (1, 2) for end in ("jpg", "json", "mp4")
        ]
        assert objects[f"{prefix}2.mp4"] == Path(second.path).read_bytes()
        assert objects[f"{prefix}1.json"] == b'{"number": 1}'
        server.stop()
        writer.put_results([clip(tmp_path, 3), clip(tmp_path, 4)])
        until(lambda: health(hub).failures > 1)
        assert not health(hub).ok
        assert urls(tmp_path)[:2] == ["", ""]
        server.restart()
        until(lambda: have_arrived(tmp_path, 4))
        until(lambda: health(hub).ok)
    assert len(server.objects()) == 12
    assert Path(first.path).is_file(), "nothing is deleted here unless the configuration says so"


def test_a_clip_that_waits_while_the_program_ends_is_copied_by_the_next(
    server: S3Server, tmp_path: Path
) -> None:
    server.stop()
    with running(tmp_path, server.options()) as (writer, hub):
        writer.put_results([clip(tmp_path, 1)])
        until(lambda: health(hub).failures > 0)
    server.restart()
    with running(tmp_path, server.options()):
        until(lambda: have_arrived(tmp_path, 1))
    assert len(server.objects()) == 3


def test_local_files_go_once_they_are_there_and_a_clip_that_comes_again_changes_nothing(
    server: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uploads = Uploads(server.options(delete_local=True), "s3://bucket/site/1/")
    written: list[Any] = []
    uploads.attach(written.extend)
    found = clip(tmp_path, 1)
    rows = [pending_row(found, 1)]
    uploads.deliver(rows)
    objects = server.objects()
    assert len(objects) == 3
    assert not list((tmp_path / "gate").iterdir())
    [copied] = written
    assert (copied.path, copied.thumbnail, copied.url) == (
        "",
        "",
        "s3://bucket/site/1/gate/2026/09/21/clip1.mp4",
    )
    assert not uploads.wants(pending_row(copied, 2))
    uploads.deliver(rows)  # it was killed before its acknowledgement had been written
    assert written[1] == copied
    assert server.objects() == objects
    uploads.deliver([pending_row(replace(clip(tmp_path, 2), path=str(tmp_path / "gate" / "none.mp4")), 3)])
    assert (written[2].state, written[2].url) == (ClipState.LOST, "")
    assert "no longer there" in caplog.text


def test_a_clip_that_cannot_be_read_now_is_no_lost_one(server: S3Server, tmp_path: Path) -> None:
    uploads = Uploads(server.options(), "s3://bucket/site/1")
    server.stop()
    gone = replace(clip(tmp_path, 2), path=str(tmp_path / "gate" / "none.mp4"))
    with pytest.raises(OSError, match="S3"):
        uploads.deliver([pending_row(gone, 1)])


class Refusing(BaseHTTPRequestHandler):
    """Answers as S3 does to a wrong key: with the key."""

    def do_PUT(self) -> None:
        body = f"<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId>{SECRET}</Error>"
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


def test_keys_stand_in_no_log_no_status_and_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refusing = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=refusing.serve_forever, daemon=True).start()
    values = {
        "endpoint": f"http://127.0.0.1:{refusing.server_port}",
        "allow_http": True,
        "url": "s3://bucket",
    }
    options = UploadOptions.model_validate({**values, "access_key": KEY, "secret_key": SECRET})
    with running(tmp_path, options) as (writer, hub):
        writer.put_results([clip(tmp_path, 1)])
        until(lambda: health(hub).last_error)
        assert "InvalidAccessKeyId" in health(hub).last_error
        texts = [caplog.text, repr(hub.sinks()), repr(read_rows(f"sqlite:///{tmp_path}/counts.db", "clips"))]
    refusing.shutdown()
    refusing.server_close()
    texts += [repr(options), caplog.text]
    assert not any(secret in text for text in texts for secret in (KEY, SECRET))


def test_a_folder_that_is_not_mounted_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "on a disk"
    options = UploadOptions.model_validate({"url": f"file://{folder}"})
    with running(tmp_path, options) as (writer, hub):
        writer.put_results([clip(tmp_path, 1)])
        until(lambda: health(hub).failures > 0)
        assert not folder.exists()
        folder.mkdir()
        until(lambda: have_arrived(tmp_path, 1))
    copied = folder / "gate" / "2026" / "09" / "21" / "clip1.mp4"
    assert copied.read_bytes() == (tmp_path / "gate" / "clip1.mp4").read_bytes()


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"url": "https://bucket.s3.amazonaws.com"}, "uploads.url"),
        ({"url": "s3://user:hunter2@bucket"}, "uploads.url"),
        ({"url": "file://folder"}, "uploads.url"),
        ({"endpoint": "http://127.0.0.1:9000"}, "uploads"),
        ({"endpoint": "http://user:hunter2@127.0.0.1:9000", "allow_http": True}, "uploads.endpoint"),
        ({"access_key": "x"}, "uploads"),
    ],
)
def test_a_mistake_is_named_with_its_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"uploads": values})
    assert caught.value.key.startswith(key)
    assert "hunter2" not in str(caught.value)


def test_a_store_is_tried_without_a_clip(server: S3Server, tmp_path: Path) -> None:
    options = server.options()
    assert Uploads(options, options.url or "").probe() == "can be read"
    assert server.objects() == {}
    for wrong, words in (
        ({"url": "s3://another/site"}, "NoSuchBucket"),
        ({"endpoint": "http://127.0.0.1:1"}, "^Connection refused: "),
        ({"endpoint": "http://nowhere.invalid:1"}, r"not known|resolution"),
        ({"endpoint": server.endpoint.replace("http:", "https:")}, "^InvalidMessage InvalidContentType: "),
        ({"url": f"file://{tmp_path}/nowhere"}, "nowhere is not there"),
    ):
        options = server.options(**wrong, timeout_s=2)
        with pytest.raises(OSError, match=words) as error:
            Uploads(options, options.url or "").probe()
        assert SECRET not in str(error.value) and len(str(error.value)) <= MAX_ERROR
    folder = server.options(url=f"file://{tmp_path}")
    assert Uploads(folder, folder.url or "").probe() == "can be read"
