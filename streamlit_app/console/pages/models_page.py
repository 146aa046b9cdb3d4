"""Models: which versions of the network there are, which camera uses which, and another one in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pandas as pd
import streamlit as st
from pydantic import TypeAdapter

from console import theme
from console.texts import DASH, number, plain, safe
from console.viewer import Viewer
from sightline.access.rights import Right
from sightline.supervisor.http.api_models import (
    DetectorUse,
    ModelPlan,
    ModelsAnswer,
    ModelVersion,
    ShadowUse,
)

NONE_YET = "No version of the network is here yet."
NONE_REMEDY = "Export one with “sightline model export”; it appears here."
LOOK_ONLY = "Another version affects all cameras, so only an engineer who sees all of them can switch."
COUNTS_GO_ON = (
    "Counts go on. Whoever is in view keeps their track and is not counted twice; open windows and visits "
    "go on. From then on rows name the new version, and Counts marks the moment. Where the server loads "
    "slowly a few pictures may be left out, which shows as coverage."
)
LOST = "These classes are no longer seen. What was counted of them stays; later their time is not watched:"
GAINED = "These classes are new; they are counted wherever a camera does not name the ones it counts:"
HELD = "If it is not good, does not load or does not answer, the version that serves now goes on."
SLOW = "It is checked, loaded beside the one that serves, and asked for boxes. That may take a minute or two."
CHANGE_TIMEOUT_S = 1800.0
REPORT_TIMEOUT_S = 600.0
_MODELS = TypeAdapter(ModelsAnswer)
_PLAN = TypeAdapter(ModelPlan)
#: What a shadow's verdict means.
VERDICTS = {
    "promote": ("The candidate may serve: it counts as the one that serves does.", "good"),
    "reject": ("The candidate counts differently, beyond what the rule allows.", "bad"),
    "wait": ("Too little has been seen to decide.", "warn"),
}


@dataclass(frozen=True, slots=True)
class ModelStep:
    """What somebody wants of a detector."""

    detector: str
    path: str  # the API's
    values: Mapping[str, Any]  # that it takes


def render(viewer: Viewer) -> None:
    """The page."""
    if told := st.session_state.pop("model_told", ""):
        st.toast(plain(told), icon=":material/check:")
    with theme.trying():
        answer = _MODELS.validate_python(viewer.api.get("/api/v1/models"))
        if answer.problem:
            theme.state("Versions cannot be told.", answer.problem, icon="folder_off")
            return
        if not answer.versions:
            theme.state(NONE_YET, NONE_REMEDY, icon="deployed_code")
            return
        st.html(theme.heading("Detectors", "which version each serves, to which cameras"))
        for use in answer.detectors:
            _show_detector(use, answer, viewer)
        if not viewer.may(Right.SWITCH_MODEL):
            st.html(theme.caption(LOOK_ONLY))
        st.html(theme.heading("Versions", "newest first"))
        st.html(versions_table(answer, viewer))
        _show_shadows(answer.shadows, viewer)
        _show_history(answer.history, viewer)


def _show_detector(use: DetectorUse, answer: ModelsAnswer, viewer: Viewer) -> None:
    with st.container(border=True):
        answered = ", ".join(use.answered) or "nothing has been answered yet"
        facts = {"Cameras": ", ".join(use.cameras) or "no camera", "Answers now": answered}
        served = f"version {use.version}" if use.version is not None else "no version"
        st.html(f'<h3 class="sl-camera">{safe(use.detector)}: {served}</h3>' + theme.near_facts(facts))
        chosen = {version.version: version for version in answer.versions}
        if (
            use.version in chosen
            and chosen[use.version].model_version not in {*use.answered, ""}
            and use.answered
        ):
            st.html(theme.caption("Cameras still get boxes of another version than the one that was chosen."))
        if not viewer.may(Right.SWITCH_MODEL):
            return
        others = [
            item.version
            for item in answer.versions
            if not (item.retired or item.problem or item.version == use.version)
        ]
        line = st.container(horizontal=True, vertical_alignment="bottom")
        if others:
            key = f"models_choice_{use.detector}"
            wanted = line.selectbox(
                "Another version", others, key=key, format_func=lambda item: _label(chosen[item]), width=340
            )
            if line.button("Switch …", key=f"model_switch_{use.detector}", icon=":material/swap_horiz:"):
                review_step(viewer, _step(use.detector, "switch", version=wanted))
        else:
            line.html(theme.caption("There is no other version to switch to."))
        if use.earlier is not None:
            label = f"Roll back to version {use.earlier} …"
            if line.button(label, key=f"model_back_{use.detector}", icon=":material/undo:"):
                review_step(viewer, _step(use.detector, "rollback"))


def _label(version: ModelVersion) -> str:
    return f"{version.version}: {version.model_version}"


def _step(detector: str, operation: str, **values: Any) -> ModelStep:
    return ModelStep(detector, f"/api/v1/models/{quote(detector, safe='')}/{operation}", values)


# -- another version --------------------------------------------------------------------------------------


@st.dialog("Before another version serves", width="large")
def review_step(viewer: Viewer, step: ModelStep) -> None:
    """Show what a switch does to cameras and counts, and do it when asked to."""
    theme.require_viewer(viewer)
    with theme.trying():
        plan = _PLAN.validate_python(viewer.api.post(step.path, {**step.values, "try_only": True}))
        before = f" in place of version {plan.previous.version}" if plan.previous else ""
        st.markdown(f"**{plain(step.detector)} is to serve version {plan.version.version}{before}.**")
        st.html(theme.near_facts(plan_facts(plan)))
        st.markdown(COUNTS_GO_ON)
        for words, names in ((GAINED, plan.gained), (LOST, plan.lost)):
            if names and plan.previous:
                st.html(f'<div class="sl-notice">{words} <b>{safe(", ".join(names))}</b></div>')
        force = False
        if plan.lacking:
            st.warning("Cameras count classes that this version lacks.", icon=":material/warning:")
            st.html(theme.bullets(plan.lacking))
            force = st.checkbox("Switch all the same; these are not counted then", key="model_force")
        st.caption(f"{SLOW} {HELD}")
        why = st.text_input("Why", key="model_why", max_chars=500, help="A sentence for the history.")
        if st.button("Switch", type="primary", key="model_go", disabled=bool(plan.lacking) and not force):
            with st.spinner("It is checked, loaded and asked …", show_time=True):
                body = {**step.values, "why": why, "force": force}
                viewer.api.post(step.path, body, timeout_s=CHANGE_TIMEOUT_S)
            st.session_state["model_told"] = f"{step.detector} serves version {plan.version.version}."
            st.rerun()


def plan_facts(plan: ModelPlan) -> dict[str, str]:
    """What differs between the version that serves and the next one."""
    pairs = {
        "Name": _both(plan, lambda version: version.model_version),
        "Input": _both(plan, lambda version: f"{version.width} x {version.height}"),
        "Precision": _both(plan, lambda version: version.precision),
        "Accuracy": _both(plan, accuracy),
    }
    return {"Cameras": ", ".join(plan.cameras) or "no camera uses it", **pairs}


def _both(plan: ModelPlan, of: Any) -> str:
    new = of(plan.version)
    old = of(plan.previous) if plan.previous else new
    return str(new) if old == new else f"{old} → {new}"


# -- tables -----------------------------------------------------------------------------------------------


def accuracy(version: ModelVersion) -> str:
    """What `sightline model evaluate --record` found."""
    measured = version.measured or {}
    if not isinstance(measured.get("map50_95"), int | float):
        return "not measured"
    more = f" on {measured['images']} pictures" if "images" in measured else ""
    return f"mAP {measured['map50_95']:.3f}, mAP50 {measured.get('map50') or 0:.3f}{more}"


def versions_table(answer: ModelsAnswer, viewer: Viewer) -> str:
    """All versions; HTML."""
    heads = {
        "Version": "name",
        "State": "",
        "Name": "long",
        "Classes": "wide",
        "Input": "num",
        "Precision": "",
    }
    heads |= {"Accuracy": "long", "Exported": "num"}
    rows: list[theme.Row] = []
    for version in answer.versions:
        serves = [use.detector for use in answer.detectors if use.version == version.version]
        tone, word = ("good", f"serves as {', '.join(serves)}") if serves else ("idle", "ready")
        if version.problem or version.retired:
            tone, word = ("bad", "broken") if version.problem else ("idle", "retired")
        state = theme.state_word(word, tone, version.problem)
        if version.problem:
            rows.append(("bad-row", [str(version.version), state, *[DASH] * 6]))
            continue
        names = ", ".join(version.classes[:5])
        more = f" and {number(len(version.classes) - 5)} more" if len(version.classes) > 5 else ""
        digest = safe(version.source_sha256[:16]) or DASH
        cells = [
            str(version.version),
            state,
            f"<span>{safe(version.model_version)}<br><small>SHA-256 {digest}</small></span>",
            f"{safe(names)}{more}",
        ]
        cells += [f"{version.width} x {version.height}", safe(version.precision)]
        cells += [safe(accuracy(version)), _day(version.exported_at, viewer)]
        rows.append(("", cells))
    return theme.table(heads, rows)


def _day(text: str, viewer: Viewer) -> str:
    try:
        return theme.moment(
            datetime.fromisoformat(text).astimezone(UTC).timestamp(), viewer, "%d %b %Y %H:%M"
        )
    except ValueError:
        return safe(text) or DASH


def _show_shadows(shadows: Sequence[ShadowUse], viewer: Viewer) -> None:
    st.html(theme.heading("Shadows", "candidates that see some of the pictures and change nothing"))
    if not shadows:
        st.html(theme.caption("None: no camera names a candidate (shadow.model)."))
        return
    for index, shadow in enumerate(shadows):
        line = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
        line.html(f"<b>{safe(shadow.model)}</b> <small>beside {safe(', '.join(shadow.cameras))}</small>")
        if not viewer.may(Right.SEE_CONFIG):
            line.html(theme.caption("Its report is of all cameras."))
        elif line.button("Make the report", key=f"shadow_{index}", icon=":material/compare:"):
            with theme.trying(), st.spinner("All episodes are gone through …", show_time=True):
                path = f"/api/v1/shadows/{quote(shadow.model, safe='')}"
                st.session_state[f"shadow_report_{index}"] = viewer.api.ask(
                    "GET", path, timeout_s=REPORT_TIMEOUT_S
                )
        if (report := st.session_state.get(f"shadow_report_{index}")) is not None:
            _show_report(report)


def _show_report(report: Mapping[str, Any]) -> None:
    words, tone = VERDICTS[report["verdict"]]
    names = f"{report['candidate']['version']} beside {report['live']['version']}"
    scope = f"{number(report['episodes'])} episodes, {number(report['objects'])} objects"
    reasons = theme.bullets(report["reasons"])
    st.html(f'<div class="sl-verdict is-{tone}"><h2>{words}</h2><p>{safe(names)}: {scope}</p>{reasons}</div>')
    for title, rows in report["tables"].items():
        if rows:
            with st.expander(title, expanded=title == "Checks"):
                st.dataframe(pd.DataFrame(rows).astype(str), hide_index=True)


def _show_history(history: Sequence[Mapping[str, Any]], viewer: Viewer) -> None:
    with st.expander("What was done with versions"):
        if not history:
            st.html(theme.caption("Nothing yet."))
            return
        heads = {"When": "", "Who": "", "What": "name", "How it ended": "wide"}
        rows: list[theme.Row] = []
        for entry in history:
            who = entry.get("operator") or entry.get("user", "?")
            what = " ".join(str(entry[key]) for key in ("action", "detector", "version") if key in entry)
            more = "; ".join(str(entry[key]) for key in ("reason", "problems", "why") if entry.get(key))
            ended = ": ".join(filter(None, (str(entry.get("result", "?")), more)))
            tone = "bad-row" if entry.get("result") in {"failed", "refused"} else ""
            cells = [_day(str(entry.get("time", "")), viewer), safe(who), safe(what), safe(ended)]
            rows.append((tone, cells))
        st.html(theme.table(heads, rows))
