"""Overview: every camera's live status, trouble first, with today's totals on top."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import streamlit as st
from pydantic import TypeAdapter
from sqlalchemy import Connection

from console import theme
from console.api import Api
from console.charts import Bars, count_chart
from console.components.chart_component import show_chart
from console.grid import (
    Bucket,
    Cover,
    by_size,
    cover_buckets,
    cover_each,
    default_step,
    runs,
    steps_for,
    total,
    uncovered_s,
    uncovered_share,
)
from console.texts import (
    CANNOT_COUNT,
    DASH,
    HELD_BACK,
    age,
    counted,
    drops,
    duration,
    milliseconds,
    number,
    percent,
    safe,
    step_name,
)
from console.viewer import Viewer, now
from sightline.entities import CameraState, CameraStatus, EventKind, SourceWindow
from sightline.store.read import queries
from sightline.store.read.camera_now import CameraNow, read_now
from sightline.store.read.coverage import Covered, KnownTime, known_until, read_known
from sightline.store.read.queries import Programs, add_known, distinct, is_stale
from sightline.store.read.readonly import Database
from sightline.store.read.seen import Cameras
from sightline.store.read.spans import Span
from sightline.store.rollups import HOUR_S

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
#: The class of each column's cells, by heading.
COLUMNS = {
    "Camera": "name",
    "State": "wide",
    "Frames/s": "num",
    "Latency <small>p50 / p99</small>": "num",
    "Watched": "",
    "Drops": "num",
    "Last frame": "num",
    "Today": "num",
    "Last hour": "long",
    "Last event": "num",
    "New alerts": "num",
    "Model": "long",
    "Via": "",
}
TECHNICAL = {"Frames/s", "Latency <small>p50 / p99</small>", "Drops", "Model", "Via"}
PlaceRow = tuple[str, str, str, str, str, str]  # camera, place, in, out, net, inside now
FLOW = ("source", "place", "direction")
Flow = tuple[float, tuple[str, ...], int]  # bucket, what :data:`FLOW` names, crossings
#: How a camera's last hour is drawn behind its bars.
SPARK = {Cover.NOT: "sl-hatch", Cover.PARTLY: "part", Cover.WATCHED: "zero"}
TOTALS_TTL_S = 2  # shorter than any refresh; however many look, they are read no more often
DISTINCT = "distinct objects of each camera"
_STATUSES = TypeAdapter(list[CameraStatus])


@dataclass(frozen=True, slots=True)
class CameraRowView:
    """One camera as the table shows it."""

    status: CameraStatus
    word: str
    tone: str
    message: str
    coverage: float | None  # of the part of the open window that has passed

    @property
    def notices(self) -> tuple[str, ...]:
        """What is said of this and other cameras together, if that is current."""
        return () if self.word == "no heartbeat" else tuple(self.status.notices)

    @property
    def is_live(self) -> bool:
        """Whether its figures are current."""
        return self.word == "online"


@dataclass(frozen=True, slots=True)
class Totals:
    """Since midnight in the viewer's zone, and of the last hour; all of one moment, so that they agree."""

    by_class: Mapping[str, int | None]  # distinct objects of each camera, the most first; None: not known
    cameras: Mapping[str, CameraNow]
    crossings: Sequence[Flow]
    day_covers: Sequence[Bucket]  # of all cameras together
    hour: Span
    hour_covers: Mapping[str, Sequence[Bucket]]  # of each camera
    hour_together: Sequence[Bucket]  # of all of them
    hour_classes: Mapping[float, Mapping[str, int | None]]  # by bucket
    hour_cameras: Mapping[str, Mapping[float, int | None]]
    hour_totals: Mapping[str, int | None]  # by class, the most first


def render(viewer: Viewer) -> None:
    """The page."""
    theme.live(show, viewer)


