"""Console, API, CSV and Parquet tell the same numbers of one range, whatever the range."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from pyarrow import parquet

from sightline.entities import (
    CameraState,
    CameraStatus,
    Checkpoint,
    CountWindow,
    Event,
    EventKind,
    Result,
    SourceWindow,
)
from sightline.store import rollups
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.read.coverage import WRITE_LAG_S
from sightline.store.read.queries import CountSum, distinct
from sightline.store.read.readonly import Database
from sightline.store.read.spans import WEEK_S, Span
from sightline.store.rollups import DAY_S
from sightline.supervisor.http.api_reading import ReadingApi
from sightline.supervisor.http.visitors import NobodyElse
from support.front import Front, served
from support.stored import write

pytest.importorskip("streamlit", reason="the console's packages are not installed")

from console.count_figures import (
    SPLITS,
    CountChoice,
    columns_of,
    file_of,
    read_figures,
    read_rows,
)
from console.grid import Cover, total

T0 = datetime(2026, 3, 27, tzinfo=UTC).timestamp()  # summer time begins on the 29th in Berlin
STEP_S, DAYS = 600, 5
NAMES, CLASSES = ("dock", "gate", "yard"), ("bus", "car", "person")
PLACES = {"enter": ("bay", "lawn"), "leave": ("bay", "lawn"), "crossing": ("door", "ramp")}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


def fill(url: str, rng: random.Random) -> None:
    """Five days of three cameras: gaps, a camera that begins late, a model that lacks a class, events."""
    checkpoints = []
    for name in NAMES:
        rows: list[Result] = []
        begun = rng.randrange(0, 200) if name == "yard" else 0
        gap = rng.randrange(begun, DAYS * 144)
        for number in range(begun, DAYS * 144):
            if gap <= number < gap + 40 or rng.random() < 0.1:
                continue  # nobody watched
            times = T0 + number * STEP_S, T0 + (number + 1) * STEP_S
            coverage = rng.choice([1.0, 1.0, 1.0, 0.5, 0.0])
            rows.append(SourceWindow(name, *times, coverage, 5.0, 1, "pts", "m/1", "c"))
            lacks = name == "dock" and number < 300
            for item_class in CLASSES if coverage else ():
                count = 0 if lacks and item_class == "bus" else rng.choice([0, 0, 1, 2, 5])
                # What a release of before wrote is not known; a few such make their whole range unknown.
                arrivals = None if rng.random() < 0.0005 else rng.randint(0, count)
                seen = 0.0 if lacks and item_class == "bus" else None
                rows.append(CountWindow(name, item_class, count, *times, arrivals, seen))
        for number in range(120):
            kind = rng.choice([*PLACES])
            direction = rng.choice(["forward", "backward"]) if kind == "crossing" else None
            names = name, EventKind(kind), rng.choice(PLACES[kind]), number, rng.choice(CLASSES)
            time = T0 + rng.randrange(0, DAYS * DAY_S)
            rows.append(Event(*names, time, time, direction, unseen=number % 9 == 0))
        checkpoints.append(Checkpoint(name, tuple(rows), {}))
    store = Store(url)
    store.open()
    write(store, checkpoints, [CameraStatus(name, CameraState.ONLINE, "", T0, T0, 5.0) for name in NAMES])
    store.close()
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        rollups.roll_up(connection, rng.choice([0, 60, 1000]))  # none, some or all hours and days are summed


def choices(rng: random.Random) -> Iterator[tuple[CountChoice, Mapping[str, Any]]]:
    """Ranges that begin and end anywhere, by every split, and how the API is asked for the same."""
    for by in [*SPLITS, *SPLITS]:
        step_s = rng.choice([600, 1200, 3600, 7200, DAY_S, WEEK_S])
        start = T0 + rng.uniform(-DAY_S / 2, 3.5 * DAY_S)
        end = min(start + rng.uniform(0.1, 4) * DAY_S, start + 900 * step_s)
        zone = rng.choice(ZONES)
        span = Span.over(start, end, step_s, ZoneInfo(zone))
        sources = tuple(sorted(rng.sample(NAMES, rng.randint(1, 3))))
        classes = tuple(rng.sample(CLASSES, rng.choice([0, 0, 1, 2])))
        query = {"camera": sources, "start": start, "end": end, "step_s": step_s, "zone": zone}
        yield CountChoice(None, span, sources, classes, by), query


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_figure_of_console_api_csv_and_parquet_is_the_same_number(database_url: str, seed: int) -> None:
    rng = random.Random(seed)
    fill(database_url, rng)
    at = T0 + DAYS * DAY_S - rng.uniform(0, DAY_S)  # the range may go on
    with closing(Database(database_url, timeout_s=30.0)) as database:
        api = ReadingApi(cast(Any, None), database, cast(Any, None)).endpoints()
        with served(api, NobodyElse()) as front:
            for choice, query in choices(rng):
                told = {form: told_by(database, choice, at, form) for form in ("table", "CSV", "Parquet")}
                assert told["CSV"] == told["table"] == told["Parquet"]
                if choice.split.kind is None:
                    told_counts = asked(front, "/api/v1/counts", query)
                    check_objects(told_counts, database, choice, at, told["table"])
                else:
                    check_events(front, database, choice, at, told["table"])


def told_by(database: Database, choice: CountChoice, at: float, form: str) -> list[tuple[Any, ...]]:
    """The lines of the console's table, or of a file: source, names, count, start, end, coverage."""
    with database.reading() as connection:
        if form == "table":
            rows: list[dict[str, Any]] = read_rows(connection, choice, at)
        elif form == "Parquet":
            data = file_of(connection, choice, at, form)
            rows = parquet.read_table(io.BytesIO(data)).to_pylist()
        else:
            rows = list(csv.DictReader(io.StringIO(file_of(connection, choice, at, form).decode())))
    number: Callable[[Any], Any] = lambda text: None if text in ("", None) else float(text)  # noqa: E731
    moment: Callable[[Any], Any] = lambda time: datetime.fromisoformat(str(time)).timestamp()  # noqa: E731
    how = {"count": number, "arrivals": number, "coverage": number}
    how |= {"window_start": moment, "window_end": moment}
    return [tuple(how.get(name, str)(row[name]) for name in columns_of(choice)) for row in rows]


