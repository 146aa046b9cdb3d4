"""The alert engine: events in, alerts and notifications out; nothing twice, whatever dies."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sightline.config import Config
from sightline.config.alerts import AlertOptions, Hours
from sightline.config.groups import SOURCE
from sightline.entities import (
    Alert,
    AlertState,
    CameraState,
    CameraStatus,
    Event,
    EventEnd,
    EventKind,
    Mute,
    Notification,
    Result,
)
from sightline.store.kinds import PendingRow, pending_row
from sightline.store.read.open_alerts import OpenAlerts
from sightline.supervisor.sinks.alert_engine import AlertEngine

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

    def stored(self, alert_id: str | None = None) -> OpenAlerts:
        alerts = {row.alert_id: row for row in self.rows if isinstance(row, Alert)}
        alerts = {key: alert for key, alert in alerts.items() if alert_id in {None, key}}
        mutes = {(row.source, row.rule): row for row in self.rows if isinstance(row, Mute)}
        return OpenAlerts(tuple(alerts.values()), tuple(mutes.values()))

    def see(self, *results: Event | EventEnd, at: float | None = None) -> None:
        self.now = self.now if at is None else T0 + at
        self.engine.deliver([pending_row(result, 1) for result in results])

    def wait_until(self, at: float, *, camera_is_away: bool = False) -> None:
        self.now = T0 + at
        if not camera_is_away:
            status = CameraStatus("gate", CameraState.ONLINE, "", self.now, last_frame_time=self.now)
            assert not self.engine.wants(pending_row(status, 1))
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
    here.wait_until(23)
    assert here.told == [], "a track that was lost at 19.9 s has not ended yet"
    here.wait_until(24)
    assert here.told == [("opened", GUARDS)]
    assert [alert.state for alert in here.alerts] == [AlertState.PASSED, AlertState.NEW]


def test_what_was_over_before_a_least_dwell_and_is_known_later_is_not_told() -> None:
    here = world(min_dwell_s=20)
    here.see(entered(1))
    for at in (20, 21, 22):
        here.wait_until(at)
    here.see(EventEnd(entered(1), T0 + 19), at=22.5)
    here.wait_until(60)
    assert (here.told, [alert.state for alert in here.alerts]) == ([], [AlertState.PASSED])


def test_nobody_is_known_to_stay_while_the_camera_is_away() -> None:
    for dwell_s, told in ((9, []), (21, [("opened", GUARDS), ("resolved", GUARDS)])):
        here = world(min_dwell_s=20)
        here.see(entered(1))
        here.wait_until(11 if dwell_s < 20 else 23)
        here.wait_until(60, camera_is_away=True)
        assert here.told == []
        here.see(EventEnd(entered(1), T0 + dwell_s), at=60)
        assert here.told == told


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


def test_what_is_over_by_itself_is_acknowledged_once_and_nobody_is_told_again() -> None:
    here = world()
    here.see(EventEnd(entered(1), T0 + 1), at=2)
    [alert] = here.alerts
    assert alert.is_over_unseen
    here.engine.comment(alert.alert_id, "a fox")
    seen = here.engine.set_state(alert.alert_id, AlertState.ACKNOWLEDGED, "ada")
    here.start()
    assert here.alerts == [seen]
    assert (seen.state, seen.who, seen.comment) == (AlertState.RESOLVED, "ada", "a fox")
    assert [transition for transition, _ in here.told] == ["opened", "resolved"]
    with pytest.raises(LookupError, match="is resolved already"):
        here.engine.set_state(alert.alert_id, AlertState.ACKNOWLEDGED, "bob")


def test_what_people_have_closed_is_not_acknowledged_and_may_still_be_called_false() -> None:
    here = world()
    here.see(crossed(1))
    [alert] = here.alerts
    here.engine.set_state(alert.alert_id, AlertState.RESOLVED, "ada")
    with pytest.raises(LookupError, match="is resolved already"):
        here.engine.set_state(alert.alert_id, AlertState.ACKNOWLEDGED, "ada")
    here.engine.set_state(alert.alert_id, AlertState.FALSE_ALARM, "ada")
    assert [transition for transition, _ in here.told] == ["opened", "resolved", "false_alarm"]


def test_a_comment_that_comes_with_a_state_that_it_has_already_is_kept() -> None:
    here = world()
    here.see(crossed(1))
    [alert] = here.alerts
    for comment in ("", "a fox"):
        here.engine.set_state(alert.alert_id, AlertState.ACKNOWLEDGED, "ada", comment)
    assert [alert.comment for alert in here.alerts] == ["a fox"]
    assert [transition for transition, _ in here.told] == ["opened", "acknowledged"]


def test_the_next_visitor_within_the_cool_down_is_told_when_gone_or_when_it_is_over() -> None:
    here = world(cooldown_s=60)
    here.see(entered(1), EventEnd(entered(1), T0 + 5), at=5)
    here.see(entered(2, 20), at=20)
    [alert] = here.alerts
    assert (alert.state, alert.count, alert.end_time) == (AlertState.NEW, 2, None), "open again"
    here.see(EventEnd(entered(2, 20), T0 + 30), at=30)
    assert [transition for transition, _ in here.told] == ["opened", "resolved", "resolved"]
    here.see(entered(3, 40), at=40)
    here.wait_until(65)
    assert [transition for transition, _ in here.told[3:]] == ["more"]
    here.see(EventEnd(entered(3, 40), T0 + 90), at=90)
    assert [transition for transition, _ in here.told[4:]] == ["resolved"]
    assert [alert.state for alert in here.alerts] == [AlertState.RESOLVED]


def test_after_a_false_alarm_the_next_event_is_an_alert_of_its_own() -> None:
    here = world(cooldown_s=60)
    here.see(crossed(1))
    here.engine.set_state(here.alerts[0].alert_id, AlertState.FALSE_ALARM, "ada")
    here.see(crossed(2, 5), at=5)
    assert [transition for transition, _ in here.told] == ["opened", "false_alarm", "opened"]


def test_one_short_visit_does_not_hide_a_long_one_nor_lengthen_it() -> None:
    here = world(min_dwell_s=20, cooldown_s=60)
    here.see(entered(1))
    here.see(entered(2, 14), at=14)
    here.see(EventEnd(entered(1), T0 + 15), at=15)
    here.wait_until(37)
    assert here.told == [], "neither has lasted for 20 s"
    here.wait_until(38)
    assert here.told == [("opened", GUARDS)]
    assert [alert.state for alert in here.alerts] == [AlertState.PASSED, AlertState.NEW]


def test_those_who_have_stayed_long_enough_join_one_alert() -> None:
    here = world(min_dwell_s=20, cooldown_s=60)
    visits = [entered(track, track) for track in range(3)]
    here.see(*visits, at=3)
    for at in (24, 25, 26, 83):
        here.wait_until(at)
        here.start()
    assert here.told == [("opened", GUARDS)]
    here.wait_until(84)
    assert here.told[1:] == [("more", GUARDS)]
    here.see(*(EventEnd(visit, T0 + 90) for visit in visits), at=90)
    assert here.told[2:] == [("resolved", GUARDS)]
    assert sorted(alert.state for alert in here.alerts) == ["joined", "joined", "resolved"]


def test_what_joins_in_the_moment_of_an_escalation_is_kept() -> None:
    here = world(min_dwell_s=20, cooldown_s=60, escalate_after_s=10, escalate_to=["duty"])
    here.see(entered(2, 10), entered(1), at=10)
    here.wait_until(24)
    here.wait_until(34)  # the second has stayed for 20 s, and nobody has acknowledged for 10 s
    [alert] = [alert for alert in here.alerts if alert.state is AlertState.NEW]
    assert (alert.count, len(alert.open_events), alert.escalated) == (2, 2, True)


def test_an_alert_whose_rule_is_gone_ends_all_the_same_and_is_told_no_more() -> None:
    here = world()
    here.see(entered(1))
    here.engine.update(Config(alerts=AlertOptions()))
    here.see(EventEnd(entered(1), T0 + 30), at=31)
    assert [alert.state for alert in here.alerts] == [AlertState.RESOLVED]
    assert here.told == [("opened", GUARDS)]


def test_a_reload_brings_rules_and_routes() -> None:
    here = world()
    rules = {"new": {"kinds": ["crossing"], "routes": ["guards", "late"]}}
    routes = {**ROUTES, "late": {"pagerduty": "another"}}
    here.engine.update(Config(alerts=AlertOptions.model_validate({"rules": rules, "routes": routes})))
    here.see(entered(1), crossed(2))
    assert here.told == [("opened", ("guards", "late"))]


def test_a_mute_silences_what_is_open_but_not_its_end() -> None:
    here = world(escalate_after_s=600, escalate_to=["duty"])
    here.see(entered(1))
    here.engine.mute(Mute("gate", "", T0 + 3600))
    here.wait_until(700)
    assert here.told == [("opened", GUARDS)]
    here.see(EventEnd(entered(1), T0 + 800), at=800)
    assert here.told[1:] == [("resolved", ("guards", "duty"))]


def test_nobody_is_told_of_the_end_of_what_was_not_told() -> None:
    here = world(quiet={"end": "08:10"})  # T0 is 08:00 UTC
    here.see(entered(1))
    here.see(EventEnd(entered(1), T0 + 3600), at=3601)
    assert (here.told, here.alerts[0].state) == ([], AlertState.RESOLVED)


def test_a_title_is_one_line_whatever_a_place_is_called() -> None:
    here = world()
    here.see(entered(1, place="yard\r\nBcc: everybody"))
    [told] = [row for row in here.rows if isinstance(row, Notification)]
    assert told.title == "enter yard Bcc: everybody at gate"


def test_a_day_later_an_alert_is_known_to_the_database_alone() -> None:
    here = world(cooldown_s=0)
    here.see(crossed(1), entered(2))
    here.wait_until(86_500)
    assert [alert.kind for alert in here.engine.alerts()] == ["enter"], "the visit goes on"
    [crossing] = [alert for alert in here.alerts if alert.kind == "crossing"]
    here.engine.set_state(crossing.alert_id, AlertState.RESOLVED, "ada")
    assert here.told[-1] == ("resolved", GUARDS)


def test_an_event_costs_no_more_beside_thousands_of_alerts() -> None:
    def cost_s(here: World) -> float:
        here.start()
        here.wait_until(0)  # reads what there is
        times_s = []
        for track in range(200):
            started_s = time.process_time()
            here.see(entered(track, track), at=track)
            here.wait_until(track)
            times_s.append(time.process_time() - started_s)
        return median(times_s)

    alone, beside = world(cooldown_s=0), world(cooldown_s=0)
    beside.see(entered(9999, place="other"))
    [alert] = beside.alerts
    beside.rows += [replace(alert, alert_id=f"{n}", events=(f"{n}",), open_events=()) for n in range(20_000)]
    assert cost_s(beside) < 3 * cost_s(alone)


SIX_HOURS_S = 6 * 3600.0


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    here = world(cooldown_s=60)
    here.see(crossed(1))
    for number in range(3):
        at = number * 600 - SIX_HOURS_S
        here.see(crossed(10 + number, at), at=at)
        here.see(crossed(20 + number, at + 5), at=at + 5)
        here.wait_until(at + 300)
    assert here.told == [("opened", GUARDS), *[("opened", GUARDS), ("more", GUARDS)] * 3]
    assert sorted(alert.count for alert in here.alerts) == [1, 2, 2, 2]


def test_a_clock_that_is_set_back_a_little_tells_nothing_twice() -> None:
    here = world(cooldown_s=60, escalate_after_s=600, escalate_to=["duty"])
    here.see(crossed(1), at=0)
    here.see(crossed(2, -0.5), at=-0.5)
    here.wait_until(-0.4)
    assert (here.told, [alert.count for alert in here.alerts]) == ([("opened", GUARDS)], [2])


def test_a_clock_that_is_set_back_keeps_back_no_escalation_and_no_trouble() -> None:
    here = world(kinds=["camera_offline"], min_dwell_s=20, escalate_after_s=600, escalate_to=["duty"])
    here.see(Event("gate", EventKind.CAMERA_OFFLINE, "", 0, "", T0, T0))
    here.wait_until(-SIX_HOURS_S)
    assert here.told == [("opened", GUARDS)]
    here.wait_until(-2 * SIX_HOURS_S)
    assert here.told == [("opened", GUARDS), ("escalated", ("duty",))]


def test_a_trouble_that_ends_after_the_clock_was_set_back_is_told() -> None:
    here, away = world(kinds=["camera_offline"], min_dwell_s=20), EventKind.CAMERA_OFFLINE
    event = Event("gate", away, "", 0, "", T0, T0)
    here.see(EventEnd(event, T0 - SIX_HOURS_S), at=-SIX_HOURS_S)
    assert [transition for transition, _ in here.told] == ["opened", "resolved"]


def test_a_clock_that_is_set_back_makes_no_mute_longer() -> None:
    here, passed = world(cooldown_s=0), [0.0]
    here.engine = AlertEngine(
        here.options, here.stored, clock=lambda: here.now, steady=lambda: 1000.0 + passed[0]
    )
    here.engine.attach(here.rows.extend)
    here.engine.mute(Mute("gate", "", T0 + 100))
    here.now -= SIX_HOURS_S
    passed[0] = 99
    here.see(crossed(1))
    assert (here.told, here.engine.is_muted("gate")) == ([], True)
    passed[0] = 100
    here.see(crossed(2))
    assert (here.told, here.engine.is_muted("gate"), here.engine.mutes()) == ([("opened", GUARDS)], False, [])


def test_who_lifts_a_mute_is_told_what_else_mutes() -> None:
    engine = world().engine
    everything, rule, other, lifted = (
        Mute("", "", T0 + 3600, "ada"),
        Mute("", "night", T0 + 1800, "bob"),
        Mute("yard", "", T0 + 900, "ada"),
        Mute("gate", "", 0.0, "ada"),
    )
    for mute in (everything, rule, other):
        engine.mute(mute)
    assert engine.mute(lifted) == [everything, rule]
    assert engine.mutes() == [everything, rule, other]
    assert engine.mute(Mute("", "", 0.0)) == [rule, other]
    assert engine.mute(Mute("", "night", 0.0)) == [other], "of camera yard the rule is muted as well"
    assert engine.mute(Mute("gate", "day", 0.0)) == []


def test_a_link_leads_to_the_alert_in_the_console_as_it_is_reached() -> None:
    here = world()
    url = "https://cameras.example.org/console/"
    here.engine.update(Config(alerts=here.options.model_copy(update={"public_url": url})))
    here.see(crossed(1))
    [row] = [row for row in here.rows if isinstance(row, Notification)]
    assert row.link == f"{url}review?alert={row.alert_id}"


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


def test_what_the_canary_plays_is_told_by_a_rule_that_names_it_alone() -> None:
    seen, away = entered(1, camera=SOURCE), Event(SOURCE, EventKind.CAMERA_OFFLINE, "", 0, "", T0, T0)
    here = world(kinds=["enter", "camera_offline"])
    here.see(seen, away)
    assert [alert.kind for alert in here.alerts] == ["camera_offline"], "a canary that is down is a trouble"
    here = world(cameras=[SOURCE])
    here.see(seen)
    assert here.told == [("opened", GUARDS)]


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
    assert schedule.holds(moment.timestamp(), zone) is held


def test_rows_know_whether_a_sink_wants_them() -> None:
    def wanted(results: Iterable[Result]) -> list[bool]:
        rows: list[PendingRow] = [pending_row(result, 1) for result in results]
        return [engine.wants(row) for row in rows]

    engine = world().engine
    assert wanted([entered(1), EventEnd(entered(1), T0), Mute("gate", "", T0)]) == [True, True, False]