def show(viewer: Viewer, connection: Connection) -> None:
    """Tiles, lines and zones, the table of cameras, and the last hour."""
    statuses = queries.read_cameras(connection, viewer.cameras)
    if not statuses:
        theme.no_camera(viewer)
        return
    sources = [status.source for status in statuses]
    latest = queries.read_latest_windows(connection, viewer.cameras, sources)
    rows = camera_rows(statuses, latest, now())
    window_s = max((item.window_end - item.window_start for item in latest.values()), default=60)
    step_s = default_step(HOUR_S, steps_for(HOUR_S, max(60, round(window_s))))
    today = read_totals(viewer.database, viewer.zone.key, step_s, tuple(sources), viewer.cameras)
    for text in notices_of(rows, viewer):
        st.html(f'<div class="sl-notice">{text}</div>')
    st.html(_tiles(rows, today, viewer))
    theme.show_places(flow_rows(statuses, today.crossings, now()), "today")
    body = []
    for row in rows:
        name = row.status.source
        counts = {bucket: count for bucket, count in today.hour_cameras.get(name, {}).items() if count}
        spark = _spark(today.hour_covers[name], counts, today.hour)
        body.append((theme.row_class(row.tone), _cells(row, today.cameras[name], spark, now(), viewer)))
    st.html(theme.table({head: kind for head, kind in COLUMNS.items() if is_shown(head, viewer)}, body))
    _show_hour(viewer, today, sources, step_s)
    if viewer.engineer and viewer.cameras is None:  # it is the program's, not a camera's
        st.html(theme.caption(safe(owner_text(queries.read_programs(connection, now())))))


def notices_of(rows: Sequence[CameraRowView], viewer: Viewer) -> list[str]:
    """What is said of several cameras together: engineers are told the cause and the cure; HTML."""
    if viewer.engineer:
        # Cameras are not all written at once, and the figures in a text change.
        newest: dict[tuple[str, str], str] = {}
        for row in sorted(rows, key=lambda row: row.status.status_time):
            newest |= {(text.partition(":")[0], row.status.model_version): text for text in row.notices}
        return [safe(text) for text in dict.fromkeys(newest.values())]
    held_back = [row.status for row in rows if row.notices]
    blind = sum(bool(status.detector_message) for status in held_back)
    parts = ((blind, CANNOT_COUNT), (len(held_back) - blind, HELD_BACK))
    of_all = f"of {counted(len(rows), 'camera')}"
    return [text.format(f"{some} {of_all}") for some, text in parts if some]


def _show_hour(viewer: Viewer, today: Totals, sources: Sequence[str], step_s: int) -> None:
    """Counts of the last hour by class."""
    colours = theme.colours(list(today.hour_totals))
    which = "all cameras" if len(sources) > 1 else safe(sources[0])
    st.html(theme.heading("Last hour", f"{which}, per {step_name(step_s)}"))
    st.html(theme.legend(list(today.hour_totals.items()), colours, today.hour_together))
    bars = Bars(today.hour, viewer.zone, today.hour_together, today.hour_classes, colours)
    show_chart(count_chart(bars, height_px=180), "Counts of the last hour; a table follows", key="hour_chart")
    names = list(today.hour_totals)
    theme.figures_table("hour", today.hour, today.hour_together, today.hour_classes, names, viewer)


def is_shown(head: str, viewer: Viewer) -> bool:
    """Whether a column of :data:`COLUMNS` is: some are engineers' alone."""
    return viewer.engineer or head not in TECHNICAL


def owner_text(programs: Programs) -> str:
    """Which program writes what is shown, and which ones wait for its end."""
    owner = f"Owner: {programs.owner}"
    if not programs.owns:
        owner = f"No program owns the database; the last was {programs.owner}" if programs.owner else ""
    waiting = (f"Stand-by: {program}" for program in programs.waiting)
    return " · ".join(filter(None, (owner, *waiting)))


def flow_rows(statuses: Sequence[CameraStatus], crossings: Sequence[Flow], at: float) -> list[PlaceRow]:
    """Every line with its crossings in, out and net, then every zone with how many are in it now.

    In is forward, out is backward, as docs/rules.md says.
    """
    flows: Counter[tuple[str, str, str]] = Counter()
    lines = {(status.source, name): None for status in statuses for name in status.lines}
    for _, (source, place, direction), count in crossings:
        flows[source, place, direction] += count
        lines[source, place] = None  # also one that is configured no longer
    rows: list[PlaceRow] = []
    for source, name in lines:
        into, out = (flows[source, name, way] for way in ("forward", "backward"))
        rows.append((source, name, number(into), number(out), f"{into - out:+d}" if into - out else "0", ""))
    for status in statuses:
        live = status.state is CameraState.ONLINE and not is_stale(status, at)
        for name, count in status.occupancy.items():
            rows.append((status.source, name, "", "", "", number(count) if live else "unknown"))
    return rows


