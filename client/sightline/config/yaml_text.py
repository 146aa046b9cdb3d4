"""YAML as a configuration may use it: text keys, none of them twice, of bounded size; and its placeholders.

Secrets come in as ``{SIGHTLINE_…}``, from the environment or from files.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from sightline.errors import ConfigError

SECRETS_FOLDER = Path("/run/secrets")
_PLACEHOLDER = re.compile(r"\{(SIGHTLINE_[A-Z0-9_]+)\}")
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


def fill_secrets(value: Any, key: str, report: Callable[[str, str], None]) -> Any:
    """``value`` with every placeholder replaced; inside URLs the secret is percent-encoded.

    Args:
        value: as YAML has it: maps, lists, scalars.
        key: its dotted path.
        report: takes key and problem of each placeholder without a secret; such a value stays as it is.
    """
    if isinstance(value, dict):
        if any(_PLACEHOLDER.fullmatch(f"{{{name}}}") for name in value):
            report(key, "a placeholder must stand in quotes, or YAML reads it as a map")
        return {
            name: fill_secrets(item, f"{key}.{name}" if key else name, report) for name, item in value.items()
        }
    if isinstance(value, list):
        return [fill_secrets(item, key, report) for item in value]
    if not isinstance(value, str):
        return value
    if match := re.search(r"\$" + _PLACEHOLDER.pattern, value):
        report(key, f"write {{{match[1]}}} without the $")

    def replacement(match: re.Match[str]) -> str:
        secret, problem = read_secret(match[1])
        if problem:
            report(key, problem)
            return match[0]
        # The whole text may be one placeholder for a complete URL, which is taken as it is.
        return quote(secret, safe="") if "://" in value else secret

    return _PLACEHOLDER.sub(replacement, value)


def read_secret(name: str) -> tuple[str, str]:
    """A secret from the environment or its file, and the problem when there is none."""
    if name in os.environ:
        return os.environ[name].strip("\r\n"), ""
    for path in (SECRETS_FOLDER / name, SECRETS_FOLDER / name.lower()):
        try:
            if path.is_file():
                return path.read_text(encoding="utf-8").strip(), ""
        except (OSError, UnicodeDecodeError) as error:
            return "", f"{{{name}}}: {path} cannot be read ({getattr(error, 'strerror', 'not UTF-8')})"
    return "", f"{{{name}}} is neither in the environment nor in {SECRETS_FOLDER}"
