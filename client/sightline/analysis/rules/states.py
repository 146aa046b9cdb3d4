"""The rules' state as JSON: what a successor needs to neither lose nor double an event."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sightline.analysis.rules.book import Book
from sightline.config.zones import Point
from sightline.entities import Event, EventKind

VERSION = 1
Held = dict[int, list[tuple[int, Event]]]
Points = Mapping[str, Sequence[Point]]


def write_state(
    book: Book, now: tuple[float, float], held: Held, points: Points, crowds: Mapping[str, Any]
) -> dict[str, Any]:
    """JSON-able. Of a track's places only those that it has had to do with.

    Args:
        book: the tracks.
        now: capture time and watched time of the newest frame.
        held: events of tracks that are not confirmed.
        points: of the places, by key.
        crowds: the zones' occupancy.
    """
    keys = list(points)
    capture_time, watched_s = now
    return {
        "version": VERSION,
        "time": capture_time,
        "places": {key: [list(point) for point in found] for key, found in points.items()},
        "tracks": [_track(book, row, watched_s, keys) for row in range(len(book))],
        "held": {
            str(track_id): [[keys[place], asdict(event)] for place, event in events]
            for track_id, events in held.items()
        },
        "crowds": dict(crowds),
    }


def read_state(state: Mapping[str, Any], points: Points) -> tuple[Book, float, Held, Mapping[str, Any]]:
    """What :func:`write_state` wrote, for the places of today: those that differ begin anew.

    Of a place that was moved the number of each track's events stays: no two may have the same name.

    Raises:
        ValueError: it is not such a state.
    """
    if state.get("version") != VERSION:
        raise ValueError(f"a state of rules of version {VERSION} is needed, found {state.get('version')!r}")
    try:
        time = float(state["time"] or 0.0)
        columns = {
            key: column
            for column, (key, found) in enumerate(points.items())
            if state["places"].get(key) == [list(point) for point in found]
        }
        book = _book(state["tracks"], columns, list(points))
        held = {
            int(track_id): [
                (columns[key], Event(**{**event, "kind": EventKind(event["kind"])}))
                for key, event in events
                if key in columns
            ]
            for track_id, events in state["held"].items()
        }
        return book, time, held, _crowds_of(state["crowds"], columns)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a state of rules: {error!r}") from error


def _crowds_of(crowds: Mapping[str, Any], columns: Mapping[str, int]) -> dict[str, Any]:
    return {name: saved for name, saved in crowds.items() if f"zone:{name}" in columns}


def _track(book: Book, row: int, watched_s: float, keys: Sequence[str]) -> dict[str, Any]:
    known = book.inside[row] | (book.pending[row] != 0) | (book.ordinals[row] > 0)
    known |= book.ready[row] & ~np.isfinite(book.steady[row])
    return {
        "id": int(book.ids[row]),
        "first_time": float(book.first_times[row]),
        "time": float(book.times[row]),
        "unseen_s": round(float(watched_s - book.seen_s[row]), 4),
        "xy": book.xy[row].tolist(),  # not rounded: it must stay on its side of every edge
        "size": [round(value, 6) for value in book.sizes[row].tolist()],
        "class_id": int(book.class_ids[row]),
        "confirmed": bool(book.confirmed[row]),
        "places": {keys[place]: _pair(book, row, place) for place in np.flatnonzero(known).tolist()},
    }


def _pair(book: Book, row: int, place: int) -> dict[str, Any]:
    """A track at a place; what is as at the beginning is left out."""
    pair: dict[str, Any] = {"events": int(book.ordinals[row, place])}
    if book.ready[row, place]:
        pair["ready"] = True
    if book.inside[row, place]:
        pair["entered"] = float(book.entered[row, place])
        pair["loitered"] = bool(book.loitered[row, place])
    if book.pending[row, place]:
        steady = float(book.steady[row, place])
        pair["pending"] = [
            int(book.pending[row, place]),
            float(book.pending_times[row, place]),
            [round(value, 6) for value in book.pending_xy[row, place].tolist()],
            bool(book.unseen[row, place]),
            steady if math.isfinite(steady) else None,
        ]
    return pair


def _book(tracks: Sequence[Mapping[str, Any]], columns: Mapping[str, int], keys: Sequence[str]) -> Book:
    book = Book.blank(len(tracks), len(keys))
    for row, track in enumerate(tracks):
        book.ids[row], book.class_ids[row] = track["id"], track["class_id"]
        book.first_times[row], book.times[row] = track["first_time"], track["time"]
        book.seen_s[row], book.confirmed[row] = -track["unseen_s"], track["confirmed"]
        book.xy[row], book.sizes[row] = track["xy"], track["size"]
        for key, pair in track["places"].items():
            if key in columns:
                _put(book, row, columns[key], pair)
            elif key in keys:
                book.ordinals[row, keys.index(key)] = pair["events"]
    return book


def _put(book: Book, row: int, place: int, pair: Mapping[str, Any]) -> None:
    at = row, place
    book.ordinals[at], book.ready[at] = pair["events"], pair.get("ready", False)
    if "entered" in pair:
        book.inside[at], book.entered[at], book.loitered[at] = True, pair["entered"], pair["loitered"]
    if "pending" in pair:
        way, book.pending_times[at], book.pending_xy[at], book.unseen[at], steady = pair["pending"]
        book.pending[at] = way
        book.steady[at] = math.inf if steady is None else steady
