"""A rule of alerts as a form and as a sentence, and what is to stand in the file for it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from typing import Any

import streamlit as st

from console.config_review import Edits
from console.texts import plain
from console.week_hours import DAY_NAMES, clock_of, hours_as_written, hours_in_words, hours_of
from sightline.config.alerts import MESSAGE_FIELDS, AlertRule, Day, Severity
from sightline.config.yaml_edit import GONE
from sightline.entities import EventKind, lasts

#: What happens, for people who choose it; what is not here is told by its name.
KIND_NAMES = {
    EventKind.LOITER: "stays too long in a zone (loitering)",
    EventKind.ENTER: "enters a zone",
    EventKind.LEAVE: "leaves a zone",
    EventKind.CROSSING: "crosses a line",
    EventKind.OCCUPANCY: "too many in a zone",
    EventKind.CAMERA_OFFLINE: "a camera is offline",
    EventKind.VIEW_COVERED: "a camera is covered",
    EventKind.VIEW_FROZEN: "a picture is frozen",
    EventKind.VIEW_DEFOCUSED: "a camera is out of focus",
    EventKind.VIEW_MOVED: "a camera was moved",
    EventKind.CLIPS_FAILED: "clips cannot be written",
    EventKind.CLOCK_STEP: "a clock was set",
    EventKind.TRITON_AWAY: "the detector is away",
    EventKind.DATABASE_AWAY: "the database is away",
    EventKind.SPOOL_FILLING: "results pile up",
    EventKind.OVERLOAD: "the machine is overloaded",
    EventKind.DELIVERY_FAILED: "alerts are not delivered",
    EventKind.UPLOAD_FAILED: "clips are not copied",
    EventKind.OUTPUT_FAILED: "video is not passed on",
}
#: A rule of which only the kinds are said, as the file has it.
DEFAULTS: Mapping[str, Any] = AlertRule.model_construct(kinds=()).model_dump(mode="json")
HOURS = ("schedule", "quiet")
NIGHT = {"begin": "22:00", "end": "06:00"}
DAY_SHORT = {day: name[:2] for day, name in DAY_NAMES.items()}
MAX_NAME = 50


@dataclass(frozen=True, slots=True)
class Choices:
    """What a rule can name."""

    places: Mapping[str, Mapping[str, Any]]  # by camera, its lines and zones by name; empty: not known
    classes: Sequence[str]
    routes: Sequence[str]


def rule_name(text: str) -> str:
    """A name as the file takes it, of what somebody calls a rule or a route."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_0123456789")[:MAX_NAME].strip("_")


def rule_as_written(given: Mapping[str, Any]) -> dict[str, Any]:
    """A rule of the API's answer, with all its options, as the file has them."""
    return {**given, **{name: hours_as_written(given[name]) for name in HOURS}}


