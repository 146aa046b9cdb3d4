"""Reading for the console: the same on SQLite and on a real Postgres."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import CameraState, EventKind
from sightline.errors import StoreUnavailable
from sightline.store import migrations, rollups
from sightline.store.dialects import parse_url
from sightline.store.read.history import read_count_table
from sightline.store.read.queries import (
    distinct,
    is_stale,
    read_cameras,
    read_counts,
    read_event_counts,
    read_events,
    read_first_windows,
    read_lacking,
    read_latest_windows,
    read_watched,
)
from sightline.store.read.readonly import Database, DatabaseState
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S
from sightline.store.tables import EventRow
from support.console_world import World, utc

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC).timestamp()
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def world(database_url: str) -> World:
    made = World(database_url)
    made.camera("gate", T0)
    made.camera("yard", T0 - 60, state="offline", message="rtsp://admin:hunter2@10.0.0.9/live refused")
    for minute in range(10):
        made.window("gate", T0 + 60 * minute, 1.0, person=minute, car=1)
    made.window("yard", T0, 0.5, person=3)
    made.window("yard", T0 + 60, 0.0)
    made.window("yard", T0 + 120, 1.0)
    return made


@pytest.fixture
def connection(world: World, database_url: str) -> Iterator[Connection]:
    database = Database(database_url)
    with database.reading() as opened:
        yield opened
    database.close()


def test_cameras(connection: Connection) -> None:
    gate, yard = read_cameras(connection, None)
    assert (gate.source, gate.state, gate.status_time) == ("gate", CameraState.ONLINE, T0)
    assert gate.stages_ms["infer"]["p99"] == 54.0
    assert gate.last_frame_time == pytest.approx(T0 - 0.2)
    assert not is_stale(gate, T0 + 10)
    assert is_stale(gate, T0 + 10.1)
    assert yard.state is CameraState.OFFLINE


def test_status_of_a_newer_writer(world: World, connection: Connection) -> None:
    world.camera("roof", T0, state="dreaming", unknown_figure=3, latency_p99_ms=None)
    roof = next(status for status in read_cameras(connection, None) if status.source == "roof")
    assert roof.state is CameraState.OFFLINE
    assert "dreaming" in roof.message
    assert roof.latency_p99_ms is None


def test_latest_and_first_windows(connection: Connection) -> None:
    latest = read_latest_windows(connection, None, ["gate", "yard", "nobody"])
    assert {name: window.window_start for name, window in latest.items()} == {
        "gate": T0 + 540,
        "yard": T0 + 120,
    }
    assert read_first_windows(connection, None, ["gate", "yard", "nobody"]) == {"gate": T0, "yard": T0}


def test_counts_in_windows_and_added_up(world: World, connection: Connection) -> None:
    span = Span.over(T0, T0 + 600, 60)
    rows = read_counts(connection, None, span, ["gate", "yard"])
    found = {(row.source, row.item_class, row.bucket): row.count for row in rows}
    assert found["gate", "person", T0 + 540] == 9
    assert found["yard", "person", T0] == 3
    assert ("yard", "person", T0 + 120) not in found
    span = Span.over(T0, T0 + 600, 300)
    rows = read_counts(connection, None, span, ["gate"])
    counts = {(row.item_class, row.bucket): (row.count, row.arrivals) for row in rows}
    assert counts == {
        ("person", T0): (10, 10),
        ("person", T0 + 300): (35, 35),
        ("car", T0): (5, 5),
        ("car", T0 + 300): (5, 5),
    }
    assert distinct(rows) == {("gate", "person"): 45, ("gate", "car"): 10}


def test_an_object_seen_in_two_windows_is_one_and_what_an_earlier_release_wrote_is_not_known(
    world: World, connection: Connection
) -> None:
    world.camera("roof", T0)
    for minute, (count, arrivals) in enumerate([(5, None), (5, 0), (6, 1), (6, None)]):
        world.window("roof", T0 + 60 * minute, 1.0, person=count, arrivals=arrivals)

    def total(first: int, last: int) -> int | None:
        rows = read_counts(connection, None, Span.over(T0 + 60 * first, T0 + 60 * last, 60), ["roof"])
        return distinct(rows)["roof", "person"]

    assert [total(0, 3), total(1, 3), total(2, 3), total(3, 4), total(0, 4)] == [6, 6, 6, 6, None]
    [hour] = read_counts(connection, None, Span.over(T0, T0 + 3600, 3600), ["roof"])
    assert (hour.count, hour.arrivals) == (None, None)


def test_the_span_is_half_open(connection: Connection) -> None:
    span = Span.over(T0 + 60, T0 + 120, 60)
    rows = read_counts(connection, None, span, ["gate"])
    assert [(row.item_class, row.bucket, row.count) for row in rows] == [
        ("car", T0 + 60, 1),
        ("person", T0 + 60, 1),
    ]


def test_watched(connection: Connection) -> None:
    rows = read_watched(connection, None, Span.over(T0, T0 + 300, 300), ["gate", "yard"])
    found = {row.source: row for row in rows}
    assert found["gate"].watched_s == 300
    assert found["yard"].watched_s == 90
    assert found["yard"].dropped_frames == 3
    assert found["yard"].longest_window_s == 60


def test_sums_come_in_order_whatever_plan_the_database_makes(world: World, database_url: str) -> None:
    """Postgres hashes or sorts the groups, and changes that when it has looked at the tables again."""
    for minute in range(20):
        for source in ("gate", "yard"):
            world.window(source, T0 + 7200 + minute * 60, 1.0, car=1)
            world.event(source, "crossing", "door", T0 + 7200 + minute * 60, direction="forward")
    with Database(database_url).reading() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET enable_sort = off"))
        span = Span.over(T0 + 7200, T0 + 8400, 60)
        for read in (read_watched, read_counts):
            keys = [(row.bucket, row.source) for row in read(connection, None, span, ["gate", "yard"])]
            assert len(keys) == 40
            assert keys == sorted(keys)
        events = read_event_counts(connection, None, span, ["gate", "yard"], ["source"])
        assert len(events) == 40
        assert events == sorted(events)


def test_lines_tell_zero_from_not_watched(connection: Connection) -> None:
    rows = read_count_table(connection, None, Span.over(T0, T0 + 180, 60), ["yard"], T0 + 600)
    assert [(row.item_class, row.count, row.coverage) for row in rows] == [
        ("person", 3, 0.5),
        ("", None, 0.0),
        ("", 0, 1.0),
    ]
    assert rows[0].window_start == utc(T0)


def test_a_class_that_the_model_lacks_is_no_zero_in_windows_hours_and_days(
    world: World, database_url: str
) -> None:
    blind = {"forklift": 0.0}
    world.window("dock", T0, 1.0, forklift=0, seen=blind)
    world.window("dock", T0 + 60, 0.5, person=3, forklift=0, seen=blind)
    world.window("dock", T0 + 7200, 1.0, person=1, forklift=2, seen={"forklift": 0.5})
    world.window("dock", T0 + 7260, 1.0)
    with Database(database_url).reading() as connection:
        rows = read_count_table(connection, None, Span.over(T0, T0 + 9000, 60), ["dock"], T0 + 9000)
    assert [(row.item_class, row.count, row.arrivals, row.coverage) for row in rows if row.coverage] == [
        ("", 0, 0, 1.0),  # of all the others
        ("person", 3, 3, 0.5),
        ("forklift", 2, 2, 0.5),
        ("person", 1, 1, 1.0),
        ("", 0, 0, 1.0),
    ]
    lacks = [row for row in rows if row.item_class == "forklift" and not row.coverage]
    assert [(row.window_start, row.count, row.arrivals) for row in lacks] == [
        (utc(T0), None, None),
        (utc(T0 + 60), None, None),
    ]
    hours = [("forklift", T0, 0, 90), ("person", T0, 3, 0), ("forklift", T0 + 7200, 2, 30)]
    day = [("forklift", T0 - 12 * 3600, 2, 120), ("person", T0 - 12 * 3600, 4, 0)]
    for rolled_up in (0, 1):
        with world.engine.begin() as writing:
            assert bool(rollups.roll_up(writing, 1000 * rolled_up)) is bool(rolled_up)
        for step_s, expected in ((3600, [*hours, ("person", T0 + 7200, 1, 0)]), (DAY_S, day)):
            with Database(database_url).reading() as connection:
                span = Span.over(T0, T0 + 9000, step_s)
                sums = read_counts(connection, None, span, ["dock"])
                assert read_lacking(connection, None, span, ["dock", "gate"]) == [("forklift", "dock")]
            assert [(row.item_class, row.bucket, row.count, row.blind_s) for row in sums] == expected
            assert distinct(sums) == {("dock", "forklift"): 2, ("dock", "person"): 4}


def test_nothing_can_be_written(connection: Connection) -> None:
    for statement in ("DELETE FROM cameras", "CREATE TABLE stray (x INTEGER)"):
        with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"):
            connection.execute(sa.text(statement))
        connection.rollback()


@pytest.mark.parametrize(
    ("day", "hours"),
    [((2026, 10, 25), 25), ((2026, 3, 29), 23), ((2026, 6, 1), 24)],
)
def test_days_are_the_zones_days(database_url: str, day: tuple[int, int, int], hours: int) -> None:
    world = World(database_url)
    midnight = datetime(*day, tzinfo=BERLIN).timestamp()
    for hour in range(-1, hours + 1):
        world.window("gate", midnight + 3600 * hour, 1.0, length=3600.0, person=1)
    span = Span.over(midnight - 3600, midnight + 3600 * hours + 1, DAY_S, BERLIN)
    database = Database(database_url)
    with database.reading() as connection:
        rows = read_counts(connection, None, span, ["gate"])
    database.close()
    assert [row.count for row in sorted(rows, key=lambda row: row.bucket)] == [1, hours, 1]
    assert {row.bucket for row in rows} == set(span.edges[:-1])
    assert [end - start for start, end in pairwise(span.edges)][1] == 3600 * hours


def test_round_hours_in_a_half_hour_zone() -> None:
    span = Span.over(T0, T0 + 3600, 3600, ZoneInfo("Asia/Kolkata"))
    assert [datetime.fromtimestamp(edge, ZoneInfo("Asia/Kolkata")).minute for edge in span.edges] == [0, 0, 0]
    assert span.number_at(span.start) == 0
    assert span.number_at(span.start + 3600) == 1


def test_a_bucket_that_has_just_begun_is_in_the_span() -> None:
    assert Span.over(T0, T0 + 60.01, 60).edges == (T0, T0 + 60, T0 + 120)
    assert Span.over(T0, T0 + 60, 60).edges == (T0, T0 + 60)


def test_an_empty_span_is_refused() -> None:
    with pytest.raises(ValueError, match="end after"):
        Span.over(T0, T0, 60)


# What a reader may find


def test_ready_with_and_without_rows(database_url: str) -> None:
    World(database_url)
    database = Database(database_url)
    assert database.condition().state is DatabaseState.READY
    with database.reading() as connection:
        assert read_cameras(connection, None) == []
    database.close()


def test_an_empty_database_becomes_ready(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        Path(database_url.removeprefix("sqlite:///")).touch()
    database = Database(database_url)
    assert database.condition().state is DatabaseState.EMPTY
    World(database_url)
    assert database.condition().state is DatabaseState.READY
    database.close()


def test_newer_and_older_schemas(database_url: str) -> None:
    world = World(database_url)
    database = Database(database_url)
    before_head = migrations.known()[1]  # has every table but the newest
    for revision, state in (
        ("9999", DatabaseState.NEWER),
        ("0001", DatabaseState.OLDER),
        (before_head, DatabaseState.OLDER),
        (migrations.head(), DatabaseState.READY),
    ):
        with world.engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '{revision}'"))
        condition = database.condition()
        assert condition.state is state
        if state is not DatabaseState.READY:
            assert f"revision {revision}; this program reads {migrations.head()}" in condition.detail
    database.close()


def test_tables_of_another_program_are_not_an_empty_database(database_url: str) -> None:
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE invoices (id INTEGER)"))
    database = Database(database_url)
    condition = database.condition()
    assert condition.state is DatabaseState.FOREIGN
    assert "invoices" in condition.detail
    database.close()


def test_a_missing_file_appears(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deep/a%20b #1?.db".replace("?", "%3F")
    path = tmp_path / "later.db"
    assert Database(url).condition().state is DatabaseState.MISSING
    database = Database(f"sqlite:///{path}")
    assert database.condition().state is DatabaseState.MISSING
    assert not path.exists()  # looking makes no file
    World(f"sqlite:///{path}")
    assert database.condition().state is DatabaseState.READY


def test_a_locked_file_recovers(tmp_path: Path) -> None:
    path = tmp_path / "a b#c.db"
    World(f"sqlite:///{path}")
    database = Database(f"sqlite:///{path}", timeout_s=0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA journal_mode=DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    assert database.condition().state is DatabaseState.LOCKED
    holder.execute("COMMIT")
    assert database.condition().state is DatabaseState.READY
    holder.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("these are notes, not a database " * 100)
    condition = Database(f"sqlite:///{path}").condition()
    assert condition.state is DatabaseState.WRONG_FILE
    assert condition.problem == "The file is not a SQLite database."


@pytest.mark.parametrize("url", ["", "not a url", "mysql://root:hunter2@db/x", "sqlite://", "://hunter2@"])
def test_wrong_urls_keep_their_secrets(url: str) -> None:
    database = Database(url)
    condition = database.condition()
    assert condition.state is DatabaseState.WRONG_URL
    assert "hunter2" not in f"{condition}{database.label}"
    with pytest.raises(StoreUnavailable), database.reading():
        pass


def test_an_unreachable_server_keeps_its_secret() -> None:
    pytest.importorskip("psycopg", reason="no Postgres driver here")
    database = Database("postgresql://ops:hunter2@127.0.0.1:9/sightline")
    condition = database.condition()
    assert condition.state is DatabaseState.UNREACHABLE
    assert "hunter2" not in f"{condition}{database.label}"
    database.close()


def test_events_newest_first_by_camera_kind_and_time(world: World, database_url: str) -> None:
    for second, kind in enumerate(["crossing", "enter", "leave", "crossing"]):
        world.event("gate", kind, "door", T0 + second, direction="forward" if kind == "crossing" else None)
    world.event("yard", "crossing", "door", T0 + 1.5, direction="backward", value=2.5)
    with Database(database_url).reading() as connection:
        everything = read_events(connection, None, (T0, T0 + 60), ["gate", "yard"], limit=100)
        assert [row["event_time"].timestamp() - T0 for row in everything] == [3, 2, 1.5, 1, 0]
        assert (everything[2]["source"], everything[2]["value"]) == ("yard", 2.5)
        assert set(everything[0]) == {column.name for column in EventRow.__table__.columns}
        kinds = [EventKind.CROSSING]
        two = read_events(connection, None, (T0, T0 + 60), ["gate", "yard"], kinds=kinds, limit=2)
        assert [row["event_time"].timestamp() - T0 for row in two] == [3, 1.5]
        assert len(read_events(connection, None, (T0 + 1, T0 + 3), ["gate"], limit=100)) == 2
        assert read_events(connection, None, (T0, T0 + 60), [], limit=100) == []


def test_crossings_are_summed_by_line_and_direction(world: World, database_url: str) -> None:
    for second, direction in ((1, "forward"), (59, "forward"), (61, "forward"), (62, "backward")):
        world.event("gate", "crossing", "door", T0 + second, direction=direction)
    world.event("gate", "enter", "door", T0 + 5)
    with Database(database_url).reading() as connection:
        only = {"kind": ["crossing"]}
        span = Span.over(T0, T0 + 600, 60)
        found = read_event_counts(connection, None, span, ["gate", "yard"], ["place", "direction"], only)
    assert {place for _, (place, _), _ in found} == {"door"}
    assert sorted((bucket - T0, direction, count) for bucket, (_, direction), count in found) == [
        (0, "forward", 2),
        (60, "backward", 1),
        (60, "forward", 1),
    ]
