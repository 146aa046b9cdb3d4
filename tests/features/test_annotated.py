"""Annotated video: players find the tracker's boxes where and when they were, whatever media servers do."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.options import analysis_options
from sightline.config import Camera, parse_config
from sightline.entities import Detections, EventKind, ModelInfo, Variant, Watch
from sightline.features.live import annotated, painter
from sightline.features.live.annotated import AnnotatedVideo, PulledVideo, PushedVideo
from sightline.features.live.staging import Staging
from sightline.simulation.rtsp_server import free_port
from sightline.video import rtsp_publisher
from sightline.video.container import camera_time
from sightline.video.hidden_areas import HOLD_S
from sightline.video.picture import from_i420
from support.fakes import GreyPicture, boxes, frame
from support.gst import gst_recorder
from support.media_server import MediaServer
from support.waiting import until

MODEL = ModelInfo("detector", "m-1", ("person", "car"), 192, 320, "fp32", 0.1)
SPEED = 0.2  # of the box, pictures a second
STEP_S = 0.1
SIZE = np.array([640, 360] * 2)
NEAR_PX = 4  # a third of what the box moves from one frame to the next


def camera(**groups: Any) -> Camera:
    loaded = parse_config({"cameras": {"gate": {"url": "rtsp://h/", **groups}}})
    assert not loaded.problems
    return loaded.cameras["gate"]


class Gate:
    """A camera, its annotated video, and a box that goes to and fro, and down."""

    def __init__(self, url: str = "", picture: Any = None, **groups: Any) -> None:
        output = {"size": "small", "encoder": "libx264", **({"url": url} if url else {})}
        self.camera = camera(**{"live": {"fps": 30, "layers": ["boxes"]}, "output": output, **groups})
        self.analysis = CameraAnalysis(analysis_options(self.camera))
        self.analysis.use_model(MODEL)
        self.shown: list[tuple[dict[str, Any], bytes]] = []
        self.pushed = PushedVideo(self.camera, self.camera.output_url) if url else None
        self.pulled = PulledVideo(
            self.camera, lambda _, header, payload: self.shown.append((header, payload))
        )
        staging = Staging(self.camera, lambda: self.analysis.occupancy)
        self.observer = AnnotatedVideo(staging, self.pushed, self.pulled)
        self.staging = staging
        self.picture = picture or GreyPicture(640, 360)
        self.tracked: dict[float, tuple[float, ...]] = {}  # by capture time, the tracker's box
        self.slowest_s = 0.0
        self._index, self._began = 0, time.time()

    def see(self, found: Detections | None = None) -> None:
        """One frame, now."""
        now = time.time()
        if found is None:
            at = now * SPEED % 1.2
            x, y = 0.1 + min(at, 1.2 - at), 0.1 + 0.005 * (now - self._began)  # nowhere twice
            found = boxes((x, y, x + 0.2, y + 0.4))
        self._index += 1
        seen = self.analysis.observe(
            replace(frame(self._index, now, self.picture), received_s=time.monotonic()), found
        )
        if len(seen.tracks):
            self.tracked[now] = tuple(seen.tracks.xyxy[0].tolist())
        began_s = time.perf_counter()
        self.observer.observe(seen)
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began_s)

    def run(self, seconds: float, found: Detections | None = None) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.see(found)
            time.sleep(STEP_S)

    def figure(self, name: str) -> float:
        return next(one.value for one in self.observer.figures() if one.name == f"annotated_{name}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Frames come in a thread."""
        stop = threading.Event()

        def feed() -> None:
            while not stop.wait(STEP_S):
                self.see()

        thread = threading.Thread(target=feed)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.observer.close()


Seen = list[tuple[float, tuple[float, ...]]]


