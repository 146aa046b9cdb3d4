"""``python -m sightline.simulation.scenes``: stream a simulated camera, render it, or write its truth."""

import argparse
import sys
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import av
import av.logging

from sightline.base.redact import redact
from sightline.base.signals import stop_on_signals
from sightline.errors import SightlineError
from sightline.simulation.scenes import truth
from sightline.simulation.scenes.encode import CODECS, Coding, render, stream
from sightline.simulation.scenes.spec import LIGHTS, NUMBERS, SCENES, WEATHERS, SceneSpec, above_zero, even
from sightline.simulation.scenes.truth import write_truth

OPTIONS: dict[str, dict[str, Any]] = {
    "scene": {"choices": SCENES, "help": "what is seen"},
    "seed": {"type": int, "help": "of everything that happens"},
    "light": {"choices": LIGHTS, "help": "time of day"},
    "weather": {"choices": WEATHERS, "help": "clear sky or rain"},
    "camera": {"type": int, "choices": NUMBERS, "help": "the camera's place"},
    "people": {"type": above_zero(120), "help": "so many times as many people as usual"},
    "width": {"type": even, "help": "pixels"},
    "height": {"type": even, "help": "pixels"},
    "fps": {"type": above_zero(120), "help": "frames a second"},
    "codec": {"choices": CODECS, "help": "of the video"},
    "gop": {"type": int, "help": "frames from one key frame to the next"},
    "bitrate": {"type": int, "help": "bits a second"},
    "b_frames": {"type": int, "help": "B-frames between two others"},
    "preset": {"help": "of the encoder"},
}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    program, (summary, *_) = "python -m sightline.simulation.scenes", __doc__.split("\n")
    parser = argparse.ArgumentParser(prog=program, description=summary)
    commands = parser.add_subparsers(dest="command", required=True)
    live = commands.add_parser("stream", help="draw, encode and publish in real time")
    live.add_argument("url", metavar="URL", help="where to publish, as the RTSP server asks")
    live.add_argument("--start", type=float, default=0.0, help="second of the scene to begin with")
    file = commands.add_parser("render", help="write a video file")
    file.add_argument("out", metavar="OUT", type=Path, help="video file (.mp4, .mkv or .ts)")
    true = commands.add_parser("truth", help="write what is true of every frame and of the run")
    true.add_argument("out", metavar="OUT", type=Path, help="folder")
    coding = asdict(Coding())
    defaults = asdict(SceneSpec()) | coding
    for command in (live, file, true):
        for name, option in OPTIONS.items():
            if command is not true or name == "fps" or name not in coding:
                words = option | {"help": f"{option['help']} (default: %(default)s)"}
                command.add_argument(f"--{name.replace('_', '-')}", default=defaults[name], **words)
        if command is not live:
            command.add_argument("--length", type=float, default=60.0, help="seconds (default: 60)")
    return parser


def main(words: list[str] | None = None) -> int:
    """Run one command; 1 when it failed."""
    args = build_parser().parse_args(words)
    av.logging.set_level(av.logging.ERROR)
    spec = SceneSpec(**{f.name: getattr(args, f.name) for f in fields(SceneSpec)})
    coding = Coding(**{f.name: getattr(args, f.name) for f in fields(Coding) if hasattr(args, f.name)})
    try:
        if args.command == "truth":
            frames = truth.frames(spec, args.fps, args.length)
            write_truth(args.out, truth.run(spec, args.length), frames, args.fps)
        elif args.command == "render":
            import cv2  # noqa: PLC0415  truth needs no OpenCV

            cv2.setNumThreads(1)  # there is a program for each core: see sightline.base.processes
            render(spec, coding, args.length, args.out)
        else:
            stop = stop_on_signals()
            with suppress(av.error.OSError, av.error.EOFError):  # the server hung up: no client is left
                stream(spec, coding, args.url, stop.wait, args.start)
    except (SightlineError, av.error.FFmpegError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # a URL may hold a password
        sys.stderr.write(f"error: {type(error).__name__}: {redact(str(reason))}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
