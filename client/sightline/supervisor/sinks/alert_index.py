"""The alerts that are known, by id, by event, and by place."""

from collections.abc import Iterable, Mapping

from sightline.entities import Alert, AlertState

#: Nobody has been told of these.
UNTOLD = frozenset({AlertState.WAITING, AlertState.PASSED, AlertState.JOINED})
Place = tuple[str, str, str, str]  # rule, camera, kind, place


def place_of(alert: Alert) -> Place:
    """Where other events join an alert."""
    return (alert.rule, alert.source, alert.kind, alert.place)


class AlertIndex:
    """Not for several threads at once.

    Attributes:
        alerts: by id; changed by :meth:`put` and :meth:`remove` alone.
    """

    def __init__(self, alerts: Iterable[Alert] = ()) -> None:
        self.alerts: dict[str, Alert] = {}
        self._of_event: dict[str, dict[str, str]] = {}  # by the event's key and the rule: the alert's id
        self._newest: dict[Place, str] = {}  # of those that people were told of: the id
        for alert in alerts:
            self.put(alert)

    def of_event(self, key: str) -> Mapping[str, str]:
        """By rule, the ids of the alerts that an event has made or joined."""
        return self._of_event.get(key, {})

    def newest(self, place: Place) -> Alert | None:
        """The one at a place that people were told of last."""
        return self.alerts.get(self._newest.get(place, ""))

    def put(self, alert: Alert) -> None:
        """Add an alert, or its newer state."""
        before, place = self.alerts.get(alert.alert_id), place_of(alert)
        self.alerts[alert.alert_id] = alert
        keys, old = _event_keys(alert), _event_keys(before) if before else set()
        for key in keys - old:
            self._of_event.setdefault(key, {})[alert.rule] = alert.alert_id
        self._unlink(alert.rule, old - keys)
        newest = self.newest(place)
        # One that was opened later than now was so by a clock that was ahead: what follows joins it no more.
        if alert.state not in UNTOLD and (
            newest is None
            or newest.opened_time <= alert.opened_time
            or newest.opened_time > alert.changed_time
        ):
            self._newest[place] = alert.alert_id

    def remove(self, alert: Alert) -> None:
        """Forget an alert."""
        del self.alerts[alert.alert_id]
        self._unlink(alert.rule, _event_keys(alert))
        if self._newest.get(place_of(alert)) == alert.alert_id:
            del self._newest[place_of(alert)]

    def _unlink(self, rule: str, keys: Iterable[str]) -> None:
        for key in keys:
            of_rules = self._of_event[key]
            del of_rules[rule]
            if not of_rules:
                del self._of_event[key]


def _event_keys(alert: Alert) -> set[str]:
    return {*alert.events, *alert.open_events}
