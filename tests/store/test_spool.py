"""The writer and its spool while the database is locked, away, frozen, on a full disk, or killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_store import checkpoint, counted, counts_in, crossing, read, watched, with_events

from conftest import Postgres
from sightline.entities import CameraState, CameraStatus, Checkpoint
from sightline.errors import SchemaError, StoreUnavailable
from sightline.store.database import Store
from sightline.store.kinds import COUNT, RESUME, WINDOW, PendingRow, rows_of
from sightline.store.spool import Spool
from sightline.store.spooled_store import SpooledStore
from sightline.store.writer import Writer
from support.disks import fill, small_disk
from support.stored import database_options, write
from support.waiting import until

MEGABYTE = 1_000_000


def make_writer(url: str, folder: Path, *, max_bytes: int = MEGABYTE, **options: Any) -> Writer:
    options = {"flush_every_s": 0.02, "retry_s": (0.05, 0.2), **options}
    return Writer(database_options(url, folder / "spool.db", max_bytes), **options)


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold the lock of a SQLite file."""
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def is_idle(writer: Writer) -> bool:
    health = writer.health()
    return health.state == "ok" and not health.pending_records


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/counts.db"
    store = Store(url)
    store.open()
    store.close()
    return url


# -- the writer, all well -----------------------------------------------------------------------------


def test_results_arrive_and_come_back_at_the_next_start(database_url: str, tmp_path: Path) -> None:
    writer = make_writer(database_url, tmp_path)
    assert writer.resume_states() == {}
    for step in range(5):
        writer.put(checkpoint(counted(step), watched(step / 5), step=step))
        writer.put_status(CameraStatus("gate", CameraState.ONLINE, "", 1000.0 + step))
    writer.mark_unwatched([watched(0.0), watched(0.0, start=120.0)])
    writer.close()
    assert list(counts_in(database_url).values()) == [4]
    assert [row["coverage"] for row in read(database_url, "source_windows")] == [0.8, 0.0]
    assert writer.health().state == "stopped"
    again = make_writer(database_url, tmp_path)
    assert again.resume_states() == {"gate": {"step": 4}}
    again.close()


@pytest.mark.fault(20)
def test_events_wait_in_the_spool_and_arrive_once(sqlite_url: str, tmp_path: Path) -> None:
    writer = make_writer(sqlite_url, tmp_path)
    with locked(sqlite_url):
        for ordinal in range(5):
            writer.put(with_events(crossing(ordinal), crossing(max(0, ordinal - 1))))  # some are put twice
        until(lambda: writer.health().state == "spooling" and not writer.health().pending_records)
        assert writer.health().spooled_records == 6  # and the resume state
        writer.close()
    again = make_writer(sqlite_url, tmp_path)
    again.put(with_events(crossing(0), crossing(5)))
    until(lambda: is_idle(again))
    again.close()
    assert len(read(sqlite_url, "events")) == 6


