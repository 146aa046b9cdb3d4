"""Sums of any span, zone and resolution, from days, hours and rows: each equals a plain reading of rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.config.groups import RetentionOptions
from sightline.entities import Checkpoint, CountWindow, Event, EventEnd, EventKind, Result, SourceWindow
from sightline.store import rollups
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.read import queries
from sightline.store.read.readonly import Database
from sightline.store.read.spans import WEEK_S, Span
from sightline.store.retention import Retention
from sightline.store.rollups import DAY_S
from support.stored import read_rows, write

T0 = datetime(2026, 3, 27, tzinfo=UTC).timestamp()  # summer time begins on the 29th in Berlin
STEP_S, WINDOWS = 2700, 160  # five days of windows, a third of which reach into the next hour
PLACES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kolkata")
ZONES = [ZoneInfo(name) for name in PLACES]
NAMES, CLASSES = ("a", "b"), ("car", "person")
TABLES = ("count_windows", "source_windows", "events", "count_rollups", "source_rollups", "stale_rollups")


@st.composite
def results(draw: st.DrawFn) -> list[Checkpoint]:
    """Windows of two cameras, some of which know nothing of arrivals, and events of which some have ended."""
    rows_of: dict[str, list[Result]] = {name: [] for name in NAMES}
    for source, rows in rows_of.items():
        for number in sorted(draw(st.sets(st.integers(0, WINDOWS - 1), max_size=60))):
            times = T0 + number * STEP_S, T0 + (number + 1) * STEP_S
            coverage, dropped = draw(st.sampled_from([0.0, 0.5, 1.0])), draw(st.integers(0, 2))
            rows.append(SourceWindow(source, *times, coverage, 5.0, dropped, "pts", "m", ""))
            for name in CLASSES:
                count = draw(st.integers(0, 3))
                arrivals = draw(st.sampled_from([*range(count + 1)] * 4 + [None])) if count else 0
                rows.append(CountWindow(source, name, count, *times, arrivals))
    times = draw(st.lists(st.integers(0, 5 * DAY_S - 1), max_size=40, unique=True))
    for second in times:
        kind = draw(st.sampled_from([EventKind.CROSSING, EventKind.ENTER]))
        direction = draw(st.sampled_from(["forward", "backward"])) if kind is EventKind.CROSSING else None
        names = draw(st.sampled_from(NAMES)), kind, draw(st.sampled_from(["door", "gate"])), second + 1
        event = Event(*names, draw(st.sampled_from(CLASSES)), T0 + second, T0 + second, direction)
        rows_of[event.source].append(EventEnd(event, T0 + second + 5) if second % 2 else event)
    return [Checkpoint(source, tuple(rows), {}) for source, rows in rows_of.items()]


def by_definition(url: str, span: Span) -> dict[tuple[str, str, float], tuple[int | None, int | None]]:
    """By camera, class and bucket: count and arrivals, as docs/database.md defines them."""
    by_camera: defaultdict[tuple[str, int], list[tuple[float, str, int, int | None]]] = defaultdict(list)
    for row in rows_of(url, "count_windows", "window_start", span):
        if row["count"]:
            number = span.number_at(row["time"])
            values = row["time"], row["item_class"], row["count"], row["arrivals"]
            by_camera[row["source"], number].append(values)
    totals = {}
    for (source, number), rows in by_camera.items():
        first = min(rows)[0]
        for name in {row[1] for row in rows}:
            mine = [row for row in rows if row[1] == name]
            new = [count if time == first else arrivals for time, _, count, arrivals in mine]
            arrived = [arrivals for *_, arrivals in mine]
            totals[source, name, span.edges[number]] = (
                None if None in new else sum(filter(None, new)),
                None if None in arrived else sum(filter(None, arrived)),
            )
    return {key: numbers for key, numbers in totals.items() if numbers[0] != 0}


def rows_of(url: str, table: str, time: str, span: Span) -> list[dict[str, Any]]:
    """Those in the span, with their ``time`` in epoch seconds."""
    found = []
    for row in read_rows(url, table):
        moment = datetime.fromisoformat(row[time]) if isinstance(row[time], str) else row[time]
        row["time"] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if span.start <= row["time"] < span.end:
            found.append(row)
    return found


def check_all(url: str, span: Span) -> None:
    with closing(Database(url, timeout_s=30.0)) as database, database.reading() as connection:
        counts = queries.read_counts(connection, None, span, NAMES)
        one = queries.read_counts(connection, None, span, ["a"])
        totals = {
            by: queries.read_total_counts(connection, None, span, NAMES, by)
            for by in ("source", "item_class")
        }
        wholes = {
            by: (
                queries.read_whole_counts(connection, None, span, NAMES, by, totals[by]),
                queries.read_total_counts(connection, None, span.whole(), NAMES, by),
            )
            for by in totals
        }
        watched = queries.read_watched(connection, None, span, NAMES)
        by = ("source", "kind", "place", "direction", "item_class")
        events = queries.read_event_counts(connection, None, span, NAMES, by)
        lines = queries.read_event_counts(
            connection, None, span, ["b"], ["place"], {"kind": ["crossing"], "item_class": ["car"]}
        )
    expected = by_definition(url, span)
    found = {(row.source, row.item_class, row.bucket): (row.count, row.arrivals) for row in counts}
    assert found == expected
    assert [row for row in counts if row.source == "a"] == one
    for column, by_name in totals.items():
        at = ("source", "item_class").index(column)
        sums: defaultdict[tuple[str, float], list[int | None]] = defaultdict(list)
        for key, (count, _) in expected.items():
            sums[key[at], key[2]].append(count)
        assert {(row.name, row.bucket): row.count for row in by_name} == {
            key: None if None in numbers else sum(filter(None, numbers)) for key, numbers in sums.items()
        }
    for of_buckets, at_once in wholes.values():
        assert of_buckets == {row.name: row.count for row in at_once}
    seconds: Counter[tuple[str, float]] = Counter()
    dropped: Counter[tuple[str, float]] = Counter()
    for row in rows_of(url, "source_windows", "window_start", span):
        key = row["source"], span.edges[span.number_at(row["time"])]
        seconds[key] += row["coverage"] * STEP_S
        dropped[key] += row["dropped_frames"]
    assert {(row.source, row.bucket): (row.watched_s, row.dropped_frames) for row in watched} == {
        key: (seconds[key], dropped[key]) for key in seconds if seconds[key] or dropped[key]
    }
    told = Counter(
        (span.edges[span.number_at(row["time"])], *(row[name] or "" for name in by))
        for row in rows_of(url, "events", "event_time", span)
    )
    assert {(bucket, *names): count for bucket, names, count in events} == told
    crossed: Counter[tuple[float, str]] = Counter()
    for (bucket, source, kind, place, _, name), count in told.items():
        if (source, kind, name) == ("b", "crossing", "car"):
            crossed[bucket, place] += count
    assert {(bucket, place): count for bucket, (place,), count in lines} == crossed


def test_a_class_of_which_the_whole_range_has_none_is_in_no_total(database_url: str) -> None:
    rows: list[Result] = []
    for number, (name, arrivals) in enumerate((("car", 1), ("person", 0))):  # nobody arrived who is seen then
        times = T0 + number * 3600, T0 + (number + 1) * 3600
        rows.append(SourceWindow("a", *times, 1.0, 5.0, 0, "pts", "m", ""))
        rows.append(CountWindow("a", name, 1, *times, arrivals))
    write(Store(database_url), [Checkpoint("a", tuple(rows), {})])
    span = Span.over(T0, T0 + 2 * 3600, 3600)
    with closing(Database(database_url)) as database, database.reading() as connection:
        buckets = queries.read_total_counts(connection, None, span, NAMES, "item_class")
        assert [(row.name, row.count) for row in buckets] == [("car", 1), ("person", 1)]
        assert queries.read_whole_counts(connection, None, span, NAMES, "item_class", buckets) == {"car": 1}


def test_sums_equal_a_plain_reading_of_the_rows(database_url: str) -> None:
    store = Store(database_url)
    store.open()
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        checkpoints=results(),
        late=results(),
        limit=st.sampled_from([0, 3, 1000]),
        zone=st.sampled_from(ZONES),
        step_s=st.sampled_from([STEP_S * 2, DAY_S // 3 - 900, 3600, 6 * 3600, DAY_S, WEEK_S]),
        ends=st.tuples(st.integers(0, 110), st.integers(1, 60)),
    )
    def check(
        checkpoints: list[Checkpoint],
        late: list[Checkpoint],
        limit: int,
        zone: ZoneInfo,
        step_s: int,
        ends: tuple[int, int],
    ) -> None:
        with engine.begin() as connection:
            for table in (*TABLES, "event_rollups"):
                connection.execute(sa.text(f"DELETE FROM {table}"))
        for _ in range(2):  # told twice, as after a crash
            write(store, checkpoints)
        for _ in range(3):
            with engine.begin() as connection:
                rollups.roll_up(connection, limit)
        start = T0 + ends[0] * 3600 + 600
        span = Span.over(start, start + ends[1] * 3600, step_s, zone)
        check_all(database_url, span)
        write(store, late[:1])  # windows of hours that may have been summed
        check_all(database_url, span)

    check()
    store.close()
    engine.dispose()


def test_hours_whose_windows_are_gone_stay_whatever_comes_late(database_url: str) -> None:
    store = Store(database_url)
    starts = [T0 + number * 1200 for number in range(6 * 72)]  # six days
    rows: list[Result] = []
    for start in starts:
        rows.append(SourceWindow("a", start, start + 1200, 1.0, 5.0, 0, "pts", "m", ""))
        rows.append(CountWindow("a", "car", 2, start, start + 1200, 1))
    write(store, [Checkpoint("a", tuple(rows), {})])
    for _ in range(200):
        store.roll_up()
    retention = Retention(RetentionOptions(windows_days=1), clock=lambda: T0 + 6 * DAY_S)
    for _ in range(200):
        store.delete_expired(retention)
    span = Span.over(T0, T0 + 6 * DAY_S, DAY_S, ZoneInfo("Europe/Berlin"))

    def read() -> list[queries.CountSum]:
        with closing(Database(database_url, timeout_s=30.0)) as database, database.reading() as connection:
            return queries.read_counts(connection, None, span, ["a"])

    before = read()
    assert sum(row.arrivals or 0 for row in before) == len(starts)
    write(store, [Checkpoint("a", (CountWindow("a", "car", 9, T0, T0 + 1200, 9),), {})])
    assert read() == before, "also before the next sums take the note away"
    store.roll_up()
    assert read() == before
    store.close()


def test_a_long_span_of_a_zone_that_is_not_whole_hours_ahead_begins_at_whole_hours_of_utc() -> None:
    zone = ZoneInfo("Asia/Kolkata")
    span = Span.over(T0, T0 + 5 * DAY_S, DAY_S, zone)
    assert span.period_s == 3600
    assert {datetime.fromtimestamp(edge, zone).strftime("%H:%M") for edge in span.edges} == {"00:30"}
    short = Span.over(T0, T0 + 3600, DAY_S, zone)
    assert {datetime.fromtimestamp(edge, zone).strftime("%H:%M") for edge in short.edges} == {"00:00"}


@pytest.mark.parametrize("zone", ZONES)
def test_the_week_before_has_the_same_buckets_seven_days_of_the_calendar_earlier(zone: ZoneInfo) -> None:
    for step_s in (3600, DAY_S, WEEK_S):
        span = Span.over(T0 + 5 * DAY_S, T0 + 6 * DAY_S, step_s, zone)
        before = span.week_before()
        assert len(before.edges) == len(span.edges)
        for edge, earlier in zip(span.edges, before.edges, strict=True):
            gap = datetime.fromtimestamp(edge, zone).replace(tzinfo=None) - datetime.fromtimestamp(
                earlier, zone
            ).replace(tzinfo=None)
            assert gap == timedelta(days=7)


def test_all_of_time_can_be_one_bucket(database_url: str) -> None:
    """As the self-test asks: without a look at each of its hours."""
    store, span = Store(database_url), Span.over(0.0, 4e9, 4_000_000_000)
    assert (span.edges, span.period_s) == ((0.0, 4e9), 0)
    rows = [CountWindow("a", "car", 2, T0 + number * 60, T0 + number * 60 + 60, 1) for number in range(3)]
    write(store, [Checkpoint("a", tuple(rows), {})])
    store.close()
    with closing(Database(database_url)) as database, database.reading() as connection:
        [row] = queries.read_counts(connection, None, span, ["a"])
    assert (row.count, row.bucket) == (4, 0.0)


def test_weeks_begin_on_monday() -> None:
    span = Span.over(T0, T0 + 15 * DAY_S, WEEK_S, ZoneInfo("Europe/Berlin"))
    local = [datetime.fromtimestamp(edge, span.zone) for edge in span.edges]
    assert {(moment.weekday(), moment.hour) for moment in local} == {(0, 0)}
