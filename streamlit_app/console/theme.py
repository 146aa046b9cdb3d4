"""What all pages share: style, states, tiles, tables, and the fragment that refreshes a page in place."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import streamlit as st
from sqlalchemy import Connection
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitAPIException

from console.api import ApiRefused, SupervisorAway
from console.grid import Bucket, Cover, total, uncovered_share
from console.texts import (
    NO_CAMERA,
    NO_CAMERA_ASK,
    NO_CAMERA_REMEDY,
    NO_NEWS,
    NONE_OF_YOURS,
    NONE_OF_YOURS_REMEDY,
    age,
    number,
    percent,
    plain,
    safe,
)
from console.viewer import Viewer, now
from sightline.access.rights import Right
from sightline.errors import StoreUnavailable
from sightline.store.read.readonly import DatabaseState
from sightline.store.read.spans import Span

STYLE = f"<style>{(Path(__file__).parent / 'style.css').read_text(encoding='utf-8')}</style>"

#: The tab's picture, written out: an icon by name would be fetched from the internet.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">'
    '<circle cx="12" cy="12" r="11" fill="#1f6feb"/><path d="M3.5 12q8.5-10 17 0q-8.5 10-17 0z" fill="#fff"/>'
    '<circle cx="12" cy="12" r="3.4" fill="#1f6feb"/></svg>'
)
#: Distinguishable in both themes and with red-green colour blindness (Okabe and Ito, adjusted).
PALETTE = ("#3d85d6", "#e08a1e", "#2fa37c", "#c267a8", "#7a6fd0", "#b5a022", "#d4604a", "#57a9c9")
OTHER = "#8a949e"
ICONS = {
    DatabaseState.MISSING: "hourglass_empty",
    DatabaseState.EMPTY: "hourglass_empty",
    DatabaseState.OLDER: "upgrade",
    DatabaseState.NEWER: "upgrade",
    DatabaseState.FOREIGN: "link_off",
    DatabaseState.WRONG_FILE: "link_off",
    DatabaseState.LOCKED: "lock_clock",
    DatabaseState.UNREACHABLE: "cloud_off",
    DatabaseState.WRONG_URL: "link_off",
}
TABLE_ROWS = 1000
MAX_PLACES = 16  # lines and zones that stand on a page without being asked for
MAX_FIGURES = 200  # rows of a chart as a table
MIME = {"CSV": "text/csv", "Parquet": "application/vnd.apache.parquet"}
Row = tuple[str, Sequence[str | tuple[str, str]]]
Show = Callable[[Viewer, Connection], None]
_Item = TypeVar("_Item")
#: A database that was there and cannot be read now.
_AWAY = (DatabaseState.LOCKED, DatabaseState.UNREACHABLE)
#: How the keys of filters begin, by page.
_KEPT = ("counts_", "events_", "health_", "models_", "live_", "review_", "cameras_", "people_")


def keep_choices() -> None:
    """Keep what is chosen and typed on a page while it is not shown; Streamlit would drop it.

    Keys of buttons begin otherwise: a button's state may not be set.
    """
    for key in list(st.session_state):
        if str(key).startswith(_KEPT) and st.session_state[key] != "":
            with suppress(StreamlitAPIException):  # it is shown already in this run, and so kept
                st.session_state[key] = st.session_state[key]


def live(show: Show, viewer: Viewer) -> None:
    """Show a page and refresh it in place; while the database is away, say why instead."""

    @st.fragment(run_every=viewer.refresh_s)
    def page() -> None:
        require_viewer(viewer)
        condition = viewer.database.condition()
        if condition.state is DatabaseState.READY:
            try:
                with viewer.database.reading() as connection:
                    show(viewer, connection)
            except StoreUnavailable as error:
                condition = viewer.database.condition_of(error)
        if condition.state is not DatabaseState.READY:
            keep_choices()
            note = f"Looking again {_rhythm(viewer)}." if viewer.refresh_s else "Refresh is off."
            icon = ICONS.get(condition.state, "info")
            state(condition.problem, condition.remedy, icon=icon, detail=condition.detail, note=note)
        show_foot(viewer, now(), *([viewer.database.label] if viewer.engineer else []))

    page()


def _rhythm(viewer: Viewer) -> str:
    return f"every {viewer.refresh_s:.0f} s" if viewer.refresh_s else "refresh is off"


def show_foot(viewer: Viewer, at: float, *more: str) -> None:
    """The last line of a page: of which moment it is, and what its times are."""
    parts = f"Updated {viewer.clock(at)}", _rhythm(viewer), f"times in {viewer.zone.key}", *more
    st.html(f'<div class="sl-foot">{" · ".join(map(safe, parts))}</div>')


def watch(show: Show, viewer: Viewer, *, every_s: float = 5.0) -> None:
    """Show a small part of the database on whichever page it is; say where it cannot be read any more.

    That there is none yet, or none of this program's, only the pages say that need it.
    """

    @st.fragment(run_every=every_s)
    def part() -> None:
        condition = None
        try:
            if not viewer.is_still_here():
                st.rerun()
            condition = viewer.database.condition()
            if condition.state is DatabaseState.READY:
                with viewer.database.reading() as connection:
                    show(viewer, connection)
        except SupervisorAway as error:  # said here, as lists and forms that are open do not ask again
            st.warning(f"{error.problem} {error.remedy}", icon=":material/cloud_off:")
        except StoreUnavailable as error:
            condition = viewer.database.condition_of(error)
        if condition is not None and condition.state in _AWAY:
            st.warning(f"{NO_NEWS} {condition.problem} {condition.remedy}", icon=":material/cloud_off:")

    part()


def fresh(show: Callable[[Viewer], None], viewer: Viewer, *, every_s: float | None = 3.0) -> None:
    """Show what is asked of the API, and refresh it in place; say why where it does not answer."""

    @st.fragment(run_every=every_s)
    def part() -> None:
        require_viewer(viewer)
        with trying():
            show(viewer)

    part()


def require_viewer(viewer: Viewer) -> None:
    """End a fragment's run where the viewer is no longer signed in, or has other rights than before."""
    try:
        if viewer.is_still_here():
            return
    except SupervisorAway as error:
        keep_choices()
        state(error.problem, error.remedy, icon="cloud_off", detail=str(error))
        st.stop()
    st.rerun()


