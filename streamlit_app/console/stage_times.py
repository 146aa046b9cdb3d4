"""Where a frame's time goes, camera by camera, against what each stage may take; in engineers' words."""

import math
from collections.abc import Mapping, Sequence

import streamlit as st

from console import theme
from console.charts import Chart, parts_chart
from console.components.chart_component import show_chart
from console.texts import DASH, drops, milliseconds, number, safe
from sightline.entities import SERVER_STAGES, STAGES, CameraStatus
from sightline.store.read.queries import is_stale

NAMES = {
    "receive": "wait for packet",
    "queue": "queue wait",
    "triton_queue": "Triton queue",
    "triton_compute": "Triton compute",
}
FIGURES = ("mean", "p50", "p99")
#: Not part of the sum over stages: the wait for the camera's next packet, what Triton reports of its share of
#: ``infer``, and the whole way.
APART = {"receive", "total", *SERVER_STAGES}
#: What a stage may take of a frame (p99), in ms, so that a camera of 25 frames a second keeps up, and an
#: event is certain half a second after its picture came. The wait for a packet is no work: it has none.
BUDGET_MS = {
    "decode": 40.0,
    "queue": 100.0,
    "scale": 10.0,
    "write": 5.0,
    "infer": 250.0,
    "triton_queue": 100.0,
    "track": 10.0,
    "rules": 5.0,
    "windows": 5.0,
    "total": 500.0,
}
MAX_BARS = 12
FRAME_HEADS = (
    "Frames/s",
    "Queue depth",
    "Frames",
    "Drops",
    "Gate skips",
    "Decode errors",
    "Reconnects",
    "Clock",
)
STAGES_NOTE = (
    "“infer” is the whole request, there and back; Triton's own share of it is a mean that the server "
    "reports; on a CPU only of its queue, since the network computes in threads that it does not time. "
    "“queue wait” is the time between arrival and the detector's turn. Stages overlap between "
    "frames, so their sum may exceed the time between two frames. “wait for packet” is idle time until the "
    "camera sends the next packet, and no part of the sum."
)


def show_stages(statuses: Sequence[CameraStatus], at: float) -> None:
    """The stacked means of the slowest cameras, every figure with its budget, then counters of frames."""
    live = [status for status in statuses if not is_stale(status, at) and status.stages_ms]
    if live:
        _show_times(live)
    else:
        st.info("No camera is delivering frames now, so there are no stage times.", icon=":material/speed:")
    st.html(theme.heading("Frames"))
    st.html(_frames_table(statuses, at))


def _show_times(live: Sequence[CameraStatus]) -> None:
    stages = stage_order(live)
    parts = work_stages(stages)
    colours = theme.colours(sorted(parts, key=lambda part: part != "infer"))
    work_ms = {status.source: sum(stage_ms(status, part, "mean") or 0.0 for part in parts) for status in live}
    slowest = sorted(live, key=lambda status: work_ms[status.source], reverse=True)[:MAX_BARS]
    which = f"the {MAX_BARS} slowest of {len(live)} cameras" if len(live) > MAX_BARS else "all live cameras"
    st.html(theme.heading("Mean time of a frame in each stage", f"ms, {which}"))
    st.html(theme.swatches((colours[part], safe(NAMES.get(part, part))) for part in parts))
    show_chart(_stacked(slowest, parts, colours), "Mean stage times by camera", key="health_stages")
    line = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom")
    line.html(theme.heading("Stage times", "ms, over the last seconds; budgets are for p99"))
    figure = line.segmented_control(
        "Figure", FIGURES, default="p99", key="health_figure", required=True, label_visibility="collapsed"
    )
    budgets = (milliseconds(BUDGET_MS.get(stage)) for stage in stages)
    rows: list[theme.Row] = [("idle", ["Budget", *budgets])]
    for status in live:
        whole = sum(stage_ms(status, stage, figure) or 0 for stage in parts)
        cells = (_stage_cell(status, stage, figure, whole) for stage in stages)
        rows.append(("", [safe(status.source), *cells]))
    heads = {safe(NAMES.get(stage, stage)): "num heat" for stage in stages}
    st.html(theme.table({"Camera": "name", **heads}, rows))
    st.html(theme.caption(STAGES_NOTE))


def stage_order(statuses: Sequence[CameraStatus]) -> list[str]:
    """Reported stages in the order in which a frame passes them; those of a newer worker come last."""
    reported = {stage for status in statuses for stage in status.stages_ms}
    server = STAGES.index("infer") + 1
    known = [*STAGES[:server], *SERVER_STAGES, *STAGES[server:]]
    return [stage for stage in [*known, *sorted(reported.difference(known))] if stage in reported]


def work_stages(stages: Sequence[str]) -> list[str]:
    """The stages that add up to the time that a frame takes."""
    return [stage for stage in stages if stage not in APART]


def stage_ms(status: CameraStatus, stage: str, figure: str) -> float | None:
    """One of :data:`FIGURES` of a stage's time; None: not told."""
    value = status.stages_ms.get(stage, {}).get(figure)
    return float(value) if isinstance(value, int | float) else None


def _stacked(statuses: Sequence[CameraStatus], parts: Sequence[str], colours: Mapping[str, str]) -> Chart:
    named = {NAMES.get(part, part): part for part in parts}
    rows = {
        status.source: {name: stage_ms(status, part, "mean") or 0.0 for name, part in named.items()}
        for status in statuses
    }
    return parts_chart(rows, {name: colours[part] for name, part in named.items()}, "ms")


def _stage_cell(status: CameraStatus, stage: str, figure: str, whole: float) -> tuple[str, str]:
    """A figure, tinted by its share of the whole: where this camera's time goes."""
    value = stage_ms(status, stage, "mean" if stage in SERVER_STAGES else figure)
    if value is not None and value > BUDGET_MS.get(stage, math.inf):
        return f'<b class="bad">{milliseconds(value)}<span class="sl-over"> over</span></b>', ""
    share = round(38 * value / whole) if value and whole and stage not in APART else 0
    tint = f'style="background:color-mix(in srgb, var(--sl-warn) {share}%, transparent)"' if share else ""
    return milliseconds(value), tint


def _clock(status: CameraStatus) -> str:
    """Where capture time comes from, and how far the camera's own clock is ahead of ours and gains on it."""
    off = "" if status.clock_offset_s is None else f"{status.clock_offset_s:+.2f} s"
    drift = "" if status.clock_drift_ppm is None else f"{status.clock_drift_ppm:+.0f} ppm"
    return " ".join(filter(None, (safe(status.clock_source), off, drift))) or DASH


def _frames_table(statuses: Sequence[CameraStatus], at: float) -> str:
    rows = []
    for status in statuses:
        stale = is_stale(status, at)
        cells = (
            safe(status.source),
            DASH if stale else f"{status.fps:.1f}",
            DASH if stale else number(status.queue_depth),
            number(status.frames_total),
            f"<span>{drops(status)}</span>",
            number(status.gate_skipped_total),
            number(status.decode_errors_total),
            number(status.reconnects_total),
            f"<small>{_clock(status)}</small>",
        )
        rows.append(("idle" if stale else "", cells))
    return theme.table({"Camera": "name", **dict.fromkeys(FRAME_HEADS, "num")}, rows)
