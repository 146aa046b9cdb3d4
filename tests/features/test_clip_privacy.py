"""Clips and pictures of a camera with privacy: what must not be seen is gone, by a simulation's truth."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
import pytest

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import AnalysisOptions
from sightline.config import parse_config
from sightline.config.groups import Blurred, ClipOptions
from sightline.entities import (
    Clip,
    ClipState,
    Detections,
    Event,
    EventKind,
    Frame,
    ModelInfo,
    Tracks,
    picture_name,
)
from sightline.errors import SightlineError, SourceError
from sightline.features.clips import clip_finisher, clip_recorder, hidden_clip
from sightline.features.clips.clip_recorder import ClipRecorder
from sightline.features.clips.clip_writer import discard, settle
from sightline.features.clips.hidden_clip import Hiding
from sightline.features.feature import FeatureContext
from sightline.simulation.rtsp_server import free_port
from sightline.simulation.scenes import truth
from sightline.simulation.scenes.encode import pictures
from sightline.simulation.scenes.spec import SceneSpec
from sightline.supervisor.sinks import clip_sweep, make_sinks
from sightline.supervisor.sinks.clip_sweep import PART_OLD_S, ClipSweep
from sightline.video import timecode, transcoder
from sightline.video.open_gate import OpenGate
from sightline.video.source import Source
from support import fakes
from support.camera_world import camera, make_clip
from support.listeners import Mail
from support.numbered import numbered_clip
from support.observations import Watched
from support.running_hub import running
from support.waiting import until
from support.worker_rig import PERSON, WithVideo

SPEC = SceneSpec("shop", 5)
FPS, LENGTH_S, EVENT_AT = 10, 8.0, 45
KINDS = ("person", "car")
UPPER = 0.3  # of a person, where its face is
GONE = 0.5  # the likeness of a few cells' means; it is 0.9 and more for what is seen
SEEN_LATE_S = 0.4  # after somebody has come into view


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The scene as H.264 and as H.265, with B-frames."""
    folder = tmp_path_factory.mktemp("drawn")
    files = {"libx264": folder / "h264.mp4", "libx265": folder / "h265.mp4"}
    options = {
        "libx264": {"preset": "veryfast", "crf": "18", "bf": "2", "x264-params": "keyint=15"},
        "libx265": {
            "preset": "ultrafast",
            "crf": "18",
            "x265-params": "keyint=15:bframes=2:log-level=none",
        },
    }
    with contextlib.ExitStack() as stack:
        outputs = []
        for codec, path in files.items():
            sink = stack.enter_context(av.open(str(path), "w"))
            stream = sink.add_stream(codec, rate=FPS, options=options[codec])
            stream.width, stream.height, stream.pix_fmt = SPEC.width, SPEC.height, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            outputs.append((sink, stream))
        for time_s, picture in islice(pictures(SPEC, FPS), round(LENGTH_S * FPS)):
            for sink, stream in outputs:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
                sink.mux(stream.encode(frame))
        for sink, stream in outputs:
            sink.mux(stream.encode(None))
    return files


@pytest.fixture(scope="module")
def happened() -> list[Any]:
    """The truth of each frame."""
    return list(truth.frames(SPEC, FPS, LENGTH_S))


def persons(frame: Any) -> dict[int, np.ndarray]:
    """By id, the boxes of persons that are seen well enough to be known again, in shares of the picture."""
    size = np.array([SPEC.width, SPEC.height] * 2, np.float32)
    return {
        number: box / size
        for number, kind, box, hidden in zip(
            frame.ids.tolist(), frame.kinds, frame.visible_xyxy, frame.occlusion, strict=True
        )
        if kind == "person" and hidden < 0.5 and box[3] - box[1] >= 40 and box[2] - box[0] >= 12
    }


