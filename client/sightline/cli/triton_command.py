"""``sightline triton``: the embedded Triton server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sightline.base.signals import stop_on_signals
from sightline.cli.parsers import add_command, add_group


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parts = add_group(commands, "triton", "the embedded Triton server")
    text = "Install the server wheel once, into an environment of its own."
    add_command(parts, "install", _install, "install the server into its own environment", text)
    text = "Serve a model repository with the real tritonserver, on loopback only."
    serve = add_command(parts, "serve", _serve, "serve a model repository on this machine", text)
    add, folder = serve.add_argument, Path("model_repository")
    add("--model-repository", type=Path, default=folder, help="default: %(default)s")
    add("--config-name", default="cpu", help="configs/NAME.pbtxt to use (default: %(default)s)")
    add("--model", action="append", help="model to load; repeatable (default: detector)")
    for service, port in (("grpc", 8001), ("http", 8000), ("metrics", 8002)):
        add(f"--{service}-port", type=int, default=port, help="0 picks a free one (default: %(default)s)")
    add("--log-file", type=Path, default=None, help="the server's log (default: a cache folder)")


def _install(_: argparse.Namespace) -> int:
    from sightline.serving.server import install

    print(f"the server is installed in {install(on_progress=print)}")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
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
