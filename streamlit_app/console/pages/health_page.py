"""Health: is all well, what limits, since when, and what to do; for engineers with the figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import streamlit as st
from pydantic import TypeAdapter

from console import theme
from console.pages.overview_page import CameraRowView, camera_rows
from console.stage_times import show_stages, stage_ms
from console.texts import (
    CHORE_WORDS,
    DASH,
    PROGRAM,
    age,
    counted,
    duration,
    milliseconds,
    number,
    percent,
    safe,
    sink_words,
    trouble_words,
)
from console.viewer import Viewer, now
from sightline.entities import RULE_KINDS, CameraState, CameraStatus, EventKind
from sightline.errors import StoreUnavailable
from sightline.store.read.event_search import EventSearch, read_event_page
from sightline.store.read.readonly import DatabaseState
from sightline.store.rollups import DAY_S
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.machine_watch import MachineFigures
from sightline.supervisor.sinks.sink import SinkHealth
from sightline.supervisor.what_limits import Limit, Limiter

NOTHING = "Nothing limits."
JUST_NOW = "Something has just gone wrong; if it lasts, what to do stands here."
NO_GPU = (
    "No NVIDIA GPU on this machine: whatever computes here, computes on the processor. Of a detector that is "
    "served elsewhere its GPU cannot be seen from here."
)
NOT_TOLD = "Database, machine and what else is Sightline's own are told to those who see all cameras."
LATELY = 30  # troubles
_TROUBLES = tuple(sorted(frozenset(EventKind) - RULE_KINDS))
_SERIOUS = {Limiter.DATABASE_SLOW, Limiter.DISK_LOW, Limiter.DELIVERY, Limiter.RATE, Limiter.BURSTS}
_PASSING = {CameraState.STARTING: "starting", CameraState.CONNECTING: "connecting"}
_OFF = {CameraState.STOPPED: "switched off", CameraState.ENDED: "at the end of its file"}


@dataclass(frozen=True, slots=True)
class GoingTrouble:
    """A trouble of the system's own that goes on."""

    kind: str
    source: str  # the camera; empty: the program itself
    place: str
    since: float
    value: float | None = None


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """What the program says of itself, as far as the viewer may be told."""

    cameras: list[CameraStatus]
    limits: list[Limit]
    troubles: list[GoingTrouble]
    writer: WriterHealth | None = None  # None, and the following are empty: they do not see all cameras
    sinks: list[SinkHealth] = field(default_factory=list)
    machine: MachineFigures | None = None


_STATUS = TypeAdapter(ProgramStatus)


def render(viewer: Viewer) -> None:
    """The page; it needs no database, so it tells of one that is away."""
    theme.fresh(show, viewer, every_s=viewer.refresh_s)


def show(viewer: Viewer) -> None:
    """What limits first, then cameras, results, what has been, and for engineers the figures."""
    status, at = _STATUS.validate_python(viewer.api.get("/api/v1/status")), now()
    rows = camera_rows(status.cameras, {}, at)
    _show_verdict(status, rows, viewer, at)
    if not rows:
        st.html(theme.caption("No camera runs; add one on the page Cameras."))
    else:
        st.html(theme.heading("Cameras"))
        st.html(cameras_table(rows, status, viewer, at))
    if status.writer is not None:
        st.html(theme.heading("Results"))
        st.html(results_table(status, status.writer, viewer, at))
    _show_lately(viewer, [row.status.source for row in rows], at)
    if viewer.engineer:
        _show_figures(status, at)
    theme.show_foot(viewer, at)


def _show_figures(status: ProgramStatus, at: float) -> None:
    """What engineers want to know besides."""
    if status.writer is not None:
        st.html(theme.heading("Detectors", "as their cameras see them, over the last seconds"))
        st.html(detectors_table(status.cameras))
        st.html(theme.heading("Machine", "that Sightline runs on"))
        st.html(machine_text(status.machine))
    else:
        st.html(theme.caption(NOT_TOLD))
    if status.cameras:
        show_stages(status.cameras, at)


