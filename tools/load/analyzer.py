"""The real perf_analyzer: fetched once, run at one level at a time, its raw times kept.

One run sends a number of requests that is known beforehand, so it always ends; whether the level was steady
is found afterwards (:mod:`load.measured`). perf_analyzer's own search for stability throws away what it
has measured when it gives up, which on a busy machine is normal.
"""

from __future__ import annotations

import csv
import ctypes
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from load.measured import Level, Measured, measure
from sightline.errors import ServerError
from sightline.serving.install import Installation, install, install_packages

ROOT = Path(__file__).resolve().parents[2]
OUTPUT_BYTES = 1 << 16  # more than the boxes of one picture take
DEADLINE_S = 600
MIN_REQUESTS = 50  # so that a window has ten, and one late answer does not make all of it
#: With shared memory perf_analyzer exports, beside the times, what lies at a wrong address instead of the
#: outputs. When that happens to be no number, its JSON writer gives up and the file breaks off: once more.
ATTEMPTS = 4
TRANSPORTS = ("none", "system", "cuda")
#: perf_analyzer's reports, and where their times stand in ours; microseconds there.
_SERVER = {"queue": ("Server Queue",), "compute": ("Server Compute Input", "Server Compute Infer")}


@dataclass(frozen=True)
class Analyzer:
    """How perf_analyzer is run; the same for all levels.

    Attributes:
        url: host:port of the server's gRPC.
        data: the pictures, as :func:`load.pictures.write_input` writes them.
        folder: where its CSV, its output and the raw times go.
        seconds: how long a level is measured, warm-up included.
        requests: so many requests instead of ``seconds``.
        allowed_spread: of the windows of a level that counts as stable; 1.25 allows 25 %.
        max_in_flight: at a rate that the server does not keep up with, so many requests wait for answers and
            the next are sent late: the rate is not reached. Less than the server's queue takes: when one is
            refused, perf_analyzer takes its shared memory away under the others, and old servers die of it.
        cpus: the processors that it may use; None: all.
    """

    url: str
    data: Path
    folder: Path
    model: str = "detector"
    seconds: float = 10.0
    requests: int | None = None
    allowed_spread: float = 1.25
    distribution: str = "constant"
    max_in_flight: int = 48
    cpus: frozenset[int] | None = None

    def at(self, level: Level, transport: str) -> Measured:
        """Measure one level; a server that refuses the load is a result, not an error.

        Raises:
            ServerError: perf_analyzer could not be run, or failed for another reason than the load.
        """
        if self.requests:
            return self._run(level, transport, self.requests)
        rate = level.value
        if level.kind == "concurrency":  # a short run tells how many take so long
            pilot = self._run(level, transport, max(MIN_REQUESTS, int(4 * level.value)))
            if pilot.problem:
                return pilot
            rate = pilot.throughput
        return self._run(level, transport, max(MIN_REQUESTS, math.ceil(rate * self.seconds)))

    def _run(self, level: Level, transport: str, count: int) -> Measured:
        for _ in range(ATTEMPTS):
            found = self._run_once(level, transport, count)
            if found is not None:
                return found
        raise ServerError(f"perf_analyzer kept no times at {level}, {ATTEMPTS} times")

    def _run_once(self, level: Level, transport: str, count: int) -> Measured | None:
        """None when perf_analyzer has kept no times, see :data:`ATTEMPTS`."""
        program, environment = perf_analyzer()
        self.folder.mkdir(parents=True, exist_ok=True)
        report = self.folder / f"{self.model}-{transport}-{level.kind}-{level.value:g}"
        raw = report.with_suffix(".json")
        for stale in (raw, report.with_suffix(".csv")):
            stale.unlink(missing_ok=True)
        pinned = [] if self.cpus is None else ["taskset", "-c", ",".join(map(str, sorted(self.cpus)))]
        command = [*pinned, str(program), *self._arguments(level, transport, count)]
        command += ["-f", str(report.with_suffix(".csv")), "--profile-export-file", str(raw)]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerError(f"perf_analyzer could not be run: {error}") from error
        report.with_suffix(".txt").write_text(done.stdout + done.stderr)
        if done.returncode:
            return self._refused(level, transport, done.returncode, done.stderr or done.stdout)
        times = read_times(raw)
        if times is None:
            return None
        found = measure(times, level, transport, self.allowed_spread)
        raw.unlink()  # 200 bytes a request; what it says is kept
        return replace(found, server=read_server_times(report.with_suffix(".csv")))

    def _arguments(self, level: Level, transport: str, count: int) -> list[str]:
        found = ["-m", self.model, "-i", "grpc", "-u", self.url, "--input-data", str(self.data)]
        found += ["--shared-memory", transport, "--request-count", str(count), "--percentile", "99"]
        if transport != "none":
            found += ["--output-shared-memory-size", str(OUTPUT_BYTES)]
        if level.kind == "concurrency":
            return [*found, "--async", "--concurrency-range", f"{level.value:g}"]
        found += ["--request-rate-range", f"{level.value:g}", "--request-distribution", self.distribution]
        return [*found, "--sync", "--max-threads", str(self.max_in_flight)]

    def _refused(self, level: Level, transport: str, code: int, said: str) -> Measured:
        """The load was too much: the queue was full, or a frame waited too long in it."""
        refusal = re.search(r"Exceeds maximum queue size|Request timeout expired", said)
        if refusal is None:
            raise ServerError(f"perf_analyzer failed ({code}): {said[-600:].strip()}")
        return Measured(level, transport, problem=f"refused by the server: {refusal[0]}")


