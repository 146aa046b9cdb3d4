"""``sightline demo``, ``simulate`` and ``selftest``: cameras that are not there."""

import argparse
from pathlib import Path
from typing import Any

from sightline.base.signals import stop_on_signals
from sightline.cli.parsers import add_command, parse_line, parse_port
from sightline.simulation.scenes.spec import LIGHTS, NUMBERS, SCENES, WEATHERS, above_zero


def add_to(commands: Any) -> None:
    """Add the commands to the parser's subcommands."""
    add = add_command(commands, _demo).add_argument
    add("--video", type=Path, action="append", help="video to loop as a camera; repeatable")
    add("--model", type=Path, help="network to serve: an .onnx file, or an Ultralytics .pt")
    text = "a line across each --video, counted both ways: from x1,y1 to x2,y2 in 0..1 of the picture"
    add("--line", type=parse_line, metavar="X1,Y1,X2,Y2", help=text)
    add("--cameras", type=int, help="how many cameras (default: one for each --video, or 4 simulated ones)")
    add("--fps", type=float, default=5.0, help="frames a second a camera (default: %(default)s)")
    add("--port", type=parse_port, default=8501, help="the console's port (default: %(default)s)")
    text = "where the demo keeps its database, model and logs (default: %(default)s)"
    add("--folder", type=Path, default=".sightline/demo", help=text)
    text = "drop what was changed in the folder's configuration, in the console or by hand, since it was made"
    add("--reset-config", action="store_true", help=text)
    add = add_command(commands, _simulate).add_argument
    add("video", nargs="+", type=Path, help="video file")
    add("--fps", type=float, help="serve copies with this frame rate")
    add("--copies", type=int, help="number of cameras; the files take turns")
    add("--port", type=parse_port, default=8554, help="TCP port; 0 picks a free one")
    add("--once", action="store_true", help="play once, from the first client on, then end")
    add = add_command(commands, _selftest).add_argument
    add("--scene", choices=[*SCENES, "all"], default="street", help="default: %(default)s")
    text = "one camera for each, all at once (default: 1)"
    add("--seeds", type=int, nargs="+", default=[1], metavar="N", help=text)
    add("--fps", type=above_zero(120), default=10.0, help="of the cameras (default: %(default)s)")
    text = "seconds that are played (default: %(default)s)"
    add("--length", type=above_zero(86400), default=30.0, help=text)
    add("--light", choices=LIGHTS, default="day", help="default: %(default)s")
    add("--weather", choices=WEATHERS, default="clear", help="default: %(default)s")
    add("--people", type=above_zero(120), default=1.0, help="times as many as usual (default: 1)")
    add("--camera", type=int, choices=NUMBERS, help="default: the one that sees best")
    add("--model", type=Path, help="network to test (default: the bundled detector)")
    add("--triton-url", help="a Triton that serves already, host:port")
    add("--database-url", help="an empty database (default: SQLite in the folder)")
    text = "another threshold; FIGURE= drops one; repeatable"
    add("--require", action="append", default=[], metavar="FIGURE=BOUND", help=text)
    add("--json", type=Path, metavar="FILE", help="write the scoreboard there too")
    text = "keeps videos, truth, and the last run's database and logs (default: %(default)s)"
    add("--folder", type=Path, default=".sightline/selftest", help=text)


def _demo(arguments: argparse.Namespace) -> int:
    """Start looped cameras, an embedded Triton, the clients and the console; Ctrl-C stops everything."""
    from sightline.simulation.demo import run_demo

    return run_demo(arguments)


def _selftest(arguments: argparse.Namespace) -> int:
    """Play a simulated scene, and score what comes out against its truth.

    It is played through RTSP, decoder, Triton, tracker, rules and database. Exit status 3: a threshold was
    missed.
    """
    from sightline.simulation.selftest.runner import run_selftest

    return run_selftest(arguments)


def _simulate(arguments: argparse.Namespace) -> None:
    """Serve video files as looping RTSP cameras on this machine; Ctrl-C stops them."""
    from sightline.simulation.rtsp_server import RtspServer, copy_at_fps, player

    stop = stop_on_signals()
    videos = [copy_at_fps(path, arguments.fps) if arguments.fps else path for path in arguments.video]
    feeds = [player(path, *(["--once"] if arguments.once else [])) for path in videos]
    names = {f"cam{i + 1}": feeds[i % len(feeds)] for i in range(arguments.copies or len(feeds))}
    with RtspServer(names, port=arguments.port) as server:
        for name in names:
            print(server.url(name), flush=True)
        while server.running and not stop.wait(0.5):
            pass
