"""``sightline triton``: the embedded Triton server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sightline.base.signals import stop_on_signals


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
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
