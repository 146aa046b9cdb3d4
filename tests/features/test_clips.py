"""Clips: the video around events, as it came from the camera, and what is beside it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml

from sightline.analysis.observer import Observation, Observer
from sightline.config import parse_config
from sightline.config.groups import ClipOptions
from sightline.entities import Clip, ClipState, Event, EventEnd, EventKind, Tracks, picture_name
from sightline.errors import SourceError, SourceStalled
from sightline.features import FEATURES
from sightline.features.clips import clip_finisher, clip_recorder, clip_writer
from sightline.features.clips.clip_recorder import ClipRecorder
from sightline.features.clips.clip_stream import MainStream
from sightline.features.clips.packet_ring import PacketRing
from sightline.simulation.rtsp_server import RtspServer, player
from sightline.store.kinds import pending_row
from sightline.supervisor.sinks.clip_retention import files_of
from sightline.video.clip_file import FragmentFile, finish
from sightline.video.open_gate import OpenGate
from sightline.video.packets import CodedPacket, CodedStream, PacketObserver
from sightline.video.source import Source
from support.camera_world import camera, make_clip
from support.disks import fill, small_disk
from support.gst import gst_camera
from support.numbered import number_in, numbered_clip, numbers_by_time
from support.observations import Watched
from support.sounding import tones_in, with_tones
from support.waiting import until
from support.worker_rig import WithVideo

FPS = 10
BOX = np.array([[0.25, 0.5, 0.5, 0.9]], np.float32)


class Keep:
    """Remembers packets."""

    def __init__(self, packets: list[CodedPacket]) -> None:
        self._packets = packets

    def packet(self, packet: CodedPacket) -> None:
        self._packets.append(packet)


class Recording:
    """A camera whose video is recorded, with the events that a test wants at the frames of its choice."""

    def __init__(
        self,
        folder: Path,
        *,
        lossless: bool = True,
        state: Any = None,
        main: MainStream | None = None,
        **options: Any,
    ) -> None:
        self.options = ClipOptions(enabled=True, folder=folder, **{"pre_s": 1, "post_s": 1, **options})
        self.recorder = ClipRecorder("gate", self.options, state, lossless=lossless, main=main)
        self.rows: list[Clip] = []
        self._seen = Watched(["person"])
        self._ordinal = 0

    def play(
        self,
        url: str | Path,
        results: dict[int, list[Any]],
        *,
        stop: int = 10**9,
        observer: PacketObserver | None = None,
    ) -> None:
        """Show frames until the stream ends or has given ``stop``; ``results`` by the number of the frame."""
        source = Source(camera(url).model_copy(update={"clips": self.options}), realtime=False)
        source.packet_observers = (observer or self.recorder,)
        source.open()
        with contextlib.closing(source), contextlib.suppress(SourceError):
            for frame in source.frames():
                number = number_in(frame.picture._frame)
                here = [self.result(item, frame) for item in results.pop(number, ())]
                tracks = Tracks(
                    np.array([7]),
                    BOX,
                    np.ones(1, np.float32),
                    np.zeros(1, np.int32),
                    np.zeros(1),
                    np.ones(1, bool),
                )
                seen = replace(self._seen(frame, tracks), results=here)
                self.rows += self.recorder.observe(seen)
                if frame.index >= stop:
                    return

    def result(self, item: Any, frame: Any) -> Event | EventEnd:
        if isinstance(item, tuple):  # the end of an event
            return EventEnd(item[0](), frame.capture_time)
        self._ordinal += 1
        self.event = Event(
            "gate", item, "door", 7, "person", frame.capture_time, frame.capture_time, media_s=frame.media_s,
            first_time=1.25, ordinal=self._ordinal,
        )  # fmt: skip
        return self.event

    def end(self) -> Clip:
        """The one clip that has become of it."""
        self.rows += self.recorder.end(0.0)
        self.recorder.close()
        [clip] = [row for row in self.rows if row.state is not ClipState.RECORDING]
        return clip

    def figure(self, name: str) -> float:
        return next(figure.value for figure in self.recorder.figures() if figure.name == name)


def packets_of(path: str | Path) -> list[av.Packet]:
    with av.open(str(path)) as source:
        return [packet for packet in source.demux(video=0) if packet.size]


def annex_b(path: Path, target: Path) -> Path:
    """The same video as a camera sends it: start codes, parameter sets before each key frame."""
    with av.open(str(path)) as source, av.open(str(target), "w", format="mpegts") as sink:
        stream = source.streams.video[0]
        output = sink.add_stream_from_template(stream, opaque=True)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = output
                sink.mux(packet)
    return target


@pytest.mark.parametrize("form", ["mp4", "ts"])
@pytest.mark.parametrize(
    ("codec", "gop", "bframes"),
    [("libx264", 10, 0), ("libx264", 40, 3), ("libx265", 40, 3), ("libx265", 10, 0)],
)
def test_the_frame_at_an_events_position_is_the_events(
    tmp_path: Path, codec: str, gop: int, bframes: int, form: str
) -> None:
    video = numbered_clip(tmp_path / "v.mp4", 120, fps=FPS, codec=codec, gop=gop, bframes=bframes)
    video = annex_b(video, tmp_path / "v.ts") if form == "ts" else video
    made = Recording(tmp_path / "clips")
    made.play(video, {75: [EventKind.CROSSING]})
    clip = made.end()
    assert made.event.media_s is not None
    assert (clip.state, clip.truncated, clip.source) == (ClipState.FINISHED, False, "gate")
    assert clip.codec == {"libx264": "h264", "libx265": "hevc"}[codec]
    shown = numbers_by_time(clip.path)
    assert shown[round(1000 * (made.event.media_s - clip.media_start_s))] == 75
    # from the key frame before the pre-roll on, to the end of the post-roll, and no frame is missing
    first = (75 - FPS) // gop * gop
    last = max(shown.values())
    assert 75 + FPS <= last <= 75 + FPS + bframes
    assert list(shown.values()) == list(range(first, last + 1))
    assert next(iter(shown)) == 0
    assert clip.end_time - clip.start_time == pytest.approx((last - first) / FPS, abs=0.01)
    assert clip.bytes == Path(clip.path).stat().st_size
    packets = packets_of(clip.path)
    assert packets[0].is_keyframe
    content = Path(clip.path).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays before all of it has come
    assert (b"hvc1" if codec == "libx265" else b"avc1") in content
    assert not list(Path(clip.path).parent.glob("*part*"))


def test_what_is_beside_a_clip(tmp_path: Path) -> None:
    made = Recording(tmp_path / "clips")
    made.play(numbered_clip(tmp_path / "v.mp4", 80), {35: [EventKind.ENTER], 45: [(lambda: made.event,)]})
    clip = made.end()
    path = Path(clip.path)
    assert path.parent == tmp_path / "clips" / "gate"
    assert path.name.endswith("Z-gate.mp4")
    assert [row.state for row in made.rows] == [ClipState.RECORDING, ClipState.FINISHED]
    assert made.rows[0].path == clip.path
    assert clip.events == (made.event.key,)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["classes"] == ["person"]
    [event] = sidecar["events"]
    assert event["position_s"] == pytest.approx(made.event.media_s - clip.media_start_s)
    assert event["end_position_s"] == pytest.approx(event["position_s"] + 1)
    shown = numbers_by_time(path)
    assert list(shown.values())[-1] == 55  # the post-roll begins at the event's end
    positions = [round(1000 * frame[0]) for frame in sidecar["frames"]]
    assert set(positions) <= set(shown)  # each on a frame of the video
    assert [shown[position] for position in positions] == list(range(20, 56))
    assert Path(clip.thumbnail) == path.with_name(picture_name(made.event.key))
    assert event["picture"] == picture_name(made.event.key)
    _, ids, xyxy, _, class_ids = sidecar["frames"][0]
    assert (ids, xyxy, class_ids) == ([7], [2500, 5000, 5000, 9000], [0])
    with av.open(clip.thumbnail) as picture:
        rgb = next(picture.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    edge, inside = rgb[160, 80], rgb[160, 120]
    assert edge[0] > edge[2] + 60  # the left edge of the box is red
    assert abs(inside[0] - inside[2]) < 20
    for one in path.parent.iterdir():
        assert stat.S_IMODE(one.stat().st_mode) == 0o600, one
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_events_that_overlap_share_a_clip_and_others_do_not(tmp_path: Path) -> None:
    made = Recording(tmp_path / "clips")
    happens = {20: [EventKind.CROSSING], 26: [EventKind.CROSSING, EventKind.LEAVE], 60: [EventKind.CROSSING]}
    made.play(numbered_clip(tmp_path / "v.mp4", 90), happens)
    made.rows += made.recorder.end(0.0)
    first, second = [row for row in made.rows if row.state is ClipState.FINISHED]
    assert [len(first.events), len(second.events)] == [2, 1]  # leave is not one of its kinds
    for clip in (first, second):
        pictures = [Path(clip.path).with_name(picture_name(key)) for key in clip.events]
        assert all(picture.is_file() for picture in pictures), "each event has its own"
        assert clip.thumbnail == str(pictures[0])
        assert {*pictures} < {*files_of(clip)}, "they go with the clip"
    assert list(numbers_by_time(first.path).values()) == list(range(10, 37))
    assert list(numbers_by_time(second.path).values()) == list(range(50, 71))


def test_every_event_of_a_frame_has_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = Recording(tmp_path / "clips")
    video = numbered_clip(tmp_path / "v.mp4", 60)
    made.play(video, {20: [EventKind.CROSSING] * 7})
    clip = made.end()
    assert len(clip.events) == 7
    pictures = {path.name for path in Path(clip.path).parent.glob("event-*.jpg")}
    assert pictures == {picture_name(key) for key in clip.events}
    assert made.figure("clips_without_picture_total") == 0
    monkeypatch.setattr(clip_recorder, "MAX_PICTURES", 0)  # as though the disk had not taken any yet
    made = Recording(tmp_path / "others")
    made.play(video, {20: [EventKind.CROSSING] * 2})
    assert made.end().thumbnail == ""
    assert made.figure("clips_without_picture_total") == 2
    assert caplog.text.count("camera gate: events have no pictures: the disk is too slow") == 1


def test_a_clip_that_can_never_be_finished_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("what it holds makes no sense")

    monkeypatch.setattr(clip_finisher, "settle", refuse)
    monkeypatch.setattr(clip_finisher, "RETRY_S", 0.0)
    made = Recording(tmp_path / "clips")
    made.play(numbered_clip(tmp_path / "v.mp4", 60), {20: [EventKind.CROSSING]})
    made.rows += made.recorder.end(0.0)
    until(lambda: made.rows.extend(made.recorder.tick(0.0, False)) or made.rows[-1].state is ClipState.LOST)
    made.recorder.close()
    assert "cannot be finished: it is deleted" in caplog.text
    assert not list((tmp_path / "clips" / "gate").iterdir())


def test_a_clip_ends_when_it_is_long_enough_and_the_next_event_gets_its_own(tmp_path: Path) -> None:
    made = Recording(tmp_path / "clips", max_s=5)
    made.play(numbered_clip(tmp_path / "v.mp4", 160), {30: [EventKind.LOITER], 66: [EventKind.CROSSING]})
    made.rows += made.recorder.end(0.0)
    first, second = [row for row in made.rows if row.state is ClipState.FINISHED]
    assert list(numbers_by_time(first.path).values()) == list(range(20, 66))
    assert list(numbers_by_time(second.path).values()) == list(range(50, 77))


def test_a_stream_whose_times_go_back_ends_its_clip(tmp_path: Path) -> None:
    made = Recording(tmp_path / "clips")

    class Jump:
        number = 0

        def packet(self, packet: CodedPacket) -> None:
            self.number += 1
            made.recorder.packet(packet.later(-50.0) if self.number > 60 else packet)

    made.play(numbered_clip(tmp_path / "v.mp4", 90), {55: [EventKind.ENTER]}, observer=Jump())
    assert [row.state for row in made.rows] == [ClipState.RECORDING, ClipState.FINISHED]  # before its end
    assert list(numbers_by_time(made.end().path).values()) == list(range(40, 60))


def test_a_clip_is_turned_and_stretched_as_its_source_is(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "v.mp4", frames=20, turn=(90, False, False), pixel_aspect=(2, 1))
    made: list[CodedPacket] = []

    def shown(path: Path) -> tuple[int, int]:
        source = Source(camera(path), realtime=False)
        source.packet_observers = (Keep(made),)
        source.open()
        with contextlib.closing(source), contextlib.suppress(SourceError):
            for frame in source.frames():
                size = frame.picture.width, frame.picture.height
        return size

    before = shown(video)
    part = FragmentFile(tmp_path / "part.mp4", made[0])
    for packet in made[1:20]:
        part.write(packet)
    part.close()
    assert finish(tmp_path / "part.mp4", tmp_path / "clip.mp4") is not None
    assert shown(tmp_path / "clip.mp4") == before == (240, 640)


def test_the_first_example_of_the_docs_works_as_it_stands() -> None:
    text = (Path(__file__).parents[2] / "docs" / "clips.md").read_text()
    loaded = parse_config(yaml.safe_load(text.split("```yaml")[1].split("```")[0]))
    assert (loaded.problems, loaded.warnings) == ((), ())
    assert loaded.cameras["entrance"].clips.enabled


def test_a_clip_must_have_room_for_what_comes_before_and_after() -> None:
    raw = {"cameras": {"gate": {"url": "rtsp://gate/1", "clips": {"pre_s": 10, "max_s": 12}}}}
    [problem] = parse_config(raw).problems
    assert str(problem) == "camera 'gate', key 'clips': max_s: 12 leaves no room for pre_s + post_s (15)"


def test_a_key_names_the_row_of_the_event() -> None:
    event = Event("gate", EventKind.ENTER, "Tür 1", 7, "person", 10.5, 11.0, first_time=9.125, ordinal=2)
    assert event.key == pending_row(event, 1).key


def stream_of(codec: str = "h264") -> CodedStream:
    return CodedStream(codec, Fraction(1, 1000), b"", b"")


def packets(stream: CodedStream, sizes: Iterable[int], *, gop: int, start_ms: int = 0) -> list[CodedPacket]:
    return [
        CodedPacket(bytes(size), start_ms + 100 * n, start_ms + 100 * n, n % gop == 0, stream)
        for n, size in enumerate(sizes)
    ]


def test_the_ring_is_bounded_in_seconds_and_begins_at_a_key_frame() -> None:
    ring, stream = PacketRing(3.0, 10**6), stream_of()
    for packet in packets(stream, [100] * 205, gop=20):
        ring.append(packet)
    assert (ring.seconds, ring.bytes) == (pytest.approx(4.4), 45 * 100)  # 3 s, and the group they begin in
    ring.follow(18.5)
    taken = ring.take()
    assert (taken[0].is_key, taken[0].media_s, taken[-1].media_s) == (True, 18.0, 20.4)
    assert ring.take() == []
    for packet in packets(stream_of(), [100] * 3, gop=20):  # the camera was opened again
        ring.append(packet)
    assert ring.seconds == pytest.approx(0.2)
    assert len(ring.take()) == 3


def test_the_ring_is_bounded_in_bytes_under_a_huge_group() -> None:
    ring, stream = PacketRing(3.0, 50_000), stream_of()
    largest = 0
    for packet in packets(stream, [1000] * 400, gop=1000):
        ring.append(packet)
        largest = max(largest, ring.bytes)
    assert largest <= 50_000
    assert (ring.bytes, ring.given_up) == (0, 1)
    for packet in packets(stream, [1000] * 5, gop=5, start_ms=40_000):
        ring.append(packet)
    assert ring.bytes == 5000
    ring.follow(40.0)
    for packet in packets(stream, [1000] * 500, gop=5, start_ms=41_000):  # and nobody takes it
        ring.append(packet)
    assert ring.overflowed
    assert sum(len(packet.data) for packet in ring.take()) <= 2 * 50_000 + 1000


def test_a_group_larger_than_the_ring_costs_the_pre_roll_and_not_the_clip(tmp_path: Path) -> None:
    video = numbered_clip(tmp_path / "v.mp4", 100, gop=40, noise=200)
    sizes = [packet.size for packet in packets_of(video)]
    assert sum(sizes[40:65]) > 1_000_000
    made = Recording(tmp_path / "clips", max_bytes=1_000_000)
    made.play(video, {65: [EventKind.CROSSING], 85: [EventKind.CROSSING]})
    clip = made.end()
    assert made.figure("clips_ring_given_up_total") >= 1
    assert (made.figure("clips_missed_events_total"), clip.events) == (1, (made.event.key,))
    assert next(iter(numbers_by_time(clip.path).values())) == 80  # the next key frame


def sounds_of(path: str | Path) -> list[str]:
    with av.open(str(path)) as opened:
        return [stream.codec_context.name for stream in opened.streams.audio]


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("v.mp4", "aac", 16_000), ("v.mov", "pcm_alaw", 8000), ("v.mov", "pcm_mulaw", 8000)],
)
def test_a_clip_sounds_as_its_camera_does(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    silent = numbered_clip(tmp_path / "silent.mp4", 90, codec="libx265", bframes=2)
    video = with_tones(silent, tmp_path / name, codec, rate=rate)
    made = Recording(tmp_path / "clips", audio=True, h264_copy=True, post_s=2)
    made.play(video, {35: [EventKind.CROSSING]})
    clip = made.end()
    for path in (clip.path, clip.h264_path):
        assert sounds_of(path) == ["aac"]
        shown = numbers_by_time(path)
        assert next(iter(shown.items())) == (0, 20)
        assert tones_in(path) == pytest.approx([1, 2, 3], abs=0.02)  # with the frames 30, 40, 50
        assert {30, 40, 50} <= set(shown.values())
    made = Recording(tmp_path / "without")
    made.play(video, {35: [EventKind.CROSSING]})
    assert sounds_of(made.end().path) == []


def test_sound_that_no_clip_can_hold_is_said_and_the_clip_is_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    silent = numbered_clip(tmp_path / "silent.mp4", 60)
    for video, why in (
        (with_tones(silent, tmp_path / "v.mkv", "libmp3lame"), "no clip can hold its sound (mp3)"),
        (silent, "the stream has no sound"),
    ):
        made = Recording(tmp_path / video.stem, audio=True)
        made.play(video, {35: [EventKind.CROSSING]})
        clip = made.end()
        assert sounds_of(clip.path) == []
        assert list(numbers_by_time(clip.path).values()) == list(range(20, 46))
        assert f"clips have no sound: {why}" in caplog.text


def test_a_track_of_sound_in_which_nothing_comes_is_left_out(tmp_path: Path) -> None:
    silent = numbered_clip(tmp_path / "silent.mp4", 90)
    made = Recording(tmp_path / "clips", audio=True)
    made.play(with_tones(silent, tmp_path / "v.mp4", "aac", seconds=2), {65: [EventKind.CROSSING]})
    clip = made.end()
    assert sounds_of(clip.path) == []
    assert list(numbers_by_time(clip.path).values()) == list(range(50, 76))


@pytest.mark.rtsp
@pytest.mark.parametrize(("name", "codec", "rate"), [("v.mp4", "aac", 16_000), ("v.mov", "pcm_alaw", 8000)])
def test_sound_and_video_of_a_real_stream_belong_together(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    silent = numbered_clip(tmp_path / "silent.mp4", 140, gop=20)
    video = with_tones(silent, tmp_path / name, codec, rate=rate)
    made = Recording(tmp_path / "clips", lossless=False, audio=True, post_s=2)
    with gst_camera(video, codec.removeprefix("pcm_")) as gst:
        made.play(f"rtsp://127.0.0.1:{gst.port}/cam", {60: [EventKind.CROSSING]}, stop=100)
    clip = made.end()
    assert sounds_of(clip.path) == ["aac"]
    at = {number: time_ms / 1000 for time_ms, number in numbers_by_time(clip.path).items()}
    assert next(iter(at)) == 40
    assert tones_in(clip.path) == pytest.approx([at[number] for number in (50, 60, 70, 80)], abs=0.03)


@pytest.mark.rtsp
def test_a_camera_of_which_sound_alone_comes_is_opened_again(tmp_path: Path) -> None:
    silent = numbered_clip(tmp_path / "silent.mp4", 20)
    video = with_tones(silent, tmp_path / "v.mp4", "aac", seconds=15)
    options = ClipOptions(enabled=True, audio=True, folder=tmp_path)
    with RtspServer({"cam": player(video, "--sound", "--once")}) as server:
        source = Source(camera(server.url("cam"), stall_timeout_s=2).model_copy(update={"clips": options}))
        heard: list[CodedPacket] = []
        source.packet_observers = (Keep(heard),)
        source.open()
        with contextlib.closing(source), pytest.raises(SourceStalled, match="nothing came for"):
            for _ in source.frames():
                pass
    assert sum(packet.is_sound for packet in heard) > 20  # of 16 a second


def main_stream(url: str) -> MainStream:
    """The main stream of a camera of which another is analysed."""
    urls = {"url": url, "sub_url": "rtsp://127.0.0.1/sub"}
    raw = {"cameras": {"cam": {**urls, "clips": {"enabled": True, "stream": "main", "pre_s": 1}}}}
    return MainStream(parse_config(raw).cameras["cam"], OpenGate("", 1))


def number_at(clip: Clip, media_s: float | None) -> int:
    """The number in the clip's frame at an event's position."""
    assert media_s is not None
    position_ms = 1000 * (media_s - clip.media_start_s)
    return min(numbers_by_time(clip.path).items(), key=lambda item: abs(item[0] - position_ms))[1]


@pytest.mark.rtsp
@pytest.mark.parametrize("reports", [True, False])
def test_an_event_is_at_its_frame_of_the_main_stream(tmp_path: Path, reports: bool) -> None:
    """Both connections show the same moment; when each begins is its own affair."""
    video = numbered_clip(tmp_path / "v.mp4", 300, gop=20)
    with RtspServer({"cam": video}) as server:
        main = main_stream(server.url("cam"))
        main.one_sender = reports
        until(lambda: main.feed.online and main.ring.seconds > 0.7, 20)
        made = Recording(tmp_path / "clips", lossless=False, main=main, pre_s=3)
        made.play(server.url("cam"), {80: [EventKind.CROSSING]}, stop=90)
        assert main.clock.sender_s is not None
        clip = made.end()
    assert made.figure("clips_fell_back_total") == 0
    assert made.recorder._stream is main
    assert number_at(clip, made.event.media_s) == 80
    shown = list(numbers_by_time(clip.path).values())
    assert shown[0] == 40
    assert shown == list(range(shown[0], shown[-1] + 1))


@pytest.mark.rtsp
def test_streams_of_two_rates_are_put_together_by_arrival(tmp_path: Path) -> None:
    began = {name: tmp_path / f"{name}.began" for name in ("main", "sub")}
    videos = {
        "main": numbered_clip(tmp_path / "main.mp4", 500, fps=25, gop=25, bframes=2),
        "sub": numbered_clip(tmp_path / "sub.mp4", 200, fps=10),
    }
    streams = {name: player(videos[name], "--began", str(began[name])) for name in videos}
    with RtspServer(streams) as server:
        main = main_stream(server.url("main"))
        until(lambda: main.feed.online and main.ring.seconds > 0.7, 20)
        made = Recording(tmp_path / "clips", lossless=False, main=main)
        made.play(server.url("sub"), {60: [EventKind.CROSSING]}, stop=75)
    clip = made.end()
    moment = float(began["sub"].read_text()) + 6.0
    wanted = 25 * (moment - float(began["main"].read_text()))
    assert number_at(clip, made.event.media_s) == pytest.approx(wanted, abs=2.5)  # 0.1 s


@pytest.mark.rtsp
def test_without_its_main_stream_a_clip_is_of_the_analysed_one(tmp_path: Path) -> None:
    video, large = (numbered_clip(tmp_path / f"{name}.mp4", 200) for name in ("sub", "main"))
    with RtspServer({"sub": video}) as server, RtspServer({"main": large}) as away:
        main = main_stream(away.url("main"))
        until(lambda: main.feed.online, 20)
        away.stop()
        until(lambda: main.feed.problem != "", 20)
        made = Recording(tmp_path / "clips", lossless=False, main=main)
        made.play(server.url("sub"), {40: [EventKind.CROSSING]}, stop=70)
        assert made.figure("clips_main_online") == 0
        assert made.figure("clips_main_reconnects_total") >= 1
        assert made.recorder.problem().startswith("main stream: ")
        clip = made.end()
        main = main_stream(away.url("main"))
        until(lambda: main.feed.problem != "", 20)
        away.start()
        until(lambda: main.feed.online and not main.feed.problem, 20)
        main.feed.stop()
    assert made.figure("clips_fell_back_total") == 1
    assert list(numbers_by_time(clip.path).values()) == list(range(30, 51))


class Both:
    """Gives packets to both streams, those of the main one 500 s later on its clock."""

    def __init__(self, made: Recording, main: MainStream) -> None:
        self.made, self.main = made, main
        self.last, self.silent, self.jump_s = 10**9, 10**9, dict[int, float]()
        self._stream: CodedStream | None = None
        self._number = -1

    def packet(self, packet: CodedPacket) -> None:
        self._number += 1
        packet = replace(packet, received_s=packet.media_s)
        self._stream = self._stream or replace(packet.stream)
        self.made.recorder.packet(packet)
        if self._number <= self.last:
            later_s = 500 + sum(jump_s for number, jump_s in self.jump_s.items() if self._number >= number)
            self.main.packet(replace(packet.later(later_s), stream=self._stream))
        if self._number >= self.silent:
            self.main.packet_s = time.monotonic() - 10  # for that long, as it seems


def test_what_the_main_stream_no_longer_showed_is_shown_by_the_other(tmp_path: Path) -> None:
    main = main_stream("rtsp://127.0.0.1:1/main")
    made = Recording(tmp_path / "clips", main=main)
    both = Both(made, main)
    both.last, both.silent = 62, 66
    happens = {60: [EventKind.ENTER], 64: [EventKind.CROSSING]}
    made.play(numbered_clip(tmp_path / "v.mp4", 100), happens, observer=both)
    made.rows += made.recorder.end(0.0)
    first, second = [row for row in made.rows if row.state is ClipState.FINISHED]
    assert list(numbers_by_time(first.path).values()) == list(range(50, 63))
    assert (first.truncated, second.truncated) == (True, False)
    assert list(numbers_by_time(second.path).values()) == list(range(50, 75))
    assert (number_at(second, made.event.media_s), second.events) == (64, (made.event.key,))
    made.recorder.close()


def test_a_main_stream_whose_clock_jumps_ends_its_clip(tmp_path: Path) -> None:
    main = main_stream("rtsp://127.0.0.1:1/main")
    made = Recording(tmp_path / "clips", main=main)
    both = Both(made, main)
    both.jump_s[60] = 300.0
    happens = {55: [EventKind.ENTER], 75: [EventKind.CROSSING]}
    made.play(numbered_clip(tmp_path / "v.mp4", 100), happens, observer=both)
    made.rows += made.recorder.end(0.0)
    first, second = [row for row in made.rows if row.state is ClipState.FINISHED]
    assert first.truncated
    assert list(numbers_by_time(first.path).values()) == list(range(40, 60))
    assert number_at(second, made.event.media_s) == 75
    assert made.recorder._stream is main
    made.recorder.close()


def test_a_clip_of_h265_has_a_copy_that_shows_the_same_at_the_same_times(tmp_path: Path) -> None:
    video = numbered_clip(tmp_path / "v.mp4", 60, codec="libx265", bframes=3)
    made = Recording(tmp_path / "clips", h264_copy=True)
    made.play(video, {25: [EventKind.CROSSING]})
    clip = made.end()
    path, copy = Path(clip.path), Path(clip.h264_path)
    assert (clip.codec, clip.truncated, copy) == ("hevc", False, path.with_suffix(".h264.mp4"))
    with av.open(str(copy)) as opened:
        assert opened.streams.video[0].codec.canonical_name == "h264"
    assert numbers_by_time(copy) == numbers_by_time(path)
    assert clip.bytes == path.stat().st_size + copy.stat().st_size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["clip"]["h264_path"] == clip.h264_path
    assert made.figure("clips_without_copy_total") == 0
    assert {one.suffix for one in path.parent.iterdir()} == {".jpg", ".json", ".mp4"}
    assert set(files_of(clip)) == set(path.parent.iterdir())  # what is uploaded, and deleted at last


def test_h264_is_not_copied_and_what_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = Recording(tmp_path / "clips", h264_copy=True)
    made.play(numbered_clip(tmp_path / "a.mp4", 40), {15: [EventKind.CROSSING]})
    assert (made.end().h264_path, made.figure("clips_without_copy_total")) == ("", 0)

    def refuse(*_: Any) -> None:
        raise ValueError("no encoder")

    monkeypatch.setattr(clip_writer, "transcode", refuse)
    made = Recording(tmp_path / "clips", h264_copy=True)
    made.play(numbered_clip(tmp_path / "b.mp4", 40, codec="libx265"), {15: [EventKind.CROSSING]})
    clip = made.end()
    assert (clip.state, clip.h264_path, clip.bytes) == (
        ClipState.FINISHED,
        "",
        Path(clip.path).stat().st_size,
    )
    assert made.figure("clips_without_copy_total") == 1
    assert "has no copy in H.264: no encoder" in caplog.text


def test_a_copy_that_was_not_made_when_the_program_died_is_made_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = numbered_clip(tmp_path / "v.mp4", 60, codec="libx265")
    with monkeypatch.context() as patch:
        patch.setattr(clip_finisher.transcoder, "submit", lambda _: Future())
        patch.setattr(clip_recorder, "END_RECORDED_S", 0.1)
        died = Recording(tmp_path / "clips", h264_copy=True)
        died.play(video, {25: [EventKind.CROSSING]})
        died.rows += died.recorder.end(0.0)
        died.recorder.close()
    assert [row.state for row in died.rows] == [ClipState.RECORDING]
    clip = Recording(tmp_path / "clips", h264_copy=True).end()
    assert (clip.state, clip.truncated, clip.events) == (ClipState.FINISHED, False, (died.event.key,))
    assert numbers_by_time(clip.h264_path) == numbers_by_time(clip.path)


VICTIM = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from features.test_clips import EventKind, Recording
made = Recording(Path(sys.argv[1]), audio=True)
made.play(Path(sys.argv[2]), {55: [EventKind.ENTER]}, stop=70)
print("growing", flush=True)
time.sleep(60)
"""