class Detector:
    """A detector that is late, imprecise, and misses one in five."""

    def __init__(self, happened: Sequence[Any]) -> None:
        self._happened, self._random = happened, np.random.default_rng(1)
        self._since: dict[int, int] = {}
        for number, frame in enumerate(happened):
            for person in persons(frame):
                self._since.setdefault(person, number)

    def __call__(self, number: int) -> tuple[Tracks, Detections]:
        boxes: dict[int, np.ndarray] = {}
        for person, box in persons(self._happened[number]).items():
            late = self._since[person] > 0 and number - self._since[person] < SEEN_LATE_S * FPS
            if not late and self._random.random() > 0.2:
                side = np.tile(box[2:] - box[:2], 2)
                boxes[person] = (box + self._random.normal(0, 0.02, 4) * side).astype(np.float32)
        xyxy = np.array([*boxes.values()], np.float32).reshape(-1, 4)
        count = len(boxes)
        scores, ids = np.full(count, 0.9, np.float32), np.array([*boxes], np.int64)
        classes = np.zeros(count, np.int32)
        tracks = Tracks(ids, xyxy, scores, classes, np.zeros(count), np.ones(count, bool))
        return tracks, Detections(xyxy, scores, classes)


@contextlib.contextmanager
def playing(video: Path, recorder: ClipRecorder, **options: Any) -> Iterator[Iterator[Frame]]:
    """The frames of a video, of which a recorder is given the packets."""
    source = Source(camera(video, **options), realtime=False)
    source.packet_observers = (recorder,)
    source.open()
    with contextlib.closing(source), contextlib.suppress(SourceError):
        yield source.frames()


class Simulated:
    """A camera that shows the scene, five frames a second of which are analysed; something happens in one."""

    def __init__(self, folder: Path, happened: Sequence[Any], blur: Sequence[Blurred], state: Any = None):
        options = ClipOptions(enabled=True, folder=folder, pre_s=2, post_s=2)
        self.recorder = ClipRecorder("gate", options, state, lossless=True, blur=blur)
        self.rows: list[Clip] = []
        self._detector, self._seen = Detector(happened), Watched(KINDS)

    def play(self, video: Path, *, stop: int = 10**9) -> None:
        with playing(video, self.recorder, fps=5) as frames:
            for frame in frames:
                number = round(frame.media_s * FPS)
                tracks, detections = self._detector(number)
                results: list[Event] = []
                if number in {EVENT_AT, EVENT_AT + 1} and not hasattr(self, "event"):
                    self.event = Event(
                        "gate", EventKind.ENTER if stop < 100 else EventKind.CROSSING, "door",
                        int(tracks.ids[0]), "person", frame.capture_time, frame.capture_time,
                        media_s=frame.media_s, first_time=1.0,
                    )  # fmt: skip
                    results = [self.event]
                seen = replace(self._seen(frame, tracks, detections), results=results)
                self.rows += self.recorder.observe(seen)
                if number >= stop:
                    return

    def end(self) -> Clip:
        """The one clip that has become of it."""
        self.rows += self.recorder.end(0.0)
        until(lambda: self.rows.extend(self.recorder.tick(0.0, False)) or self.settled, 60)
        self.recorder.close()
        [clip] = self.settled
        return clip

    @property
    def settled(self) -> list[Clip]:
        return [row for row in self.rows if row.state is not ClipState.RECORDING]


def luma_by_number(path: str | Path, start: int = 0) -> dict[int, np.ndarray]:
    """By the number of the frame in the scene, the luma of each; ``start``: that of the first."""
    with av.open(str(path)) as file:
        return {
            start + round(frame.time * FPS): frame.to_ndarray(format="gray") for frame in file.decode(video=0)
        }


def likeness(one: np.ndarray, other: np.ndarray, box: np.ndarray) -> float:
    """How much the upper part of a box is the same in two pictures: correlation of steps between points."""
    height, width = one.shape
    left, right = round(box[0] * width), round(box[2] * width)
    top = round(box[1] * height)
    bottom = round((box[1] + UPPER * (box[3] - box[1])) * height)
    steps = [
        np.concatenate([np.diff(part, axis=axis).ravel() for axis in (0, 1)])
        for part in (picture[top:bottom, left:right].astype(float) for picture in (one, other))
    ]
    if min(step.std() for step in steps) < 0.5:
        return 0.0  # nothing is to be seen in one of them
    return float(np.corrcoef(*steps)[0, 1])


