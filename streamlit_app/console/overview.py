"""Overview: every camera's live status, trouble first, with today's totals on top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import streamlit as st
from sqlalchemy import Connection

from console import ranges, theme
from console.charts import count_chart
from console.grid import Bucket, Cover, cover_buckets, runs, stack
from console.session import Viewer, now
from console.texts import DASH, age, drops, duration, milliseconds, number, percent, safe, step_name
from sightline.entities import CameraState, CameraStatus, SourceWindow
from sightline.store.read.queries import (
    DAY_S,
    CountSum,
    Span,
    StoredStatus,
    read_cameras,
    read_counts,
    read_first_windows,
    read_latest_windows,
    read_watched,
)
from sightline.store.read.readonly import Database

#: Each state's word, its tone, and a sentence for when the status has none.
STATES = {
    CameraState.ONLINE: ("online", "good", ""),
    CameraState.STARTING: ("starting", "warn", "The worker is starting."),
    CameraState.CONNECTING: ("connecting", "warn", "The stream is being opened."),
    CameraState.OFFLINE: ("offline", "bad", "The camera does not answer; it is tried again."),
    CameraState.UNAUTHORIZED: ("password refused", "bad", "The camera refused it; it is tried again slowly."),
    CameraState.NOT_FOUND: ("no such stream", "bad", "The camera has no stream at this address."),
    CameraState.UNUSABLE: ("no usable video", "bad", "The stream has no video that can be decoded."),
    CameraState.NO_DETECTOR: ("no detector", "bad", "Frames arrive, but Triton does not answer."),
    CameraState.MISCONFIGURED: ("misconfigured", "bad", "The camera's entry in config.yml is wrong."),
    CameraState.ENDED: ("ended", "idle", "The file was played to its end."),
    CameraState.STOPPED: ("stopped", "idle", "The camera was stopped."),
}
_TONE_ORDER = {"bad": 0, "warn": 1, "good": 2, "idle": 3}
TOTALS_TTL_S = 10
HOUR_S = 3600
SUMS = "sum of window counts"


@dataclass(frozen=True, slots=True)
class CameraRowView:
    """One camera as the table shows it."""

    report: StoredStatus
    word: str
    tone: str
    message: str
    coverage: float | None  # of the part of the open window that has passed

    @property
    def is_live(self) -> bool:
        """Whether its figures are current."""
        return self.word == "online"


@dataclass(frozen=True, slots=True)
class Today:
    """Totals since midnight in the viewer's zone."""

    by_class: Counter[str]
    by_source: Counter[str]
    uncovered_s: float
    camera_s: float


@dataclass(frozen=True, slots=True)
class Hour:
    """The last hour in buckets."""

    span: Span
    counts: list[CountSum]
    buckets: list[Bucket]  # all cameras together
    covers: dict[str, list[Bucket]]  # camera -> its own


