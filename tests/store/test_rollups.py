"""Counts that add up: any range, cut anywhere, from windows or from roll-ups, on SQLite and Postgres."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sightline.analysis.counts.windows import WindowCounter
from sightline.analysis.options import AnalysisOptions
from sightline.entities import Checkpoint, CountWindow, SourceWindow, Tracks
from sightline.store import migrations, rollups
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.read.queries import CountSum, Watched, distinct, read_counts, read_watched
from sightline.store.read.readonly import Database
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S
from sightline.store.tables import CountRollupRow, CountWindowRow, StaleRollupRow, table_of
from support.observations import Watched as WatchedTime
from support.stored import write

T0 = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
STEP_S = 1200
WINDOWS = 80  # a day and eight hours
ZONES = [ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Asia/Kolkata")]
Visits = Sequence[tuple[str, str, int, int]]  # camera, class, first and last window of a track


@st.composite
def visits(draw: st.DrawFn) -> list[tuple[str, str, int, int]]:
    """Tracks that are seen in every window of a stretch."""
    found = []
    for _ in range(draw(st.integers(1, 25))):
        first = draw(st.integers(0, WINDOWS - 1))
        last = min(WINDOWS - 1, first + draw(st.sampled_from([0, 0, 1, 2, 5, 60])))
        found.append((draw(st.sampled_from("ab")), draw(st.sampled_from(["car", "person"])), first, last))
    return found


def checkpoints(tracks: Visits, watched: set[tuple[str, int]], windows: Sequence[int]) -> list[Checkpoint]:
    """What cameras that saw these tracks write; a window that was not watched has no row."""
    found = []
    for source, number in sorted(watched):
        start = T0 + number * STEP_S
        if number not in windows:
            continue
        rows: list[CountWindow | SourceWindow] = [
            SourceWindow(source, start, start + STEP_S, 1.0, 5.0, 1, "pts", "m", "")
        ]
        for name in ("car", "person"):
            mine = [track for track in tracks if track[:2] == (source, name)]
            seen = [track for track in mine if track[2] <= number <= track[3]]
            new = [
                track for track in seen if not any((source, n) in watched for n in range(track[2], number))
            ]
            if seen:
                rows.append(CountWindow(source, name, len(seen), start, start + STEP_S, len(new)))
        found.append(Checkpoint(source, tuple(rows), {}))
    return found


def truth(tracks: Visits, watched: set[tuple[str, int]], first: int, last: int) -> dict[tuple[str, str], int]:
    """Distinct tracks that were seen in [first, last), by camera and class."""
    totals: dict[tuple[str, str], int] = {}
    for source, name, begin, end in tracks:
        if any((source, n) in watched for n in range(max(begin, first), min(end + 1, last))):
            totals[source, name] = totals.get((source, name), 0) + 1
    return totals


def read(url: str, first: int, last: int, step_s: int) -> tuple[list[CountSum], list[Watched]]:
    start, end = T0 + first * STEP_S, T0 + last * STEP_S
    with closing(Database(url, timeout_s=30.0)) as database, database.reading() as connection:
        span = Span.over(start, end, step_s)
        both = (None, span, ["a", "b"])
        return read_counts(connection, *both), read_watched(connection, *both)


def roll_up(url: str, limit: int = 1000) -> None:
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        rollups.roll_up(connection, limit)


def clear(url: str) -> None:
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for table in ("count_windows", "source_windows", "count_rollups", "source_rollups", "stale_rollups"):
            connection.execute(sa.text(f"DELETE FROM {table}"))


def test_any_range_is_its_first_part_and_the_arrivals_of_the_rest(database_url: str) -> None:
    url, store = database_url, Store(database_url)
    store.open()

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        tracks=visits(),
        unwatched=st.sets(st.tuples(st.sampled_from("ab"), st.integers(0, WINDOWS - 1)), max_size=30),
        cuts=st.tuples(*[st.integers(0, WINDOWS)] * 3),
        late=st.sets(st.integers(0, WINDOWS - 1), max_size=3),
        limit=st.integers(0, 60),
    )
    def check(
        tracks: Visits,
        unwatched: set[tuple[str, int]],
        cuts: tuple[int, int, int],
        late: set[int],
        limit: int,
    ) -> None:
        clear(url)
        watched = {(source, number) for source in "ab" for number in range(WINDOWS)} - unwatched
        early = [number for number in range(WINDOWS) if number not in late]
        write(store, checkpoints(tracks, watched, early))
        roll_up(url, limit)  # some hours and days, or none
        write(store, checkpoints(tracks, watched, sorted(late)))  # windows of hours that were summed
        first, cut, last = sorted(cuts)
        days = 72 * math.ceil(WINDOWS / 72)
        before = {step_s: read(url, 0, days, step_s) for step_s in (STEP_S, 3600, DAY_S)}
        roll_up(url)
        whole = truth(tracks, watched, 0, WINDOWS)
        for zone in ZONES:  # days that begin within an hour, or a day, of UTC
            midnight = Span.over(T0 + 20 * 3600, T0 + 20 * 3600 + 1, DAY_S, zone)
            limits = [math.ceil((edge - T0) / STEP_S) for edge in midnight.edges]
            with closing(Database(url, timeout_s=30.0)) as database, database.reading() as connection:
                local = read_counts(connection, None, midnight, ["a", "b"])
            assert distinct(local) == truth(tracks, watched, limits[0], limits[1])
        for step_s, (counts, seconds) in before.items():
            assert read(url, 0, days, step_s) == (counts, seconds), "roll-ups equal windows"
            assert distinct(counts) == whole
            for row in counts:
                number = round((row.bucket - T0) / STEP_S)
                inside = truth(tracks, watched, number, number + step_s // STEP_S)
                assert row.count == inside[row.source, row.item_class]
        if first < cut < last:
            all_of_it, _ = read(url, first, last, STEP_S)
            part, _ = read(url, first, cut, STEP_S)
            rest, _ = read(url, cut, last, STEP_S)
            arrived: dict[tuple[str, str], int] = dict(distinct(part))  # type: ignore[arg-type]
            for row in rest:
                key = row.source, row.item_class
                is_first = not any(other.source == row.source for other in part) and row.bucket == min(
                    other.bucket for other in rest if other.source == row.source
                )
                new = row.count if is_first else row.arrivals
                arrived[key] = arrived.get(key, 0) + (new or 0)
            assert distinct(all_of_it) == arrived
            assert {key: n for key, n in arrived.items() if n} == truth(tracks, watched, first, last)

    check()
    store.close()


EVENING = T0 + 22.5 * 3600
FRAME_S, FRAMES, WINDOW_S = 20, 540, 300  # three hours, midnight in the middle of them
NAMES = ("car", "person")
Life = tuple[
    int, int, int, int, bool
]  # first frame, frames, those before it is confirmed and its class flips, class


def counted_lives(
    lives: Sequence[Life], store: Store, url: str, checkpoints_at: set[int], limit: int
) -> None:
    """What a real counter makes of tracks that are confirmed late and change their class, as it is stored."""
    time = WatchedTime(NAMES)
    options = AnalysisOptions("a", window_s=WINDOW_S, max_clock_skew_s=90.0)
    counter = WindowCounter(options, time.classes)
    for frame in range(FRAMES):
        seen = [
            (number, (kind + (frame - first >= flips)) % 2, frame - first >= late)
            for number, (first, frames, late, flips, kind) in enumerate(lives)
            if first <= frame < first + frames
        ]
        ids, class_ids, confirmed = (
            (list(column) for column in zip(*seen, strict=True)) if seen else ([], [], [])
        )
        tracks = Tracks(
            np.array(ids, np.int64),
            np.zeros((len(seen), 4), np.float32),
            np.ones(len(seen), np.float32),
            np.array(class_ids, np.int32),
            np.array([EVENING + lives[number][0] * FRAME_S for number in ids]),
            np.array(confirmed, np.bool_),
        )
        counter.observe(time(EVENING + frame * FRAME_S, tracks))
        if frame in checkpoints_at:
            counts, windows = counter.rows()
            write(store, [Checkpoint("a", (*counts, *windows), {})])
            roll_up(url, limit)
    counter.end(0.0)
    counts, windows = counter.rows()
    write(store, [Checkpoint("a", (*counts, *windows), {})])


def by_definition(rows: Sequence[tuple[str, float, int, int]], start: float, end: float) -> dict[str, int]:
    """By class: the first window's count, and the arrivals of the later ones."""
    inside = [row for row in rows if start <= row[1] < end and row[2]]
    first, totals = min((row[1] for row in inside), default=0.0), dict[str, int]()
    for name, window_start, count, arrivals in inside:
        totals[name] = totals.get(name, 0) + (count if window_start == first else arrivals)
    return {name: count for name, count in totals.items() if count}


