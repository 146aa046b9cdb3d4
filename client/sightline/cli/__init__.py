"""The command ``sightline``: each subcommand is a short function that builds, starts, waits and stops."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sightline
from sightline.base.redact import redact
from sightline.base.signals import on_signals, stop_on_signals
from sightline.config.loader import LoadedConfig, json_schema, load_config
from sightline.errors import ConfigError, SightlineError

if TYPE_CHECKING:
    from sightline.simulation.canary import Canary

log = logging.getLogger("sightline")

EXIT_PROBLEM = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status."""
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except SightlineError as error:
        print(f"sightline: {redact(error)}", file=sys.stderr)
        return EXIT_PROBLEM
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: nothing to say, nobody to tell
        return EXIT_PROBLEM


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options; the README lists the same."""
    parser = argparse.ArgumentParser(prog="sightline", description=sightline.__doc__)
    parser.add_argument("--version", action="version", version=f"sightline {sightline.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    _add_check(commands)
    _add_status(commands)
    _add_schema(commands)
    _add_triton(commands)
    _add_demo(commands)
    _add_selftest(commands)
    return parser


def _add_run(commands: Any) -> None:
    parser = commands.add_parser(
        "run", help="watch the cameras of a config.yml", description="Watch the cameras of a config.yml."
    )
    _add_config_option(parser)
    parser.add_argument(
        "--until-end",
        action="store_true",
        help="play recorded files once, as fast as they can be processed and without drops, then exit",
    )
    parser.set_defaults(command=_run)


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="check a config.yml without running it",
        description="Check a config.yml without running it.",
    )
    _add_config_option(parser)
    parser.set_defaults(command=_check)


def _add_status(commands: Any) -> None:
    parser = commands.add_parser(
        "status",
        help="show what a running sightline does",
        description="Show what a running sightline does.",
    )
    _add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="the whole status as JSON")
    parser.set_defaults(command=_status)


def _add_schema(commands: Any) -> None:
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of config.yml",
        description="Print the JSON Schema of config.yml, for editors.",
    )
    parser.set_defaults(command=_schema)


def _add_triton(commands: Any) -> None:
    parser = commands.add_parser(
        "triton", help="the embedded Triton server", description="The embedded Triton server."
    )
    parts = parser.add_subparsers(metavar="COMMAND", required=True)
    install = parts.add_parser(
        "install",
        help="install the server into its own environment",
        description="Install the server wheel once, into an environment of its own.",
    )
    install.set_defaults(command=_triton_install)
    serve = parts.add_parser(
        "serve",
        help="serve a model repository on this machine",
        description="Serve a model repository with the real tritonserver, on loopback only.",
    )
    serve.add_argument(
        "--model-repository", type=Path, default=Path("model_repository"), help="default: %(default)s"
    )
    serve.add_argument(
        "--config-name", default="cpu", help="configs/NAME.pbtxt to use (default: %(default)s)"
    )
    serve.add_argument("--model", action="append", help="model to load; repeatable (default: detector)")
    serve.add_argument(
        "--grpc-port", type=int, default=8001, help="0 picks a free one (default: %(default)s)"
    )
    serve.add_argument(
        "--http-port", type=int, default=8000, help="0 picks a free one (default: %(default)s)"
    )
    serve.add_argument(
        "--metrics-port", type=int, default=8002, help="0 picks a free one (default: %(default)s)"
    )
    serve.add_argument(
        "--log-file", type=Path, default=None, help="the server's log (default: a cache folder)"
    )
    serve.set_defaults(command=_triton_serve)


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="four cameras, Triton, an RTSP server and the console, by one command",
        description="Start an embedded Triton, an RTSP server with four looped cameras, the clients and the "
        "console. Ctrl-C stops everything.",
    )
    parser.add_argument("--video", type=Path, action="append", help="video to loop as a camera; repeatable")
    parser.add_argument("--model", type=Path, help="network to serve: an .onnx file, or an Ultralytics .pt")
    parser.add_argument("--cameras", type=int, default=4, help="how many cameras (default: %(default)s)")
    parser.add_argument(
        "--fps", type=float, default=5.0, help="frames a second a camera (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8501, help="the console's port (default: %(default)s)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(".sightline/demo"),
        help="where the demo keeps its database, model and logs (default: %(default)s)",
    )
    parser.set_defaults(command=_demo)


def _add_selftest(commands: Any) -> None:
    from sightline.simulation.selftest.selftest_options import add_options

    parser = commands.add_parser(
        "selftest",
        help="how right the whole path is: a scoreboard against a scene whose truth is known",
        description="Play a simulated scene through RTSP, decoder, Triton, tracker, rules and database, and "
        "score what comes out against the truth. Exit status 3: a threshold was missed.",
    )
    add_options(parser)
    parser.set_defaults(command=_selftest)


def _add_config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, default=Path("config.yml"), metavar="FILE", help="default: %(default)s"
    )


def _run(arguments: argparse.Namespace) -> int:
    from sightline.base.logs import setup_logging
    from sightline.store.writer import Writer
    from sightline.supervisor.http.http_server import HttpServer
    from sightline.supervisor.supervisor import Supervisor

    config = load_config(arguments.config)
    setup_logging(config.options.log_level)
    _require_cameras(config)
    database = config.options.database
    writer = Writer(database.url.get_secret_value(), database.spool_path, database.spool_max_bytes)
    canary = _canary_of(config)
    if canary is not None:
        config = canary.join(config)
        canary.start()
    supervisor = Supervisor(config, writer, until_end=arguments.until_end)
    try:
        http = HttpServer(config.options.http, supervisor, writer.health, canary.newest if canary else None)
        join = canary.join if canary else _as_it_is
        stop, reload = supervisor.stop, lambda: _reload(arguments.config, join, supervisor.reload)
        on_signals({signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: reload})
        http.start()
        log.info("health, status and metrics at %s", http.url)
        try:
            supervisor.run()
        finally:
            http.stop()
    finally:
        if canary is not None:
            canary.stop()
        writer.close(timeout_s=2.0)
    return 0


def _canary_of(config: LoadedConfig) -> Canary | None:
    from sightline.simulation.canary import Canary

    options = config.options
    return Canary(options.canary, options.database.url.get_secret_value()) if options.canary.enabled else None


def _as_it_is(config: LoadedConfig) -> LoadedConfig:
    return config


def _reload(
    path: Path, join: Callable[[LoadedConfig], LoadedConfig], use: Callable[[LoadedConfig], None]
) -> None:
    """A configuration that cannot be read leaves the running one in force."""
    try:
        use(join(load_config(path)))
    except ConfigError as error:
        log.error("reload: %s; nothing was changed", redact(error))


def _require_cameras(config: LoadedConfig) -> None:
    if not config.cameras and not config.problems:
        raise ConfigError("cameras", "names no camera; add one with a url")


def _check(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    for name in config.cameras:
        print(f"camera {name!r}: ok")
    for problem in config.problems:
        print(redact(problem), file=sys.stderr)
    _require_cameras(config)
    return EXIT_PROBLEM if config.problems else 0


def _status(arguments: argparse.Namespace) -> int:
    http = load_config(arguments.config).options.http
    url = f"http://{http.host}:{http.port}/status"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            status = json.load(answer)
    except (urllib.error.URLError, TimeoutError) as error:
        print(f"sightline: nothing answers at {url} ({error}); is `sightline run` up?", file=sys.stderr)
        return EXIT_PROBLEM
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
    return 0


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(json_schema(), indent=2))
    return 0


def _triton_install(_: argparse.Namespace) -> int:
    from sightline.serving.server import install

    print(f"the server is installed in {install(on_progress=print)}")
    return 0


def _triton_serve(arguments: argparse.Namespace) -> int:
    from sightline.serving.server import TritonServer

    stop = stop_on_signals()
    server = TritonServer(
        arguments.model_repository,
        config_name=arguments.config_name,
        models=tuple(arguments.model or ["detector"]),
        grpc_port=arguments.grpc_port,
        http_port=arguments.http_port,
        metrics_port=arguments.metrics_port,
        log_path=arguments.log_file,
    )
    server.start(on_progress=print)
    try:
        print(f"ready: grpc {server.grpc_url}, http {server.http_url}, metrics {server.metrics_url}")
        while not stop.wait(0.5):
            server.check()
    finally:
        server.stop()
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from sightline.simulation.demo import run_demo

    return run_demo(arguments)


def _selftest(arguments: argparse.Namespace) -> int:
    from sightline.simulation.selftest.selftest_command import run_selftest

    return run_selftest(arguments)
