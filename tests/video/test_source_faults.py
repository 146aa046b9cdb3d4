"""Faults of the field, provoked: numbers are those of the list of faults."""

from __future__ import annotations

import base64
import contextlib
import itertools
import logging
import os
import random
import re
import resource
import signal
import socket
import socketserver
import ssl
import string
import subprocess
import sys
import threading
import time
import traceback
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import av
import pytest

from sightline.entities import ClockSource
from sightline.errors import (
    ServerError,
    SourceEnded,
    SourceError,
    SourceNotFound,
    SourceStalled,
    SourceUnauthorized,
    SourceUnreachable,
    SourceUnusable,
)
from sightline.simulation.rtsp_server import RtspServer, find_go2rtc, free_port, player
from sightline.video import clock
from sightline.video.container import check_size, open_error
from sightline.video.open_gate import OpenGate
from sightline.video.packet_feed import PacketFeed
from sightline.video.packets import CodedPacket
from sightline.video.picture import encode_jpeg
from sightline.video.source import Source
from support.camera_world import camera, make_clip, make_sound, picture_at
from support.gst import gst_camera
from support.short_server import OK, ShortServer
from support.waiting import until

PASSWORD = "pa55&w0rd"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def clip(folder):
    return make_clip(folder / "clip.mp4", frames=100, fps=20, gop=10)


@pytest.fixture(scope="module")
def go2rtc():
    try:
        return find_go2rtc()
    except ServerError as error:
        pytest.skip(f"no RTSP server: {error}")


@pytest.fixture(scope="module")
def server(go2rtc, clip, folder):
    """One server for the tests that leave it as they found it."""
    with RtspServer({"cam": clip, "sound": make_sound(folder / "sound.mp4")}) as server:
        yield server


def open_source(url, **options):
    options = {"open_timeout_s": 5, "stall_timeout_s": 2} | options
    source = Source(camera(url, **options), realtime=False)
    source.open()
    return source


def take(source, count):
    return list(itertools.islice(source.frames(), count))


def failure(url, **options):
    """How a camera fails, and after how long."""
    started = time.monotonic()
    with pytest.raises(SourceError) as caught:
        take(open_source(url, **options), 10_000)
    return caught.value, time.monotonic() - started


