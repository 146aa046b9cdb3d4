"""``sightline simulate``: video files as looping RTSP cameras on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sightline.base.signals import stop_on_signals
from sightline.errors import ServerError

_CHECK_EVERY_S = 0.5


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "simulate",
        help="video files as looping RTSP cameras on this machine",
        description="Serve video files as looping RTSP cameras on this machine, and print their URLs. "
        "Ctrl-C stops them.",
    )
    parser.add_argument("video", nargs="+", type=Path, help="video file")
    parser.add_argument("--fps", type=float, help="serve copies with this frame rate")
    parser.add_argument("--copies", type=int, help="number of cameras; the files take turns")
    parser.add_argument("--port", type=int, default=8554, help="TCP port; 0 picks a free one")
    parser.add_argument("--once", action="store_true", help="play once, from the first client on, then end")
    parser.set_defaults(command=_simulate)


def _simulate(arguments: argparse.Namespace) -> int:
    from sightline.simulation.recoded import copy_at_fps
    from sightline.simulation.rtsp_server import RtspServer

    stop = stop_on_signals()
    try:
        videos = [copy_at_fps(path, arguments.fps) if arguments.fps else path for path in arguments.video]
        names = {f"cam{i + 1}": videos[i % len(videos)] for i in range(arguments.copies or len(videos))}
        with RtspServer(names, port=arguments.port, loop=not arguments.once) as server:
            for name in names:
                print(server.url(name), flush=True)
            while server.running and not stop.wait(_CHECK_EVERY_S):
                pass
    except OSError as error:
        raise ServerError(str(error)) from error
    return 0
