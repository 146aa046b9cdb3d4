"""``sightline status``: what a running sightline does."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sightline.cli.config_option import add_config_option
from sightline.config import load_config


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "status",
        help="show what a running sightline does",
        description="Show what a running sightline does.",
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="the whole status as JSON")
    parser.set_defaults(command=_status)


def _status(arguments: argparse.Namespace) -> int:
    http = load_config(arguments.config).options.http
    url = f"http://{http.host}:{http.port}/status"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            status = json.load(answer)
    except (urllib.error.URLError, TimeoutError) as error:
        print(f"sightline: nothing answers at {url} ({error}); is `sightline run` up?", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(status, indent=2))
        return 0
    _print_cameras(status["cameras"])
    if status.get("config"):
        _print_config(status["config"])
    return 0


def _print_cameras(cameras: Sequence[Mapping[str, Any]]) -> None:
    print(f"{'camera':20} {'state':14} {'fps':>6} {'dropped':>8} {'coverage':>8} {'p99 ms':>8}  message")
    for item in cameras:
        p99 = item["latency_p99_ms"]
        print(
            f"{item['source']:20} {item['state']:14} {item['fps']:6.1f} {item['dropped_total']:8} "
            f"{item['coverage']:8.0%} {p99 if p99 is not None else '':>8}  {item['message']}"
        )


def _print_config(config: Mapping[str, Any]) -> None:
    """The last change of the configuration, and what waits for a restart."""
    last = config["last"]
    at = datetime.fromtimestamp(last["time"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    print(f"\nconfiguration {last['outcome']} at {at} (by {last['by']})")
    waiting = [line for line in config["needs_restart"] if line not in last["changes"]]
    for line in [*last["changes"], *waiting]:
        print(f"  {line}")
