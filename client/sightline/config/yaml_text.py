"""YAML as a configuration may use it: text keys, none of them twice, and of bounded size."""

from __future__ import annotations

from typing import Any

import yaml

from sightline.errors import ConfigError

MAX_DEPTH = 30
MAX_VALUES = 100_000  # more come only from aliases that multiply each other
_TEXT_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}


class _KeyProblem(yaml.MarkedYAMLError):
    """Valid YAML that a configuration must not hold."""


class _StrictLoader(yaml.SafeLoader):
    """A key is what stands in the file, and the second of two equal keys is refused, not preferred."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            problem = ""
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key must be text; does a value in braces lack its quotes?"
            elif key.tag not in _TEXT_TAGS:
                problem = f"YAML does not read {key.value} as text; write '{key.value}' in quotes"
            elif key.value in lines:
                problem = f"{key.value!r} stands here and in line {lines[key.value]}; remove one of them"
            if problem:
                raise _KeyProblem(problem=problem, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return node


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """The map that a text holds.

    Args:
        text: the whole file.
        name: of the file, for errors.

    Raises:
        ConfigError: it is no YAML, no map, too large, or has a key twice; the text names the line.
    """
    try:
        raw = yaml.load(text, _StrictLoader)  # noqa: S506  a SafeLoader
        size = _size(raw, MAX_DEPTH)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        what = "" if isinstance(error, _KeyProblem) else "is not YAML: "
        raise ConfigError(name, f"{line}{what}{getattr(error, 'problem', None) or error}") from error
    except ValueError as error:  # a date such as 2024-13-45
        raise ConfigError(name, f"has a date or number that does not exist ({error}); quote it") from error
    except RecursionError as error:
        raise ConfigError(name, "is nested too deeply, or an alias contains itself") from error
    if size > MAX_VALUES:
        raise ConfigError(name, f"holds more than {MAX_VALUES} values; do aliases repeat each other?")
    if not isinstance(raw, dict):
        raise ConfigError(name, "must be a map with a key 'cameras'")
    return raw


def _size(value: Any, depth: int) -> int:
    """Number of values in ``value``, aliases counted wherever they stand; stops beyond MAX_VALUES."""
    if depth < 0:
        raise RecursionError
    total = 1
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        total += _size(item, depth - 1)
        if total > MAX_VALUES:
            break
    return total
