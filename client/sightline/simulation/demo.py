"""``sightline demo``: everything on this machine, by one command, and nothing left behind.

The parts are the real ones: the embedded Triton, an RTSP server, ``sightline run`` and the console, each a
process. They are started in the order in which they need each other and stopped in the opposite one.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from sightline.base.processes import make_all, spawn, terminate
from sightline.base.resources import resource
from sightline.base.signals import stop_on_signals
from sightline.config.access_options import AccessOptions
from sightline.config.groups import DatabaseOptions
from sightline.entities import Role
from sightline.errors import ServerError
from sightline.serving.server import TritonServer
from sightline.simulation.demo_config import write_config
from sightline.simulation.rtsp_server import RtspServer, free_port
from sightline.simulation.scenes.encode import Coding, cache_path, render_command
from sightline.simulation.scenes.scene_places import DETECT, camera_places
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.stack import SightlineProcess, check_running, fetch
from sightline.supervisor.control_socket import socket_folder
from sightline.supervisor.http.own_programs import own_key

#: Where videos and networks are looked for when none is named.
SHARED = Path(os.environ.get("SIGHTLINE_SHARED", "../shared"))
READY_S = 120.0
#: What street and entrance cameras count; a general network knows skateboards too.
CLASSES = ["person", "bicycle", "car", "motorcycle", "bus", "truck"]
#: The cameras that are shown when no video is given; their seeds are not those of the detector's training.
SIMULATED = {
    "street": SceneSpec("street", seed=1, camera=5),
    "street-dusk": SceneSpec("street", seed=2, light="dusk", weather="rain", camera=5),
    "factory": SceneSpec("factory", seed=3),
    "shop": SceneSpec("shop", seed=4),
}
#: Short, so that an alert's clip can be looked at soon after it.
CLIPS = {"enabled": True, "pre_s": 4, "post_s": 4, "max_s": 20, "kinds": ["crossing", "enter", "loiter"]}
MAX_CLIP_BYTES = 500_000_000
#: What Review shows; nobody outside is told. Each rule is for the cameras that have its places. They are few
#: enough for one person: what is seen all the time is one alert in ten minutes.
ALERTS: dict[str, dict[str, Any]] = {
    "loitering": {"kinds": ["loiter"], "places": ["entrance"], "cooldown_s": 120},
    "forbidden_area": {
        "kinds": ["enter"],
        "places": ["forbidden"],
        "classes": ["person"],
        "severity": "error",
        "cooldown_s": 300,
    },
    "crossing_the_street": {
        "kinds": ["crossing"],
        "places": ["zebra"],
        "severity": "info",
        "cooldown_s": 600,
    },
    "line": {"kinds": ["crossing"], "places": ["line"], "severity": "info", "cooldown_s": 600},
}
LOOP_S = 88.0  # two turns of the street's traffic light: the loop's seam falls in the same phase


def run_demo(arguments: argparse.Namespace) -> int:
    """Start everything, print the console's URL, wait for Ctrl-C, stop everything."""
    os.umask(0o077)
    stop = stop_on_signals()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        occupy(folder, stack)
        stack.callback(print, "demo: everything is stopped", flush=True)
        show = prepare_show(arguments, folder, stop)
        if show is None:
            return 0
        cameras, model, classes = show
        triton = TritonServer(prepare_model(model, folder), log_path=folder / "triton.log")
        port, control = free_port(), socket_folder(DatabaseOptions(spool_path=folder / "spool.db"))
        boxes = boxes_streams(cameras, port, own_key(control))
        streams = {name: keys["url"] for name, keys in cameras.items()}
        rtsp = stack.enter_context(RtspServer(streams | boxes, media=True))
        say(
            f"cameras: {rtsp.url('NAME')}, with boxes {rtsp.url('NAME-boxes')}, "
            f"where NAME is {', '.join(streams)}"
        )
        cameras = {name: {**keys, "url": rtsp.url(name)} for name, keys in cameras.items()}
        options = {
            "stream": {"fps": arguments.fps},
            "count": {"classes": classes, "window_s": 10},
            "media": rtsp.media,
            "models": {"repository": str(triton.model_repository)},
            "clips": CLIPS | {"folder": str(folder / "clips")},
            "retention": {"clips_bytes": MAX_CLIP_BYTES},
            "alerts": {"rules": alert_rules(cameras)},
            "http": {"port": port},
            "triton": {"url": triton.grpc_url},
        }
        sightline = DemoSightline(folder, cameras, options, reset=arguments.reset_config)
        sightline.log_path.unlink(missing_ok=True)
        say("console: starting")  # first: it takes longest, and needs the configuration alone
        console_log = folder / "console.log"
        command = [sys.executable, "-m", "sightline", "console", "--port", str(arguments.port)]
        command += ["--config", str(sightline.config_path)]
        console = spawn(command, stack.enter_context(console_log.open("wb")))
        stack.callback(terminate, console, 12.0)
        stack.callback(triton.stop)
        triton.start(on_progress=lambda text: say(f"Triton: {text}"))
        say("sightline: starting")
        stack.enter_context(sightline)
        url, deadline_s = f"http://127.0.0.1:{arguments.port}", time.monotonic() + READY_S
        ready = False
        while not stop.wait(0.3):
            check_parts(rtsp, triton, sightline)
            check_running(console, "the console", console_log)
            if not ready:
                if problem := why_not_ready(url, sightline):
                    if time.monotonic() > deadline_s:
                        raise ServerError(problem)
                    continue
                ready = True
                tell_ready(sightline, url, folder)
        say("stopping")
    return 0


