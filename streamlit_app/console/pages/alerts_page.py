"""Alerts: rules, the routes by which people are told, quiet hours, and mutes."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, available_timezones

import streamlit as st

from console import theme
from console.config_review import (
    READ_ONLY,
    Edits,
    Part,
    Proposal,
    opened,
    read_part,
    review,
    save_button,
    was_saved,
)
from console.route_form import WAY_NAMES, route_form
from console.rule_form import (
    DEFAULTS,
    NIGHT,
    Choices,
    ask_hours,
    rule_as_written,
    rule_edits,
    rule_form,
    rule_in_words,
    rule_name,
)
from console.texts import counted, percent, plain, safe
from console.viewer import Viewer, now
from console.week_hours import example_of, hours_in_words, hours_of, week_grid
from sightline.access.rights import Right
from sightline.config.alerts import Severity
from sightline.config.yaml_edit import GONE
from sightline.config.yaml_text import parse_yaml
from sightline.entities import Mute
from sightline.errors import StoreUnavailable
from sightline.store.read.event_search import read_event_names
from sightline.store.read.reviewed_alerts import RuleRecord, read_rule_records
from sightline.store.rollups import DAY_S

SECTION = "/api/v1/config/alerts"
OPENED = "alerts_opened"
RECORD_DAYS, SEEN_DAYS = 30, 7
TEST_TIMEOUT_S = 40.0
#: What is often counted, until the cameras have seen something.
CLASSES = ("person", "car", "truck", "bus", "bicycle", "motorcycle")
MUTES_S = {"1 hour": 3600, "8 hours": 8 * 3600, "1 day": DAY_S, "1 week": 7 * DAY_S}
ALL_CAMERAS, ALL_RULES = "all cameras", "all rules"
NOT_AN_ENGINEER = "You see the rules as they are. An engineer who sees all cameras can change them."
NO_NAME = "Write a name, with at least one letter."


@dataclass(frozen=True, slots=True)
class AlertsView:
    """Rules and routes, as this viewer sees them."""

    part: Part  # of the configuration; nothing of it is known to who may not see that
    rules: dict[str, dict[str, Any]]  # by name, all options, as the file has them
    routes: dict[str, Any]  # by name: all options, secrets masked; or what it is, for who may not see those
    timezone: str
    warnings: Sequence[str]  # of rules that wait in vain
    fixed: bool  # it can only be looked at


def render(viewer: Viewer) -> None:
    """The page: a rule or a route if the address names one, a form for a new one, or all."""
    if was_saved():
        st.session_state.pop(OPENED, None)
    query = st.query_params.to_dict()
    with theme.trying():
        view = _read(viewer)
        if view.part.read_only:
            st.warning(READ_ONLY, icon=":material/lock:")
        elif view.fixed:
            st.info(NOT_AN_ENGINEER, icon=":material/visibility:")
        if "rule" in query or query.get("add") == "rule":
            _render_rule(viewer, view, query.get("rule", ""))
        elif "route" in query or query.get("add") == "route":
            _render_route(viewer, view, query.get("route", ""))
        else:
            st.session_state.pop(OPENED, None)
            _render_all(viewer, view)


def _go(**query: str) -> None:
    st.query_params.from_dict(query)
    st.rerun()


def _read(viewer: Viewer) -> AlertsView:
    shown = viewer.api.get("/api/v1/rules")
    rules, routes, part = shown["rules"], shown["routes"], Part()
    if viewer.may(Right.SEE_CONFIG):
        part = read_part(viewer.api, SECTION)
        rules, routes = part.options["rules"], part.options["routes"]
    rules = {name: rule_as_written(rule) for name, rule in rules.items()}
    fixed = part.read_only or not viewer.may(Right.WRITE_CONFIG)
    return AlertsView(part, rules, routes, shown["timezone"], shown["warnings"], fixed)


def _propose(viewer: Viewer, view: AlertsView, title: str, edits: Edits, **then: str) -> None:
    review(viewer, Proposal(title, "PUT", SECTION, edits, view.part.written, then))


# -- all of them --------------------------------------------------------------------------------------------


def _render_all(viewer: Viewer, view: AlertsView) -> None:
    tabs = {"Rules": _show_rules, "Routes": _show_routes, "Quiet hours": _show_quiet, "Mutes": _show_mutes}
    default = st.query_params.get("tab")
    for tab, show in zip(
        st.tabs([*tabs], default=default if default in tabs else None), tabs.values(), strict=True
    ):
        with tab:
            show(viewer, view)


def _show_rules(viewer: Viewer, view: AlertsView) -> None:
    if not view.fixed and st.button("Add a rule", icon=":material/add:", type="primary", key="add_rule"):
        _go(add="rule")
    if not view.rules:
        theme.state("There is no rule yet.", "Rules say which events are alerts.", icon="rule")
    records = _records(viewer)
    mutes = [Mute(**mute) for mute in viewer.api.get("/api/v1/mutes")]
    for name in sorted(view.rules):
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            line = _rule_line(viewer, view, name, records, mutes)
            st.html(line, width="stretch")
            label = "Show" if view.fixed else "Edit"
            if st.button(label, key=f"rule_{name}", help=f"{label} rule {name}."):
                _go(rule=name)
    for warning in view.warnings:
        st.warning(plain(warning), icon=":material/help:")


def _records(viewer: Viewer) -> dict[str, RuleRecord] | None:
    """What became of each rule's alerts; None: the database does not answer."""
    with suppress(StoreUnavailable), viewer.database.reading() as connection:
        since = now() - RECORD_DAYS * DAY_S
        return {one.rule: one for one in read_rule_records(connection, viewer.cameras, since)}
    return None


