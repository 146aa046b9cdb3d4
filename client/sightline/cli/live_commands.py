"""``sightline run``, ``check``, ``snapshot``, ``status``, ``schema``, ``console``, ``triton``: what runs."""

import argparse
import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.base.extras import require_extra
from sightline.base.redact import redact
from sightline.base.resources import resource
from sightline.base.signals import on_signals, stop_on_signals
from sightline.cli.parsers import add_command, add_config_option, add_group, parse_network, parse_port
from sightline.config import (
    Camera,
    Config,
    LoadedConfig,
    json_schema,
    load_config,
    load_outline,
    program_path_problems,
)
from sightline.config.groups import HttpOptions
from sightline.config.mediamtx import PLAYBACK
from sightline.errors import ConfigError, ConfigErrors, NotOwner, SightlineError

if TYPE_CHECKING:
    from sightline.simulation.canary import Canary
    from sightline.store.writer import Writer
    from sightline.supervisor.control import Control
    from sightline.supervisor.fork_server import ForkedWorkers
    from sightline.supervisor.http.endpoint import Call
    from sightline.supervisor.http.health_pages import HealthPages
    from sightline.supervisor.http.site import Site
    from sightline.supervisor.hub import Hub
    from sightline.supervisor.supervisor import Supervisor

log = logging.getLogger("sightline")


def add_to(commands: Any) -> None:
    """Add the commands to the parser's subcommands."""
    run = add_command(commands, _run)
    text = "play recorded files once, as fast as they can be processed and without drops, then exit"
    run.add_argument("--until-end", action="store_true", help=text)
    text = "while another program owns the database, wait, and take over when it ends or dies"
    run.add_argument("--standby", action="store_true", help=text)
    check = add_command(commands, _check)
    text = "also try cameras, Triton, the database and where results go, each for 15 seconds at most"
    check.add_argument("--live", action="store_true", help=text)
    text = "with --live: keep a picture of every camera there, for this user's eyes"
    check.add_argument("--stills", type=Path, metavar="FOLDER", help=text)
    snapshot = add_command(commands, _snapshot)
    snapshot.add_argument("camera", metavar="CAMERA", help="its name in the configuration")
    snapshot.add_argument("picture", type=Path, metavar="OUT.jpg", help="where to write it, as JPEG")
    text = "draw the camera's lines, with an arrow to the side that is in, and its zones"
    snapshot.add_argument("--draw", action="store_true", help=text)
    status = add_command(commands, _status)
    status.add_argument("--json", action="store_true", help="the whole status as JSON")
    recorder = _add_recorder(commands)
    for parser in (run, check, snapshot, recorder, status):
        add_config_option(parser)
    schema = add_command(commands, _schema)
    schema.add_argument(
        "--example", action="store_true", help="print the sample, in which every key is explained"
    )
    text = "print that of a stream's messages instead (docs/streams.md, docs/live.md)"
    schema.add_argument("--stream", choices=("event", "window", "status", "detections", "feed"), help=text)
    add = add_command(commands, _console).add_argument
    add("-c", "--config", type=Path, metavar="FILE", help="default: config.yml, if it is there")
    add("--address", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=parse_port, default=8501, help="port to listen on (default: %(default)s)")
    add(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name besides loopback to be asked by",
    )
    text = "a proxy's address or network, whose X-Forwarded-For and -Proto are believed"
    add("--trusted-proxy", action="append", default=[], type=parse_network, metavar="NETWORK", help=text)
    text = "https instead of http, with http.tls_cert and http.tls_key of the configuration"
    add("--tls", action="store_true", help=text)
    parts = add_group(commands, "triton", "the embedded Triton server")
    add_command(parts, _install)
    add = add_command(parts, _serve).add_argument
    add("--model-repository", type=Path, default="model_repository", help="default: %(default)s")
    add("--config-name", default="cpu", help="configs/NAME.pbtxt to use (default: %(default)s)")
    add("--model", action="append", help="model to load; repeatable (default: detector)")
    add(
        "--grpc-port",
        type=parse_port,
        default=8001,
        help="for your own programs; 0: none (default: %(default)s)",
    )
    add(
        "--metrics-port", type=parse_port, default=0, help="for every user of this machine; 0: none (default)"
    )
    add("--log-file", type=Path, default=None, help="the server's log (default: a cache folder)")


