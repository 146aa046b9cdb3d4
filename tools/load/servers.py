"""The server under load: ours, on the processors that it is given, or one that runs already."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sightline.serving.server import TritonServer

Cpus = frozenset[int] | None


class Target(Protocol):
    """A server under load: ours, or :class:`Running`."""

    @property
    def grpc_url(self) -> str:
        """host:port of gRPC."""

    @property
    def http_url(self) -> str:
        """http://host:port of HTTP."""

    @property
    def pid(self) -> int:
        """Its process on this machine; 0 when it is not ours to look at."""

    def check(self) -> None:
        """Raise a ServerError when it has ended."""


@dataclass(frozen=True)
class Running:
    """A server that runs already, in a container or elsewhere: its processor time is not known."""

    grpc_url: str
    http_url: str
    pid: int = 0

    def check(self) -> None:
        """Nothing to see from here: the next request tells."""


def parse_cpus(text: str) -> Cpus:
    """``0,2-3`` as the numbers of processors; empty: all.

    Raises:
        ValueError: it is no such list, or this machine has not that processor.
    """
    if not text:
        return None
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    missing = found - os.sched_getaffinity(0)
    if missing or not found:
        raise ValueError(f"processor {sorted(missing)} of {text!r} is not ours to use")
    return frozenset(found)


@contextlib.contextmanager
def pinned(cpus: Cpus) -> Iterator[None]:
    """What is started inside runs on these processors only; we ourselves go back to where we were."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def embedded(
    repository: Path, model: str, *, config_name: str = "cpu", cpus: Cpus = None, log: Path | None = None
) -> Iterator[TritonServer]:
    """The embedded server on a repository, on ``cpus``; it takes a stream for each of them."""
    server = TritonServer(repository, config_name=config_name, models=(model,), log_path=log)
    with pinned(cpus):
        server.start(lambda text: print(f"server: {text}", file=sys.stderr))
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def served(
    url: str | None, http_url: str, repository: Path, model: str, **options: object
) -> Iterator[Target]:
    """The server at ``url``, else the embedded one."""
    if url:
        yield Running(url, http_url)
        return
    with embedded(repository, model, **options) as server:  # type: ignore[arg-type]
        yield server
