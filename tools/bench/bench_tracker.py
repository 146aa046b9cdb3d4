"""Our tracker beside the `trackers` library's ByteTrack, on the same detections.

    python tools/bench/bench_tracker.py           # ours alone
    pip install 'trackers==2.6.*'                 # in an environment of its own, for the library's rows
    python tools/bench/bench_tracker.py --json out.json --detections DIR

Quality: IDF1 and HOTA (TrackEval), identity switches, and tracks against objects, on simulated scenes watched
by an imperfect detector at several frame rates. Both trackers get the same thresholds, and of both only
tracks that lasted half a second count. Speed: ms per update with 10, 40 and 100 objects. ``--detections``
takes saved detections of real videos (npz: frame, xyxy, scores, class_ids, times).

Truth and the detector's faults live on a clock of 30 ticks a second, so the same scene can be watched at 5,
10, 15 or 30 fps: only the frames between are missing. Scores wander (a weak moment lasts a few tenths of a
second, as on real video), boxes tremble, hidden objects give cropped boxes or none, vehicles flicker between
two classes, and false boxes come and go.
"""

import json
import time
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.classes import ClassTable
from sightline.analysis.options import TrackerOptions
from sightline.analysis.timebase import Timebase
from sightline.analysis.tracking.tracker import Tracker
from sightline.base.geometry import iou_matrix
from sightline.entities import Detections
from sightline.serving.runtime.numerics import suppress
from sightline.simulation.scenes import truth
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.truth import CLASSES
from sightline.simulation.scenes.visibility import FrameTruth
from sightline.simulation.selftest.box_scores import IdentitySample, identity, trackeval_sequence

TICKS = 30  # a second
SCORE_FLOOR = 0.1
MAX_HIDDEN = 0.8  # objects hidden more than this are not in the truth
MIN_HEIGHT = 0.03  # of the picture; smaller objects are not in it either
SCORE, SCORE_WANDER = 0.72, 0.15  # of an object in full view: mean, and how far it wanders
TREMBLE = 0.03  # of the box's own sides
FALSE_BOXES_A_SECOND = 1.0
FLICKER = {"car": "truck", "truck": "car", "van": "car", "bus": "truck"}
F64 = NDArray[np.float64]
RATES = (5, 10, 15, 30)
LASTED_S = 0.5
#: Seeds from 101 on: the tracker's numbers were chosen while looking at others.
SCENES = (
    SceneSpec("street", 101, camera=5),
    SceneSpec("street", 102, camera=5, people=3.0),
    SceneSpec("shop", 103, camera=0, people=2.0),
    SceneSpec("street", 104, camera=0, people=2.0),
    SceneSpec("shop", 105, camera=1),
)
TrackedBoxes = tuple[np.ndarray, np.ndarray]  # ids [N], xyxy [N, 4] of one frame
Update = Callable[[Detections, float], TrackedBoxes]
Maker = Callable[[int], Update]  # from frames a second


@dataclass(frozen=True, slots=True)
class TrackerSample:
    """One frame: what is there (ids [N], xyxy [N, 4] in 0..1), and what the detector says of it."""

    time: float
    true_ids: NDArray[np.int64]
    true_xyxy: NDArray[np.float32]
    detections: Detections