def first_number(clip: Clip) -> int:
    return round(clip.media_start_s * FPS)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_faces_are_gone_in_every_frame_and_picture_and_times_are_the_same(
    tmp_path: Path, drawn: dict[str, Path], happened: list[Any], codec: str
) -> None:
    original = luma_by_number(drawn[codec])
    alike: dict[str, list[float]] = {}
    clips: dict[str, Clip] = {}
    for name, blur in (("plain", ()), ("hidden", (Blurred.FACES,))):
        camera_ = Simulated(tmp_path / name, happened, blur)
        camera_.play(drawn[codec])
        clip = clips[name] = camera_.end()
        assert (clip.state, clip.truncated) == (ClipState.FINISHED, False)
        shown = luma_by_number(clip.path, first_number(clip))
        alike[name] = [
            likeness(original[number], picture, box)
            for number, picture in shown.items()
            for box in persons(happened[number]).values()
        ]
        at = round((camera_.event.media_s - clip.media_start_s) * 1000)
        with av.open(clip.path) as file:
            [event_frame] = [frame for frame in file.decode(video=0) if round(1000 * frame.time) == at]
            code = timecode.read(event_frame.to_ndarray(format="gray"))
        assert code is not None
        assert code.scene_ms == round(1000 * camera_.event.media_s)
        with av.open(clip.thumbnail) as file:
            thumbnail = next(file.decode(video=0)).to_ndarray(format="gray")
        number = round(camera_.event.media_s * FPS)
        alike[f"{name} thumbnail"] = [
            likeness(original[number], thumbnail, box) for box in persons(happened[number]).values()
        ]
        assert sorted(path.suffix for path in Path(clip.path).parent.iterdir()) == [".jpg", ".json", ".mp4"]
    plain, hidden = clips["plain"], clips["hidden"]
    assert hidden.codec == "h264"
    assert plain.media_start_s == hidden.media_start_s
    assert plain.end_time - plain.start_time == pytest.approx(hidden.end_time - hidden.start_time, abs=1e-3)
    times = {
        name: [round(1000 * frame.time) for frame in av.open(clip.path).decode(video=0)]
        for name, clip in clips.items()
    }
    assert times["plain"] == times["hidden"]
    assert len(alike["hidden"]) > 50
    assert max(alike["hidden"]) < GONE < min(alike["plain"])
    assert max(alike["hidden thumbnail"]) < GONE < min(alike["plain thumbnail"])
    background = np.abs(
        luma_by_number(hidden.path, first_number(hidden))[EVENT_AT].astype(int) - original[EVENT_AT]
    )
    assert np.median(background) < 3, "the rest is left alone"


def names_in(folder: Path) -> set[str]:
    return {path.name.split("-gate")[-1] for path in folder.rglob("*") if path.is_file()}


