"""Every query that somebody asks for gives what they may see, whichever cameras are asked for."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC
from typing import Any

import pytest
from sqlalchemy import Connection

import sightline.store.read
from sightline.entities import EventKind
from sightline.store.read import (
    camera_now,
    camera_views,
    coverage,
    event_search,
    history,
    kept_clips,
    kept_ways,
    open_alerts,
    queries,
    reviewed_alerts,
)
from sightline.store.read.readonly import Database
from sightline.store.read.seen import Cameras
from sightline.store.read.spans import Span
from support.console_world import World

T0 = 1_790_000_040.0
SPAN, BETWEEN = Span.over(T0, T0 + 600, 60), (T0, T0 + 600)
WEEK = (T0 - 7 * 86_400, T0 + 7 * 86_400)
BOTH = ["gate", "yard", ""]
#: What the program asks for itself, or what is no camera's.
PROGRAMS_OWN = {
    "read_programs",
    "read_kept_clips",
    "read_sources",
    "read_listed_clips",
    "read_open_events",
    "read_identity",
    "read_changes",  # once for everybody who follows; each is told of what they see
    "read_last_change",
    "read_windows_since",
}


def told(number: int) -> list[str]:
    """Of figures that name no camera: one is the gate's, a second one the yard's."""
    return ["gate", "yard"][:number]


def of(cameras: Cameras) -> list[str]:
    return BOTH if cameras is None else sorted(cameras)


CASES: dict[str, Callable[[Connection, Cameras, str], Any]] = {
    "read_cameras": lambda c, cameras, _: queries.read_cameras(c, cameras),
    "read_source_names": lambda c, cameras, _: queries.read_source_names(c, cameras),
    "read_latest_windows": lambda c, cameras, _: queries.read_latest_windows(c, cameras, BOTH),
    "read_first_windows": lambda c, cameras, _: queries.read_first_windows(c, cameras, BOTH),
    "read_counts": lambda c, cameras, _: queries.read_counts(c, cameras, SPAN, BOTH),
    "read_lacking": lambda c, cameras, _: queries.read_lacking(c, cameras, SPAN, BOTH),
    "read_watched": lambda c, cameras, _: queries.read_watched(c, cameras, SPAN, BOTH),
    "read_known": lambda c, cameras, _: coverage.read_known(c, cameras, BOTH, T0 + 300),
    "read_covered": lambda c, cameras, _: {
        name for name, _ in coverage.read_covered(c, cameras, SPAN, BOTH, T0 + 300)
    },
    "read_events": lambda c, cameras, _: queries.read_events(c, cameras, BETWEEN, BOTH, limit=99),
    "read_total_counts": lambda c, cameras, _: queries.read_total_counts(c, cameras, SPAN, BOTH, "source"),
    "read_whole_counts": lambda c, cameras, _: queries.read_whole_counts(
        c, cameras, SPAN, BOTH, "source", queries.read_total_counts(c, cameras, SPAN, BOTH, "source")
    ),
    "read_event_counts": lambda c, cameras, _: queries.read_event_counts(c, cameras, SPAN, BOTH, ["source"]),
    "read_track_paths": lambda c, cameras, _: kept_ways.read_track_paths(c, cameras, BETWEEN, BOTH, 99),
    "read_event_names": lambda c, cameras, _: [
        (name, event_search.read_event_names(c, cameras, BETWEEN, [name])) for name in of(cameras)
    ],
    "read_event_page": lambda c, cameras, _: event_search.read_event_page(
        c, cameras, event_search.EventSearch(BETWEEN, tuple(BOTH))
    ),
    "read_event": lambda c, cameras, _: [
        event_search.read_event(c, cameras, row["id"])
        for row in event_search.read_event_page(c, None, event_search.EventSearch(BETWEEN, tuple(BOTH))).rows
    ],
    "read_now": lambda c, cameras, _: camera_now.read_now(c, cameras, BOTH, T0 + 300, UTC),
    "read_heat_map": lambda c, cameras, _: told(
        sum(cell.count for cell in history.read_heat_map(c, cameras, WEEK, BOTH, UTC)) // 3
    ),
    "read_marks": lambda c, cameras, _: history.read_marks(c, cameras, WEEK, BOTH),
    "read_count_table": lambda c, cameras, _: history.read_count_table(c, cameras, SPAN, BOTH, T0 + 300),
    "read_flow_table": lambda c, cameras, _: history.read_flow_table(
        c, cameras, SPAN, BOTH, T0 + 300, EventKind.CROSSING
    ),
    "read_hours": lambda _, cameras, url: queries.read_hours(url, cameras),
    "read_clips": lambda c, cameras, _: kept_clips.read_clips(c, cameras, BETWEEN, BOTH, 99),
    "read_clip": lambda c, cameras, _: kept_clips.read_clip(c, cameras, "yard", T0 + 60),
    "read_clips_at": lambda c, cameras, _: kept_clips.read_clips_at(
        c, cameras, [(name, T0 + 65) for name in ("gate", "yard")]
    ),
    "read_alerts": lambda c, cameras, _: reviewed_alerts.read_alerts(
        c, cameras, T0, reviewed_alerts.TOLD, 99
    ),
    "read_new_alerts": lambda c, cameras, _: reviewed_alerts.read_new_alerts(c, cameras),
    "read_rule_records": lambda c, cameras, _: [
        f"{record.rule.replace('of ', '')}" for record in reviewed_alerts.read_rule_records(c, cameras, T0)
    ],
    "read_camera_views": lambda c, cameras, _: camera_views.read_camera_views(c, cameras),
    "read_open_alerts": lambda c, cameras, _: open_alerts.read_open_alerts(c, cameras, T0),
    "read_mutes": lambda c, cameras, _: open_alerts.read_mutes(c, cameras),
}


def walked() -> Iterator[tuple[str, inspect.Signature]]:
    """Every function of the package that reads."""
    for found in pkgutil.iter_modules(sightline.store.read.__path__):
        module = importlib.import_module(f"sightline.store.read.{found.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith(("read_", "has_")) and function.__module__ == module.__name__:
                yield name, inspect.signature(function)


def test_every_query_asks_for_the_cameras_that_may_be_seen_and_is_tried_here() -> None:
    found = dict(walked())
    assert set(found) == set(CASES) | PROGRAMS_OWN
    for name in CASES:
        second = list(found[name].parameters.values())[1]
        assert (second.name, second.default) == ("cameras", inspect.Parameter.empty), name


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('seen')}/seen.db"
    world = World(url)
    for camera in ("gate", "yard"):
        world.camera(camera, T0 + 300)
        world.window(camera, T0 + 60, 1.0, person=3, forklift=0, seen={"forklift": 0.0})
        world.event(camera, "crossing", "door", T0 + 61, direction="forward")
        world.alert(f"alert of {camera}", camera, T0 + 62, rule=f"of {camera}")
        world.mute(camera, "intrusion", T0 + 600)
        world.clip(camera, T0 + 60)
        world.drift_hour(camera, T0)
        world.hours(camera, T0 - 86_400, [("m/1", "a", 3), ("m/2", "a", 0)])
        world.path(camera, T0 + 60)
        world.view(camera, T0 + 60)
    world.event("", "database_away", "yard's", T0 + 62, item_class="", track_id=0)
    return url


@pytest.mark.parametrize("name", CASES)
def test_a_query_tells_of_what_may_be_seen_and_of_nothing_else(url: str, name: str) -> None:
    with closing(Database(url)) as database, database.reading() as connection:
        everything, gates, nothing = (
            repr(CASES[name](connection, cameras, url))
            for cameras in (None, frozenset({"gate"}), frozenset())
        )
    assert "yard" in everything
    assert "yard" not in gates
    assert "gate" not in nothing and "yard" not in nothing
