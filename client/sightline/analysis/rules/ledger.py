"""From passages to events: what is certain of whom, and what waits until a track is confirmed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.classes import ClassTable
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.rules.book import F64, Book, Index, Mask
from sightline.analysis.rules.crowds import Crowds
from sightline.analysis.rules.states import Held
from sightline.config.zones import Line, Zone
from sightline.entities import Event, EventKind, Tracks

CLEAR = 0.15  # box sizes from the line: the passage is certain
SETTLE_S = 1.0  # with a little distance for so long, the passage is certain too
MAX_HELD = 32  # events kept for a track that is not confirmed
_EPSILON_S = 1e-3


class Ledger:
    """Makes the events of one camera's lines and zones. Belongs to one thread.

    Attributes:
        now: capture time of the frame at hand.
        book: what is known of the tracks; columns are lines, then zones.
        held: events of tracks that are not confirmed, by track id, each with its column.
    """

    def __init__(self, options: AnalysisOptions, classes: ClassTable, crowds: Crowds) -> None:
        lines, zones = options.lines, options.zones
        self.now = 0.0
        self.book = Book.blank(0, len(lines) + len(zones))
        self.held: Held = {}
        self._source = options.camera
        self._names = [*lines, *zones]
        self._first_zone = len(lines)
        places: list[Line | Zone] = [*lines.values(), *zones.values()]
        self._classes = classes
        self._wanted = [options.classes if place.classes is None else place.classes for place in places]
        self._loiter_s = np.array([getattr(place, "loiter_s", None) or math.inf for place in places])
        self._loiters = bool(np.isfinite(self._loiter_s).any())
        self._crowds = crowds
        self._made: list[Event] = []
        self._allowed_for: tuple[str, ...] | None = None  # the names that the table below is of
        self._allowed_by_class = np.zeros((0, 0), bool)

    def hand_out(self) -> list[Event]:
        """The events made since the last call."""
        made, self._made = self._made, []
        return made

    # -- one frame -------------------------------------------------------------------------------

    def note(self, rows: Index, tracks: Tracks) -> None:
        """Take over classes and confirmations; what was held for tracks now confirmed is let go."""
        book, some = self.book, self.book.select(rows)
        book.class_ids[some] = tracks.class_ids
        fresh = tracks.confirmed & ~book.confirmed[some]
        book.confirmed[some] |= tracks.confirmed
        for row in rows[fresh].tolist():
            self._let_go(row)

    def _let_go(self, row: int) -> None:
        book, allowed = self.book, self._allowed(np.array([row]))[0]
        item_class = self._classes.name(int(book.class_ids[row]))
        for place, event in self.held.pop(int(book.ids[row]), ()):
            if allowed[place]:
                self._made.append(replace(event, item_class=item_class, confirmed_time=self.now))
        # A visit of a class that does not count here waits: the vote may change while it lasts.
        waits = book.inside[row] & ~allowed
        book.pending[row, waits] += 1
        book.pending_times[row, waits] = book.entered[row, waits]
        book.inside[row, waits] = False

    def settle_all(self, rows: Index, far: F64) -> None:
        """Make events of the passages that are certain; ``far`` [N, P] is how far ``rows`` are, in boxes."""
        book = self.book
        pending = book.pending[book.select(rows)]
        if not pending.any():
            return
        steady = self.now - book.steady[rows] >= SETTLE_S - _EPSILON_S
        certain = (pending != 0) & ((far >= CLEAR) | steady) & self._may_settle(rows)
        for item, place in zip(*(found.tolist() for found in np.nonzero(certain)), strict=True):
            self._settle(int(rows[item]), place)

    def loiter(self, rows: Index) -> None:
        """Make events of visits that have become long enough, while they last."""
        if not self._loiters:
            return
        book, some = self.book, self.book.select(rows)
        lasts = book.inside[some] & ~book.loitered[some]
        if not lasts.any():
            return
        due = lasts & (book.pending[some] == 0) & book.confirmed[some][:, None]
        due &= self.now - book.entered[some] >= self._loiter_s - _EPSILON_S
        for item, place in zip(*(found.tolist() for found in np.nonzero(due)), strict=True):
            row = int(rows[item])
            book.pending_xy[row, place], book.unseen[row, place] = book.xy[row], False
            self._make_loiter(row, place)

    def present(self) -> NDArray[np.int64]:
        """How many confirmed tracks are in each zone."""
        book = self.book
        there = (book.inside & book.confirmed[:, None]).sum(axis=0)
        zones: NDArray[np.int64] = there[self._first_zone :]
        return zones

    # -- ends ------------------------------------------------------------------------------------

    def end(self, over: Mask) -> None:
        """End the tracks that ``over`` [N] marks."""
        book = self.book
        busy = over & (book.inside | (book.pending != 0)).any(axis=1)
        for row in np.flatnonzero(busy).tolist():
            self._finish(row)
        for track_id in book.ids[over].tolist():
            self.held.pop(track_id, None)
        self.book = book.take(~over)

    def end_visits(self) -> None:
        """Everybody leaves where they were seen last; the tracks stay known."""
        book = self.book
        for row in np.flatnonzero((book.inside | (book.pending != 0)).any(axis=1)).tolist():
            self._finish(row)

    def _finish(self, row: int) -> None:
        """Settle what a track had pending at its last sighting, and end its visits there."""
        book = self.book
        apart = np.isfinite(book.steady[row])
        certain = (book.pending[row] != 0) & apart & self._may_settle(np.array([row]))[0]
        for place in np.flatnonzero(certain).tolist():
            self._settle(row, place)
        book.pending[row] = 0
        for place in np.flatnonzero(book.inside[row]).tolist():
            book.pending_xy[row, place], book.unseen[row, place] = book.xy[row], True
            self._leave(row, place, float(book.times[row]))

    # -- events ----------------------------------------------------------------------------------

    def _may_settle(self, rows: Index) -> Mask:
        """Bool [N, P]: the class counts there; or it is not confirmed yet, or leaves where it had entered."""
        book = self.book
        free: Mask = self._allowed(rows) | ~book.confirmed[rows, None] | book.inside[rows]
        return free

    def _settle(self, row: int, place: int) -> None:
        book = self.book
        way, book.pending[row, place] = int(book.pending[row, place]), 0
        time = float(book.pending_times[row, place])
        if place < self._first_zone:
            self._make(row, place, EventKind.CROSSING, time, direction="forward" if way > 0 else "backward")
        elif way > 0:
            book.inside[row, place], book.loitered[row, place] = True, False
            book.entered[row, place] = time
            self._make(row, place, EventKind.ENTER, time)
        else:
            self._leave(row, place, time)

    def _leave(self, row: int, place: int, time: float) -> None:
        """End a visit; who stayed long enough, seen by no frame, has loitered as well."""
        book = self.book
        entered = float(book.entered[row, place])
        if time - entered >= self._loiter_s[place] and not book.loitered[row, place]:
            self._make_loiter(row, place)
        book.inside[row, place] = False
        self._make(row, place, EventKind.LEAVE, time, value=max(0.0, time - entered))

    def _make_loiter(self, row: int, place: int) -> None:
        book, loiter_s = self.book, float(self._loiter_s[place])
        book.loitered[row, place] = True
        self._make(row, place, EventKind.LOITER, float(book.entered[row, place]) + loiter_s, value=loiter_s)

    def _make(
        self,
        row: int,
        place: int,
        kind: EventKind,
        time: float,
        *,
        direction: str | None = None,
        value: float | None = None,
    ) -> None:
        book, track_id = self.book, int(self.book.ids[row])
        x, y = book.pending_xy[row, place].tolist()
        event = Event(
            source=self._source,
            kind=kind,
            place=self._names[place],
            track_id=track_id,
            item_class=self._classes.name(int(book.class_ids[row])),
            event_time=time,
            confirmed_time=self.now,
            direction=direction,
            value=value,
            x=x,
            y=y,
            unseen=bool(book.unseen[row, place]),
            first_time=float(book.first_times[row]),
            ordinal=int(book.ordinals[row, place]),
        )
        book.ordinals[row, place] += 1
        if place >= self._first_zone:
            self._crowds.changed(event.place, time)
        if book.confirmed[row]:
            self._made.append(event)
            return
        held = self.held.setdefault(track_id, [])
        if len(held) < MAX_HELD:
            held.append((place, event))

    def _allowed(self, rows: Index) -> Mask:
        """Bool [N, P]: the track's class makes events at the place."""
        names = self._classes.names
        if names is not self._allowed_for:
            allowed = [[wanted is None or name in wanted for wanted in self._wanted] for name in names]
            allowed.append([wanted is None for wanted in self._wanted])  # an id without a name
            self._allowed_by_class = np.array(allowed, bool).reshape(len(allowed), len(self._wanted))
            self._allowed_for = names
        class_ids, unknown = self.book.class_ids[rows], len(names)
        named = (class_ids >= 0) & (class_ids < unknown)
        table: Mask = self._allowed_by_class[np.where(named, class_ids, unknown)]
        return table
