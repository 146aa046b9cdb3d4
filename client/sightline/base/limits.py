"""The system's limits of open files and of processes, raised as far as is allowed before they are reached."""

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def raise_to(kind: int, needed: int) -> int | None:
    """Raise a soft limit to ``needed``, at most to the hard one; what holds then, None: no limit.

    ``kind`` is ``resource.RLIMIT_NOFILE`` or another of these.
    """
    soft, hard = resource.getrlimit(kind)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(kind, (soft, hard))
    return soft


def processes(needed: int) -> int | None:
    """How many processes and threads there may be, after :func:`raise_to`; None: no limit."""
    limits = [*_cgroup_limits()]
    if os.geteuid():  # it does not hold for root
        limits += filter(None, [raise_to(resource.RLIMIT_NPROC, needed)])
    return min(limits, default=None)


def _cgroup_limits(own: Path = Path("/proc/self/cgroup"), root: Path = _CGROUPS) -> Iterator[int]:
    """Limits of our control group and of those around it: a container's ``pids_limit``, a unit's TasksMax."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in {"", "pids"}:
                folder = root / controllers / path.lstrip("/")
                for place in (folder, *folder.parents):
                    with suppress(OSError, ValueError):  # not there, or "max"
                        yield int((place / "pids.max").read_text())
