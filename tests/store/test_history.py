"""What the console's pages ask besides sums, each compared with a plain reading of the same rows."""

from __future__ import annotations

import csv
import io
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from pyarrow import parquet
from sqlalchemy import Connection

from sightline.entities import EventKind
from sightline.store import rollups
from sightline.store.read import history, queries
from sightline.store.read.camera_now import read_now
from sightline.store.read.downloads import as_csv, as_parquet
from sightline.store.read.event_search import EventSearch, read_event_names, read_event_page
from sightline.store.read.history import CountLine, Mark
from sightline.store.read.kept_clips import read_clips_at
from sightline.store.read.kept_ways import read_track_paths
from sightline.store.read.readonly import Database
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S
from sightline.store.tables import ExpiryRow
from support.console_world import World

T0 = datetime(2026, 3, 25, tzinfo=UTC).timestamp()  # a Wednesday; summer time begins on the Sunday in Berlin
BERLIN = ZoneInfo("Europe/Berlin")
NAMES = ["gate", "yard"]


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    with closing(Database(url, timeout_s=30.0)) as database, database.reading() as connection:
        yield connection


def test_the_heat_map_adds_up_the_hours_of_the_week_in_the_viewers_zone(database_url: str) -> None:
    world, rng = World(database_url), random.Random(3)
    counts = {name: [rng.randint(0, 3) for _ in range(8 * 24)] for name in NAMES}
    for name, numbers in counts.items():
        world.hours(name, T0, [("m", "c", number) for number in numbers])
    for zone in (BERLIN, ZoneInfo("Asia/Kolkata")):
        expected: Counter[tuple[int, int]] = Counter()
        hours: Counter[tuple[int, int]] = Counter()
        for numbers in counts.values():
            for hour, number in enumerate(numbers[5:], start=5):
                local = datetime.fromtimestamp(T0 + hour * 3600, zone)
                expected[local.weekday(), local.hour] += number
                hours[local.weekday(), local.hour] += 1
        between = (T0 + 4.5 * 3600, T0 + 9 * DAY_S)
        with reading(database_url) as connection:
            cells = history.read_heat_map(connection, None, between, NAMES, zone)
            cars = history.read_heat_map(connection, None, between, NAMES, zone, ["car"])
        assert len(cells) == 168
        assert {(c.weekday, c.hour): c.count for c in cells if c.count} == {
            k: n for k, n in expected.items() if n
        }
        assert {(c.weekday, c.hour): c.watched_h for c in cells if c.watched_h} == hours
        assert all(c.per_hour == c.count / c.watched_h for c in cells if c.watched_h)
        assert not any(c.count for c in cars)


def test_marks_say_when_another_model_or_configuration_began_to_count(database_url: str) -> None:
    world = World(database_url)
    story = [("m/1", "a"), ("m/1", "a"), ("", ""), ("m/1", "a"), ("m/2", "a"), ("m/2", "b"), ("m/1", "c")]
    world.hours("gate", T0, [(model, config, 1) for model, config in story])
    world.hours("yard", T0, [("m/9", "a", 1)] * 3)
    world.window("gate", T0 + 7 * 3600, 1.0, person=1)  # of the model "m" and configuration "": see below
    with reading(database_url) as connection:
        marks = history.read_marks(connection, None, (T0, T0 + DAY_S), NAMES)
        late = history.read_marks(connection, None, (T0 + 5 * 3600, T0 + 6 * 3600), NAMES)
        [window] = queries.read_latest_windows(connection, None, NAMES).values()
    newest = [Mark(T0 + 7 * 3600, "gate", "model", "m/1", window.model_version)]
    newest.insert(0, Mark(T0 + 7 * 3600, "gate", "configuration", "c", window.config_hash))
    assert marks == [
        Mark(T0 + 4 * 3600, "gate", "model", "m/1", "m/2"),
        Mark(T0 + 5 * 3600, "gate", "configuration", "a", "b"),
        Mark(T0 + 6 * 3600, "gate", "configuration", "b", "c"),
        Mark(T0 + 6 * 3600, "gate", "model", "m/2", "m/1"),
        *newest,
    ]
    assert late == [Mark(T0 + 5 * 3600, "gate", "configuration", "a", "b")]


