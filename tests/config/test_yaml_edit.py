"""A part of a YAML text is replaced, and all else stays as it was written."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sightline.config.yaml_edit import GONE, with_part
from sightline.config.yaml_text import parse_yaml
from sightline.errors import ConfigError

NAME = "config.yml"
TEXT = """\
# the site
cameras:
  # at the front
  gate:          # main
    url: rtsp://h/gate   # its main stream
    zones:
      # drawn by Anna
      door: {points: [[0, 0], [1, 0], [1, 1]], classes: [person]}  # front door
      yard:
        points:
          - [0.1, 0.2]
          - [0.3, 0.4]
          - [0.5, 0.6]
    # stream: {fps: 5}

  # at the back
  yard: {url: "rtsp://h/yard", enabled: true}   # behind
log_level:
"""
GATE = ("cameras", "gate")


def lines_changed(path: tuple[str, ...], value: Any, text: str = TEXT) -> tuple[list[str], list[str]]:
    """The lines that go, and those that come."""
    steps = [*difflib.ndiff(text.splitlines(), with_part(text, NAME, path, value).splitlines())]
    return [step[2:] for step in steps if step[0] == "-"], [step[2:] for step in steps if step[0] == "+"]


@pytest.mark.parametrize(
    ("path", "value", "gone", "come"),
    [
        ((*GATE, "enabled"), False, [], ["    enabled: false"]),
        (
            (*GATE, "url"),
            "rtsp://h/2",
            ["    url: rtsp://h/gate   # its main stream"],
            ["    url: 'rtsp://h/2'   # its main stream"],
        ),
        (("log_level",), "debug", ["log_level:"], ["log_level: debug"]),
        (
            ("cameras", "yard", "enabled"),
            False,
            ['  yard: {url: "rtsp://h/yard", enabled: true}   # behind'],
            ['  yard: {url: "rtsp://h/yard", enabled: false}   # behind'],
        ),
        (
            ("cameras", "yard", "stream"),
            {"fps": 5},
            ['  yard: {url: "rtsp://h/yard", enabled: true}   # behind'],
            ['  yard: {url: "rtsp://h/yard", enabled: true, stream: {fps: 5}}   # behind'],
        ),
        (
            ("cameras", "yard", "enabled"),
            GONE,
            ['  yard: {url: "rtsp://h/yard", enabled: true}   # behind'],
            ["  yard: {url: 'rtsp://h/yard'}   # behind"],
        ),
        (
            (*GATE, "zones", "yard", "points"),
            [[0.1, 0.2], [0.3, 0.4], [0.5, 0.7]],
            ["          - [0.5, 0.6]"],
            ["          - [0.5, 0.7]"],
        ),
        (
            (*GATE, "zones", "door"),
            GONE,
            ["      door: {points: [[0, 0], [1, 0], [1, 1]], classes: [person]}  # front door"],
            [],
        ),
        (
            ("cameras", "roof"),
            {"url": "rtsp://***@h/", "zones": {"a": {"points": [[0, 0], [1, 0], [1, 1]]}}},
            [],
            [
                "  roof:",
                "    url: 'rtsp://***@h/'",
                "    zones:",
                "      a: {points: [[0, 0], [1, 0], [1, 1]]}",
            ],
        ),
        (
            ("alerts",),
            {"routes": {"hook": {"webhook": "***", "secret": "{SIGHTLINE_X}"}}},
            [],
            ["alerts:", "  routes:", "    hook: {webhook: '***', secret: '{SIGHTLINE_X}'}"],
        ),
    ],
)
def test_only_what_differs_is_written_anew(
    path: tuple[str, ...], value: Any, gone: list[str], come: list[str]
) -> None:
    assert lines_changed(path, value) == (gone, come)


def test_a_new_camera_comes_after_the_comments_of_the_last_one() -> None:
    text = "cameras:\n  gate:\n    url: x\n    # fps: 5\n\n# the log\nlog_level: info\n"
    assert with_part(text, NAME, ("cameras", "yard"), {"url": "y"}) == text.replace(
        "# fps: 5\n", "# fps: 5\n  yard: {url: y}\n"
    )


def test_a_removed_camera_takes_along_what_is_commented_out_in_it_and_no_more() -> None:
    left = with_part(TEXT, NAME, GATE, GONE)
    assert left == TEXT[: TEXT.index("  gate:")] + TEXT[TEXT.index("\n  # at the back") :]
    assert with_part(left, NAME, ("cameras", "yard"), GONE).endswith("cameras: {}\nlog_level:\n")


def test_a_file_of_windows_stays_one() -> None:
    text = "\ufeffcameras:\r\n  gate:\r\n    url: x\r\n"
    assert with_part(text, NAME, (*GATE, "enabled"), False) == f"{text}    enabled: false\r\n"


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a: &x {b: 1}\nc: *x\n", ("a", "b"), 2),  # which would change c
        ("a: &x 1\nc: *x\n", ("a",), 2),
        ("a: &x {b: 1}\nc: {<<: *x, d: 1}\n", ("c",), {"d": 1}),
        ("a: 1\n", ("a",), "two\nlines"),
        ("a: 1\n", ("b", "c"), 2),
    ],
)
def test_what_cannot_be_changed_alone_is_refused(text: str, path: tuple[str, ...], value: Any) -> None:
    with pytest.raises(ConfigError, match=r"by hand|is not in the file"):
        with_part(text, NAME, path, value)


@pytest.mark.parametrize(
    ("text", "path", "value", "wanted"),
    [
        ("a: &x {b: 1}\nc: *x\n", ("c", "b"), 2, "a: &x {b: 1}\nc: {b: 2}\n"),
        ("a: &x {b: 1}\nc: {<<: *x, d: 1}\n", ("c", "b"), 2, "a: &x {b: 1}\nc: {<<: *x, d: 1, b: 2}\n"),
        ("a: {b: &x 1, c: *x}\n", ("a", "c"), "1", "a: {b: &x 1, c: '1'}\n"),
    ],
)
def test_what_is_shared_is_changed_for_one(text: str, path: tuple[str, ...], value: Any, wanted: str) -> None:
    assert with_part(text, NAME, path, value) == wanted


def test_what_is_nested_without_end_is_refused() -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(ConfigError, match="nested"):
        with_part(TEXT, NAME, ("deep",), deep)


keys = st.sampled_from(["a", "b", "on", "1e3", "0o7", "yes", "~", "x: y", "# no", "{SIGHTLINE_X}", "*", "é"])
leaves = st.none() | st.booleans() | st.integers(-9, 99) | st.floats(-1e6, 1e6) | keys | st.just("")
groups: Any = st.recursive(
    leaves, lambda part: st.lists(part, max_size=3) | st.dictionaries(keys, part, max_size=3), max_leaves=12
)


@given(st.dictionaries(keys, groups, min_size=1, max_size=4), st.data(), st.sampled_from([True, False, None]))
def test_any_values_become_any_others(
    old: Mapping[str, Any], data: st.DataObject, style: bool | None
) -> None:
    text = yaml.safe_dump(dict(old), default_flow_style=style, allow_unicode=True)
    text = text if style else text.replace("\n", "   # said\n")
    values = parse_yaml(text, NAME).values
    key = data.draw(st.sampled_from(sorted(values)) | keys)
    value = data.draw(groups)
    changed = with_part(text, NAME, (key,), value)
    assert parse_yaml(changed, NAME).values == {**values, key: value}
