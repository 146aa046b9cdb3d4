"""Processor time and memory of each part: engine, server, supervisor, workers, cameras."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import psutil

Part = tuple[str, psutil.Process]
T = TypeVar("T")


def parts_of(*, triton: int = 0, sightline: int = 0, rtsp: int = 0) -> list[Part]:
    """Every process with the part of the system that it belongs to, by the pids of the three parents."""
    parts: list[Part] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        server = psutil.Process(triton)
        parts += [("tritonserver", server), *(("engine", child) for child in server.children(recursive=True))]
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor = psutil.Process(sightline)
        parts.append(("supervisor", supervisor))
        parts += [(_client_part(child), child) for child in supervisor.children(recursive=True)]
    with contextlib.suppress(psutil.NoSuchProcess):
        cameras = psutil.Process(rtsp)
        parts += [("cameras", process) for process in (cameras, *cameras.children(recursive=True))]
    return parts


def _client_part(child: psutil.Process) -> str:
    try:
        return "workers" if "fork_server" in " ".join(child.cmdline()) else "supervisor"
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return "supervisor"


def cpu_s(parts: Iterable[Part]) -> dict[int, tuple[str, float]]:
    """Seconds of processor time by process id, with the part."""
    return {
        process.pid: (name, times.user + times.system)
        for name, process, times in _read(parts, psutil.Process.cpu_times)
    }


def cores(
    before: Mapping[int, tuple[str, float]], after: Mapping[int, tuple[str, float]], seconds: float
) -> dict[str, float]:
    """Cores that each part kept busy between two readings, which are ``seconds`` apart."""
    found: dict[str, float] = defaultdict(float)
    for pid, (name, used) in after.items():
        found[name] += (used - before.get(pid, (name, 0.0))[1]) / seconds
    return {name: round(value, 4) for name, value in found.items()}


def pss_mb(parts: Iterable[Part]) -> dict[str, float]:
    """Memory of each part in MB, shared pages divided among those who share them."""
    found: dict[str, float] = defaultdict(float)
    for name, _, memory in _read(parts, psutil.Process.memory_full_info):
        found[name] += memory.pss / 1e6
    return {name: round(value, 1) for name, value in found.items()}


def _read(
    parts: Iterable[Part], what: Callable[[psutil.Process], T]
) -> Iterator[tuple[str, psutil.Process, T]]:
    for name, process in parts:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            yield name, process, what(process)
