"""Events and tracks as rows to choose from, each with the clip that shows it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st
from sqlalchemy import Connection

from console import theme
from console.components.review_components import QueueRow, show_clip, thumbnail_of
from console.texts import PROGRAM, duration, happened, percent, safe
from console.viewer import Viewer
from sightline.access.rights import Right
from sightline.entities import Clip, EventKind, TrackPath, lasts
from sightline.store.read.kept_clips import event_key, read_clips_at
from sightline.store.tables import with_epochs

_DWELLS = {EventKind.LEAVE, EventKind.LOITER}


def clips_of(
    viewer: Viewer, connection: Connection, moments: Sequence[tuple[str, float]]
) -> list[Clip | None]:
    """For each moment of a camera, the clip that shows it."""
    if not viewer.may_some(Right.SEE_CLIPS):
        return [None] * len(moments)
    wanted = sorted({(source, time) for source, time in moments if source})
    clips = read_clips_at(connection, viewer.cameras, wanted)
    shows = {
        (source, time): clip
        for source, time in wanted
        for clip in clips
        if clip.source == source and clip.start_time <= time <= clip.end_time
    }
    return [shows.get(moment) for moment in moments]


def moment_of(row: Mapping[str, Any]) -> tuple[str, float]:
    """Camera and time of an event of the database."""
    return row["source"], row["event_time"].timestamp()


def title_of(row: Mapping[str, Any]) -> str:
    """What happened where."""
    what = happened(row["kind"], row["place"], row["item_class"], row["direction"])
    return f"{what} · {row['source'] or PROGRAM}"


def event_rows(
    viewer: Viewer, rows: Iterable[Mapping[str, Any]], clips: Sequence[Clip | None]
) -> list[QueueRow]:
    """Events as a list, by day."""
    shown = []
    for row, clip in zip(rows, clips, strict=True):
        time = row["event_time"].timestamp()
        notes = [viewer.clock(time, "%H:%M:%S"), _until(viewer, row), _value(row)]
        notes.append("not seen itself" if row["unseen"] else "")
        shown.append(_row(viewer, str(row["id"]), time, title_of(row), notes, clip))
    return shown


def track_rows(viewer: Viewer, paths: Iterable[TrackPath], clips: Sequence[Clip | None]) -> list[QueueRow]:
    """Tracks as a list, by camera's day."""
    shown = []
    for path, clip in zip(paths, clips, strict=True):
        notes = [viewer.clock(path.start_time, "%H:%M:%S"), duration(path.end_time - path.start_time)]
        notes += [", ".join(path.places), f"sure to {percent(path.score)}" if viewer.engineer else ""]
        title = f"{path.item_class[:1].upper()}{path.item_class[1:]} {path.track_id} · {path.source}"
        shown.append(_row(viewer, track_id_of(path), path.start_time, title, notes, clip))
    return shown


def _row(
    viewer: Viewer, row_id: str, time: float, title: str, notes: Iterable[str], clip: Clip | None
) -> QueueRow:
    return QueueRow(
        id=row_id,
        group=viewer.clock(time, "%A, %-d %B"),
        title=title,
        note=" · ".join(filter(None, notes)),
        state="",
        word="clip" if clip else "",
        thumb=thumbnail_of(clip),
        hint=theme.exactly(time, viewer),
    )


def track_id_of(path: TrackPath) -> str:
    """What tells a row of a track from all others."""
    return f"{path.source} {path.track_id} {path.start_time}"


def show_event(viewer: Viewer, row: Mapping[str, Any], clip: Clip | None, *, key: str) -> None:
    """One of them: what happened, its clip, and all that is known of it."""
    time = row["event_time"].timestamp()
    title, moment = title_of(row), viewer.clock(time, "%A, %-d %B, %H:%M:%S")
    st.html(
        f'<h2 class="sl-camera">{safe(title)}</h2>'
        f'<span class="idle" title="{theme.exactly(time, viewer)}">{moment}</span>'
    )
    if row["source"]:
        show_clip(clip, [event_key(with_epochs(row))], f"{title}, {moment}", key=key)
    st.html(theme.near_facts({name: text for name, text in facts_of(viewer, row).items() if text}))
    end_time = row["end_time"] and row["end_time"].timestamp()
    if link := viewer.recording.link(row["source"], time, end_time):
        st.link_button("Recording", link, icon=":material/play_circle:")


def facts_of(viewer: Viewer, row: Mapping[str, Any]) -> dict[str, str]:
    """What is known of an event, by what it is called; empty: nothing."""
    facts = {"Camera": row["source"] or PROGRAM, "Place": row["place"], "Class": row["item_class"]}
    facts |= {"Direction": row["direction"] or "", "Lasted": _until(viewer, row), "Measured": _value(row)}
    facts["UTC"] = f"{row['event_time']:%Y-%m-%d %H:%M:%S}"
    if row["unseen"]:
        facts["Passage"] = "not seen itself: the track began or ended there"
    if viewer.engineer:
        facts["Track"] = str(row["track_id"] or "")
        facts["Certain after"] = f"{(row['confirmed_time'] - row['event_time']).total_seconds():.1f} s"
    return facts


def show_track(viewer: Viewer, path: TrackPath, clip: Clip | None, *, key: str) -> None:
    """One of them."""
    title = f"{path.item_class} {path.track_id} · {path.source}"
    moment = viewer.clock(path.start_time, "%A, %-d %B, %H:%M:%S")
    st.html(
        f'<h2 class="sl-camera">{safe(title)}</h2>'
        f'<span class="idle" title="{theme.exactly(path.start_time, viewer)}">{moment}</span>'
    )
    show_clip(clip, [], f"{title}, {moment}", key=key)
    facts = {"In view for": duration(path.end_time - path.first_time), "Places": ", ".join(path.places)}
    facts["How sure it is one"] = percent(path.score)
    st.html(theme.near_facts({name: text for name, text in facts.items() if text}))


def _until(viewer: Viewer, row: Mapping[str, Any]) -> str:
    """When what lasts was over."""
    if not lasts(row["kind"], row["direction"]):
        return ""
    end: datetime | None = row["end_time"]
    return f"until {viewer.clock(end.timestamp())}" if end else "goes on"


def _value(row: Mapping[str, Any]) -> str:
    """What was measured."""
    value, kind = row["value"], row["kind"]
    if value is None:
        return ""
    if kind in _DWELLS:
        return f"there for {duration(value)}"
    return {EventKind.OCCUPANCY: f"{value:.0f} present", EventKind.CLOCK_STEP: f"{value:+.1f} s"}.get(
        kind, ""
    )
