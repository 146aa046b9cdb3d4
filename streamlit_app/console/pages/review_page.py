"""Review: alerts as a queue, each with its clip, and what people make of them."""

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import quote

import streamlit as st
from sqlalchemy import Connection

from console import theme
from console.components.review_components import QueueRow, alarm_strip, alert_queue, show_clip, thumbnail_of
from console.texts import ALERT_WORDS, OVER_UNSEEN, PROGRAM, duration, happened, percent, safe
from console.viewer import Viewer, now
from sightline.access.rights import Right
from sightline.entities import Alert, AlertState, Clip
from sightline.store.read.kept_clips import read_clips
from sightline.store.read.reviewed_alerts import (
    OPEN,
    TOLD,
    RuleRecord,
    read_alerts,
    read_new_alerts,
    read_rule_records,
)

SHOWN = {"New": (AlertState.NEW,), "Open": OPEN, "All": TOLD}
NONE_SHOWN = {"New": "No alert is new", "Open": "No alert is open", "All": "There was no alert"}
RANGES_S = {"24 h": 86_400, "7 days": 7 * 86_400, "30 days": 30 * 86_400}
MAX_ALERTS = 200
MAX_CLIPS = 500
SHOWN_ALERT = "alert_shown"
COMMENTS = "comments_made"  # by this viewer, in this session
CLIP_S = 3600.0  # no clip is longer
#: What one does with an alert: label, state, icon, key.
DEEDS = (
    ("Acknowledge", AlertState.ACKNOWLEDGED, "check", "A"),
    ("False alarm", AlertState.FALSE_ALARM, "thumb_down", "F"),
    ("Resolve", AlertState.RESOLVED, "done_all", "E"),
)


def render(viewer: Viewer) -> None:
    """The page."""
    theme.live(show, viewer)


def show(viewer: Viewer, connection: Connection) -> None:
    """The queue, the alert that is looked at, and what became of each rule's alerts."""
    bar = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    which = bar.segmented_control("Show", [*SHOWN], default="All", key="review_shown", required=True)
    period = bar.segmented_control("Last", [*RANGES_S], default="24 h", key="review_range", required=True)
    since = now() - RANGES_S[period]
    alerts = by_group(read_alerts(connection, viewer.cameras, since, SHOWN[which], MAX_ALERTS))
    if not alerts:
        remedy = "New ones appear here by themselves"
        remedy += "." if SHOWN[which] is TOLD else "; “All” shows those that are closed, too."
        theme.state(f"{NONE_SHOWN[which]} in the last {period}.", remedy, icon="task_alt")
    else:
        _show_alerts(viewer, connection, alerts)
    _show_rules(read_rule_records(connection, viewer.cameras, since), period)


def by_group(alerts: Sequence[Alert]) -> list[Alert]:
    """New ones first; those of one rule and camera together, by their newest."""
    newest: dict[tuple[bool, str, str], float] = {}
    for alert in alerts:
        newest.setdefault(_group(alert), alert.opened_time)  # they come with the newest first
    return sorted(
        alerts,
        key=lambda alert: (not _group(alert)[0], -newest[_group(alert)], _group(alert), -alert.opened_time),
    )


def _group(alert: Alert) -> tuple[bool, str, str]:
    return alert.state is AlertState.NEW, alert.rule, alert.source


def _show_alerts(viewer: Viewer, connection: Connection, alerts: Sequence[Alert]) -> None:
    clips = clips_of(alerts, _clips(viewer, connection, alerts))
    ids = [alert.alert_id for alert in alerts]
    chosen = st.query_params.get("alert") or st.session_state.get(SHOWN_ALERT, "")
    at = ids.index(chosen) if chosen in ids else 0
    st.session_state[SHOWN_ALERT] = ids[at]  # it stays though a newer one comes
    left, right = st.columns([1, 1.9], gap="medium")
    with left:
        rows = [queue_row(alert, clips.get(alert.alert_id), viewer) for alert in alerts]
        if picked := alert_queue(rows, ids[at]):
            _look_at(picked)
        if len(alerts) == MAX_ALERTS:
            st.html(theme.caption(f"The newest {MAX_ALERTS}."))
    with right:
        _show_alert(viewer, alerts[at], clips.get(ids[at]), ids, at)


def _look_at(alert_id: str) -> None:
    st.query_params["alert"] = alert_id
    st.rerun(scope="fragment")


def _clips(viewer: Viewer, connection: Connection, alerts: Sequence[Alert]) -> list[Clip]:
    """All that may show something of these alerts."""
    if not viewer.may_some(Right.SEE_CLIPS):
        return []
    between = min(a.event_time for a in alerts) - CLIP_S, max(a.event_time for a in alerts) + CLIP_S
    sources = sorted({alert.source for alert in alerts if alert.source})
    return read_clips(connection, viewer.cameras, between, sources, MAX_CLIPS)


def clips_of(alerts: Sequence[Alert], clips: Sequence[Clip]) -> dict[str, Clip]:
    """By an alert's id, the clip that shows its first event that any shows."""
    by_event: dict[str, Clip] = {}
    for clip in clips:  # the newest first
        by_event |= dict.fromkeys(clip.events, clip)
    found = ((alert.alert_id, next(filter(None, map(by_event.get, alert.events)), None)) for alert in alerts)
    return {alert_id: clip for alert_id, clip in found if clip is not None}


def what_of(alert: Alert) -> str:
    """What has happened, in a few words."""
    return happened(alert.kind, alert.place, alert.item_class)


def title_of(alert: Alert) -> str:
    """The same, and at which camera."""
    return f"{what_of(alert)} · {alert.source}" if alert.source else what_of(alert)


def word_of(alert: Alert) -> str:
    """What has become of it, and whether anybody has looked."""
    return OVER_UNSEEN if alert.is_over_unseen else ALERT_WORDS[alert.state]


