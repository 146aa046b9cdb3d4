"""The truth of a scene as the scoreboard needs it, worked out once and kept in a file.

python -m sightline.simulation.selftest.ground_truth OUT.npz 60 '{"scene": "street", "seed": 3}'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes import truth as scene_truth
from sightline.simulation.scenes.arrays import f32
from sightline.simulation.scenes.formats import CLASSES
from sightline.simulation.scenes.scene_places import Places, places_of
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.truth import inside
from sightline.simulation.scenes.visibility import FrameTruth

#: Frames of truth a second, whatever the camera's rate: tracks are judged at these moments.
SAMPLES_FPS = 5.0
#: Actors hidden by more than this, or smaller, are ignored: neither missed nor false if detected.
MAX_HIDDEN = 0.8
MIN_LONG_PX, MIN_SHORT_PX = 14.0, 6.0  # sides of a box in a picture 640 wide
#: A happening counts if its actor could be seen in at least half of the samples within this time of it.
SEEN_WITHIN_S = 1.0
VERSION = 3  # of the file: raise it when truth or its judgement changes

What = Literal["forward", "backward", "enter", "leave"]


@dataclass(frozen=True, slots=True)
class Happening:
    """A crossing, or an entry to or exit from a zone; true, or claimed by the pipeline.

    Attributes:
        time_s: the scene's time.
        who: the actor's id, or the track's.
        hidden: of a true one: it could not be seen. Of a claimed one: the event itself says that the entry
            or exit was not seen, since a track began or was lost in the zone.
    """

    time_s: float
    place: str
    what: str
    item_class: str
    who: int
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class TruthSample:
    """The N actors in the picture at one moment.

    Attributes:
        ids: int64 [N]; kinds: int64 [N], places in :data:`sightline.simulation.scenes.formats.CLASSES`.
        full_xyxy, visible_xyxy: float32 [N, 4] in 0..1 of the picture.
        ignored: bool [N], too hidden or too small to be judged: see :data:`MAX_HIDDEN`.
        foot_xy: float32 [N, 2] in 0..1 of the picture; xy: float32 [N, 2], metres on the ground.
    """

    time_s: float
    ids: NDArray[np.int64]
    kinds: NDArray[np.int64]
    full_xyxy: NDArray[np.float32]
    visible_xyxy: NDArray[np.float32]
    ignored: NDArray[np.bool_]
    foot_xy: NDArray[np.float32]
    xy: NDArray[np.float32]

    @property
    def watched(self) -> NDArray[np.bool_]:
        """Bool [N]: the actors that can be seen and stand in the picture."""
        standing = np.logical_and(self.foot_xy >= 0, self.foot_xy <= 1).all(axis=1)
        return np.logical_and(standing, ~self.ignored)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The truth of one camera from second 0 to ``length_s``."""

    spec: SceneSpec
    length_s: float
    happenings: tuple[Happening, ...]
    samples: tuple[TruthSample, ...]

    @property
    def places(self) -> Places:
        """The scene's lines and zones."""
        return places_of(self.spec.scene)

    def occupancy(self, zone: str, sample: TruthSample) -> int:
        """The number of actors, hidden ones too, of the zone's kinds that stand in it and in the picture."""
        place = next(z for z in self.places.zones if z.name == zone)
        counted = np.isin(sample.kinds, [CLASSES.index(kind) for kind in place.kinds])
        standing = ((sample.foot_xy >= 0) & (sample.foot_xy <= 1)).all(axis=1)
        return sum(inside(place.points, float(x), float(y)) for x, y in sample.xy[counted & standing])