def remux(source, target, bend):
    """Copy a clip's packets through ``bend``: packet, number -> packets."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as sink:
        stream = sink.add_stream_from_template(clip.streams.video[0])
        for number, packet in enumerate(clip.demux(video=0)):
            for bent in bend(packet, number) if packet.size else ():
                bent.stream = stream
                sink.mux(bent)
    return target


# --- the real server -------------------------------------------------------------------------------------


@pytest.mark.rtsp
def test_a_camera_is_watched_over_rtsp_on_its_own_clock(server):
    source = open_source(server.url("cam"), fps=10)
    frames = take(source, 15)
    source.close()
    steps = [b.capture_time - a.capture_time for a, b in itertools.pairwise(frames)]
    assert steps == pytest.approx([0.1] * 14, abs=0.002)
    assert {frame.clock_source for frame in frames} == {ClockSource.RTCP}
    assert abs(frames[-1].capture_time - time.time()) < 1


@pytest.mark.rtsp
def test_a_looped_file_has_no_seam(go2rtc, folder):
    short = make_clip(folder / "short.mp4", frames=10, fps=10, bframes=2)
    with RtspServer({"cam": short}) as server:
        source = open_source(server.url("cam"))
        frames = take(source, 30)
        source.close()
    steps = [b.media_s - a.media_s for a, b in itertools.pairwise(frames)]
    assert steps == pytest.approx([0.1] * 29, abs=0.002)


@pytest.mark.rtsp
def test_a_file_served_once_ends(go2rtc, clip):
    with RtspServer({"cam": player(clip, "--once")}) as server:
        source = open_source(server.url("cam"))
        frames = []
        with pytest.raises(SourceEnded):
            for frame in source.frames():
                frames.append(frame)
        until(lambda: not server.running, 5)
    source.close()
    assert len(frames) >= 97  # all but what the joining cost
    assert frames[-1].media_s - frames[0].media_s > 4.7


@pytest.mark.fault(1)
@pytest.mark.rtsp
def test_fault_1_a_restarted_server_ends_the_stream_and_the_next_opening_goes_on(go2rtc, clip):
    with RtspServer({"cam": clip}) as server:
        source = Source(camera(server.url("cam")))
        source.open()
        before = take(source, 3)[-1]
        started = time.monotonic()
        server.stop()
        server.start()
        with pytest.raises(SourceEnded):
            take(source, 1000)
        assert time.monotonic() - started < 10
        source.close()
        packets = source.packets
        source.open()
        after = take(source, 1)[0]
        source.close()
    assert after.index == 0
    assert source.packets > packets > 0, "over all openings"
    assert after.capture_time > before.capture_time


@pytest.mark.fault(2)
@pytest.mark.rtsp
def test_fault_2_a_frozen_server_is_noticed_in_time_and_thaws(go2rtc, clip):
    with RtspServer({"cam": clip}) as server:
        source = open_source(server.url("cam"), stall_timeout_s=1.5)
        take(source, 3)
        os.killpg(server.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(SourceStalled, match="nothing came"):
            take(source, 1000)
        assert time.monotonic() - started < 3
        source.close()
        assert isinstance(failure(server.url("cam"), open_timeout_s=1)[0], SourceUnreachable)
        os.killpg(server.pid, signal.SIGCONT)
        source = open_source(server.url("cam"))
        assert take(source, 1)
        source.close()


@pytest.mark.fault(2)
@pytest.mark.rtsp
def test_fault_2_a_line_that_stops_forwarding_is_noticed_in_time(server):
    with Line(server.port) as line:
        source = open_source(f"rtsp://127.0.0.1:{line.port}/cam", stall_timeout_s=1)
        take(source, 3)
        line.cut()
        started = time.monotonic()
        with pytest.raises(SourceStalled):
            take(source, 1000)
        assert time.monotonic() - started < 3
        source.close()


@pytest.mark.fault(4)
@pytest.mark.rtsp
def test_fault_4_a_wrong_password_is_its_own_error_and_stays_secret(clip, caplog, capfd):
    with gst_camera(clip, "admin", PASSWORD) as gst:
        good = f"rtsp://admin:{quote(PASSWORD, safe='')}@127.0.0.1:{gst.port}/cam"
        source = open_source(good)
        assert take(source, 1)
        source.close()
        wrong = good.replace("pa55", "wr0ng")
        for url in (wrong, f"rtsp://127.0.0.1:{gst.port}/cam"):
            error, _ = failure(url)
            assert isinstance(error, SourceUnauthorized)
        missing, _ = failure(good.replace("/cam", "/nothing"))
        assert isinstance(missing, SourceNotFound)
        said = "".join(traceback.format_exception(missing)) + "".join(traceback.format_exception(error))
    for text in (said, caplog.text, *capfd.readouterr()):  # FFmpeg itself would write to stderr
        assert "w0rd" not in text


@pytest.mark.fault(5)
@pytest.mark.rtsp
def test_fault_5_a_missing_stream(server):
    error, took_s = failure(server.url("no-such-camera"))
    assert isinstance(error, SourceNotFound)
    assert took_s < 3


@pytest.mark.fault(5)
@pytest.mark.rtsp
def test_fault_5_sound_without_video(server):
    error, _ = failure(server.url("sound"))
    assert isinstance(error, SourceUnusable)
    assert "no video" in str(error)


@pytest.mark.fault(8)
@pytest.mark.rtsp
def test_fault_8_a_camera_that_comes_back_with_another_codec_is_reopened(go2rtc, clip, folder):
    if "libx265" not in av.codecs_available:
        pytest.skip("no H.265 encoder here")
    other = make_clip(folder / "h265.mp4", frames=60, fps=20, codec="libx265", size=(640, 360))
    with RtspServer({"cam": clip}) as server:
        port, url = server.port, server.url("cam")
        source = open_source(url)
        take(source, 3)
        server.stop()
        with pytest.raises(SourceEnded):
            take(source, 1000)
        source.close()
    with RtspServer({"cam": other}, port=port):
        source = open_source(url)
        frame = take(source, 1)[0]
        source.close()
    assert (frame.picture.width, frame.picture.height) == (640, 360)


@pytest.mark.rtsp
def test_a_server_leaves_nothing_behind(go2rtc, clip):
    server = RtspServer({"cam": clip})
    server.start()
    group = server.pid
    source = open_source(server.url("cam"))
    source.close()
    server.stop()

    def left() -> list[str]:
        ps = ["ps", "-o", "stat=", "-g", str(group)]
        states = subprocess.run(ps, check=False, capture_output=True, text=True).stdout.split()
        return [state for state in states if not state.startswith("Z")]

    until(lambda: left() == [], 5)  # players that were killed may take a moment to be gone
    server.stop()


@pytest.mark.rtsp
def test_a_taken_port_is_said(go2rtc, clip):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port}"):
            RtspServer({"cam": clip}, port=port).start()


@pytest.mark.rtsp
@pytest.mark.parametrize("trusted", [True, False])
def test_rtsps_verifies_the_certificate(server, tmp_path, trusted):
    certificate = tmp_path / "ca.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(certificate)]
    try:
        subprocess.run([*make, *names, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    with Line(server.port, context) as front:
        url = f"rtsps://localhost:{front.port}/cam"
        if not trusted:
            assert isinstance(failure(url)[0], SourceUnreachable)
            source = open_source(url, verify_tls=False)
        else:
            source = open_source(url, tls_ca_file=str(certificate))
        assert take(source, 1)
        source.close()


@pytest.fixture
def gst_port(clip):
    """A GStreamer RTSP server, since go2rtc does not send RTP over UDP."""
    with gst_camera(clip) as gst:
        yield gst.port


@pytest.mark.rtsp
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_another_make_of_server_over_udp_and_tcp(gst_port, transport):
    source = open_source(f"rtsp://127.0.0.1:{gst_port}/cam", rtsp_transport=transport)
    frames = take(source, 30)
    source.close()
    assert len(frames) == 30
    assert source.decode_errors == 0
    steps = [b.capture_time - a.capture_time for a, b in itertools.pairwise(frames)]
    assert steps == pytest.approx([0.05] * 29, abs=0.006)
    assert frames[-1].clock_source in {ClockSource.RTCP, ClockSource.PTS}


class Line:
    """Forwards TCP to a server, ending TLS where it is given a context; one thread a direction."""

    def __init__(self, port, context=None):
        self._behind = port
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._open = []
        self._cut = threading.Event()

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(5)
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for end in self._open:
            end.close()

    def cut(self):
        """Forward nothing any more, and keep the connections."""
        self._cut.set()

    def _accept(self):
        while True:
            try:
                front = self._listener.accept()[0]
            except OSError:
                return
            try:
                front = self._context.wrap_socket(front, server_side=True) if self._context else front
            except OSError:  # the client does not trust us
                front.close()
                continue
            back = socket.create_connection(("127.0.0.1", self._behind))
            self._open += [front, back]
            for pair in ((front, back), (back, front)):
                thread = threading.Thread(target=self._pump, args=pair)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not self._cut.is_set():
                    target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class ShiftedClock(Line):
    """A line to a camera whose clock is ahead: bends the NTP time of RTCP sender reports within RTSP."""

    def __init__(self, port):
        super().__init__(port)
        self.ahead_s = 0
        self.reports = 0

    def _pump(self, source, target):
        data, is_client = b"", source in self._open[::2]
        with contextlib.suppress(OSError):
            while more := source.recv(65_536):
                bent, data = (more, b"") if is_client else self._bend(data + more)
                target.sendall(bent)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _bend(self, data):
        """What can be sent on, and the rest: interleaved packets are $, channel, length, payload."""
        done = bytearray()
        while data:
            if data[:1] != b"$":
                text, _, _ = data.partition(b"$")
                done += text
                data = data[len(text) :]
                continue
            size = 4 + int.from_bytes(data[2:4], "big")
            if len(data) < max(size, 4):
                break
            packet, data = bytearray(data[:size]), data[size:]
            if packet[1] % 2 and packet[5] == 200:  # a sender report
                self.reports += 1
                seconds = int.from_bytes(packet[12:16], "big") + self.ahead_s
                packet[12:16] = seconds.to_bytes(4, "big")
            done += packet
        return bytes(done), data


@pytest.mark.rtsp
def test_a_camera_whose_clock_is_off_and_is_set_has_our_times(server, monkeypatch):
    monkeypatch.setattr(clock, "SETTLE_S", 4.0)  # there is a report in five seconds
    with ShiftedClock(server.port) as line:
        line.ahead_s = 3600
        source = open_source(f"rtsp://127.0.0.1:{line.port}/cam", fps=10)
        readings, frames = source.clock_readings, []
        for frame in itertools.islice(source.frames(), 450):
            frames.append(frame)
            if readings and line.ahead_s == 3600:
                assert frame.clock_source is ClockSource.RTCP_CORRECTED
                assert readings[0].offset_s == pytest.approx(3600, abs=0.5)
                line.ahead_s = -7200
            if any(reading.step_s for reading in readings):
                break
        source.close()
    assert readings[-1].step_s == pytest.approx(-10_800, abs=0.2)
    late = [frame.capture_time - frame.received_s - (time.time() - time.monotonic()) for frame in frames]
    assert max(late) < 0.5  # the first ones come all at once
    assert -0.3 < min(late[50:]) < max(late[50:]) < 0.1
    steps = [b.capture_time - a.capture_time for a, b in itertools.pairwise(frames)]
    assert 0.08 < min(steps) < max(steps) < 0.12


# --- no server needed ------------------------------------------------------------------------------------


class Packets:
    """Those that came."""

    def __init__(self) -> None:
        self.seen: list[CodedPacket] = []

    def packet(self, packet: CodedPacket) -> None:
        self.seen.append(packet)


@pytest.mark.fault(3)
def test_fault_3_a_camera_whose_key_frame_comes_late_is_watched(tmp_path):
    """Its description has no parameter sets, and a viewer comes in the middle of a group of pictures."""
    whole = make_clip(tmp_path / "whole.ts", frames=90, gop=45)
    late, never = tmp_path / "late.ts", tmp_path / "never.ts"
    for path, wanted in ((late, range(10, 90)), (never, range(10, 45))):
        with av.open(str(whole)) as source, av.open(str(path), "w") as sink:
            stream = sink.add_stream("h264", rate=10)
            stream.codec_context.extradata = None
            for number, packet in enumerate(source.demux(video=0)):
                if number in wanted and packet.size:
                    packet.stream = stream
                    sink.mux(packet)
    with ShortServer(OK + late.read_bytes()) as server:
        source = Source(camera(f"http://{server.host}/cam.ts"))
        source.open()
        with contextlib.closing(source):
            first = next(source.frames())
        assert (first.picture.width, first.picture.height) == (320, 240)
        assert server.connections == 2
        packets = Packets()  # a main stream is opened in the same way: a clip's header needs the size
        feed = PacketFeed(camera(f"http://{server.host}/cam.ts"), packets, OpenGate("", 1))
        until(lambda: packets.seen, 10)
        feed.stop()
        assert packets.seen[0].stream.header
    with ShortServer(OK + never.read_bytes()) as server:
        source = Source(camera(f"http://{server.host}/cam.ts"))
        with contextlib.closing(source), pytest.raises(SourceStalled, match="key frames more often"):
            source.open()  # it is tried again soon: it is no camera that can never be used


def test_fault_3_a_silent_address_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://admin:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/cam"
        error, took_s = failure(url, open_timeout_s=1)
    assert isinstance(error, SourceUnreachable)
    assert took_s < 3
    assert "w0rd" not in "".join(traceback.format_exception(error))


@pytest.mark.fault(3)
def test_fault_3_nobody_listens():
    error, took_s = failure(f"rtsp://127.0.0.1:{free_port()}/cam")
    assert isinstance(error, SourceUnreachable)
    assert took_s < 3


@pytest.mark.fault(3)
def test_fault_3_a_name_that_does_not_resolve():
    error, _ = failure(f"rtsp://admin:{PASSWORD}@no-such-camera.invalid/cam")
    assert isinstance(error, SourceUnreachable)
    assert "w0rd" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (av.HTTPUnauthorizedError, SourceUnauthorized),
        (av.HTTPForbiddenError, SourceUnauthorized),
        (av.HTTPNotFoundError, SourceNotFound),
        (av.HTTPServerError, SourceUnreachable),
        (av.ConnectionRefusedError, SourceUnreachable),
        (av.ExitError, SourceUnreachable),
        (av.EOFError, SourceUnreachable),
        (av.InvalidDataError, SourceUnreachable),
        (av.DecoderNotFoundError, SourceUnusable),
    ],
)
def test_errors_are_told_apart_by_kind_not_by_text(said, wanted):
    url = f"rtsp://admin:{PASSWORD}@127.0.0.1/cam"
    error = said(1, "some words", url)
    assert type(open_error(error, camera(url))) is wanted
    assert "w0rd" not in f"{error} {error!r}"  # it stays behind as the cause


@pytest.mark.fault(6)
def test_fault_6_a_jump_starts_a_new_time_line_and_time_never_goes_back(clip, tmp_path):
    path = tmp_path / "jump.ts"
    with path.open("wb") as joined:
        for part, shift in enumerate([0, 90_000, 3_000]):  # seconds: more than a day ahead, then back

            def move(packet, number, shift=shift):
                packet.pts += round(shift / packet.time_base)
                packet.dts += round(shift / packet.time_base)
                return [packet]

            joined.write(remux(clip, tmp_path / f"part{part}.ts", move).read_bytes())
    source = open_source(path)
    frames = []
    with pytest.raises(SourceEnded):
        for frame in source.frames():
            frames.append(frame)
    source.close()
    assert len(frames) > 290
    assert all(0 < b.capture_time - a.capture_time < 1 for a, b in itertools.pairwise(frames))


def flip(packet, number):
    """Of a clip's packets the 34th is noise."""
    if number != 33:
        return [packet]
    data = bytearray(bytes(packet))
    noise = random.Random(4)
    for place in range(40, len(data)):
        data[place] = noise.randrange(256)
    bent = av.Packet(bytes(data))
    bent.pts, bent.dts, bent.time_base = packet.pts, packet.dts, packet.time_base
    return [bent]


