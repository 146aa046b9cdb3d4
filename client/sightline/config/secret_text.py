"""The text of a configuration for people who may change it, and not read its secrets.

Secrets are masked. What comes back masked stands for what it was, but only while nothing has changed that
says to whom it goes: so nobody can have a secret that they do not know sent to a place of their own. For the
same reason placeholders can be kept, and not added.
"""

import difflib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import unquote

from pydantic import BaseModel, SecretStr

from sightline.base.redact import redact
from sightline.config.camera import Camera
from sightline.config.groups import Config
from sightline.config.yaml_text import PLACEHOLDER, Scalar, comment_lines, parse_yaml, scalars
from sightline.errors import ConfigError, ConfigErrors

MASK = "***"
_SHOWN_HOSTS = ("cameras", "database")  # whose URLs are masked in part
_MASKED_PART = re.compile(r"://\*\*\*@|=\*\*\*")
#: Values that say themselves where they go, and what says it beside the others.
_WITH_PLACE = ("url", "sub_url", "webhook", "apprise")
_PLACE_KEYS = re.compile("host|port|server|url|endpoint|issuer|webhook|http|tls")
#: A URL whose password is a placeholder, and one with a password.
_FILLED_LATER = re.compile(r"^([a-zA-Z][\w+.-]*://)[^:/@\s]*:" + PLACEHOLDER.pattern + "@")
_WITH_PASSWORD = re.compile(
    r"^(?P<scheme>[a-zA-Z][\w+.-]*://)(?P<user>[^:/?#\s]*):(?P<password>\S*)@(?P<rest>[^@\s]*)$"
)
#: What may be a secret in a comment, such as an option that is switched off.
_COMMENT = re.compile(r"#[^\n]*")
_NAMED = re.compile(r"(?i)(\b\w*(?:pass|secret|token|key)\w*[\"']?\s*:\s*)(?![\"']?\{SIGHTLINE_)[^\s,}]+")
_ANYWHERE = re.compile(r"[a-zA-Z0-9][^\s,\[\]{}#]*[^\s,\[\]{}#:]")  # what no quotes are needed for
_Path = tuple[str, ...]


def masked_text(text: str, name: str) -> str:
    """The text without its secrets; comments are masked where they look like one.

    Args:
        text: the whole file.
        name: of the file, for errors.

    Raises:
        ConfigError: it is no YAML.
    """
    items = scalars(text, name)
    shown: dict[int, str] = {}
    for item in items:
        if (value := _masked(item)) != item.value or item.start not in shown:  # a secret wherever it is used
            shown[item.start] = value
    return _rewritten(text, items, lambda item: shown[item.start], _masked_comments)


def unmasked_text(text: str, old: str, name: str, earlier: str = "") -> str:
    """The text with the secrets that ``old`` has where it is masked.

    Args:
        text: the whole file, masked.
        old: the whole file as it is.
        name: of the file, for errors.
        earlier: a text whose placeholders may come back.

    Raises:
        ConfigError: it is no YAML, something is masked that cannot be told any more, or a placeholder is new.
    """
    if mistakes := parse_yaml(text, name).problems:
        raise ConfigErrors.of(mistakes)
    text = _with_old_comments(text, old, name)
    before, after = scalars(old, name), scalars(text, name)
    was = {item.path: item for item in before}
    masked_ones = {item.start for item in after if _is_masked(item)}
    known_ones = [*before, *(scalars(earlier, name) if earlier else ())]
    places = {_place(item) for item in known_ones if PLACEHOLDER.search(item.value)}
    problems: list[ConfigError] = []

    def original(item: Scalar) -> str:
        known, masked = was.get(item.path), item.start in masked_ones
        if not masked and not PLACEHOLDER.search(item.value):
            return item.value
        tells = item.path[-1] in _WITH_PLACE or "://" in item.value
        stays = known is not None and item.value == (_masked(known) if masked else known.value)
        if known and stays and (tells or _beside(item, after) == _beside(known, before)):
            return known.value
        if masked or not _is_secret(item.path) or _place(item) not in places:
            cure = "write it again: it stays only while nothing beside it changes"
            what = "is masked" if masked else "is a placeholder"
            problems.append(ConfigError(".".join(item.path), f"{what}; {cure}", place=name))
        return item.value

    values = {item.start: original(item) for item in after}  # asked wherever an alias uses it, too
    if problems:
        raise ConfigErrors.of(problems)
    raws = {item.value: old[item.start : item.end] for item in before}
    return _rewritten(text, after, lambda item: values[item.start], lambda rest: rest, raws)