VICTIM = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from features.test_clip_privacy import Blurred, FPS, LENGTH_S, SPEC, Simulated, truth
made = Simulated(Path(sys.argv[1]), list(truth.frames(SPEC, FPS, LENGTH_S)), (Blurred.FACES,))
made.play(Path(sys.argv[2]), stop=60)
print("growing", flush=True)
time.sleep(60)
"""


def test_what_a_killed_program_leaves_is_covered_before_anything_else_sees_it(
    tmp_path: Path, drawn: dict[str, Path], happened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clips"
    command = [sys.executable, "-c", VICTIM, str(folder), str(drawn["libx264"])]
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen([*command, tests], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "growing\n"
        os.kill(victim.pid, signal.SIGKILL)
    assert {name for name in names_in(folder) if "event" not in name} == {".part.mp4", ".part.jsonl"}
    [part] = folder.rglob("*.part.mp4")
    stem = Path(str(part).removesuffix(".part.mp4"))
    # The one that covers it is killed as well.
    job = [sys.executable, "-m", hidden_clip.JOB, "0", str(stem), "null"]
    with subprocess.Popen(job, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        until(lambda: any(folder.rglob("*.new")), 30)
        os.kill(child.pid, signal.SIGKILL)
    assert not Path(f"{stem}.mp4").exists()
    made = Simulated(folder, happened, ())  # also when the option has been taken away meanwhile
    clip = made.end()
    assert (clip.state, clip.truncated, clip.codec) == (ClipState.FINISHED, True, "h264")
    original = luma_by_number(drawn["libx264"])
    alike = [
        likeness(original[number], picture, box)
        for number, picture in luma_by_number(clip.path, first_number(clip)).items()
        for box in persons(happened[number]).values()
    ]
    assert len(alike) > 20
    assert max(alike) < GONE
    assert sorted(path.suffix for path in stem.parent.iterdir()) == [".jpg", ".json", ".mp4"]


def part_of(tmp_path: Path, drawn: dict[str, Path], happened: list[Any]) -> tuple[Path, Clip]:
    """The parts of a covered clip that is to be settled, and its row."""
    made = Simulated(tmp_path / "clips", happened, (Blurred.FACES,))
    made.play(drawn["libx264"], stop=60)
    made.recorder._clip.close(whole=True)  # type: ignore[union-attr]
    [row] = made.rows
    return Path(row.path.removesuffix(".mp4")), row


def test_the_process_that_covers_ends_with_the_one_that_has_started_it(
    tmp_path: Path, drawn: dict[str, Path], happened: list[Any]
) -> None:
    stem, _ = part_of(tmp_path, drawn, happened)
    command = [sys.executable, "-m", hidden_clip.JOB, "0", str(stem), "null"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        until(Path(f"{stem}.mp4.new").exists, 30)
        assert Path(f"{stem}.part.whole.mp4").exists()
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(10) == 1
    assert not any(Path(f"{stem}{end}").exists() for end in hidden_clip.COPIES)
    assert not Path(f"{stem}.mp4").exists()


def test_nothing_has_the_clips_name_before_it_is_covered(
    tmp_path: Path, drawn: dict[str, Path], happened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stem, row = part_of(tmp_path, drawn, happened)
    seen: list[set[str]] = []

    def spy(source: Path, target: Path, **options: Any) -> Any:
        finished = transcoder.transcode(source, target.with_suffix(".spy"), **options)
        seen.append(names_in(stem.parent))
        target.with_suffix(".spy").replace(target)
        return finished

    monkeypatch.setattr(hidden_clip, "transcode", spy)
    clip = settle(stem, row)
    assert clip is not None
    assert [names & {".mp4", ".json"} for names in seen] == [set()]
    assert not any("part" in name for name in names_in(stem.parent))


def sweep_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ClipSweep, list[Any]]:
    """A sweep to which all files are old, of a database without rows; and what it writes there."""
    monkeypatch.setattr(clip_sweep, "read_identity", lambda connection: "a database")
    monkeypatch.setattr(clip_sweep, "read_listed_clips", lambda connection, source: [])
    sweep = ClipSweep(folder, contextlib.nullcontext, clock=lambda: time.time() + PART_OLD_S + 60)
    rows: list[Any] = []
    sweep.attach(rows.extend)
    return sweep, rows


#: What a power cut may make of the lines of a part.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "nul": lambda lines: bytes(len(lines)),
    "first line": lambda lines: bytes(lines.index(b"\n")) + lines[lines.index(b"\n") :],
    "torn": lambda lines: lines[:20],
    "torn before its end": lambda lines: lines[: lines.index(b"\n")],
    "no head": lambda lines: lines[lines.index(b"\n") + 1 :],
    "a number": lambda lines: b"7\n" + lines,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_video_of_which_nobody_can_tell_whether_to_cover_it_is_never_shown(
    tmp_path: Path,
    drawn: dict[str, Path],
    happened: list[Any],
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stem, row = part_of(tmp_path, drawn, happened)
    lines = Path(f"{stem}.part.jsonl")
    lines.write_bytes(DAMAGES[damage](lines.read_bytes()))
    parts = {path: path.read_bytes() for path in stem.parent.glob("*.part.*")}
    for blur in ((Blurred.FACES,), ()):
        for path, content in parts.items():
            path.write_bytes(content)
        clip = Simulated(tmp_path / "clips", happened, blur, {"open": [asdict(row)]}).end()
        assert (clip.state, clip.path) == (ClipState.LOST, "")
        assert {name for name in names_in(stem.parent) if "event" not in name} == set()
    assert "is lost: the first line of" in caplog.text
    for path, content in parts.items():
        path.write_bytes(content)
    sweep, rows = sweep_of(tmp_path / "clips", monkeypatch)
    sweep.look("gate")
    assert rows == []
    assert {name for name in names_in(stem.parent) if "event" not in name} == set()


@pytest.mark.parametrize(
    "damaged",
    [b"\0\0\0\0", b"[1,", b"7", b'{"hidden":[1e9,[[1,0.5]]]}', b'{"hidden":[-1.0,[]]}', b'{"hid":1}'],
)
def test_around_a_damaged_line_everything_is_covered(
    tmp_path: Path, drawn: dict[str, Path], happened: list[Any], damaged: bytes
) -> None:
    stem, row = part_of(tmp_path, drawn, happened)
    path = Path(f"{stem}.part.jsonl")
    lines = path.read_bytes().split(b"\n")
    hidden = [at for at, line in enumerate(lines) if line.startswith(b'{"hidden"')]
    at = hidden[len(hidden) // 2]
    position_s = json.loads(lines[at])["hidden"][0]
    path.write_bytes(b"\n".join([*lines[:at], damaged, *lines[at + 1 :]]))
    clip = settle(stem, row)
    assert clip is not None
    assert clip.state is ClipState.FINISHED
    json.loads(Path(clip.path).with_suffix(".json").read_text())
    original, first = luma_by_number(drawn["libx264"]), first_number(clip)
    whole = (0.0, 0.0, 1.0, 1.0 / UPPER)
    alike = {
        number: likeness(original[number], picture, np.array(whole))
        for number, picture in luma_by_number(clip.path, first).items()
    }
    number = first + round(position_s * FPS)
    assert max(alike[near] for near in range(number - 2, number + 2)) < GONE
    assert min(alike[number - 4], alike[number - 3], alike[number + 2], alike[number + 3]) > GONE


def test_no_copy_of_what_was_to_be_covered_stays(
    tmp_path: Path, drawn: dict[str, Path], happened: list[Any]
) -> None:
    stem, row = part_of(tmp_path, drawn, happened)
    copies = [Path(f"{stem}{end}") for end in hidden_clip.COPIES]
    for path in copies:
        path.write_bytes(b"raw")
    assert discard(stem, row) is not None
    assert {name for name in names_in(stem.parent) if "event" not in name} == set()
    others = [stem.with_name(name) for name in ("20231114T221321.250Z-yard.part.mp4", "notes.part.mp4")]
    for path in (*copies, *others, Path(f"{stem}.part.mp4")):
        path.write_bytes(b"raw")
    made = Simulated(tmp_path / "clips", happened, (Blurred.FACES,))
    made.recorder.end(0.0)
    made.recorder.close()
    assert {*stem.parent.iterdir()} == {*others}


def test_what_a_camera_has_left_behind_that_is_configured_no_more_is_covered(
    tmp_path: Path, drawn: dict[str, Path], happened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stem, row = part_of(tmp_path, drawn, happened)
    sweep, rows = sweep_of(tmp_path / "clips", monkeypatch)
    apart: list[Path] = []
    real = hidden_clip.settle_apart
    monkeypatch.setattr(
        hidden_clip, "settle_apart", lambda stem, known: apart.append(stem) or real(stem, known)
    )
    sweep.look("gate")
    [clip] = rows
    assert apart == [stem], "not in the process that looks after all cameras"
    assert (clip.state, clip.path, clip.codec) == (ClipState.FINISHED, row.path, "h264")
    assert not any("part" in name for name in names_in(stem.parent))


def test_a_camera_does_not_wait_for_a_clip_that_is_covered(
    tmp_path: Path, drawn: dict[str, Path], happened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()

    def slow(stem: Path, known: Clip | None, nice: int) -> Clip | None:
        may_go_on.wait(5)
        return settle(stem, known)

    monkeypatch.setattr(clip_finisher, "settle_apart", slow)
    monkeypatch.setattr(clip_recorder, "END_RECORDED_S", 0.1)
    made = Simulated(tmp_path / "clips", happened, (Blurred.FACES,))
    made.play(drawn["libx264"])
    made.rows += made.recorder.end(0.0)
    assert made.settled == []
    again = Event("gate", EventKind.CROSSING, "door", 7, "person", 1.0, 1.0, media_s=made.event.media_s)
    seen = replace(made._seen(fakes.frame(0, time.time())), results=[again])
    began_s = time.monotonic()
    made.recorder.observe(seen)
    assert time.monotonic() - began_s < 0.2
    until((tmp_path / "clips" / "gate" / picture_name(again.key)).exists, 5)
    may_go_on.set()
    made.end()


def test_what_cannot_be_covered_is_lost_and_never_shown(
    tmp_path: Path, drawn: dict[str, Path], happened: list[Any]
) -> None:
    stem, row = part_of(tmp_path, drawn, happened)
    part = Path(f"{stem}.part.mp4")
    part.write_bytes(part.read_bytes()[:2000])
    clip = settle(stem, row)
    assert clip is not None
    assert (clip.state, clip.path, clip.thumbnail) == (ClipState.LOST, "", "")
    assert names_in(stem.parent) == set()


def test_a_process_that_crashes_again_and_again_costs_the_clip_and_no_more(
    tmp_path: Path,
    drawn: dict[str, Path],
    happened: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(hidden_clip, "JOB", "sightline.no_such_module")
    monkeypatch.setattr(clip_finisher, "RETRY_S", 0.0)
    made = Simulated(tmp_path / "clips", happened, (Blurred.FACES,))
    made.play(drawn["libx264"])
    clip = made.end()
    assert (clip.state, clip.path) == (ClipState.LOST, "")
    assert "cannot be finished: it is deleted" in caplog.text
    assert names_in(tmp_path) == set()


def test_a_turned_picture_is_covered_where_it_is_shown_and_for_the_slack_of_its_times(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "v.mp4", frames=20, turn=(90, False, False), pixel_aspect=(2, 1))
    upper = [(1, 0.0, 0.0, 1.0, 0.25)]
    frames = [(n / 10, upper if n == 10 else []) for n in range(-5, 25)]
    covered: dict[float, list[bool]] = {}
    for slack_s in (0.0, 0.3):
        target = tmp_path / f"{slack_s}.mp4"
        assert hidden_clip.covered(video, target, Hiding(slack_s), frames) is not None
        with av.open(str(target)) as file:
            shown = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
        assert {picture.shape for picture in shown} == {(640, 240)}
        covered[slack_s] = [len(np.unique(picture[10:150, 120])) < 10 for picture in shown]
        assert all(len(np.unique(picture[170:630, 120])) > 20 for picture in shown)
    assert [n for n, hidden in enumerate(covered[0.0]) if hidden] == [
        *range(5, 20)
    ]  # and what leads, and holds
    assert [n for n, hidden in enumerate(covered[0.3]) if hidden] == [*range(2, 20)]


def test_a_model_that_cannot_say_what_to_cover_gets_no_clips(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = ClipRecorder("gate", ClipOptions(enabled=True, folder=tmp_path), blur=(Blurred.PLATES,))
    event = Event("gate", EventKind.CROSSING, "door", 7, "person", 1.0, 1.0, media_s=1.0)
    recorder.observe(replace(Watched(["person"])(frame_at(1.0)), results=[event]))
    recorder.end(1.0)
    recorder.close()
    assert recorder.missed == 1
    assert "no clips are kept: privacy.blur: plates: none of the model's classes" in caplog.text
    assert names_in(tmp_path) == set()


def test_what_another_version_cannot_tell_is_covered_whole(tmp_path: Path) -> None:
    """The names of a camera's classes stay known when a version that lacks them serves."""
    video = numbered_clip(tmp_path / "v.mp4", 40, noise=100)
    recorder = ClipRecorder(
        "gate",
        ClipOptions(enabled=True, folder=tmp_path / "clips", pre_s=1, post_s=1),
        lossless=True,
        blur=(Blurred.FACES,),
    )
    analysis = CameraAnalysis(AnalysisOptions("gate"))
    rows: list[Clip] = []
    with playing(video, recorder) as frames:
        for frame in frames:
            names = ("person", "car") if frame.index < 15 else ("car",)
            model = ModelInfo("detector", str(len(names)), names, 96, 64, "fp32", 0.1)
            seen = analysis.observe(frame, replace(Detections.empty(), model=model))
            event = Event("gate", EventKind.CROSSING, "door", 7, "person", 1.0, 1.0, media_s=1.0)
            rows += recorder.observe(replace(seen, results=[event] if frame.index == 10 else []))
    rows += recorder.end(0.0)
    until(lambda: rows.extend(recorder.tick(0.0, False)) or rows[-1].state is ClipState.FINISHED, 60)
    recorder.close()
    steps = [np.abs(np.diff(luma[30:].astype(int))).mean() for luma in luma_by_number(rows[-1].path).values()]
    assert [step > 8 for step in steps] == [number < 15 for number in range(len(steps))]


