"""YAML as a configuration may use it: text keys, none of them twice, of bounded size; and its placeholders.

Plain values are those of YAML 1.2: ``on``, ``no``, ``1:30``, ``0600`` and dates are text, ``1e3`` a number.
Secrets come in as ``{SIGHTLINE_…}``, from the environment or from files.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from sightline.base.redact import redact
from sightline.errors import ConfigError

SECRETS_FOLDER = Path("/run/secrets")
PLACEHOLDER = re.compile(r"\{(SIGHTLINE_[A-Z0-9_]+)\}")
#: As other programs write a placeholder, or without its second brace or its capitals.
_MISWRITTEN = re.compile(r"[$%{<(]\s*SIGHTLINE[\w-]*", re.IGNORECASE)
_SPACES = "[\u00a0\u2000-\u200a\u202f\u3000]"  # none of them separates anything for YAML
#: Such spaces where one that separates was meant, what is not seen at all, and quotes that quote nothing.
_ODD = re.compile(
    f"^{_SPACES}|(?<=:){_SPACES}|{_SPACES}$|[\u200b\ufeff]|^[\u201c\u201d\u201e\u2018\u2019\u00ab]"
)
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)+")  # an anchor or a tag before a value
REMEMBERED = 8  # texts: one change of a configuration reads each of its texts several times
MAX_DEPTH = 30
MAX_VALUES = 100_000  # more come only from aliases that multiply each other
#: Longer texts are no names, and shorter numbers can always be printed (Python gives up at 4,300 digits).
MAX_TEXT = 3_000
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
#: By tag, what plain values look like, and the characters that they begin with ("" for none at all).
PLAIN = {
    "null": (r"~|null|Null|NULL|", [*"~nN", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", [*"-+0123456789"]),
    "float": (
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
    "merge": (r"<<", ["<"]),
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as it stands in a text."""

    path: tuple[str, ...]  # the keys that lead to it; items of a list are counted
    value: str
    start: int  # of its characters
    end: int