# -- what limits ------------------------------------------------------------------------------------------


def well_text(rows: Sequence[CameraRowView]) -> str:
    """What is said where nothing limits; HTML."""
    live = sum(row.is_live for row in rows)
    others = [
        f"{count} {words}"
        for state, words in (_PASSING | _OFF).items()
        if (count := sum(row.status.state is state for row in rows))
    ]
    if live == len(rows):
        watched = f"All {live} cameras are watched" if live > 1 else "The camera is watched" if live else ""
    else:
        watched = f"{live} of {counted(len(rows), 'camera')} {'is' if live == 1 else 'are'} watched"
    return ". ".join(filter(None, [watched, ", ".join(others)])) + "." if rows else ""


def _show_verdict(status: ProgramStatus, rows: Sequence[CameraRowView], viewer: Viewer, at: float) -> None:
    if not status.limits:
        lost = [f"{row.status.source}: {row.word}" for row in rows if row.tone == "bad"]
        head, more, tone = (JUST_NOW, f"{'; '.join(lost)}. ", "warn") if lost else (NOTHING, "", "good")
        text = f"<h2>{head}</h2><p>{safe(more + well_text(rows))}</p>"
        st.html(f'<div class="sl-verdict is-{tone}"><div role="status">{text}</div></div>')
        return
    first, *others = status.limits
    tone = "warn" if first.limiter in _SERIOUS else "bad"
    text = f'<div role="status"><h2>{safe(first.text)}</h2></div>{_limit_rest(first, viewer, at)}'
    st.html(f'<div class="sl-verdict is-{tone}">{text}</div>')
    if others:
        items = (f"<li><b>{safe(limit.text)}</b>{_limit_rest(limit, viewer, at)}</li>" for limit in others)
        st.html(f'{theme.heading("Also")}<ul class="sl-also">{"".join(items)}</ul>')


def _limit_rest(limit: Limit, viewer: Viewer, at: float) -> str:
    """Since when, what to do and, for engineers, the figures; HTML."""
    since = "" if limit.since is None else f"<p>{_since(limit.since, viewer, at)}</p>"
    detail = f"<code>{safe(limit.detail)}</code>" if viewer.engineer and limit.detail else ""
    return f"{since}<p><b>What to do:</b> {safe(limit.remedy)}</p>{detail}"


def _since(time: float, viewer: Viewer, at: float) -> str:
    """HTML; UTC when it is pointed at."""
    form = "%H:%M" if at - time < DAY_S else "%d %b %H:%M"
    return f"since {theme.moment(time, viewer, form)}, for {duration(at - time)}"


# -- cameras ----------------------------------------------------------------------------------------------


def cameras_table(rows: Sequence[CameraRowView], status: ProgramStatus, viewer: Viewer, at: float) -> str:
    """Every camera, trouble first; HTML."""
    oldest: dict[str, GoingTrouble] = {}
    for trouble in sorted(status.troubles, key=lambda trouble: -trouble.since):
        oldest[trouble.source] = trouble  # the last one that is put
    heads = {"Camera": "name", "State": "wide", "Since": "num", "Analysed <small>a second</small>": "num"}
    if viewer.engineer:
        heads |= {"Latency <small>p50 / p99</small>": "num", "Queue": "num", "Batch": "num", "Via": ""}
    body: list[theme.Row] = []
    for row in rows:
        camera = row.status
        limit = next((limit for limit in status.limits if camera.source in limit.cameras), None)
        held = row.tone == "good" and limit is not None
        message = row.message if viewer.engineer else limit.text if limit else row.message
        if row.is_live and not viewer.engineer and limit is None:
            message = ""  # engineers' words
        word, tone = ("held back", "warn") if held else (row.word, row.tone)
        began = oldest.get(camera.source) or limit
        since = _time_of(began.since if began else None, viewer, at)
        cells: list[str | tuple[str, str]] = [
            safe(camera.source),
            theme.state_word(word, tone, message),
            since,
            _analysed(camera) if row.is_live else DASH,
        ]
        if viewer.engineer:
            latency = f"{milliseconds(camera.latency_p50_ms)} / {milliseconds(camera.latency_p99_ms)} ms"
            batch = DASH if camera.batch_size is None else f"{camera.batch_size:.1f}"
            via = f"{safe(camera.transport)}, {safe(camera.decoder or 'cpu')}" if camera.transport else DASH
            figures = [latency, number(camera.queue_depth), batch, f"<small>{via}</small>"]
            cells += figures if row.is_live else [DASH] * len(figures)
        body.append((theme.row_class(tone), cells))
    return theme.table(heads, body)


