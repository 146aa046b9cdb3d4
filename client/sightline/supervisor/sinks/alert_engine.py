"""Makes alerts of events, and notifications of alerts: a durable sink that writes rows and sends nothing.

Everything it knows stands in the database: a program that goes on after a kill makes the same alerts and the
same notifications, under the same keys, so that nothing is told twice under another one.
"""

import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from zoneinfo import ZoneInfo

from sightline.config import Config
from sightline.config.alerts import AlertOptions, AlertRule, Severity
from sightline.entities import Alert, AlertState, EventKind, Mute, Notification, Result, lasts
from sightline.store.kinds import STATUS, PendingRow, is_event
from sightline.store.read.open_alerts import OpenAlerts, read_open_alerts
from sightline.store.read.readonly import reading_from
from sightline.supervisor.sinks.alert_index import UNTOLD, AlertIndex, Place, place_of
from sightline.supervisor.sinks.alert_matching import is_about
from sightline.supervisor.sinks.alert_words import words_of
from sightline.supervisor.sinks.sink import DurableSink
from sightline.supervisor.troubles import HOLD_S

#: Fixed for ever: alerts are named by it, so that a replay makes the same ones.
_NAMESPACE = uuid.UUID("b2f0d4a7-6a43-4d3b-9a55-8f3f8b1d6f0e")
MAX_EVENTS = 200  # keys that an alert remembers
FORGET_S = 86_400.0  # after this long an alert of which nothing goes on is looked up in the database alone
FORGET_EVERY_S = 60.0
WRITTEN_S = 1.0  # an end that is certain is read within so long
_OPEN = frozenset({AlertState.WAITING, AlertState.NEW, AlertState.ACKNOWLEDGED})
#: People are told of these steps while they know of the alert, and whatever the hour; of the others never so.
_CLOSING = frozenset({"acknowledged", "resolved", "false_alarm"})