def _rule_line(
    viewer: Viewer,
    view: AlertsView,
    name: str,
    records: Mapping[str, RuleRecord] | None,
    mutes: Sequence[Mute],
) -> str:
    """HTML."""
    rule, record = view.rules[name], (records or {}).get(name)
    word, tone = _state_of(viewer, name, rule, mutes, ZoneInfo(view.timezone))
    seen = f"no alert in {RECORD_DAYS} days" if records is not None else "its alerts cannot be counted now"
    if record is not None:
        share = percent(record.false_alarms / record.alerts)
        alerts = counted(record.alerts, "alert")
        seen = f"{alerts} in {RECORD_DAYS} days, {share} false alarms, {record.open} open"
    seen = f"{rule['severity']} · {seen}"
    return (
        f"<div><b>{safe(name)}</b>&ensp;{theme.state_word(word, tone)}"
        f"{theme.caption(safe(rule_in_words(rule)))}{theme.caption(safe(seen))}</div>"
    )


def _state_of(
    viewer: Viewer, name: str, rule: Mapping[str, Any], mutes: Sequence[Mute], zone: ZoneInfo
) -> tuple[str, str]:
    """Whether people are told now: a word and its tone."""
    for mute in mutes:
        if mute.rule in {"", name} and not mute.source:
            return f"muted until {viewer.clock(mute.until, '%-d %b %H:%M')}", "warn"
    if rule["schedule"] and not hours_of(rule["schedule"]).holds(now(), zone):
        return "outside its hours", "idle"
    if rule["severity"] != Severity.CRITICAL and rule["quiet"] and hours_of(rule["quiet"]).holds(now(), zone):
        return "quiet now", "idle"
    return "active", "good"


# -- one rule -----------------------------------------------------------------------------------------------


def _back(label: str, **query: str) -> Any:
    bar = st.container(horizontal=True, vertical_alignment="center", gap="small")
    if bar.button(label, icon=":material/arrow_back:", key="to_alerts"):
        _go(**query)
    return bar