def test_late_votes_and_corrections_add_up_anywhere(database_url: str) -> None:
    """Windows as a real counter writes and rewrites them, while hours and days are summed in between."""
    url, store = database_url, Store(database_url)
    store.open()
    life = st.tuples(
        st.integers(0, FRAMES - 1),
        st.sampled_from([1, 4, 20, 60, 200]),
        st.integers(0, 20),
        st.integers(0, 40),
        st.booleans(),
    )

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        lives=st.lists(life, min_size=1, max_size=15),
        checkpoints_at=st.sets(st.integers(0, FRAMES - 1), max_size=12),
        limit=st.integers(0, 3),
        cuts=st.tuples(*[st.integers(0, FRAMES * FRAME_S // WINDOW_S)] * 3),
    )
    @example(  # the only car of its hour becomes a person after the hour was summed
        lives=[(0, 1, 0, 0, False), (69, 60, 0, 27, False)], checkpoints_at={90}, limit=2, cuts=(0, 0, 0)
    )
    def check(lives: list[Life], checkpoints_at: set[int], limit: int, cuts: tuple[int, int, int]) -> None:
        clear(url)
        counted_lives(lives, store, url, checkpoints_at, limit)
        engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
        row = table_of(CountWindowRow).c
        with engine.connect() as connection:
            rows = [
                (name, start.timestamp(), count, arrivals)
                for name, start, count, arrivals in connection.execute(
                    sa.select(row.item_class, row.window_start, row.count, row.arrivals)
                )
            ]
        begin, end = EVENING, EVENING + FRAMES * FRAME_S
        confirmed = sum(first + late < min(first + frames, FRAMES) for first, frames, late, _, _ in lives)
        assert sum(by_definition(rows, begin, end).values()) == confirmed

        def read_range(start: float, end: float, step_s: int) -> tuple[dict[str, int], dict[str, int]]:
            """Distinct tracks and arrivals by class."""
            with closing(Database(url, timeout_s=30.0)) as database, database.reading() as connection:
                sums = read_counts(connection, None, Span.over(start, end, step_s), ["a"])
            arrived: dict[str, int] = {}
            for item in sums:
                arrived[item.item_class] = arrived.get(item.item_class, 0) + (item.arrivals or 0)
            return {name: count for (_, name), count in distinct(sums).items() if count}, arrived

        first, cut, last = (begin + number * WINDOW_S for number in sorted(cuts))
        for _ in range(2):  # with the roll-ups that there are, and with all
            if first < cut < last:
                (whole, _), (part, _), (_, rest) = (
                    read_range(*limits, WINDOW_S) for limits in ((first, last), (first, cut), (cut, last))
                )
                assert whole == by_definition(rows, first, last)
                if part:
                    sums = {name: part.get(name, 0) + rest.get(name, 0) for name in part.keys() | rest.keys()}
                    assert whole == {name: count for name, count in sums.items() if count}
            for step_s in (3600, DAY_S):
                low = begin // step_s * step_s
                for start in np.arange(low, end, step_s).tolist():
                    assert read_range(start, start + step_s, step_s)[0] == by_definition(
                        rows, start, start + step_s
                    )
                assert read_range(low, end, step_s)[0] == by_definition(rows, low, end)
            roll_up(url)

    check()
    store.close()


def test_a_crash_between_writing_and_summing_leaves_nothing_stale(database_url: str) -> None:
    store = Store(database_url)
    tracks = [("a", "person", 0, 4), ("a", "person", 2, 2)]
    watched = {("a", number) for number in range(6)}
    write(store, checkpoints(tracks, watched, range(6)))
    store.close()  # as after a kill: what was noted is in the database
    store = Store(database_url)
    store.roll_up()
    store.roll_up()
    store.close()
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    row = table_of(CountRollupRow).c
    with engine.connect() as connection:
        assert connection.execute(sa.select(table_of(StaleRollupRow))).all() == []
        rows = connection.execute(
            sa.select(row.period_s, row.period_start, row.count, row.arrivals).order_by(
                row.period_s, row.period_start
            )
        ).all()
    hours = [datetime.fromtimestamp(T0 + hour * 3600, UTC) for hour in range(2)]
    assert [tuple(item) for item in rows] == [
        (3600, hours[0], 2, 2),
        (3600, hours[1], 1, 0),
        (DAY_S, hours[0], 2, 2),
    ]


def test_a_class_that_is_taken_back_leaves_its_hour_and_its_day(database_url: str) -> None:
    """A vote that is corrected after its hour was summed: the window's row counts nothing any more."""
    store = Store(database_url)
    times = (T0, T0 + STEP_S)
    seen = SourceWindow("a", *times, 1.0, 5.0, 1, "pts", "m", "")
    for car, person in ((1, 0), (0, 1)):
        counts = CountWindow("a", "car", car, *times, car), CountWindow("a", "person", person, *times, person)
        write(store, [Checkpoint("a", (seen, *counts), {})])
        for _ in range(2):
            store.roll_up()
    store.close()
    for step_s in (3600, DAY_S):
        assert distinct(read(database_url, 0, 72, step_s)[0]) == {("a", "person"): 1}


def test_an_hour_that_goes_on_is_read_from_its_windows_and_summed_once_it_is_over(database_url: str) -> None:
    hour = time.time() // 3600 * 3600
    store = Store(database_url)
    for start, count in ((hour - 3600, 3), (hour, 5)):
        window = SourceWindow("a", start, start + 60, 1.0, 5.0, 1, "pts", "m", "")
        rows = (window, CountWindow("a", "person", count, start, start + 60, count))
        write(store, [Checkpoint("a", rows, {})])
    store.roll_up()
    store.close()
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    row = table_of(CountRollupRow).c
    with engine.connect() as connection:
        starts = connection.scalars(sa.select(row.period_start).where(row.period_s == 3600)).all()
    assert [start.timestamp() for start in starts] == [hour - 3600]
    with closing(Database(database_url, timeout_s=30.0)) as database, database.reading() as connection:
        hours = read_counts(connection, None, Span.over(hour - 3600, hour + 3600, 3600), ["a"])
    assert [(item.bucket, item.count) for item in hours] == [(hour - 3600, 3), (hour, 5)]


def test_windows_of_an_earlier_release_keep_their_counts_and_their_arrivals_are_not_known(
    new_database: Callable[[], str],
) -> None:
    url = new_database()
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        migrations.command.upgrade(migrations._config(connection), "0005")
        for minute in range(2):
            times = f"'2026-03-01 00:0{minute}:00', '2026-03-01 00:0{minute + 1}:00'"
            if connection.dialect.name == "sqlite":
                times = times.replace(":00',", ":00.000000',").replace(":00'", ":00.000000'")
            connection.execute(
                sa.text(
                    "INSERT INTO count_windows "
                    "(id, source, item_class, count, window_start, window_end, created_at)"
                    f" VALUES ('0000000000000000000000000000000{minute}', 'a', 'person', 3, {times},"
                    " '2026-03-01 00:05:00.000000')"
                )
            )
            connection.execute(
                sa.text(f"INSERT INTO source_windows VALUES ('a', {times}, 1, 5, 0, 'pts', 'm', '')")
            )
    store = Store(url)
    store.roll_up()
    store.close()
    with closing(Database(url, timeout_s=30.0)) as database, database.reading() as connection:
        minutes = read_counts(connection, None, Span.over(T0, T0 + 120, 60), ["a"])
        assert [(row.count, row.arrivals) for row in minutes] == [(3, None), (3, None)]
        assert distinct(minutes) == {("a", "person"): None}
        [hour] = read_counts(connection, None, Span.over(T0, T0 + 3600, 3600), ["a"])
        assert (hour.count, hour.arrivals) == (None, None)
        [seconds] = read_watched(connection, None, Span.over(T0, T0 + 3600, 3600), ["a"])
        assert seconds.watched_s == 120
