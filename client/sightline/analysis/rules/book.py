"""What the rules know of each track at each place, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.entities import Tracks

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]


@dataclass(slots=True)
class Book:
    """N tracks by ascending id, and P places (lines first, then zones)."""

    ids: NDArray[np.int64]
    first_times: F64  # capture time of the first box
    times: F64  # capture time of the latest box
    seen_s: F64  # watched clock at the latest box; -inf: this frame is the first
    xy: F64  # [N, 2] the anchor in the latest box
    sizes: F64  # [N, 2] width and height of the latest box
    class_ids: NDArray[np.int32]
    confirmed: Mask
    inside: Mask  # [N, P] of zones: settled in it
    pending: NDArray[np.int8]  # [N, P] passed but not settled: 1 to the left or into it, -1 the other way
    pending_times: F64  # [N, P] when it passed
    pending_xy: F64  # [N, P, 2] where
    unseen: Mask  # [N, P] it passed out of sight
    ready: Mask  # [N, P] of lines: has been beside it, so a passage means something
    steady: F64  # [N, P] capture time since when it has not been near it; inf: it is near
    entered: F64  # [N, P] when its visit began
    loitered: Mask  # [N, P] its visit has made a loiter event
    ordinals: NDArray[np.int32]  # [N, P] events made so far

    @staticmethod
    def blank(count: int, places: int) -> Book:
        """``count`` tracks of which nothing is known."""
        two = (count, places)
        return Book(
            ids=np.zeros(count, np.int64),
            first_times=np.zeros(count),
            times=np.zeros(count),
            seen_s=np.zeros(count),
            xy=np.zeros((count, 2)),
            sizes=np.ones((count, 2)),
            class_ids=np.zeros(count, np.int32),
            confirmed=np.zeros(count, bool),
            inside=np.zeros(two, bool),
            pending=np.zeros(two, np.int8),
            pending_times=np.zeros(two),
            pending_xy=np.zeros((*two, 2)),
            unseen=np.zeros(two, bool),
            ready=np.zeros(two, bool),
            steady=np.full(two, np.inf),
            entered=np.zeros(two),
            loitered=np.zeros(two, bool),
            ordinals=np.zeros(two, np.int32),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: Mask | Index) -> Book:
        """The tracks that ``which`` selects, in that order."""
        return Book(*(getattr(self, name)[which] for name in self.__slots__))

    def joined(self, other: Book) -> Book:
        """These tracks and those, by ascending id."""
        both = Book(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in self.__slots__))
        in_order = len(self) == 0 or len(other) == 0 or self.ids[-1] < other.ids[0]
        return both if in_order else both.take(np.argsort(both.ids, kind="stable"))

    def select(self, rows: Index) -> Index | slice:
        """``rows``, or all rows as a slice when that is the same: no copies are made then."""
        return slice(None) if len(rows) == len(self) and bool((rows[1:] > rows[:-1]).all()) else rows

    def rows_of(self, ids: NDArray[np.int64]) -> tuple[Index, Mask]:
        """The rows of ``ids``, and which of them there are."""
        if not len(self):
            return np.zeros(len(ids), np.intp), np.zeros(len(ids), bool)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self) - 1)
        return rows, self.ids[rows] == ids


def begin(tracks: Tracks, which: Mask, anchors: F64, places: int) -> Book:
    """Tracks of which this is the first frame, where ``anchors`` [N, 2] says."""
    book = Book.blank(int(which.sum()), places)
    book.ids = tracks.ids[which]
    book.first_times = tracks.first_times[which].astype(np.float64)
    book.times = book.first_times.copy()
    book.seen_s[:] = -np.inf
    book.xy = anchors[which]
    order = np.argsort(book.ids, kind="stable")
    return book.take(order)
