"""The system's own troubles: when they begin and end, what a start goes on with, and who is told."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.camera.messages import Report
from sightline.config.alerts import AlertRule
from sightline.entities import CameraState, CameraStatus, Event, EventEnd, EventKind, Figure, lasts
from sightline.store.kinds import PendingRow
from sightline.store.read.open_events import OpenEvent
from sightline.store.spooled_store import WriterHealth
from sightline.store.writer import Writer
from sightline.supervisor.bottlenecks import Cause, Notice
from sightline.supervisor.hub import Hub
from sightline.supervisor.sinks import DurableSink, SinkHealth, wanted_by
from sightline.supervisor.sinks.alert_matching import is_about
from sightline.supervisor.troubles import HOLD_S, SETTLE_S, Sign, Trouble, Troubles, signs_of
from support.fake_workers import FakeClock
from support.stored import database_options
from support.waiting import until

EPOCH = 1_800_000_000.0
GATE = Trouble(EventKind.CAMERA_OFFLINE, "gate")
DATABASE = Trouble(EventKind.DATABASE_AWAY)
TRITON = Trouble(EventKind.TRITON_AWAY)
OK = WriterHealth()


class Watch:
    """Troubles, and time that passes."""

    def __init__(self, now: float = 1000.0) -> None:
        self.clock = FakeClock()
        self.clock.now = now
        self.troubles = Troubles(self.clock, lambda: EPOCH + self.clock.now)

    def see(self, seconds: float, signs: dict[Trouble, Sign] | None = None) -> list[Event | EventEnd]:
        """The same signs for some seconds; what has been made of them."""
        results: list[Event | EventEnd] = []
        for _ in range(round(seconds)):
            self.clock.now += 1
            results += self.troubles.look(signs or {})
        return results

    @property
    def now(self) -> float:
        return EPOCH + self.clock.now


def status(state: CameraState, name: str = "gate") -> CameraStatus:
    return CameraStatus(name, state, "", 0.0)


def report(failing: float) -> Report:
    figure = Figure("clips_failing", failing, trouble=EventKind.CLIPS_FAILED)
    return Report(status(CameraState.ONLINE), None, {}, (figure,))


def camera(*states: CameraState) -> dict[Trouble, Sign]:
    return signs_of(map(status, states), OK, (), ())


def test_a_trouble_that_tells_when_it_began_is_believed() -> None:
    watch = Watch()
    began = watch.now - 40
    figure = Figure("view_moved", 1.0, trouble=EventKind.VIEW_MOVED, since=began)
    signs = signs_of((), OK, (), (), [Report(status(CameraState.ONLINE), None, {}, (figure,))])
    [event] = watch.see(1, signs)
    assert isinstance(event, Event)
    assert (event.source, event.kind, event.event_time) == ("gate", EventKind.VIEW_MOVED, began)
    assert event.confirmed_time == watch.now
    [end] = watch.see(1, {})
    assert isinstance(end, EventEnd)
    assert (end.event, end.end_time) == (event, watch.now)


def test_a_camera_is_offline_after_fifteen_seconds_since_the_first_of_them() -> None:
    watch = Watch()
    assert watch.see(60, camera(CameraState.ONLINE)) == []
    assert watch.see(15, camera(CameraState.OFFLINE)) == []
    assert watch.see(10, camera(CameraState.ONLINE)) == [], "a moment is no trouble"
    began = watch.now + 1
    [event] = watch.see(300, camera(CameraState.OFFLINE))
    assert isinstance(event, Event)
    assert (event.source, event.kind, event.place, event.track_id) == ("gate", "camera_offline", "", 0)
    assert (event.event_time, event.first_time) == (began, began)
    assert event.confirmed_time == began + 15
    ended = watch.now + 1
    assert watch.see(300, camera(CameraState.ONLINE)) == [EventEnd(event, ended)]


def test_retries_and_short_returns_of_a_camera_are_one_trouble() -> None:
    watch = Watch()
    results = watch.see(20, camera(CameraState.UNAUTHORIZED))
    for _ in range(30):
        results += watch.see(12, camera(CameraState.CONNECTING))
        results += watch.see(1, camera(CameraState.OFFLINE))
        results += watch.see(4, camera(CameraState.NO_DETECTOR))
        results += watch.see(1, camera(CameraState.NOT_FOUND))
    assert len(results) == 1


def test_a_camera_that_never_comes_up_is_offline_after_a_minute() -> None:
    watch = Watch()
    assert watch.see(60, camera(CameraState.STARTING)) == []
    [event] = watch.see(10, camera(CameraState.CONNECTING))
    assert isinstance(event, Event)
    assert event.event_time == EPOCH + 1001


@pytest.mark.parametrize("state", [CameraState.ENDED, CameraState.MISCONFIGURED, CameraState.STOPPED])
def test_nothing_is_expected_of_a_camera_that_is_not_to_run(state: CameraState) -> None:
    watch = Watch()
    assert watch.see(20, camera(CameraState.ONLINE)) == []
    assert watch.see(600, camera(state)) == []


def test_a_camera_that_has_left_the_configuration_is_no_trouble_any_more() -> None:
    watch = Watch()
    watch.see(40, camera(CameraState.ONLINE))
    [event] = watch.see(20, camera(CameraState.OFFLINE))
    assert [type(result) for result in watch.see(10)] == [EventEnd]
    assert isinstance(event, Event)
    assert not watch.troubles.goes_on(event)


@pytest.mark.parametrize(
    ("signs", "trouble", "value"),
    [
        (signs_of((), replace(OK, database_away=True), (), ()), DATABASE, None),
        (signs_of((), replace(OK, spool_used=0.6), (), ()), Trouble(EventKind.SPOOL_FILLING), 0.6),
        (signs_of((), OK, [Notice(Cause.TRITON, "waits", 1.0, ("a", "b"))], ()), TRITON, 2),
        (
            signs_of((), OK, [Notice(Cause.DECODER, "slow", 1.0, ("a",))], ()),
            Trouble(EventKind.OVERLOAD, "", "decoder"),
            1,
        ),
        (
            signs_of(
                (), OK, (), [SinkHealth("mqtt", False, 0, 1, 0, "x", trouble=EventKind.DELIVERY_FAILED)]
            ),
            Trouble(EventKind.DELIVERY_FAILED, "", "mqtt"),
            None,
        ),
        (signs_of((), OK, (), (), [report(1.0)]), Trouble(EventKind.CLIPS_FAILED, "gate"), None),
    ],
)
def test_each_trouble_of_the_program_begins_after_its_hold_time_and_ends_after_the_other(
    signs: dict[Trouble, Sign], trouble: Trouble, value: float | None
) -> None:
    watch, (begins_s, ends_s) = Watch(), HOLD_S[trouble.kind]
    watch.see(SETTLE_S)
    assert watch.see(begins_s, signs) == []
    [event] = watch.see(1, signs)
    assert isinstance(event, Event)
    assert (event.kind, event.source, event.place, event.value) == (*trouble, value)
    assert watch.see(ends_s) == []
    [end] = watch.see(1)
    assert end == EventEnd(event, watch.now - ends_s)
    assert watch.see(100) == []


def test_what_is_no_trouble_makes_none() -> None:
    lossy = SinkHealth("screen", False, 0, 1, 0, "x")
    notices = [Notice(cause, "", 1.0, ("a",)) for cause in (Cause.BURSTS, Cause.CAMERA)]
    health = WriterHealth(state="spooling", spool_used=0.4)  # it is replayed
    signs = signs_of([status(CameraState.ONLINE)], health, notices, [lossy], [report(0.0)])
    assert Watch().see(200, signs) == []


def test_a_start_goes_on_with_what_still_holds_and_ends_the_rest_when_it_was_last_seen() -> None:
    first = Watch()
    signs = camera(CameraState.OFFLINE) | {
        Trouble(EventKind.CAMERA_OFFLINE, "yard"): Sign(True),
        TRITON: Sign(True, 2),
        DATABASE: Sign(True),
    }
    events = [event for event in first.see(20, signs) if isinstance(event, Event)]
    assert len(events) == 4
    died = first.now
    visit = Event("gate", EventKind.ENTER, "yard", 7, "person", died, died)
    second = Watch(first.clock.now + 3600)
    left = [OpenEvent(event, died) for event in (*events, visit)]
    second.troubles.adopt(left, ["gate"])
    by_kind = {(event.kind, event.source): event for event in events}
    assert not second.troubles.goes_on(by_kind["camera_offline", "yard"]), "that camera is gone"
    results = second.see(5, {**camera(CameraState.CONNECTING), DATABASE: Sign(False)})
    results += second.see(20, camera(CameraState.OFFLINE))
    assert results == [EventEnd(by_kind["database_away", ""], died)]
    results = second.see(20, camera(CameraState.OFFLINE))
    assert results == [EventEnd(by_kind["triton_away", ""], died)], "nothing of it has been seen since"
    assert second.troubles.goes_on(by_kind["camera_offline", "gate"])
    back = second.now + 1
    assert second.see(10, camera(CameraState.ONLINE)) == [EventEnd(by_kind["camera_offline", "gate"], back)]


def test_everything_ends_when_nothing_is_looked_at_any_more() -> None:
    watch = Watch()
    [event] = watch.see(20, camera(CameraState.OFFLINE))
    assert isinstance(event, Event)
    assert watch.troubles.end() == [EventEnd(event, watch.now)]
    assert watch.troubles.end() == []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, *CameraState]), st.integers(1, 40), st.floats(-4000, 4000), st.booleans()
        ),
        max_size=20,
    )
)
def test_beginnings_and_ends_alternate_whatever_the_states_and_the_wall_clock_do(
    story: list[tuple[CameraState | None, int, float, bool]],
) -> None:
    clock, shift = FakeClock(), 0.0
    troubles = Troubles(clock, lambda: EPOCH + clock.now + shift)
    open_event: Event | None = None
    for state, seconds, step_s, database_away in story:
        shift += step_s
        signs = signs_of([status(state)] if state else (), replace(OK, database_away=database_away), (), ())
        for _ in range(seconds):
            clock.now += 1
            for result in troubles.look(signs):
                if result.source != "gate":
                    continue
                if isinstance(result, Event):
                    assert open_event is None
                    assert result.event_time <= result.confirmed_time
                    open_event = result
                else:
                    assert open_event is not None
                    assert result.event.key == open_event.key
                    assert result.end_time >= open_event.event_time
                    open_event = None
    if open_event is not None:
        assert troubles.goes_on(open_event)


def test_alert_rules_may_name_troubles() -> None:
    rule = AlertRule.model_validate({"kinds": ["camera_offline", "database_away"]})
    watch = Watch()
    results = watch.see(20, {DATABASE: Sign(True), TRITON: Sign(True), GATE: Sign(True)})
    events = [result for result in results if isinstance(result, Event)]
    about = {event.kind for event in events if is_about(rule, asdict(event), UTC)}
    assert about == {"camera_offline", "database_away"}
    assert all(lasts(event.kind, None) for event in events)


class Recorder(DurableSink):
    """Remembers what it is told."""

    name = "recorder"

    def __init__(self) -> None:
        self.told: list[tuple[str, float | None]] = []

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        self.told += [(row.values["kind"], row.values.get("end_time")) for row in rows]


@pytest.mark.fault(20)
def test_that_the_database_is_away_is_told_while_it_is(tmp_path: Path) -> None:
    options = database_options(f"sqlite:///{tmp_path}/counts.db", tmp_path / "spool.db")
    recorder = Recorder()
    writer = Writer(options, flush_every_s=0.05, retry_s=(0.1, 0.2), sinks=wanted_by([recorder]))
    hub = Hub(writer, [recorder])
    troubles = Troubles(time.monotonic, time.time)

    def look() -> None:
        if results := troubles.look(signs_of((), hub.writer_health(), (), ())):
            hub.put_results(results)

    def told() -> list[str]:
        look()
        return [kind for kind, _ in recorder.told]

    try:
        until(lambda: hub.writer_health().owns_database)
        with closing(sqlite3.connect(tmp_path / "counts.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            until(lambda: told() == ["database_away"], 20.0)
            other.execute("ROLLBACK")
        until(lambda: len(told()) == 2, 20.0)
        assert recorder.told[1][1] is not None, "and that it is back"
    finally:
        hub.close()
        writer.close()
    with closing(sqlite3.connect(tmp_path / "counts.db")) as database:
        [(kind, source, ended)] = database.execute("SELECT kind, source, end_time FROM events").fetchall()
    assert (kind, source) == ("database_away", "")
    assert ended is not None


def test_one_message_that_was_given_up_is_told_at_once_and_is_over_some_minutes_later() -> None:
    watch = Watch()

    def look(seconds: int, ago_s: float | None) -> list[Event | EventEnd]:
        results = []
        for second in range(seconds):
            since_s = None if ago_s is None else ago_s + second
            health = SinkHealth(
                "route:guards", True, 9, 0, 0, "", 1, EventKind.DELIVERY_FAILED, gave_up_ago_s=since_s
            )
            results += watch.see(1, signs_of((), OK, (), [health]))
        return results

    assert look(60, None) == []
    [event] = look(1, 0.5)
    assert isinstance(event, Event)
    assert (event.kind, event.place, event.value) == ("delivery_failed", "route:guards", 1)
    assert event.event_time == watch.now
    assert look(590, 1.5) == []
    [end] = look(60, 591.5)
    assert isinstance(end, EventEnd)
    assert end.event == event