def _add_recorder(commands: Any) -> argparse.ArgumentParser:
    recorder = add_command(commands, _recorder)
    text = "where to write it, for this user's eyes: it has the cameras' passwords"
    recorder.add_argument("file", type=Path, metavar="OUT.yml", help=text)
    text = "where MediaMTX keeps the recordings (default: %(default)s)"
    recorder.add_argument("--folder", default="/recordings/video", help=text)
    text = "where recordings are played (default: %(default)s); elsewhere than on loopback with a password"
    recorder.add_argument("--playback", default=PLAYBACK, metavar="ADDRESS:PORT", help=text)
    text = "also cameras with privacy.blur, of which nothing is blurred in recordings"
    recorder.add_argument("--uncovered", action="store_true", help=text)
    return recorder


def _load(path: Path, *, on_disk: bool = False) -> LoadedConfig:
    """A configuration with cameras."""
    config = load_config(path, on_disk=on_disk)
    if not config.cameras and not config.problems:
        raise ConfigError("cameras", "names no camera; add one with a url")
    return config


def _run(arguments: argparse.Namespace) -> None:
    """Watch the cameras of a config.yml."""
    from sightline.base.logs import setup_logging
    from sightline.store.writer import Writer
    from sightline.supervisor.fork_server import ForkedWorkers
    from sightline.supervisor.hub import Hub
    from sightline.supervisor.sinks import make_sinks, wanted_by

    os.umask(0o077)  # what we write is for nobody else: database, spool, backups, pictures
    config = _load(arguments.config)
    if problems := [*program_path_problems(config.options)]:
        raise ConfigErrors.of(problems)
    setup_logging(config.options.log_level)
    workers = ForkedWorkers()
    workers.prepare()
    for warning in config.warnings:
        log.warning("configuration: %s", warning)
    database, http, sinks = config.options.database, config.options.http, make_sinks(config.options)
    if arguments.standby:
        database = database.model_copy(update={"standby": True})
    writer = Writer(database, sinks=wanted_by(sinks), address=http.url)
    writer.retention.update(config.options.retention)
    canary = None
    if config.options.canary.enabled:  # what draws and judges its scene takes 20 MB
        from sightline.simulation.canary import Canary

        canary = Canary(config.options.canary, database.url.get_secret_value())
        config = canary.join(config)
    hub = Hub(writer, sinks, adds_up=arguments.until_end)
    workers.on_live = hub.live.take
    try:
        _watch(arguments, config, workers, writer, hub, canary)
    finally:
        workers.close()
        if canary is not None:
            canary.stop()
        hub.close()
        writer.close(timeout_s=2.0)
    if isinstance(writer.failure, NotOwner) and writer.standby:
        log.warning("%s; starting anew, as its stand-by", writer.failure)
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  no shell is wanted
    if writer.failure is not None:
        raise writer.failure