class ImperfectDetector:
    """A detector that has watched one scene; the same for the same arguments."""

    def __init__(self, spec: SceneSpec, length_s: float = 60.0) -> None:
        self._random = np.random.default_rng([spec.seed, 60])
        self._frames = list(truth.frames(spec, TICKS, length_s))
        self._scale = np.array([spec.width, spec.height] * 2, np.float64)
        known = sorted({one for frame in self._frames for one in frame.ids.tolist()})
        self._row = {one: row for row, one in enumerate(known)}
        shape = (len(self._row), len(self._frames))
        self._wander = self._wandering(shape, 0.3) * SCORE_WANDER
        self._tremble = np.stack([self._wandering(shape, 0.05) for _ in range(4)], -1) * TREMBLE
        self._mistaken = self._wandering(shape, 0.3) > 0.8  # about a fifth of the time
        random = self._random
        self._false = []  # first and last second, xyxy, score and class of each
        for _ in range(random.poisson(FALSE_BOXES_A_SECOND * length_s)):
            start, height = random.uniform(0, length_s), random.uniform(0.05, 0.3)
            left, top = random.uniform(0, 0.9), random.uniform(0.2, 0.7)
            box = np.array([left, top, left + height * 0.45, top + height]).clip(0, 1)
            kind = CLASSES.index(str(random.choice(["person", "car"])))
            last, score = start + random.exponential(0.15), 0.1 + random.exponential(0.12)
            self._false.append((start, last, box, score, kind))

    def samples(self, fps: int) -> list[TrackerSample]:
        """What it sees at ``fps``, a divisor of :data:`TICKS`."""
        samples = []
        for tick in range(0, len(self._frames), TICKS // fps):
            frame = self._frames[tick]
            full = frame.full_xyxy / self._scale
            there = (frame.occlusion <= MAX_HIDDEN) & (full[:, 3] - full[:, 1] > MIN_HEIGHT)
            true = frame.ids[there], full[there].astype(np.float32)
            samples.append(TrackerSample(frame.time_s, *true, self._detect(frame, tick)))
        return samples

    def _wandering(self, shape: tuple[int, int], memory_s: float) -> F64:
        """Noise of spread 1 that remembers for ``memory_s``."""
        keep = np.exp(-1 / TICKS / memory_s)
        noise = self._random.normal(size=shape)
        for tick in range(1, shape[1]):
            noise[:, tick] = keep * noise[:, tick - 1] + np.sqrt(1 - keep**2) * noise[:, tick]
        return noise

    def _detect(self, frame: FrameTruth, tick: int) -> Detections:
        rows = [self._row[one] for one in frame.ids.tolist()]
        hidden = frame.occlusion[:, None] > 0.3
        xyxy = np.where(hidden, frame.visible_xyxy, frame.full_xyxy) / self._scale
        shown = np.clip((1 - frame.occlusion) * (1 - frame.truncation), 0, 1)
        scores = np.clip(SCORE * np.sqrt(shown) + self._wander[rows, tick], 0, 0.99)
        scores[shown < 0.1] = 0
        xyxy = xyxy + np.tile(xyxy[:, 2:] - xyxy[:, :2], 2) * self._tremble[rows, tick]
        mistaken = zip(frame.kinds, self._mistaken[rows, tick], strict=True)
        kinds = [FLICKER.get(kind, kind) if wrong else kind for kind, wrong in mistaken]
        classes = np.array([CLASSES.index(kind) for kind in kinds], np.int32)
        for first, last, box, score, kind in self._false:
            if first <= frame.time_s < last:
                xyxy, scores = np.vstack([xyxy, box]), np.append(scores, score)
                classes = np.append(classes, np.int32(kind))
        found = Detections(xyxy.clip(0, 1).astype(np.float32), scores.astype(np.float32), classes)
        found = found.take(np.flatnonzero(scores >= SCORE_FLOOR))
        found = found.take(np.argsort(-found.scores, kind="stable"))
        return found.take(suppress(found.xyxy, found.class_ids))


class Quality(NamedTuple):
    """How well identities were kept, over one or more scenes."""

    idf1: float
    hota: float
    switches: int
    tracks: int  # that lasted
    objects: int  # that were in view as long


def ours() -> Update:
    """Sightline's tracker."""
    alike = ClassTable(enumerate(CLASSES)).alike
    tracker, timebase = Tracker(TrackerOptions(), alike=alike), Timebase(max_gap_s=10.0)

    def update(detections: Detections, now: float) -> TrackedBoxes:
        tracks = tracker.update(detections, timebase.advance(now))
        return tracks.ids, tracks.xyxy

    return update


def library(fps: float, *, timed: bool) -> Update:
    """The library's ByteTrack, with our thresholds; ``timed`` gives it timestamps instead of a frame rate."""
    import supervision
    from trackers import ByteTrackTracker

    tracker = ByteTrackTracker(
        frame_rate=30.0 if timed else fps,
        lost_track_buffer=90,  # of 1/30 s: 3 s
        track_activation_threshold=0.25,
        high_conf_det_threshold=0.25,
        minimum_iou_threshold=0.2,
        minimum_consecutive_frames=1,
    )
    scale = np.array([1280, 720, 1280, 720], np.float32)

    def update(detections: Detections, now: float) -> TrackedBoxes:
        boxes = supervision.Detections(
            xyxy=detections.xyxy * scale, confidence=detections.scores, class_id=detections.class_ids
        )
        tracked = tracker.update(boxes, timestamp=now) if timed else tracker.update(boxes)
        known = tracked.tracker_id >= 0
        return tracked.tracker_id[known], tracked.xyxy[known].astype(np.float32) / scale

    return update


def follow(update: Update, samples: Sequence[TrackerSample]) -> list[TrackedBoxes]:
    """Run a tracker over samples and keep the tracks that lasted."""
    frames = [update(sample.detections, 1e9 + sample.time) for sample in samples]
    lasting = _lasting([ids for ids, _ in frames], samples)
    kept = [np.isin(ids, lasting) for ids, _ in frames]
    return [(ids[rows], xyxy[rows]) for (ids, xyxy), rows in zip(frames, kept, strict=True)]


def _lasting(ids: Iterable[np.ndarray], samples: Iterable[TrackerSample]) -> list[int]:
    spans: dict[int, list[float]] = {}
    for present, sample in zip(ids, samples, strict=True):
        for one in present.tolist():
            spans.setdefault(one, [sample.time, sample.time])[1] = sample.time
    return [one for one, (first, last) in spans.items() if last - first >= LASTED_S - 1e-6]


def judge(scenes: Sequence[tuple[Sequence[TrackerSample], Sequence[TrackedBoxes]]]) -> Quality:
    """The figures over all scenes together: samples, and what a tracker made of them."""
    sequences = [
        [
            IdentitySample(sample.true_ids, ids, iou_matrix(sample.true_xyxy, xyxy))
            for sample, (ids, xyxy) in zip(samples, tracked, strict=True)
        ]
        for samples, tracked in scenes
    ]
    scores = identity(sequences)
    if scores is None:
        raise SystemExit("TrackEval is needed: pip install 'sightline[selftest]'")
    from trackeval.metrics import CLEAR

    clear = CLEAR({"PRINT_CONFIG": False})
    switches = sum(int(clear.eval_sequence(trackeval_sequence(each))["IDSW"]) for each in sequences)
    tracks = sum(len({one for ids, _ in tracked for one in ids.tolist()}) for _, tracked in scenes)
    objects = sum(len(_lasting([one.true_ids for one in samples], samples)) for samples, _ in scenes)
    return Quality(scores.idf1, scores.hota, switches, tracks, objects)


def speed(make: Callable[[], Update], objects: int, frames: int = 300) -> float:
    """Median ms per update with ``objects`` moving boxes."""
    random = np.random.default_rng(objects)
    centre = random.uniform(0.1, 0.9, (objects, 2))
    going = random.normal(0, 0.02, (objects, 2))
    half = np.stack([np.full(objects, 0.02), np.full(objects, 0.08)], -1)
    update, spent = make(), []
    for frame in range(frames):
        place = 0.1 + np.abs((centre + going * frame / 10 - 0.1) % 1.6 - 0.8)
        place += random.normal(0, 0.001, place.shape)
        xyxy = np.concatenate([place - half, place + half], 1).clip(0, 1).astype(np.float32)
        scores = random.uniform(0.3, 0.9, objects).astype(np.float32)
        detections = Detections(xyxy, scores, np.zeros(objects, np.int32))
        begun = time.perf_counter()
        update(detections, 1e9 + frame / 10)
        spent.append(time.perf_counter() - begun)
    return float(np.median(spent[30:])) * 1e3


def count_confirmed(frames: Iterable[tuple[float, Detections]]) -> dict[int, int]:
    """Distinct confirmed tracks by class id."""
    tracker, timebase, class_of = Tracker(TrackerOptions()), Timebase(max_gap_s=10.0), dict[int, int]()
    for now, detections in frames:
        tracks = tracker.update(detections, timebase.advance(1e9 + now))
        sure = tracks.confirmed
        class_of |= dict(zip(tracks.ids[sure].tolist(), tracks.class_ids[sure].tolist(), strict=True))
    return dict(sorted(Counter(class_of.values()).items()))


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=len(SCENES), help="simulated scenes; 0: speed only")
    parser.add_argument("--length", type=float, default=60.0, help="seconds of each (default: %(default)g)")
    parser.add_argument("--detections", type=Path, help="folder of saved detections (npz) to count")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    arguments = parser.parse_args()
    makers: dict[str, Maker] = {"sightline": lambda _: ours()}
    result: dict[str, Any] = {"numpy": np.__version__}
    try:
        result["trackers"] = version("trackers")
        makers["library, frames"] = lambda fps: library(fps, timed=False)
        makers["library, times"] = lambda fps: library(fps, timed=True)
    except ModuleNotFoundError:
        print("the library 'trackers' is not installed: ours alone")
    warnings.filterwarnings("ignore", category=FutureWarning)
    result["quality"] = []  # a row for each tracker and frame rate
    detectors = [ImperfectDetector(spec, arguments.length) for spec in SCENES[: arguments.scenes]]
    for fps in RATES if detectors else ():
        scenes = [detector.samples(fps) for detector in detectors]
        for name, make in makers.items():
            quality = judge([(samples, follow(make(fps), samples)) for samples in scenes])
            result["quality"].append({"tracker": name, "fps": fps, **quality._asdict()})
    print(f"{'tracker':16} {'fps':>3} {'IDF1':>6} {'HOTA':>6} {'switches':>8} {'tracks':>7} {'objects':>7}")
    form = "{tracker:16} {fps:3} {idf1:6.3f} {hota:6.3f} {switches:8} {tracks:7} {objects:7}"
    for row in result["quality"]:
        print(form.format(**row))
    result["speed_ms"] = {
        name: {n: round(speed(partial(make, 10), n), 3) for n in (10, 40, 100)}
        for name, make in makers.items()
    }
    for name, spent in result["speed_ms"].items():
        print(f"{name:16} ms per update: " + ", ".join(f"{n} objects {ms:.2f}" for n, ms in spent.items()))
    for path in sorted(arguments.detections.glob("*.npz")) if arguments.detections else []:
        saved = np.load(path)
        edges = np.searchsorted(saved["frame"], np.arange(1, len(saved["times"])))
        columns = (np.split(saved[key], edges) for key in ("xyxy", "scores", "class_ids"))
        frames = list(zip(saved["times"].tolist(), map(Detections, *columns), strict=True))
        for every in (1, 2):
            print(path.stem, f"every {every}:", count_confirmed(frames[::every]))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