def camera_rows(
    statuses: list[CameraStatus], latest: dict[str, SourceWindow], at: float
) -> list[CameraRowView]:
    """Every camera with its word and tone, trouble first, then by name."""
    rows = []
    for status in statuses:
        word, tone, sentence = STATES[status.state]
        message = status.message or sentence
        if status.warnings and tone == "good":
            tone = "warn"
        # The supervisor tells of a misconfigured camera once: it has no worker whose heart could beat.
        stale = is_stale(status, at)
        silent = stale and status.state is not CameraState.MISCONFIGURED
        if silent and tone != "idle":
            word, tone = "no heartbeat", "bad"
            message = f"Nothing heard for {age(at - status.status_time)}; is “sightline run” running?"
        # Of a heart that beats no longer, also a stopped camera's, no window is open.
        coverage = None if stale else _open_coverage(status.status_time, latest.get(status.source))
        rows.append(CameraRowView(status, word, tone, message, coverage))
    return sorted(rows, key=lambda row: (_TONE_ORDER[row.tone], row.status.source))


def running_cameras(api: Api) -> list[CameraRowView]:
    """The cameras that run now, as the supervisor says, by name."""
    statuses = _STATUSES.validate_python(api.get("/api/v1/cameras"))
    return sorted(camera_rows(statuses, {}, now()), key=lambda row: row.status.source)


def _open_coverage(heartbeat: float, window: SourceWindow | None) -> float | None:
    """The share that was watched of the part of the open window that has passed; None: not known yet."""
    if window is None or not window.window_start <= heartbeat < window.window_end:
        return None
    between = window.window_start, window.window_end
    watched_s = window.coverage * (window.window_end - window.window_start)
    known = KnownTime(window.window_start, known_until(window, heartbeat))
    covered = Covered.of(between, watched_s, known, heartbeat)
    return covered.share() if covered.expected_s else None


@st.cache_data(ttl=TOTALS_TTL_S, max_entries=32, show_spinner=False, hash_funcs={Database: id})
def read_totals(
    database: Database, zone: str, step_s: int, sources: tuple[str, ...], _cameras: Cameras
) -> Totals:
    """Totals of the day, and the last hour in steps; shared by all viewers of a zone and of these cameras.

    Each of ``sources`` is one that the viewer sees.
    """
    at = now()
    with database.reading() as connection:
        known = read_known(connection, _cameras, sources, at)  # first: what is written meanwhile is no gap
        lately = read_now(connection, _cameras, sources, at, ZoneInfo(zone), step_s)
        only = {"kind": [EventKind.CROSSING.value]}
        crossings = queries.read_event_counts(connection, _cameras, lately.day, sources, FLOW, only)
    each, together = cover_each(lately.hour, lately.hour_watched, sources, known, at)
    classes: dict[float, dict[str, int | None]] = defaultdict(dict)
    cameras: dict[str, dict[float, int | None]] = defaultdict(dict)
    totals: dict[str, int | None] = {}
    for row in lately.hour_counts:
        add_known(classes[row.bucket], row.item_class, row.count)
        add_known(cameras[row.source], row.bucket, row.count)
    for (_, name), count in distinct(lately.hour_counts).items():
        add_known(totals, name, count)
    return Totals(
        by_class=by_size(lately.by_class),
        cameras={row.source: row for row in lately.cameras},
        crossings=crossings,
        day_covers=cover_buckets(lately.day, lately.day_watched, sources, known, at),
        hour=lately.hour,
        hour_covers=each,
        hour_together=together,
        hour_classes=classes,
        hour_cameras=cameras,
        hour_totals=by_size(totals),
    )


