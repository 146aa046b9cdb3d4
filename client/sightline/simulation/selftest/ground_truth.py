"""What plays in a self-test: cameras, each a scene with its video and its truth, prepared once and kept.

python -m sightline.simulation.selftest.ground_truth OUT.npz 60 '{"scene": "street", "seed": 3}'
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.base.processes import make_all
from sightline.config.groups import CanaryOptions
from sightline.simulation.scenes import truth as scene_truth
from sightline.simulation.scenes.arrays import f32
from sightline.simulation.scenes.encode import Coding, cache_path, render_command
from sightline.simulation.scenes.scene_places import Places, places_of
from sightline.simulation.scenes.spec import SceneName, SceneSpec
from sightline.simulation.scenes.truth import CLASSES
from sightline.simulation.scenes.visibility import FrameTruth

#: The camera of each scene that sees its lines best: the roof, and the one over the door.
BEST_CAMERA: dict[SceneName, int] = {"street": 5, "factory": 0, "shop": 3}
#: Frames of truth a second, whatever the camera's rate: tracks are judged at these moments.
SAMPLES_FPS = 5.0
#: Actors hidden by more than this, or smaller, are ignored: neither missed nor false if detected.
MAX_HIDDEN = 0.8
MIN_LONG_PX, MIN_SHORT_PX = 14.0, 6.0  # sides of a box in a picture 640 wide
#: A happening counts if its actor could be seen in at least half of the samples within this time of it.
SEEN_WITHIN_S = 1.0
Say = Callable[[str], None]  # tells a line of progress
VERSION = 3  # of the file: raise it when truth or its judgement changes


@dataclass(frozen=True, slots=True)
class Happening:
    """A crossing, or an entry to or exit from a zone; true, or claimed by the pipeline."""

    time_s: float  # the scene's
    place: str
    what: str
    item_class: str
    who: int  # the actor's id, or the track's
    # A true one could not be seen; of a claimed one the event says so: a track began or was lost in the zone.
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class TruthSample:
    """The N actors in the picture at one moment."""

    time_s: float
    # int64 [N]; kinds: int64 [N], places in :data:`sightline.simulation.scenes.truth.CLASSES`
    ids: NDArray[np.int64]
    kinds: NDArray[np.int64]
    full_xyxy: NDArray[np.float32]  # float32 [N, 4] in 0..1 of the picture
    visible_xyxy: NDArray[np.float32]
    ignored: NDArray[np.bool_]  # bool [N], too hidden or too small to be judged: see :data:`MAX_HIDDEN`
    # float32 [N, 2] in 0..1 of the picture; xy: float32 [N, 2], metres on the ground
    foot_xy: NDArray[np.float32]
    xy: NDArray[np.float32]

    @property
    def standing(self) -> NDArray[np.bool_]:
        """Bool [N]: the actors that stand in the picture, hidden ones too."""
        return np.asarray(((self.foot_xy >= 0) & (self.foot_xy <= 1)).all(axis=1))


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


def work_out(spec: SceneSpec, length_s: float) -> GroundTruth:
    """The truth of a scene; takes some seconds a minute."""
    samples = tuple(_sample(frame, spec) for frame in scene_truth.frames(spec, SAMPLES_FPS, length_s))
    run, places = scene_truth.run(spec, length_s), places_of(spec.scene)
    moves = [(c.time_s, c.line, c.direction, c.kind, c.id) for c in run.crossings]
    visits = [
        (time_s, v.zone, what, v.kind, v.id)
        for v in run.visits
        for what, time_s in (("enter", v.enter_s), ("leave", v.leave_s))
        if time_s is not None
    ]
    happenings = []
    for known, those in ((places.lines, moves), (places.zones, visits)):
        kinds = {place.name: place.kinds for place in known}
        happenings += [Happening(*values) for values in those if values[3] in kinds[values[1]]]
    judged = []
    for one in sorted(happenings, key=lambda happening: happening.time_s):
        first = max(0, int(np.ceil((one.time_s - SEEN_WITHIN_S) * SAMPLES_FPS)))
        near = samples[first : int((one.time_s + SEEN_WITHIN_S) * SAMPLES_FPS) + 1]
        seen = sum(bool((s.standing & ~s.ignored)[s.ids == one.who].any()) for s in near)
        judged.append(replace(one, hidden=not near or seen * 2 < len(near)))
    return GroundTruth(spec, length_s, tuple(judged), samples)


def _sample(frame: FrameTruth, spec: SceneSpec) -> TruthSample:
    size = np.array([spec.width, spec.height], np.float32)
    sides = (frame.visible_xyxy[:, 2:] - frame.visible_xyxy[:, :2]) * (640 / spec.width)
    small = (sides.max(axis=1, initial=0) < MIN_LONG_PX) | (sides.min(axis=1, initial=1e9) < MIN_SHORT_PX)
    return TruthSample(
        time_s=frame.time_s,
        ids=frame.ids,
        kinds=np.array([CLASSES.index(kind) for kind in frame.kinds], np.int64),
        full_xyxy=f32(frame.full_xyxy / np.tile(size, 2)),
        visible_xyxy=f32(frame.visible_xyxy / np.tile(size, 2)),
        ignored=small | (frame.occlusion > MAX_HIDDEN),
        foot_xy=f32(frame.foot_xy / size),
        xy=frame.position[:, :2],
    )


_COLUMNS = tuple(field.name for field in fields(TruthSample) if field.name != "time_s")


def save(truth: GroundTruth, path: Path) -> None:
    """Write it; :func:`load` gives the same back."""
    happenings = [asdict(happening) for happening in truth.happenings]
    about = {"version": VERSION, "spec": asdict(truth.spec), "length_s": truth.length_s}
    columns: dict[str, Any] = {
        "about": np.array(json.dumps(about | {"happenings": happenings})),
        "times": np.array([sample.time_s for sample in truth.samples]),
        "counts": np.array([len(sample.ids) for sample in truth.samples]),
        **{name: np.concatenate([getattr(sample, name) for sample in truth.samples]) for name in _COLUMNS},
    }
    temporary = path.with_name(path.name + ".part.npz")
    np.savez_compressed(temporary, **columns)
    temporary.replace(path)


def load(path: Path) -> GroundTruth:
    """Read what :func:`save` wrote."""
    with np.load(path) as file:
        about: dict[str, Any] = json.loads(str(file["about"]))
        times, ends = file["times"].tolist(), np.cumsum(file["counts"])[:-1]
        columns = (np.split(file[name], ends) for name in _COLUMNS)
        samples = tuple(TruthSample(*values) for values in zip(times, *columns, strict=True))
    happenings = tuple(Happening(**item) for item in about["happenings"])
    return GroundTruth(SceneSpec(**about["spec"]), about["length_s"], happenings, samples)


@dataclass(frozen=True, slots=True)
class SimulatedCamera:
    """One camera of a self-test."""

    spec: SceneSpec
    fps: float
    length_s: float

    @property
    def name(self) -> str:
        """The camera's name."""
        spec = self.spec
        words = [spec.scene, str(spec.seed)]
        words += [word for word in (spec.light, spec.weather) if word not in ("day", "clear")]
        words += [f"people{spec.people:g}"] if spec.people != 1 else []
        return "-".join([*words, f"{self.fps:g}fps"])

    @property
    def coding(self) -> Coding:
        """A key frame a second, so that a late client soon gets one."""
        return Coding(fps=self.fps, gop=max(1, round(self.fps)))

    def video(self, folder: Path) -> Path:
        """Where its video is kept."""
        return cache_path(self.spec, self.coding, self.length_s, folder)

    def truth(self, folder: Path) -> Path:
        """Where its truth is kept; the same for every frame rate and codec."""
        spec = "-".join(str(value) for value in asdict(self.spec).values())
        return folder / f"truth-{VERSION}-{spec}-{self.length_s:g}.npz"