def test_a_clip_that_grew_when_the_program_was_killed_is_finished_by_the_next_one(tmp_path: Path) -> None:
    video = with_tones(numbered_clip(tmp_path / "v.mp4", 120, bframes=2), tmp_path / "s.mp4", "aac")
    tests = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", VICTIM, str(tmp_path / "clips"), str(video), tests]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "growing\n"
        [part] = (tmp_path / "clips" / "gate").glob("*.part.mp4")
        other = Recording(tmp_path / "clips")  # a successor that came too early leaves it alone
        time.sleep(0.2)
        assert other.recorder.tick(0.0, False) == []
        assert part.exists()
        other.recorder.close()
        os.kill(victim.pid, signal.SIGKILL)
    made = Recording(tmp_path / "clips")
    until(lambda: made.rows.extend(made.recorder.tick(0.0, False)) or bool(made.rows))
    clip = made.end()
    assert (clip.state, clip.truncated, len(clip.events)) == (ClipState.FINISHED, True, 1)
    shown = list(numbers_by_time(clip.path).values())
    assert tones_in(clip.path)[:2] == pytest.approx([1, 2], abs=0.02)
    assert shown[0] == 40
    assert shown[-1] >= 62  # what came after the last fragment is lost
    assert shown == list(range(40, shown[-1] + 1))
    sidecar = json.loads(Path(clip.path).with_suffix(".json").read_text())
    assert sidecar["events"][0]["key"] == clip.events[0]
    assert sorted(path.suffix for path in Path(clip.path).parent.iterdir()) == [".jpg", ".json", ".mp4"]


