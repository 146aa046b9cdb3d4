"""The real perf_analyzer: fetched once, run at one level at a time, its raw times kept.

One run sends a number of requests that is known beforehand, so it always ends; whether the level was steady
is found afterwards (:mod:`load.measured`). perf_analyzer's own search for stability throws away what it
has measured when it gives up, which on a busy machine is normal.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from argparse import ArgumentTypeError
from dataclasses import dataclass, replace
from pathlib import Path

from load.measured import Level, Measured, measure
from load.servers import DETECTOR, Cpus
from sightline.base.cuda import has_gpu
from sightline.errors import ServerError
from sightline.serving.install import Installation, install, install_packages

OUTPUT_BYTES = 1 << 16  # more than the boxes of one picture take
DEADLINE_S = 600
MIN_REQUESTS = 50  # so that a window has ten, and one late answer does not make all of it
#: With shared memory perf_analyzer exports, beside the times, what lies at a wrong address instead of the
#: outputs. When that happens to be no number, its JSON writer gives up and the file breaks off: once more.
ATTEMPTS = 4
TRANSPORTS = ("none", "system", "cuda")


@dataclass(frozen=True)
class Analyzer:
    """How perf_analyzer is run; the same for all levels.

    Attributes:
        url: host:port of the server's gRPC.
        data: the pictures, as :func:`load.servers.write_input` writes them.
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
    model: str = DETECTOR
    seconds: float = 10.0
    requests: int | None = None
    allowed_spread: float = 1.25
    distribution: str = "constant"
    max_in_flight: int = 48
    cpus: Cpus = None

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
        program, environment = perf_analyzer()
        self.folder.mkdir(parents=True, exist_ok=True)
        report = self.folder / f"{self.model}-{transport}-{level.kind}-{level.value:g}.csv"
        raw = report.with_suffix(".json")
        pinned = [] if self.cpus is None else ["taskset", "-c", ",".join(map(str, sorted(self.cpus)))]
        command = [*pinned, str(program), "-f", str(report), "--profile-export-file", str(raw)]
        command += ["-m", self.model, "-i", "grpc", "-u", self.url, "--input-data", str(self.data)]
        command += ["--shared-memory", transport, "--request-count", str(count), "--percentile", "99"]
        if transport != "none":
            command += ["--output-shared-memory-size", str(OUTPUT_BYTES)]
        if level.kind == "concurrency":
            command += ["--async", "--concurrency-range", f"{level.value:g}"]
        else:
            command += [
                "--request-rate-range",
                f"{level.value:g}",
                "--request-distribution",
                self.distribution,
            ]
            command += ["--sync", "--max-threads", str(self.max_in_flight)]
        for _ in range(ATTEMPTS):
            for stale in (raw, report):
                stale.unlink(missing_ok=True)
            try:
                done = subprocess.run(
                    command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ServerError(f"perf_analyzer could not be run: {error}") from error
            report.with_suffix(".txt").write_text(done.stdout + done.stderr)
            if done.returncode:  # the load was too much: the queue was full, or a frame waited too long in it
                said = done.stderr or done.stdout
                refusal = re.search(r"Exceeds maximum queue size|Request timeout expired", said)
                if refusal is None:
                    raise ServerError(f"perf_analyzer failed ({done.returncode}): {said[-600:].strip()}")
                return Measured(level, transport, problem=f"refused by the server: {refusal[0]}")
            if (times := read_times(raw)) is not None:
                raw.unlink()  # 200 bytes a request; what it says is kept
                one = measure(times, level, transport, self.allowed_spread)
                return replace(one, server=read_server_times(report))
        raise ServerError(f"perf_analyzer kept no times at {level}, {ATTEMPTS} times")


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
    """Mean milliseconds in the server's queue and at work, from perf_analyzer's CSV in microseconds."""
    with path.open() as file:
        (row,) = csv.DictReader(file)
    compute_us = float(row["Server Compute Input"]) + float(row["Server Compute Infer"])
    return {"queue": round(float(row["Server Queue"]) / 1e3, 3), "compute": round(compute_us / 1e3, 3)}


def check_transports(*transports: str) -> None:
    """Raise a :class:`ServerError` when this machine cannot measure a transport."""
    if "cuda" in transports and not has_gpu():
        raise ServerError(
            "CUDA shared memory needs an NVIDIA GPU and its driver on this machine, and there is none; "
            "leave `cuda` out of --shared-memory"
        )


def parse_transports(text: str) -> tuple[str, ...]:
    """``none,system`` as its parts.

    Raises:
        ArgumentTypeError: one is unknown.
    """
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts or not set(parts) <= set(TRANSPORTS):
        raise ArgumentTypeError(f"{text!r}: give {', '.join(TRANSPORTS)}, or several with commas")
    return parts


def perf_analyzer() -> tuple[Path, dict[str, str]]:
    """The program and the variables it needs: the one on PATH, else ours, fetched once.

    It wants libb64 and the CUDA runtime, of which the server's wheel carries copies under other names.

    Raises:
        ServerError: it could not be fetched.
    """
    on_path = shutil.which("perf_analyzer")  # as in Triton's SDK container
    if on_path:
        return Path(on_path), dict(os.environ)

    def say(text: str) -> None:
        print(f"perf_analyzer: {text}", file=sys.stderr)

    lock = Path(__file__).with_name("perf.txt").read_bytes()
    libraries = Installation(install(say)).libraries

    def finish(folder: Path) -> None:
        (folder / "libraries").mkdir()
        for name, pattern in (("libb64.so.0d", "libb64-*.so.0d"), ("libcudart.so.12", "libcudart-*.so.12*")):
            (folder / "libraries" / name).symlink_to(next(libraries.glob(pattern)))

    key = hashlib.sha256(lock + str(libraries).encode()).hexdigest()[:12]
    folder = install_packages(f"perf-{key}", lock, say, finish=finish)
    return folder / "bin" / "perf_analyzer", {**os.environ, "LD_LIBRARY_PATH": str(folder / "libraries")}