@contextmanager
def trying() -> Iterator[None]:
    """Show what the API refuses, or that it does not answer, in place of an exception."""
    try:
        yield
    except ApiRefused as refused:
        st.error(plain(refused), icon=":material/block:")
    except SupervisorAway as error:
        st.error(f"{error.problem} {plain(error)}", icon=":material/cloud_off:")


def state(
    problem: str,
    remedy: str,
    *,
    icon: str = "info",
    detail: str = "",
    note: str = "",
    way: tuple[str, str] | None = None,
) -> None:
    """A page that has nothing to show: why, and what to do about it; ``way``: a link's text and address."""
    parts = [
        f'<div class="sl-state"><span class="sl-icon" aria-hidden="true">{icon}</span>',
        f"<h2>{safe(problem)}</h2><p>{safe(remedy)}</p>",
        f'<p><a href="{safe(way[1])}">{safe(way[0])}</a></p>' if way else "",
        f"<code>{safe(detail)}</code>" if detail else "",
        f"<small>{safe(note)}</small>" if note else "",
        "</div>",
    ]
    st.html("".join(parts))


def no_camera(viewer: Viewer) -> None:
    """The state of a page that shows cameras while there are none, or none of this viewer's."""
    if viewer.cameras is not None:
        state(NONE_OF_YOURS, NONE_OF_YOURS_REMEDY, icon="videocam_off")
    elif viewer.may(Right.WRITE_CONFIG):
        state(NO_CAMERA, NO_CAMERA_REMEDY, icon="videocam_off", way=("Add a camera", "/cameras?add=1"))
    else:
        state(NO_CAMERA, NO_CAMERA_ASK, icon="videocam_off")


def state_word(word: str, tone: str, message: str = "") -> str:
    """How a camera does: a word with a dot, and a sentence below it; HTML."""
    below = f'<span class="sl-message">{safe(message)}</span>' if message else ""
    return f'<span class="sl-state-word {tone}"><span class="sl-dot"></span>{safe(word)}</span>{below}'


def facts(values: Mapping[str, str]) -> str:
    """Names and values, one below the other; HTML."""
    parts = (f"<dt>{safe(name)}</dt><dd>{safe(value)}</dd>" for name, value in values.items())
    return f'<dl class="sl-facts">{"".join(parts)}</dl>' if values else ""


def near_facts(values: Mapping[str, str]) -> str:
    """The same where there is much room: the values stand beside their names; HTML."""
    return f'<div class="sl-near">{facts(values)}</div>'