def without_new_secrets(text: str, old: str, name: str) -> tuple[str, dict[str, str]]:
    """The text with placeholders for the secrets that ``old`` does not have, and those secrets by name."""
    was = {item.path: item.value for item in scalars(old, name)}
    found: dict[str, str] = {}

    def placeholder(item: Scalar) -> str:
        value = item.value
        if value == was.get(item.path) or _masked(item) == value or PLACEHOLDER.search(value):
            return value
        if not _is_secret(item.path):
            return value
        words = re.sub(r"[^A-Z0-9]+", "_", "_".join(item.path).upper())
        key = f"SIGHTLINE_{words}_{secrets.token_hex(3).upper()}"  # never the name of another
        parts = _WITH_PASSWORD.match(value) if item.path[0] in _SHOWN_HOSTS else None
        if parts and redact(shown := parts["scheme"] + parts["rest"]) == shown:
            found[key] = unquote(parts["password"])  # which is encoded again where it is filled in
            return f"{parts['scheme']}{parts['user']}:{{{key}}}@{parts['rest']}"
        found[key] = value
        return f"{{{key}}}"

    return _rewritten(text, scalars(text, name), placeholder, lambda rest: rest), found


def _rewritten(
    text: str,
    items: Iterable[Scalar],
    value_of: Callable[[Scalar], str],
    rest_of: Callable[[str], str],
    raws: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The text with other values and another rest; what stays is written as it was.

    ``raws`` says how values were written, which is kept where it means the same anywhere.
    """
    parts: list[str] = []
    at = 0
    for item in items:
        if item.start < at:
            continue  # an alias of it
        raw, value = text[item.start : item.end], value_of(item)
        parts.append(rest_of(text[at : item.start]))
        if value == item.value:
            parts.append(raw)
        else:
            line_end = "\n" if raw.endswith("\n") else ""  # of a block
            was = raws.get(value, "")
            written = was if _ANYWHERE.fullmatch(was) else json.dumps(value, ensure_ascii=False)
            parts.append(written + line_end)
        at = item.end
    return "".join([*parts, rest_of(text[at:])])


def _masked(item: Scalar) -> str:
    value = item.value
    if PLACEHOLDER.fullmatch(value):
        return value
    if not _is_secret(item.path):
        return redact(value)
    if item.path[0] not in _SHOWN_HOSTS:
        return MASK
    plain = _FILLED_LATER.sub(r"\1", value)
    return value if redact(plain) == plain else redact(value)


def _is_masked(item: Scalar) -> bool:
    return MASK in item.value and (_is_secret(item.path) or bool(_MASKED_PART.search(item.value)))


def _beside(item: Scalar, items: Sequence[Scalar]) -> dict[_Path, str]:
    """What says in the same group where it goes, without its secrets."""
    group = item.path[:-1]
    others = (other for other in items if other.path != item.path and other.path[: len(group)] == group)
    places = (other for other in others if _PLACE_KEYS.search(".".join(other.path[len(group) :])))
    return {other.path: other.value if _is_masked(other) else _masked(other) for other in places}


def _place(item: Scalar) -> tuple[str, str, str, frozenset[str]]:
    """Of which kind of option a URL is, where it goes, and the placeholders it takes along."""
    scheme, mark, rest = item.value.partition("://")
    host = re.split(r"[/?#]", rest)[0] if mark else ".".join(item.path)  # what is no URL stays where it is
    return item.path[0], scheme, host, frozenset(PLACEHOLDER.findall(item.value))


# -- comments ---------------------------------------------------------------------------------------------


def _masked_comments(rest: str) -> str:
    return _COMMENT.sub(lambda comment: redact(_NAMED.sub(rf"\g<1>{MASK}", comment[0])), rest)


def _with_old_comments(text: str, old: str, name: str) -> str:
    """The text with the lines of comments as they were before they were masked, where they still stand."""
    before, shown = old.splitlines(keepends=True), masked_text(old, name).splitlines(keepends=True)
    lines = text.splitlines(keepends=True)
    if len(before) != len(shown):  # a secret of several lines is masked in one
        return text
    comments = comment_lines(text)
    for here, there, length in difflib.SequenceMatcher(
        None, shown, lines, autojunk=False
    ).get_matching_blocks():
        for offset in range(length):
            if there + offset in comments and before[here + offset].lstrip().startswith("#"):
                lines[there + offset] = before[here + offset]
    return "".join(lines)


# -- what is secret ---------------------------------------------------------------------------------------


def _is_secret(path: _Path) -> bool:
    """Whether the options say so of what stands there."""
    kind: Any = Config
    for key in path:
        kind = _below(kind, key)
    return SecretStr in _parts(kind)


def _below(kind: Any, key: str) -> Any:
    """What may stand under a key; None: nothing that is known."""
    if key == "<<":
        return kind
    for part in _parts(kind):
        if get_origin(part) is dict:
            return get_args(part)[1]
        if get_origin(part) in {list, tuple, frozenset}:
            return get_args(part)[0]
        if part is Config and key == "cameras":
            return dict[str, Camera]
        if isinstance(part, type) and issubclass(part, BaseModel) and key in part.model_fields:
            return part.model_fields[key].annotation
    return None


def _parts(kind: Any) -> Iterator[Any]:
    """The members of a union, and what is annotated."""
    if get_origin(kind) in {Union, UnionType, Annotated}:
        for part in get_args(kind):
            yield from _parts(part)
    else:
        yield kind
