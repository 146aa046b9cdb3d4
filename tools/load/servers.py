"""The server under load, ours or one that runs already: its options, its configurations, pictures for it."""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu.clients import ready_pictures
from load.parts import Cpus, pinned
from sightline.base import machine
from sightline.errors import ServerError
from sightline.serving.server import TritonServer
from sightline.simulation.stack import fetch

ROOT = Path(__file__).resolve().parents[2]
DETECTOR = "detector"
PICTURES = 16
_SPAN = 600  # frames of the video that the pictures are spread over


@dataclass(frozen=True)
class Running:
    """A server that runs already, in a container or elsewhere: its processor time is not known."""

    grpc_url: str
    http_url: str
    pid: int = 0

    def check(self) -> None:
        """Nothing to see from here: the next request tells."""


Target = TritonServer | Running


def make_parser(description: str | None, folder: str) -> argparse.ArgumentParser:
    """A parser with the options of every load test: which server is under load, and where reports go."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="host:port of gRPC of a server that runs already")
    parser.add_argument("--http-url", default="http://127.0.0.1:8000", help="its HTTP (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / "artifacts" / folder, help="where reports go")
    return parser


@contextlib.contextmanager
def served(
    options: argparse.Namespace,
    repository: Path,
    *,
    model: str = DETECTOR,
    cpus: Cpus = None,
    log: Path | None = None,
) -> Iterator[Target]:
    """The server at ``--url``, else the embedded one on a repository; a stream for each of ``cpus``."""
    if options.url:
        yield Running(options.url, options.http_url)
        return
    server = TritonServer(repository, config_name=options.config_name, models=(model,), log_path=log)
    with pinned(cpus):
        server.start(lambda text: print(f"server: {text}", file=sys.stderr))
    try:
        yield server
    finally:
        server.stop()


def get_json(url: str) -> dict[str, Any]:
    """What a server answers.

    Raises:
        ServerError: nothing, or an error.
    """
    return dict(json.loads(fetch(url)))


def inference_count(server: Target, model: str = DETECTOR) -> int:
    """How many pictures the server has answered, all versions of the model together."""
    stats = get_json(f"{server.http_url}/v2/models/{model}/stats")["model_stats"]
    return sum(int(item["inference_count"]) for item in stats)


def network_size(http: str, model: str) -> tuple[int, int]:
    """Width and height of the network that is served.

    Raises:
        ServerError: the server gives no answer, or the model does not say what it takes.
    """
    parameters = get_json(f"{http}/v2/models/{model}/config").get("parameters", {})
    try:
        width, height = (int(parameters[f"network_{side}"]["string_value"]) for side in ("width", "height"))
    except KeyError as error:
        raise ServerError(
            f"{model!r} does not say what size it takes: parameter {error} is missing"
        ) from error
    return width, height


def write_input(source: Path | None, size: tuple[int, int], path: Path) -> Path:
    """Real pictures as perf_analyzer takes them: up to 16, I420, spread over the first frames of the video.

    Args:
        source: the video; None: noise.
        size: width and height of the network.
        path: where to write them.
    """
    width, height = size
    pictures = ready_pictures((height, width), source, count=PICTURES, step=_SPAN // PICTURES)
    data = [
        {"frame": {"b64": base64.b64encode(picture.tobytes()).decode(), "shape": list(picture.shape)}}
        for picture in pictures
    ]
    path.write_text(json.dumps({"data": data}))
    return path


def about_run(program: str, arguments: list[str] | None, cpus: Cpus = None) -> dict[str, str]:
    """What a report says of itself: command, date, machine."""
    given = sys.argv[1:] if arguments is None else arguments
    where = f"; the server on core {','.join(map(str, sorted(cpus)))}" if cpus else ""
    return {
        "command": shlex.join(["python", f"tools/load/{program}", *given]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe() + where,
    }