def camera_of_options(options: CanaryOptions) -> SimulatedCamera:
    """The scene that the canary's options name."""
    viewpoint = BEST_CAMERA[options.scene]
    spec = SceneSpec(options.scene, options.seed, options.light, options.weather, viewpoint)
    return SimulatedCamera(spec, options.fps, options.length_s)


class Interrupted(Exception):
    """The self-test was asked to end."""


def prepare(
    cameras: Sequence[SimulatedCamera], folder: Path, say: Say, *, stop: Event, processes: int | None = None
) -> None:
    """Make every video and truth not there yet; ``ServerError`` if one fails, ``Interrupted`` on ``stop``."""
    jobs: dict[Path, list[str]] = {}
    for camera in cameras:
        video, truth = camera.video(folder), camera.truth(folder)
        jobs[video] = render_command(camera.spec, camera.coding, camera.length_s, video)
        about = [str(truth), str(camera.length_s), json.dumps(asdict(camera.spec))]
        jobs[truth] = [sys.executable, "-m", "sightline.simulation.selftest.ground_truth", *about]
    missing = [path for path in jobs if not path.is_file()]
    if missing:
        say(f"{len(missing)} of {len(jobs)} videos and truths have to be made (once; kept in {folder})")
    if not make_all(jobs, folder / "prepare.log", say, stop, processes):
        raise Interrupted


if __name__ == "__main__":
    save(work_out(SceneSpec(**json.loads(sys.argv[3])), float(sys.argv[2])), Path(sys.argv[1]))
