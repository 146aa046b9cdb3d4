"""No span stays open for ever: real analysis, hub and database, fake workers; on SQLite and Postgres."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import analysis_options
from sightline.camera.messages import AddCamera, RemoveCamera, Report, UpdateCamera, WorkerReport
from sightline.config import parse_config
from sightline.entities import (
    CameraState,
    CameraStatus,
    Checkpoint,
    Detections,
    Event,
    EventEnd,
    EventKind,
    ModelInfo,
    Result,
)
from sightline.store.database import Store
from sightline.store.kinds import PendingRow, pending_row, rows_of
from sightline.store.read.open_events import OpenEvent, OpenEvents
from sightline.store.spooled_store import WriterHealth
from sightline.store.tables import EventRow, table_of
from sightline.supervisor.control import Control, make_plan
from sightline.supervisor.hub import Hub
from sightline.supervisor.open_spans import OpenSpans
from sightline.supervisor.supervisor import Supervisor
from support.fake_workers import FakeClock, FakeHandle, FakeWorkers

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
MODEL = ModelInfo("detector", "m-1", ("person",), 192, 320, "fp32", 0.1)
EVENTS = table_of(EventRow)
YARD = {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "loiter_s": 4, "max_occupancy": 1}
CHANGES: dict[str, dict[str, Any] | None] = {
    "gone": None,
    "off": {"enabled": False},
    "on": {"enabled": True},
    "a typo": {"url": "rtps://h/a"},
    "its correction": {"url": "rtsp://h/a"},
    "another stream": {"url": "rtsp://h/other"},
    "no yard": {"rules": {"zones": {}}},
    "a yard": {"rules": {"zones": {"yard": YARD}}},
    "another bound": {"rules": {"zones": {"yard": {**YARD, "max_occupancy": 3}}}},
}
CAMERA = {"url": "rtsp://h/a", "enabled": True, "rules": {"zones": {"yard": YARD}}}


class ToStore:
    """The writer's side that the hub uses, without a thread; what has not been committed dies with it."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock = store, clock
        self.rows: list[PendingRow] = []
        self.events: OpenEvents | None = None
        self.commit()

    def resume_states(self) -> dict[str, dict[str, Any]]:
        return {source: resume for source, (_, resume) in self.store.resume_states().items()}

    def put(self, checkpoint: Checkpoint) -> None:
        self.rows += rows_of(checkpoint, time.time_ns() // 1000)

    def put_results(self, results: Iterable[Result]) -> None:
        self.rows += [pending_row(result, time.time_ns() // 1000) for result in results]

    def put_status(self, status: CameraStatus) -> None:
        self.rows.append(pending_row(status, time.time_ns() // 1000))

    def mark_unwatched(self, windows: Any) -> None:
        """Of the wall clock, which is not the scene's."""

    def health(self) -> WriterHealth:
        return WriterHealth()

    def commit(self) -> None:
        self.store.write_rows(self.rows)
        self.rows.clear()
        self.events = OpenEvents(self.clock(), self.store.open_events())

    def open_events(self) -> OpenEvents | None:
        return self.events


class Program:
    """A supervisor, a worker's analyses of two cameras, people who stand there, and time."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store, self.path = store, path
        self.cameras: dict[str, dict[str, Any]] = {"a": dict(CAMERA), "b": dict(CAMERA)}
        self.people, self.state, self.time = 1, CameraState.ONLINE, BEGIN
        self.start()

    def start(self) -> None:
        self.path.write_text(json.dumps({"cameras": self.cameras}))
        config = parse_config({"cameras": self.cameras})
        self.clock = FakeClock()
        self.workers = FakeWorkers(self.clock, obeys=False)
        self.writer = ToStore(self.store, self.clock)
        self.supervisor = Supervisor(
            config,
            Hub(self.writer),  # type: ignore[arg-type]
            start_worker=self.workers.start,
            clock=self.clock,
            wall_clock=lambda: self.time,
        )
        self.supervisor.apply(make_plan(parse_config({"cameras": {}}), config, config.options))
        self.control = Control(self.path, config, self.supervisor.apply)
        self.analyses: dict[str, CameraAnalysis] = {}
        self.hosts: dict[str, FakeHandle] = {}
        self.heard: dict[int, int] = {}

    def change(self, camera: str, name: str) -> None:
        values = CHANGES[name]
        if values is None:
            self.cameras.pop(camera, None)
        else:
            self.cameras[camera] = {**self.cameras.get(camera, CAMERA), **values}
        self.path.write_text(json.dumps({"cameras": self.cameras or {"other": {"url": "rtsp://h/o"}}}))

    def do(self, step: tuple[str, str, str], seconds: int) -> None:
        """One thing happens, and time passes."""
        what, camera, change = step
        if what == "another person":
            self.people = self.people % 3 + 1
        elif what == "nobody":
            self.people = 0
        elif what == "offline":
            self.state = CameraState.OFFLINE
        elif what == "online":
            self.state = CameraState.ONLINE
        elif what == "reload":
            self.change(camera, change)
            self.control.reload("test")
        elif what == "state lost":
            with self.store._transaction() as connection:
                connection.execute(
                    sa.text("UPDATE cameras SET resume = '{}' WHERE source = :a"), {"a": camera}
                )
            self.start()
        else:  # killed, and the file changed before the next start
            if change:
                self.change(camera, change)
            self.time += 3.0
            self.start()
        self.run(seconds)

    def run(self, seconds: int) -> None:
        for second in range(seconds):
            self.clock.now += 1
            self.time += 1
            for handle in self.workers.alive:
                handle.heard_s = self.clock.now
                self.obey(handle)
                for name, analysis in self.analyses.items():
                    if self.hosts[name] is handle:
                        self.watch(analysis)
                        self.report(handle, name)
            self.supervisor.tick()
            if second % 2:
                self.writer.commit()

    def obey(self, handle: FakeHandle) -> None:
        known = self.heard.get(id(handle), 0)
        self.heard[id(handle)] = len(handle.sent)
        for message in handle.sent[known:]:
            if isinstance(message, AddCamera):
                state = json.loads(json.dumps(message.spec.resume))
                camera = message.spec.camera
                self.analyses[camera.name] = CameraAnalysis(analysis_options(camera), state=state)
                self.analyses[camera.name].use_model(MODEL)
                self.hosts[camera.name] = handle
            elif isinstance(message, UpdateCamera):
                self.analyses[message.camera.name].update(analysis_options(message.camera))
            elif isinstance(message, RemoveCamera):
                self.report(handle, message.name, last=True)
                del self.analyses[message.name]

    def watch(self, analysis: CameraAnalysis) -> None:
        if self.state is not CameraState.ONLINE:
            analysis.tick(self.time)
            return
        corners = [(0.1 + 0.3 * n, 0.2, 0.2 + 0.3 * n, 0.5) for n in range(self.people)]
        boxes = np.array(corners, np.float32).reshape(-1, 4)
        found = Detections(boxes, np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int32))
        for part in (0.5, 0.0):
            analysis.observe(frame_at(self.time - part), found)

    def report(self, handle: FakeHandle, name: str, *, last: bool = False) -> None:
        analysis = self.analyses[name]
        checkpoint = Checkpoint(name, tuple(analysis.take_results()), analysis.snapshot())
        state = CameraState.STOPPED if last else self.state
        status = CameraStatus(name, state, "", self.time, last_frame_time=self.time)
        handle._on_report(WorkerReport((Report(status, checkpoint, {}, last=last),), ()))


def stored(store: Store) -> list[Any]:
    with store._opened(), store._transaction() as connection:
        return list(connection.execute(sa.select(EVENTS).order_by(EVENTS.c.event_time)))


changes = st.tuples(
    st.sampled_from(["reload", "killed"]), st.sampled_from("ab"), st.sampled_from(list(CHANGES))
)
happenings = st.tuples(
    st.sampled_from(["another person", "nobody", "offline", "online", "state lost", "killed"]),
    st.sampled_from("ab"),
    st.just(""),
)


@pytest.mark.fault(18)
def test_whatever_happens_nothing_of_a_camera_that_does_not_run_stays_open(
    database_url: str, tmp_path: Path
) -> None:
    store = Store(database_url)
    kinds: set[str] = set()

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(changes | happenings, st.integers(0, 20)), min_size=4, max_size=10))
    @example([((name, "", ""), 20) for name in ("another person", "nobody", "online", "offline", "killed")])
    def check(steps: list[tuple[tuple[str, str, str], int]]) -> None:
        with store._opened(), store._transaction() as connection:
            for table in ("events", "cameras"):
                connection.execute(sa.text(f"DELETE FROM {table}"))
        program = Program(store, tmp_path / "config.yml")
        program.run(8)
        for step, seconds in steps:
            program.do(step, seconds)
        program.run(40)
        program.writer.commit()
        going_on = {
            (event[1]["kind"], event[1]["track_id"], event[1]["first_time"])
            for analysis in program.analyses.values()
            for track in analysis.snapshot()["rules"]["open"].values()
            for event in track
        }
        running = set(program.analyses)
        for row in stored(store):
            kinds.add(row.kind)
            if row.end_time is not None:
                assert row.event_time <= row.end_time
                assert row.end_time.timestamp() <= program.time
                continue
            assert row.source in running, row
            if row.kind == EventKind.CAMERA_OFFLINE:
                assert program.state is CameraState.OFFLINE
            elif row.kind != EventKind.OCCUPANCY:
                assert (row.kind, row.track_id, row.first_time) in going_on, row

    check()
    store.close()
    assert kinds >= {"enter", "leave", "loiter", "occupancy", "camera_offline"}


@pytest.fixture
def program(database_url: str, tmp_path: Path) -> Iterable[Program]:
    with closing(Store(database_url)) as store:
        program = Program(store, tmp_path / "config.yml")
        program.run(8)
        yield program


def entries(program: Program) -> dict[str, Any]:
    """By camera, the one visit that there is."""
    return {row.source: row for row in stored(program.store) if row.kind == "enter"}


def test_what_a_camera_was_doing_when_it_left_ends_when_it_was_last_seen(program: Program) -> None:
    before = program.time
    program.do(("reload", "a", "gone"), 8)
    assert entries(program)["a"].end_time.timestamp() == pytest.approx(before, abs=2)
    assert entries(program)["b"].end_time is None


def test_a_camera_that_is_gone_after_a_kill_leaves_nothing_open(program: Program) -> None:
    before = program.time
    program.do(("killed", "a", "off"), 6)
    assert entries(program)["a"].end_time.timestamp() == pytest.approx(before, abs=2)
    program.do(("killed", "", ""), 30)
    assert entries(program)["b"].end_time is None, "the other's visit has outlived both"


def test_a_lost_state_ends_what_it_knew_and_the_people_enter_anew(program: Program) -> None:
    [old] = [row for row in stored(program.store) if row.source == "a" and row.kind == "enter"]
    before = program.time
    program.do(("state lost", "a", ""), 10)
    rows = [row for row in stored(program.store) if row.source == "a" and row.kind == "enter"]
    ends = {row.id: row.end_time for row in rows}
    assert ends.pop(old.id).timestamp() == pytest.approx(before, abs=2)
    assert list(ends.values()) == [None]


def test_a_camera_that_is_away_while_the_program_dies_is_one_trouble(program: Program) -> None:
    program.do(("offline", "", ""), 20)
    program.do(("killed", "", ""), 20)
    program.do(("online", "", ""), 0)
    back = program.time
    program.do(("online", "", ""), 10)
    rows = [row for row in stored(program.store) if row.kind == "camera_offline" and row.source == "a"]
    [row] = rows
    assert row.event_time.timestamp() == pytest.approx(BEGIN + 9, abs=1.5)
    assert row.end_time.timestamp() == pytest.approx(back + 1, abs=1.5)
    assert (row.place, row.track_id, row.item_class, row.direction) == ("", 0, "", None)


def test_a_trouble_that_was_over_before_the_next_start_ends_at_the_last_heartbeat(program: Program) -> None:
    program.do(("offline", "", ""), 20)
    died = program.time
    program.state, program.time = CameraState.ONLINE, program.time + 3600
    program.do(("killed", "", ""), 10)
    rows = [row for row in stored(program.store) if row.kind == "camera_offline"]
    assert [row.end_time.timestamp() for row in rows] == pytest.approx([died, died], abs=2.5)


def test_what_is_open_is_found_by_its_index(tmp_path: Path) -> None:
    with closing(Store(f"sqlite:///{tmp_path}/counts.db")) as store:
        store.open()
        asked: list[tuple[str, Any]] = []
        sa.event.listen(store._engine, "before_cursor_execute", lambda *values: asked.append(values[2:4]))
        assert store.open_events() == ()
        [(query, values)] = [each for each in asked if "events" in each[0]]
        with store._transaction() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all()
    assert "ix_events_open" in str(plan)
    assert "SCAN events" not in str(plan).replace("SCAN events USING INDEX ix_events_open", "")


# -- the comparison alone -----------------------------------------------------------------------------------


def test_an_end_that_is_on_its_way_is_waited_for() -> None:
    clock = FakeClock()
    event = Event("a", EventKind.ENTER, "yard", 7, "person", BEGIN, BEGIN + 1, first_time=BEGIN)
    spans, known = OpenSpans(clock), (OpenEvent(event, BEGIN + 5),)

    def look(*, goes_on: bool | None, events: tuple[OpenEvent, ...] = known) -> list[EventEnd]:
        clock.now += 2
        return spans.look(OpenEvents(clock.now, events), lambda _: goes_on)

    assert look(goes_on=False) == []
    assert look(goes_on=False, events=()) == [], "its end has come"
    assert look(goes_on=False) == []
    assert look(goes_on=True) == []
    assert look(goes_on=False) == [], "it is another doubt"
    assert look(goes_on=None) == []
    assert look(goes_on=False) == []
    assert spans.look(OpenEvents(clock.now, known), lambda _: False) == [], "the same look at the database"
    assert look(goes_on=False) == [EventEnd(event, BEGIN + 5)]