def work_out(spec: SceneSpec, length_s: float) -> GroundTruth:
    """The truth of a scene; takes some seconds a minute."""
    samples = tuple(_sample(frame, spec) for frame in scene_truth.frames(spec, SAMPLES_FPS, length_s))
    run = scene_truth.run(spec, length_s)
    places = places_of(spec.scene)
    kinds = {line.name: line.kinds for line in places.lines}
    in_zone = {zone.name: zone.kinds for zone in places.zones}
    happenings = [
        Happening(c.time_s, c.line, c.direction, c.kind, c.id)
        for c in run.crossings
        if c.kind in kinds[c.line]
    ]
    for visit in run.visits:
        if visit.kind in in_zone[visit.zone]:
            happenings.append(Happening(visit.enter_s, visit.zone, "enter", visit.kind, visit.id))
            if visit.leave_s is not None:
                happenings.append(Happening(visit.leave_s, visit.zone, "leave", visit.kind, visit.id))
    happenings.sort(key=lambda happening: happening.time_s)
    return GroundTruth(
        spec, length_s, tuple(_judged(happening, samples) for happening in happenings), samples
    )


def _sample(frame: FrameTruth, spec: SceneSpec) -> TruthSample:
    size = np.array([spec.width, spec.height], np.float32)
    sides = (frame.visible_xyxy[:, 2:] - frame.visible_xyxy[:, :2]) * (640 / spec.width)
    kinds = np.array([CLASSES.index(kind) for kind in frame.kinds], np.int64)
    small = (sides.max(axis=1, initial=0) < MIN_LONG_PX) | (sides.min(axis=1, initial=1e9) < MIN_SHORT_PX)
    return TruthSample(
        frame.time_s,
        frame.ids,
        kinds,
        f32(frame.full_xyxy / np.tile(size, 2)),
        f32(frame.visible_xyxy / np.tile(size, 2)),
        small | (frame.occlusion > MAX_HIDDEN),
        f32(frame.foot_xy / size),
        frame.position[:, :2],
    )


def _judged(happening: Happening, samples: Sequence[TruthSample]) -> Happening:
    """The same happening, with ``hidden`` set from the samples near it."""
    first = max(0, int(np.ceil((happening.time_s - SEEN_WITHIN_S) * SAMPLES_FPS)))
    near = samples[first : int((happening.time_s + SEEN_WITHIN_S) * SAMPLES_FPS) + 1]
    seen = sum(bool(sample.watched[sample.ids == happening.who].any()) for sample in near)
    hidden = not near or seen * 2 < len(near)
    return replace(happening, hidden=hidden)


# -- the file ----------------------------------------------------------------------------------------


def save(truth: GroundTruth, path: Path) -> None:
    """Write it; :func:`load` gives the same back."""
    names = [field.name for field in fields(TruthSample) if field.name != "time_s"]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(sample, name) for sample in truth.samples]) for name in names
    }
    about = {
        "version": VERSION,
        "spec": asdict(truth.spec),
        "length_s": truth.length_s,
        "happenings": [asdict(happening) for happening in truth.happenings],
    }
    temporary = path.with_name(path.name + ".part.npz")
    np.savez_compressed(
        temporary,
        about=np.array(json.dumps(about)),
        times=np.array([sample.time_s for sample in truth.samples]),
        counts=np.array([len(sample.ids) for sample in truth.samples]),
        **joined,
    )
    temporary.replace(path)


def load(path: Path) -> GroundTruth:
    """Read what :func:`save` wrote."""
    with np.load(path) as file:
        about: dict[str, Any] = json.loads(str(file["about"]))
        ends = np.concatenate([[0], np.cumsum(file["counts"])])
        names = [field.name for field in fields(TruthSample) if field.name != "time_s"]
        columns = {name: file[name] for name in names}
        samples = tuple(
            TruthSample(float(time_s), **{name: column[a:b] for name, column in columns.items()})
            for time_s, a, b in zip(file["times"], ends[:-1], ends[1:], strict=True)
        )
    happenings = tuple(Happening(**item) for item in about["happenings"])
    return GroundTruth(SceneSpec(**about["spec"]), about["length_s"], happenings, samples)


def main(words: list[str]) -> int:
    """Work out one scene's truth: OUT LENGTH SPEC-AS-JSON."""
    path, length_s, spec = Path(words[0]), float(words[1]), SceneSpec(**json.loads(words[2]))
    save(work_out(spec, length_s), path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
