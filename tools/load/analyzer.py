"""The real perf_analyzer: fetched once, run at one level at a time, and what its raw times say.

One run sends a number of requests that is known beforehand, so it always ends; whether the level was steady
is found afterwards. perf_analyzer's own search for stability throws away what it has measured when it gives
up, which on a busy machine is normal. Its own rate counts whole seconds: 60 requests at 20 a second come out
as 15. So the rate is taken from the times of the requests, which it keeps on demand.
"""

import argparse
import base64
import csv
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpu.clients import ready_pictures
from load.servers import DETECTOR, Cpus, Target, get_json
from sightline.base.cuda import has_gpu
from sightline.errors import ServerError
from sightline.serving.install import Installation, install, install_packages
from sightline.simulation.stack import progress

#: This share of the requests, at the beginning, is the warm-up; the rest is cut into windows of equal length.
WARM_UP = 0.2
WINDOWS = 5
PERCENTILES = (50, 90, 95, 99)
MAX_LEVELS = 200  # of a sweep
OUTPUT_BYTES = 1 << 16  # more than the boxes of one picture take
DEADLINE_S = 600
MIN_REQUESTS = 50  # so that a window has ten, and one late answer does not make all of it
#: With shared memory perf_analyzer exports, beside the times, what lies at a wrong address instead of the
#: outputs. When that happens to be no number, its JSON writer gives up and the file breaks off: once more.
ATTEMPTS = 4
TRANSPORTS = ("none", "system", "cuda")
PICTURES, SPAN = 16, 600  # the pictures that are sent, and the frames of a video that they are spread over


@dataclass(frozen=True)
class Level:
    """What is asked of the server: so many requests in flight, or so many a second."""

    kind: str  # "concurrency" or "rate"
    value: float

    def __str__(self) -> str:
        return f"{self.value:g} in flight" if self.kind == "concurrency" else f"{self.value:g} a second"


def parse_concurrency(text: str) -> list[Level]:
    """The levels of a sweep of requests in flight, as :func:`parse_rates`; whole numbers."""
    levels = parse_rates(text)
    if any(level.value % 1 for level in levels):
        raise ArgumentTypeError(f"{text!r}: requests in flight are whole numbers")
    return [Level("concurrency", level.value) for level in levels]


def parse_rates(text: str) -> list[Level]:
    """The levels of a sweep of rates, ascending, from ``from:to[:step]`` or values with commas."""
    parts = text.split(":")
    try:
        numbers = [float(part) for part in (parts if len(parts) > 1 else text.split(","))]
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is neither from:to[:step] nor values with commas") from error
    values = sorted(set(numbers))
    if len(parts) > 1:
        first, last, step = (*numbers, 1.0)[:3]
        if len(numbers) > 3 or step <= 0 or last < first or (last - first) / step > MAX_LEVELS:
            raise ArgumentTypeError(f"{text!r} is no from:to[:step] of at most {MAX_LEVELS} levels")
        values = [first + index * step for index in range(int((last - first) / step + 1e-9) + 1)]
    if values[0] <= 0 or len(values) > MAX_LEVELS:
        raise ArgumentTypeError(f"{text!r}: levels are above 0, and at most {MAX_LEVELS}")
    return [Level("rate", value) for value in values]


@dataclass(frozen=True)
class Measured:
    """One level as it was measured. Times in milliseconds; ``throughput`` in answers a second."""

    level: Level
    transport: str
    requests: int = 0  # answers that were counted, after the warm-up
    seconds: float = 0.0
    throughput: float = 0.0
    mean_ms: float = 0.0
    percentiles_ms: Mapping[str, float] | None = None
    stable: bool = False  # whether rate and mean latency of the windows stayed within the allowed spread
    spread: float = 0.0  # largest ÷ smallest of the windows, the worse of rate and mean latency; 1 is steady
    windows: tuple[tuple[float, float], ...] = ()  # rate and mean latency of each window
    # mean times inside the server, as it counts them (``queue``, ``compute``)
    server: Mapping[str, float] | None = None
    problem: str = ""  # why nothing was measured; empty when something was

    @property
    def p99_ms(self) -> float:
        """The 99th percentile; infinite when nothing was measured."""
        return self.percentiles_ms["p99"] if self.percentiles_ms else float("inf")

    def __str__(self) -> str:
        steady = "" if self.stable else f", unstable ({self.spread:.2f})"
        figures = f"{self.throughput:.1f} frames/s, p99 {self.p99_ms:.1f} ms{steady}"
        return f"{self.transport}, {self.level}: {self.problem or figures}"

    def as_json(self) -> dict[str, Any]:
        """For the report's JSON, which has no infinity."""
        windows = [[rate, mean if math.isfinite(mean) else None] for rate, mean in self.windows]
        spread = self.spread if math.isfinite(self.spread) else None
        return {**asdict(self), "spread": spread, "windows": windows}


