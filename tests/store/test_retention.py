"""Rows that have been kept for long enough go, and nothing else: on SQLite and on a real Postgres."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from test_spool import locked, make_writer
from test_store import read

from bench import retention_bench
from sightline.config.groups import RetentionOptions
from sightline.entities import (
    Alert,
    AlertState,
    Checkpoint,
    ClockWindow,
    CountWindow,
    DriftWindow,
    Event,
    EventEnd,
    EventKind,
    Notification,
    Result,
    SourceWindow,
)
from sightline.store import retention as retention_module
from sightline.store.access_store import AccessStore, AuditEntry
from sightline.store.database import Store
from sightline.store.read.queries import read_counts, read_watched
from sightline.store.read.readonly import Database
from sightline.store.read.spans import Span
from sightline.store.retention import LOOK_EVERY_S, MIN_ROWS, TARGET_S, Retention
from support.stored import write
from support.waiting import until

HOUR_S, DAY_S = 3600.0, 86_400.0
T0 = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
TABLES = ("source_windows", "count_windows")


def windows(hours: range, *, count: int = 2, source: str = "gate", step_s: float = 1200.0) -> Checkpoint:
    rows: list[Result] = []
    for number in range(round(len(hours) * HOUR_S / step_s)):
        start = T0 + hours.start * HOUR_S + number * step_s
        rows.append(SourceWindow(source, start, start + step_s, 1.0, 5.0, 1, "pts", "m", ""))
        rows += [CountWindow(source, name, count, start, start + step_s, count) for name in ("car", "person")]
    return Checkpoint(source, tuple(rows), {})


def expire(store: Store, hour: float, times: int = 200, **days: float) -> Retention:
    """Delete everything that is too old so many hours after T0."""
    options = RetentionOptions.model_validate(days)
    retention = Retention(options, clock=lambda: T0 + hour * HOUR_S)
    for _ in range(times):
        before = retention.deleted_rows
        store.delete_expired(retention)
        if retention.deleted_rows == before:
            break
    return retention


def starts(url: str, table: str) -> set[float]:
    """Hours after T0 in which windows that are there begin."""
    times = [row["window_start"] for row in read(url, table)]
    parsed = [datetime.fromisoformat(time) if isinstance(time, str) else time for time in times]
    return {(time.replace(tzinfo=UTC).timestamp() - T0) // HOUR_S for time in parsed}


def sums(url: str, step_s: int) -> Any:
    with closing(Database(url, timeout_s=30.0)) as database, database.reading() as connection:
        span = Span.over(T0, T0 + 3 * DAY_S, step_s)
        return read_counts(connection, None, span, ["gate"]), read_watched(connection, None, span, ["gate"])


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store(database_url)) as made:
        made.open()
        yield made


def test_windows_go_by_hours_once_they_are_summed_and_hours_and_days_stay(
    store: Store, database_url: str
) -> None:
    write(store, [windows(range(50))])
    now = 49.5
    assert expire(store, now, windows_days=1).deleted_rows == 0, "none is summed yet"
    for _ in range(10):
        store.roll_up()
    before = sums(database_url, 3600), sums(database_url, 86_400)
    retention = expire(store, now, windows_days=1)
    # 25.5 hours are older than a day; the hour in which the day begins stays whole.
    assert retention.deleted_rows == 25 * 3 * 3
    for table in TABLES:
        assert starts(database_url, table) == set(range(25, 50)), table
    assert (sums(database_url, 3600), sums(database_url, 86_400)) == before
    assert 0 < retention.wait_s <= LOOK_EVERY_S


def test_an_hour_that_is_still_to_be_summed_keeps_the_windows_from_then_on(
    store: Store, database_url: str
) -> None:
    write(store, [windows(range(6))])
    for _ in range(3):
        store.roll_up()
    write(store, [windows(range(4, 5), count=3)])  # late: a spool has been replayed
    expire(store, 100, windows_days=1)
    assert starts(database_url, "source_windows") == {4, 5}
    store.roll_up()
    expire(store, 100, windows_days=1)
    assert [read(database_url, table) for table in TABLES] == [[], []]
    rolled = [row["count"] for row in read(database_url, "count_rollups") if row["period_s"] == HOUR_S]
    assert sorted(rolled) == [6] * 10 + [9] * 2


def test_windows_that_come_after_their_hour_has_gone_change_no_sum(store: Store, database_url: str) -> None:
    write(store, [windows(range(3))])
    for _ in range(3):
        store.roll_up()
    before = sums(database_url, 3600)
    expire(store, 28, windows_days=1)
    late = windows(range(1, 2), count=50, step_s=600.0)
    write(store, [late, windows(range(5, 6))])
    for _ in range(3):
        store.roll_up()
    expire(store, 28, windows_days=1)
    assert starts(database_url, "source_windows") == {5}
    counts, watched = sums(database_url, 3600)
    assert ([row for row in counts if row.bucket < T0 + 3 * HOUR_S], watched[:3]) == before
    hours = [(row.bucket - T0) / HOUR_S for row in counts if row.count]
    assert hours == [0, 0, 1, 1, 2, 2, 5, 5]


def test_a_window_never_goes_without_its_counts(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watched window without counts would read as a true zero."""
    monkeypatch.setattr(retention_module, "FIRST_ROWS", 1)
    monkeypatch.setattr(retention_module, "MAX_ROWS", 1)
    write(store, [windows(range(3)), windows(range(3), source="yard")])
    for _ in range(3):
        store.roll_up()
    retention = Retention(RetentionOptions(windows_days=1), clock=lambda: T0 + 30 * HOUR_S)
    monkeypatch.setattr(retention_module, "MIN_ROWS", 1)
    for left in reversed(range(18)):
        store.delete_expired(retention)
        watched, counted = (read(database_url, table) for table in TABLES)
        assert len(watched) == left
        of_windows = {(row["source"], str(row["window_start"])) for row in watched}
        assert {(row["source"], str(row["window_start"])) for row in counted} == of_windows