def _watch(
    arguments: argparse.Namespace,
    config: LoadedConfig,
    workers: "ForkedWorkers",
    writer: "Writer",
    hub: "Hub",
    canary: "Canary | None",
) -> None:
    """Wait until the database is ours, then run the cameras until a signal ends it."""
    from sightline.base.logs import setup_logging
    from sightline.supervisor.control import Control
    from sightline.supervisor.control_socket import socket_folder, taking_commands
    from sightline.supervisor.heartbeat import Heartbeat
    from sightline.supervisor.http.health_pages import HealthPages
    from sightline.supervisor.http.http_server import HttpServer
    from sightline.supervisor.sinks import let_switch
    from sightline.supervisor.sinks.alert_actions import alert_actions
    from sightline.supervisor.supervisor import Supervisor

    supervisor = Supervisor(config, hub, start_worker=workers.start, until_end=arguments.until_end)

    def apply_alerts(options: Config) -> None:
        hub.update(options)
        heartbeat.update(options)

    def apply_http(options: Config) -> None:
        http.move(options.http)
        writer.lease.move(http.url)

    control = Control(
        arguments.config,
        config,
        supervisor.apply,
        complete=canary.join if canary else lambda loaded: loaded,
        appliers={
            "access": lambda options: site.update(options),  # noqa: PLW0108  made below
            "alerts": apply_alerts,
            "http": apply_http,
            "log_level": lambda options: setup_logging(options.log_level),
            "retention": hub.update,
        },
        keep=lambda change: site.history.keep(change),  # noqa: PLW0108  made below
    )
    actions = {**alert_actions(hub.running), "set_enabled": control.set_enabled}
    pages = HealthPages(
        supervisor, writer.health, canary.newest if canary else lambda: None, control.state, hub.sinks
    )
    site = _make_site(config.options, supervisor, control, actions, pages, writer)
    let_switch(hub.running(), site.switch(control.set_enabled), control.is_enabled)
    http = HttpServer(config.options.http, site.door.at)
    heartbeat = Heartbeat(config.options.alerts.heartbeat, pages.problems)

    def stop() -> None:
        writer.standby = False
        supervisor.stop()

    on_signals({signal.SIGHUP: lambda: site.reload(control), signal.SIGINT: stop, signal.SIGTERM: stop})
    writer.when_failed(supervisor.stop)
    http.start()
    log.info("health, status and metrics at %s", http.url)
    try:
        if supervisor.stand_by(writer.is_open):
            if canary is not None:
                canary.start()
            heartbeat.start()  # not of a stand-by: it would hide that the owner is dead
            site.start(http.url, control.shown)
            with taking_commands(socket_folder(config.options.database), site.commands(actions)):
                supervisor.run()
    finally:
        heartbeat.stop()
        http.stop()
        site.close()
        sys.stdout.writelines(f"{line}\n" for line in hub.summary(config.cameras))


def _make_site(
    options: Config,
    supervisor: "Supervisor",
    control: "Control",
    actions: Mapping[str, Callable[..., Any]],
    pages: "HealthPages",
    writer: "Writer",
) -> "Site":
    """What the HTTP port offers, and the door before it."""
    from sightline.access.path_tokens import PathTokens
    from sightline.store.access_store import AccessStore
    from sightline.store.read.readonly import Database
    from sightline.supervisor.control_socket import socket_folder
    from sightline.supervisor.http.api_feed import FeedApi
    from sightline.supervisor.http.api_live import LiveApi
    from sightline.supervisor.http.event_feed import EventFeed
    from sightline.supervisor.http.media import MediaApi
    from sightline.supervisor.http.site import Site, api_endpoints
    from sightline.supervisor.media_servers import media_server_of

    async def still_allowed(call: "Call") -> bool:
        return await site.door.still_allowed(call)

    url = options.database.url.get_secret_value()
    store, database = AccessStore(url), Database(url)
    live = LiveApi(supervisor.live, still_allowed)
    feed = EventFeed(database, writer.outbox.is_away)
    writer.on_change = feed.notice
    changes = FeedApi(feed, still_allowed)
    tokens = PathTokens()
    server = media_server_of(options.media, tokens)

    def camera_of(name: str) -> Camera:
        supervisor.owner_of(name)  # LookupError: it does not run
        return control.config.cameras[name]

    media = MediaApi(options.media, camera_of, lambda _: server, tokens, still_allowed)
    api = api_endpoints(supervisor, control, actions, database, store)
    endpoints = [*pages.endpoints(), *live.endpoints(), *changes.endpoints(), *media.endpoints(), *api]
    site = Site(options, store, database, endpoints, socket_folder(options.database))
    return site


