"""The real perf_analyzer against the served ``detector``, with real pictures.

    python tools/perf.py --input VIDEO.mp4 --shared-memory system --concurrency 1:4

Starts the embedded server on ``model_repository/`` unless --url names one that runs. The report is kept as
text and CSV in ``artifacts/perf/``. perf_analyzer is fetched once, from the tritonclient wheel that has it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from sightline.errors import ServerError
from sightline.geometry import fit_size
from sightline.tritoninstall import Installation, install, install_packages
from sightline.tritonserver import TritonServer

ROOT = Path(__file__).resolve().parent.parent
PICTURES = 16
OUTPUT_BYTES = 1 << 16  # more than the boxes of one picture take
DEADLINE_S = 900


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when perf_analyzer was content."""
    options = parse(arguments)
    try:
        with served(options) as (url, http):
            width, height = picture_size(http, options)
            text = measure(options, url, pictures(options.input, width, height))
    except ServerError as error:
        print(f"perf: {error}", file=sys.stderr)
        return 1
    print(text)
    print(f"perf: report in {options.folder}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=Path, help="picture or video to take frames from (default: noise)")
    parser.add_argument("--shared-memory", choices=("none", "system"), default="system")
    parser.add_argument("--concurrency", default="1:4", help="requests in flight, from:to[:step]")
    parser.add_argument("--model", default="detector")
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--url", help="host:port of gRPC of a server that runs already")
    parser.add_argument("--http-url", default="http://127.0.0.1:8000", help="its HTTP (default: %(default)s)")
    parser.add_argument("--interval-ms", type=int, default=3000, help="length of one measurement")
    parser.add_argument(
        "--stability", type=int, default=25, help="percent that three measurements may differ by"
    )
    parser.add_argument(
        "--requests", type=int, help="measure once, over this many requests, instead of until stable"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "artifacts" / "perf", help="where reports go")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def served(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """The server's gRPC host:port and HTTP URL; ours is stopped at the end."""
    if options.url:
        yield options.url, options.http_url
        return
    server = TritonServer(options.model_repository, models=(options.model,))
    server.start(lambda text: print(f"perf: {text}", file=sys.stderr))
    try:
        yield server.grpc_url, server.http_url
    finally:
        server.stop()


def picture_size(http: str, options: argparse.Namespace) -> tuple[int, int]:
    """Width and height to send: the input's, scaled to fit the network that is served."""
    config = _get(f"{http}/v2/models/{options.model}/config")
    if "ensemble_scheduling" in config:
        config = _get(f"{http}/v2/models/yolo/config")
    side = {
        name: int(config["parameters"][f"network_{name}"]["string_value"]) for name in ("width", "height")
    }
    if options.input is None:
        return side["width"], side["height"]
    with av.open(str(options.input)) as container:
        frame = next(container.decode(video=0))
    return fit_size(frame.width, frame.height, side["width"], side["height"])


def _get(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
    except OSError as error:
        raise ServerError(f"{url} gives no answer: {error}") from error
    return found


def pictures(source: Path | None, width: int, height: int) -> list[np.ndarray]:
    """Up to 16 pictures, uint8 [3/2·height, width], I420, spread over the first minute."""
    if source is None:
        rng = np.random.default_rng(0)
        return list(rng.integers(0, 256, (PICTURES, height * 3 // 2, width), np.uint8))
    with av.open(str(source)) as container:
        frames = islice(container.decode(video=0), 0, 600, 600 // PICTURES)
        return [frame.reformat(width, height, "yuv420p").to_ndarray() for frame in frames]


def measure(options: argparse.Namespace, url: str, frames: Sequence[np.ndarray]) -> str:
    """Run perf_analyzer; its report, which is kept.

    Raises:
        ServerError: it could not be run, or it failed.
    """
    program, environment = perf_analyzer()
    options.folder.mkdir(parents=True, exist_ok=True)
    report = options.folder / f"{options.model}-{options.shared_memory}"
    with tempfile.TemporaryDirectory(prefix="sightline-perf-") as folder:
        data = Path(folder) / "input.json"
        data.write_text(json.dumps({"data": [_as_json(frame) for frame in frames]}))
        command = [str(program), "-m", options.model, "-i", "grpc", "-u", url, "--input-data", str(data)]
        command += ["--shared-memory", options.shared_memory, "--concurrency-range", options.concurrency]
        command += [*_how_long(options), "--percentile", "99", "-f", str(report.with_suffix(".csv"))]
        if options.shared_memory == "system":
            command += ["--output-shared-memory-size", str(OUTPUT_BYTES)]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerError(f"perf_analyzer could not be run: {error}") from error
    report.with_suffix(".txt").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise ServerError(f"perf_analyzer failed ({done.returncode}): {(done.stderr or done.stdout)[-600:]}")
    return done.stdout


def _how_long(options: argparse.Namespace) -> list[str]:
    """A fixed number of requests, which always ends; else windows of time until three of them agree."""
    if options.requests:
        return ["--request-count", str(options.requests)]
    stable = ["--measurement-interval", str(options.interval_ms)]
    return [*stable, "--stability-percentage", str(options.stability), "--max-trials", "5"]


def _as_json(frame: np.ndarray) -> dict[str, Any]:
    return {"frame": {"b64": base64.b64encode(frame.tobytes()).decode(), "shape": list(frame.shape)}}


def perf_analyzer() -> tuple[Path, dict[str, str]]:
    """The program and the variables it needs; fetched once.

    It wants libb64 and the CUDA runtime, of which the server's wheel carries copies under other names.

    Raises:
        ServerError: it could not be fetched.
    """
    lock = (ROOT / "tools" / "perf.txt").read_bytes()
    say = lambda text: print(f"perf: {text}", file=sys.stderr)  # noqa: E731
    libraries = Installation(install(say)).libraries

    def finish(folder: Path) -> None:
        (folder / "libraries").mkdir()
        for name, pattern in (("libb64.so.0d", "libb64-*.so.0d"), ("libcudart.so.12", "libcudart-*.so.12*")):
            (folder / "libraries" / name).symlink_to(next(libraries.glob(pattern)))

    key = hashlib.sha256(lock + str(libraries).encode()).hexdigest()[:12]
    folder = install_packages(f"perf-{key}", lock, say, finish=finish)
    program = folder / "bin" / "perf_analyzer"
    return program, {**os.environ, "LD_LIBRARY_PATH": str(folder / "libraries")}


if __name__ == "__main__":
    sys.exit(main())
