"""Whether a rule is about an event. Pure."""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from sightline.config.alerts import AlertRule
from sightline.config.groups import SOURCE
from sightline.entities import RULE_KINDS, EventKind


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
    return rule.schedule is None or rule.schedule.holds(event["event_time"], zone)