def _render_rule(viewer: Viewer, now_: AlertsView, name: str) -> None:
    bar = _back("All rules")
    view = opened(OPENED, f"rule {name}", now_)
    if name and name not in view.rules:
        theme.state("There is no rule of that name.", "Choose one of those there are.", icon="rule")
        return
    before = view.rules.get(name)
    if before is None and view.fixed:
        return
    key = f"rule_{name}_{view.part.version}"
    bar.html(f'<h2 class="sl-camera">{safe(name) if name else "Add a rule"}</h2>', width="stretch")
    if name and not view.fixed and bar.button("Remove", icon=":material/delete:", key="remove_rule"):
        _propose(viewer, view, f"Remove rule {name}", {("rules", name): GONE})
    if not name:
        name = _ask_name(key, "loitering in the yard")
    rule = rule_form(before or _suggested(), _choices(viewer, view), key, fixed=view.fixed)
    if rule["kinds"]:
        st.html(theme.caption(safe(rule_in_words(rule))))
    if view.fixed:
        return
    edits = rule_edits(name, before, rule)
    if not save_button("save_rule", ready=bool(edits)):
        return
    problem = _problem_of(name, "rule", view.rules if before is None else ()) or (
        "" if rule["kinds"] else "Choose what happens."
    )
    if problem:
        st.warning(plain(problem), icon=":material/edit:")
        return
    _propose(viewer, view, f"{'Add' if before is None else 'Change'} rule {name}", edits)


def _ask_name(key: str, example: str) -> str:
    text = st.text_input("Name", key=f"{key}_name", placeholder=example, max_chars=50, width=360)
    name = rule_name(text)
    if name and name != text:
        st.html(theme.caption(f"In the file it is called {safe(name)}."))
    return name


def _problem_of(name: str, what: str, known: Mapping[str, Any] | tuple[()]) -> str:
    if not name:
        return NO_NAME
    return f"There is a {what} of that name." if name in known else ""


def _suggested() -> dict[str, Any]:
    """A new rule, with what the address says of it."""
    query, rule = st.query_params, rule_as_written(DEFAULTS)
    for name, key in (("cameras", "camera"), ("places", "place"), ("kinds", "kind")):
        if value := query.get(key):
            rule[name] = [value]
    return rule


def _choices(viewer: Viewer, view: AlertsView) -> Choices:
    """What rules can name: what the file has, and what was seen lately."""
    if not viewer.may(Right.SEE_CONFIG):
        return Choices({}, (), [*view.routes])
    values = parse_yaml(viewer.api.get("/api/v1/config")["text"], "the configuration").values
    cameras = values.get("cameras")
    places = {}
    for name, options in cameras.items() if isinstance(cameras, dict) else ():
        places[name] = {**_places_of(values), **_places_of(options)}
    classes = {
        *CLASSES,
        *(one for known in places.values() for place in known.values() for one in place.get("classes") or ()),
    }
    with suppress(StoreUnavailable), viewer.database.reading() as connection:
        between = now() - SEEN_DAYS * DAY_S, now()
        classes |= {*read_event_names(connection, viewer.cameras, between, [*places]).classes}
    return Choices(places, sorted(classes), [*view.routes])


def _places_of(options: Any) -> dict[str, dict[str, Any]]:
    """Lines and zones that a part of the file has, by name; what is none is left out."""
    rules = options.get("rules") if isinstance(options, dict) else None
    groups = [rules.get(group) for group in ("lines", "zones")] if isinstance(rules, dict) else []
    found = (group.items() for group in groups if isinstance(group, dict))
    return {str(name): place for items in found for name, place in items if isinstance(place, dict)}


# -- routes -------------------------------------------------------------------------------------------------


def _show_routes(viewer: Viewer, view: AlertsView) -> None:
    if not view.fixed and st.button("Add a route", icon=":material/add:", type="primary", key="add_route"):
        _go(add="route")
    if not view.routes:
        remedy = "Alerts are shown in Review all the same. A route tells people: by e-mail, webhook and more."
        theme.state("There is no route yet.", remedy, icon="send")
        return
    health = _health(viewer)
    for name in sorted(view.routes):
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.html(_route_line(view, name, health.get(f"route:{name}")), width="stretch")
            if viewer.may(Right.TEST_ROUTE):
                text = f"Sends a test by {name}, and says what came of it."
                if st.button("Test", icon=":material/send:", key=f"test_{name}", help=text):
                    _test(viewer, name)
            if not view.fixed and st.button("Edit", key=f"route_{name}", help=f"Edit route {name}."):
                _go(route=name)
        if (told := st.session_state.get("route_tested")) and told[0] == name:
            _, problem = told
            if problem:
                st.error(plain(f"{name}: {problem}"), icon=":material/error:")
            else:
                st.success(f"{name}: the other side has taken the test.", icon=":material/check_circle:")