def event(number: int, hour: float, kind: EventKind = EventKind.CROSSING) -> Event:
    moment = T0 + hour * HOUR_S
    return Event("gate", kind, "door", number, "person", moment, moment, first_time=moment)


def alert(name: str, state: AlertState, opened: float, changed: float) -> Alert:
    values = (name, "night", "gate", "enter", "door", "person", None, "warning", state)
    end_time = None if state is AlertState.ACKNOWLEDGED else T0 + changed * HOUR_S
    return Alert(*values, T0, T0 + opened * HOUR_S, T0 + changed * HOUR_S, end_time)


def told(name: str, hour: float) -> Notification:
    moment = T0 + hour * HOUR_S
    return Notification(name, 0, "opened", (), moment, "gate", "warning", "title", "text", "", {})


def drift(hour: float) -> DriftWindow:
    moment = T0 + hour * HOUR_S
    return DriftWindow("gate", moment, moment + HOUR_S, "yolo/1", 1, 1, 1, {})


def clock(hour: float) -> ClockWindow:
    return ClockWindow("gate", T0 + hour * HOUR_S, 0.0, None, 0.0, 1, 0, "rtcp")


def test_events_that_go_on_and_alerts_that_are_open_stay_and_each_kind_has_its_own_days(
    store: Store, database_url: str
) -> None:
    enter = event(3, 2.0, EventKind.ENTER)
    results: list[Result] = [
        event(1, 0),
        event(2, 40),
        enter,
        event(4, 3, EventKind.ENTER),
        EventEnd(enter, T0 + 4 * HOUR_S),
        alert("closed", AlertState.RESOLVED, 0, 1),
        alert("just closed", AlertState.FALSE_ALARM, 0, 40),
        alert("a crossing that nobody has closed", AlertState.NEW, 0, 1),
        alert("open", AlertState.ACKNOWLEDGED, 0, 1),
        replace(alert("resolved by hand", AlertState.RESOLVED, 0, 1), end_time=None),
        *(told(name, 1) for name in ("closed", "just closed", "open", "a test of a route")),
        told("a later test", 40),
        drift(0),
        drift(40),
        clock(0),
        clock(40),
    ]
    for result in results:  # each in a transaction of its own, as they come
        write(store, [Checkpoint("gate", (result,), {})])

    def left() -> tuple[set[int], set[str], set[str], int]:
        events = {row["track_id"] for row in read(database_url, "events")}
        alerts, notices = (
            {row["alert_id"] for row in read(database_url, name)} for name in ("alerts", "notifications")
        )
        return events, alerts, notices, len(read(database_url, "drift_windows"))

    everything = left()
    assert expire(store, 48).deleted_rows == 0
    assert expire(store, 48, windows_days=1).deleted_rows == 0
    assert left() == everything
    expire(store, 48, events_days=1)
    assert left() == ({2, 4}, *everything[1:]), "an event that goes on stays, however old"
    expire(store, 48, alerts_days=1)
    stays = {"just closed", "open", "resolved by hand"}
    assert left()[1:3] == (stays, {"just closed", "open", "a later test"})
    assert left()[3] == 2
    expire(store, 48, drift_days=1)
    assert (left()[3], len(read(database_url, "clock_windows"))) == (1, 2)
    expire(store, 48, clocks_days=1)
    assert len(read(database_url, "clock_windows")) == 1


