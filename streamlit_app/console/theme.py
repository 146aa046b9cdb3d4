"""What all pages share: style, states, tiles, tables, and the fragment that refreshes a page in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st
from sqlalchemy import Connection

from console.grid import Bucket, uncovered_s
from console.session import Viewer, now
from console.texts import number, percent, safe
from sightline.errors import StoreUnavailable
from sightline.store.read.readonly import DatabaseState

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
Show = Callable[[Viewer, Connection], None]


def keep_choices() -> None:
    """Keep the filters of a page while another page is shown; Streamlit would drop their state.

    Keys of buttons begin otherwise: a button's state may not be set.
    """
    for key in list(st.session_state):
        if str(key).startswith(("counts_", "events_", "timing_")):
            st.session_state[key] = st.session_state[key]


def live(show: Show, viewer: Viewer) -> None:
    """Show a page and refresh it in place; while the database is away, say why instead."""

    @st.fragment(run_every=viewer.refresh_s)
    def page() -> None:
        condition = viewer.database.condition()
        if condition.state is DatabaseState.READY:
            try:
                with viewer.database.reading() as connection:
                    show(viewer, connection)
            except StoreUnavailable as error:
                condition = viewer.database.condition_of(error)
        if condition.state is not DatabaseState.READY:
            every = (
                f"Looking again every {viewer.refresh_s:.0f} s." if viewer.refresh_s else "Refresh is off."
            )
            icon = ICONS.get(condition.state, "info")
            state(condition.problem, condition.remedy, icon=icon, detail=condition.detail, note=every)
        st.html(footer(viewer))

    page()


def state(problem: str, remedy: str, *, icon: str = "info", detail: str = "", note: str = "") -> None:
    """A page that has nothing to show: why, and what to do about it."""
    parts = [
        f'<div class="sl-state"><span class="sl-icon" aria-hidden="true">{icon}</span>',
        f"<h2>{safe(problem)}</h2><p>{safe(remedy)}</p>",
        f"<code>{safe(detail)}</code>" if detail else "",
        f"<small>{safe(note)}</small>" if note else "",
        "</div>",
    ]
    st.html("".join(parts))


def no_camera(remedy: str, icon: str) -> None:
    """The page before the first camera has reported."""
    state("No camera has reported yet.", remedy, icon=icon)


def heading(text: str, small: str = "") -> str:
    """A section's heading; both arguments are HTML."""
    return f'<h2 class="sl-h">{text} <small class="idle">{small}</small></h2>'


def title(text: str) -> str:
    """The page's heading."""
    return f'<h1 class="sl-title"><span>Sightline</span> {safe(text)}</h1>'


def footer(viewer: Viewer) -> str:
    """When the page was read, how often it is, and the zone of its times."""
    rhythm = f"every {viewer.refresh_s:.0f} s" if viewer.refresh_s else "refresh is off"
    return (
        f'<div class="sl-foot">Updated {viewer.clock(now())} · {rhythm} · times in {safe(viewer.zone.key)} · '
        f"{safe(viewer.database.label)}</div>"
    )


def tiles(items: Sequence[tuple[str, str, str, str]]) -> str:
    """A row of figures: label, value (HTML), note (HTML), tone ('' or 'bad' or 'warn' or 'good')."""
    parts = (
        f'<div class="sl-tile {tone}"><div class="sl-label">{safe(label)}</div>'
        f'<div class="sl-value">{value}</div><div class="sl-note">{note}</div></div>'
        for label, value, note, tone in items
    )
    return f'<div class="sl-tiles">{"".join(parts)}</div>'


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name; the ninth and later share one."""
    return {name: PALETTE[i] if i < len(PALETTE) else OTHER for i, name in enumerate(names)}


def table(head: str, body: str) -> str:
    """A dense table that turns into cards on a narrow screen; both arguments are HTML."""
    return (
        '<div class="sl-wrap"><table class="sl cards">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def table_foot(note: str, csv: Callable[[], bytes], file_name: str, *, key: str, columns: str) -> None:
    """The line under a table of rows: a note at the left, all rows as CSV at the right.

    Args:
        note: HTML.
        csv: makes the file's content when the button is pressed.
        file_name: the name that the browser saves it under.
        key: the button's key.
        columns: the columns of the CSV, for the button's help.
    """
    line = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
    line.html(f'<div class="sl-caption">{note}</div>')
    line.download_button(
        "CSV",
        data=csv,
        file_name=file_name,
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=key,
        help=f"UTC, columns {columns}.",
    )


def legend(totals: Sequence[tuple[str, int]], colours: dict[str, str], buckets: Sequence[Bucket]) -> str:
    """Series with their totals, and what hatching, tint and baseline mean."""
    expected = sum(bucket.expected_s for bucket in buckets)
    gap = uncovered_s(buckets)
    shown = [
        f'<span><i style="background:{colours[name]}"></i>{safe(name)} <b>{number(total)}</b></span>'
        for name, total in totals[: len(PALETTE)]
    ]
    rest = totals[len(PALETTE) :]
    if rest:
        total = number(sum(count for _, count in rest))
        shown.append(f'<span><i style="background:{OTHER}"></i>{len(rest)} more <b>{total}</b></span>')
    if not totals:
        shown.append('<span class="idle">nothing was counted in this range</span>')
    share = percent(gap / expected) if expected else "0 %"
    marks = (
        '<span class="gap"><i class="sl-hatch"></i>not watched</span>'
        '<span><i class="sl-part"></i>partly watched</span><span><i class="sl-zero"></i>zero</span>'
        f'<span class="idle">{share} of all cameras\' time not watched</span>'
    )
    return f'<div class="sl-legend">{"".join(shown)}{marks}</div>'