def no_candidate(model: str) -> NoReturn:
    raise AssertionError(model)


def test_without_an_encoder_there_are_no_clips_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcoder, "ENCODER", "libnothing")
    raw = {
        "clips": {"enabled": True, "folder": str(tmp_path)},
        "cameras": {"gate": {"url": "rtsp://h/", "privacy": {"blur": ["faces"]}}},
    }
    watched = parse_config(raw).cameras["gate"]
    context = FeatureContext(watched, None, "", True, lambda: False, no_candidate, OpenGate("", 1))
    with pytest.raises(SightlineError, match=r"no libx264.*clips\.enabled: false"):
        clip_recorder.make(context)


def test_a_workers_clip_and_the_picture_in_the_email_are_covered(tmp_path: Path) -> None:
    video = numbered_clip(tmp_path / "v.mp4", 60, noise=100)
    clips = {"enabled": True, "folder": str(tmp_path / "clips"), "pre_s": 1, "post_s": 1}
    gate = {
        "url": str(video),
        "rules": {"zones": {"all": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}}},
        "clips": clips,
        "privacy": {"blur": ["persons"]},
    }
    mail = Mail(free_port())
    rules = {"all": {"kinds": ["enter"], "routes": ["guards"]}}
    database = {"url": f"sqlite:///{tmp_path}/counts.db"}
    raw = {"allow": {"files": True}, "database": database, "cameras": {"gate": gate}}
    config = parse_config(raw | {"alerts": {"rules": rules, "routes": {"guards": {"apprise": mail.url}}}})
    mail.start()
    with running(tmp_path, *make_sinks(config.options)) as hub, WithVideo() as rig:
        hub.update_cameras(config.cameras)
        taken = 0

        def go_on() -> bool:
            nonlocal taken
            reports = rig.reports("gate")
            for report in reports[taken:]:
                hub.take(report)
            taken = len(reports)
            return bool(mail.messages) and any(report.last for report in reports)

        rig.add("gate", until_end=True, **gate)
        until(go_on, 30)
        rows = {row.state: row for row in rig.rows("gate", Clip)}
    mail.stop()
    [picture] = mail.messages[0].iter_attachments()
    clip = rows[ClipState.FINISHED]
    assert picture.get_content() == Path(clip.thumbnail).read_bytes()
    left, top, right, bottom = (round(side * size) for side, size in zip(PERSON, (320, 240) * 2, strict=True))
    shown = [*luma_by_number(clip.path).values()]
    assert len(shown) == 60
    with av.open(clip.thumbnail) as file:
        thumbnail = next(file.decode(video=0)).to_ndarray(format="gray")
    for luma in (*shown, thumbnail):
        inner = luma[top + 4 : bottom - 4, left + 6 : right - 6].astype(int)  # within the thumbnail's red box
        assert np.abs(np.diff(inner, axis=1)).mean() < 6 < np.abs(np.diff(luma[30:, 200:].astype(int))).mean()