def test_who_did_what_goes_after_so_many_days(store: Store, database_url: str) -> None:
    write(store, [windows(range(1))])
    access = AccessStore(database_url)
    with access.writing() as rows:
        for hour in (0, 30):
            time = T0 + hour * HOUR_S
            rows.add_entry(
                AuditEntry(
                    time=time, who="", how="", address="", action="", target=str(hour), outcome="", detail=""
                )
            )
    access.close()
    expire(store, 48, events_days=1)
    assert len(read(database_url, "audit")) == 2
    expire(store, 48, audit_days=1)
    assert [row["target"] for row in read(database_url, "audit")] == ["30"]


def test_how_many_rows_go_at_once_follows_from_how_long_it_takes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, [Checkpoint("gate", tuple(event(number, number / 1000) for number in range(3000)), {})])
    retention = Retention(RetentionOptions(events_days=1), clock=lambda: T0 + 48 * HOUR_S)
    slow_s = 4 * TARGET_S

    @contextmanager
    def slowly() -> Iterator[sa.Connection]:
        with store._writing() as connection:
            yield connection
        time.sleep(slow_s)

    deleted = []
    for _ in range(6):
        before = retention.deleted_rows
        retention.delete_some(slowly)
        deleted.append(retention.deleted_rows - before)
        assert retention.wait_s > 0.5 * slow_s, "half of the time is left to others"
    assert deleted[-1] == MIN_ROWS < deleted[0]
    monkeypatch.setattr(retention_module, "TARGET_S", 1.0)
    for _ in range(6):
        before = retention.deleted_rows
        store.delete_expired(retention)
        deleted.append(retention.deleted_rows - before)
    assert deleted[-1] > 10 * MIN_ROWS


def test_a_writer_deletes_when_told_to_and_waits_while_the_database_is_locked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/counts.db"
    with closing(make_writer(url, tmp_path)) as writer:
        writer.put_results(event(number, 0) for number in range(100))
        until(lambda: len(read(url, "events")) == 100)
        assert writer.health().expired_rows == 0
        with locked(url):
            writer.retention.update(RetentionOptions(events_days=1))
            until(lambda: writer.health().state == "spooling")
            writer.put_results([event(1000, 0), event(1001, (time.time() - T0) / HOUR_S)])
        until(lambda: writer.health().expired_rows == 101)
        assert [row["track_id"] for row in read(url, "events")] == [1001]
        assert writer.health().state == "ok"


def test_a_program_writes_on_while_rows_expire_and_their_room_is_used_again(database_url: str) -> None:
    """The benchmark in small: 40,000 rows."""
    before, meanwhile, after, again, last = retention_bench.measure(
        database_url, rows=40_000, cameras=20, seconds=2.0, limit_s=120.0, rounds=2
    )
    assert meanwhile.deleted > 30_000
    assert before.deleted == after.deleted == 0
    assert min(len(before.latencies_ms), len(after.latencies_ms)) > 3
    # On a busy machine; docs/database.md has the figures of the whole form.
    assert np.median(meanwhile.latencies_ms or (0.0,)) < 500
    assert min(again.deleted, last.deleted) > 30_000
    if database_url.startswith("sqlite"):
        assert last.size_bytes <= again.size_bytes * 1.25, "but for some pages of the log"
    kept = {row["end_time"] is None for row in read(database_url, "events") if row["kind"] == "enter"}
    assert kept == {False, True}
