"""Our tracker beside the `trackers` library's ByteTrack, on the same detections.

    python tools/bench/bench_tracker.py                 # ours alone
    pip install 'trackers==2.6.*'                 # in an environment of its own, for the library's columns
    python tools/bench/bench_tracker.py --json out.json --detections DIR

Quality: IDF1, HOTA, identity switches and the number of tracks against the number of objects, on the
simulated street of ``street.py`` at several frame rates. Both trackers get the same thresholds, and
of both only tracks count that lasted half a second. Speed: ms per update with 10, 40 and 100 objects.
``--detections`` takes saved detections of real videos (npz: frame, xyxy, scores, class_ids, times).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sightline.analysis.timebase import Timebase
from sightline.analysis.tracking.assignment import assign
from sightline.analysis.tracking.tracker import Tracker, TrackerOptions
from sightline.base.geometry import iou_matrix
from sightline.entities import Detections

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from bench.tracker_street import Street, StreetOptions, StreetSample

RATES = (5, 10, 15, 30)
LASTED_S = 0.5
FIRST_STREET = 100
HOTA_THRESHOLDS = tuple(np.arange(0.05, 0.99, 0.05).tolist())
Seen = tuple[np.ndarray, np.ndarray]  # ids [N], xyxy [N, 4] of one frame
Update = Callable[[Detections, float], Seen]


class Quality(NamedTuple):
    """How well identities were kept, over one or more sequences."""

    idf1: float
    hota: float
    switches: float
    tracks: float  # that lasted
    objects: float  # that were in view for as long


def ours(options: TrackerOptions | None = None) -> Update:
    """Sightline's tracker."""
    tracker, timebase = Tracker(options or TrackerOptions()), Timebase(max_gap_s=10.0)

    def update(detections: Detections, now: float) -> Seen:
        tracks = tracker.update(detections, timebase.advance(now))
        return tracks.ids, tracks.xyxy

    return update


def library(fps: float, *, timed: bool, size: tuple[int, int] = (1280, 720), **options: Any) -> Update:
    """The library's ByteTrack, with our thresholds; ``timed`` gives it timestamps instead of a frame rate."""
    import supervision
    from trackers import ByteTrackTracker

    defaults: dict[str, Any] = {
        "lost_track_buffer": 90,  # of 1/30 s: 3 s
        "track_activation_threshold": 0.25,
        "high_conf_det_threshold": 0.25,
        "minimum_iou_threshold": 0.2,
        "minimum_consecutive_frames": 1,
    }
    tracker = ByteTrackTracker(frame_rate=30.0 if timed else fps, **{**defaults, **options})
    scale = np.array([*size, *size], np.float32)

    def update(detections: Detections, now: float) -> Seen:
        boxes = supervision.Detections(
            xyxy=detections.xyxy * scale, confidence=detections.scores, class_id=detections.class_ids
        )
        found = tracker.update(boxes, timestamp=now) if timed else tracker.update(boxes)
        known = found.tracker_id >= 0
        return found.tracker_id[known], found.xyxy[known].astype(np.float32) / scale

    return update


# -- quality -------------------------------------------------------------------------------------


def follow(update: Update, samples: Sequence[StreetSample]) -> list[Seen]:
    """Run a tracker over samples and keep the tracks that lasted."""
    frames = [update(sample.detections, 1e9 + sample.time) for sample in samples]
    lasting = _lasting([ids for ids, _ in frames], [sample.time for sample in samples])
    return [(ids[kept], xyxy[kept]) for ids, xyxy in frames for kept in [np.isin(ids, lasting)]]


def _lasting(ids: Iterable[np.ndarray], times: Iterable[float]) -> list[int]:
    spans: dict[int, list[float]] = {}
    for present, now in zip(ids, times, strict=True):
        for one in present.tolist():
            spans.setdefault(one, [now, now])[1] = now
    return [one for one, (first, last) in spans.items() if last - first >= LASTED_S - 1e-6]