@pytest.mark.fault(9)
def test_fault_9_after_damage_frames_come_again_from_the_next_key_frame(clip, tmp_path):
    source = open_source(remux(clip, tmp_path / "bent.mp4", flip))
    frames = []
    with pytest.raises(SourceEnded):
        for frame in source.frames():
            frames.append(frame)
    source.close()
    numbers = [round(frame.media_s * 20) for frame in frames]
    assert source.decode_errors >= 1
    assert numbers == [*range(33), *range(40, 100)]  # key frames stand at every tenth


@pytest.mark.fault(9)
def test_fault_9_a_recording_with_a_key_frame_a_minute_goes_on_ten_seconds_after_damage(tmp_path):
    clip = make_clip(tmp_path / "smart.mp4", frames=200, fps=10, gop=600)
    source, numbers = open_source(remux(clip, tmp_path / "bent.mp4", flip)), []
    with pytest.raises(SourceEnded):
        for frame in source.frames():
            numbers.append(round(frame.media_s * 10))
    source.close()
    assert numbers[:33] == [*range(33)]
    assert numbers[33] == pytest.approx(133, abs=2)
    assert numbers[-1] == 199


@pytest.mark.fault(11)
def test_fault_11_a_storm_of_errors_is_one_line_a_second(clip, tmp_path, caplog):
    noise = random.Random(5)

    def storm(packet, number):
        data = bytes(packet)[:24] + noise.randbytes(max(packet.size - 24, 40))
        bent = av.Packet(data)
        bent.pts, bent.dts, bent.time_base = packet.pts, packet.dts, packet.time_base
        return [bent]

    with caplog.at_level(logging.DEBUG):
        source = open_source(remux(clip, tmp_path / "storm.mp4", storm))
        started = time.monotonic()
        with pytest.raises(SourceUnusable):
            take(source, 1000)
        took_s = time.monotonic() - started
        source.close()
    assert source.decode_errors > 20
    ours = [record for record in caplog.records if record.name.startswith("sightline")]
    assert len(ours) <= 2 + took_s


