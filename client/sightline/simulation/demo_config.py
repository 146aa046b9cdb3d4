"""The demo's configuration: made anew at each start, but for what people have changed in it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sightline.config.yaml_edit import GONE, with_part
from sightline.config.yaml_text import parse_yaml
from sightline.errors import ConfigError, ServerError
from sightline.simulation.rtsp_server import HOST

#: Beside the configuration: what the last start made, by which changes since then are told.
MADE = ".config-made.yml"
#: Where the demo's own parts are found. It differs at each start, so nobody's change of it holds.
_OWN = (("triton",), ("database",), ("media",), ("models",), ("http", "port"), ("clips", "folder"))
_STREAM = re.compile(rf"rtsp://{re.escape(HOST)}:\d+/([^/?#]+)")
Edit = tuple[tuple[str, ...], Any]  # the keys that lead there, and what is to stand there; GONE: nothing


def write_config(path: Path, made: Mapping[str, Any], *, reset: bool) -> tuple[dict[str, Any], bool]:
    """Write the configuration of a start.

    Args:
        path: of the file. What people have changed in it stays; of all else this start's values hold.
        made: this start's.
        reset: nothing that people have changed stays.

    Returns:
        What stands in the file then, and whether people have changed it.

    Raises:
        ServerError: what they have changed cannot be read, or not be joined with this start's values.
    """
    text = yaml.safe_dump(dict(made), sort_keys=False)
    record, written = path.with_name(MADE), text
    if not reset and path.is_file() and record.is_file():
        try:
            written = _joined(path, record.read_text(encoding="utf-8"), text)
        except ConfigError as error:
            problem = f"{error}; correct it, or start from the original one with --reset-config"
            raise ServerError(problem) from error
    for file, content in ((path, written), (record, text)):
        draft = file.with_name(f"{file.name}.new")
        draft.write_text(content, encoding="utf-8")
        draft.replace(file)
    return parse_yaml(written, str(path)).values, written != text


def _joined(path: Path, before: str, made: str) -> str:
    """The text of the file with what differs between the last start and this one."""
    text, name = path.read_text(encoding="utf-8"), str(path)
    was, new = (parse_yaml(item, name).values for item in (before, made))
    now = parse_yaml(text, name).values
    if now == was:
        return made
    for keys, value in [*_edits(was, new, now), *_of_cameras(was, new, now)]:
        text = with_part(text, name, keys, value)
    return text


def _edits(
    was: Mapping[str, Any], new: Mapping[str, Any], now: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[Edit]:
    """What this start makes different, where nobody has changed it."""
    for key in [*new, *(key for key in was if key not in new)]:
        path = (*above, key)
        old, made, current = (values.get(key, GONE) for values in (was, new, now))
        if isinstance(made, dict) and isinstance(current, dict):
            yield from _edits(old if isinstance(old, dict) else {}, made, current, path)
        elif current != made and (current == old or _is_own(path)):
            yield path, made


def _is_own(path: tuple[str, ...]) -> bool:
    return any(path[: len(own)] == own[: len(path)] for own in _OWN)


def _of_cameras(was: Mapping[str, Any], new: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Edit]:
    """Where the simulated streams are now, whichever cameras watch them; cameras without theirs go."""
    cameras = now.get("cameras")
    for name, options in cameras.items() if isinstance(cameras, dict) else ():
        for key, value in options.items() if isinstance(options, dict) else ():
            stream = _STREAM.fullmatch(value) if isinstance(value, str) else None
            if stream is None:
                continue
            if stream[1] in new["cameras"]:
                url = new["cameras"][stream[1]]["url"]
                if url != value:
                    yield ("cameras", name, key), url
            elif stream[1] in was["cameras"]:
                yield ("cameras", name), GONE
                break