def _check(arguments: argparse.Namespace) -> int:
    """List every mistake in a config.yml, with its place and its cure, without running it.

    With --live also try what it names: cameras, the detectors in Triton, the database, brokers, uploads, and
    the ways of alerts, by which nobody is told anything.
    """
    if arguments.stills and not arguments.live:
        raise SightlineError("--stills keeps pictures of cameras, which are tried with --live")
    try:
        config = _load(arguments.config, on_disk=True)
    except ConfigError as error:
        return _tell(error.problems)
    from sightline.cli.outside_check import try_making

    problems, warnings = try_making(config.options)
    for warning in (*config.warnings, *warnings):
        print(f"warning: {warning}", file=sys.stderr)
    if not arguments.live:
        return _tell([*(f"camera {name!r}: ok" for name in config.cameras), *config.problems, *problems])
    from sightline.base.logs import setup_logging
    from sightline.cli.live_check import attempts_of, outcomes

    setup_logging("error")  # the lines below say what cameras and Triton would warn of
    if arguments.stills:
        arguments.stills.mkdir(mode=0o700, parents=True, exist_ok=True)
    attempts = list(attempts_of(config, arguments.stills))
    return _tell(itertools.chain(config.problems, outcomes(attempts)))


def _tell(lines: Iterable[str | ConfigError]) -> int:
    """Print what is well, and what is wrong to standard error; the exit status."""
    status = 0
    for line in lines:
        problems = line.problems if isinstance(line, ConfigError) else ()
        status = 1 if problems else status
        for problem in problems:
            print(redact(problem), file=sys.stderr)
        if not problems:
            print(line, flush=True)
    return status