def check_objects(
    told: Mapping[str, Any],
    database: Database,
    choice: CountChoice,
    at: float,
    lines: list[tuple[Any, ...]],
) -> None:
    """Distinct objects: bars, totals and lines are what the API tells."""
    assert tuple(told["edges"]) == choice.span.edges
    sums = [CountSum(**row) for row in told["counts"]]
    wanted = [row for row in sums if row.count != 0 and row.item_class in (choice.classes or CLASSES)]
    counted = {(row.source, row.item_class, row.bucket): (row.count, row.arrivals) for row in wanted}
    passed = {key: numbers for key, numbers in counted.items() if key[2] < at}
    names = dict(zip(columns_of(choice), range(99), strict=False))
    columns = [names[name] for name in ("source", "item_class", "window_start", "count", "arrivals")]
    shown = {(s, c, t): (n, a) for s, c, t, n, a in ([line[i] for i in columns] for line in lines)}
    assert {key: shown[key] for key in passed} == passed
    assert not [key for key, (count, _) in shown.items() if count and key not in passed]
    with database.reading() as connection:
        figures = read_figures(connection, choice, at)
    [column] = choice.split.names
    bars: dict[float, dict[str, list[int | None]]] = {}
    for row in wanted:
        bars.setdefault(row.bucket, {}).setdefault(getattr(row, column), []).append(row.count)
    assert figures.series == {
        bucket: {name: total(counts) for name, counts in series.items()} for bucket, series in bars.items()
    }
    totals: dict[str, list[int | None]] = {}
    for (source, item_class), count in distinct(sums).items():
        if item_class in (choice.classes or CLASSES):
            totals.setdefault(source if column == "source" else item_class, []).append(count)
    assert dict(figures.totals) == {name: total(counts) for name, counts in totals.items()}
    check_coverage(figures.covers, told["watched"], lines, names, at)


def check_coverage(
    covers: Mapping[str, Any],
    told: list[dict[str, Any]],
    lines: list[tuple[Any, ...]],
    names: dict[str, int],
    at: float,
) -> None:
    """What was watched: the chart's buckets, the lines and the API agree, and the time before is no gap."""
    watched = {(row["source"], row["bucket"]): row for row in told}
    shown = {}
    for line in lines:
        if line[names["item_class"]] in {"", "car", "person"}:  # of which no model lacks any
            shown[line[names["source"]], line[names["window_start"]]] = line[names["coverage"]]
    for source, buckets in covers.items():
        for bucket in buckets:
            key = source, bucket.start
            if bucket.cover in {Cover.BEFORE, Cover.FUTURE} and not bucket.expected_s:
                assert key not in shown
                continue
            if key in watched:
                row = watched[key]
                assert bucket.watched_s == pytest.approx(min(row["watched_s"], bucket.expected_s))
                if bucket.end < at - WRITE_LAG_S:  # the API tells as of the real now
                    assert row["coverage"] == pytest.approx(bucket.coverage)
                    assert row["expected_s"] == pytest.approx(bucket.expected_s)
            else:
                assert bucket.watched_s == 0
            if key in shown:
                assert shown[key] == pytest.approx(bucket.coverage, abs=1e-4)


def check_events(
    front: Front, database: Database, choice: CountChoice, at: float, lines: list[tuple[Any, ...]]
) -> None:
    """Entries and crossings: bars, totals and lines are the events that the API lists."""
    span, kind = choice.span, choice.split.kind
    assert kind is not None
    query = {"camera": choice.sources, "start": span.start, "end": span.end, "kind": kind.value}
    told = asked(front, "/api/v1/events", {**query, "limit": 1000})
    told = [row for row in told if row["item_class"] in (choice.classes or CLASSES)]
    bars: dict[float, Counter[str]] = {}
    listed: Counter[tuple[Any, ...]] = Counter()
    for row in told:
        bucket = span.edges[span.number_at(row["event_time"])]
        bars.setdefault(bucket, Counter())[" · ".join(row[name] for name in choice.split.names)] += 1
        direction = row["direction"] or ""
        listed[row["source"], row["place"], direction, row["item_class"], bucket] += 1
    names = dict(zip(columns_of(choice), range(99), strict=False))
    columns = ("source", "place", "direction", "item_class", "window_start")
    shown = {tuple(line[names[name]] for name in columns): line[names["count"]] for line in lines}
    assert shown == listed
    assert len(shown) == len(lines)
    with database.reading() as connection:
        figures = read_figures(connection, choice, at)
    assert figures.series == bars
    assert dict(figures.totals) == sum(bars.values(), Counter())


def asked(front: Front, path: str, query: Mapping[str, Any]) -> Any:
    answer = front.ask(f"{path}?{urlencode(query, doseq=True)}")
    assert answer.status == 200, answer.body
    return answer.json
