"""What durable sinks have still to be given, on SQLite and on a real Postgres."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_spool import MEGABYTE, ShakySpool, ShakyStore, is_idle, locked, make_writer
from test_store import checkpoint, counted, crossing, read, with_events

from sightline.entities import Checkpoint
from sightline.errors import StoreUnavailable
from sightline.store import database
from sightline.store.database import Store
from sightline.store.kinds import COUNT, EVENT, PendingRow, is_event, merge, rows_of
from sightline.store.outbox import Outbox
from sightline.store.spool import Spool
from sightline.store.spooled_store import SpooledStore
from sightline.store.writer import Writer
from support.waiting import until

SINKS = ("alerts", "broker")
WANTED = dict.fromkeys(SINKS, is_event)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/counts.db"


def ordinals(writer: Writer, sink: str = "alerts", limit: int = 100) -> list[int]:
    """Which events wait for a sink, oldest first."""
    return [message.values["ordinal"] for message in writer.outbox.read(sink, limit)]


def take(writer: Writer, sink: str = "alerts", limit: int = 100) -> list[int]:
    """Deliver what waits for a sink."""
    messages = writer.outbox.read(sink, limit)
    writer.outbox.acknowledge(sink, messages)
    return [message.values["ordinal"] for message in messages]


def put(writer: Writer, *numbers: int) -> None:
    for number in numbers:
        writer.put(with_events(crossing(number, time=100.0 + number)))


def test_each_sink_is_given_each_event_once_and_in_order(database_url: str, tmp_path: Path) -> None:
    writer = make_writer(database_url, tmp_path, sinks=WANTED)
    writer.put(checkpoint(counted(1), step=1))
    put(writer, 0, 1, 2)
    until(lambda: ordinals(writer) == [0, 1, 2])
    [message, *_] = writer.outbox.read("broker", 1)
    assert (message.kind, message.source, message.values["place"]) == (EVENT, "gate", "far pavement")
    assert take(writer, limit=2) == [0, 1]
    assert ordinals(writer) == [2]
    put(writer, 1, 3)  # made again after a restart of the worker, say
    until(lambda: ordinals(writer) == [2, 3])
    assert ordinals(writer, "broker") == [0, 1, 2, 3]
    assert take(writer) == [2, 3]
    until(lambda: len(read(database_url, "outbox")) == 4)
    assert {row["sink"] for row in read(database_url, "outbox")} == {"broker"}
    writer.close()


def test_without_a_durable_sink_nothing_is_written_to_the_outbox(database_url: str, tmp_path: Path) -> None:
    writer = make_writer(database_url, tmp_path)
    put(writer, 0)
    until(lambda: is_idle(writer))
    writer.close()
    assert len(read(database_url, "events")) == 1
    assert read(database_url, "outbox") == []


def test_an_event_and_its_outbox_rows_are_one_transaction(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(database_url)
    store.open()
    rows = [row for row in rows_of(with_events(crossing()), 1) if row.kind is EVENT]
    told = [replace(row, sinks=SINKS) for row in rows]

    def fail(*_: object) -> None:
        raise sa.exc.OperationalError("", {}, Exception("the connection broke"))

    with monkeypatch.context() as patch:
        patch.setattr(database, "_put_into_outbox", fail)
        with pytest.raises(StoreUnavailable):
            store.write_rows(told)
    assert read(database_url, "events") == []
    store.write_rows(told)
    store.write_rows(told)  # its answer was lost, say
    assert sorted(row["sink"] for row in read(database_url, "outbox")) == ["alerts", "broker"]
    store.close()


def test_events_are_written_at_once(database_url: str, tmp_path: Path) -> None:
    writer = make_writer(database_url, tmp_path, flush_every_s=60.0)
    writer.put(checkpoint(counted(1), step=1))
    with pytest.raises(AssertionError):
        until(lambda: bool(read(database_url, "count_windows")), timeout_s=0.3)
    put(writer, 0)
    until(lambda: bool(read(database_url, "events")), timeout_s=2.0)
    assert read(database_url, "count_windows")
    writer.close()


def test_a_sink_is_woken_by_rows_of_its_own_alone(sqlite_url: str, tmp_path: Path) -> None:
    sinks = {"alerts": is_event, "counts": lambda row: row.kind is COUNT}
    writer = make_writer(sqlite_url, tmp_path, sinks=sinks)
    alerts = writer.outbox.listeners["alerts"] = Mock()
    counts = writer.outbox.listeners["counts"] = Mock()
    until(lambda: alerts.called and counts.called)  # there may be something of an earlier start
    counts.reset_mock()
    alerts.reset_mock()
    put(writer, 0)
    until(lambda: alerts.called)
    writer.close()
    assert not counts.called


# -- the database away ----------------------------------------------------------------------------------


def test_what_happens_while_the_database_is_away_is_told_from_the_spool(
    sqlite_url: str, tmp_path: Path
) -> None:
    writer = make_writer(sqlite_url, tmp_path, sinks=WANTED)
    put(writer, 0)
    until(lambda: ordinals(writer) == [0])  # and stays for the broker
    assert take(writer) == [0]
    with locked(sqlite_url):
        put(writer, 1, 2)
        until(lambda: ordinals(writer) == [1, 2])
        assert take(writer, limit=1) == [1]
        assert writer.health().state == "spooling"
    until(lambda: is_idle(writer))
    assert take(writer) == [2]
    # What was given out of the spool is no proof of having what waits in the database.
    assert take(writer, "broker") == [0, 1, 2]
    until(lambda: read(sqlite_url, "outbox") == [])
    writer.close()


def test_what_is_given_while_it_moves_into_the_database_does_not_come_again(
    sqlite_url: str, tmp_path: Path
) -> None:
    writer = make_writer(sqlite_url, tmp_path, sinks={"alerts": is_event})
    with locked(sqlite_url):
        put(writer, 0)
        until(lambda: ordinals(writer) == [0])
        messages = writer.outbox.read("alerts", 10)
    until(lambda: is_idle(writer))
    writer.outbox.acknowledge("alerts", messages)
    assert ordinals(writer) == []
    until(lambda: not writer.outbox.delivered())
    assert ordinals(writer) == []
    assert read(sqlite_url, "outbox") == []
    writer.close()


def test_the_outbox_survives_a_restart_while_the_database_is_away(sqlite_url: str, tmp_path: Path) -> None:
    writer = make_writer(sqlite_url, tmp_path, sinks={"alerts": is_event})
    with locked(sqlite_url):
        put(writer, 0, 1, 2)
        until(lambda: ordinals(writer) == [0, 1, 2])
        take(writer, limit=1)
        until(lambda: not writer.outbox.delivered())
        writer.close()
        again = make_writer(sqlite_url, tmp_path, sinks={"alerts": is_event})
        assert take(again, limit=1) == []  # it cannot know yet that no other program tells the same
    until(lambda: is_idle(again))
    assert take(again) == [1, 2]
    again.close()
    assert len(read(sqlite_url, "events")) == 3


def test_a_spool_written_before_there_was_an_outbox_is_replayed(sqlite_url: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", MEGABYTE)
    spool.put(rows_of(Checkpoint("gate", (counted(3), crossing()), {"step": 1}), 10))
    spool.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db")) as old:
        old.execute("DROP TABLE outbox")
        old.execute("PRAGMA user_version = 1")
        for kind, body in OLD_BODIES.items():  # without arrivals, and without the position in the stream
            old.execute("UPDATE records SET body = ? WHERE kind = ?", (body, kind))
        resume = ('{"resume": {"step": 1}}',)  # without the camera's name, which stood beside it only
        old.execute("UPDATE records SET body = ? WHERE kind = 'resume'", resume)
        old.commit()
    writer = make_writer(sqlite_url, tmp_path, sinks={"alerts": is_event})
    assert writer.resume_states() == {"gate": {"step": 1}}
    until(lambda: is_idle(writer))
    assert ordinals(writer) == []
    put(writer, 0, 7)
    until(lambda: ordinals(writer) == [7])
    writer.close()
    assert len(read(sqlite_url, "events")) == 2
    assert [(row["count"], row["arrivals"]) for row in read(sqlite_url, "count_windows")] == [(3, None)]


OLD_BODIES = {
    "count": '{"source": "gate", "item_class": "person", "count": 3, "window_start": 60.0, '
    '"window_end": 120.0}',
    "event": '{"source": "gate", "kind": "crossing", "place": "far pavement", "track_id": 7, '
    '"item_class": "person", "event_time": 100.25, "confirmed_time": 100.75, "direction": "forward", '
    '"value": null, "x": 0.5, "y": 0.75, "unseen": false, "first_time": 99.0, "ordinal": 0}',
}


def test_a_spool_of_a_newer_program_is_left_alone(sqlite_url: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db")) as newer:
        newer.execute("PRAGMA user_version = 99")
    writer = make_writer(sqlite_url, tmp_path)
    assert "its format is 99" in writer.health().last_error
    writer.close()


# -- bounds ---------------------------------------------------------------------------------------------


def test_what_no_sink_takes_is_dropped_and_counted(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(database_url, tmp_path, sinks=WANTED)
    put(writer, *range(5))
    until(lambda: ordinals(writer) == [0, 1, 2, 3, 4])
    monkeypatch.setattr(database, "MAX_OUTBOX_ROWS", 3)
    writer._next_trim_s = 0.0
    until(lambda: ordinals(writer) == [2, 3, 4])
    until(lambda: writer.health().dropped_outbox_rows == 4)
    monkeypatch.setattr(database, "MAX_OUTBOX_AGE_S", 0.0)
    writer._next_trim_s = 0.0
    until(lambda: writer.health().dropped_outbox_rows == 10)
    writer.close()
    assert read(database_url, "outbox") == []
    assert len(read(database_url, "events")) == 5


def test_events_dropped_from_a_full_spool_leave_its_outbox(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 300_000)
    for number in range(30):
        events = with_events(*(crossing(50 * number + n, time=number) for n in range(50)))
        rows = rows_of(events, number + 1)
        spool.put(replace(row, sinks=("alerts",) if row.kind is EVENT else ()) for row in rows)
    kept = spool.outbox("alerts", 10_000)
    assert 0 < len(kept) == 1500 - spool.dropped_rows
    assert min(row.time for row in kept) > 0
    spool.close()


@pytest.fixture
def unreadable(tmp_path: Path) -> Iterator[Any]:
    """A database that can be written, but of which another connection reads nothing."""
    writer = make_writer(f"sqlite:///{tmp_path}/counts.db", tmp_path, sinks={"alerts": is_event})
    writer.outbox._database = type("Broken", (), {"reading": staticmethod(broken), "close": lambda _: None})()
    yield writer
    writer.close()


@contextlib.contextmanager
def broken() -> Iterator[None]:
    raise StoreUnavailable("permission denied for table outbox")
    yield


def test_an_outbox_that_cannot_be_read_is_said(unreadable: Writer) -> None:
    put(unreadable, 0)
    until(lambda: is_idle(unreadable))
    with pytest.raises(StoreUnavailable, match="permission denied"):
        unreadable.outbox.read("alerts", 10)


# -- any order of faults --------------------------------------------------------------------------------

ACTIONS = st.sampled_from(["put", "put", "take", "take", "up", "down", "mute", "full disk", "disk", "crash"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(st.tuples(ACTIONS, st.sampled_from(SINKS)), max_size=30))
def test_any_order_of_faults_gives_each_sink_each_event(  # noqa: PLR0915 - a model of the whole
    tmp_path_factory: pytest.TempPathFactory, actions: Sequence[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("shaky")
    url = f"sqlite:///{folder}/counts.db"

    def start() -> tuple[ShakyStore, ShakySpool, SpooledStore, Outbox]:
        store, spool = ShakyStore(url), ShakySpool(folder / "spool.db", MEGABYTE)
        both = SpooledStore(store, spool, (0.0, 0.0))
        both.open()
        away, wake = (lambda: bool(both.store_error)), (lambda: None)
        return store, spool, both, Outbox(url, spool, WANTED, Mock(held=True), is_away=away, wake_writer=wake)

    store, spool, both, outbox = start()
    told: dict[str, list[int]] = {sink: [] for sink in SINKS}
    pending: dict[str, PendingRow] = {}
    written: set[int] = set()
    number = 0
    end = [("disk", ""), ("up", ""), *[("put", "")] * 3, *[("take", sink) for sink in SINKS * 3]]
    for action, sink in [*actions, *end]:
        if action in {"up", "down", "mute"}:
            store.mood = action
        elif action in {"disk", "full disk"}:
            spool.works = action == "disk"
        elif action == "crash":
            mood = store.mood
            store.close()
            spool.close()
            pending = {}  # what neither database nor spool had taken
            store, spool, both, outbox = start()
            store.mood = mood
        elif action == "put":
            number += 1
            rows = rows_of(with_events(crossing(number)), number)
            new = {row.key: replace(row, sinks=SINKS if row.kind is EVENT else ()) for row in rows}
            merge(pending, new.values())
            if both.deliver(list(pending.values())):
                written |= {row.values["ordinal"] for row in pending.values() if row.kind is EVENT}
                pending = {}
            both.replay()
        else:
            with contextlib.suppress(StoreUnavailable):
                messages = outbox.read(sink, 100)
                told[sink] += [message.values["ordinal"] for message in messages]
                outbox.acknowledge(sink, messages)
            outbox.forget(both.forget_delivered(outbox.delivered()))
    assert not pending
    while both.waiting:
        both.replay()
    for sink in SINKS:
        told[sink] += [message.values["ordinal"] for message in outbox.read(sink, 100)]
        assert written <= set(told[sink]), f"{sink} misses events"
        if not {"crash", "mute", "full disk"} & {action for action, _ in actions}:
            assert sorted(told[sink]) == sorted(written), "once each"
    store.close()
    spool.close()
    outbox.close()