@dataclass(frozen=True, slots=True)
class ParsedYaml:
    """A map that was read, and what is wrong with its keys."""

    values: dict[str, Any]
    problems: tuple[ConfigError, ...]
    lines: Mapping[str, int]  # of every key, by its dotted path

    def line(self, path: str) -> int:
        """Where a key stands, or else the nearest that holds it."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path, 1)


class _Unusable(yaml.MarkedYAMLError):
    """Valid YAML that a configuration must not hold."""

    def __init__(self, problem: str, mark: yaml.Mark | None) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _StrictLoader(yaml.SafeLoader):
    """A key is what stands in the file, and the second of two equal keys is told, not just preferred.

    Texts are short and without control characters, and what aliases and merge keys make of a file is bounded
    before it is made.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[tuple[int, str]] = []  # lines and what is wrong there
        self._depth = self._merged = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        text = getattr(event, "value", "")
        if self._depth > MAX_DEPTH:
            raise _Unusable("is nested too deeply", event.start_mark)
        if len(text) > MAX_TEXT:
            raise _Unusable(f"has a text of more than {MAX_TEXT} characters", event.start_mark)
        if _NO_TEXT.search(text):
            raise _Unusable("has a line break or control character in a text; remove it", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if not node.style and (odd := _ODD.search(node.value)):
            text = f"has the character {odd[0]!r}, that of a word processor; write a plain space or quote"
            self.problems.append((node.start_mark.line + 1, text))
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        latest = node.start_mark.index - 1
        for key, value in tuple(node.value):
            line = int(key.start_mark.line) + 1
            if key.start_mark.index <= latest:
                self.problems.append((line, "an alias cannot be a key; write it out"))
            latest = max(latest, key.start_mark.index, value.start_mark.index)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append((line, "a key must be text; does a value in braces lack its quotes?"))
                node.value.remove((key, value))
                continue
            if key.tag != f"{_TAG}merge":
                key.tag = f"{_TAG}str"
            if key.value in lines:
                text = f"{key.value!r} stands here and in line {lines[key.value]}; remove one of them"
                self.problems.append((line, text))
            lines[key.value] = line
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge maps; of equal keys one is kept at each step, or they would multiply each other."""
        if all(key.tag != f"{_TAG}merge" for key, _ in node.value):
            return
        super().flatten_mapping(node)
        node.value = list({key.value: (key, value) for key, value in node.value}.values())
        self._merged += len(node.value)
        if self._merged > MAX_VALUES:
            problem = f"holds more than {MAX_VALUES} values; do merges repeat each other?"
            raise _Unusable(problem, node.start_mark)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError):  # a tag such as !!bool before other text
            raise _Unusable("has a value that YAML cannot read; quote it", node.start_mark) from None


_StrictLoader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in {*PLAIN, "str", "map", "seq"}
}
_StrictLoader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in PLAIN.items():
    _StrictLoader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)


@lru_cache(REMEMBERED)
def parse_yaml(text: str, name: str) -> ParsedYaml:
    """The map that a text holds, which is not to be altered.

    Args:
        text: the whole file.
        name: of the file, for errors.

    Raises:
        ConfigError: it is no YAML, no map, or too large; the text names the line.
    """
    loader = None
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        raw = None if node is None else loader.construct_document(node)
        size = _size(raw, MAX_DEPTH)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"has a character that no text has (#x{error.character:04x}); save it as UTF-8"
        raise _mistake(problem, name, line) from error
    except yaml.MarkedYAMLError as error:
        what = ", ".join(filter(None, (error.context, error.problem))) or str(error)
        if isinstance(error, _Unusable) and error.problem_mark:
            raise _mistake(what, name, error.problem_mark.line + 1) from error
        mark = error.context_mark if "end of stream" in what else error.problem_mark  # where a quote begins
        cure = (
            "write spaces, not tabs" if r"'\t'" in what else "is a quote, a colon or a space missing there?"
        )
        raise _mistake(f"is not YAML: {what}; {cure}", name, mark.line + 1 if mark else 0) from error
    except ValueError as error:  # an escaped character that does not exist
        raise _mistake(f"is not YAML: {error}", name, loader.line + 1 if loader else 0) from error
    except RecursionError as error:
        raise _mistake("is nested too deeply, or an alias contains itself", name) from error
    if size > MAX_VALUES:
        raise _mistake(f"holds more than {MAX_VALUES} values; do aliases repeat each other?", name)
    if not isinstance(raw, dict):
        raise _mistake("must be a map with a key 'cameras'", name)
    problems = tuple(_mistake(text, name, line) for line, text in sorted(loader.problems))
    return ParsedYaml(raw, problems, dict(_lines(node, "")))


@lru_cache(REMEMBERED)
def compose_yaml(text: str) -> yaml.Node | None:
    """The nodes of a text that :func:`parse_yaml` can read, which are not to be altered."""
    return yaml.compose(text, _StrictLoader)


def forget_texts() -> None:
    """Forget what has been read: whoever has read the same texts again and again does so at the end."""
    parse_yaml.cache_clear()
    compose_yaml.cache_clear()


def scalars(text: str, name: str) -> list[Scalar]:
    """The values that a text holds, in the order in which they stand; one for each path that leads to it.

    What aliases share is there several times, first where it stands.

    Raises:
        ConfigError: as :func:`parse_yaml`.
    """
    parse_yaml(text, name)
    node = compose_yaml(text)
    return sorted(_scalars(node, (), text), key=lambda item: item.start) if node is not None else []


def comment_lines(text: str) -> set[int]:
    """The numbers, from 0, of the lines of valid YAML that are comments alone, and not inside a text."""
    inside: set[int] = set()
    for token in yaml.scan(text, _StrictLoader):
        if isinstance(token, yaml.ScalarToken):
            start, end = token.start_mark, token.end_mark
            inside.update(range(start.line + 1, end.line + (end.column > 0)))
    lines = enumerate(text.splitlines())
    return {number for number, line in lines if line.lstrip().startswith("#")} - inside


def _scalars(node: yaml.Node, path: tuple[str, ...], text: str) -> Iterator[Scalar]:
    if isinstance(node, yaml.ScalarNode):
        start, end = node.start_mark.index, node.end_mark.index
        if prefix := _PROPERTIES.match(text, start, end):
            start = prefix.end()
        if start < end:
            yield Scalar(path, node.value, start, end)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*path, key.value), text)
    else:
        for number, item in enumerate(node.value):
            yield from _scalars(item, (*path, str(number)), text)


def _mistake(problem: str, name: str, line: int = 0) -> ConfigError:
    """What is wrong with a file, or with one of its lines."""
    return ConfigError("", redact(problem), place=f"{name}:{line}" if line else name)


def _lines(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, int]]:
    """The dotted path of every key below, and its line."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        yield f"{prefix}{key.value}", key.start_mark.line + 1
        yield from _lines(value, f"{prefix}{key.value}.")


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


def secrets_folder(config: Path) -> Path:
    """Where secrets that people have sent stand, each in a file of its name, beside the configuration."""
    return config.with_name(f"{config.name}.secrets")


def fill_secrets(value: Any, key: str, report: Callable[[str, str], None], folder: Path | None = None) -> Any:
    """``value`` with every placeholder replaced; inside URLs the secret is percent-encoded.

    Args:
        value: as YAML has it: maps, lists, scalars.
        key: its dotted path.
        report: takes key and problem of each placeholder without a secret; such a value stays as it is.
        folder: where secrets are looked for last.
    """
    if isinstance(value, dict):
        if any(PLACEHOLDER.fullmatch(f"{{{name}}}") for name in value):
            report(key, "a placeholder must stand in quotes, or YAML reads it as a map")
        return {
            name: fill_secrets(item, f"{key}.{name}" if key else name, report, folder)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [fill_secrets(item, key, report, folder) for item in value]
    if not isinstance(value, str):
        return value
    if match := re.search(r"\$" + PLACEHOLDER.pattern, value):
        report(key, f"write {{{match[1]}}} without the $")
    if match := _MISWRITTEN.search(PLACEHOLDER.sub("", value)):
        report(key, f"{match[0]!r} is no placeholder; one is written {{SIGHTLINE_NAME}}, in capitals")

    def replacement(match: re.Match[str]) -> str:
        secret, problem = read_secret(match[1], folder)
        if problem:
            report(key, problem)
            return match[0]
        # The whole text may be one placeholder for a complete URL, which is taken as it is.
        return quote(secret, safe="") if "://" in value else secret

    return PLACEHOLDER.sub(replacement, value)


def read_secret(name: str, folder: Path | None = None) -> tuple[str, str]:
    """A secret from the environment or its file, without white space around it, and the problem with it.

    ``folder`` is looked into last.
    """
    secret, place = os.environ.get(name), "the environment"
    for path in (SECRETS_FOLDER / name, SECRETS_FOLDER / name.lower(), *([folder / name] if folder else [])):
        try:
            if secret is None and path.is_file():
                secret, place = path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            return "", f"{{{name}}}: {path} cannot be read ({getattr(error, 'strerror', 'not UTF-8')})"
    if secret is None:
        return "", f"{{{name}}} is neither in the environment nor in {SECRETS_FOLDER}"
    secret = secret.strip(" \t\r\n\ufeff")
    if _NO_TEXT.search(secret):
        return "", f"{{{name}}} has a line break, a control character or what is not UTF-8 in {place}"
    return secret, "" if secret else f"{{{name}}} is empty in {place}"
