"""What plays in a self-test: cameras, each a scene with its video and its truth, prepared once and kept."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sightline.base.jobs import make_all
from sightline.config.groups import CanaryOptions
from sightline.simulation.scenes.encode import Coding, cache_path, render_command
from sightline.simulation.scenes.spec import SceneName, SceneSpec
from sightline.simulation.selftest import ground_truth

#: The camera of each scene that sees its lines best: the roof, and the one over the door.
BEST_CAMERA: dict[SceneName, int] = {"street": 5, "factory": 0, "shop": 3}
Say = Callable[[str], None]


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
        return folder / f"truth-{ground_truth.VERSION}-{spec}-{self.length_s:g}.npz"


def camera_of_options(options: CanaryOptions) -> SimulatedCamera:
    """The scene that the canary's options name."""
    viewpoint = BEST_CAMERA[options.scene]
    spec = SceneSpec(options.scene, options.seed, options.light, options.weather, viewpoint)
    return SimulatedCamera(spec, options.fps, options.length_s)


class Interrupted(Exception):
    """The self-test was asked to end."""


def prepare(
    cameras: Sequence[SimulatedCamera],
    folder: Path,
    say: Say,
    *,
    stop: threading.Event,
    processes: int | None = None,
) -> None:
    """Render every video and work out every truth that is not there yet, several at a time.

    Raises:
        ServerError: one could not be made.
        Interrupted: ``stop`` was set.
    """
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
