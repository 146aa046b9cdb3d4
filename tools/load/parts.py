"""Processors, and the time and memory that each part takes: engine, server, supervisor, workers, cameras."""

from __future__ import annotations

import contextlib
import os
from argparse import ArgumentTypeError
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import psutil

Cpus = frozenset[int] | None
Part = tuple[str, psutil.Process]


def parse_cpus(text: str) -> Cpus:
    """``0,2-3`` as the numbers of processors; empty: all.

    Raises:
        ArgumentTypeError: it is no such list, or this machine has not that processor.
    """
    if not text:
        return None
    ends = [part.partition("-")[::2] for part in text.split(",")]
    try:
        cpus = {cpu for first, last in ends for cpu in range(int(first), int(last or first) + 1)}
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no list of processors: {error}") from error
    missing = cpus - os.sched_getaffinity(0)
    if missing or not cpus:
        raise ArgumentTypeError(f"processor {sorted(missing)} of {text!r} is not ours to use")
    return frozenset(cpus)


@contextlib.contextmanager
def pinned(cpus: Cpus) -> Iterator[None]:
    """What is started inside runs on these processors only; we ourselves go back to where we were."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def parts_of(*, triton: int = 0, sightline: int = 0, rtsp: int = 0) -> list[Part]:
    """Every process with the part of the system that it belongs to, by the pids of the three parents."""
    parts: list[Part] = []
    parents = (
        (triton, "tritonserver", "engine"),
        (sightline, "supervisor", ""),
        (rtsp, "cameras", "cameras"),
    )
    for pid, name, child_name in parents:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(pid)
            children = parent.children(recursive=True)
            parts += [(name, parent), *((child_name or _client_part(child), child) for child in children)]
    return parts


def _client_part(child: psutil.Process) -> str:
    try:
        return "workers" if "fork_server" in " ".join(child.cmdline()) else "supervisor"
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return "supervisor"


def cpu_s(parts: Iterable[Part]) -> dict[int, tuple[str, float]]:
    """Seconds of processor time by process id, with the part; what has ended meanwhile is left out."""
    used = {}
    for name, process in parts:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used[process.pid] = (name, times.user + times.system)
    return used


def cores(
    before: Mapping[int, tuple[str, float]], after: Mapping[int, tuple[str, float]], seconds: float
) -> dict[str, float]:
    """Cores that each part kept busy between two readings, which are ``seconds`` apart."""
    busy: dict[str, float] = defaultdict(float)
    for pid, (name, used) in after.items():
        busy[name] += (used - before.get(pid, (name, 0.0))[1]) / seconds
    return {name: round(value, 4) for name, value in busy.items()}


def pss_mb(parts: Iterable[Part]) -> dict[str, float]:
    """Memory of each part in MB, shared pages divided among those who share them."""
    memory: dict[str, float] = defaultdict(float)
    for name, process in parts:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory[name] += process.memory_full_info().pss / 1e6
    return {name: round(value, 1) for name, value in memory.items()}