@pytest.mark.fault(8)
def test_fault_8_packets_that_no_longer_decode_are_a_stall(clip, tmp_path):
    noise = random.Random(6)

    def turn(packet, number):
        if number > 20:
            bent = av.Packet(bytes(packet)[:16] + noise.randbytes(200))
            bent.pts, bent.dts, bent.time_base = packet.pts, packet.dts, packet.time_base
            packet = bent
        return [packet]

    plain = remux(clip, tmp_path / "plain.ts", lambda packet, _: [packet])  # with start codes, which stay
    stream = remux(plain, tmp_path / "turn.ts", turn).read_bytes()
    with SlowHttp(stream, seconds=4) as web:
        error, took_s = failure(f"http://127.0.0.1:{web.port}/cam.ts", stall_timeout_s=0.4)
    assert isinstance(error, SourceStalled)
    assert "no picture" in str(error)
    assert took_s < 4


class SlowHttp:
    """Sends one body, spread over some seconds, to the first who asks; or a redirect."""

    def __init__(self, body, *, seconds=0.0, location="", kind="video/mp2t", piece=188 * 7):
        self._body, self._seconds, self._location = body, seconds, location
        self._kind, self._piece = kind, piece
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _serve(self):
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        with client:
            client.recv(65_536)
            try:
                self._answer(client)
            except OSError:
                return

    def _answer(self, client):
        if self._location:
            client.sendall(f"HTTP/1.1 302 Found\r\nLocation: {self._location}\r\n\r\n".encode())
            return
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {self._kind}\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode())
        piece = self._piece
        pieces = [self._body[i : i + piece] for i in range(0, len(self._body), piece)]
        for data in pieces:
            client.sendall(data)
            if self._stop.wait(self._seconds / len(pieces)):
                return