def _test(viewer: Viewer, name: str) -> None:
    st.session_state.pop("route_tested", None)
    with theme.trying(), st.spinner("Sending a test …"):
        path = f"/api/v1/routes/{quote(name, safe='')}/test"
        st.session_state["route_tested"] = name, viewer.api.post(path, timeout_s=TEST_TIMEOUT_S)


def _health(viewer: Viewer) -> dict[str, dict[str, Any]]:
    """How routes do, by the name of their sink; for those who see all cameras."""
    status = viewer.api.get("/api/v1/status")
    return {sink["name"]: sink for sink in status.get("sinks", ())}


def _route_line(view: AlertsView, name: str, health: Mapping[str, Any] | None) -> str:
    """HTML."""
    route = view.routes[name]
    way = route if isinstance(route, str) else next(key for key in WAY_NAMES if route[key] is not None)
    word, tone, said = "", "idle", ""
    if health is not None:
        word, tone = ("works", "good") if health["ok"] else ("does not deliver", "bad")
        said = health["last_error"]
    rules = _rules_with(view, name)
    used = f"tells of {', '.join(rules)}" if rules else "no rule uses it"
    least = "" if isinstance(route, str) else f" · from {route['min_severity']} on"
    shown = f"{WAY_NAMES[way]}{least} · {used}"
    state = theme.state_word(word, tone, said) if word else ""
    return f"<div><b>{safe(name)}</b>&ensp;{state}{theme.caption(safe(shown))}</div>"


def _rules_with(view: AlertsView, route: str) -> list[str]:
    return [name for name, rule in view.rules.items() if route in (*rule["routes"], *rule["escalate_to"])]


def _render_route(viewer: Viewer, now_: AlertsView, name: str) -> None:
    bar = _back("All routes", tab="Routes")
    view = opened(OPENED, f"route {name}", now_)
    before = view.routes.get(name)
    if view.fixed or (name and before is None):
        theme.state("There is no route of that name here.", "Choose one of those there are.", icon="send")
        return
    key = f"route_{name}_{view.part.version}"
    bar.html(f'<h2 class="sl-camera">{safe(name) if name else "Add a route"}</h2>', width="stretch")
    if name and bar.button("Remove", icon=":material/delete:", key="remove_route"):
        _propose(viewer, view, f"Remove route {name}", _without_route(view, name), tab="Routes")
    if not name:
        name = _ask_name(key, "guards")
    written = view.part.written["routes"][name] if before is not None else None
    edits = route_form(name, before, written, key)
    if not save_button("save_route", ready=before is None or bool(edits)):
        return
    problem = _problem_of(name, "route", view.routes if before is None else ())
    if problem or not edits:
        st.warning(plain(problem or "Fill in where it leads."), icon=":material/edit:")
        return
    _propose(viewer, view, f"{'Add' if before is None else 'Change'} route {name}", edits, tab="Routes")


def _without_route(view: AlertsView, name: str) -> Edits:
    """Take it away, and out of the rules that use it."""
    edits: dict[tuple[str, ...], Any] = {("routes", name): GONE}
    for user in _rules_with(view, name):
        rule = view.rules[user]
        left: dict[str, Any] = {
            key: [one for one in rule[key] if one != name] for key in ("routes", "escalate_to")
        }
        if not left["escalate_to"]:
            left["escalate_after_s"] = None
        edits |= rule_edits(user, rule, {**rule, **left})
    return edits


# -- quiet hours --------------------------------------------------------------------------------------------


def _show_quiet(viewer: Viewer, view: AlertsView) -> None:
    st.caption(
        "In a rule's quiet hours nobody is told of its alerts, but of critical ones; Review shows all of "
        f"them. Times are of the zone {view.timezone}."
    )
    hours = {name: rule["quiet"] and hours_of(rule["quiet"]) for name, rule in sorted(view.rules.items())}
    if not hours:
        theme.state("There is no rule yet.", "Quiet hours are a rule's own.", icon="bedtime")
        return
    st.html(week_grid(hours.items()))
    zone = ZoneInfo(view.timezone)
    told = []
    for name, quiet in hours.items():
        if quiet is not None and view.rules[name]["severity"] == Severity.CRITICAL:
            told.append(f"<b>{safe(name)}</b> is critical, and told all the same.")
        elif quiet is not None:
            words = f"is silent {hours_in_words(quiet)}. {example_of(quiet, now(), zone)}"
            told.append(f"<b>{safe(name)}</b> {safe(words)}")
    st.html(theme.caption("<br>".join(told) or "No rule has quiet hours: people are told at any time."))
    if not view.fixed:
        _ask_quiet(viewer, view)