def test_a_row_that_says_a_clip_grows_is_never_left_alone(tmp_path: Path) -> None:
    """The files were finished, and then the program died before the row was written."""
    made = Recording(tmp_path / "clips")
    made.play(numbered_clip(tmp_path / "v.mp4", 60), {20: [EventKind.CROSSING]}, stop=25)
    state = made.recorder.snapshot()
    made.recorder.close()
    again = Recording(tmp_path / "clips", state=state)
    clip = again.end()
    assert (clip.state, clip.start_time) == (ClipState.FINISHED, made.rows[0].start_time)
    assert again.recorder.snapshot() == {}
    for path in (tmp_path / "clips" / "gate").iterdir():
        path.unlink()
    lost = Recording(tmp_path / "clips", state=state).end()
    assert (lost.state, lost.path, lost.truncated) == (ClipState.LOST, "", True)


def test_a_full_disk_is_said_and_the_camera_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clip_finisher, "RETRY_S", 0.0)
    video = numbered_clip(tmp_path / "v.mp4", 100, noise=60)
    with small_disk(tmp_path / "disk") as disk:
        made = Recording(disk / "clips")
        filler = fill(disk)
        made.play(video, {20: [EventKind.CROSSING]})  # no clip can begin
        made.rows += made.recorder.end(0.0)
        assert made.rows == []
        assert (made.figure("clips_failing"), made.figure("clips_missed_events_total")) == (1, 1)
        assert not list((disk / "clips").rglob("event-*.jpg"))
        assert sum("clips cannot be kept" in text for text in caplog.messages) == 1
        made.rows += made.recorder.tick(0.0, False)
        assert made.figure("clips_failing") == 1
        filler.unlink()
        until(
            lambda: not made.rows.extend(made.recorder.tick(0.0, False)) and not made.figure("clips_failing")
        )
        assert list((disk / "clips" / "gate").iterdir()) == [], (
            "no event was needed to see that there is room"
        )
        made.play(video, {20: [EventKind.ENTER]}, stop=22)  # one that grows loses its disk
        assert [row.state for row in made.rows] == [ClipState.RECORDING]
        filler = fill(disk)
        made.play(video, {}, stop=60)
        made.rows += made.recorder.end(0.0)
        assert made.figure("clips_failing") == 1
        filler.unlink()
        until(lambda: made.rows.extend(made.recorder.tick(0.0, False)) or len(made.rows) > 1)
        clip = made.rows[-1]
        assert (clip.state, clip.truncated) == (ClipState.FINISHED, True)
        assert next(iter(numbers_by_time(clip.path).values())) == 10
        assert made.figure("clips_failing") == 0
        made.recorder.close()