class AlertEngine(DurableSink):
    """Events in, alerts and notifications out. Any thread may call every method.

    Args:
        options: rules and routes, replaced by :meth:`update`.
        load: reads what earlier programs have left, or the one alert of an id.
        max_lost_s: the end of a visit is certain so long after it.
        clock: our UTC; it may be set back.
        steady: monotonic seconds.
    """

    name = "alerts"
    tick_s = 0.5
    ticks_alone = True

    def __init__(
        self,
        options: AlertOptions,
        load: Callable[[str | None], OpenAlerts],
        *,
        max_lost_s: float = 3.0,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options, self._max_lost_s = options, max_lost_s
        self._load, self._clock, self._steady = load, clock, steady
        self._watched_until: dict[str, float] = {}  # by camera, capture time of its newest frame
        self._lock = threading.RLock()  # guards everything below
        self._index: AlertIndex | None = None  # None: not loaded yet
        self._is_whole = False  # they are all that the database has, and not what was made without it
        self._watched: dict[str, None] = {}  # ids of those for which time may do something, in order
        self._forgot_time = 0.0
        self._mutes: dict[tuple[str, str], tuple[Mute, float]] = {}  # and when each ends by the steady clock
        self._made: list[Result] = []

    def wants(self, row: PendingRow) -> bool:
        """Events and their ends, while there are rules. What statuses say is noted: no lock is taken here."""
        if row.kind is STATUS and row.values["last_frame_time"] is not None:
            self._watched_until[row.source] = row.values["last_frame_time"]
        return bool(self._options.rules) and is_event(row)

    def update(self, config: Config) -> None:
        """Other rules hold for the events that follow, and other routes are told."""
        with self._lock:
            self._options = config.alerts
            self._max_lost_s = config.track.max_lost_s
            self._watched = dict.fromkeys(self._index.alerts if self._index else ())

    # -- events and time ------------------------------------------------------------------------------

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Make alerts of events, and end those whose events have ended."""
        with self._lock:
            self._begin()
            try:
                for row in rows:
                    self._take(row.key, row.values)
            finally:
                self._write()  # what is remembered is written, whatever comes

    def tick(self) -> None:
        """Do what is due: what has lasted long enough, what nobody acknowledges, what has joined an alert."""
        with self._lock:
            if self._index is None and not self._options.rules:
                return  # the database is not asked for nothing
            now, alerts = self._clock(), self._begin().alerts
            rules = self._options.rules
            for alert_id in list(self._watched):
                if (alert := alerts[alert_id]).rule in rules:
                    self._pass_time(alert, rules[alert.rule], now)
            self._watched = {
                alert_id: None
                for alert_id in self._watched
                if alerts[alert_id].rule in rules
                and _is_awaited(alerts[alert_id], rules[alerts[alert_id].rule])
            }
            if abs(now - self._forgot_time) >= FORGET_EVERY_S:
                self._forgot_time = now
                for alert in [alert for alert in alerts.values() if not alert.open_events]:
                    if now - alert.changed_time > FORGET_S:
                        self._begin().remove(alert)
                        self._watched.pop(alert.alert_id, None)
            self._write()

    def _begin(self) -> AlertIndex:
        if self._index is None or not (self._is_whole or self.database_is_away):
            # What was made without having seen the database is there too by the time it is loaded.
            loaded = OpenAlerts() if self.database_is_away else self._load(None)
            self._is_whole = not self.database_is_away
            self._index = AlertIndex(loaded.alerts)
            self._watched = dict.fromkeys(self._index.alerts)
            self._mutes = {}
            for mute in loaded.mutes:
                self._keep_mute(mute)
        return self._index

    def _find(self, alert_id: str) -> Alert | None:
        """One of those that are known, or that the database has."""
        return self._begin().alerts.get(alert_id) or next(iter(self._load(alert_id).alerts), None)

    def _take(self, key: str, event: Mapping[str, Any]) -> None:
        end_time = event.get("end_time")
        zone = ZoneInfo(self._options.timezone)
        for name, rule in self._options.rules.items():
            if name not in self._begin().of_event(key) and is_about(rule, event, zone):
                self._join(name, rule, key, event)
        if end_time is not None:
            for alert_id in list(self._begin().of_event(key).values()):  # also of rules that are gone
                self._end(self._begin().alerts[alert_id], key, end_time)

    def _join(self, name: str, rule: AlertRule, key: str, event: Mapping[str, Any]) -> None:
        """A new alert, or the one of a moment ago with one more event."""
        now, going_on = self._clock(), lasts(event["kind"], event["direction"])
        waits = going_on and rule.min_dwell_s > 0
        place = (name, event["source"], event["kind"], event["place"])
        if not waits and (other := self._recent(place, rule, now)) is not None:
            self._add(other, key, None if going_on else event["event_time"])
            return
        alert = Alert(
            alert_id=str(uuid.uuid5(_NAMESPACE, f"{name}\x1f{key}")),
            rule=name,
            source=event["source"],
            kind=event["kind"],
            place=event["place"],
            item_class=event["item_class"],
            value=event["value"],
            severity=rule.severity,
            state=AlertState.WAITING if waits else AlertState.NEW,
            event_time=event["event_time"],
            opened_time=now,
            changed_time=now,
            end_time=None if going_on else event["event_time"],
            muted=self._is_muted(name, event["source"]),
            events=(key,),
            open_events=(key,) if going_on else (),
        )
        alert = self._change(alert)
        if not waits:
            self._tell(alert, "opened")

    def _recent(self, place: Place, rule: AlertRule, now: float) -> Alert | None:
        """The alert that an event at this place joins, unless people have closed it."""
        alert = self._begin().newest(place)
        if (
            alert is None
            or abs(now - alert.opened_time) >= rule.cooldown_s  # also one of a clock that was ahead
            or alert.state is AlertState.FALSE_ALARM
        ):
            return None
        return None if alert.state is AlertState.RESOLVED and alert.who else alert

    def _add(self, alert: Alert, key: str, end_time: float | None) -> Alert:
        """One more event; one that goes on opens an alert again that was over."""
        again = end_time is None and alert.state is AlertState.RESOLVED
        return self._change(
            alert,
            state=AlertState.NEW if again else alert.state,
            count=alert.count + 1,
            end_time=end_time,
            events=(*alert.events, key)[-MAX_EVENTS:],
            open_events=(*alert.open_events, key) if end_time is None else alert.open_events,
        )

    def _open(self, alert: Alert, rule: AlertRule) -> Alert:
        """What waited has lasted long enough: it is told, or joins what was told a moment ago."""
        now = self._clock()
        other = self._recent(place_of(alert), rule, now)
        if other is None:
            return self._tell(self._change(alert, state=AlertState.NEW, opened_time=now), "opened")
        [key] = alert.open_events
        self._change(alert, state=AlertState.JOINED, end_time=now, events=(), open_events=())
        return self._add(other, key, None)

    def _end(self, alert: Alert, key: str, end_time: float) -> None:
        """One of its events has ended."""
        if key not in alert.open_events:
            return
        rule = self._options.rules.get(alert.rule)
        dwell_s = abs(end_time - alert.event_time)  # of a trouble, our clock may have been set back meanwhile
        if alert.state is AlertState.WAITING and rule and dwell_s >= rule.min_dwell_s:
            alert = self._open(alert, rule)
        left = tuple(other for other in alert.open_events if other != key)
        over = not left and alert.state in _OPEN
        waited = alert.state is AlertState.WAITING
        state = (AlertState.PASSED if waited else AlertState.RESOLVED) if over else alert.state
        alert = self._change(alert, open_events=left, end_time=None if left else end_time, state=state)
        if over and not waited:
            self._tell(alert, "resolved")

    def _pass_time(self, alert: Alert, rule: AlertRule, now: float) -> None:
        if alert.state is AlertState.WAITING:
            seen, certain_s = self._watched_until.get(alert.source, -math.inf), self._max_lost_s
            if (hold := HOLD_S.get(EventKind(alert.kind))) is not None:
                seen, certain_s = alert.event_time + abs(now - alert.event_time), hold[1]
            # Until then what is over may only not be known to be.
            if seen - alert.event_time >= rule.min_dwell_s + certain_s + WRITTEN_S:
                alert = self._open(alert, rule)
        if alert.state not in _OPEN - UNTOLD:
            return
        # What was opened later than now is of a clock that was ahead: too early is better than never.
        open_s, after_s = abs(now - alert.opened_time), rule.escalate_after_s
        if alert.count > alert.told and open_s >= rule.cooldown_s:
            alert = self._tell(alert, "more")
        if (
            alert.state is AlertState.NEW
            and after_s is not None
            and open_s >= after_s
            and not alert.escalated
        ):
            self._tell(self._change(alert, escalated=True), "escalated")

    # -- people ---------------------------------------------------------------------------------------

    def set_state(self, alert_id: str, state: AlertState, who: str, comment: str = "") -> Alert:
        """Acknowledge an alert, resolve it, or call it false.

        One that is over by itself stays resolved when it is acknowledged: somebody has seen it, and everybody
        who was told of it has been told of its end.

        Raises:
            LookupError: there is no such alert, or it is closed already.
        """
        with self._lock:
            alert = self._find(alert_id)
            if alert is None:
                raise LookupError(f"there is no alert {alert_id}")
            is_seen = state is AlertState.ACKNOWLEDGED and alert.is_over_unseen
            if not (alert.state in _OPEN or is_seen or state is AlertState.FALSE_ALARM):
                raise LookupError(f"alert {alert_id} is {alert.state} already")
            told = {"who": who, "comment": comment or alert.comment}
            if is_seen:
                alert = self._change(alert, **told)
            elif alert.state is not state:
                alert = self._tell(self._change(alert, state=state, **told), state.value)
            elif comment:
                alert = self._change(alert, comment=comment)
            self._write()
            return alert

    def comment(self, alert_id: str, text: str) -> Alert:
        """Write something to an alert, which stays as it is.

        Raises:
            LookupError: there is no such alert.
        """
        with self._lock:
            alert = self._find(alert_id)
            if alert is None:
                raise LookupError(f"there is no alert {alert_id}")
            alert = self._change(alert, comment=text)
            self._write()
            return alert

    def note_failed(self, alert_id: str, route: str) -> None:
        """Remember that a notification of an alert was given up by a route.

        Raises:
            StoreUnavailable: the database is away.
        """
        with self._lock:
            alert = self._find(alert_id)
            if alert is not None and route not in alert.failed_routes:
                self._change(alert, failed_routes=(*alert.failed_routes, route))
                self._write()

    def mute(self, mute: Mute) -> list[Mute]:
        """Tell nobody of a camera's or a rule's alerts for a while, or again; what else mutes any of them."""
        with self._lock:
            self._begin()
            self._keep_mute(mute)
            self._made.append(mute)
            self._write()
            return [other for other in self.mutes() if other != mute and other.touches(mute)]

    def mutes(self) -> list[Mute]:
        """Those that hold, the one that ends last first."""
        with self._lock:
            self._begin()
            held = [mute for name, (mute, _) in self._mutes.items() if self._holds(name)]
            return sorted(held, key=lambda mute: -mute.until)

    def is_muted(self, camera: str) -> bool:
        """Whether nobody is told of any alert of a camera, as far as has been loaded."""
        with self._lock:
            return self._holds((camera, "")) or self._holds(("", ""))

    def alerts(self) -> list[Alert]:
        """Those of the last day, and those of which something goes on, newest first."""
        with self._lock:
            return sorted(self._begin().alerts.values(), key=lambda alert: -alert.opened_time)

    def test(self, route: str) -> Notification:
        """Send a notification of nothing by one route.

        Raises:
            LookupError: there is no such route.
        """
        if route not in self._options.routes:
            raise LookupError(f"no route {route}; there are: {', '.join(self._options.routes) or 'none'}")
        title, text = "Sightline: a test", "This is a test of the route; nothing has happened."
        values = (str(uuid.uuid4()), 0, "test", (route,), self._clock(), "", Severity.INFO.value)
        notification = Notification(*values, title, text, self._options.public_url or "", {})
        with self._lock:
            self._made.append(notification)
            self._write()
        return notification

    def _is_muted(self, rule: str, source: str) -> bool:
        return any(map(self._holds, ((source, ""), ("", rule), (source, rule), ("", ""))))

    def _keep_mute(self, mute: Mute) -> None:
        self._mutes[mute.source, mute.rule] = mute, self._steady() + mute.until - self._clock()

    def _holds(self, name: tuple[str, str]) -> bool:
        """Whether a mute does; a clock that is set back makes none longer."""
        mute, end_s = self._mutes.get(name, (None, 0.0))
        return mute is not None and mute.until > self._clock() and end_s > self._steady()

    # -- rows -----------------------------------------------------------------------------------------

    def _change(self, alert: Alert, **values: Any) -> Alert:
        alert = replace(alert, changed_time=self._clock(), **values)
        self._begin().put(alert)
        self._watched[alert.alert_id] = None
        self._made.append(alert)
        return alert

    def _tell(self, alert: Alert, transition: str) -> Alert:
        """Make a notification for the routes that are to be told now; none, and the alert is only listed."""
        rule = self._options.rules.get(alert.rule)
        if rule is None:
            return alert
        names = rule.routes
        if transition == "escalated":
            names = rule.escalate_to
        elif alert.escalated:
            names = tuple(dict.fromkeys((*names, *rule.escalate_to)))
        order, zone, now = list(Severity), ZoneInfo(self._options.timezone), self._clock()
        severity = Severity(alert.severity)
        if transition in _CLOSING:
            silent = not alert.notifications
        else:
            quiet = rule.quiet is not None and rule.quiet.holds(now, zone)
            silent = alert.muted or self._is_muted(alert.rule, alert.source)
            silent = silent or (quiet and severity is not Severity.CRITICAL)
        routes = tuple(
            name
            for name in names
            if not silent
            and name in self._options.routes
            and order.index(severity) >= order.index(self._options.routes[name].min_severity)
        )
        number = alert.notifications
        alert = self._change(alert, notifications=number + bool(routes), told=alert.count)
        if routes:
            title, text = words_of(alert, rule, transition, zone)
            url = self._options.public_url
            link = f"{url.rstrip('/')}/review?alert={alert.alert_id}" if url else ""
            values = (now, alert.source, alert.severity, title, text, link, asdict(alert))
            self._made.append(Notification(alert.alert_id, number, transition, routes, *values))
        return alert

    def _write(self) -> None:
        made, self._made = self._made, []
        if made:
            self._put(made)


def make(config: Config) -> list[AlertEngine]:
    """The engine, also while there are no rules: they may come. It reads what is open when it begins."""
    url = config.database.url.get_secret_value()

    def load(alert_id: str | None) -> OpenAlerts:
        with reading_from(url) as connection:
            return read_open_alerts(connection, None, time.time() - FORGET_S, alert_id)

    return [AlertEngine(config.alerts, load, max_lost_s=config.track.max_lost_s)]


def _is_awaited(alert: Alert, rule: AlertRule) -> bool:
    """Whether time alone may change it."""
    untold = alert.state in _OPEN and alert.count > alert.told
    escalates = alert.state is AlertState.NEW and rule.escalate_after_s is not None and not alert.escalated
    return alert.state is AlertState.WAITING or untold or escalates
