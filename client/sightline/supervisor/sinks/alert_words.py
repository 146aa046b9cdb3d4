"""What people are told of an alert."""

from datetime import datetime
from zoneinfo import ZoneInfo

from sightline.config.alerts import AlertRule
from sightline.entities import Alert


def words_of(alert: Alert, rule: AlertRule, transition: str, zone: ZoneInfo) -> tuple[str, str]:
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
            "count": str(alert.count),
        }
    )
    title = " ".join(title.split())  # one line, whatever the places are called
    what, where = f"{alert.kind} {alert.place}".strip(), alert.source or "the program"
    more = alert.count - 1
    has_ended = transition == "resolved" and alert.end_time is not None
    over_s = alert.end_time - alert.event_time if has_ended and alert.end_time is not None else None
    if transition == "more":
        title = f"{title} and {more} more"
    elif transition != "opened":
        title = f"{transition.replace('_', ' ')}: {title}"
    lines = [
        f"{what} at {where}, {time_text} ({zone.key})",
        f"{alert.count} events" if more else "",
        f"over after {over_s:.0f} s" if over_s is not None else "",
        f"by {alert.who}" if alert.who else "",
        alert.comment,
        f"alert {alert.alert_id[:8]}",  # what `sightline alerts ack` takes
    ]
    return title, "\n".join(filter(None, lines))