def judge(
    samples: Sequence[StreetSample], found: Sequence[Seen], thresholds: Sequence[float] = HOTA_THRESHOLDS
) -> Quality:
    """IDF1 (boxes agree from IoU 0.5), HOTA over ``thresholds``, identity switches, numbers of tracks."""
    truth = [sample.truth_ids for sample in samples]
    alike = [iou_matrix(sample.truth_xyxy, xyxy) for sample, (_, xyxy) in zip(samples, found, strict=True)]
    true_rows, track_rows = _numbered(truth), _numbered([ids for ids, _ in found])
    sizes = _count(true_rows), _count(track_rows)
    agree = np.zeros((len(sizes[0]), len(sizes[1])))
    for rows, columns, iou in zip(true_rows, track_rows, alike, strict=True):
        np.add.at(agree, np.ix_(rows, columns), iou >= 0.5)
    rows, columns = assign(-agree, 0.0)
    idf1 = 2 * agree[rows, columns].sum() / max(sizes[0].sum() + sizes[1].sum(), 1)
    hota = statistics.fmean(_hota(true_rows, track_rows, alike, sizes, at) for at in thresholds)
    objects = len(_lasting(truth, [sample.time for sample in samples]))
    return Quality(float(idf1), hota, _switches(true_rows, track_rows, alike), len(sizes[1]), objects)


def _hota(
    true_rows: list[np.ndarray],
    track_rows: list[np.ndarray],
    alike: list[np.ndarray],
    sizes: tuple[np.ndarray, np.ndarray],
    at: float,
) -> float:
    """HOTA at one threshold (Luiten et al. 2020): frames are matched with identities in mind."""
    jaccard = np.zeros((len(sizes[0]), len(sizes[1])))
    for rows, columns, iou in zip(true_rows, track_rows, alike, strict=True):
        total = iou.sum(0, keepdims=True) + iou.sum(1, keepdims=True) - iou
        np.add.at(jaccard, np.ix_(rows, columns), iou / np.maximum(total, 1e-9))
    jaccard /= np.maximum(sizes[0][:, None] + sizes[1][None] - jaccard, 1e-9)
    together = np.zeros_like(jaccard)
    for rows, columns, iou in zip(true_rows, track_rows, alike, strict=True):
        score = np.where(iou >= at, jaccard[np.ix_(rows, columns)] * iou + 1e-6, 0)
        chosen, taken = assign(-score, 0.0)
        np.add.at(together, (rows[chosen], columns[taken]), 1)
    hits = together.sum()
    if not hits:
        return 0.0
    association = (together**2 / np.maximum(sizes[0][:, None] + sizes[1][None] - together, 1)).sum() / hits
    detection = hits / (sizes[0].sum() + sizes[1].sum() - hits)
    return float(np.sqrt(association * detection))


def _switches(true_rows: list[np.ndarray], track_rows: list[np.ndarray], alike: list[np.ndarray]) -> int:
    last: dict[int, int] = {}
    switches = 0
    for rows, columns, iou in zip(true_rows, track_rows, alike, strict=True):
        held = np.array([[last.get(row) == column for column in columns] for row in rows]).reshape(iou.shape)
        chosen, taken = assign(-np.where(iou >= 0.5, iou + held, 0), 0.0)
        for row, column in zip(rows[chosen].tolist(), columns[taken].tolist(), strict=True):
            switches += last.get(row, column) != column
            last[row] = column
    return switches


def _numbered(ids: Sequence[np.ndarray]) -> list[np.ndarray]:
    every = np.unique(np.concatenate(ids)) if ids else np.zeros(0)
    return [np.searchsorted(every, present) for present in ids]


