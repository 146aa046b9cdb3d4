"""What is known of a scene: its truth as the scoreboard needs it, worked out once and kept in a file.

python -m sightline.simulation.selftest.ground_truth OUT.npz 60 '{"scene": "street", "seed": 3}'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes import truth
from sightline.simulation.scenes.arrays import f32
from sightline.simulation.scenes.formats import CLASSES
from sightline.simulation.scenes.happenings import inside
from sightline.simulation.scenes.scene_places import Places, places_of
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.visibility import FrameTruth

#: Frames of truth a second, whatever the camera's rate: tracks are judged at these moments.
LOOKS_FPS = 5.0
#: Who is hidden by more than this, or smaller, is neither asked for nor held against the detector.
MOST_HIDDEN = 0.8
LEAST_LONG_PX, LEAST_SHORT_PX = 14.0, 6.0  # sides of a box in a picture 640 wide
#: A happening counts when its actor could be seen in at least half the looks this near to it, in seconds.
SEEN_WITHIN_S = 1.0
VERSION = 3  # of the file: raise it when truth or its judgement changes

What = Literal["forward", "backward", "enter", "leave"]


@dataclass(frozen=True, slots=True)
class Happening:
    """A crossing, or an entry to or exit from a zone; true, or claimed by the pipeline.

    Attributes:
        time_s: the scene's time.
        who: the actor's id, or the track's.
        hidden: true ones: nobody could have seen it. Claimed ones: the claim itself says that the entry or
            exit was not seen, since a track began or was lost in the zone.
    """

    time_s: float
    place: str
    what: str
    item_class: str
    who: int
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Everybody in the picture at one moment. N actors.

    Attributes:
        ids: int64 [N]; kinds: int64 [N], places in :data:`sightline.simulation.scenes.formats.CLASSES`.
        full_xyxy, visible_xyxy: float32 [N, 4] in 0..1 of the picture.
        ignored: bool [N], hidden or small: see :data:`MOST_HIDDEN`.
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
        """Who can be seen and stands in the picture: bool [N]."""
        standing = np.logical_and(self.foot_xy >= 0, self.foot_xy <= 1).all(axis=1)
        return np.logical_and(standing, ~self.ignored)


@dataclass(frozen=True, slots=True)
class Known:
    """The truth of one camera from second 0 to ``length_s``."""

    spec: SceneSpec
    length_s: float
    happenings: tuple[Happening, ...]
    looks: tuple[Look, ...]

    @property
    def places(self) -> Places:
        """The scene's lines and zones."""
        return places_of(self.spec.scene)

    def occupancy(self, zone: str, look: Look) -> int:
        """How many of those that a zone counts are in it and in the picture, hidden ones too."""
        place = next(z for z in self.places.zones if z.name == zone)
        counted = np.isin(look.kinds, [CLASSES.index(kind) for kind in place.kinds])
        standing = ((look.foot_xy >= 0) & (look.foot_xy <= 1)).all(axis=1)
        return sum(inside(place.points, float(x), float(y)) for x, y in look.xy[counted & standing])


def work_out(spec: SceneSpec, length_s: float) -> Known:
    """The truth of a scene; takes some seconds a minute."""
    looks = tuple(_look(frame, spec) for frame in truth.frames(spec, LOOKS_FPS, length_s))
    run = truth.run(spec, length_s)
    places = places_of(spec.scene)
    kinds = {line.name: line.kinds for line in places.lines}
    in_zone = {zone.name: zone.kinds for zone in places.zones}
    found = [
        Happening(c.time_s, c.line, c.direction, c.kind, c.id)
        for c in run.crossings
        if c.kind in kinds[c.line]
    ]
    for visit in run.visits:
        if visit.kind in in_zone[visit.zone]:
            found.append(Happening(visit.enter_s, visit.zone, "enter", visit.kind, visit.id))
            if visit.leave_s is not None:
                found.append(Happening(visit.leave_s, visit.zone, "leave", visit.kind, visit.id))
    found.sort(key=lambda happening: happening.time_s)
    return Known(spec, length_s, tuple(_judged(happening, looks) for happening in found), looks)


def _look(frame: FrameTruth, spec: SceneSpec) -> Look:
    size = np.array([spec.width, spec.height], np.float32)
    sides = (frame.visible_xyxy[:, 2:] - frame.visible_xyxy[:, :2]) * (640 / spec.width)
    kinds = np.array([CLASSES.index(kind) for kind in frame.kinds], np.int64)
    small = (sides.max(axis=1, initial=0) < LEAST_LONG_PX) | (sides.min(axis=1, initial=1e9) < LEAST_SHORT_PX)
    return Look(
        frame.time_s,
        frame.ids,
        kinds,
        f32(frame.full_xyxy / np.tile(size, 2)),
        f32(frame.visible_xyxy / np.tile(size, 2)),
        small | (frame.occlusion > MOST_HIDDEN),
        f32(frame.foot_xy / size),
        frame.position[:, :2],
    )


def _judged(happening: Happening, looks: Sequence[Look]) -> Happening:
    """Whether somebody could have seen it."""
    first = max(0, int(np.ceil((happening.time_s - SEEN_WITHIN_S) * LOOKS_FPS)))
    near = looks[first : int((happening.time_s + SEEN_WITHIN_S) * LOOKS_FPS) + 1]
    seen = sum(bool(look.watched[look.ids == happening.who].any()) for look in near)
    hidden = not near or seen * 2 < len(near)
    return Happening(
        happening.time_s, happening.place, happening.what, happening.item_class, happening.who, hidden
    )


# -- the file ----------------------------------------------------------------------------------------


def save(known: Known, path: Path) -> None:
    """Write it; :func:`load` gives the same back."""
    names = [field.name for field in fields(Look) if field.name != "time_s"]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(look, name) for look in known.looks]) for name in names
    }
    about = {
        "version": VERSION,
        "spec": asdict(known.spec),
        "length_s": known.length_s,
        "happenings": [asdict(happening) for happening in known.happenings],
    }
    temporary = path.with_name(path.name + ".part.npz")
    np.savez_compressed(
        temporary,
        about=np.array(json.dumps(about)),
        times=np.array([look.time_s for look in known.looks]),
        counts=np.array([len(look.ids) for look in known.looks]),
        **joined,
    )
    temporary.replace(path)


def load(path: Path) -> Known:
    """Read what :func:`save` wrote."""
    with np.load(path) as file:
        about: dict[str, Any] = json.loads(str(file["about"]))
        ends = np.concatenate([[0], np.cumsum(file["counts"])])
        names = [field.name for field in fields(Look) if field.name != "time_s"]
        columns = {name: file[name] for name in names}
        looks = tuple(
            Look(float(time_s), **{name: column[a:b] for name, column in columns.items()})
            for time_s, a, b in zip(file["times"], ends[:-1], ends[1:], strict=True)
        )
    happenings = tuple(Happening(**item) for item in about["happenings"])
    return Known(SceneSpec(**about["spec"]), about["length_s"], happenings, looks)


def main(words: list[str]) -> int:
    """Work out one scene's truth: OUT LENGTH SPEC-AS-JSON."""
    path, length_s, spec = Path(words[0]), float(words[1]), SceneSpec(**json.loads(words[2]))
    save(work_out(spec, length_s), path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
