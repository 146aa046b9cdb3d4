"""``sightline run``: watch the cameras of a configuration."""

from __future__ import annotations

import argparse
import logging
import signal
from typing import TYPE_CHECKING, Any

from sightline.base.signals import on_signals
from sightline.cli.config_option import add_config_option, require_cameras
from sightline.config import LoadedConfig, load_config

if TYPE_CHECKING:
    from sightline.simulation.canary import Canary

log = logging.getLogger("sightline")


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "run", help="watch the cameras of a config.yml", description="Watch the cameras of a config.yml."
    )
    add_config_option(parser)
    parser.add_argument(
        "--until-end",
        action="store_true",
        help="play recorded files once, as fast as they can be processed and without drops, then exit",
    )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    from sightline.base.logs import setup_logging
    from sightline.store.writer import Writer
    from sightline.supervisor.control import Control
    from sightline.supervisor.fork_server import ForkedWorkers
    from sightline.supervisor.http.http_server import HttpServer
    from sightline.supervisor.hub import Hub
    from sightline.supervisor.sinks import durable_names, make_sinks
    from sightline.supervisor.supervisor import Supervisor

    config = load_config(arguments.config)
    setup_logging(config.options.log_level)
    require_cameras(config)
    workers = ForkedWorkers()
    workers.prepare()
    for warning in config.warnings:
        log.warning("configuration: %s", warning)
    database = config.options.database
    sinks = make_sinks(config.options)
    writer = Writer(
        database.url.get_secret_value(),
        database.spool_path,
        database.spool_max_bytes,
        sinks=durable_names(sinks),
    )
    canary = _canary_of(config)
    if canary is not None:
        config = canary.join(config)
        canary.start()
    hub = Hub(writer, sinks)
    supervisor = Supervisor(config, hub, start_worker=workers.start, until_end=arguments.until_end)
    try:
        control = Control(
            arguments.config,
            config,
            supervisor.apply,
            complete=canary.join if canary else lambda loaded: loaded,
            appliers={
                "http": lambda options: http.move(options.http),
                "log_level": lambda options: setup_logging(options.log_level),
            },
        )
        newest = canary.newest if canary else lambda: None
        http = HttpServer(config.options.http, supervisor, writer.health, newest, control.state, hub.sinks)
        stop, reload = supervisor.stop, lambda: control.reload("SIGHUP")
        on_signals({signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: reload})
        http.start()
        log.info("health, status and metrics at %s", http.url)
        try:
            supervisor.run()
        finally:
            http.stop()
    finally:
        workers.close()
        if canary is not None:
            canary.stop()
        hub.close()
        writer.close(timeout_s=2.0)
    return 0


def _canary_of(config: LoadedConfig) -> Canary | None:
    from sightline.simulation.canary import Canary

    options = config.options
    return Canary(options.canary, options.database.url.get_secret_value()) if options.canary.enabled else None
