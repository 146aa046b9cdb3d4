"""Programs that each make one file, a few at a time."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from sightline.base.processes import spawn, terminate
from sightline.errors import ServerError

SAY_EVERY_S = 5.0


def make_all(
    jobs: Mapping[Path, Sequence[str]],
    log: Path,
    say: Callable[[str], None],
    stop: threading.Event,
    at_once: int | None = None,
) -> bool:
    """Run the program of every file that is not there; as many at once as there are processors.

    Returns:
        False when ``stop`` was set first; what ran has ended.

    Raises:
        ServerError: one failed; the end of the log is in the text.
    """
    missing = {path: command for path, command in jobs.items() if not path.is_file()}
    if not missing:
        return True
    for folder in {log.parent, *(path.parent for path in missing)}:
        folder.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return _Batch(missing, output, at_once or os.cpu_count() or 1).run(say, stop)


class _Batch:
    """One thread."""

    def __init__(self, jobs: Mapping[Path, Sequence[str]], log: IO[bytes], at_once: int) -> None:
        self._waiting = list(jobs.items())
        self._count = len(jobs)
        self._running: dict[Path, subprocess.Popen[bytes]] = {}
        self._log = log
        self._at_once = at_once

    def run(self, say: Callable[[str], None], stop: threading.Event) -> bool:
        started_s = said_s = time.monotonic()
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._at_once:
                    path, command = self._waiting.pop(0)
                    self._running[path] = spawn(command, self._log)
                if stop.wait(0.05):
                    return False
                self._take_finished()
                now = time.monotonic()
                if now - said_s > SAY_EVERY_S:
                    said_s = now
                    done = self._count - len(self._waiting) - len(self._running)
                    say(f"{done} of {self._count} made ({now - started_s:.0f} s)")
        finally:
            for child in self._running.values():
                terminate(child, 5.0)
        return True

    def _take_finished(self) -> None:
        for path in [path for path, child in self._running.items() if child.poll() is not None]:
            child = self._running.pop(path)
            if child.returncode or not path.is_file():
                tail = Path(self._log.name).read_text(errors="replace").strip().splitlines()[-3:]
                raise ServerError(f"{path.name} could not be made: {' / '.join(tail)}")
