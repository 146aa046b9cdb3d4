"""Rules: tracks in, events out. A pure function of tracks in time; ``docs/rules.md`` has its meaning.

An object meets a place with its anchor, the bottom centre of its box. A passage is first *pending*: it
becomes an event when the anchor is clearly away from the line (or the zone's edge), or has kept a little
distance for a second. A passage back takes a pending one away, so an anchor that trembles on a line makes no
event, while its time stays that of the passage itself, interpolated between two frames. All distances
are in units of the object's own box, all times in seconds, so the frame rate does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import Observation, Observer
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.rules.book import F64, Index, begin
from sightline.analysis.rules.crowds import Crowds
from sightline.analysis.rules.ledger import Ledger
from sightline.analysis.rules.shapes import Shapes
from sightline.analysis.rules.states import read_state, write_state
from sightline.entities import Event, Tracks

NEAR = 0.05  # box sizes from the line; nearer than this may be a trembling anchor
LOST_SLACK_S = 0.5  # the tracker ends its tracks first: who comes back goes on with the same visit
UNSEEN_S = 1.0  # a passage between sightings further apart was not seen
SILENT_SLACK_S = 20.0  # the wall clock waits so much longer than max_gap_s: frames may only be late
EDGE = 1e-3  # anchors are kept so far inside the picture: zones drawn to its edge contain it
_NO_SIZE = 1e-3


class Rules(Observer):
    """The lines and zones of one camera. Belongs to one thread."""

    name = "rules"

    def __init__(
        self, options: AnalysisOptions, classes: ClassTable, *, state: Mapping[str, Any] | None = None
    ) -> None:
        """Begin, or go on from a :meth:`snapshot`.

        Args:
            options: lines, zones, and when a track ends.
            classes: what the class ids of the tracks mean; new names may be added to it.
            state: where to go on; a place that has changed since then begins anew.

        Raises:
            ValueError: ``state`` is not a snapshot that this version understands.
        """
        self._options = options
        self._classes = classes
        self._places = len(options.lines) + len(options.zones)
        self._first_zone = len(options.lines)
        self._shapes = Shapes(list(options.lines.values()), list(options.zones.values()))
        self._points = {f"line:{name}": line.points for name, line in options.lines.items()}
        self._points |= {f"zone:{name}": zone.points for name, zone in options.zones.items()}
        self._watched_s = 0.0  # at the newest frame
        self._crowds = Crowds(options.camera, options.zones)
        self._ledger = Ledger(options, classes, self._crowds)
        self._silent_since: float | None = None  # on the wall clock
        if state is not None:
            self._restore(state)

    def observe(self, seen: Observation) -> list[Event]:
        """Take in one frame, also when it shows no track.

        Returns:
            The events that have become certain, in no order of time.
        """
        tracks, moment = seen.tracks, seen.moment
        capture_time, self._watched_s = moment.capture_time, moment.watched_s
        ledger = self._ledger
        ledger.now = capture_time
        if not self._places:
            return []
        if moment.blind:
            ledger.end(np.ones(len(ledger.book), bool))
        if len(tracks):
            anchors, sizes = _anchors(tracks)
            rows = self._rows_of(tracks, anchors)
            far = self._move(rows, anchors, sizes)
            ledger.note(rows, tracks)
            ledger.settle_all(rows, far)
            ledger.loiter(rows)
        if len(ledger.book) > len(tracks):
            unseen_s = self._watched_s - ledger.book.seen_s
            over = unseen_s > self._options.tracker.max_lost_s + LOST_SLACK_S
            if over.any():
                ledger.end(over)
        crowds = self._crowds.observe(ledger.present(), capture_time)
        return ledger.hand_out() + crowds

    def end(self, time: float) -> list[Event]:
        """End every track: the stream has ended, or its picture is another one now.

        Args:
            time: capture time, epoch seconds.
        """
        self._ledger.now = time
        self._ledger.end(np.ones(len(self._ledger.book), bool))
        return self._ledger.hand_out()

    def tick(self, now: float, silent: bool) -> list[Event]:
        """Visits end when nobody looks any more.

        After ``max_gap_s`` + :data:`SILENT_SLACK_S` without a frame every open visit ends at its last
        sighting; anyone still there when frames resume starts a new one.
        """
        if not silent or self._silent_since is None or now < self._silent_since:
            self._silent_since = now
        if now - self._silent_since <= self._options.max_gap_s + SILENT_SLACK_S:
            return []
        self._ledger.end_visits()
        return self._ledger.hand_out()

    def snapshot(self) -> dict[str, Any]:
        """JSON-able state for a successor; take it with the events handed out and commit both together."""
        ledger = self._ledger
        ages = ledger.now, self._watched_s
        return write_state(ledger.book, ages, ledger.held, self._points, self._crowds.snapshot())

    def _restore(self, state: Mapping[str, Any]) -> None:
        ledger = self._ledger
        ledger.book, ledger.now, ledger.held, crowds = read_state(state, self._points)
        self._crowds.restore(crowds)
        if len(ledger.book) and self._places:
            ledger.book.ready |= self._shapes.distances(ledger.book.xy, ledger.book.sizes) >= NEAR

    # -- one frame -------------------------------------------------------------------------------

    def _rows_of(self, tracks: Tracks, anchors: F64) -> Index:
        """The tracks' rows in the book; new ones are added."""
        ledger = self._ledger
        rows, known = ledger.book.rows_of(tracks.ids)
        if known.all():
            return rows
        ledger.book = ledger.book.joined(begin(tracks, ~known, anchors, self._places))
        return ledger.book.rows_of(tracks.ids)[0]

    def _move(self, rows: Index, anchors: F64, sizes: F64) -> F64:
        """Find passages since the sightings before; how far everybody is now from each place, [N, P]."""
        book, shapes, zone, now = self._ledger.book, self._shapes, self._first_zone, self._ledger.now
        some = book.select(rows)
        ways, shares, here = shapes.passages(book.xy[some], anchors)
        ready = book.ready[some]
        ways[:, :zone] *= ready[:, :zone]
        ways[:, zone:] = here.astype(np.int8) - book.inside[some][:, zone:] - book.pending[some][:, zone:]
        for item, place in zip(*(found.tolist() for found in np.nonzero(ways)), strict=True):
            row, way, share = int(rows[item]), int(ways[item, place]), float(shares[item, place])
            self._pass(row, place, way, share, anchors[item])
        far = shapes.distances(anchors, sizes)
        away = far >= NEAR
        steady = np.where(ways != 0, now, np.minimum(book.steady[some], now))
        book.steady[some] = np.where(away, steady, np.inf)
        book.ready[some] = ready | away
        book.xy[some], book.sizes[some], book.times[some] = anchors, sizes, now
        book.seen_s[some] = self._watched_s
        return far

    def _pass(self, row: int, place: int, way: int, share: float, anchor: F64) -> None:
        """A passage at ``share`` of the way to ``anchor``; below 0: it was not seen, somebody is there."""
        book, now = self._ledger.book, self._ledger.now
        before = float(book.times[row])
        book.pending[row, place] = max(-1, min(1, int(book.pending[row, place]) + way))
        book.unseen[row, place] = share < 0 or now - before > UNSEEN_S
        if share < 0:
            share = 0.0 if np.isneginf(book.seen_s[row]) else 1.0
        book.pending_times[row, place] = before + (now - before) * share
        book.pending_xy[row, place] = book.xy[row] + (anchor - book.xy[row]) * share


def _anchors(tracks: Tracks) -> tuple[F64, F64]:
    """Where objects stand, [N, 2], and the width and height of their boxes."""
    xyxy = tracks.xyxy.astype(np.float64)
    anchors = xyxy[:, 2:].copy()
    anchors[:, 0] = (xyxy[:, 0] + xyxy[:, 2]) / 2
    anchors = np.minimum(np.maximum(anchors, EDGE), 1 - EDGE)
    return anchors, np.maximum(xyxy[:, 2:] - xyxy[:, :2], _NO_SIZE)