def measure(
    requests: Sequence[tuple[int, int]], level: Level, transport: str, allowed_spread: float
) -> Measured:
    """Rate and percentiles of one level.

    Counted is what was answered between the end of the warm-up and the moment the last request was sent: from
    then on the load is no longer the one that was asked for. A window without any answer has rate 0 and an
    infinite latency. A ValueError when too few requests say anything.

    Args:
        requests: when each request was sent and answered, in nanoseconds.
        level: what was asked.
        transport: how the pictures went.
        allowed_spread: the windows' largest ÷ smallest up to which they count as stable.
    """
    times = np.array(sorted(requests), np.int64)
    if len(times) < 2 * WINDOWS:
        raise ValueError(f"{len(times)} requests are too few: {2 * WINDOWS} are needed")
    begin, end = int(times[int(len(times) * WARM_UP), 0]), int(times[-1, 0])
    counted = times[(times[:, 1] > begin) & (times[:, 1] <= end)]
    if end <= begin or len(counted) < WINDOWS:
        raise ValueError(f"{len(counted)} requests were answered while the load lasted: too few")
    latency_ms, seconds = (counted[:, 1] - counted[:, 0]) / 1e6, (end - begin) / 1e9
    window = np.ceil((counted[:, 1] - begin) / (end - begin) * WINDOWS).astype(int) - 1
    answers, sums_ms = (np.bincount(window, weights, WINDOWS) for weights in (None, latency_ms))
    means_ms = np.divide(sums_ms, answers, out=np.full(WINDOWS, np.inf), where=answers > 0)
    rates = answers * WINDOWS / seconds
    spread = max(float(each.max() / each.min()) for each in (rates, means_ms)) if answers.all() else math.inf
    return Measured(
        level=level,
        transport=transport,
        requests=len(counted),
        seconds=round(seconds, 3),
        throughput=round(len(counted) / seconds, 3),
        mean_ms=round(float(latency_ms.mean()), 3),
        percentiles_ms={f"p{p}": round(float(np.percentile(latency_ms, p)), 3) for p in PERCENTILES},
        stable=spread <= allowed_spread,
        spread=round(spread, 3),
        windows=tuple(zip(rates.round(2).tolist(), means_ms.round(2).tolist(), strict=True)),
    )