def drawn(i420: np.ndarray) -> tuple[float, ...]:
    """Left, top, right, bottom of what is green, in shares of the picture."""
    height, width = len(i420) * 2 // 3, i420.shape[1]
    v = i420.reshape(-1)[height * width * 5 // 4 :].reshape(height // 2, width // 2)
    rows, columns = np.nonzero(v < 80)
    assert len(rows), "no box is drawn"
    left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    return (left * 2 / width, top * 2 / height, right * 2 / width, bottom * 2 / height)


def play(url: str, count: int, **options: str) -> tuple[Seen, list[float]]:
    """The boxes of the first pictures, by PTS; and of each the capture time that sender reports tell."""
    with av.open(url, options={"rtsp_transport": "tcp", **options}, timeout=(20, 15)) as played:
        stream, found, reported = played.streams.video[0], [], []
        for packet in played.demux(stream):
            for picture in packet.decode():
                if picture.time is None:  # of the first, FFmpeg does not know it
                    continue
                found.append((float(picture.time), drawn(picture.to_ndarray(format="yuv420p"))))
                reported.append(camera_time(packet) or 0.0)
            if len(found) >= count:
                break
        return found, reported


def check(gate: Gate, found: Seen, within_s: float = 0.02) -> None:
    """Each box is where the tracker had it, at the time of the PTS, but for one constant."""
    times, tracked = np.array(list(gate.tracked)), np.array(list(gate.tracked.values()))
    wrong_px = np.array([np.abs((tracked - np.array(box)) * SIZE).max(axis=1) for _, box in found])
    offset = float(
        np.median([times[one.argmin()] - pts for (pts, _), one in zip(found, wrong_px, strict=True)])
    )
    for (pts, box), one in zip(found, wrong_px, strict=True):
        then = np.abs(times - pts - offset) < within_s
        assert then.any()
        assert one[then].min() < NEAR_PX, f"{box} is another frame's"


def test_a_player_finds_the_boxes_where_and_when_the_tracker_had_them() -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/boxes"
    seen: list[Any] = []
    player = threading.Thread(
        target=lambda: seen.append(play(url, 30, rtsp_flags="listen", listen_timeout="20"))
    )
    player.start()
    gate = Gate(url)
    with gate.running():
        player.join(40)
    [(found, reported)] = seen
    check(gate, found)
    for (_, box), capture_time in zip(found, reported, strict=True):
        nearest = min(gate.tracked, key=lambda at: abs(at - capture_time))
        assert abs(nearest - capture_time) < 0.01, "sender reports tell another time"
        assert gate.tracked[nearest] == pytest.approx(box, abs=NEAR_PX / 360)


def test_a_media_server_that_is_another_s_records_the_boxes_and_may_be_killed(tmp_path: Path) -> None:
    port = free_port()
    gate = Gate(f"rtsp://publisher:s3cr%40t@127.0.0.1:{port}/boxes")
    with gate.running():
        for number in range(2):
            out = tmp_path / f"{number}.ts"
            with gst_recorder(port, out, "publisher", "s3cr@t"):
                made = gate.figure("pictures_total")
                until(lambda made=made: gate.figure("pictures_total") > made + 45, 60)
                assert (gate.figure("failing"), gate.observer.problem()) == (0, "")
                until(lambda out=out: out.stat().st_size > 30_000, 10)
            until(lambda: gate.figure("failing") == 1, 20)
            assert f"the media server 127.0.0.1:{port} cannot be reached" in gate.observer.problem()
            found = play(str(out), 40)[0]
            assert len(found) >= 40
            check(gate, found[25:])  # GStreamer shifts the first ones, since the very first waited
    assert gate.figure("failures_total") >= 2
    assert gate.slowest_s < 0.2


def test_a_media_server_that_hangs_costs_frames_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtsp_publisher, "IO_S", 1.0)
    noise = from_i420(np.random.default_rng(1).integers(0, 255, (360 * 3 // 2, 640), np.uint8))
    port = free_port()
    with gst_recorder(port, tmp_path / "out.ts") as process:
        gate = Gate(f"rtsp://127.0.0.1:{port}/boxes", noise)
        with gate.running():
            until(lambda: gate.figure("pictures_total") > 3, 20)
            process.send_signal(signal.SIGSTOP)
            try:
                memory = psutil.Process().memory_info().rss
                until(lambda: gate.figure("failing") == 1, 60)
                replaced = gate.figure("replaced_total")
                until(lambda: gate.figure("replaced_total") > replaced + 5, 10)
                assert psutil.Process().memory_info().rss - memory < 20e6
            finally:
                process.send_signal(signal.SIGCONT)
            made = gate.figure("pictures_total")
            until(lambda: gate.figure("failing") == 0 and gate.figure("pictures_total") > made + 3, 60)
    assert gate.slowest_s < 0.2


def test_many_failures_leave_neither_files_nor_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotated, "Backoff", lambda *_: Quick())
    with MediaServer(refuse={"RECORD": 500}) as server:
        gate = Gate(f"rtsp://127.0.0.1:{server.port}/x")
        with gate.running():
            until(lambda: gate.figure("failures_total") > 5, 20)
            files, threads = psutil.Process().num_fds(), threading.active_count()
            until(lambda: gate.figure("failures_total") > 30, 40)
            assert psutil.Process().num_fds() <= files + 2
            assert threading.active_count() <= threads


class Quick:
    def good(self) -> None:
        pass

    def next_delay_s(self, *, least_s: float = 0.0) -> float:
        return 0.01 + least_s


def test_the_end_of_a_camera_is_the_end_of_its_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotated, "SILENCE_S", 1.0)
    with MediaServer() as server:
        gate = Gate(f"rtsp://127.0.0.1:{server.port}/x")
        gate.run(0.5)
        until(lambda: server.methods == ["ANNOUNCE", "SETUP", "RECORD", "TEARDOWN"], 10)  # it is silent
        gate.run(0.5)
        until(lambda: server.methods.count("RECORD") == 2, 10)
        gate.observer.close()
        until(lambda: server.methods.count("TEARDOWN") == 2 and server.ended == 2, 5)
        assert gate.observer.problem() == ""


def test_without_opencv_the_state_says_what_the_overlay_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter, "drawing", lambda: None)
    with MediaServer() as server:
        gate = Gate(f"rtsp://127.0.0.1:{server.port}/x")
        with gate.running():
            until(lambda: gate.figure("pictures_total") > 2, 10)
            assert "annotated video: an overlay needs OpenCV" in gate.observer.problem()
            assert gate.figure("failing") == 0