def read_times(path: Path) -> list[tuple[int, int]] | None:
    """When each request was sent and answered, in nanoseconds, from what perf_analyzer exports.

    None when its file breaks off, see :data:`ATTEMPTS`.
    """
    try:
        (experiment,) = json.loads(path.read_text())["experiments"]
    except (OSError, json.JSONDecodeError):
        return None
    return [
        (request["timestamp"], request["response_timestamps"][-1])
        for request in experiment["requests"]
        if request["response_timestamps"]
    ]


def read_server_times(path: Path) -> dict[str, float]:
    """Mean milliseconds in the server's queue and at work, from perf_analyzer's CSV."""
    with path.open() as file:
        (row,) = csv.DictReader(file)
    return {name: round(sum(float(row[key]) for key in keys) / 1e3, 3) for name, keys in _SERVER.items()}


def check_transport(transport: str) -> None:
    """Raise a :class:`ServerError` when this machine cannot measure a transport."""
    if transport != "cuda":
        return
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ServerError(
            "CUDA shared memory needs an NVIDIA GPU and its driver on this machine, and there is none "
            "(no libcuda.so.1); leave `cuda` out of --shared-memory"
        ) from error
    if driver.cuInit(0) != 0:
        raise ServerError("CUDA shared memory needs an NVIDIA GPU: the driver is here, but it finds none")


def parse_transports(text: str) -> tuple[str, ...]:
    """``none,system`` as its parts.

    Raises:
        ValueError: one is unknown.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [part for part in found if part not in TRANSPORTS]
    if unknown or not found:
        raise ValueError(f"{text!r}: give {', '.join(TRANSPORTS)}, or several with commas")
    return found


def perf_analyzer() -> tuple[Path, dict[str, str]]:
    """The program and the variables it needs: the one on PATH, else ours, fetched once.

    It wants libb64 and the CUDA runtime, of which the server's wheel carries copies under other names.

    Raises:
        ServerError: it could not be fetched.
    """
    on_path = shutil.which("perf_analyzer")  # as in Triton's SDK container
    if on_path:
        return Path(on_path), dict(os.environ)
    lock = (ROOT / "tools" / "load" / "perf.txt").read_bytes()
    libraries = Installation(install(_say)).libraries

    def finish(folder: Path) -> None:
        (folder / "libraries").mkdir()
        for name, pattern in (("libb64.so.0d", "libb64-*.so.0d"), ("libcudart.so.12", "libcudart-*.so.12*")):
            (folder / "libraries" / name).symlink_to(next(libraries.glob(pattern)))

    key = hashlib.sha256(lock + str(libraries).encode()).hexdigest()[:12]
    folder = install_packages(f"perf-{key}", lock, _say, finish=finish)
    program = folder / "bin" / "perf_analyzer"
    return program, {**os.environ, "LD_LIBRARY_PATH": str(folder / "libraries")}


def _say(text: str) -> None:
    print(f"perf_analyzer: {text}", file=sys.stderr)
