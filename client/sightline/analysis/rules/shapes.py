"""The geometry of all lines and zones of a camera, for all tracks at once.

N tracks, P places (lines first, then zones), S straight pieces of them all. Points are float64 [N, 2], shares
of the picture, x to the right and y down.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.config.zones import Line, Zone

F64 = NDArray[np.float64]
TOLERANCE = 1e-9  # a path through a corner meets at least one of its two pieces


class Shapes:
    """Lines and zones as arrays of their pieces. Immutable."""

    def __init__(self, places: Sequence[Line | Zone], lines: int) -> None:
        """Of the ``places``, so many ``lines`` come first."""
        pieces: list[tuple[float, float, float, float]] = []
        starts: list[int] = []
        for place in places:
            starts.append(len(pieces))
            ends = place.points[1:] + (place.points[:1] if isinstance(place, Zone) else ())
            pieces += [(*a, *b) for a, b in zip(place.points, ends, strict=False)]
        table = np.array(pieces, np.float64).reshape(-1, 4).T.copy()
        self.lines = lines  # columns below are lines, the others zones
        self.count = len(starts)
        self._starts = np.array(starts, np.intp)
        # [2, 1, S]: where each piece begins, and the way to its end.
        self._from, self._way = table[:2, None], (table[2:] - table[:2])[:, None]
        self._square = self._way[0, 0] ** 2 + self._way[1, 0] ** 2
        self._y, self._end_y = table[1], table[3]
        self._downward = self._way[1, 0] > 0

    def crossings(self, p: F64, q: F64) -> tuple[NDArray[np.int8], F64, NDArray[np.bool_]]:
        """Which places the ways from ``p`` to ``q`` cross, and which zones they end in.

        Returns:
            int8 [N, P]: 1 for a line crossed from its right to its left, -1 the other way, 0 for not crossed
            or crossed back again; for zones meaningless. float64 [N, P]: the fraction of the way (0..1) up to
            the last crossing of the place; -1 where there is none. bool [N, zones]: ``q`` lies in it.
        """
        # Signed areas [2N, S]: positive to the left of the piece, as a viewer of the picture sees it.
        sides, y = _contiguous(np.concatenate([p, q])) - self._from
        dx, dy = self._way
        sides *= dy
        y *= dx
        sides -= y
        before, after = sides[: len(p)], sides[len(p) :]
        left = after >= 0
        changed = (before >= 0) != left
        inside = np.zeros((len(q), 0), bool)
        if self.lines < self.count:  # in a zone: an odd number of its edges to the right
            y, first = q[:, 1:], int(self._starts[self.lines])
            edges = (self._y[first:] > y) != (self._end_y[first:] > y)
            edges &= left[:, first:] != self._downward[first:]
            inside = np.logical_xor.reduceat(edges, self._starts[self.lines :] - first, axis=1)
        if not changed.any():
            none = np.zeros((len(p), self.count))
            return none.astype(np.int8), none - 1, inside
        fraction = before / np.where(changed, before - after, 1.0)
        x = p[:, :1] + (q[:, :1] - p[:, :1]) * fraction - self._from[0]
        y = p[:, 1:] + (q[:, 1:] - p[:, 1:]) * fraction - self._from[1]
        along = (x * dx + y * dy) / self._square
        met = changed & (along >= -TOLERANCE) & (along <= 1 + TOLERANCE)
        directions = np.add.reduceat(np.where(met, np.where(left, 1, -1), 0), self._starts, axis=1)
        fractions = np.maximum.reduceat(np.where(met, fraction, -1.0), self._starts, axis=1)
        return np.minimum(np.maximum(directions, -1), 1).astype(np.int8), fractions, inside

    def distances(self, points: F64, sizes: F64) -> F64:
        """How far points are from each line, or from the edge of each zone: float64 [N, P].

        Args:
            points: where.
            sizes: float64 [N, 2], width and height of each track's box, the units of x and y.
        """
        scale = _contiguous(1 / sizes)
        way, away = self._way * scale, _contiguous(points) - self._from
        away *= scale
        along, y = away * way
        along += y
        square, y = way * way
        square += y
        along /= square
        np.maximum(along, 0, out=along)
        np.minimum(along, 1, out=along)
        way *= along
        away -= way
        away *= away
        nearest: F64 = np.sqrt(np.minimum.reduceat(away[0] + away[1], self._starts, axis=1))
        return nearest


def _contiguous(points: F64) -> F64:
    """Points [N, 2] as [2, N, 1], laid out so that NumPy's innermost loops run over pieces."""
    return np.ascontiguousarray(points.T)[:, :, None]