def test_pictures_that_come_without_times_are_timed_by_their_arrival(caplog):
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 320, 240, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    body = b""
    for number in range(24):
        frame = av.VideoFrame.from_ndarray(picture_at(number), format="yuv420p").reformat(format="yuvj420p")
        frame.pts = number
        jpeg = b"".join(bytes(packet) for packet in encoder.encode(frame))
        part = (
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg + b"\r\n"
        )
        body += part.ljust(8192, b"\n")  # so that each is sent as a piece
    kind = "multipart/x-mixed-replace; boundary=frame"
    with SlowHttp(body, seconds=2.4, kind=kind, piece=8192) as web:
        source = open_source(f"http://127.0.0.1:{web.port}/video", fps=5)
        frames, late_s = [], []
        with pytest.raises(SourceEnded):
            for frame in source.frames():
                frames.append(frame)
                late_s.append(time.time() - frame.capture_time)
        source.close()
    assert {frame.clock_source for frame in frames} == {ClockSource.ARRIVAL}
    assert max(late_s) < 0.3
    assert frames[-1].capture_time - frames[0].capture_time > 0.8
    assert 4 <= len(frames) <= 13, "5 a second, of 10"
    assert sum("arrival is taken" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("ad%40min:{SIGHTLINE_PW}@", f"ad@min:{string.punctuation} ä€"),
        (
            "admin:a!b\"c$d&e'f(g)h*i+j,k:l;m<n=o>p@q\\r^s_t`u|v~w%@",
            "admin:a!b\"c$d&e'f(g)h*i+j,k:l;m<n=o>p@q\\r^s_t`u|v~w%",
        ),
        ("admin:@", "admin:"),
        (":pa55@", ":pa55"),
    ],
)
def test_a_password_of_every_character_arrives(monkeypatch, written, sent):
    monkeypatch.setenv("SIGHTLINE_PW", f"{string.punctuation} ä€")
    received = []

    class BasicCamera(BaseHTTPRequestHandler):
        def do_GET(self):
            received.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="a"')
            self.end_headers()

        def log_message(self, *_):
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), BasicCamera) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        error, _ = failure(f"HTTP://{written}127.0.0.1:{server.server_address[1]}/cam")
        server.shutdown()
    assert isinstance(error, SourceUnauthorized)
    assert base64.b64decode(max(received).removeprefix("Basic ")).decode() == sent