def _analysed(status: CameraStatus) -> str:
    due = f" <small>of {status.due_fps:.1f}</small>" if status.due_fps else ""
    return f"<span>{status.fps:.1f}{due}</span>"


# -- results and machine ----------------------------------------------------------------------------------


def results_table(status: ProgramStatus, writer: WriterHealth, viewer: Viewer, at: float) -> str:
    """Database, what results go to besides, and disks; HTML."""
    since = {(trouble.kind, trouble.place): trouble.since for trouble in status.troubles}
    heads = {"What": "name", "State": "wide", "Since": "num", "Last success": "num", "Waiting": "num"}
    waits = writer.pending_records + writer.spooled_records
    last = "never" if writer.last_success_time is None else f"{age(at - writer.last_success_time)} ago"
    word, tone = ("works", "good") if writer.state == "ok" else ("catches up", "warn")
    if writer.database_away or writer.state not in {"ok", "spooling"}:
        word, tone = "does not take results", "bad"
    detail = ""
    if viewer.engineer:
        detail = f"{writer.write_s * 1e3:.0f} ms a batch, {number(writer.written_records)} written, "
        detail += f"spool {percent(writer.spool_used)} used"
        detail += f"; {writer.last_error}" if writer.last_error else ""
    database = _time_of(since.get((EventKind.DATABASE_AWAY, "")), viewer, at)
    rows: list[theme.Row] = [
        (
            theme.row_class(tone),
            ["Database", theme.state_word(word, tone, detail), database, last, number(waits)],
        )
    ]
    for sink in status.sinks:
        failing = next((time for (_, place), time in since.items() if place == sink.name), None)
        bad = not sink.ok or failing is not None
        is_chore = sink.name in CHORE_WORDS
        if is_chore and not bad:
            continue  # nothing goes there
        word, tone = ("does not work", "bad") if bad else ("works", "good")
        taken = "" if is_chore else f"{number(sink.delivered)} taken, "
        detail = f"{taken}{counted(sink.failures, 'failure')}; {sink.last_error}"
        state = theme.state_word(word, tone, detail.removesuffix("; ") if viewer.engineer else "")
        name = safe(sink_words(sink.name))
        rows.append((theme.row_class(tone), [name, state, _time_of(failing, viewer, at), "", ""]))
    low = {limit.detail for limit in status.limits if limit.limiter in {Limiter.DISK_FULL, Limiter.DISK_LOW}}
    for disk in status.machine.disks if status.machine else ():
        tone = "bad" if disk.path in low else "good"
        free = f"{disk.free_bytes / 1e9:.1f} of {disk.total_bytes / 1e9:.0f} GB free"
        path = disk.path if viewer.engineer else ""
        name = f"Disk <small>of {safe(', '.join(disk.holds))}</small>"
        rows.append((theme.row_class(tone), [name, theme.state_word(free, tone, path), "", "", ""]))
    return theme.table(heads, rows)


def _time_of(time: float | None, viewer: Viewer, at: float) -> str:
    return "" if time is None else f"<small>{_since(time, viewer, at).removeprefix('since ')}</small>"


