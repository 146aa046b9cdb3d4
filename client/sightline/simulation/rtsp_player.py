"""Play a video file into an RTSP server, in real time, without re-encoding.

Run by the RTSP server of :mod:`sightline.simulation.rtsp_server` for each stream that has a client::

    python -m sightline.simulation.rtsp_player [--once] [--sound] [--began FILE] [--lead S] VIDEO \
        rtsp://127.0.0.1:PORT/PATH

Timestamps run on without a seam when the file starts over, so a looped file looks like a camera.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.logging
from av.container import InputContainer

LINGER_S = 0.5  # what was sent last still has to pass through the server


def feed(path: str, url: str, *, once: bool, sound: bool, began: Path | None, lead_s: float) -> None:
    """Send until the server goes away or, with ``once``, to the end; ``began`` gets the UTC start."""
    server = os.getppid()
    with av.open(path) as source, av.open(url, "w", format="rtsp", options={"rtsp_transport": "tcp"}) as sink:
        videos, sounds = source.streams.video[:1], source.streams.audio[:1]
        streams = [*videos, *(sounds if sound or not videos else [])]
        outputs = {stream.index: sink.add_stream_from_template(stream) for stream in streams}
        sink.start_encoding()
        _send_at_once()
        start_s, start_time = time.monotonic() + lead_s, time.time() + lead_s
        if began is not None:
            began.write_text(f"{start_time:.6f}\n", encoding="ascii")
        for packet, media_s in _looped(source, streams, once=once):
            # This program has nothing to stop for but its own death.
            time.sleep(max(0.0, start_s + media_s - time.monotonic()))
            packet.stream = outputs[packet.stream.index]
            sink.mux(packet)
        time.sleep(LINGER_S)
        if once and os.getppid() == server:
            # go2rtc would start the file again for a client that stays; a camera that ends closes the line.
            os.kill(server, signal.SIGTERM)


def _send_at_once() -> None:
    """No frame of ours waits for the answer to the one before, as a camera's does not: FFmpeg cannot be told.

    Half of the frames would come 40 ms late.
    """
    for path in Path("/proc/self/fd").iterdir():
        if path.is_socket():
            with socket.socket(fileno=os.dup(int(path.name))) as end, contextlib.suppress(OSError):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _looped(source: InputContainer, streams: list[Any], *, once: bool) -> Iterator[tuple[Any, float]]:
    """Packets with running timestamps, and the second (from 0) at which each is due."""
    offset_s = 0.0
    while True:
        first_s: float | None = None
        end_s = 0.0
        for packet in source.demux(streams):
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue
            base = packet.time_base
            dts_s = float(packet.dts * base)
            first_s = dts_s if first_s is None else first_s
            end_s = max(end_s, dts_s - first_s + float((packet.duration or 0) * base))
            shift = round((offset_s - first_s) / base)
            packet.dts += shift
            packet.pts += shift
            yield packet, float(packet.dts * base)
        if once or end_s <= 0:
            return
        offset_s += end_s
        source.seek(0)


def main() -> int:
    """Parse the command line and feed."""
    parser = argparse.ArgumentParser(
        prog="python -m sightline.simulation.rtsp_player", description=__doc__.split("\n")[0]
    )
    parser.add_argument("video", help="file to play")
    parser.add_argument("url", help="where to, as the RTSP server asks")
    parser.add_argument("--once", action="store_true", help="play it once, then end the server that asked")
    parser.add_argument("--sound", action="store_true", help="with the file's sound")
    parser.add_argument("--began", type=Path, help="gets the UTC second at which its first frame was due")
    parser.add_argument("--lead", type=float, default=0.0, help="seconds to wait before the first frame")
    args = parser.parse_args()
    av.logging.set_level(av.logging.ERROR)
    try:
        feed(args.video, args.url, once=args.once, sound=args.sound, began=args.began, lead_s=args.lead)
    except (av.error.OSError, av.error.EOFError):
        return 1  # the server hung up: no client is left
    return 0


if __name__ == "__main__":
    sys.exit(main())