def show_places(rows: Sequence[Sequence[str]], when: str) -> None:
    """Lines and zones, if there are any: camera, place, crossings in, out and net, and who is inside.

    Many are shown once somebody opens them: they would push away what comes below, and a browser takes long.
    """
    if not rows:
        return
    few = len(rows) <= MAX_PLACES
    place = st if few else when_opened(f"Lines and zones: {len(rows)}", key="places", icon="conversion_path")
    if place is None:
        return
    heads = {
        "Camera": "name",
        "Line or zone": "",
        "In": "num",
        "Out": "num",
        "Net": "num",
        "Inside now": "num",
    }
    note = f"crossings {when}: in is forward, out backward; inside: objects in the zone now"
    shown = [("", [safe(cell) for cell in row]) for row in rows]
    place.html((heading("Lines and zones", note) if few else caption(note)) + table(heads, shown))


def heading(text: str, small: str = "") -> str:
    """A section's heading; both arguments are HTML."""
    return f'<h2 class="sl-h">{text} <small class="idle">{small}</small></h2>'


def bullets(texts: Iterable[str]) -> str:
    """A list of sentences; HTML."""
    return f'<ul class="sl-list">{"".join(f"<li>{safe(text)}</li>" for text in texts)}</ul>'


def moment(time: float, viewer: Viewer, form: str = "%H:%M:%S") -> str:
    """A moment in the viewer's zone, in UTC where it is pointed at; HTML."""
    exact = datetime.fromtimestamp(time, UTC)
    title = f"{exact:%Y-%m-%d %H:%M:%S} UTC"
    return f'<time datetime="{exact:%Y-%m-%dT%H:%M:%SZ}" title="{title}">{viewer.clock(time, form)}</time>'


def caption(text: str) -> str:
    """A note in small letters; HTML."""
    return f'<div class="sl-caption">{text}</div>'


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name; the ninth and later share one."""
    return {name: PALETTE[i] if i < len(PALETTE) else OTHER for i, name in enumerate(names)}


def table(heads: Mapping[str, str], rows: Iterable[Row]) -> str:
    """A dense table that turns into cards on a narrow screen; everything is HTML.

    Args:
        heads: the class of each column's cells, by heading. On a card a cell is labelled with its heading,
            but for what is small in it; a first column ``name`` and one ``wide`` need no label.
        rows: each row's class and cells; a cell may be a pair, with attributes of its own.
    """
    head = "".join(f'<th class="{kind}">{name}</th>' for name, kind in heads.items())
    labels = [
        "" if kind in {"name", "wide"} else f' data-h="{name.partition(" <")[0].lower()}"'
        for name, kind in heads.items()
    ]
    body = []
    for row_class, row in rows:
        body.append(f'<tr class="{row_class}">')
        for cell, kind, label in zip(row, heads.values(), labels, strict=True):
            html, more = cell if isinstance(cell, tuple) else (cell, "")
            body.append(f'<td {more} class="{kind}"{label}>{html}</td>')
        body.append("</tr>")
    return (
        '<div class="sl-wrap"><table class="sl cards">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def page_of(items: Sequence[_Item], size: int, *, key: str) -> Sequence[_Item]:
    """Those of the page that is chosen, with what chooses it where there is more than one."""
    pages = -(-len(items) // size)
    page = st.pagination(pages, key=key) if pages > 1 else 1
    return items[(page - 1) * size : page * size]


def row_class(tone: str) -> str:
    """Of a row of a table, by how it does: what is in trouble is marked."""
    return f"{tone}-row" if tone in {"bad", "warn"} else ""


def downloads(
    viewer: Viewer, page: str, note: str, make: Callable[[str], bytes], start: float, *, columns: str
) -> None:
    """The line under a table of rows: a note at the left, all rows as files at the right.

    Args:
        viewer: who gets the files, if they are still here when they ask for them.
        page: names the files and the buttons' keys.
        note: HTML.
        make: makes a file of a form of :data:`FORMS`, when its button is pressed.
        start: of the rows, epoch seconds.
        columns: of the files, in words.
    """
    line = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
    line.html(caption(note))
    buttons = line.container(horizontal=True, gap="small", width="content")
    for form, kind in MIME.items():
        buttons.download_button(
            form,
            data=partial(_made_for, viewer, make, form),
            file_name=f"sightline-{page}-{datetime.fromtimestamp(start, UTC):%Y%m%dT%H%MZ}.{form.lower()}",
            mime=kind,
            icon=":material/download:",
            on_click="ignore",
            key=f"download_{page}_{form}",
            help=f"UTC, {columns}.",
        )


def _made_for(viewer: Viewer, make: Callable[[str], bytes], form: str) -> bytes:
    """A file, with the rights of now: a button may be pressed long after it was shown."""
    if not viewer.is_still_here():
        raise PermissionError("the sign-in has ended")
    return make(form)


def exactly(time_: float, viewer: Viewer) -> str:
    """What stands on hover over a time: in the viewer's zone, and UTC."""
    moment = datetime.fromtimestamp(time_, UTC)
    return f"{viewer.clock(time_, '%Y-%m-%d %H:%M:%S')}, {moment:%Y-%m-%d %H:%M:%S} UTC"


