"""How right crossings and identities can be at best: truth's own boxes through tracker and rules, no network.

    python tools/upper_bound.py --seeds 11 12 13 --length 150 --fps 5 10

Boxes get mild noise; who is hidden by more than 80 % or very small has none; some are missed. What is wrong
here is the tracker's, the rules' or the line's doing, not the detector's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sightline.entities import Detections, Event
from sightline.places import Line, Zone
from sightline.rules import Rules
from sightline.scenes import truth
from sightline.scenes.formats import CLASSES
from sightline.scenes.placing import camera_places
from sightline.scenes.spec import SCENES, SceneSpec
from sightline.scenes.visibility import FrameTruth
from sightline.selftest import known
from sightline.selftest.cast import BEST_CAMERA
from sightline.selftest.figures import CROSSINGS, VISITS
from sightline.selftest.identity import identity
from sightline.selftest.known import Happening, Known
from sightline.selftest.looks import Moment, moments
from sightline.selftest.matching import Matched, match
from sightline.tracker import Tracker, TrackerOptions
from sightline.tracklog import TrackedFrame

START = 1_000_000_000.0


def boxes_of(frame: FrameTruth, spec: SceneSpec, random: np.random.Generator) -> Detections:
    """What a good detector might find in one frame."""
    shown = frame.visible_xyxy.copy()
    whole = frame.occlusion <= 0.3
    shown[whole] = frame.full_xyxy[whole]
    sides = shown[:, 2:] - shown[:, :2]
    large = (sides.max(axis=1, initial=0) >= 12) & (sides.min(axis=1, initial=99) >= 5)
    kept = (frame.occlusion <= known.MOST_HIDDEN) & large
    kept &= random.random(len(frame)) < np.where(frame.occlusion < 0.5, 0.97, 0.8)
    xyxy = shown + random.normal(0, 0.02, shown.shape) * np.tile(sides, 2)
    xyxy = np.clip(xyxy / np.array([spec.width, spec.height] * 2), 0, 1)
    scores = np.clip(random.normal(0.75 - 0.4 * frame.occlusion, 0.1), 0.15, 0.98)
    kinds = np.array([CLASSES.index(kind) for kind in frame.kinds], np.int32)
    return Detections(xyxy[kept].astype(np.float32), scores[kept].astype(np.float32), kinds[kept])


def follow(
    spec: SceneSpec, frames: Sequence[FrameTruth], options: TrackerOptions
) -> tuple[list[Happening], list[TrackedFrame]]:
    """Tracker and rules over frames: what they claim, and what the tracker saw."""
    places = camera_places(spec)
    rules = Rules(
        "bound",
        {name: Line(**line) for name, line in places["lines"].items()},
        {name: Zone(**zone) for name, zone in places["zones"].items()},
    )
    rules.use_model(CLASSES)
    tracker, random = Tracker(options), np.random.default_rng(spec.seed)
    events: list[Event] = []
    kept = []
    for frame in frames:
        detections = boxes_of(frame, spec, random)
        tracks = tracker.update(detections, START + frame.time_s)
        events += rules.observe(tracks, START + frame.time_s)
        boxes = detections.xyxy, detections.scores, detections.class_ids
        tracked = tracks.ids, tracks.xyxy, tracks.class_ids, tracks.confirmed
        times = START + frame.time_s, frame.time_s, 0.0, frame.time_s, None
        kept.append(TrackedFrame(*times, CLASSES, *boxes, *tracked))
    claims = [
        Happening(e.event_time - START, e.place, e.direction or str(e.kind), e.item_class, e.track_id)
        for e in events
        if e.kind in ("crossing", "enter", "leave")
    ]
    return claims, kept


def _of(happenings: Sequence[Happening], whats: tuple[str, str]) -> list[Happening]:
    return [h for h in happenings if h.what in whats]


def prepared(spec: SceneSpec, fps: float, length_s: float, folder: Path) -> tuple[Known, list[FrameTruth]]:
    """Truth, and its frames at a rate; kept in a folder, since they take a while."""
    import pickle

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{spec.scene}-{spec.seed}-{spec.camera}-{fps:g}-{length_s:g}.pickle"
    if not path.is_file():
        made = known.work_out(spec, length_s), list(truth.frames(spec, fps, length_s))
        path.write_bytes(pickle.dumps(made))
    return pickle.loads(path.read_bytes())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scene", choices=SCENES, default="street")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    parser.add_argument("--fps", type=float, nargs="+", default=[5.0, 10.0])
    parser.add_argument("--length", type=float, default=120.0)
    parser.add_argument("--folder", type=Path, default=Path("artifacts/upper-bound"))
    arguments = parser.parse_args()
    for fps in arguments.fps:
        total, every, cameras = Matched(), Matched(), list[list[Moment]]()
        for seed in arguments.seeds:
            spec = SceneSpec(arguments.scene, seed, camera=BEST_CAMERA[arguments.scene])
            truths, frames = prepared(spec, max(arguments.fps), arguments.length, arguments.folder)
            claims, kept = follow(spec, frames[:: round(max(arguments.fps) / fps)], TrackerOptions())
            span = 3.0, arguments.length - 3.0
            found = match(*(_of(h, CROSSINGS) for h in (truths.happenings, claims)), span)
            for word, wrong in (("missed", found.missed), ("extra", found.extra)):
                for h in wrong:
                    what = f"{word} {h.place} {h.what} {h.item_class} {h.who} at {h.time_s:.1f} s"
                    print(f"  seed {seed}, {fps:g} fps: {what}")
            zones = match(*(_of(h, VISITS) for h in (truths.happenings, claims)), span)
            total, every = total + found, every + zones
            cameras.append(moments(truths.looks, kept))
        kept_ids = identity(cameras)
        print(
            f"{fps:4g} fps: {total.true} crossings, {len(total.missed)} missed, {len(total.extra)} extra, "
            f"{len(total.hidden)} hidden; zones recall {every.recall} precision {every.precision}; {kept_ids}"
        )


if __name__ == "__main__":
    main()