def _count(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.bincount(np.concatenate(rows)) if rows else np.zeros(0, int)


def quality_table(seeds: int, makers: dict[str, Callable[[int], Update]]) -> list[dict[str, Any]]:
    """One row a tracker and frame rate: the mean over several streets of three densities.

    The tracker's numbers were chosen while looking at streets 0 to 5; these are others.
    """
    rows: list[dict[str, Any]] = []
    if not seeds:
        return rows
    densities = [StreetOptions(people_a_minute=20), StreetOptions(), StreetOptions(people_a_minute=60)]
    streets = [
        Street(seed, densities[seed % len(densities)]) for seed in range(FIRST_STREET, FIRST_STREET + seeds)
    ]
    for fps in RATES:
        samples = [street.frames(fps) for street in streets]
        for name, make in makers.items():
            each = [judge(one, follow(make(fps), one)) for one in samples]
            mean = Quality(*(statistics.fmean(column) for column in zip(*each, strict=True)))
            rows.append({"tracker": name, "fps": fps, **mean._asdict()})
    return rows


# -- speed ---------------------------------------------------------------------------------------


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
    return statistics.median(spent[30:]) * 1e3


# -- real detections -----------------------------------------------------------------------------


def load(path: Path) -> list[StreetSample]:
    """Saved detections of a video, without a truth."""
    saved = np.load(path)
    ends = np.searchsorted(saved["frame"], np.arange(len(saved["times"]) + 1))
    nothing = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    return [
        StreetSample(
            float(now), *nothing, Detections(*(saved[key][a:b] for key in ("xyxy", "scores", "class_ids")))
        )
        for now, a, b in zip(saved["times"], ends[:-1], ends[1:], strict=True)
    ]


def count_confirmed(samples: Sequence[StreetSample], options: TrackerOptions) -> dict[int, int]:
    """Distinct confirmed tracks by class id."""
    tracker, timebase, class_of = Tracker(options), Timebase(max_gap_s=10.0), dict[int, int]()
    for sample in samples:
        tracks = tracker.update(sample.detections, timebase.advance(1e9 + sample.time))
        class_of.update(
            zip(
                tracks.ids[tracks.confirmed].tolist(),
                tracks.class_ids[tracks.confirmed].tolist(),
                strict=True,
            )
        )
    classes = sorted(class_of.values())
    return {one: classes.count(one) for one in classes}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Our tracker beside the trackers library's ByteTrack.")
    parser.add_argument(
        "--streets", type=int, default=6, help="simulated streets, a minute each; 0: speed only"
    )
    parser.add_argument("--detections", type=Path, help="folder of saved detections (npz) to count")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    arguments = parser.parse_args()
    makers: dict[str, Callable[[int], Update]] = {"sightline": lambda _: ours()}
    result: dict[str, Any] = {"numpy": np.__version__}
    try:
        result["trackers"] = version("trackers")
        makers["library, frames"] = lambda fps: library(fps, timed=False)
        makers["library, times"] = lambda fps: library(fps, timed=True)
    except ModuleNotFoundError:
        print("the library 'trackers' is not installed: ours alone")
    warnings.filterwarnings("ignore", category=FutureWarning)
    result["quality"] = quality_table(arguments.streets, makers)
    print(f"{'tracker':16} {'fps':>3} {'IDF1':>6} {'HOTA':>6} {'switches':>8} {'tracks':>7} {'objects':>7}")
    for row in result["quality"]:
        figures = "{idf1:6.3f} {hota:6.3f} {switches:8.1f} {tracks:7.1f} {objects:7.1f}".format(**row)
        print(f"{row['tracker']:16} {row['fps']:3} {figures}")
    result["speed_ms"] = {
        name: {n: round(speed(lambda make=make: make(10), n), 3) for n in (10, 40, 100)}  # type: ignore[misc]
        for name, make in makers.items()
    }
    for name, spent in result["speed_ms"].items():
        print(f"{name:16} ms per update: " + ", ".join(f"{n} objects {ms:.2f}" for n, ms in spent.items()))
    for path in sorted(arguments.detections.glob("*.npz")) if arguments.detections else []:
        samples = load(path)
        for every in (1, 2):
            print(path.stem, f"every {every}:", count_confirmed(samples[::every], TrackerOptions()))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