def _tiles(rows: list[CameraRowView], today: Totals, viewer: Viewer) -> str:
    """A row of figures."""
    online = sum(row.is_live for row in rows)
    trouble = sum(row.tone == "bad" for row in rows)
    top = list(today.by_class.items())  # the most first
    latency = max((row.status.latency_p99_ms or 0 for row in rows if row.is_live), default=0)
    note = f"{trouble} in trouble" if trouble else "all well" if online == len(rows) else ""
    share = uncovered_share(today.day_covers) or 0.0
    items = [  # label, value (HTML), note (HTML), tone
        ("Cameras online", f"{online} <small>of {len(rows)}</small>", note, "bad" if trouble else ""),
        *((f"{name.capitalize()} today", number(count), DISTINCT, "") for name, count in top[:3]),
    ]
    if not top:
        items.append(("Counted today", "0", DISTINCT, ""))
    elif len(top) > 3:
        rest = total(count for _, count in top[3:])
        more = counted(len(top) - 3, "more class", "more classes")
        items.append((f"{more} today", number(rest), DISTINCT, ""))
    gap, gap_note = duration(uncovered_s(today.day_covers)), f"{percent(share)} of all cameras' time"
    items.append(("Not watched today", gap, gap_note, "warn" if share > 0.01 else ""))
    if viewer.engineer:
        slowest = f"{milliseconds(latency or None)} <small>ms</small>"
        items.append(("Slowest p99 latency", slowest, "a packet's arrival to its tracks", ""))
    return theme.tiles(items)


def _spark(buckets: Sequence[Bucket], counts: Mapping[float, int], span: Span) -> str:
    """A small picture of a camera's last hour; gaps are hatched there too."""
    share = 100 / (span.end - span.start)  # percent of the width, a second
    # A shape of each kind: with an element for each bar and gap, a browser takes as long over these as over
    # all of the page.
    shapes: dict[str, list[str]] = {kind: [] for kind in (*SPARK.values(), "bars")}

    def add(kind: str, start: float, end: float, top: float = 0.0) -> None:
        left, right = ((at - span.start) * share for at in (start, end))
        corners = f"{left:.1f}% 100%,{left:.1f}% {top:.0f}%,{right:.1f}% {top:.0f}%,{right:.1f}% 100%"
        shapes[kind].append(corners)

    for start, end, cover in runs(buckets):
        if cover in SPARK:
            add(SPARK[cover], start, end)
    highest = max(counts.values(), default=1)
    for start, count in sorted(counts.items()):
        add("bars", start, start + span.step_s * 0.84, 100 - max(5, 92 * count / highest))
    marks = (
        f'<i class="{kind}" style="clip-path:polygon({",".join(corners)})"></i>'
        for kind, corners in shapes.items()
        if corners
    )
    return f'<span class="sl-spark">{"".join(marks)}</span>'


def _cells(
    row: CameraRowView, lately: CameraNow, spark: str, at: float, viewer: Viewer
) -> list[str | tuple[str, str]]:
    """The cells of :data:`COLUMNS`."""
    status, frame = row.status, row.status.last_frame_time
    unknown = f'<span class="idle">{DASH}</span>'
    message = row.message if status.message or not row.is_live else ""
    latency = f"{milliseconds(status.latency_p50_ms)} / {milliseconds(status.latency_p99_ms)} ms"
    coverage = unknown
    if row.coverage is not None:
        tone = "" if row.coverage >= 0.95 else "warn" if row.coverage >= 0.5 else "bad"
        bar = f'<span class="sl-bar {tone}"><i style="width:{round(row.coverage * 100)}%"></i></span>'
        coverage = f"<span>{bar}{percent(row.coverage)}</span>"
    decoder = f"decoder {status.decoder}" if status.decoder else ""
    how = safe("; ".join(filter(None, (decoder, status.transport_message))))  # and why not in a faster way
    cells: list[str | tuple[str, str]] = [
        safe(status.source),
        theme.state_word(row.word, row.tone, message),
        f"{status.fps:.1f}" if row.is_live else unknown,
        latency if row.is_live else unknown,
        coverage,
        f"<span>{drops(status)}</span>",
        theme.ago(frame, at, viewer, "none yet"),
        number(lately.today),
        spark,
        theme.ago(lately.last_event_time, at, viewer, "none"),
        f'<b class="bad">{lately.new_alerts}</b>' if lately.new_alerts else "0",
        f"<small>{safe(status.model_version) or DASH}</small>",
        (f"<small>{safe(status.transport) or DASH}</small>", f'title="{how}"'),
    ]
    return [cell for head, cell in zip(COLUMNS, cells, strict=True) if is_shown(head, viewer)]