def test_search_finds_what_a_plain_reading_finds_page_by_page(database_url: str) -> None:
    world, rng = World(database_url), random.Random(5)
    kinds, places, classes = ("crossing", "enter", "leave"), ("door", "dock", "Dockyard"), ("car", "person")
    for number in range(160):
        kind = rng.choices(kinds, [8, 8, 1])[0]
        direction = rng.choice(["forward", "backward"]) if kind == "crossing" else None
        time = T0 + rng.randint(0, 5 * DAY_S // 60) * 60  # several at one moment, now and then
        names = {"item_class": rng.choice(classes), "track_id": number, "direction": direction}
        world.event(rng.choice([*NAMES, ""]), kind, rng.choice(places), time, **names)
    searches = [
        EventSearch((T0, T0 + 6 * DAY_S), (*NAMES, "")),
        EventSearch((T0 + 5000, T0 + 3.3 * DAY_S), ("gate",)),
        EventSearch((T0, T0 + 6 * DAY_S), tuple(NAMES), kinds=("leave",)),
        EventSearch(
            (T0, T0 + 6 * DAY_S), tuple(NAMES), places=("door",), classes=("car",), directions=("forward",)
        ),
        EventSearch((T0, T0 + 6 * DAY_S), (*NAMES, ""), text="DOCK"),
        EventSearch((T0, T0 + 6 * DAY_S), (*NAMES, ""), text=" yar"),
        EventSearch((T0, T0 + 6 * DAY_S), tuple(NAMES), text="no such thing"),
    ]
    with reading(database_url) as connection:
        everything = queries.read_events(connection, None, (T0, T0 + 6 * DAY_S), [*NAMES, ""], limit=None)
        for search in searches:
            found, after, pages = [], None, 0
            while True:
                page = read_event_page(connection, None, search, limit=7, after=after)
                found += [row["id"] for row in page.rows]
                pages, after = pages + 1, page.after
                if after is None:
                    break
            assert found == [row["id"] for row in everything if is_found(row, search)]
            assert pages == max(1, -(-len(found) // 7))
        names = read_event_names(connection, None, (T0, T0 + 6 * DAY_S), NAMES)
    assert (names.kinds, names.classes) == (kinds, classes)


def is_found(row: dict[str, object], search: EventSearch) -> bool:
    time = row["event_time"].timestamp()  # type: ignore[attr-defined]
    names = ("source", "kind", "place", "item_class")
    text = search.text.strip().lower()
    return (
        search.between[0] <= time < search.between[1]
        and row["source"] in search.sources
        and (not search.kinds or row["kind"] in search.kinds)
        and (not search.places or row["place"] in search.places)
        and (not search.classes or row["item_class"] in search.classes)
        and (not search.directions or row["direction"] in search.directions)
        and any(text in str(row[name]).lower() for name in names)
    )


def test_the_newest_ways_of_a_range_are_those_that_touch_it(database_url: str) -> None:
    world = World(database_url)
    for number in range(6):
        world.path(
            NAMES[number % 2], T0 + 10 * number, track_id=number, item_class=("car", "person")[number > 3]
        )
    with reading(database_url) as connection:
        paths = read_track_paths(connection, None, (T0 + 11, T0 + 40), NAMES, 9)
        few = read_track_paths(connection, None, (T0, T0 + 60), NAMES, 2)
        cars = read_track_paths(connection, frozenset({"gate"}), (T0, T0 + 60), NAMES, 9, classes=["car"])
    assert [path.track_id for path in paths] == [3, 2, 1, 0]
    assert [path.track_id for path in few] == [5, 4]
    assert [path.track_id for path in cars] == [2, 0]
    assert paths[0].points[1] == (12_000, 9000, 6000, 600, 1500)


@pytest.fixture
def counted(database_url: str) -> str:
    """Windows of a minute for two hours, with holes; the yard begins half an hour later."""
    world, rng = World(database_url), random.Random(1)
    for minute in range(120):
        for name in NAMES if minute >= 30 else NAMES[:1]:
            if rng.random() < 0.9:
                numbers = {"person": rng.randint(0, 3), "car": rng.randint(0, 2)}
                world.window(name, T0 + 60 * minute, rng.choice([0.0, 0.5, 1.0]), **numbers)
    return database_url


def test_every_figure_is_the_same_in_sums_table_csv_and_parquet(counted: str) -> None:
    span, now = Span.over(T0, T0 + 7200, 1800, UTC), T0 + 6600
    with reading(counted) as connection:
        lines = history.read_count_table(connection, None, span, NAMES, now)
        persons = history.read_count_table(connection, None, span, NAMES, now, ["person"])
        counts = queries.read_counts(connection, None, span, NAMES)
        totals = queries.read_total_counts(connection, None, span, NAMES, "item_class")
    columns = [field.name for field in fields(CountLine)]
    rows = [asdict(line) for line in lines]
    told = list(csv.DictReader(io.StringIO(as_csv(rows, columns).decode())))
    stored = parquet.read_table(io.BytesIO(as_parquet(rows, columns))).to_pylist()
    assert stored == rows
    assert [
        {name: "" if row[name] is None else str(row[name]) for name in ("count", "coverage")} for row in rows
    ] == [{name: row[name] for name in ("count", "coverage")} for row in told]
    assert [datetime.fromisoformat(row["window_end"]) for row in told] == [row["window_end"] for row in rows]
    key = {(line.source, line.item_class, line.window_start.timestamp()): line.count for line in lines}
    assert {k: n for k, n in key.items() if n} == {
        (c.source, c.item_class, c.bucket): c.count for c in counts
    }
    sums: Counter[tuple[str, float]] = Counter()
    for (_, name, bucket), count in key.items():
        sums[name, bucket] += count or 0
    assert {k: n for k, n in sums.items() if n} == {(t.name, t.bucket): t.count for t in totals}
    assert [line for line in lines if line.item_class == "person"] == [
        line for line in persons if line.item_class == "person"
    ]
    yard = [line for line in lines if line.source == "yard"]
    assert min(line.window_start.timestamp() for line in yard) >= T0 + 1800, "before it began it has no line"
    assert max(line.window_end.timestamp() for line in lines) == now
    assert all(0 <= line.coverage <= 1 for line in lines)


@pytest.mark.parametrize("summed", [False, True], ids=["rows", "hours"])
def test_the_cameras_now_are_what_the_buckets_of_hour_and_day_tell(counted: str, summed: bool) -> None:
    now, world = T0 + 7000, World(counted)
    if summed:
        with world.engine.begin() as writing:
            rollups.roll_up(writing, 1000)
    midnights = (-43_200, 0, 3600, 5400, 6300)  # before the last hour, and in it
    with reading(counted) as connection:
        for midnight, step_s in itertools.product(midnights, (60, 900, 7200)):
            zone = timezone(timedelta(seconds=-(T0 + midnight) % DAY_S))
            is_of_day_and_hour(connection, now, zone, step_s)


def is_of_day_and_hour(connection: Connection, now: float, zone: tzinfo, step_s: int) -> None:
    lately = read_now(connection, None, NAMES, now, zone, step_s)
    today, hour = Span.over(now, now + 1, DAY_S, zone), Span.over(now - 3600, now, step_s)
    assert (lately.day, lately.hour) == (today, hour)
    assert lately.hour_counts == queries.read_counts(connection, None, hour, NAMES, lacking=False)
    assert lately.hour_watched == queries.read_watched(connection, None, hour, NAMES)
    assert {row.source: row for row in lately.day_watched} == {
        row.source: row for row in queries.read_watched(connection, None, today, NAMES)
    }
    by = {
        name: {row.name: row.count for row in queries.read_total_counts(connection, None, today, NAMES, name)}
        for name in ("source", "item_class")
    }
    assert {row.source: row.today for row in lately.cameras} == by["source"]
    assert lately.by_class == by["item_class"]


def test_the_cameras_now_have_their_last_event_and_what_is_new(database_url: str) -> None:
    world = World(database_url)
    world.event("gate", "crossing", "door", T0 + 500)
    world.alert("a", "yard", T0 + 600)
    with reading(database_url) as connection:
        gate, yard = read_now(connection, None, NAMES, T0 + 700, BERLIN).cameras
    assert (gate.last_event_time, yard.last_event_time) == (T0 + 500, None)
    assert (gate.new_alerts, yard.new_alerts) == (0, 1)


def test_flows_are_told_with_what_was_watched(database_url: str) -> None:
    world = World(database_url)
    for minute, share in enumerate((1.0, 0.5, 0.0)):
        world.window("gate", T0 + 60 * minute, share)
    for second, direction in ((5, "forward"), (6, "forward"), (65, "backward"), (66, "forward")):
        world.event("gate", "crossing", "door", T0 + second, direction=direction)
    world.event("gate", "enter", "yard", T0 + 7, item_class="car")
    span = Span.over(T0, T0 + 180, 60)
    with reading(database_url) as connection:
        lines = history.read_flow_table(connection, None, span, NAMES, T0 + 100, EventKind.CROSSING)
        cars = history.read_flow_table(connection, None, span, NAMES, T0 + 100, EventKind.ENTER, ["car"])
    shown = [
        (line.window_start.timestamp() - T0, line.direction, line.count, line.coverage) for line in lines
    ]
    assert shown == [(0, "forward", 2, 1.0), (60, "backward", 1, 0.75), (60, "forward", 1, 0.75)]
    assert lines[1].window_end.timestamp() == T0 + 100, "not after now"
    assert [(line.place, line.direction, line.count) for line in cars] == [("yard", "", 1)]


def test_from_when_on_there_are_windows_is_told(database_url: str) -> None:
    world = World(database_url)
    with reading(database_url) as connection:
        assert history.read_windows_since(connection) == 0.0
    with world.engine.begin() as writing:
        expiry = {"kind": rollups.WINDOWS, "until": datetime.fromtimestamp(T0, UTC)}
        writing.execute(sa.insert(ExpiryRow.__table__), expiry)  # type: ignore[attr-defined]
    with reading(database_url) as connection:
        assert history.read_windows_since(connection) == T0


def test_the_clip_of_a_moment_is_the_last_that_had_begun(database_url: str) -> None:
    world = World(database_url)
    for start in (0, 60, 120):
        world.clip("gate", T0 + start)
    world.clip("yard", T0 + 90)
    moments = [("gate", T0 + 65), ("gate", T0 + 69), ("gate", T0 + 119), ("gate", T0 - 1), ("yard", T0 + 90)]
    with reading(database_url) as connection:
        clips = read_clips_at(connection, None, moments)
        gates = read_clips_at(connection, frozenset({"gate"}), moments)
        nothing = read_clips_at(connection, None, [])
    assert sorted((clip.source, clip.start_time - T0) for clip in clips) == [("gate", 60), ("yard", 90)]
    assert [(clip.source, clip.start_time - T0) for clip in gates] == [("gate", 60)]
    assert nothing == []


def test_totals_of_some_classes_are_those_of_their_lines(counted: str) -> None:
    span = Span.over(T0, T0 + 7200, 1800, UTC)
    with reading(counted) as connection:
        for part in (span, span.whole()):
            sums: Counter[tuple[str, float]] = Counter()
            for row in queries.read_counts(connection, None, part, NAMES):
                if row.item_class == "person":
                    sums[row.source, row.bucket] += row.count or 0
            totals = queries.read_total_counts(connection, None, part, NAMES, "source", ["person"])
            assert {(row.name, row.bucket): row.count for row in totals} == sums


def test_a_spreadsheet_takes_no_name_for_a_formula() -> None:
    rows = [{"source": "=cmd()", "count": -3}]
    assert as_csv(rows, ["source", "count"]).decode().splitlines()[1] == "'=cmd(),-3"