def rule_edits(name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Edits:
    """What is to be another in the file; ``before`` None: the rule is new."""
    if before is None:
        return {("rules", name): {key: value for key, value in after.items() if value != DEFAULTS[key]}}
    return {
        ("rules", name, key): GONE if value == DEFAULTS[key] else value
        for key, value in after.items()
        if value != before[key]
    }


# -- in words -----------------------------------------------------------------------------------------------


def kind_name(kind: str) -> str:
    """What happens."""
    return KIND_NAMES.get(EventKind(kind), kind)


def rule_in_words(rule: Mapping[str, Any]) -> str:
    """What it is about, and who is told, in a sentence."""
    seen = [kind for kind in rule["kinds"] if lasts_in_a_place(kind)]
    classes = [f"{'an' if name[:1] in 'aeiou' else 'a'} {name}" for name in rule["classes"] or ()]
    who = (" or ".join(classes) or "anything") + " " if seen else ""
    what = " or ".join(map(kind_name, rule["kinds"])) or "nothing"
    where = f" at {' or '.join(rule['places'])}" if rule["places"] else ""
    cameras = f"on {', '.join(rule['cameras'])}" if rule["cameras"] else "on any camera"
    hours = f", {hours_in_words(hours_of(rule['schedule']))}" if rule["schedule"] else ""
    told = f"told by {', '.join(rule['routes'])}" if rule["routes"] else "shown in Review"
    return f"When {who}{what}{where}, {cameras}{hours}: {told}."


def lasts_in_a_place(kind: str) -> bool:
    """Whether somebody or something of a class does it."""
    return kind in {EventKind.CROSSING, EventKind.ENTER, EventKind.LEAVE, EventKind.LOITER}


def zones_in_words(rule: Mapping[str, Any], choices: Choices) -> str:
    """After how long somebody loiters in each zone that the rule looks at; "": in none."""
    return "; ".join(
        f"{place} on {camera} after {known['loiter_s']:g} s"
        for camera in rule["cameras"] or choices.places
        for place, known in choices.places.get(camera, {}).items()
        if place in (rule["places"] or (place,)) and known.get("loiter_s")
    )


# -- the form -----------------------------------------------------------------------------------------------


def rule_form(rule: Mapping[str, Any], choices: Choices, key: str, *, fixed: bool) -> dict[str, Any]:
    """Ask for all of a rule; what is answered, as the file has it.

    Args:
        rule: as it is.
        choices: what can be named.
        key: of this form's fields.
        fixed: it can only be looked at.
    """
    new = dict(rule)

    def some(name: str, label: str, options: Sequence[str], nothing: str, **more: Any) -> None:
        before = list(rule[name] or ())
        found = st.multiselect(
            label,
            sorted({*options, *before}) if name != "kinds" else options,
            before,
            key=f"{key}_{name}",
            placeholder=nothing,
            disabled=fixed,
            **more,
        )
        new[name] = list(found) or DEFAULTS[name]

    some(
        "kinds",
        "What happens",
        [kind.value for kind in KIND_NAMES],
        "choose at least one",
        format_func=kind_name,
    )
    left, right = st.columns(2, gap="medium")
    with left:
        some("cameras", "Cameras", [*choices.places], "all cameras")
    named = new["cameras"] or choices.places
    places = {place for camera in named for place in choices.places.get(camera, ())}
    with right:
        some("places", "Lines and zones", [*places], "all of them")
    left, right = st.columns(2, gap="medium")  # another row, so that on a phone all stay in this order
    with left:
        some("classes", "Classes", choices.classes, "anything", accept_new_options=True)
    with right:
        some("routes", "Told by", choices.routes, "nobody: it is shown in Review")
    _say_when_loitering(new, choices)
    new["severity"] = st.segmented_control(
        "Severity",
        [severity.value for severity in Severity],
        default=rule["severity"],
        key=f"{key}_severity",
        required=True,
        disabled=fixed,
    )
    _ask_numbers(rule, new, key, fixed=fixed)
    with st.expander("Hours, escalation and message"):
        for name, label in (
            ("schedule", "Only at certain hours"),
            ("quiet", "Quiet hours: nobody is told, but of what is critical"),
        ):
            new[name] = ask_hours(label, rule[name], f"{key}_{name}", fixed=fixed)
        _ask_more(rule, new, choices, key, fixed=fixed)
    return new


def _say_when_loitering(rule: Mapping[str, Any], choices: Choices) -> None:
    if EventKind.LOITER not in rule["kinds"] or not choices.places:
        return
    if told := zones_in_words(rule, choices):
        st.caption(plain(f"Loitering: {told}. A zone's time is set on its camera's page."))
    else:
        remedy = "Open the camera under Cameras, choose the zone, and write its “Loitering after”."
        st.warning(f"No zone there has a time for loitering, so nobody would ever be told. {remedy}")


def _ask_numbers(rule: Mapping[str, Any], new: dict[str, Any], key: str, *, fixed: bool) -> None:
    """Those that mean something for what happens."""
    kinds = {EventKind(kind) for kind in new["kinds"]}
    crowd = EventKind.OCCUPANCY in kinds
    asked = [
        (
            "cooldown_s",
            "Group repeats within (seconds)",
            "Of the same camera and place: they join one alert.",
            True,
        ),
        (
            "min_dwell_s",
            "Only if it lasts at least (seconds)",
            "Nobody is told of a visit that is shorter.",
            crowd or any(lasts(kind, None) for kind in kinds),
        ),
        ("min_count", "Only of so many or more", "Objects in the zone.", crowd),
    ]
    shown = [(name, label, text) for name, label, text, means in asked if means]
    for column, (name, label, text) in zip(st.columns(3, gap="medium"), shown, strict=False):
        value = column.number_input(
            label, 0, 86_400, int(rule[name]), key=f"{key}_{name}", help=text, disabled=fixed
        )
        new[name] = rule[name] if value == int(rule[name]) else value


def ask_hours(
    label: str, before: Mapping[str, Any] | None, key: str, *, fixed: bool
) -> dict[str, Any] | None:
    """Days, from and until, as the file has them; None: not switched on."""
    if not st.toggle(label, before is not None, key=f"{key}_on", disabled=fixed):
        return None
    given = before or NIGHT
    line = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    days = line.pills(
        "Days (none: every day)",
        [*Day],
        selection_mode="multi",
        default=[Day(day) for day in given.get("days") or ()],
        format_func=DAY_SHORT.__getitem__,
        key=f"{key}_days",
        disabled=fixed,
    )
    begin, end = (
        line.time_input(text, _time_of(given[name]), key=f"{key}_{name}", disabled=fixed, width=140)
        for name, text in (("begin", "From"), ("end", "Until"))
    )
    chosen = {"days": [day.value for day in Day if day in days]} if days else {}
    until = clock_of(end.hour * 60 + end.minute) if end != time() else "24:00"
    return {**chosen, "begin": clock_of(begin.hour * 60 + begin.minute), "end": until}


def _time_of(text: str) -> time:
    hours, _, minutes = text.partition(":")
    return time(int(hours) % 24, int(minutes))


def _ask_more(
    rule: Mapping[str, Any], new: dict[str, Any], choices: Choices, key: str, *, fixed: bool
) -> None:
    left, right = st.columns(2, gap="medium")
    after = left.number_input(
        "Not acknowledged for (seconds)",
        1,
        86_400,
        None if rule["escalate_after_s"] is None else int(rule["escalate_after_s"]),
        key=f"{key}_escalate_after_s",
        placeholder="it is not escalated",
        disabled=fixed,
    )
    before = list(rule["escalate_to"])
    told = right.multiselect(
        "Then tell by",
        sorted({*choices.routes, *before}),
        before,
        key=f"{key}_escalate_to",
        placeholder="nobody",
        disabled=fixed,
    )
    new |= {"escalate_after_s": after, "escalate_to": list(told)}
    fields = ", ".join(f"{{{name}}}" for name in MESSAGE_FIELDS)
    message = st.text_input("Message", rule["message"], key=f"{key}_message", help=fields, disabled=fixed)
    new["message"] = message.strip() or DEFAULTS["message"]
