"""``python -m sightline.simulation.scenes``: stream a simulated camera, render it, or write its truth."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import av
import av.logging

from sightline.base.redact import redact
from sightline.base.signals import stop_on_signals
from sightline.errors import SightlineError
from sightline.simulation.scenes import truth
from sightline.simulation.scenes.encode import CODECS, Coding, render, stream
from sightline.simulation.scenes.formats import write_truth
from sightline.simulation.scenes.scene_arguments import above_zero, even
from sightline.simulation.scenes.spec import LIGHTS, SCENES, WEATHERS, SceneSpec
from sightline.simulation.scenes.viewpoints import NUMBERS


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sightline.simulation.scenes", description=__doc__.split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    live = commands.add_parser("stream", help="draw, encode and publish in real time")
    live.add_argument("url", metavar="URL", help="where to publish, as the RTSP server asks")
    live.add_argument("--start", type=float, default=0.0, help="second of the scene to begin with")
    file = commands.add_parser("render", help="write a video file")
    file.add_argument("out", metavar="OUT", type=Path, help="video file (.mp4, .mkv or .ts)")
    known = commands.add_parser("truth", help="write what is true of every frame and of the run")
    known.add_argument("out", metavar="OUT", type=Path, help="folder")
    for command in (live, file, known):
        _add_scene(command)
        _add_coding(command, only_fps=command is known)
        if command is not live:
            command.add_argument("--length", type=float, default=60.0, help="seconds (default: 60)")
    return parser


def _add_scene(command: argparse.ArgumentParser) -> None:
    default = SceneSpec()
    command.add_argument(
        "--scene", choices=SCENES, default=default.scene, help="what is seen (default: street)"
    )
    command.add_argument("--seed", type=int, default=0, help="of everything that happens (default: 0)")
    command.add_argument("--light", choices=LIGHTS, default=default.light, help="time of day (default: day)")
    command.add_argument("--weather", choices=WEATHERS, default=default.weather, help="default: clear")
    command.add_argument("--camera", type=int, choices=NUMBERS, default=0, help="place (default: 0)")
    command.add_argument(
        "--people", type=above_zero(120), default=default.people, help="times as many (default: 1)"
    )
    command.add_argument("--width", type=even, default=default.width, help="pixels (default: 640)")
    command.add_argument("--height", type=even, default=default.height, help="pixels (default: 360)")


def _add_coding(command: argparse.ArgumentParser, *, only_fps: bool) -> None:
    default = Coding()
    command.add_argument(
        "--fps", type=above_zero(120), default=default.fps, help="frames a second (default: 10)"
    )
    if only_fps:
        return
    command.add_argument("--codec", choices=CODECS, default=default.codec, help="default: h264")
    command.add_argument(
        "--gop", type=int, default=default.gop, help="frames to the next key frame (default: 50)"
    )
    command.add_argument(
        "--bitrate", type=int, default=default.bitrate, help="bits a second (default: 1500000)"
    )
    command.add_argument(
        "--b-frames", type=int, default=default.b_frames, help="between two others (default: 0)"
    )
    command.add_argument("--preset", default=default.preset, help="of the encoder (default: veryfast)")


def spec_of(args: argparse.Namespace) -> SceneSpec:
    """The scene that the options name."""
    return SceneSpec(**{field.name: getattr(args, field.name) for field in fields(SceneSpec)})


def _coding_of(args: argparse.Namespace) -> Coding:
    return Coding(args.codec, args.fps, args.gop, args.bitrate, args.b_frames, args.preset)


def main(words: list[str] | None = None) -> int:
    """Run one command; 1 when it failed."""
    args = build_parser().parse_args(words)
    av.logging.set_level(av.logging.ERROR)
    try:
        if args.command == "truth":
            spec = spec_of(args)
            found = truth.frames(spec, args.fps, args.length)
            write_truth(args.out, truth.run(spec, args.length), found, args.fps)
        elif args.command == "render":
            import cv2  # noqa: PLC0415  truth needs no OpenCV

            cv2.setNumThreads(1)  # there is a program for each core: see sightline.base.jobs
            render(spec_of(args), _coding_of(args), args.length, args.out)
        else:
            _stream(args)
    except (SightlineError, av.error.FFmpegError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # a URL may hold a password
        sys.stderr.write(f"error: {type(error).__name__}: {redact(str(reason))}\n")
        return 1
    return 0


def _stream(args: argparse.Namespace) -> None:
    stop = stop_on_signals()
    try:
        stream(spec_of(args), _coding_of(args), args.url, stop.wait, args.start)
    except (av.error.OSError, av.error.EOFError):
        return  # the server hung up: nobody watches any more


if __name__ == "__main__":
    sys.exit(main())