def test_the_address_of_a_single_picture_is_told_from_that_of_a_stream():
    with SlowHttp(encode_jpeg(picture_at(0)), kind="image/jpeg", seconds=0.1, piece=65_536) as web:
        error, _ = failure(f"http://127.0.0.1:{web.port}/snapshot.jpg")
    assert isinstance(error, SourceUnusable)
    assert "a single picture is no video" in str(error)


@pytest.mark.parametrize(
    ("scheme", "user", "challenges", "said"),
    [
        ("rtsp", "admin:pa55@", ["Digest realm=a, nonce=b, algorithm=SHA-256"], "SHA-256; FFmpeg.* MD5 only"),
        ("http", "admin:pa55@", ['Digest realm="a", algorithm="SHA-512-256"'], "SHA-512-256; FFmpeg.*basic"),
        ("rtsp", "admin:pa55@", ["Digest realm=a", "Digest realm=a, algorithm=SHA-256"], "it offers MD5 too"),
        (
            "rtsp",
            "admin:pa55@",
            ["Digest realm=a, algorithm=SHA-256", "Digest realm=a, nonce=b"],
            "refused the",
        ),
        ("rtsp", "admin:pa55@", ["Basic realm=a"], "refused the credentials"),
        ("rtsp", "", ["Basic realm=a"], "its URL has none"),
        ("http", "admin@", ["Basic realm=a"], "a user name alone"),
    ],
)
def test_a_camera_that_asks_for_what_ffmpeg_cannot_answer_is_told_from_a_wrong_password(
    scheme, user, challenges, said
):
    class Camera401(socketserver.StreamRequestHandler):
        def handle(self):
            while line := self.rfile.readline().decode():
                words, number = line.split(), "0"
                while (header := self.rfile.readline().decode().strip()) != "":
                    number = header.partition(":")[2] if header.startswith("CSeq") else number
                head = f"{words[2].replace('HTTP/1.1', 'HTTP/1.0')} 401 Unauthorized\r\nCSeq:{number}\r\n"
                head += "".join(f"WWW-Authenticate: {challenge}\r\n" for challenge in challenges)
                self.wfile.write(f"{head}Content-Length: 0\r\n\r\n".encode())
                if scheme == "http":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Camera401) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        error, took_s = failure(f"{scheme}://{user}127.0.0.1:{server.server_address[1]}/cam")
        server.shutdown()
    assert isinstance(error, SourceUnauthorized)
    assert re.search(said, str(error))
    assert "pa55" not in "".join(traceback.format_exception(error))
    assert took_s < 3


