"""The alert engine: events in, alerts and notifications out; nothing twice, whatever dies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sightline.config.alerts import AlertOptions, Hours
from sightline.entities import Alert, AlertState, Event, EventEnd, EventKind, Mute, Notification, Result
from sightline.store.kinds import PendingRow, pending_row
from sightline.store.read.open_alerts import OpenAlerts
from sightline.supervisor.sinks.alert_engine import AlertEngine
from sightline.supervisor.sinks.alert_matching import holds

T0 = 1_800_000_000.0
ROUTES = {"guards": {"apprise": "json://localhost"}, "duty": {"pagerduty": "key"}}


def entered(track: int, at: float = 0.0, *, place: str = "yard", camera: str = "gate") -> Event:
    return Event(camera, EventKind.ENTER, place, track, "person", T0 + at, T0 + at + 0.5, first_time=T0 + at)


def crossed(track: int, at: float = 0.0) -> Event:
    return Event("gate", EventKind.CROSSING, "line", track, "person", T0 + at, T0 + at + 0.5, "forward")


@dataclass
class World:
    """An engine, what it has written, and its clock."""

    options: AlertOptions
    now: float = T0
    rows: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A program begins, and reads what the one before has written."""
        self.engine = AlertEngine(self.options, self.stored, clock=lambda: self.now)
        self.engine.attach(self.rows.extend)

    def stored(self) -> OpenAlerts:
        alerts = {row.alert_id: row for row in self.rows if isinstance(row, Alert)}
        mutes = {(row.source, row.rule): row for row in self.rows if isinstance(row, Mute)}
        return OpenAlerts(tuple(alerts.values()), tuple(mutes.values()))

    def see(self, *results: Event | EventEnd, at: float | None = None) -> None:
        self.now = self.now if at is None else T0 + at
        self.engine.deliver([pending_row(result, 1) for result in results])

    def wait_until(self, at: float) -> None:
        self.now = T0 + at
        self.engine.tick()

    @property
    def told(self) -> list[tuple[str, tuple[str, ...]]]:
        """Transition and routes of every notification."""
        keys = [(row.alert_id, row.ordinal) for row in self.rows if isinstance(row, Notification)]
        assert len(set(keys)) == len(keys), "a notification was made twice"
        return [(row.transition, row.routes) for row in self.rows if isinstance(row, Notification)]

    @property
    def alerts(self) -> list[Alert]:
        return sorted(self.stored().alerts, key=lambda alert: alert.opened_time)


def world(ways: dict[str, Any] | None = None, **rule: Any) -> World:
    rule = {"kinds": ["enter", "crossing"], "routes": ["guards"], **rule}
    return World(AlertOptions.model_validate({"rules": {"night": rule}, "routes": ways or ROUTES}))


GUARDS = ("guards",)


def test_an_event_is_told_at_once_and_when_it_is_over() -> None:
    here = world()
    here.see(entered(1))
    assert here.told == [("opened", GUARDS)]
    here.see(EventEnd(entered(1), T0 + 30), at=31)
    assert here.told == [("opened", GUARDS), ("resolved", GUARDS)]
    [alert] = here.alerts
    assert (alert.state, alert.end_time, alert.count) == (AlertState.RESOLVED, T0 + 30, 1)
    [notification, over] = [row for row in here.rows if isinstance(row, Notification)]
    assert notification.title == "enter yard at gate"
    assert "over after 30 s" in over.text


def test_what_follows_soon_joins_and_is_told_once_as_a_number() -> None:
    here = world(cooldown_s=60)
    for track in range(6):
        here.see(entered(track, track), at=track)
    here.wait_until(59)
    assert here.told == [("opened", GUARDS)]
    here.wait_until(61)
    here.wait_until(62)
    assert here.told == [("opened", GUARDS), ("more", GUARDS)]
    assert [row.title for row in here.rows if isinstance(row, Notification)][
        1
    ] == "enter yard at gate and 5 more"
    here.see(entered(9, 70), at=70)
    assert [alert.count for alert in here.alerts] == [6, 1]
    here.see(entered(10, 70, place="other"))
    assert len(here.alerts) == 3, "another place is another alert"


def test_a_replay_after_a_kill_makes_nothing_new() -> None:
    here = world(cooldown_s=60)
    events = [entered(track, track) for track in range(3)]
    here.see(*events, at=3)
    before = here.alerts, here.told
    here.start()
    here.see(*events, EventEnd(events[0], T0 + 2), at=4)
    assert here.told == before[1]
    [alert] = here.alerts
    assert (alert.count, alert.alert_id, len(alert.open_events)) == (3, before[0][0].alert_id, 2)


def test_a_least_dwell_is_waited_for_and_survives_a_kill() -> None:
    here = world(min_dwell_s=20)
    here.see(entered(1), entered(2, place="other"))
    here.see(EventEnd(entered(1), T0 + 10), at=11)
    here.start()
    here.wait_until(19)
    assert here.told == []
    here.wait_until(20)
    assert here.told == [("opened", GUARDS)]
    assert [alert.state for alert in here.alerts] == [AlertState.PASSED, AlertState.NEW]


