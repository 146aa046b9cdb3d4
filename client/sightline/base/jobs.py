"""Programs that each make one file, a few at a time."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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
    waiting, running = list(missing.items()), dict[Path, subprocess.Popen[bytes]]()
    started_s = said_s = time.monotonic()
    with log.open("ab") as output:
        try:
            while waiting or running:
                while waiting and len(running) < (at_once or os.cpu_count() or 1):
                    path, command = waiting.pop(0)
                    running[path] = spawn(command, output)
                if stop.wait(0.05):
                    return False
                for path in [path for path, child in running.items() if child.poll() is not None]:
                    if running.pop(path).returncode or not path.is_file():
                        tail = log.read_text(errors="replace").strip().splitlines()[-3:]
                        raise ServerError(f"{path.name} could not be made: {' / '.join(tail)}")
                now = time.monotonic()
                if now - said_s > SAY_EVERY_S:
                    said_s = now
                    made = len(missing) - len(waiting) - len(running)
                    say(f"{made} of {len(missing)} made ({now - started_s:.0f} s)")
        finally:
            for child in running.values():
                terminate(child, 5.0)
    return True