def test_a_camera_ends_at_once_though_its_media_server_hangs() -> None:
    with MediaServer() as server:
        server.answers_nothing = True
        gate = Gate(f"rtsp://127.0.0.1:{server.port}/x")
        gate.run(0.3)
        began_s = time.monotonic()
        gate.observer.close()
        assert time.monotonic() - began_s < annotated.GOODBYE_S + 0.5


def test_what_fails_is_told_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with MediaServer(refuse={"ANNOUNCE": 401}) as server:
        gate = Gate(f"rtsp://publisher:s3cret@127.0.0.1:{server.port}/x")
        with gate.running():
            until(lambda: gate.figure("failing") == 1, 10)
            assert "refuses the video (401)" in gate.observer.problem()
            [failing] = [one for one in gate.observer.figures() if one.name == "annotated_failing"]
            assert failing.trouble is EventKind.OUTPUT_FAILED
            time.sleep(1.5)
            assert server.methods == ["ANNOUNCE"], "tried again before long"
    assert "camera gate: annotated video: the media server 127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text + gate.observer.problem()


def test_a_fault_of_ours_is_raised_where_the_feature_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.observer.request(Watch(frozenset({Variant.VIDEO}), 10))
    monkeypatch.setattr(annotated.Painter, "overlay", lambda *_: 1 // 0)
    gate.see()
    until(lambda: gate.pulled.fault, 5)
    with pytest.raises(ZeroDivisionError):
        gate.see()
    gate.observer.close()


# -- pulled ------------------------------------------------------------------------------------------------


def test_while_nobody_asks_nothing_is_made_and_who_asks_gets_whole_video(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate()
    gate.run(0.5)
    assert not gate.shown
    assert gate.pulled._thread is None
    gate.observer.request(Watch(frozenset({Variant.VIDEO}), 3.0))
    gate.run(3.5)
    made = len(gate.shown)
    assert made > 20
    assert [header["number"] for header, _ in gate.shown] == list(range(1, made + 1))
    assert gate.shown[0][0]["is_key"]
    data = io.BytesIO(b"".join(payload for _, payload in gate.shown))
    with av.open(data, format="mpegts") as played:
        found = [(float(p.time), drawn(p.to_ndarray(format="yuv420p"))) for p in played.decode(video=0)]
    assert len(found) == made
    check(gate, found)
    taken = gate.shown[0][0]["capture_time"] % ((1 << 33) / 90_000)
    assert taken == pytest.approx(found[0][0], abs=1e-3)
    gate.observer.close()


def test_options_hold_from_the_next_picture_on() -> None:
    gate = Gate()
    gate.observer.request(Watch(frozenset({Variant.VIDEO}), 30.0))
    gate.run(0.5)
    gate.observer.update(camera(live={"fps": 2, "layers": []}, output={"size": "small"}))
    until(lambda: len(gate.shown) >= 3, 5)
    before = len(gate.shown)
    gate.run(3.0)
    assert 4 <= len(gate.shown) - before <= 8
    gate.observer.close()


def test_what_is_to_be_covered_is_covered_and_the_first_second_shows_nothing() -> None:
    noise = from_i420(np.random.default_rng(1).integers(60, 200, (270 * 2, 640), np.uint8))
    gate = Gate(picture=noise, privacy={"blur": ["persons"]}, live={"fps": 30, "layers": []})
    person = boxes((0.4, 0.2, 0.6, 0.8))
    gate.observer.request(Watch(frozenset({Variant.VIDEO}), 10.0))
    gate.run(HOLD_S - 0.3, person)
    assert not gate.shown
    gate.run(1.5, person)
    gate.see(Detections.empty())  # missed once
    until(lambda: gate.pulled._scene is None, 5)
    gate.observer.close()
    with av.open(io.BytesIO(b"".join(payload for _, payload in gate.shown)), format="mpegts") as played:
        pictures = [p.to_ndarray(format="yuv420p")[:360].astype(float) for p in played.decode(video=0)]
    assert len(pictures) > 5
    for luma in (pictures[0], pictures[-1]):
        rough = [np.abs(np.diff(part)).mean() for part in (luma[80:280, 265:375], luma[:, :200])]
        assert rough[0] < 5 < rough[1]