def test_a_visit_that_comes_with_its_end_is_judged_by_its_dwell() -> None:
    for dwell_s, transitions in ((19, []), (21, ["opened", "resolved"])):
        here = world(min_dwell_s=20)
        here.see(EventEnd(entered(1), T0 + dwell_s), at=22)
        assert [transition for transition, _ in here.told] == transitions


def test_nobody_acknowledges_and_the_next_ones_are_told_once() -> None:
    here = world(escalate_after_s=600, escalate_to=["duty"])
    here.see(crossed(1))
    here.wait_until(599)
    assert here.told == [("opened", GUARDS)]
    here.wait_until(600)
    here.start()
    here.wait_until(700)
    assert here.told == [("opened", GUARDS), ("escalated", ("duty",))]
    here.engine.set_state(here.alerts[0].alert_id, AlertState.ACKNOWLEDGED, "ada", "a fox")
    assert here.told[2:] == [("acknowledged", ("guards", "duty"))]
    [alert] = here.alerts
    assert (alert.state, alert.who, alert.comment) == (AlertState.ACKNOWLEDGED, "ada", "a fox")


def test_an_acknowledged_alert_is_not_escalated() -> None:
    here = world(escalate_after_s=600, escalate_to=["duty"])
    here.see(crossed(1))
    here.engine.set_state(here.alerts[0].alert_id, AlertState.ACKNOWLEDGED, "ada")
    here.wait_until(700)
    assert here.told == [("opened", GUARDS), ("acknowledged", GUARDS)]
    with pytest.raises(LookupError, match="no alert nothing"):
        here.engine.set_state("nothing", AlertState.RESOLVED, "ada")


@pytest.mark.parametrize("mute", [Mute("gate", "", T0 + 100), Mute("", "night", T0 + 100)])
def test_what_is_muted_is_listed_and_told_to_nobody(mute: Mute) -> None:
    here = world(cooldown_s=0)
    here.engine.mute(mute)
    here.start()
    here.see(crossed(1))
    assert here.told == [] and here.alerts[0].muted
    here.see(crossed(2, 101), at=101)
    assert here.told == [("opened", GUARDS)]


def test_quiet_hours_are_for_all_but_critical() -> None:
    for severity, told in (("error", []), ("critical", [("opened", GUARDS)])):
        here = world(quiet={}, severity=severity)
        here.see(crossed(1))
        assert here.told == told and len(here.alerts) == 1


def test_a_route_that_wants_only_the_worst_is_not_told_the_rest() -> None:
    ways = {**ROUTES, "duty": {"pagerduty": "key", "min_severity": "critical"}}
    here = world(ways, routes=["guards", "duty"], severity="error")
    here.see(crossed(1))
    assert here.told == [("opened", GUARDS)]


@pytest.mark.parametrize(
    "rule",
    [{"cameras": ["other"]}, {"kinds": ["leave"]}, {"places": ["other"]}, {"classes": ["car"]},
     {"schedule": {"begin": "00:00", "end": "00:01"}}],
)  # fmt: skip
def test_events_that_a_rule_is_not_about(rule: dict[str, Any]) -> None:
    here = world(**rule)
    here.see(entered(1), crossed(2))
    assert here.rows == []


def test_occupancy_is_told_from_so_many_on() -> None:
    def crowd(value: float, direction: str, ordinal: int) -> Event:
        at = T0 + ordinal
        return Event("gate", EventKind.OCCUPANCY, "yard", 0, "", at, at, direction, value, first_time=at)

    here = world(kinds=["occupancy"], min_count=5, cooldown_s=0)
    here.see(crowd(4, "above", 1), crowd(6, "above", 2), crowd(3, "below", 3))
    assert here.told == [("opened", GUARDS)]


@pytest.mark.parametrize(
    ("when", "held"),
    [("2026-03-02 21:59", False), ("2026-03-02 22:00", True), ("2026-03-03 05:59", True),
     ("2026-03-03 06:00", False), ("2026-03-03 23:00", False), ("2026-03-02 05:00", False)],
)  # fmt: skip
def test_hours_over_midnight_belong_to_the_day_they_begin(when: str, held: bool) -> None:
    zone = ZoneInfo("Europe/Berlin")
    schedule = Hours.model_validate({"days": ["mon"], "begin": 1320, "end": "06:00"})  # YAML's 22:00
    moment = datetime.strptime(when, "%Y-%m-%d %H:%M").replace(tzinfo=zone).astimezone(UTC)
    assert holds(schedule, moment.timestamp(), zone) is held


def test_rows_know_whether_a_sink_wants_them() -> None:
    def wanted(results: Iterable[Result]) -> list[bool]:
        rows: list[PendingRow] = [pending_row(result, 1) for result in results]
        return [engine.wants(row) for row in rows]

    engine = world().engine
    assert wanted([entered(1), EventEnd(entered(1), T0), Mute("gate", "", T0)]) == [True, True, False]
