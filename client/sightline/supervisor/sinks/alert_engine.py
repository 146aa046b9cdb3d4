"""Makes alerts of events, and notifications of alerts: a durable sink that writes rows and sends nothing.

Everything it knows stands in the database: a program that goes on after a kill makes the same alerts and the
same notifications, under the same keys, so that nothing is told twice under another one.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sightline.config import Config
from sightline.config.alerts import AlertOptions, AlertRule, Severity
from sightline.entities import Alert, AlertState, Mute, Notification, Result, lasts
from sightline.store.kinds import PendingRow, is_event
from sightline.store.read.open_alerts import OpenAlerts, read_open_alerts
from sightline.store.read.readonly import Database
from sightline.supervisor.sinks.alert_matching import holds, is_about
from sightline.supervisor.sinks.sink import DurableSink

#: Fixed for ever: alerts are named by it, so that a replay makes the same ones.
_NAMESPACE = uuid.UUID("b2f0d4a7-6a43-4d3b-9a55-8f3f8b1d6f0e")
MAX_EVENTS = 200  # keys that an alert remembers
FORGET_S = 86_400.0  # after this long an alert that is over is not looked up any more
_OPEN = frozenset({AlertState.WAITING, AlertState.NEW, AlertState.ACKNOWLEDGED})


class AlertEngine(DurableSink):
    """Events in, alerts and notifications out. Any thread may call every method.

    Args:
        options: rules and routes; replaced by :meth:`update`.
        load: reads what earlier programs have left.
        clock: our UTC.
    """

    name = "alerts"
    tick_s = 0.5

    def __init__(
        self,
        options: AlertOptions,
        load: Callable[[], OpenAlerts],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._load, self._clock = load, clock
        self._put: Callable[[Iterable[Result]], object] = list
        self._lock = threading.RLock()  # guards everything below
        self._alerts: dict[str, Alert] | None = None  # by id; None: not loaded yet
        self._mutes: dict[tuple[str, str], Mute] = {}
        self._made: list[Result] = []

    def attach(self, put: Callable[[Iterable[Result]], object]) -> None:
        """Write alerts and notifications by ``put``."""
        self._put = put

    def wants(self, row: PendingRow) -> bool:
        """Events and their ends, while there are rules."""
        return bool(self._options.rules) and is_event(row)

    def update(self, config: Config) -> None:
        """Other rules hold for the events that follow."""
        with self._lock:
            self._options = config.alerts

    # -- events and time ------------------------------------------------------------------------------

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Make alerts of events, and end those whose events have ended."""
        with self._lock:
            self._begin()
            for row in rows:
                self._take(row.key, row.values)
            self._write()

    def tick(self) -> None:
        """Do what is due: what has lasted long enough, what nobody acknowledges, what has joined an alert."""
        with self._lock:
            if self._alerts is None and not self._options.rules:
                return  # the database is not asked for nothing
            now, alerts = self._clock(), self._begin()
            for alert in list(alerts.values()):
                rule = self._options.rules.get(alert.rule)
                if rule is not None and alert.state in _OPEN:
                    self._pass_time(alert, rule, now)
                if alert.state not in _OPEN and now - alert.changed_time > FORGET_S:
                    del alerts[alert.alert_id]
            self._write()

    def _begin(self) -> dict[str, Alert]:
        if self._alerts is None:
            loaded = self._load()
            self._alerts = {alert.alert_id: alert for alert in loaded.alerts}
            self._mutes = {(mute.source, mute.rule): mute for mute in loaded.mutes}
        return self._alerts

    def _take(self, key: str, event: Mapping[str, Any]) -> None:
        end_time = event.get("end_time")
        zone = ZoneInfo(self._options.timezone)
        for name, rule in self._options.rules.items():
            alert = self._alert_of(name, key, event)
            if alert is None and is_about(rule, event, zone):
                alert = self._join(name, rule, key, event)
            if alert is not None and end_time is not None:
                self._end(rule, alert, key, end_time)

    def _alert_of(self, rule: str, key: str, event: Mapping[str, Any]) -> Alert | None:
        """The alert that the event is a part of already."""
        place = (rule, event["source"], event["kind"], event["place"])
        for alert in self._begin().values():
            if _place(alert) == place and (key in alert.events or key in alert.open_events):
                return alert
        return None

    def _join(self, name: str, rule: AlertRule, key: str, event: Mapping[str, Any]) -> Alert:
        """A new alert, or the one of a moment ago with one more event."""
        now, going_on = self._clock(), lasts(event["kind"], event["direction"])
        place = (name, event["source"], event["kind"], event["place"])
        for alert in self._begin().values():
            if _place(alert) == place and now - alert.opened_time < rule.cooldown_s:
                return self._change(
                    alert,
                    count=alert.count + 1,
                    events=(*alert.events, key)[-MAX_EVENTS:],
                    open_events=(*alert.open_events, key) if going_on else alert.open_events,
                )
        waits = going_on and rule.min_dwell_s > 0
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
            muted=self._is_muted(name, event["source"], now),
            events=(key,),
            open_events=(key,) if going_on else (),
        )
        alert = self._change(alert)
        return alert if waits else self._tell(alert, rule, "opened")

    def _end(self, rule: AlertRule, alert: Alert, key: str, end_time: float) -> None:
        """One of its events has ended."""
        if key not in alert.open_events:
            return
        left = tuple(other for other in alert.open_events if other != key)
        if alert.state is AlertState.WAITING and end_time - alert.event_time >= rule.min_dwell_s:
            alert = self._tell(self._change(alert, state=AlertState.NEW), rule, "opened")
        over = not left and alert.state in _OPEN
        waited = alert.state is AlertState.WAITING
        state = (AlertState.PASSED if waited else AlertState.RESOLVED) if over else alert.state
        alert = self._change(alert, open_events=left, end_time=None if left else end_time, state=state)
        if over and not waited:
            self._tell(alert, rule, "resolved")

    def _pass_time(self, alert: Alert, rule: AlertRule, now: float) -> None:
        if alert.state is AlertState.WAITING and now - alert.event_time >= rule.min_dwell_s:
            alert = self._tell(self._change(alert, state=AlertState.NEW), rule, "opened")
        if alert.state is not AlertState.NEW:
            return
        open_s, after_s = now - alert.opened_time, rule.escalate_after_s
        if alert.count > alert.told and open_s >= rule.cooldown_s:
            alert = self._tell(alert, rule, "more")
        if after_s is not None and open_s >= after_s and not alert.escalated:
            self._tell(self._change(alert, escalated=True), rule, "escalated")

    # -- people ---------------------------------------------------------------------------------------

    def set_state(self, alert_id: str, state: AlertState, who: str, comment: str = "") -> Alert:
        """Acknowledge an alert, resolve it, or call it false.

        Raises:
            LookupError: there is no such alert, or it is over for longer than a day.
        """
        with self._lock:
            alert = self._begin().get(alert_id)
            if alert is None:
                raise LookupError(f"no alert {alert_id}")
            if alert.state is not state:
                alert = self._change(alert, state=state, who=who, comment=comment or alert.comment)
                rule = self._options.rules.get(alert.rule)
                if rule is not None:
                    alert = self._tell(alert, rule, state.value)
            self._write()
            return alert

    def mute(self, mute: Mute) -> None:
        """Tell nobody of a camera's or a rule's alerts for a while, or again."""
        with self._lock:
            self._begin()
            self._mutes[mute.source, mute.rule] = mute
            self._made.append(mute)
            self._write()

    def alerts(self) -> list[Alert]:
        """Those that are open, and of the last day, newest first."""
        with self._lock:
            return sorted(self._begin().values(), key=lambda alert: -alert.opened_time)

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

    def _is_muted(self, rule: str, source: str, now: float) -> bool:
        names = ((source, ""), ("", rule), (source, rule), ("", ""))
        return any(name in self._mutes and self._mutes[name].until > now for name in names)

    # -- rows -----------------------------------------------------------------------------------------

    def _change(self, alert: Alert, **values: Any) -> Alert:
        alert = replace(alert, changed_time=self._clock(), **values)
        self._begin()[alert.alert_id] = alert
        self._made.append(alert)
        return alert

    def _tell(self, alert: Alert, rule: AlertRule, transition: str) -> Alert:
        """Make a notification for the routes that are to be told now; none, and the alert is only listed."""
        names = rule.routes
        if transition == "escalated":
            names = rule.escalate_to
        elif alert.escalated:
            names = tuple(dict.fromkeys((*names, *rule.escalate_to)))
        order, zone = list(Severity), ZoneInfo(self._options.timezone)
        severity = Severity(alert.severity)
        quiet = rule.quiet is not None and holds(rule.quiet, self._clock(), zone)
        if alert.muted or (quiet and severity is not Severity.CRITICAL):
            names = ()
        routes = tuple(
            name
            for name in names
            if name in self._options.routes
            and order.index(severity) >= order.index(self._options.routes[name].min_severity)
        )
        number = alert.notifications
        alert = self._change(alert, notifications=number + bool(routes), told=alert.count)
        if routes:
            title, text = _words(alert, rule, transition, zone)
            base = (self._options.public_url or "").rstrip("/")
            link = f"{base}/events?alert={alert.alert_id}" if base else ""
            values = (self._clock(), alert.source, alert.severity, title, text, link, asdict(alert))
            self._made.append(Notification(alert.alert_id, number, transition, routes, *values))
        return alert

    def _write(self) -> None:
        made, self._made = self._made, []
        if made:
            self._put(made)