def test_a_disk_that_stands_still_is_a_failure_while_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_recorder, "STUCK_S", 0.2)
    goes_on = threading.Event()
    monkeypatch.setattr(clip_finisher, "make_private_folder", lambda _: goes_on.wait(20))
    made = Recording(tmp_path / "clips", lossless=False)
    made.play(numbered_clip(tmp_path / "v.mp4", 40), {20: [EventKind.CROSSING]})
    until(lambda: made.figure("clips_failing"))
    [trouble] = [figure.trouble for figure in made.recorder.figures() if figure.value and figure.trouble]
    assert trouble is EventKind.CLIPS_FAILED
    (tmp_path / "clips" / "gate").mkdir(parents=True)
    goes_on.set()
    until(lambda: not made.figure("clips_failing"))
    assert made.end().state is ClipState.FINISHED


def test_packets_come_before_the_fps_gate_and_are_copied(tmp_path: Path) -> None:
    seen: list[CodedPacket] = []
    video = numbered_clip(tmp_path / "v.mp4", 40, bframes=2)
    source = Source(camera(video, fps=2), realtime=False)
    source.packet_observers = (Keep(seen),)
    source.open()
    with contextlib.closing(source), contextlib.suppress(SourceError):
        assert sum(1 for _ in source.frames()) == 8
    wanted = packets_of(video)
    assert [packet.data for packet in seen] == [bytes(packet) for packet in wanted]
    assert [(packet.pts, packet.dts, packet.is_key) for packet in seen] == [
        (packet.pts, packet.dts, packet.is_keyframe) for packet in wanted
    ]
    assert {id(packet.stream) for packet in seen} == {id(seen[0].stream)}


