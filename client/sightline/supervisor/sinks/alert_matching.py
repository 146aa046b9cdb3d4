"""Whether a rule is about an event, and whether a schedule holds. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

from sightline.config.alerts import AlertRule, Day, Hours
from sightline.config.groups import SOURCE
from sightline.entities import RULE_KINDS, EventKind

_DAYS = tuple(Day)


def holds(schedule: Hours, time: float, zone: tzinfo) -> bool:
    """Whether a schedule holds at ``time`` (UTC epoch seconds), in the time zone that it is written for."""
    now = datetime.fromtimestamp(time, zone)
    minutes = now.hour * 60 + now.minute
    day, yesterday = _DAYS[now.weekday()], _DAYS[(now - timedelta(days=1)).weekday()]

    def is_day(name: Day) -> bool:
        return schedule.days is None or name in schedule.days

    if schedule.begin < schedule.end:
        return is_day(day) and schedule.begin <= minutes < schedule.end
    return (is_day(day) and minutes >= schedule.begin) or (is_day(yesterday) and minutes < schedule.end)


def is_about(rule: AlertRule, event: Mapping[str, Any], zone: tzinfo) -> bool:
    """Whether the rule is about an event, given by the fields of :class:`~sightline.entities.Event`."""
    wanted = (
        (rule.cameras, event["source"]),
        (rule.kinds, event["kind"]),
        (rule.places, event["place"]),
        (rule.classes, event["item_class"]),
    )
    if any(names is not None and value not in names for names, value in wanted):
        return False
    if rule.cameras is None and event["source"] == SOURCE and event["kind"] in RULE_KINDS:
        return False  # nobody is to be told of what the canary plays, but by a rule that names it
    if event["kind"] == EventKind.OCCUPANCY and (
        event["direction"] != "above" or (event["value"] or 0) < rule.min_count
    ):
        return False
    return rule.schedule is None or holds(rule.schedule, event["event_time"], zone)
