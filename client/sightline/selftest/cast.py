"""What plays in a self-test: cameras, each a scene with its video and its truth, prepared once and kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from sightline.errors import ServerError
from sightline.processes import spawn, terminate
from sightline.scenes.cache import cache_path, options_of
from sightline.scenes.encode import Coding
from sightline.scenes.spec import SceneName, SceneSpec
from sightline.selftest import known

#: The camera of each scene that sees its lines best: in the street the bridge over the road.
BEST_CAMERA: dict[SceneName, int] = {"street": 1, "factory": 0, "shop": 0}
SAY_EVERY_S = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
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
        return "-".join([*words, f"{self.fps:g}fps"])

    @property
    def coding(self) -> Coding:
        """A key frame a second, so that who joins late misses little."""
        return Coding(fps=self.fps, gop=max(1, round(self.fps)))

    def video(self, folder: Path) -> Path:
        """Where its video is kept."""
        return cache_path(self.spec, self.coding, self.length_s, folder)

    def truth(self, folder: Path) -> Path:
        """Where its truth is kept; the same for every frame rate and codec."""
        spec = "-".join(str(value) for value in asdict(self.spec).values())
        return folder / f"truth-{known.VERSION}-{spec}-{self.length_s:g}.npz"


class Interrupted(Exception):
    """Somebody wants the self-test to end."""


def prepare(
    parts: Sequence[Part], folder: Path, say: Say, *, stop: threading.Event, processes: int | None = None
) -> None:
    """Render every video and work out every truth that is not there yet, several at a time.

    Raises:
        ServerError: one could not be made.
        Interrupted: ``stop`` was set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs: dict[Path, list[str]] = {}
    for part in parts:
        jobs[part.video(folder)] = _render_command(part, folder)
        jobs[part.truth(folder)] = _truth_command(part, folder)
    missing = {path: command for path, command in jobs.items() if not path.is_file()}
    if missing:
        say(f"{len(missing)} of {len(jobs)} videos and truths have to be made (once; kept in {folder})")
        with (folder / "prepare.log").open("ab") as log:
            _Jobs(missing, log, processes or os.cpu_count() or 1).run(say, stop)


def _render_command(part: Part, folder: Path) -> list[str]:
    options = [*options_of(part.spec, part.coding), "--length", str(part.length_s)]
    return [sys.executable, "-m", "sightline.scenes", "render", *options, str(part.video(folder))]


def _truth_command(part: Part, folder: Path) -> list[str]:
    about = [str(part.truth(folder)), str(part.length_s), json.dumps(asdict(part.spec))]
    return [sys.executable, "-m", "sightline.selftest.known", *about]


class _Jobs:
    """Programs that each make one file, a few at a time."""

    def __init__(self, jobs: dict[Path, list[str]], log: IO[bytes], at_once: int) -> None:
        self._waiting = list(jobs.items())
        self._count = len(jobs)
        self._running: dict[Path, subprocess.Popen[bytes]] = {}
        self._log = log
        self._at_once = at_once

    def run(self, say: Say, stop: threading.Event) -> None:
        said_s = time.monotonic()
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._at_once:
                    path, command = self._waiting.pop(0)
                    self._running[path] = spawn(command, self._log)
                if stop.wait(0.05):
                    raise Interrupted
                self._take_finished()
                if time.monotonic() - said_s > SAY_EVERY_S:
                    said_s = time.monotonic()
                    say(f"{self._count - len(self._waiting) - len(self._running)} of {self._count} made")
        finally:
            for child in self._running.values():
                terminate(child, 5.0)

    def _take_finished(self) -> None:
        for path in [path for path, child in self._running.items() if child.poll() is not None]:
            child = self._running.pop(path)
            if child.returncode or not path.is_file():
                tail = Path(self._log.name).read_text(errors="replace").strip().splitlines()[-3:]
                raise ServerError(f"{path.name} could not be made: {' / '.join(tail)}")