def _ask_quiet(viewer: Viewer, view: AlertsView) -> None:
    with st.container(border=True):
        st.html(theme.heading("Set quiet hours"))
        key = f"quiet_{view.part.version}"
        rules = st.multiselect(
            "Of these rules", sorted(view.rules), key=f"{key}_rules", placeholder="choose rules"
        )
        given = ask_hours("Quiet hours (off: none)", NIGHT, key, fixed=False)
        edits: dict[tuple[str, ...], Any] = {}
        for name in rules:
            edits |= rule_edits(name, view.rules[name], {**view.rules[name], "quiet": given})
        zones = sorted(available_timezones() | {view.timezone})
        zone = st.selectbox(
            "Time zone of all hours and messages",
            zones,
            zones.index(view.timezone),
            key=f"{key}_zone",
            width=300,
        )
        edits |= {("timezone",): zone} if zone != view.timezone else {}
        if save_button("save_quiet", ready=bool(edits)):
            _propose(viewer, view, "Quiet hours", edits, tab="Quiet hours")


# -- mutes --------------------------------------------------------------------------------------------------


def _show_mutes(viewer: Viewer, view: AlertsView) -> None:
    st.caption(
        "While something is muted nobody is told of its alerts; they are shown in Review all the same."
    )
    theme.fresh(_list_mutes, viewer)
    if viewer.may_some(Right.MUTE):
        _ask_mute(viewer, view)


def _list_mutes(viewer: Viewer) -> None:
    mutes = [Mute(**mute) for mute in viewer.api.get("/api/v1/mutes")]
    if not mutes:
        st.html(theme.caption("Nothing is muted."))
    for mute in sorted(mutes, key=lambda mute: -mute.until):
        what = f"{mute.source or ALL_CAMERAS}, {mute.rule or ALL_RULES}"
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            until, by = viewer.clock(mute.until, "%A, %-d %B, %H:%M"), f" · by {mute.who}" if mute.who else ""
            st.html(
                f"<div><b>{safe(what)}</b>{theme.caption(safe(f'until {until}{by}'))}</div>", width="stretch"
            )
            may = viewer.may(Right.MUTE, mute.source or None)
            if may and st.button(
                "Lift", key=f"lift_{mute.source}_{mute.rule}", help=f"Tell people of {plain(what)} again."
            ):
                _mute(viewer, mute.source, mute.rule, 0.0)


def _mute(viewer: Viewer, camera: str, rule: str, until: float) -> None:
    with theme.trying():
        viewer.api.post("/api/v1/mutes", {"camera": camera, "rule": rule, "until": until})
        st.toast("Muted." if until else "People are told again.", icon=":material/check:")


def _ask_mute(viewer: Viewer, view: AlertsView) -> None:
    with st.container(border=True):
        st.html(theme.heading("Mute"))
        known = [status["source"] for status in viewer.api.get("/api/v1/cameras")]
        cameras = [name for name in known if viewer.may(Right.MUTE, name)]
        all_of = [ALL_CAMERAS] if viewer.may(Right.MUTE) else []
        line = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
        camera = line.selectbox("Alerts of camera", [*all_of, *sorted(cameras)], key="mute_camera", width=240)
        rule = line.selectbox("and rule", [ALL_RULES, *sorted(view.rules)], key="mute_rule", width=240)
        length = line.selectbox("for", [*MUTES_S], key="mute_for", width=140)
        if line.button("Mute", icon=":material/notifications_off:", key="mute_set", disabled=camera is None):
            named = "" if camera == ALL_CAMERAS else str(camera)
            _mute(viewer, named, "" if rule == ALL_RULES else rule, now() + MUTES_S[length])