@pytest.mark.fault(30)
def test_fault_30_a_redirect_to_a_file_is_not_followed(clip):
    with SlowHttp(b"", location=f"file://{clip}") as web:
        error, _ = failure(f"http://127.0.0.1:{web.port}/cam.mp4")
    assert isinstance(error, SourceError)


@pytest.mark.fault(30)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{clip}\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile {clip}\n"),
        ("noise.mp4", "no video at all"),
    ],
)
def test_fault_30_a_file_may_not_name_other_files(clip, tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text.format(clip=clip))
    assert isinstance(failure(path)[0], SourceUnusable)


@pytest.mark.fault(30)
def test_fault_30_a_picture_bomb_is_refused_without_the_memory(tmp_path):
    path = tmp_path / "bomb.mov"
    program = f"""
import av
with av.open({str(path)!r}, "w") as sink:
    stream = sink.add_stream("png", rate=10)
    stream.width = stream.height = 12_000
    stream.pix_fmt = "gray"
    frame = av.VideoFrame(12_000, 12_000, "gray")
    frame.pts = 0
    sink.mux(stream.encode(frame))
    sink.mux(stream.encode(None))
"""
    subprocess.run([sys.executable, "-c", program], check=True)  # there the memory is used and given back
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failure(path)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    )  # kB; it has 144 million pixels


@pytest.mark.fault(30)
def test_fault_30_a_picture_too_large_is_named():
    with pytest.raises(SourceUnusable, match="8200x100"):
        check_size(8200, 100)