@dataclass(frozen=True)
class Analyzer:
    """How perf_analyzer is run; the same for all levels.

    Attributes:
        url: host:port of the server's gRPC.
        data: the pictures, as :func:`prepare` writes them.
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
        command = [] if self.cpus is None else ["taskset", "-c", ",".join(map(str, sorted(self.cpus)))]
        command += [str(program), "-f", str(report), "--profile-export-file", str(raw)]
        command += ["-m", self.model, "-i", "grpc", "-u", self.url, "--input-data", str(self.data)]
        command += ["--shared-memory", transport, "--request-count", str(count), "--percentile", "99"]
        if transport != "none":
            command += ["--output-shared-memory-size", str(OUTPUT_BYTES)]
        if level.kind == "concurrency":
            command += ["--async", "--concurrency-range", f"{level.value:g}"]
        else:
            command += ["--sync", "--max-threads", str(self.max_in_flight)]
            command += ["--request-rate-range", f"{level.value:g}"]
            command += ["--request-distribution", self.distribution]
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
                with report.open() as file:  # mean microseconds in the server's queue and at work
                    (row,) = csv.DictReader(file)
                work_us = float(row["Server Compute Input"]) + float(row["Server Compute Infer"])
                inside = {"queue": float(row["Server Queue"]) / 1e3, "compute": work_us / 1e3}
                return replace(one, server={name: round(ms, 3) for name, ms in inside.items()})
        raise ServerError(f"perf_analyzer kept no times at {level}, {ATTEMPTS} times")


def read_times(path: Path) -> list[tuple[int, int]] | None:
    """When each request was sent and answered, in nanoseconds, from what perf_analyzer exports.

    None when its file breaks off, see :data:`ATTEMPTS`.
    """
    try:
        (experiment,) = json.loads(path.read_text())["experiments"]
    except (OSError, json.JSONDecodeError):
        return None
    answered = (one for one in experiment["requests"] if one["response_timestamps"])
    return [(one["timestamp"], one["response_timestamps"][-1]) for one in answered]


def prepare(
    options: argparse.Namespace, server: Target, source: Path | None, **more: Any
) -> tuple[Analyzer, str]:
    """perf_analyzer with up to 16 I420 pictures of the size that the server takes, and that size (WxH).

    Args:
        options: those that :class:`Analyzer` has, too, and ``client_cpus``.
        server: where the model is served.
        source: picture or video, over whose first frames the pictures are spread; None: noise.
        more: of :class:`Analyzer`, in place of options.

    Raises:
        ServerError: the server gives no answer, or the model does not say what it takes.
    """
    names = {field.name for field in fields(Analyzer)}
    given = {name: value for name, value in vars(options).items() if name in names} | more
    given |= {"url": server.grpc_url, "cpus": options.client_cpus}
    model, data = given.get("model", DETECTOR), given["folder"] / "input.json"
    said = get_json(server, f"/v2/models/{model}/config").get("parameters", {})
    try:
        width, height = (int(said[f"network_{side}"]["string_value"]) for side in ("width", "height"))
    except KeyError as error:
        missing = f"{model!r} does not say what size it takes: parameter {error} is missing"
        raise ServerError(missing) from error
    pictures = ready_pictures((height, width), source, count=PICTURES, step=SPAN // PICTURES)
    coded = ((base64.b64encode(one.tobytes()).decode(), list(one.shape)) for one in pictures)
    frames = [{"frame": {"b64": text, "shape": shape}} for text, shape in coded]
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text(json.dumps({"data": frames}))
    return Analyzer(data=data, **given), f"{width}x{height}"


def parse_transports(text: str) -> tuple[str, ...]:
    """``none,system`` as its parts."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts or not set(parts) <= set(TRANSPORTS):
        raise ArgumentTypeError(f"{text!r}: give {', '.join(TRANSPORTS)}, or several with commas")
    return parts


def check_transports(*transports: str) -> None:
    """Raise a :class:`ServerError` when this machine cannot measure a transport."""
    if "cuda" in transports and not has_gpu():
        raise ServerError(
            "CUDA shared memory needs an NVIDIA GPU and its driver on this machine, and there is none; "
            "leave `cuda` out of --shared-memory"
        )


def perf_analyzer() -> tuple[Path, dict[str, str]]:
    """The program and the variables it needs: the one on PATH, else ours, fetched once.

    It wants libb64 and the CUDA runtime, of which the server's wheel carries copies under other names. A
    ServerError when it could not be fetched.
    """
    if on_path := shutil.which("perf_analyzer"):  # as in Triton's SDK container
        return Path(on_path), dict(os.environ)
    say = progress("perf_analyzer")
    lock = Path(__file__).with_name("perf.txt").read_bytes()
    libraries = Installation(install(say)).libraries

    def finish(folder: Path) -> None:
        (folder / "libraries").mkdir()
        for name, pattern in (("libb64.so.0d", "libb64-*.so.0d"), ("libcudart.so.12", "libcudart-*.so.12*")):
            (folder / "libraries" / name).symlink_to(next(libraries.glob(pattern)))

    key = hashlib.sha256(lock + str(libraries).encode()).hexdigest()[:12]
    folder = install_packages(f"perf-{key}", lock, say, finish=finish)
    return folder / "bin" / "perf_analyzer", {**os.environ, "LD_LIBRARY_PATH": str(folder / "libraries")}
