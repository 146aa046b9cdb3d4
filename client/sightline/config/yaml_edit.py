"""A YAML text with other values: what stays keeps its comments, its order, and the way it is written."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sightline.config.yaml_text import PLAIN, compose_yaml, parse_yaml
from sightline.errors import ConfigError

GONE = object()  # instead of a value: there is to be none
_MAX_WIDTH = 110
_ALIAS = re.compile(r"\s*:\s*\*[^\s,\]}]+")  # after a key


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, (_pattern, _first) in PLAIN.items():
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)


def with_part(text: str, name: str, path: Sequence[str], value: Any) -> str:
    """A text in which one part of it is another.

    Args:
        text: the whole file.
        name: of the file, for errors.
        path: the keys that lead to the part; all but the last must be there.
        value: what is to stand there, as JSON has it; :data:`GONE`: nothing.

    Raises:
        ConfigError: the text is no YAML, has no such map, or others share what is to be changed.
    """
    old, key = parse_yaml(text, name).values, ".".join(path)
    new, surgery = _with_item(old, path, value, name), _Surgery(text)
    cure = "cannot be changed alone, since others share it or by the way it is written; change it by hand"
    try:
        if surgery.change(compose_yaml(text), old, new):
            changed = surgery.result()
            if _same(parse_yaml(changed, name).values, new):
                return changed
    except ConfigError as error:
        raise ConfigError(key, f"{cure} ({error.problem})", place=name) from error
    except RecursionError as error:
        raise ConfigError(key, "is nested too deeply", place=name) from error
    raise ConfigError(key, cure, place=name)


def _with_item(values: Any, path: Sequence[str], value: Any, name: str, above: str = "") -> dict[str, Any]:
    """A copy with another value at a path; what aliases share stays as it is elsewhere."""
    key, *below = path
    if not isinstance(values, dict):
        problem = "is not in the file; has it been changed? reload it, then try again"
        raise ConfigError(above, problem, place=name)
    if below:
        value = _with_item(values.get(key), below, value, name, f"{above}.{key}" if above else key)
    changed = {**values, key: value}
    if value is GONE:
        del changed[key]
    return changed


class _Surgery:
    """Finds out what is to be written where."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._line_end = "\r\n" if "\r\n" in text else "\n"
        self._splices: list[tuple[int, int, str]] = []

    def result(self) -> str:
        """The text with everything that was found."""
        parts, at = [], 0
        for start, end, written in sorted(self._splices, key=lambda splice: splice[:2]):
            parts += [self._text[at:start], written]
            at = max(at, end)
        return "".join([*parts, self._text[at:]])

    def change(self, node: yaml.Node | None, old: Any, new: Any) -> bool:
        """Make ``new`` of what stands there; False: it has to be written anew as a whole."""
        if _same(old, new):
            return True
        if isinstance(node, yaml.MappingNode) and isinstance(new, dict):
            return self._change_map(node, old, new)
        if isinstance(node, yaml.SequenceNode) and isinstance(new, list) and len(new) == len(node.value):
            starts = [node.start_mark.index, *(item.start_mark.index for item in node.value)]
            in_place = starts == sorted(starts)  # else there is an alias
            return in_place and all(map(self.change, node.value, old, new))
        if isinstance(node, yaml.ScalarNode) and node.style not in {"|", ">"} and not _is_group(new):
            start, end = node.start_mark.index, node.end_mark.index
            self._splices.append((start, end, _flow(new) if start < end else f" {_flow(new)}"))
            return True
        return False

    def _change_map(self, node: yaml.MappingNode, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        own = {key.value: (key, value) for key, value in node.value if key.value != "<<"}
        gone = [name for name in own if name not in new]
        merged = {name for name in old if name not in own and name in new and _same(old[name], new[name])}
        added = {name: value for name, value in new.items() if name not in own and name not in merged}
        column = node.value[0][0].start_mark.column if node.value else 0
        if node.flow_style and (gone or not node.value):
            self._splices.append((node.start_mark.index, node.end_mark.index, _flow(dict(new))))
            return True
        if not node.flow_style and (gone or added):
            first = node.value[0][0].start_mark.index
            if len(gone) == len(node.value) or self._text[self._line_start(first) : first].strip(" \ufeff"):
                return False  # nothing stays to which it could be joined
        for name in gone:
            key, value = own[name]
            start = self._line_start(key.start_mark.index)
            before = len(self._line_end) if start else 0
            self._splices.append((start - before, self._end(key, value, column), ""))
        for name in own.keys() & new.keys():
            if _same(old[name], new[name]):
                continue  # an alias stays one
            found = len(self._splices)
            key, value = own[name]
            is_alias = value.start_mark.index < key.start_mark.index
            if is_alias or not self.change(value, old[name], new[name]):
                del self._splices[found:]
                self._write_anew(node, key, value, new[name])
        if added and node.flow_style:
            end = node.end_mark.index - 1
            self._splices.append(
                (end, end, "".join(f", {_flow({name: added[name]})[1:-1]}" for name in added))
            )
        elif added:
            key, value = node.value[-1]
            end = self._end(key, value, column)
            lines = _block(added, column)
            self._splices.append((end, end, "".join(self._line_end + line for line in lines)))
        return True

    def _write_anew(self, node: yaml.MappingNode, key: yaml.Node, value: yaml.Node, new: Any) -> None:
        """One key with its value."""
        start, end = key.start_mark.index, value.end_mark.index
        if node.flow_style:
            if end < start and (alias := _ALIAS.match(self._text, key.end_mark.index)):
                end = alias.end()
            self._splices.append((start, end, _flow({key.value: new})[1:-1]))
        else:
            lines = _block({key.value: new}, key.start_mark.column)
            written = self._line_end.join(lines).lstrip(" ")
            self._splices.append((start, self._end(key, value), written))

    def _line_start(self, index: int) -> int:
        return self._text.rfind("\n", 0, index) + 1

    def _end(self, key: yaml.Node, value: yaml.Node, column: int | None = None) -> int:
        """Of the last line of a value in a block; with ``column`` of its deeper comments too."""
        end = max(key.end_mark.index, value.end_mark.index)
        lines = self._text[:end].splitlines(keepends=True)
        while not lines[-1].strip() or lines[-1].lstrip().startswith(
            "#"
        ):  # a block ends where the next begins
            end -= len(lines.pop())
        end = len(self._text[:end].rstrip("\r\n"))
        end = next((at.start() for at in re.compile(r"\r?\n").finditer(self._text, end)), len(self._text))
        if column is None:
            return end
        deeper = re.compile(rf"(?:(?:\r?\n[ \t]*)*\r?\n {{{column + 1},}}#[^\r\n]*)*")
        found = deeper.match(self._text, end)
        return found.end() if found else end


def _block(values: Mapping[str, Any], column: int) -> list[str]:
    """Lines of a map, what is short and flat within a line."""
    lines: list[str] = []
    for name, value in values.items():
        head = f"{' ' * column}{_flow(name)}:"
        written = f"{head} {_flow(value)}"
        deep = isinstance(value, dict) and any(isinstance(item, dict) and item for item in value.values())
        if not _is_group(value) or not value or not (deep or len(written) > _MAX_WIDTH):
            lines.append(written)
        elif isinstance(value, dict):
            lines += [head, *_block(value, column + 2)]
        else:
            lines += [head, *(f"{' ' * (column + 2)}- {_flow(item)}" for item in value)]
    return lines


def _flow(value: Any) -> str:
    """On one line, as it may stand anywhere."""
    dumped = yaml.dump(
        [value], Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 30
    )
    return str(dumped).strip()[1:-1]


def _is_group(value: Any) -> bool:
    return isinstance(value, dict | list)


def _same(old: Any, new: Any) -> bool:
    """Whether both say the same; a number is no truth value, and the order of keys says nothing."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[name], new[name]) for name in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(isinstance(old, bool) is isinstance(new, bool) and old == new)