def make(config: Config) -> list[AlertEngine]:
    """The engine, also while there are no rules: they may come. It reads what is open when it begins."""
    url = config.database.url.get_secret_value()

    def load() -> OpenAlerts:
        with closing(Database(url)) as database, database.reading() as connection:
            return read_open_alerts(connection, time.time() - FORGET_S)

    return [AlertEngine(config.alerts, load)]


def _place(alert: Alert) -> tuple[str, str, str, str]:
    return (alert.rule, alert.source, alert.kind, alert.place)


def _words(alert: Alert, rule: AlertRule, transition: str, zone: ZoneInfo) -> tuple[str, str]:
    """Title and text of a notification."""
    time_text = datetime.fromtimestamp(alert.event_time, zone).strftime("%Y-%m-%d %H:%M:%S")
    title = rule.message.format_map(
        {
            "camera": alert.source or "Sightline",
            "place": alert.place,
            "kind": alert.kind,
            "item_class": alert.item_class,
            "rule": alert.rule,
            "severity": alert.severity,
            "time": time_text,
            "value": "" if alert.value is None else f"{alert.value:g}",
            "count": alert.count,
        }
    )
    what, where = f"{alert.kind} {alert.place}".strip(), alert.source or "the program"
    more = alert.count - 1
    if transition == "more":
        title = f"{title} and {more} more"
    elif transition != "opened":
        title = f"{transition.replace('_', ' ')}: {title}"
    lines = [
        f"{what} at {where}, {time_text} ({zone.key})",
        f"{alert.count} events" if more else "",
        f"over after {alert.end_time - alert.event_time:.0f} s" if alert.end_time is not None else "",
        f"by {alert.who}" if alert.who else "",
        alert.comment,
    ]
    return title, "\n".join(filter(None, lines))
