"""How commands are added, and what several of them share."""

import argparse
import difflib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from sightline.base.geometry import shape_for_aspect
from sightline.config.zones import Line
from sightline.errors import SightlineError

#: Takes the parsed arguments, returns the exit status; None is 0.
Command = Callable[[argparse.Namespace], int | None]


def add_command(
    commands: Any, command: Command, *parents: argparse.ArgumentParser, name: str = "", text: str = ""
) -> argparse.ArgumentParser:
    """Add a command with the options of its ``parents``, and return its parser.

    Its name is the last word of the function's, ``text`` its docstring, unless they are given: the first line
    goes into the list of commands, all of it is the description.
    """
    text = text or command.__doc__ or ""
    first = text.partition("\n")[0].removesuffix(".")
    parser: argparse.ArgumentParser = commands.add_parser(
        name or command.__name__.rpartition("_")[2],
        help=f"{first[0].lower()}{first[1:]}",
        description=text,
        parents=parents,
    )
    parser.set_defaults(command=command)
    return parser


def parse_number(most: float) -> Callable[[str], float]:
    """What reads a number of something, more than 0 and at most so many."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number <= most:
            raise argparse.ArgumentTypeError(f"a number is needed, more than 0 and at most {most:g}")
        return number

    return parse


def _numbers(text: str, separator: str) -> tuple[float, float]:
    """Two numbers of an argument."""
    first, _, second = text.partition(separator)
    try:
        return float(first), float(second)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"two numbers with {separator!r} between are needed") from error


def parse_port(text: str) -> int:
    """A TCP port; 0 is none, or any free one."""
    if not (text.isascii() and text.isdecimal() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def parse_network(text: str) -> str:
    """An address or a network."""
    try:
        ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("an address or a network is needed, such as 10.0.0.0/8") from error
    return text


def parse_shape(text: str) -> tuple[int, int]:
    """`HxW` as height and width."""
    height, width = _numbers(text, "x")
    return int(height), int(width)


def parse_aspect(text: str) -> tuple[int, int]:
    """`W:H` as the height and width of a network for such pictures."""
    across, down = _numbers(text, ":")
    if not (0 < across <= 20 * down and 0 < down <= 20 * across):
        raise argparse.ArgumentTypeError("an aspect ratio such as 16:9 is needed")
    return shape_for_aspect(across, down)


def parse_line(text: str) -> list[list[float]]:
    """`X1,Y1,X2,Y2` as the two points of a line."""
    try:
        x1, y1, x2, y2 = (float(number) for number in text.split(","))
        return [list(point) for point in Line(points=((x1, y1), (x2, y2))).points]
    except ValueError as error:
        raise argparse.ArgumentTypeError("four numbers in 0..1 are needed, such as 0.5,0,0.5,1") from error


def add_group(commands: Any, name: str, text: str) -> Any:
    """Add a command that has commands of its own, and return what those are added to."""
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser.add_subparsers(metavar="COMMAND", required=True)


def add_config_option(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add ``-c FILE``, and return the parser."""
    text = "default: %(default)s"
    parser.add_argument("-c", "--config", type=Path, default="config.yml", metavar="FILE", help=text)
    return parser


def parse_day(text: str) -> float:
    """`2026-11-20` as UTC epoch seconds."""
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()


def require_name(what: str, name: str, names: Iterable[str]) -> None:
    """Raise :class:`SightlineError`, with the nearest name, unless it is one of them."""
    known: Sequence[str] = list(names)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        there = f"do you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"
        raise SightlineError(f"there is no {what} {name!r}; {there}")