def detectors_table(cameras: Sequence[CameraStatus]) -> str:
    """Each version with its cameras' means, weighed alike; HTML."""
    by_version: dict[str, list[CameraStatus]] = {}
    for status in cameras:
        if status.model_version:
            by_version.setdefault(status.model_version, []).append(status)
    if not by_version:
        return theme.caption("No detector has answered a camera yet, so Triton has told nothing.")
    heads = {"Version": "name"} | dict.fromkeys(
        ("Cameras", "Frames/s", "Request, ms", "Triton queue, ms", "Triton compute, ms", "Batch"), "num"
    )
    rows: list[theme.Row] = []
    for version, users in sorted(by_version.items()):
        times = [
            _mean([stage_ms(user, stage, "mean") for user in users])
            for stage in ("infer", "triton_queue", "triton_compute")
        ]
        batch = _mean([user.batch_size for user in users])
        cells = [safe(version), number(len(users)), f"{sum(user.fps for user in users):.1f}"]
        cells += [milliseconds(time) for time in times]
        rows.append(("", [*cells, DASH if batch is None else f"{batch:.1f}"]))
    note = "Of a detector on the processor Triton does not time the computing: it is in the request."
    return theme.table(heads, rows) + theme.caption(note)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def machine_text(machine: MachineFigures | None) -> str:
    """Processor and GPUs; HTML."""
    if machine is None:
        return theme.caption("Not known yet.")
    values = {"Processor": f"{machine.cores} cores, load {machine.load:.1f}"}
    for index, gpu in enumerate(machine.gpus):
        parts = [
            None if gpu.busy is None else f"busy {percent(gpu.busy)}",
            None
            if gpu.memory_used is None or gpu.memory is None
            else f"{gpu.memory_used / 1e9:.1f} of {gpu.memory / 1e9:.0f} GB",
            None if gpu.celsius is None else f"{gpu.celsius:.0f} °C",
        ]
        values[f"GPU {index}, {gpu.name}"] = ", ".join(filter(None, parts)) or "tells nothing of itself"
    return theme.near_facts(values) + ("" if machine.gpus else theme.caption(NO_GPU))


# -- what has been ----------------------------------------------------------------------------------------


def _show_lately(viewer: Viewer, cameras: Sequence[str], at: float) -> None:
    """Troubles of the last day, from the database."""
    st.html(theme.heading("The last 24 hours"))
    condition = viewer.database.condition()
    if condition.state is DatabaseState.READY:
        try:
            with viewer.database.reading() as connection:
                search = EventSearch((at - DAY_S, at + 1), (*cameras, ""), _TROUBLES)
                events = read_event_page(connection, viewer.cameras, search, limit=LATELY).rows
        except StoreUnavailable as error:
            condition = viewer.database.condition_of(error)
    if condition.state is not DatabaseState.READY:
        st.html(theme.caption(f"What has been cannot be told: {safe(condition.problem)}"))
        return
    if not events:
        st.html(theme.caption("No trouble in this time."))
        return
    rows: list[theme.Row] = []
    for event in events:
        begun, end = event["event_time"].timestamp(), event["end_time"]
        lasted = "goes on" if end is None else duration(end.timestamp() - begun)
        lasted = "a moment" if event["kind"] == EventKind.CLOCK_STEP else lasted
        what = trouble_words(event["kind"], event["place"])
        has_place = viewer.engineer and event["place"] and event["place"] not in CHORE_WORDS
        place = f" <small>{safe(sink_words(event['place']))}</small>" if has_place else ""
        name = safe(event["source"] or PROGRAM)
        when = theme.moment(begun, viewer, "%d %b %H:%M:%S")
        rows.append(("", [name, f"{safe(what)}{place}", when, lasted]))
    heads = {"Where": "name", "What": "wide", "When": "num", "Lasted": "num"}
    st.html(theme.table(heads, rows))