def test_a_newer_schema_is_refused_at_the_start(sqlite_url: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other:
        other.execute("UPDATE sightline_schema SET version_num = '9999'")
        other.commit()
    with pytest.raises(SchemaError, match="9999"):
        make_writer(sqlite_url, tmp_path)


# -- the database locked or away ----------------------------------------------------------------------


@pytest.mark.fault(20)
def test_a_locked_database_delays_and_loses_nothing(sqlite_url: str, tmp_path: Path) -> None:
    writer = make_writer(sqlite_url, tmp_path)
    writer.put(checkpoint(counted(1), step=1))
    until(lambda: is_idle(writer))
    with locked(sqlite_url):
        for step in range(2, 30):
            writer.put(checkpoint(counted(step), counted(1, start=60.0 * step), watched(0.5), step=step))
        until(lambda: writer.health().state == "spooling" and not writer.health().pending_records)
        health = writer.health()
        assert "locked" in health.last_error
        assert health.spooled_records == 31  # one row for each key, however often it was put
        assert health.oldest_age_s > 0
        assert not health.alarm
    until(lambda: is_idle(writer))
    writer.close()
    counts = counts_in(sqlite_url)
    assert counts.pop(("gate", "person", "1970-01-01 00:01")) == 29
    assert list(counts.values()) == [1] * 28


def test_what_waits_is_as_old_as_its_oldest_row_though_more_comes_during_each_batch(
    sqlite_url: str, tmp_path: Path
) -> None:
    writer, steps = make_writer(sqlite_url, tmp_path), itertools.count()
    deliver = writer._spooled_store.deliver

    def slow(batch: list[Any]) -> bool:
        writer.put(checkpoint(counted(1), step=next(steps)))
        time.sleep(0.05)
        return deliver(batch)

    writer._spooled_store.deliver = slow  # type: ignore[method-assign]
    writer.put(checkpoint(counted(1), step=-1))
    until(lambda: next(steps) > 40)
    assert 0 < writer.health().oldest_age_s < 1.0  # some forty batches have taken more than two seconds
    writer._spooled_store.deliver = deliver  # type: ignore[method-assign]
    writer.close()


def test_a_database_locked_at_the_start_and_to_the_end(sqlite_url: str, tmp_path: Path) -> None:
    with locked(sqlite_url):
        writer = make_writer(sqlite_url, tmp_path)
        writer.put(checkpoint(counted(4), step=4))
        writer.close(timeout_s=5.0)
        second = make_writer(sqlite_url, tmp_path)
        assert second.resume_states() == {"gate": {"step": 4}}
        second.put(checkpoint(counted(5), step=5))
        second.close(timeout_s=5.0)
    assert counts_in(sqlite_url) == {}
    third = make_writer(sqlite_url, tmp_path)
    assert third.resume_states() == {"gate": {"step": 5}}
    until(lambda: is_idle(third))
    third.close()
    assert list(counts_in(sqlite_url).values()) == [5]


def test_resume_states_survive_a_start_without_the_database(sqlite_url: str, tmp_path: Path) -> None:
    """What was written before and never spooled: else the open window would start again from nothing."""
    writer = make_writer(sqlite_url, tmp_path)
    writer.put(checkpoint(counted(4), step=4))
    writer.close()
    with locked(sqlite_url):
        again = make_writer(sqlite_url, tmp_path)
        assert again.resume_states() == {"gate": {"step": 4}}
        again.close(timeout_s=5.0)


def test_a_file_that_is_deleted_is_made_again(sqlite_url: str, tmp_path: Path) -> None:
    writer = make_writer(sqlite_url, tmp_path)
    writer.put(checkpoint(counted(1), step=1))
    until(lambda: is_idle(writer))
    for path in tmp_path.glob("counts.db*"):
        path.unlink()
    writer.put(checkpoint(counted(2), step=2))
    writer.close()
    assert list(counts_in(sqlite_url).values()) == [2]


@pytest.mark.fault(20)
def test_postgres_stopped_and_started(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    writer = make_writer(url, tmp_path)
    writer.put(checkpoint(counted(1), step=1))
    until(lambda: is_idle(writer))
    postgres.stop()
    try:
        for step in range(2, 50):
            writer.put(checkpoint(counted(step), counted(1, start=60.0 * step), step=step))
        until(lambda: writer.health().state == "spooling" and not writer.health().pending_records)
        writer.close()
        writer = make_writer(url, tmp_path)  # starts while the server is away
        assert writer.resume_states() == {"gate": {"step": 49}}
        writer.put(checkpoint(counted(50), step=50))
    finally:
        postgres.start()
    until(lambda: is_idle(writer))
    writer.close()
    counts = counts_in(url)
    assert counts.pop(("gate", "person", "1970-01-01 00:01")) == 50
    assert list(counts.values()) == [1] * 48


@pytest.mark.fault(20)
def test_a_frozen_postgres_does_not_hold_the_writer(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    make_writer(url, tmp_path).close()  # its tables take longer to be made
    store = Store(url, write_timeout_s=1.0)
    write(store, [checkpoint(counted(1))])
    server = psutil.Process(postgres.pid)
    family = [*server.children(recursive=True), server]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            write(store, [checkpoint(counted(2))])
    finally:
        for process in family:
            process.send_signal(signal.SIGCONT)
    write(store, [checkpoint(counted(3))])
    store.close()


def test_closing_while_the_database_hangs_spools_what_is_in_hand(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(Store, "write_rows", lambda *_: release.wait(20))
    writer = make_writer(sqlite_url, tmp_path)
    writer.put(checkpoint(counted(7), step=7))
    until(lambda: bool(writer._in_hand))
    writer.put(checkpoint(counted(8), step=8))
    writer.close(timeout_s=0.1)
    release.set()
    writer._thread.join()
    monkeypatch.undo()
    again = make_writer(sqlite_url, tmp_path)
    assert again.resume_states() == {"gate": {"step": 8}}
    again.close()
    assert list(counts_in(sqlite_url).values()) == [8]


@pytest.mark.fault(24)
def test_a_fault_in_the_thread_is_survived_and_shown(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("nobody thought of rtsp://u:secret@h")

    writer = make_writer(sqlite_url, tmp_path)
    monkeypatch.setattr(Store, "write_rows", fail)
    writer.put(checkpoint(counted(1), step=1))
    until(lambda: "nobody thought of" in writer.health().last_error)
    assert "secret" not in writer.health().last_error
    monkeypatch.undo()
    until(lambda: is_idle(writer))
    writer.close()
    assert list(counts_in(sqlite_url).values()) == [1]


# -- order --------------------------------------------------------------------------------------------


def test_what_was_left_is_replayed_before_what_is_newer(sqlite_url: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", MEGABYTE)
    spool.put(rows_of(checkpoint(counted(1), counted(1, start=120.0), watched(0.1), step=1), 10))
    spool.close()
    writer = make_writer(sqlite_url, tmp_path)
    writer.put(checkpoint(counted(9), watched(0.9), step=9))
    writer.close()
    assert sorted(counts_in(sqlite_url).values()) == [1, 9]
    assert [row["coverage"] for row in read(sqlite_url, "source_windows")] == [0.9]


def test_a_mislaid_spool_fills_holes_and_overwrites_nothing(database_url: str, tmp_path: Path) -> None:
    store = Store(database_url)
    store.write_rows(rows_of(checkpoint(counted(9), watched(0.9), step=9), 100))
    store.close()
    old = checkpoint(counted(1), counted(1, start=120.0), watched(0.1), step=1)
    spool = Spool(tmp_path / "spool.db", MEGABYTE)
    spool.put(rows_of(old, 50))
    spool.close()
    writer = make_writer(database_url, tmp_path)
    assert writer.resume_states() == {"gate": {"step": 9}}
    until(lambda: is_idle(writer))
    writer.close()
    assert sorted(counts_in(database_url).values()) == [1, 9]
    assert [row["coverage"] for row in read(database_url, "source_windows")] == [0.9]
    [camera] = read(database_url, "cameras")
    assert camera["sequence"] == 100


def test_unwatched_windows_never_hide_a_spooled_row(sqlite_url: str, tmp_path: Path) -> None:
    with locked(sqlite_url):
        writer = make_writer(sqlite_url, tmp_path)
        writer.put(checkpoint(watched(0.4)))
        until(lambda: writer.health().spooled_records == 2)
        writer.mark_unwatched([watched(0.0), watched(0.0, start=120.0)])
        until(lambda: writer.health().spooled_records == 3)
    until(lambda: is_idle(writer))
    writer.close()
    assert [row["coverage"] for row in read(sqlite_url, "source_windows")] == [0.4, 0.0]


# -- bounds and full disks ----------------------------------------------------------------------------


def test_a_full_spool_drops_the_oldest_windows_and_keeps_resume_states(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 300_000)
    for i in range(60):
        rows = [counted(i, name=f"class {n}", start=60.0 * i) for n in range(50)]
        spool.put(rows_of(checkpoint(*rows, step=i), i + 1))
    kept, _, used = spool.waiting(-1)
    assert 0.6 < used <= 1
    assert 0 < kept < 3000
    assert spool.dropped_rows == 3001 - kept
    starts = {row.time for row in spool.oldest(10_000, -1) if row.kind is COUNT}
    assert max(starts) == 59 * 60.0
    assert min(starts) > 0
    assert spool.states() == {"gate": (60, {"step": 59})}
    assert (tmp_path / "spool.db").stat().st_size <= 400_000
    spool.close()


def test_the_spool_gives_the_disk_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 100 * MEGABYTE)
    rows = [counted(1, name=f"class {n} " + "x" * 500, start=1.0) for n in range(4000)]
    spool.put(rows_of(checkpoint(*rows), 1))
    spool.remove_up_to(1)
    assert (tmp_path / "spool.db").stat().st_size < MEGABYTE
    spool.close()


def test_memory_is_bounded_when_nothing_takes_the_results(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with locked(sqlite_url):
        writer = make_writer(sqlite_url, tmp_path / "file", flush_every_s=0.01, max_pending=100)
        for i in range(1000):
            writer.put(checkpoint(counted(i, start=60.0 * i), step=i))
        until(lambda: writer.health().state == "memory")
        health = writer.health()
        assert health.pending_records <= 200
        assert health.dropped_records >= 800
        assert health.alarm
    until(lambda: not writer.health().pending_records)
    writer.close()
    assert max(counts_in(sqlite_url).values()) == 999


@pytest.mark.fault(21)
def test_a_spool_on_a_full_disk_while_the_database_works(sqlite_url: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as folder:
        filler = fill(folder)
        writer = make_writer(sqlite_url, folder)
        writer.put(checkpoint(counted(1), step=1))
        until(lambda: writer.health().written_records > 0)
        assert writer.health().alarm
        filler.unlink()
        writer.put(checkpoint(counted(2), step=2))
        until(lambda: is_idle(writer) and not writer.health().alarm)
        writer.close()
    assert list(counts_in(sqlite_url).values()) == [2]


# -- the file itself ----------------------------------------------------------------------------------


def test_a_damaged_spool_is_moved_aside(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database at all" * 500)
    writer = make_writer(sqlite_url, tmp_path)
    assert not writer.health().alarm
    writer.put(checkpoint(counted(1)))
    writer.close()
    assert len(list(tmp_path.glob("spool.db.damaged-*"))) == 1
    assert list(counts_in(sqlite_url).values()) == [1]


def test_a_second_program_on_the_same_spool_is_refused(tmp_path: Path) -> None:
    first, second = Spool(tmp_path / "spool.db", MEGABYTE), Spool(tmp_path / "spool.db", MEGABYTE)
    first.put(rows_of(checkpoint(counted(1)), 1))
    with pytest.raises(StoreUnavailable, match="locked"):
        second.put(rows_of(checkpoint(counted(2)), 2))
    first.close()
    second.put(rows_of(checkpoint(counted(2)), 2))
    second.close()


# -- any order of faults ------------------------------------------------------------------------------


class ShakyStore(Store):
    """Fails when told to: before writing, or after (the answer was lost)."""

    mood = "up"

    def write_rows(self, records: Any) -> None:
        if self.mood == "down":
            raise StoreUnavailable("down")
        super().write_rows(records)
        if self.mood == "mute":
            raise StoreUnavailable("the answer was lost")

    def forget_delivered(self, delivered: Any) -> None:
        if self.mood == "down":
            raise StoreUnavailable("down")
        super().forget_delivered(delivered)


class ShakySpool(Spool):
    """Fails when told to."""

    works = True

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        if not self.works:
            raise StoreUnavailable("disk full")
        with super()._transaction(durable=durable) as connection:
            yield connection


ACTIONS = st.sampled_from(["put", "put", "put", "up", "down", "mute", "full disk", "disk", "crash"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(st.tuples(ACTIONS, st.integers(0, 3), st.integers(0, 9)), max_size=30))
def test_any_order_of_faults_gives_the_newest_row_of_each_key(
    tmp_path_factory: pytest.TempPathFactory, actions: Sequence[tuple[str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("shaky")
    url = f"sqlite:///{folder}/counts.db"

    def start() -> tuple[ShakyStore, ShakySpool, SpooledStore]:
        store, spool = ShakyStore(url), ShakySpool(folder / "spool.db", MEGABYTE)
        delivery = SpooledStore(store, spool, (0.0, 0.0))
        delivery.open()
        return store, spool, delivery

    store, spool, delivery = start()
    allowed: dict[int, set[int | None]] = {}  # one value once it was taken; more where the answer was lost
    pending: dict[str, PendingRow] = {}
    sequence = 0
    for action, window, count in [*actions, ("disk", 0, 0), ("up", 0, 0), ("put", 9, 9), ("put", 9, 9)]:
        if action in {"up", "down", "mute"}:
            store.mood = action
        elif action in {"disk", "full disk"}:
            spool.works = action == "disk"
        elif action == "crash":
            mood = store.mood
            store.close()
            spool.close()
            pending = {}
            store, spool, delivery = start()
            store.mood = mood
        else:
            sequence += 1
            one = checkpoint(counted(count, start=60.0 * window), step=sequence)
            pending |= {record.key: record for record in rows_of(one, sequence)}
            taken = delivery.deliver(list(pending.values()))
            delivery.replay()
            for record in pending.values():
                if record.kind is COUNT:
                    before = set() if taken else allowed.get(int(record.time // 60), {None})
                    allowed[int(record.time // 60)] = {*before, record.values["count"]}
            pending = {} if taken else pending
    while delivery.waiting:
        delivery.replay()
    assert not pending
    found = {int(key[2][-2:]): count for key, count in counts_in(url).items()}
    wrong = {window: found.get(window) for window in allowed if found.get(window) not in allowed[window]}
    store.close()
    spool.close()
    assert not wrong
    assert found.keys() <= allowed.keys()
    assert found[9] == 9


def test_who_starts_while_the_database_is_away_lowers_nothing(sqlite_url: str, tmp_path: Path) -> None:
    write(Store(sqlite_url), [checkpoint(counted(13), watched(0.75), step=13)])
    with locked(sqlite_url):
        writer = make_writer(sqlite_url, tmp_path)
        assert writer.resume_states() == {}, "its spool is new"
        writer.put(checkpoint(counted(2), watched(0.1), step=2))
        until(lambda: writer.health().spooled_records > 0)
    until(lambda: is_idle(writer))
    writer.put(checkpoint(counted(3), watched(0.2), step=3))
    until(lambda: is_idle(writer))
    writer.close()
    assert list(counts_in(sqlite_url).values()) == [13]
    assert [row["coverage"] for row in read(sqlite_url, "source_windows")] == [0.75]


def test_windows_that_may_be_open_come_back_as_the_newest_rows_have_them(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From the database, and over it from the spool; with a state or without."""
    start = time.time() // 60 * 60
    rows = [counted(3, start=start), counted(4, name="car", start=start), watched(0.5, start=start)]
    writer = make_writer(database_url, tmp_path)
    writer.put(checkpoint(*rows, counted(9, start=start - 3600), step=1))
    until(lambda: is_idle(writer))
    writer.close()
    spool = Spool(tmp_path / "spool.db", MEGABYTE)
    spool.put(rows_of(checkpoint(counted(5, start=start), step=2), time.time_ns() // 1000))
    with spool._transaction() as connection:
        connection.execute("UPDATE records SET body = 'torn' WHERE kind = 'resume'")
    spool.close()
    again = make_writer(database_url, tmp_path)
    stored = again.resume_states()["gate"]
    until(lambda: is_idle(again))
    again.close()
    assert again.health().dropped_records == 1
    assert 5 in counts_in(database_url).values(), "what is torn holds up nothing"
    assert stored.keys() == {"stored"}
    assert "camera gate: its saved state cannot be read" in caplog.text
    assert {row["item_class"]: row["count"] for row in stored["stored"]["count"]} == {"person": 5, "car": 4}
    assert [row["coverage"] for row in stored["stored"]["window"]] == [0.5]


# -- killed ---------------------------------------------------------------------------------------------

VICTIM = """
import sys, time
import numpy as np
from pathlib import Path
from sightline.entities import Checkpoint, Detections, ModelInfo, Tracks
from sightline.analysis.chain import frame_at
from sightline.analysis.classes import ClassTable
from sightline.analysis.counts.windows import WindowCounter
from sightline.analysis.observer import Observation
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.timebase import Timebase
from sightline.config.groups import DatabaseOptions
from sightline.store.writer import Writer

url, spool, total = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
options = DatabaseOptions(url=url, spool_path=spool)
writer = Writer(options, flush_every_s=0.01, retry_s=(0.02, 0.1))
resume = writer.resume_states().get("gate", {})
classes, timebase = ClassTable([(0, "person")]), Timebase(10.0, resume.get("timebase"))
counter = WindowCounter(AnalysisOptions("gate", window_s=5), classes, state=resume.get("windows"))
model = ModelInfo("detector", "1", ("person",), 384, 640, "fp32", 0.1)
print("ready", flush=True)
one = lambda track: Tracks(np.array([track]), np.zeros((1, 4), np.float32), np.ones(1, np.float32),
                           np.zeros(1, np.int32), np.array([track * 0.3]), np.ones(1, bool))
for frame in range(resume.get("frame", 0), total):
    moment, tracks = timebase.advance(frame * 0.1), one(frame // 3)
    seen = frame_at(frame * 0.1), Detections.empty(), tracks, classes, moment
    counter.observe(Observation(*seen, model=model))
    if frame % 7 == 0:
        counts, sources = counter.rows()
        state = {"frame": frame + 1, "windows": counter.snapshot(), "timebase": timebase.snapshot()}
        writer.put(Checkpoint("gate", (*counts, *sources), state))
        time.sleep(0.002)
counter.end(total * 0.1)
counts, sources = counter.rows()
writer.put(Checkpoint("gate", (*counts, *sources), {"frame": total, "windows": counter.snapshot()}))
writer.close()
print("done", flush=True)
"""


@pytest.mark.fault(18)
def test_kill_9_in_a_loop_loses_and_doubles_nothing(database_url: str, tmp_path: Path) -> None:
    """The whole writing process dies again and again, in the middle of whatever it does."""
    total, chance = 1500, random.Random(7)
    command = [sys.executable, "-c", VICTIM, database_url, str(tmp_path / "spool.db"), str(total)]
    kills = 0
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "ready\n"
            with contextlib.ExitStack() as stack:
                if kills % 2 and database_url.startswith("sqlite"):
                    stack.enter_context(locked(database_url))  # it dies while it spools
                time.sleep(chance.uniform(0.02, 0.25))
                if kills < 4:
                    victim.kill()
                    kills += 1
                    continue
            assert victim.stdout.read() == "done\n"
            break
    counts, windows = read(database_url, "count_windows"), read(database_url, "source_windows")
    truth = [len({frame // 3 for frame in range(total) if frame // 50 == window}) for window in range(30)]
    assert [row["count"] for row in sorted(counts, key=lambda row: str(row["window_start"]))] == truth
    assert len(windows) == 30
    assert {round(row["coverage"], 3) for row in windows} == {1.0}
    [camera] = read(database_url, "cameras")
    resume = camera["resume"]
    assert (json.loads(resume) if isinstance(resume, str) else resume)["frame"] == total


def test_a_checkpoint_is_kept_whole() -> None:
    """The resume state comes last, so that no row is newer in the spool than the state in the database."""
    kinds = [record.kind for record in rows_of(Checkpoint("gate", (counted(1), watched(1)), {}), 1)]
    assert kinds == [COUNT, WINDOW, RESUME]


# -- files of earlier releases --------------------------------------------------------------------------


def test_files_that_others_could_read_are_closed(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(sqlite_url):
        writer = make_writer(sqlite_url, tmp_path)
        writer.put(checkpoint(counted(1)))
        writer.close()
    ours = [tmp_path / f"counts.db{end}" for end in ("", "-wal", "-shm", ".backup-0007-20260101T000000Z")]
    ours += [tmp_path / f"spool.db{end}" for end in ("", ".damaged-1", ".of-another-database-2")]
    others = [tmp_path / name for name in ("counts.db.csv", "my-counts.db", "elsewhere")]
    tmp_path.joinpath("counts.db.backup-x").symlink_to("elsewhere")
    for path in ours + others:
        path.touch()
        path.chmod(0o644)
    modes = {path: path.stat().st_mode for path in others}
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        make_writer(sqlite_url, tmp_path).close()
        assert tmp_path.joinpath("counts.db").stat().st_mode & 0o777 == 0o644  # another user's
    caplog.clear()
    for path in ours:
        path.touch()
        path.chmod(0o644)
    writer = make_writer(sqlite_url, tmp_path)
    until(lambda: is_idle(writer))
    assert [path.name for path in ours if path.exists() and path.stat().st_mode & 0o077] == []
    assert {path: path.stat().st_mode for path in others} == modes
    for path in ours:
        assert f"{path} was open to other users (mode 0644)" in caplog.text
    writer.close()
