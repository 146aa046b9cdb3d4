"""``sightline demo``: everything on this machine, by one command, and nothing left behind.

The parts are the real ones: the embedded Triton, an RTSP server, ``sightline run`` and the console, each a
process. They are started in the order in which they need each other and stopped in the opposite one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from sightline.errors import ServerError
from sightline.processes import spawn, terminate
from sightline.rtspserver import RtspServer
from sightline.signals import stop_on_signals
from sightline.tritonserver import TritonServer

ROOT = Path(__file__).resolve().parents[2]  # the checkout: models, tools and console live beside the package
SHARED = Path(os.environ.get("SIGHTLINE_SHARED", ROOT.parent / "shared"))
READY_S = 120.0
#: What street and entrance cameras count; a general network knows skateboards too.
CLASSES = ["person", "bicycle", "car", "motorcycle", "bus", "truck"]


def run_demo(arguments: argparse.Namespace) -> int:
    """Start everything, print the console's URL, wait for Ctrl-C, stop everything."""
    stop = stop_on_signals()
    videos, model = find_inputs(arguments.video, arguments.model)
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.callback(print, "demo: everything is stopped", flush=True)
        repository = prepare_model(model, folder)
        triton = TritonServer(repository, log_path=folder / "triton.log")
        triton.start(on_progress=lambda text: say(f"Triton: {text}"))
        stack.callback(triton.stop)
        say(f"cameras: serving {arguments.cameras} looped videos over RTSP")
        names = {f"camera-{i + 1}": videos[i % len(videos)] for i in range(arguments.cameras)}
        rtsp = stack.enter_context(RtspServer(names))
        config = write_config(
            folder, triton.grpc_url, {name: rtsp.url(name) for name in names}, arguments.fps
        )
        clients = start(
            "sightline", [sys.executable, "-m", "sightline", "run", "-c", str(config)], folder, stack
        )
        console = start(
            "console", console_command(arguments.port), folder, stack, console_environment(folder)
        )
        url = f"http://127.0.0.1:{arguments.port}"
        children = {"sightline": clients, "console": console}
        wait_until_ready(f"{url}/_stcore/health", children, folder, stop)
        if not stop.is_set():
            say(f"ready: open {url}   (Ctrl-C stops everything; logs are in {folder})")
        while not stop.wait(0.5):
            triton.check()
            check(children, folder)
        say("stopping")
    return 0


def say(text: str) -> None:
    """One line of progress."""
    print(f"demo: {text}", flush=True)


def find_inputs(videos: Sequence[Path] | None, model: Path | None) -> tuple[list[Path], Path]:
    """The videos to loop and the network to serve: from the options, else from the shared folder.

    Raises:
        ServerError: one of them is missing; the text says how to give it.
    """
    found = list(videos) if videos else sorted((SHARED / "videos").glob("*.mp4"))
    network = model or SHARED / "models" / "yolov8n.onnx"
    missing = [
        str(path) for path in [*(found or [SHARED / "videos" / "*.mp4"]), network] if not path.is_file()
    ]
    if missing:
        raise ServerError(
            f"the demo needs a video and a network, and there is no {' and no '.join(missing)}; give them:\n"
            "  make demo ARGS='--video FILE.mp4 --model FILE.onnx'\n"
            "A network is any YOLO detector as ONNX, or an Ultralytics .pt; --video may be repeated."
        )
    return [path.resolve() for path in found], network.resolve()


def bundled_model() -> Path:
    """The detector that comes with the project.

    Raises:
        ServerError: it is not there.
    """
    path = ROOT / "models" / "sightline.onnx"
    if not path.is_file():
        raise ServerError(f"{path} is not there; restore it from the checkout, or give --model")
    return path


def prepare_model(model: Path, folder: Path) -> Path:
    """A model repository of the demo's own with ``model`` exported into it; made once for each network file.

    Raises:
        ServerError: the export failed; its own words are in the text.
    """
    repository = folder / "model_repository"
    stamp = repository / ".made-from"
    made_from = f"{model} {model.stat().st_mtime_ns}"
    if stamp.is_file() and stamp.read_text() == made_from:
        say(f"model: {model.name} is already exported")
        return repository
    say(f"model: exporting {model.name}")
    shutil.rmtree(repository, ignore_errors=True)
    command = [sys.executable, str(ROOT / "tools" / "export.py"), str(model), "--aspect", "16:9"]
    done = subprocess.run(
        [*command, "--repository", str(repository)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServerError(f"{model.name} could not be exported:\n{done.stderr or done.stdout}")
    stamp.write_text(made_from)
    return repository


def write_config(
    folder: Path, grpc_url: str, urls: Mapping[str, str], fps: float, *, http_port: int = 0
) -> Path:
    """The demo's ``config.yml``; a start to copy from."""
    config = {
        "fps": fps,
        "classes": CLASSES,
        "window_s": 10,
        "triton": {"url": grpc_url},
        "database": {"url": database_url(folder), "spool_path": str(folder / "spool.db")},
        "http": {"port": http_port},
        "cameras": {name: {"url": url} for name, url in urls.items()},
    }
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def database_url(folder: Path) -> str:
    """The demo's SQLite file."""
    return f"sqlite:///{folder / 'sightline.db'}"


def console_command(port: int) -> list[str]:
    """How the console is started."""
    app = str(ROOT / "streamlit_app" / "app.py")
    options = {"port": port, "address": "127.0.0.1", "headless": "true"}
    flags = [f"--server.{key}={value}" for key, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", app, *flags, "--browser.gatherUsageStats=false"]


def console_environment(folder: Path) -> dict[str, str]:
    """Where the console finds the demo's database."""
    return {"SIGHTLINE_DATABASE_URL": database_url(folder)}


def start(
    name: str,
    command: Sequence[str],
    folder: Path,
    stack: contextlib.ExitStack,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a part of the demo, its output in a log file, stopped when ``stack`` closes."""
    say(f"{name}: starting")
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    child = spawn(command, log, environment={**os.environ, **(environment or {})})
    stack.callback(terminate, child, 12.0)
    return child


def check(children: Mapping[str, subprocess.Popen[bytes]], folder: Path) -> None:
    """See that every part still runs.

    Raises:
        ServerError: one has ended; the end of its log is in the text.
    """
    for name, child in children.items():
        if child.poll() is not None:
            log = folder / f"{name}.log"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            raise ServerError(f"{name} has ended with {child.returncode}; the end of {log}:\n{tail}")


def wait_until_ready(
    url: str, children: Mapping[str, subprocess.Popen[bytes]], folder: Path, stop: threading.Event
) -> None:
    """Wait until the console answers.

    Raises:
        ServerError: a part has ended, or the console does not answer in time.
    """
    deadline_s = time.monotonic() + READY_S
    while not stop.wait(0.3):
        check(children, folder)
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310  the scheme is ours
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if time.monotonic() > deadline_s:
                raise ServerError(f"the console does not answer at {url}: {error}") from error
