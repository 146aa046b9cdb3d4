"""What other lines, zones and classes would have made of the tracks that were kept, before they are saved."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import streamlit as st

from console import theme
from console.config_review import Edits, Part, with_edits
from console.texts import counted, happened, number, safe
from console.viewer import Viewer

TIMEOUT_S = 25.0
HOURS = {1: "the last hour", 6: "the last 6 hours", 24: "the last day", 72: "3 days", 336: "14 days"}
WAYS_IN_WORDS = {"forward": "in", "backward": "out", "above": "too many", "below": "no longer too many"}
MANY = {
    "crossing": "crossings",
    "enter": "entries",
    "leave": "exits",
    "loiter": "loiterings",
    "occupancy": "crowds",
}
_SHOWN = "what_if_shown"  # camera, which button, what was tried, and the answer


def offer_what_if(
    viewer: Viewer, bar: st.delta_generator.DeltaGenerator, camera: str, part: Part, edits: Edits, *, key: str
) -> None:
    """In ``bar`` a button that compares; below, what came of it for as long as nothing else is drawn."""
    value = with_edits(part.written, edits)
    tried = json.dumps(value, sort_keys=True)
    hours = bar.selectbox(
        "Tracks of",
        HOURS,
        index=2,
        format_func=HOURS.__getitem__,
        key=f"what_if_hours_{key}",
        width=170,
        disabled=not edits,
    )
    text = "Plays the tracks that were kept through what is in force and through what you have changed."
    if bar.button(
        "What would have changed?",
        key=f"what_if_{key}",
        icon=":material/compare:",
        help=text,
        disabled=not edits,
    ):
        path = f"/api/v1/cameras/{quote(camera, safe='')}/what-if"
        body = {"value": value, "hours": hours}
        with theme.trying(), st.spinner("Playing the kept tracks …"):
            answer = viewer.api.post(path, body, timeout_s=TIMEOUT_S)
            st.session_state[_SHOWN] = (camera, key, tried, answer)
            st.rerun()  # its ways lie under the drawing
    if shown := st.session_state.get(_SHOWN):
        if shown[:3] == (camera, key, tried):
            _show(viewer, shown[3])
        elif shown[:2] == (camera, key):
            del st.session_state[_SHOWN]
            st.rerun()


def shown_ways(camera: str) -> list[dict[str, Any]]:
    """Ways of the examples that are listed, to be drawn."""
    shown = st.session_state.get(_SHOWN)
    if shown is None or shown[:2] != (camera, "places"):
        return []
    return [
        {"points": example["way"], "added": example["added"]}
        for change in shown[3]["places"]
        for example in change["examples"]
        if len(example["way"]) > 1
    ]


def _show(viewer: Viewer, answer: Mapping[str, Any]) -> None:
    if answer["note"]:
        st.info(answer["note"], icon=":material/info:")
    if not answer["tracks"]:
        return
    since = viewer.clock(answer["start"], "%Y-%m-%d %H:%M")
    st.html(
        theme.heading("What would have changed", f"{counted(answer['tracks'], 'track')} since {safe(since)}")
    )
    differ = [change for change in answer["places"] if change["examples"]]
    if not differ:
        st.success("Nothing: the same would have been told.", icon=":material/check_circle:")
        return
    st.markdown(_sums(answer["places"]))
    heads = {"Line or zone": "name", "Told": "", "Now": "num", "Then": "num", "Examples": "wide"}
    st.html(theme.table(heads, [("", _row(viewer, change)) for change in differ]))
    same = len(answer["places"]) - len(differ)
    note = "Over the picture: green would be told besides, red no longer."
    st.html(theme.caption(f"{note} {same} more stay as they are." if same else note))


def _sums(changes: Sequence[Mapping[str, Any]]) -> str:
    """By kind: crossings 120 → 131."""
    sums: dict[str, list[int]] = {}
    for change in changes:
        if change["direction"] != "below":
            total = sums.setdefault(MANY.get(change["kind"], change["kind"]), [0, 0])
            total[0] += change["before"]
            total[1] += change["after"]
    return " · ".join(f"{kind} {number(a)} → **{number(b)}**" for kind, (a, b) in sorted(sums.items()))


def _row(viewer: Viewer, change: Mapping[str, Any]) -> Sequence[str]:
    way = WAYS_IN_WORDS.get(change["direction"] or "", "")
    what = " ".join(filter(None, (MANY.get(change["kind"], change["kind"]), way)))
    examples = "; ".join(
        f"{'+' if example['added'] else '−'} {viewer.clock(example['time'], '%H:%M:%S')} "  # noqa: RUF001  a minus
        + happened(change["kind"], "", example["item_class"])
        for example in change["examples"]
    )
    now, then = number(change["before"]), number(change["after"])
    return [safe(change["place"]), safe(what), now, f"<b>{then}</b>", f"<small>{safe(examples)}</small>"]
