"""A change of the configuration: what it does and the difference are shown, and then it is saved."""

import difflib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import streamlit as st
import yaml

from console import theme
from console.api import Api, ApiRefused, SupervisorAway
from console.texts import plain, safe
from console.viewer import Viewer
from sightline.config.yaml_edit import GONE

SAVE_TIMEOUT_S = 30.0
_CHANGED = 412  # HTTP's status: the file is another one by now
READ_ONLY = (
    "The configuration's file is read-only, so nothing can be changed here. Whoever runs Sightline can."
)
MEANWHILE = "Somebody else has changed this meanwhile. What they did:"
LAID_OVER = "Below is what yours does now, laid over theirs."
_Shown = TypeVar("_Shown")
Edits = Mapping[tuple[str, ...], Any]  # by the keys that lead there; GONE: nothing is to stand there


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the configuration, as the API tells it."""

    written: Any = None  # as it stands in the file, masked
    options: Any = None  # with all defaults; None: it has mistakes
    problems: list[str] = field(default_factory=list)
    version: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that somebody wants.

    Attributes:
        title: what it is, in a few words.
        method: the API's: PUT lays ``edits`` over what stands there, DELETE takes it away, POST undoes.
        path: the API's.
        edits: for PUT.
        base: what stood there when it was edited, to tell what others have done since.
        then: the page's query afterwards.
    """

    title: str
    method: str
    path: str
    edits: Edits = field(default_factory=dict)
    base: Any = None
    then: Mapping[str, str] = field(default_factory=dict)


def read_part(api: Api, path: str) -> Part:
    """What the API tells of a part; of one that is not there, the file's version alone.

    Raises:
        ApiRefused, SupervisorAway: it cannot be told.
    """
    try:
        return Part(**api.get(path))
    except ApiRefused as refused:
        if refused.status != 404:
            raise
        return _whole(api)


def _whole(api: Api) -> Part:
    file = api.get("/api/v1/config")
    return Part(version=file["version"], read_only=file["read_only"])


def with_edits(written: Any, edits: Edits) -> dict[str, Any]:
    """What is to stand in the file: ``written`` with other values here and there."""
    new: dict[str, Any] = deepcopy(written) if isinstance(written, dict) else {}
    for (*above, key), value in edits.items():
        item = new
        for name in above:
            if not isinstance(item.get(name), dict):
                item[name] = {}
            item = item[name]
        if value is GONE:
            item.pop(key, None)
        else:
            item[key] = value
    return new


def difference_of(before: Any, after: Any) -> str:
    """Of two values, as YAML, as ``diff -u`` writes it."""
    old, new = (
        yaml.safe_dump(value, sort_keys=False, allow_unicode=True).splitlines(keepends=True)
        for value in (before or {}, after or {})
    )
    return "".join(difflib.unified_diff(old, new, "before", "after"))


@st.dialog("Before it is saved", width="large")
def review(viewer: Viewer, proposal: Proposal) -> None:
    """Show what a change does, and save it when asked to; what others did meanwhile comes first."""
    if st.session_state.pop("change_saved", False):
        st.session_state["change_told"] = True
        st.query_params.from_dict(dict(proposal.then))
        st.rerun()
    theme.require_viewer(viewer)
    st.markdown(f"**{plain(proposal.title)}**")
    if told := st.session_state.pop("change_refused", ""):
        st.error(plain(told), icon=":material/block:")
    with theme.trying():
        undoes = proposal.method == "POST"
        now = _whole(viewer.api) if undoes else read_part(viewer.api, proposal.path)
        if not undoes and now.written != proposal.base:
            st.warning(MEANWHILE, icon=":material/group:")
            st.code(difference_of(proposal.base, now.written), language="diff")
            st.caption(LAID_OVER)
        value = with_edits(now.written, proposal.edits)
        plan = _ask(viewer.api, proposal, value, now.version, try_only=True)
        _show_plan(plan)
        if not plan["difference"]:
            st.caption("The file stays as it is.")
        elif now.read_only:
            st.warning(READ_ONLY, icon=":material/lock:")
        else:
            given = (viewer.api, proposal, value, now.version)
            st.button("Save", type="primary", key="change_save", on_click=_save, args=given)


def _show_plan(plan: Mapping[str, Any]) -> None:
    for line in plan["changes"]:
        later = "needs a restart" in line
        mark = '<b class="warn">later</b>' if later else '<b class="good">now</b>'
        st.html(f'<div class="sl-notice">{mark} {safe(line)}</div>')
    if not plan["changes"]:
        st.caption("Nothing changes in what runs.")
    if plan["difference"]:
        st.caption("The difference in the file; all else stays as it is written, comments too.")
        st.code(plan["difference"], language="diff")


def _ask(api: Api, proposal: Proposal, value: Any, version: str, *, try_only: bool) -> Any:
    body = {"try_only": try_only} | ({"value": value} if proposal.method == "PUT" else {})
    return api.ask(proposal.method, proposal.path, body, version=version, timeout_s=SAVE_TIMEOUT_S)


def _save(api: Api, proposal: Proposal, value: Any, version: str) -> None:
    """Save exactly what was shown; the next run of the dialog tells how that went."""
    try:
        _ask(api, proposal, value, version, try_only=False)
    except ApiRefused as refused:
        changed = "Not saved: the file was changed a moment ago. Look again."
        st.session_state["change_refused"] = changed if refused.status == _CHANGED else str(refused)
    except SupervisorAway as error:
        st.session_state["change_refused"] = str(error)
    else:
        st.session_state["change_saved"] = True


def save_button(key: str, *, ready: bool) -> bool:
    """Whether somebody wants to see what is to be saved; ``ready``: there is something."""
    label, icon = "Review and save", ":material/difference:"
    return st.button(label, type="primary", key=key, disabled=not ready, icon=icon)


def opened(key: str, what: str, shown: _Shown) -> _Shown:
    """What was shown when this viewer began to edit ``what``: what others do since is told before saving.

    It is kept under ``key`` of the session's state until something else is opened there.
    """
    kept: tuple[str, _Shown] | None = st.session_state.get(key)
    if kept is None or kept[0] != what:
        kept = st.session_state[key] = (what, shown)
    return kept[1]


def was_saved() -> bool:
    """Say that it was saved, on the page that follows; whether it was."""
    if not st.session_state.pop("change_told", False):
        return False
    st.toast("Saved.", icon=":material/check:")
    return True