def show(viewer: Viewer, connection: Connection) -> None:
    """Tiles, then the table."""
    reports = read_cameras(connection)
    if not reports:
        remedy = "Add cameras to config.yml and start “sightline run”; each appears here within seconds."
        theme.no_camera(remedy, "videocam_off")
        return
    sources = [report.status.source for report in reports]
    latest = read_latest_windows(connection, sources)
    rows = camera_rows(reports, latest, now())
    midnight = datetime.fromtimestamp(now(), viewer.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    today = _today(viewer.database, viewer.zone.key, midnight.timestamp(), tuple(sources))
    st.html(theme.tiles(_tiles(rows, today)))
    hour = _last_hour(connection, sources, latest)
    st.html(_table(rows, today, hour, viewer))
    _show_hour(hour, sources, viewer)


def _last_hour(connection: Connection, sources: Sequence[str], latest: Mapping[str, SourceWindow]) -> Hour:
    window_s = max((item.window_end - item.window_start for item in latest.values()), default=60)
    step_s = ranges.default_step(HOUR_S, ranges.steps_for(HOUR_S, max(60, round(window_s))))
    span = Span.over(now() - HOUR_S, now(), step_s)
    counts = read_counts(connection, span, sources, by_source=True, by_class=True)
    watched = read_watched(connection, span, sources)
    covers = {name: cover_buckets(span, watched, [name], now()) for name in sources}
    return Hour(span, counts, cover_buckets(span, watched, sources, now()), covers)


def _show_hour(hour: Hour, sources: Sequence[str], viewer: Viewer) -> None:
    totals, series = stack((row.item_class, row.bucket, row.count) for row in hour.counts)
    colours = theme.colours([name for name, _ in totals])
    which = "all cameras" if len(sources) > 1 else safe(sources[0])
    st.html(theme.heading("Last hour", f"{which}, per {step_name(hour.span.step_s)}"))
    st.html(theme.legend(totals, colours, hour.buckets))
    chart = count_chart(hour.buckets, series, colours, hour.span, viewer.zone, height=210)
    st.altair_chart(chart, key="hour_chart", alt="Counts of the last hour")


def camera_rows(
    reports: list[StoredStatus], latest: dict[str, SourceWindow], at: float
) -> list[CameraRowView]:
    """Every camera with its word and tone, trouble first, then by name."""
    rows = [_row_view(report, latest.get(report.status.source), at) for report in reports]
    return sorted(rows, key=lambda row: (_TONE_ORDER[row.tone], row.report.status.source))


def _row_view(report: StoredStatus, window: SourceWindow | None, at: float) -> CameraRowView:
    status = report.status
    word, tone, sentence = STATES[status.state]
    message = status.message or sentence
    if report.is_stale(at) and tone != "idle":
        word, tone = "no heartbeat", "bad"
        message = f"Nothing heard for {age(at - report.heartbeat)}; is “sightline run” running?"
    return CameraRowView(report, word, tone, message, _open_coverage(report, window))


def _open_coverage(report: StoredStatus, window: SourceWindow | None) -> float | None:
    """The share that was watched of the part of the open window that has passed."""
    if window is None or not window.window_start <= report.heartbeat < window.window_end:
        return None
    passed = max(1.0, report.heartbeat - window.window_start)
    watched = window.coverage * (window.window_end - window.window_start)
    return 1.0 if watched + 2.0 >= passed else watched / passed  # rows are written once a second


@st.cache_data(ttl=TOTALS_TTL_S, max_entries=32, show_spinner=False, hash_funcs={Database: id})
def _today(database: Database, zone: str, midnight: float, sources: tuple[str, ...]) -> Today:
    """Totals of the day; shared by all viewers of a zone."""
    del zone  # a part of the cache's key
    at = now()
    span = replace(Span.over(midnight, at, DAY_S), start=midnight, end=at)
    with database.reading() as connection:
        counts = read_counts(connection, span, sources, by_source=True, by_class=True)
        watched = read_watched(connection, span, sources)
        first = read_first_windows(connection, sources)
    by_class, by_source = Counter[str](), Counter[str]()
    for row in counts:
        by_class[row.item_class] += row.count
        by_source[row.source] += row.count
    expected = sum(at - max(midnight, start) for start in first.values())
    uncovered = max(0.0, expected - sum(row.watched_s for row in watched))
    return Today(by_class, by_source, uncovered, expected)


def _tiles(rows: list[CameraRowView], today: Today) -> list[tuple[str, str, str, str]]:
    online = sum(row.is_live for row in rows)
    trouble = sum(row.tone == "bad" for row in rows)
    top = today.by_class.most_common()
    latency = max((row.report.status.latency_p99_ms or 0 for row in rows if row.is_live), default=0)
    note = f"{trouble} in trouble" if trouble else "all well" if online == len(rows) else ""
    share = today.uncovered_s / today.camera_s if today.camera_s else 0.0
    small = today.uncovered_s < 5 * len(rows)  # what is not written yet
    items = [
        ("Cameras online", f"{online} <small>of {len(rows)}</small>", note, "bad" if trouble else ""),
        *((f"{name.capitalize()} today", number(count), SUMS, "") for name, count in top[:3]),
    ]
    if not top:
        items.append(("Counted today", "0", SUMS, ""))
    elif len(top) > 3:
        rest = sum(count for _, count in top[3:])
        items.append((f"{len(top) - 3} more classes today", number(rest), SUMS, ""))
    gap = "0 s" if small else duration(today.uncovered_s)
    gap_note = f"{percent(0.0 if small else share)} of all cameras' time"
    slowest = f"{milliseconds(latency or None)} <small>ms</small>"
    return [
        *items,
        ("Not watched today", gap, gap_note, "warn" if share > 0.01 and not small else ""),
        ("Slowest p99 latency", slowest, "capture to tracked", ""),
    ]


def _table(rows: list[CameraRowView], today: Today, hour: Hour, viewer: Viewer) -> str:
    heads = ["Camera", "State", "fps", "Latency p50 / p99", "Coverage", "Drops", "Last frame"]
    heads += ["Today", "Last hour", "Model", "Via"]
    right = {"fps", "Latency p50 / p99", "Drops", "Last frame", "Today"}
    head = "".join(f'<th class="{"num" if name in right else ""}">{name}</th>' for name in heads)
    sums: dict[str, Counter[float]] = {}
    for row in hour.counts:
        sums.setdefault(row.source, Counter())[row.bucket] += row.count
    body = []
    for shown in rows:
        name = shown.report.status.source
        spark = _spark(hour.covers[name], sums.get(name, Counter()), hour.span)
        body.append(_row(shown, today.by_source[name], spark, now(), viewer))
    return theme.table(head, "".join(body))


def _spark(buckets: Sequence[Bucket], counts: Mapping[float, int], span: Span) -> str:
    """A small picture of a camera's last hour; gaps are hatched there too."""
    share = 100 / (span.end - span.start)  # percent of the width, a second
    highest = max(counts.values(), default=0) or 1
    kinds = {Cover.NOT: "sl-hatch", Cover.PARTLY: "part", Cover.WATCHED: "zero"}
    marks = [
        _spark_mark(kinds[cover], (start - span.start) * share, (end - start) * share)
        for start, end, cover in runs(buckets)
        if cover in kinds
    ]
    for start, count in counts.items():
        left, width = (start - span.start) * share, span.step_s * share * 0.84
        marks.append(_spark_mark("bar", left, width, 92 * count / highest))
    return f'<span class="sl-spark">{"".join(marks)}</span>'


def _spark_mark(kind: str, left: float, width: float, height: float | None = None) -> str:
    tall = f";height:{height:.0f}%" if height is not None else ""
    return f'<i class="{kind}" style="left:{left:.2f}%;width:{width:.2f}%{tall}"></i>'


def _row(row: CameraRowView, today: int, spark: str, at: float, viewer: Viewer) -> str:
    status = row.report.status
    dim = "" if row.is_live else " idle"
    message = (
        "" if row.is_live and not status.message else f'<span class="sl-message">{safe(row.message)}</span>'
    )
    frame = status.last_frame_time
    exact = viewer.clock(frame, "%Y-%m-%d %H:%M:%S") if frame else ""
    latency = f"{milliseconds(status.latency_p50_ms)} / {milliseconds(status.latency_p99_ms)} ms"
    word = f'<span class="sl-state-word {row.tone}"><span class="sl-dot"></span>{row.word}</span>'
    ago = f"{age(at - frame)} ago" if frame else "none yet"
    cells = (
        f'<td class="name">{safe(status.source)}</td>',
        f'<td class="wide">{word}{message}</td>',
        f'<td class="num{dim}" data-h="fps">{f"{status.fps:.1f}" if row.is_live else DASH}</td>',
        f'<td class="num{dim}" data-h="latency">{latency if row.is_live else DASH}</td>',
        f'<td data-h="coverage">{_coverage_bar(row)}</td>',
        f'<td class="num" data-h="drops"><span>{drops(status)}</span></td>',
        f'<td class="num" data-h="last frame" title="{exact}">{ago}</td>',
        f'<td class="num" data-h="today">{number(today)}</td>',
        f'<td class="long" data-h="last hour">{spark}</td>',
        f'<td class="long" data-h="model"><small>{safe(status.model_version) or DASH}</small></td>',
        f'<td data-h="via" title="{_via(status)}"><small>{safe(status.transport) or DASH}</small></td>',
    )
    tone = f"{row.tone}-row" if row.tone in {"bad", "warn"} else ""
    return f'<tr class="{tone}">{"".join(cells)}</tr>'


def _via(status: CameraStatus) -> str:
    """How pictures reach the detector, and why not in a faster way."""
    decoder = f"decoder {status.decoder}" if status.decoder else ""
    return safe("; ".join(filter(None, (decoder, status.transport_message))))


def _coverage_bar(row: CameraRowView) -> str:
    if row.coverage is None or row.word == "no heartbeat":
        return f'<span class="idle">{DASH}</span>'
    tone = "" if row.coverage >= 0.95 else "warn" if row.coverage >= 0.5 else "bad"
    width = round(row.coverage * 100)
    bar = f'<span class="sl-bar {tone}"><i style="width:{width}%"></i></span>'
    return f"<span>{bar}{percent(row.coverage)}</span>"
