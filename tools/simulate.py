"""Serve video files as looping RTSP cameras on this machine, and print their URLs.

python tools/simulate.py VIDEO… [--fps 5] [--copies 4] [--port 8554]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sightline.base.signals import stop_on_signals
from sightline.errors import SightlineError
from sightline.simulation.recoded import copy_at_fps
from sightline.simulation.rtsp_server import RtspServer

WATCH_EVERY_S = 0.5


def main() -> int:
    """Serve until Ctrl-C."""
    args = _parse()
    stop = stop_on_signals()
    try:
        videos = [copy_at_fps(video, args.fps) if args.fps else video for video in args.video]
        names = {f"cam{i + 1}": videos[i % len(videos)] for i in range(args.copies or len(videos))}
        with RtspServer(names, port=args.port, loop=not args.once) as server:
            for name in names:
                print(server.url(name), flush=True)
            while server.running and not stop.wait(WATCH_EVERY_S):
                pass
    except (SightlineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("video", nargs="+", type=Path, help="video file")
    parser.add_argument("--fps", type=float, help="serve a copy with so many frames a second")
    parser.add_argument("--copies", type=int, help="number of cameras; the files take turns")
    parser.add_argument("--port", type=int, default=8554, help="TCP port; 0 picks a free one")
    parser.add_argument("--once", action="store_true", help="play once, from the first client on, then end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
