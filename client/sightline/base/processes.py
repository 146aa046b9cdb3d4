"""Programs that we start: each in its own session, dead when we are, stopped with all their children."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

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
        preexec_fn=_die_with_parent,  # noqa: PLW1509  one system call, safe between fork and exec
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


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