@pytest.mark.rtsp
@pytest.mark.parametrize(("codec", "bframes"), [("libx264", 3), ("libx265", 2)])
def test_a_clip_of_a_real_stream(tmp_path: Path, codec: str, bframes: int) -> None:
    video = numbered_clip(tmp_path / "v.mp4", 200, codec=codec, gop=20, bframes=bframes)
    made = Recording(tmp_path / "clips", lossless=False, pre_s=1.95)
    with RtspServer({"cam": video}) as server:
        made.play(server.url("cam"), {60: [EventKind.CROSSING]}, stop=75)
    clip = made.end()
    assert made.event.media_s is not None
    shown = numbers_by_time(clip.path)
    assert shown[round(1000 * (made.event.media_s - clip.media_start_s))] == 60
    assert list(shown.values())[:31] == list(range(40, 71))
    assert not clip.truncated


def test_a_worker_records_and_reports_clips(tmp_path: Path) -> None:
    video = numbered_clip(tmp_path / "v.mp4", 60)
    everywhere = {"zones": {"all": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}}}
    clips = {"enabled": True, "folder": str(tmp_path / "clips"), "pre_s": 1, "post_s": 1}
    with WithVideo() as rig:
        rig.add("gate", until_end=True, url=str(video), rules=everywhere, clips=clips)
        until(lambda: any(report.last for report in rig.reports("gate")), 20)
        rows = {row.state: row for row in rig.rows("gate", Clip)}
        event, _ = rig.rows("gate", Event)  # entered; and left, of which no clip is kept
        figures = {figure.name: figure.value for figure in rig.latest("gate").figures}
    assert set(rows) == {ClipState.RECORDING, ClipState.FINISHED}
    clip = rows[ClipState.FINISHED]
    assert clip.events == (event.key,)
    assert list(numbers_by_time(clip.path).values()) == list(range(60))  # it lasted to the end of the file
    assert figures["clips_finished_total"] == 1


