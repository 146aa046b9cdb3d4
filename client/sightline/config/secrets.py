"""Secrets: ``{SIGHTLINE_…}`` placeholders, filled from the environment or from files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

SECRETS_FOLDER = Path("/run/secrets")
_PLACEHOLDER = re.compile(r"\{(SIGHTLINE_[A-Z0-9_]+)\}")


def fill(value: Any, key: str, report: Callable[[str, str], None]) -> Any:
    """``value`` with every placeholder replaced; inside URLs the secret is percent-encoded.

    Args:
        value: as YAML has it: maps, lists, scalars.
        key: its dotted path.
        report: takes key and problem of each placeholder without a secret; such a value stays as it is.
    """
    if isinstance(value, dict):
        if any(_PLACEHOLDER.fullmatch(f"{{{name}}}") for name in value):
            report(key, "a placeholder must stand in quotes, or YAML reads it as a map")
        return {name: fill(item, f"{key}.{name}" if key else name, report) for name, item in value.items()}
    if isinstance(value, list):
        return [fill(item, key, report) for item in value]
    if not isinstance(value, str):
        return value
    if match := re.search(r"\$" + _PLACEHOLDER.pattern, value):
        report(key, f"write {{{match[1]}}} without the $")

    def replacement(match: re.Match[str]) -> str:
        secret, problem = _read_secret(match[1])
        if problem:
            report(key, problem)
            return match[0]
        # The whole text may be one placeholder for a complete URL, which is taken as it is.
        return quote(secret, safe="") if "://" in value else secret

    return _PLACEHOLDER.sub(replacement, value)


def _read_secret(name: str) -> tuple[str, str]:
    """The secret, and the problem when there is none."""
    if name in os.environ:
        return os.environ[name].strip("\r\n"), ""
    for path in (SECRETS_FOLDER / name, SECRETS_FOLDER / name.lower()):
        try:
            if path.is_file():
                return path.read_text(encoding="utf-8").strip(), ""
        except (OSError, UnicodeDecodeError) as error:
            return "", f"{{{name}}}: {path} cannot be read ({getattr(error, 'strerror', 'not UTF-8')})"
    return "", f"{{{name}}} is neither in the environment nor in {SECRETS_FOLDER}"
