"""The server under load: ours, on the processors that it is given, or one that runs already."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from sightline.errors import ServerError
from sightline.tritonserver import TritonServer

Cpus = frozenset[int] | None


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
) -> Iterator[tuple[str, str]]:
    """Addresses (gRPC host:port, HTTP URL) of the server at ``url``, else of the embedded one."""
    if url:
        yield url, http_url
        return
    with embedded(repository, model, **options) as server:  # type: ignore[arg-type]
        yield server.grpc_url, server.http_url


__all__ = ["Cpus", "ServerError", "embedded", "parse_cpus", "pinned", "served"]
