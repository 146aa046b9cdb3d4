"""The server under load, ours or one that runs already, and what its parts take of processors and memory.

Parts are the engine, the server, the supervisor, the workers and the cameras.
"""

import contextlib
import json
import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil

from sightline.errors import ServerError
from sightline.serving.server import TritonServer, get
from sightline.simulation.stack import fetch, progress

ROOT = Path(__file__).resolve().parents[2]
DETECTOR = "detector"

Cpus = frozenset[int] | None
Part = tuple[str, psutil.Process]


@dataclass(frozen=True)
class Running:
    """A server that runs already, in a container or elsewhere: its processor time is not known."""

    grpc_url: str
    http_url: str
    pid: int = 0

    def check(self) -> None:
        """Nothing to see from here: the next request tells."""


Target = TritonServer | Running


def make_parser(description: str | None, folder: str) -> ArgumentParser:
    """A parser with the options of every load test: which server is under load, and where reports go."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--url", help="host:port of gRPC of a server that runs already")
    add("--http-url", default="http://127.0.0.1:8000", help="its HTTP, or unix:PATH (default: %(default)s)")
    add("--folder", type=Path, default=ROOT / "artifacts" / folder, help="where reports go")
    add("--server-cpus", type=parse_cpus, default="", help="processors of the embedded server, such as 0,2-3")
    add("--client-cpus", type=parse_cpus, default="", help="processors of everything else under load")
    return parser


@contextlib.contextmanager
def served(
    options: Namespace, repository: Path, model: str = DETECTOR, log: Path | None = None
) -> Iterator[Target]:
    """The server at ``--url``, else the embedded one; it has a stream for each of ``--server-cpus``."""
    if options.url:
        yield Running(options.url, options.http_url)
        return
    server = TritonServer(repository, config_name=options.config_name, models=(model,), log_path=log)
    with pinned(options.server_cpus):
        server.start(progress("server"))
    try:
        yield server
    finally:
        server.stop()


def get_json(server: Target, path: str) -> dict[str, Any]:
    """What a server answers over HTTP; a ServerError when that is nothing, or an error."""
    url = server.http_url if isinstance(server, Running) else f"unix:{server.folder}/http"
    if not url.startswith("unix:"):
        try:
            return dict(json.loads(fetch(f"{url}{path}")))
        except ServerError as error:
            raise ServerError(f"{error}; --url needs --http-url too, the same server's HTTP") from error
    try:
        status, body = get(Path(url.removeprefix("unix:")), path)
    except (OSError, HTTPException) as error:
        raise ServerError(f"{url} gives no answer: {error}") from error
    if status != 200:
        raise ServerError(f"{url} answers {status}: {body.decode(errors='replace')}")
    return dict(json.loads(body))


def inference_count(server: Target) -> int:
    """How many pictures the server has answered, all versions of ``detector`` together."""
    stats = get_json(server, f"/v2/models/{DETECTOR}/stats")["model_stats"]
    return sum(int(item["inference_count"]) for item in stats)


# --- processors, and what each part takes of them ------------------------------------------------------


def parse_cpus(text: str) -> Cpus:
    """``0,2-3`` as the numbers of processors that are ours to use; empty: all."""
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
    parents = (triton, "tritonserver", "engine"), (sightline, "supervisor", ""), (rtsp, "cameras", "cameras")
    for pid, name, child_name in parents:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(pid)
            parts.append((name, parent))
            for child in parent.children(recursive=True):
                part = child_name or "supervisor"
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if not child_name and "fork_server" in " ".join(child.cmdline()):
                        part = "workers"
                parts.append((part, child))
    return parts


def cpu_s(parts: Iterable[Part]) -> dict[tuple[str, int], float]:
    """Seconds of processor time by part and process id; what has ended meanwhile is left out."""
    used = {}
    for name, process in parts:
        with contextlib.suppress(psutil.NoSuchProcess):
            used[name, process.pid] = sum(process.cpu_times()[:2])
    return used


def pss_mb(parts: Iterable[Part]) -> dict[str, float]:
    """Memory of each part in MB, shared pages divided among those who share them."""
    memory: dict[str, float] = defaultdict(float)
    for name, process in parts:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory[name] += process.memory_full_info().pss / 1e6
    return {name: round(value, 1) for name, value in memory.items()}