def ago(time_: float | None, at: float, viewer: Viewer, never: str) -> tuple[str, str]:
    """A cell that says how long ago something was, and exactly when on hover."""
    if time_ is None:
        return never, ""
    return f"{age(at - time_)} ago", f'title="{exactly(time_, viewer)}"'


def figures_table(
    key: str,
    span: Span,
    buckets: Sequence[Bucket],
    counts: Mapping[float, Mapping[str, int | None]],
    names: Sequence[str],
    viewer: Viewer,
) -> None:
    """What a chart shows as a table, newest first: for screen readers, and whoever wants the numbers."""
    place = table_place(key)
    if place is None:
        return
    heads = {"From": "name", "To": "", **{safe(name): "num" for name in names}, "Watched": "num"}
    rows: list[Row] = []
    for bucket, end in zip(buckets, span.edges[1:], strict=True):
        if bucket.cover in {Cover.FUTURE, Cover.BEFORE}:
            continue
        lacks = "unknown" if bucket.cover is Cover.NOT else "0"
        numbers = counts.get(bucket.start, {})
        cells: list[str | tuple[str, str]] = [
            (viewer.clock(time_, "%-d %b %H:%M"), f'title="{exactly(time_, viewer)}"')
            for time_ in (bucket.start, end)
        ]
        cells += [number(numbers[name]) if name in numbers else lacks for name in names]
        rows.append(("", [*cells, percent(bucket.coverage)]))
    place.html(table(heads, rows[: -MAX_FIGURES - 1 : -1]))
    if len(rows) > MAX_FIGURES:
        place.html(caption(f"The newest {MAX_FIGURES} of {len(rows)} rows; the files have all."))


def table_place(key: str) -> DeltaGenerator | None:
    """Where a chart's table stands; None until it is opened, since a browser takes long over tables."""
    return when_opened("As a table", key=f"table_{key}", icon="table_rows")


def when_opened(label: str, *, key: str, icon: str) -> DeltaGenerator | None:
    """A part of a page that is closed at first, and is made once somebody opens it; None until then."""
    place = st.expander(label, key=key, icon=f":material/{icon}:", on_change="rerun")
    return place if place.open else None


def tiles(items: Iterable[tuple[str, str, str, str]]) -> str:
    """Figures side by side: label, value (HTML), note (HTML) and tone of each; HTML."""
    parts = (
        f'<div class="sl-tile {tone}"><div class="sl-label">{safe(label)}</div>'
        f'<div class="sl-value">{value}</div><div class="sl-note">{note}</div></div>'
        for label, value, note, tone in items
    )
    return f'<div class="sl-tiles">{"".join(parts)}</div>'


def swatches(items: Iterable[tuple[str, str]], more: str = "") -> str:
    """A legend: colours with their texts (HTML), and more HTML."""
    parts = (f'<span><i style="background:{colour}"></i>{text}</span>' for colour, text in items)
    return f'<div class="sl-legend">{"".join(parts)}{more}</div>'


def legend(
    totals: Sequence[tuple[str, int | None]], colours: dict[str, str], buckets: Sequence[Bucket]
) -> str:
    """Series with their totals, and what hatching, tint and baseline mean."""
    shown = [(colours[name], f"{safe(name)} <b>{number(n)}</b>") for name, n in totals[: len(PALETTE)]]
    if rest := totals[len(PALETTE) :]:
        shown.append((OTHER, f"{len(rest)} more <b>{number(total(count for _, count in rest))}</b>"))
    gap = percent(uncovered_share(buckets) or 0.0)
    nothing = "" if totals else '<span class="idle">nothing was counted in this range</span>'
    marks = (
        '<span class="gap"><i class="sl-hatch"></i>not watched</span>'
        '<span><i class="sl-part"></i>partly watched</span><span><i class="sl-zero"></i>zero</span>'
        f'<span class="idle">{gap} of all cameras\' time not watched</span>'
    )
    return swatches(shown, nothing + marks)