def _snapshot(arguments: argparse.Namespace) -> None:
    """Take one picture of a camera, as the analysis sees it: turned, its pixels square."""
    from sightline.base.logs import setup_logging
    from sightline.cli.live_check import covered_picture, take_picture
    from sightline.features.kept_files import write_private
    from sightline.video.picture import encode_jpeg, full_range

    setup_logging("error")
    config, name = load_config(arguments.config), arguments.camera
    if name in config.misconfigured:
        raise ConfigErrors.of([problem for problem in config.problems if problem.camera == name])
    if (camera := config.cameras.get(name)) is None:
        raise ConfigError("cameras", f"has no {name!r}; it has {', '.join(config.cameras) or 'none'}")
    if arguments.picture.suffix.lower() not in {".jpg", ".jpeg"}:
        raise SightlineError(f"{arguments.picture}: the picture is a JPEG; give a name that ends in .jpg")
    if arguments.draw:
        require_extra("cv2", "drawing needs OpenCV", "draw")
    seen = take_picture(camera)
    picture = covered_picture(config.options.triton, camera, seen)
    if arguments.draw:
        from sightline.video.drawing import draw_places, to_bgr, to_i420

        canvas = to_bgr(picture)
        draw_places(canvas, camera.rules.lines, camera.rules.zones)
        picture = to_i420(canvas)
    write_private(arguments.picture, encode_jpeg(full_range(picture)))
    at = datetime.fromtimestamp(seen.capture_time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    print(f"{arguments.picture}: camera {name!r} at {at}, {seen.size[0]}x{seen.size[1]}")


def _recorder(arguments: argparse.Namespace) -> None:
    """Write MediaMTX's configuration that records every camera."""
    from sightline.config.mediamtx import recorder_yaml, why_not_recorded
    from sightline.features.kept_files import write_private

    config = _load(arguments.config)
    if not (folder := arguments.file.parent).is_dir():
        raise SightlineError(f"there is no folder {str(folder)!r}; make it, or name another file")
    left_out = dict.fromkeys(config.misconfigured, "its configuration has mistakes; see `sightline check`")
    for name, camera in config.cameras.items():
        if why := why_not_recorded(camera, uncovered=arguments.uncovered):
            left_out[name] = why
    cameras = [camera for name, camera in config.cameras.items() if name not in left_out]
    text = recorder_yaml(cameras, config.options.recording, arguments.folder, arguments.playback)
    write_private(arguments.file, text.encode())
    for name, why in left_out.items():
        print(f"camera {name!r} is not recorded: {why}", file=sys.stderr)
    of_all = f"{len(cameras)} of {len(cameras) + len(left_out)} cameras"
    print(f"{arguments.file}: records the main streams of {of_all}")


def _status(arguments: argparse.Namespace) -> int:
    """Show what a running sightline does."""
    from sightline.supervisor.control_socket import socket_folder
    from sightline.supervisor.http.own_programs import fetch_own

    options = load_outline(arguments.config)
    try:
        status = json.loads(fetch_own(options.http, socket_folder(options.database), "/status"))
    except OSError as error:
        url, reason = f"{options.http.url}/status", getattr(error, "reason", error)
        cure = "is `sightline run` up, and is it this user's?"
        why = getattr(reason, "strerror", None) or reason
        print(f"sightline: {url} gives no answer ({why}); {cure}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(status, indent=2))
        return 0
    print(f"{'camera':20} {'state':14} {'fps':>6} {'dropped':>8} {'coverage':>8} {'p99 ms':>8}  message")
    for item in status["cameras"]:
        p99 = item["latency_p99_ms"]
        print(
            f"{item['source']:20} {item['state']:14} {item['fps']:6.1f} {item['dropped_total']:8} "
            f"{item['coverage']:8.0%} {p99 if p99 is not None else '':>8}  {item['message']}"
        )
    for notice in status["notices"]:
        print(f"\n{notice['text']}")
    writer = status["writer"]
    state = "stand-by" if writer["state"] == "standby" else f"results: {writer['state']}"
    print(f"\n{state}; owner: {writer['owner'] or 'not known'}")
    if writer["state"] not in {"ok", "standby"}:
        print(writer["last_error"])
    if config := status.get("config"):  # its last change, and what waits for a restart
        last = config["last"]
        at = datetime.fromtimestamp(last["time"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        print(f"\nconfiguration {last['outcome']} at {at} (by {last['by']})")
        for line in [*last["changes"], *(x for x in config["needs_restart"] if x not in last["changes"])]:
            print(f"  {line}")
    return 0


def _schema(arguments: argparse.Namespace) -> None:
    """Print the JSON Schema of config.yml, for editors."""
    if arguments.example:
        print(resource("config.example.yml").read_text(encoding="utf-8"), end="")
    elif arguments.stream:
        from sightline.features.live.detections_message import SCHEMA
        from sightline.supervisor.http.feed_message import feed_schema
        from sightline.supervisor.sinks.result_stream import json_schemas

        schemas = {**json_schemas(), "detections": SCHEMA, "feed": feed_schema()}
        print(json.dumps(schemas[arguments.stream], indent=2))
    else:
        print(json.dumps(json_schema(), indent=2))


def _console(arguments: argparse.Namespace) -> None:
    """Serve the operators' console, for whom the running program signs in."""
    require_extra("streamlit", "the console needs Streamlit", "console")
    options = HttpOptions(
        host=arguments.address,
        port=arguments.port,
        allowed_hosts=arguments.allowed_host,
        trusted_proxies=arguments.trusted_proxy,
    )
    if arguments.tls:
        http = load_config(arguments.config or Path("config.yml")).options.http
        if http.tls_cert is None:
            raise ConfigError("http.tls_cert", "names no certificate; --tls needs it, and http.tls_key")
        options = options.model_copy(update={"tls_cert": http.tls_cert, "tls_key": http.tls_key})
    sys.path.insert(0, str(resource("streamlit_app/pages.py").parent))
    import_module("console.console_port").serve(options)


def _install(_: argparse.Namespace) -> None:
    """Install the server wheel once, into an environment of its own."""
    from sightline.serving.install import install

    print(f"the server is installed in {install(on_progress=print)}")


def _serve(arguments: argparse.Namespace) -> None:
    """Serve a model repository with the real tritonserver, for this user alone."""
    from sightline.serving.server import TritonServer

    os.umask(0o077)
    stop = stop_on_signals()
    server = TritonServer(
        arguments.model_repository,
        config_name=arguments.config_name,
        models=tuple(arguments.model or ["detector"]),
        grpc_port=arguments.grpc_port,
        metrics_port=arguments.metrics_port,
        log_path=arguments.log_file,
    )
    server.start(on_progress=print)
    try:
        port = f"127.0.0.1:{server.grpc_port} for this user, " if server.grpc_port else ""
        print(f"ready: {port}{server.grpc_url}; HTTP and metrics: sockets in {server.folder}")
        while not stop.wait(0.5):
            server.check()
    finally:
        server.stop()