class DemoSightline(SightlineProcess):
    """``sightline run`` with what people have changed in the folder's configuration, or ``reset`` without."""

    def __init__(
        self,
        folder: Path,
        cameras: Mapping[str, Mapping[str, Any]],
        options: Mapping[str, Any],
        *,
        reset: bool,
    ) -> None:
        self._reset = reset
        super().__init__(folder, cameras, triton=options["triton"], options=options)

    def write(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put it into the file, and say whether people have changed it; what stands there then."""
        kept, changed = write_config(self.config_path, config, reset=self._reset)
        if changed:
            path = self.config_path
            say(f"configuration: {path} as it was changed; --reset-config starts from the original one")
        return kept


def check_parts(rtsp: RtspServer, triton: TritonServer, sightline: SightlineProcess) -> None:
    """See that all of them run; the RTSP server is started again, since cameras come back as well."""
    if rtsp.revive():
        say("cameras: the RTSP server had ended; it runs again")
    triton.check()
    sightline.check()


def alert_rules(cameras: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those of :data:`ALERTS` for which there are places, each for the cameras that have them."""
    rules = {}
    for name, rule in ALERTS.items():
        group = "lines" if "crossing" in rule["kinds"] else "zones"
        named = [
            camera
            for camera, keys in cameras.items()
            if {*rule["places"]} & {*keys.get("rules", {}).get(group, {})}
        ]
        if named:
            rules[name] = {"cameras": named, **rule}
    return rules


def boxes_streams(cameras: Iterable[str], port: int, key: str) -> dict[str, str]:
    """By a stream's name, where go2rtc gets a camera's annotated video while somebody watches it.

    Args:
        cameras: their names.
        port: that ``sightline run`` will have.
        key: of this user's programs.
    """
    url, shown = f"http://127.0.0.1:{port}/live", f"#header=Authorization: Bearer {key}"
    return {f"{name}-boxes": f"{url}/{name}.ts{shown}" for name in cameras}


def occupy(folder: Path, stack: contextlib.ExitStack) -> None:
    """Keep other demos out of the folder until the stack is left; ``ServerError`` if one runs in it."""
    lock = stack.enter_context((folder / ".lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        problem = f"another demo runs in {folder}; stop it, or give --folder and --port of this one's own"
        raise ServerError(problem) from None


def prepare_show(
    arguments: argparse.Namespace, folder: Path, stop: threading.Event
) -> tuple[dict[str, dict[str, Any]], Path, list[str] | None] | None:
    """Simulated cameras and the bundled detector unless the options name others; None if stopped meanwhile.

    Each camera's keys by its name, with the video to loop as ``url``; the network; and the classes that are
    counted, None for every class of the network. ``ServerError`` says what is missing or could not be made.
    """
    if arguments.video:
        videos, model = find_inputs(arguments.video, arguments.model)
        files = (videos[i % len(videos)] for i in range(arguments.cameras or len(arguments.video)))
        rules = {"rules": {"lines": {"line": {"points": arguments.line}}}} if arguments.line else {}
        return {f"camera-{i}": {"url": path, **rules} for i, path in enumerate(files, 1)}, model, CLASSES
    if arguments.line:
        raise ServerError("--line needs a --video; the simulated cameras have lines of their own")
    coding = Coding(fps=arguments.fps, gop=max(1, round(2 * arguments.fps)))
    cameras, jobs = {}, {}
    for i in range(
        arguments.cameras or len(SIMULATED)
    ):  # the same again, with other seeds, when more are asked for
        again, which = divmod(i, len(SIMULATED))
        name, spec = list(SIMULATED.items())[which]
        spec = replace(spec, seed=spec.seed + 10 * again)
        path = cache_path(spec, coding, LOOP_S, folder / "videos")
        jobs[path] = render_command(spec, coding, LOOP_S, path)
        keys = {"url": path, "detect": DETECT, "rules": camera_places(spec)}
        cameras[f"{name}-{again + 1}" if again else name] = keys
    missing = sum(not path.is_file() for path in jobs)
    if missing:
        say(f"cameras: drawing {missing} of {len(jobs)} scenes, {LOOP_S:g} s each (once, a minute or two)")
    if not make_all(jobs, folder / "videos.log", lambda text: say(f"cameras: {text}"), stop):
        return None
    return cameras, arguments.model or bundled_model(), None


def why_not_ready(url: str, sightline: SightlineProcess) -> str:
    """What the console at ``url``, or the cameras, still lack; "" when there is something to see."""
    import_module("sightline.access.accounts")  # tell_ready needs it; a second, while others start anyway
    try:
        fetch(f"{url}/_stcore/health")
        begun = sightline.statuses() or not sightline.cameras
        return "" if begun else "sightline run: it has not begun yet"
    except ServerError as error:
        return str(error)


def tell_ready(sightline: SightlineProcess, url: str, folder: Path) -> None:
    """Print the addresses, and a link to the console that signs in as an admin, once."""
    from sightline.access.accounts import Accounts  # noqa: PLC0415  the database's library, not before Triton
    from sightline.access.passwords import Passwords  # noqa: PLC0415
    from sightline.store.access_store import open_access_store  # noqa: PLC0415

    with contextlib.closing(open_access_store(sightline.database_url)) as store:
        link = Accounts(store, AccessOptions(), Passwords()).make_demo_link(Role.ADMIN)
    say(f"status: {sightline.url}/status, metrics: {sightline.url}/metrics")
    if camera := next(iter(sightline.statuses()), ""):
        say(f"live: {url}/live/{camera}")
    say(f"commands: sightline status -c {sightline.config_path}, and so on")
    say(f"ready: open {url}/auth/link?next=/#{link}")
    say(f"that link signs in once; Ctrl-C stops everything; logs are in {folder}")


def say(text: str) -> None:
    """One line of progress."""
    print(f"demo: {text}", flush=True)


def find_inputs(videos: Sequence[Path] | None, model: Path | None) -> tuple[list[Path], Path]:
    """Videos and network from the options or the shared folder; ``ServerError`` if one is missing."""
    paths = videos or sorted((SHARED / "videos").glob("*.mp4")) or [SHARED / "videos" / "*.mp4"]
    network = model or SHARED / "models" / "yolov8n.onnx"
    missing = [str(path) for path in [*paths, network] if not path.is_file()]
    if missing:
        raise ServerError(
            f"the demo needs a video and a network, and there is no {' and no '.join(missing)}; give them:\n"
            "  make demo ARGS='--video FILE.mp4 --model FILE.onnx'\n"
            "A network is any YOLO detector as ONNX, or an Ultralytics .pt; --video may be repeated."
        )
    return [path.resolve() for path in paths], network.resolve()


def bundled_model() -> Path:
    """The detector that comes with the project."""
    return resource("models/sightline.onnx")


def prepare_model(model: Path, folder: Path) -> Path:
    """A repository in ``folder``, exported anew if file or skeleton differ; ``ServerError`` if that fails."""
    repository = folder / "model_repository"
    stamp = repository / ".made-from"
    configs = sorted(resource("model_repository").glob("**/*.pbtxt"))
    skeleton = b"".join(path.read_bytes() for path in configs if not path.name.endswith(".served.pbtxt"))
    made_from = f"{model} {model.stat().st_mtime_ns} {hashlib.sha256(skeleton).hexdigest()}"
    if stamp.is_file() and stamp.read_text() == made_from:
        say(f"model: {model.name} is already exported")
        return repository
    say(f"model: exporting {model.name}")
    shutil.rmtree(repository, ignore_errors=True)
    words = ["model", "export", str(model), "--aspect", "16:9", "--repository", str(repository)]
    command = [sys.executable, "-m", "sightline", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"{model.name} could not be exported:\n{done.stderr or done.stdout}")
    stamp.write_text(made_from)
    return repository