def test_a_feature_that_fails_at_a_packet_is_switched_off_and_the_camera_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Observer):
        name = "broken"
        packets = 0
        closed = False

        def observe(self, seen: Observation) -> tuple[()]:
            return ()

        def packet(self, packet: CodedPacket) -> None:
            self.packets += 1
            if self.packets == 5:
                raise RuntimeError("no more")

        def close(self) -> None:
            self.closed = True

    broken = Broken()
    clips = {"enabled": True, "folder": str(tmp_path / "clips"), "pre_s": 1, "post_s": 1}
    monkeypatch.setitem(FEATURES, "broken", lambda _: broken)
    video = numbered_clip(tmp_path / "v.mp4", 60)
    everywhere = {"zones": {"all": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}}}
    with WithVideo() as rig:
        rig.add("gate", until_end=True, url=str(video), rules=everywhere, clips=clips)
        until(lambda: any(report.last for report in rig.reports("gate")), 20)
        last = rig.latest("gate")
        until(lambda: broken.closed, 5)
        figures = {figure.name: figure.value for figure in last.figures}
        states = [row.state for row in rig.rows("gate", Clip)]
    assert broken.packets == 5
    assert last.status.frames_total == 60
    assert "broken is switched off: RuntimeError('no more')" in last.status.message
    assert (figures["feature_failed"], figures["camera_restarts_total"]) == (1, 0)
    assert states[-1] is ClipState.FINISHED, "the other observer of packets goes on"
    assert sum("camera gate: broken has failed" in record.message for record in caplog.records) == 1
