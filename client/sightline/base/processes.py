"""Programs that we start: each in its own session, dead when we are, stopped with all their children."""

import contextlib
import ctypes
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from pkgutil import resolve_name
from typing import IO, Any

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
    prepare: Callable[[], None] = lambda: None,
) -> subprocess.Popen[bytes]:
    """Start ``command`` with its output in ``log`` and no input but ``first_line`` (a secret, perhaps).

    Its files are its user's alone (umask 077), and its ``environment`` is ours :func:`without_secrets` unless
    another is given. ``prepare`` runs in the child before the program: system calls only.

    It gets a session of its own, so Ctrl-C reaches only us and we decide the order of stopping; the kernel
    ends it should the thread that started it die, however that happens. Call it from the main thread.
    """

    def begin() -> None:  # a few system calls, safe between fork and exec
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        prepare()

    child = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL if first_line is None else subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=without_secrets() if environment is None else environment,
        cwd=folder,
        start_new_session=True,
        umask=0o077,
        preexec_fn=begin,  # noqa: PLW1509
    )
    if child.stdin is not None and first_line is not None:
        with contextlib.suppress(BrokenPipeError), child.stdin as pipe:  # it has died: its owner will see
            pipe.write(f"{first_line}\n".encode())
    return child


def without_secrets() -> dict[str, str]:
    """Our environment without the variables that placeholders of a configuration may name."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SIGHTLINE_") or name == "SIGHTLINE_CACHE"
    }


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


_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALLOW_SPECULATION = 1, 4
_FCHMOD, _SECCOMP = 91, 317  # system calls' numbers on x86-64
_CODE = ctypes.create_string_buffer(
    struct.pack(
        "HBBI" * 4,
        *(0x20, 0, 0, 0),  # load the system call's number
        *(0x15, 0, 1, _FCHMOD),  # jump over the next line if it is another one
        *(0x06, 0, 0, 0x00050000),  # do nothing and say that it was done
        *(0x06, 0, 0, 0x7FFF0000),  # do it
    )
)
_FILTER = ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(_CODE)))


def ignore_fchmod() -> None:
    """Have the kernel do nothing for fchmod in this process, its threads and its children, for ever.

    A library that makes its shared memory readable for every user does so by that call, past the umask.
    """
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Allowing speculation keeps older kernels from making everything slower.
    if _libc.syscall(_SECCOMP, _SET_MODE_FILTER, _ALLOW_SPECULATION, _FILTER):
        raise OSError(ctypes.get_errno(), "seccomp is not allowed here")


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


def apart(function: str, *values: Any, nice: int = 0) -> Any:
    """Call a function in a process of its own, which takes its memory with it when it ends.

    Args:
        function: ``package.module:name``; so what it imports is imported there alone.
        values: what it is given; they, what it gives and what it raises travel pickled.
        nice: how much the process gives way to others.

    Raises:
        ServerError: the process died.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_called, function, nice, values).result()
        except BrokenProcessPool as error:
            raise ServerError(f"{function.rpartition(':')[2]} ended without an answer") from error


def _called(function: str, nice: int, values: Sequence[Any]) -> Any:
    os.nice(nice)
    return resolve_name(function)(*values)
