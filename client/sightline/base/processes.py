"""Programs that we start: each in its own session, dead when we are, stopped with all their children."""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from sightline.errors import ServerError

SAY_EVERY_S = 5.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: the child must not import


def spawn(
    command: Sequence[str],
    log: IO[bytes] | int,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    first_line: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``command`` with its output in ``log`` and no input but ``first_line`` (a secret, perhaps).

    It gets a session of its own, so Ctrl-C reaches only us and we decide the order of stopping; the kernel
    ends it should the thread that started it die, however that happens. Call it from the main thread.
    """
    child = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL if first_line is None else subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=folder,
        start_new_session=True,
        preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509  one system call, safe between fork and exec
    )
    if child.stdin is not None and first_line is not None:
        with contextlib.suppress(BrokenPipeError), child.stdin as pipe:  # it has died: its owner will see
            pipe.write(f"{first_line}\n".encode())
    return child


def terminate(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Ask the child to end, wait, then kill whatever of its group is left; returns when it has ended."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(child.pid, signal.SIGCONT)  # a stopped process hears nothing else
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout_s)
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def make_all(
    jobs: Mapping[Path, Sequence[str]],
    log: Path,
    say: Callable[[str], None],
    stop: threading.Event,
    at_once: int | None = None,
) -> bool:
    """Run the program of every file that is not there; False: ``stop`` was set first, and what ran has ended.

    As many run at once as there are processors. ServerError: one failed; the end of the log is in the text.
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