def queue_row(alert: Alert, clip: Clip | None, viewer: Viewer) -> QueueRow:
    """A line of the queue."""
    lasts = " · goes on" if alert.end_time is None and alert.open_events else ""
    again = f" · {alert.count} times" if alert.count > 1 else ""
    return QueueRow(
        id=alert.alert_id,
        group=f"{alert.rule} · {alert.source or PROGRAM}",
        title=what_of(alert),  # its group names the camera
        note=f"{viewer.clock(alert.event_time, '%-d %b %H:%M:%S')}{again}{lasts}",
        state=alert.state.value,
        word=word_of(alert),
        thumb=thumbnail_of(clip),
    )


def _show_alert(viewer: Viewer, alert: Alert, clip: Clip | None, ids: Sequence[str], at: int) -> None:
    moment = viewer.clock(alert.event_time, "%A, %-d %B, %H:%M:%S")
    shown = f"{moment} · {word_of(alert)}"
    st.html(f'<h2 class="sl-camera">{safe(title_of(alert))}</h2><span class="idle">{shown}</span>')
    show_clip(clip, alert.events, f"{title_of(alert)}, {moment}", key="clip_player")
    _show_deeds(viewer, alert, ids, at)
    facts = {"Rule": alert.rule, "Severity": alert.severity}
    if alert.count > 1:
        facts["Events"] = str(alert.count)
    if alert.end_time is not None and alert.end_time > alert.event_time + 1:
        facts["Lasted"] = duration(alert.end_time - alert.event_time)
    facts |= {"By": alert.who} if alert.who else {}
    facts |= {"Comment": alert.comment} if alert.comment else {}
    if alert.muted:
        facts["Muted"] = "nobody was told"
    if alert.failed_routes:
        facts["Not delivered by"] = ", ".join(alert.failed_routes)
    st.html(theme.near_facts(facts))


def _show_deeds(viewer: Viewer, alert: Alert, ids: Sequence[str], at: int) -> None:
    bar = st.container(horizontal=True, vertical_alignment="center", gap="small")
    if viewer.may(Right.ACKNOWLEDGE, alert.source or None):
        for label, state, icon, key in DEEDS:
            is_open = alert.state in OPEN or (state is AlertState.ACKNOWLEDGED and alert.is_over_unseen)
            is_done = alert.state is state or not (is_open or state is AlertState.FALSE_ALARM)
            is_first = state is AlertState.ACKNOWLEDGED and not is_done
            kind: Literal["primary", "secondary"] = "primary" if is_first else "secondary"
            # Of this alert: what is pressed before the next one is drawn is not for that one.
            own = f"do_{state}_{alert.alert_id}"
            sign = f":material/{icon}:"
            if bar.button(label, icon=sign, key=own, shortcut=key, type=kind, disabled=is_done):
                _say(viewer, alert, {"state": state.value}, ids, at)
    for label, icon, step, key in (("Previous", "arrow_upward", -1, "K"), ("Next", "arrow_downward", 1, "J")):
        closed = not 0 <= at + step < len(ids)
        own = f"to_{label}_{alert.alert_id}"
        if bar.button(label, icon=f":material/{icon}:", key=own, shortcut=key, disabled=closed):
            _look_at(ids[at + step])
    if viewer.may(Right.ACKNOWLEDGE, alert.source or None):
        # What stands in the field stays there until it is kept: the next comment has a field of its own.
        number = st.session_state.get(COMMENTS, 0)
        with st.form(f"comment_{alert.alert_id}_{number}", border=False):
            line = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
            key, hint = f"review_comment_{alert.alert_id}_{number}", "what you saw or did"
            text = line.text_input("Comment", max_chars=1000, placeholder=hint, key=key)
            if line.form_submit_button("Add") and text.strip():
                _say(viewer, alert, {"comment": text.strip()}, ids, at)


def _say(viewer: Viewer, alert: Alert, change: Mapping[str, str], ids: Sequence[str], at: int) -> None:
    """Send it; on to the next one where this one has been dealt with."""
    with theme.trying():
        viewer.api.post(f"/api/v1/alerts/{quote(alert.alert_id, safe='')}", dict(change))
        st.session_state[COMMENTS] = st.session_state.get(COMMENTS, 0) + ("comment" in change)
        if "state" in change and at + 1 < len(ids):
            st.query_params["alert"] = ids[at + 1]
        st.toast("Done.", icon=":material/check:")
        st.rerun(scope="fragment")


def _show_rules(records: Sequence[RuleRecord], period: str) -> None:
    if not records:
        return
    heads = {"Rule": "name", "Alerts": "num", "Open": "num", "False alarms": "num", "Share": "num"}
    body: list[theme.Row] = [
        (
            "",
            [
                safe(record.rule),
                str(record.alerts),
                str(record.open),
                str(record.false_alarms),
                percent(record.false_alarms / record.alerts),
            ],
        )
        for record in records
    ]
    st.html(theme.heading("Rules", f"of the last {period}") + theme.table(heads, body))


# -- on every page ------------------------------------------------------------------------------------------


def show_alarm(viewer: Viewer) -> None:
    """Say on whichever page it is that something is new."""
    if not viewer.may_some(Right.SEE_ALERTS):
        return

    def strip(viewer: Viewer, connection: Connection) -> None:
        count, newest = read_new_alerts(connection, viewer.cameras)
        text = ""
        if newest is not None:
            more = f", and {count - 1} more" if count > 1 else ""
            text = f"New: {title_of(newest)}, {viewer.clock(newest.event_time)}{more}"
        alarm_strip(count, text, newest.alert_id if newest else "", sound=viewer.sound)

    theme.watch(strip, viewer)
