"""Events and alerts as they change: whoever reads on misses nothing and is told nothing twice."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_spool import is_idle, locked, make_writer

from sightline.entities import Alert, AlertState, Event, EventEnd, EventKind
from sightline.errors import StoreUnavailable
from sightline.store import database as database_module
from sightline.store.database import Store
from sightline.store.kinds import PendingRow, pending_row
from sightline.store.read.changes import RowChange, read_changes, read_last_change
from sightline.store.read.readonly import Database
from support.waiting import until

T0 = 1_790_000_000.0
ENTER = Event("gate", EventKind.ENTER, "yard", 1, "person", T0, T0, first_time=T0)
ALERT = Alert(
    "alert-1", "night", "gate", "enter", "yard", "person", None, "warning", AlertState.NEW, T0, T0, T0,
    events=("a", "b"),
)  # fmt: skip


def rows_of(*entities: Event | EventEnd | Alert) -> list[PendingRow]:
    return [pending_row(entity, time.time_ns() // 1000) for entity in entities]


def state_of(change: RowChange) -> tuple[str, Any]:
    """Which row it is, and what of it can change."""
    if change.alert is not None:
        return change.alert.alert_id, (change.alert.state, change.alert.count)
    event = change.event or {}
    return str(event["id"]), event["end_time"]


@dataclass
class Reader:
    """Reads on from where it was, and holds what it is told against what it may be told."""

    url: str
    position: int = 0
    known: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database = Database(self.url, timeout_s=10.0)
        if not self.position:
            with self.database.reading() as connection:
                self.position = read_last_change(connection)

    def read(self, limit: int = 1000) -> list[tuple[str, Any]]:
        with self.database.reading() as connection:
            changes, position = read_changes(connection, self.position, limit)
        numbers = [change.number for change in changes]
        assert numbers == sorted(set(numbers))
        assert all(self.position < number <= position for number in numbers)
        assert len(changes) <= limit
        for name, state in map(state_of, changes):
            assert name not in self.known or self.known[name] != state, "told twice"
            self.known[name] = state
        self.position = position
        return [state_of(change) for change in changes]

    def close(self) -> None:
        self.database.close()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store(database_url)) as made:
        made.open()
        yield made


@pytest.fixture
def reader(store: Store, database_url: str) -> Iterator[Reader]:
    with closing(Reader(database_url)) as made:
        yield made


def test_what_is_written_is_told_once_in_its_order(store: Store, reader: Reader) -> None:
    second = replace(ENTER, ordinal=1)
    store.write_rows(rows_of(ENTER, ALERT, second))
    assert [state for _, state in reader.read()] == [None, (AlertState.NEW, 1), None]
    assert reader.read() == []
    store.write_rows(rows_of(EventEnd(ENTER, T0 + 9), replace(ALERT, state=AlertState.ACKNOWLEDGED)))
    assert [state for _, state in reader.read()] == [T0 + 9, (AlertState.ACKNOWLEDGED, 1)]


def test_what_was_written_already_is_no_change(store: Store, reader: Reader) -> None:
    rows = rows_of(ENTER, EventEnd(replace(ENTER, ordinal=1), T0 + 1), ALERT)
    store.write_rows(rows)
    assert len(reader.read()) == 3
    store.write_rows(rows)  # its answer was lost, say
    store.write_rows(rows_of(ENTER))  # a worker's successor makes it again
    assert reader.read() == []


def test_of_what_changed_several_times_the_newest_is_told(store: Store, reader: Reader) -> None:
    store.write_rows(rows_of(ENTER, ALERT))
    store.write_rows(rows_of(EventEnd(ENTER, T0 + 9)))
    store.write_rows(rows_of(replace(ALERT, count=2)))
    assert [state for _, state in reader.read()] == [T0 + 9, (AlertState.NEW, 2)]


def test_pages_end_where_the_next_begins(store: Store, reader: Reader) -> None:
    store.write_rows(rows_of(*(replace(ENTER, ordinal=n) for n in range(5)), ALERT))
    pages = []
    while page := reader.read(limit=2):
        pages.append(len(page))
    assert pages == [2, 2, 2]


def test_numbers_never_come_again(store: Store, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_rows(rows_of(ENTER))
    reader.read()
    for now_ns in (time.time_ns() + 10**15, 10**18):  # the clock is set forward, and back again
        monkeypatch.setattr(database_module.time, "time_ns", lambda now=now_ns: now)
        before = reader.position
        store.write_rows([pending_row(replace(ENTER, ordinal=now_ns % 97), 1)])
        assert len(reader.read()) == 1
        assert reader.position > before
    assert reader.position > (time.time_ns() - 10**9) // 1000


def test_what_a_failed_transaction_had_written_is_told_after_the_next(
    store: Store, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise database_module.sa.exc.OperationalError("", {}, Exception("the connection broke"))

    told = []
    store.on_change = lambda: told.append(reader.read())
    with monkeypatch.context() as patch:
        patch.setattr(database_module.rollups, "note_stale", fail)
        with pytest.raises(StoreUnavailable):
            store.write_rows(rows_of(ENTER))
    assert (told, reader.read()) == ([], [])
    store.write_rows(rows_of(ENTER))
    assert [len(found) for found in told] == [1], "who is told can read it"


_fresh = count(1)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("event"), st.integers(0, 3)),
            st.tuples(st.just("end"), st.integers(0, 3)),
            st.tuples(st.just("alert"), st.integers(0, 3)),
            st.tuples(st.just("again"), st.just(0)),
            st.tuples(st.just("read"), st.integers(1, 3)),
            st.tuples(st.just("break"), st.integers(1, 3)),
        ),
        max_size=30,
    )
)
def test_a_reader_that_breaks_off_and_comes_back_misses_nothing(
    store: Store, database_url: str, steps: list[tuple[str, int]]
) -> None:
    track = next(_fresh)
    ends: dict[int, float] = {}
    states: dict[int, Alert] = {}
    last: list[PendingRow] = []
    with closing(Reader(database_url)) as reader:
        for action, number in steps:
            event = replace(ENTER, track_id=track, ordinal=number)
            if action == "event":
                ends.setdefault(number, 0.0)
                last = rows_of(event)
            elif action == "end":
                ends[number] = max(ends.get(number, 0.0), T0) + 1.0
                last = rows_of(EventEnd(event, ends[number]))
            elif action == "alert":
                alert = states.get(number, replace(ALERT, alert_id=f"{track}-{number}", count=0))
                states[number] = replace(alert, count=alert.count + 1)
                last = rows_of(states[number])
            elif action == "read":
                reader.read(limit=number)
                continue
            elif action == "break":  # a page was sent and never arrived: what is known is what was before
                position, known = reader.position, dict(reader.known)
                reader.read(limit=number)
                reader.position, reader.known = position, known
                continue
            store.write_rows(last)
        while reader.read(limit=2):
            pass
        told = sorted((str(state) for name, state in reader.known.items()))
    wanted = [str(end or None) for end in ends.values()]
    wanted += [str((alert.state, alert.count)) for alert in states.values()]
    assert told == sorted(wanted)


# -- several at once, and killed ---------------------------------------------------------------------------


def keep_writing(url: str, who: int, steps: int) -> None:
    """Write events, their ends and alerts, in batches; a batch whose fate is not known again."""
    chance = random.Random(who)
    with closing(Store(url)) as store:
        for step in range(steps):
            event = replace(ENTER, track_id=1000 + who, ordinal=step)
            alert = replace(ALERT, alert_id=f"{who}-{step // 3}", count=step)
            batches: list[list[Any]] = [[event, alert], [EventEnd(event, T0 + step)]]
            for batch in batches if chance.random() < 0.7 else batches[:1]:
                for _ in range(2 if chance.random() < 0.1 else 1):
                    write_at_last(store, batch)


def write_at_last(store: Store, batch: list[Any]) -> None:
    """Write a batch however often others are in the way; what is in it counts as one batch either way."""
    until(lambda: wrote(store, batch), 120)


def wrote(store: Store, batch: list[Any]) -> bool:
    with suppress(StoreUnavailable):
        store.write_rows(rows_of(*batch))
        return True
    return False


def stored(url: str) -> dict[str, Any]:
    with closing(Database(url)) as database, database.reading() as connection:
        return dict(map(state_of, read_changes(connection, 0, 10**6)[0]))


def test_nothing_is_missed_though_many_write_and_some_are_killed(database_url: str) -> None:
    with closing(Store(database_url)) as store:
        store.open()
    stop, failures, readers = threading.Event(), list[BaseException](), list[Reader]()

    def keep_reading(seed: int) -> None:
        chance = random.Random(seed)
        try:
            with closing(Reader(database_url)) as reader:
                readers.append(reader)
                while not stop.is_set():
                    reader.read(limit=chance.choice([1, 3, 10, 1000]))
                while reader.read(limit=7):
                    pass
        except BaseException as error:
            failures.append(error)
            raise

    reading = [threading.Thread(target=keep_reading, args=(seed,)) for seed in range(2)]
    for thread in reading:
        thread.start()
    until(lambda: len(readers) == 2)
    spawn = multiprocessing.get_context("spawn")
    doomed = [spawn.Process(target=keep_writing, args=(database_url, who, 10**6)) for who in (1, 2)]
    writing = [threading.Thread(target=keep_writing, args=(database_url, who, 40)) for who in (3, 4, 5)]
    for process in doomed:
        process.start()
    try:
        until(lambda: len(stored(database_url)) > 40)  # the processes write
        for thread in writing:
            thread.start()
        for process in doomed:
            time.sleep(0.3)
            process.kill()
            process.join(30)
    finally:
        for process in doomed:
            process.kill()
    for thread in writing:
        thread.join(120)
    stop.set()
    for thread in reading:
        thread.join(60)
    assert failures == []
    whole = stored(database_url)
    assert len(whole) > 200
    for reader in readers:
        assert reader.known == whole


# -- through the writer ------------------------------------------------------------------------------------


def test_what_waited_in_the_spool_is_told_when_it_is_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/counts.db"
    writer = make_writer(url, tmp_path)
    told: list[float] = []
    writer.on_change = lambda: told.append(time.monotonic())
    with closing(Reader(url)) as reader:
        writer.put_results([ENTER])
        until(lambda: told)
        assert len(reader.read()) == 1
        with locked(url):
            told.clear()
            writer.put_results([replace(ENTER, ordinal=1)])
            until(lambda: writer.health().state == "spooling" and not writer.health().pending_records)
            assert (told, writer.outbox.is_away()) == ([], True)
        until(lambda: told and is_idle(writer))
        writer.put_results([replace(ENTER, ordinal=2)])
        until(lambda: len(told) >= 2)
        assert len(reader.read()) == 2, "the late one and the new one"
        assert not writer.outbox.is_away()
    writer.close()
