"""Whether a picture is frozen: the same again and again, or less lively than a sensor's noise lets it be."""

from collections import deque
from typing import NamedTuple

import numpy as np

from sightline.features.view.grey_look import Look, cell_means, halved

KEYS = 2  # pictures coded anew that are the same all the same: it is not only that nothing is sent
STILL_S = 600.0  # without any
STILL_ROWS = 1 / 8  # of the picture, at its upper and lower edge, where a clock may go on in a frozen one
PLAIN = 3.0  # contrast of a picture that shows nothing, which always stands still
#: A frozen picture that is coded anew changes by what the coder leaves out: by less than so many shares of
#: what the noise changes otherwise, in the mean and in any look; and nowhere by as much as what moves.
CALM, CALM_LOOK, CALM_CELL = 0.45, 0.75, 1.5
LIVELY = 0.25  # levels; a camera whose pictures change by less has no noise that could be missed


class _Change(NamedTuple):
    time: float
    keys_seen: int
    typical: float  # levels by which the median cell has changed
    most: float  # and the one that has changed most


class Stillness:
    """Compares each look with the one before."""

    def __init__(self) -> None:
        self._same: tuple[float, int] | None = None  # since when it is the same, and key frames by then
        self._changes: deque[_Change] = deque()
        self._keys = 0

    @property
    def change(self) -> float | None:
        """By how many levels the newest look differs from the one before; None: not known."""
        return self._changes[-1].typical if self._changes else None

    def frozen_since(
        self, before: Look | None, look: Look, keys_seen: int, usual: float | None, hold_s: float
    ) -> float | None:
        """The capture time since when the picture is frozen; None: it is not, or not for ``hold_s`` yet.

        Args:
            before: the look before; None: what was before is too long ago.
            look: the newest.
            keys_seen: key frames of the stream until then.
            usual: :attr:`change` as it usually is; None: that is not known.
            hold_s: seconds.
        """
        keys_before, self._keys = self._keys, keys_seen
        if before is None or before.fine.shape != look.fine.shape or look.contrast < PLAIN:
            self._same = None
            self._changes.clear()
            return None
        margin = round(len(look.fine) * STILL_ROWS) // 2 * 2
        first, second = (one.fine[margin:-margin].astype(np.float32) for one in (before, look))
        cells = cell_means(halved(np.abs(second - first)))
        self._changes.append(_Change(look.time, keys_before, float(np.median(cells)), float(cells.max())))
        while self._changes[0].time <= look.time - hold_s:
            self._changes.popleft()
        if cells.any():
            self._same = None
        elif self._same is None:
            self._same = before.time, keys_before
        if self._same is not None:
            since, keys = self._same
            lasted_s = look.time - since
            if lasted_s >= STILL_S or (lasted_s >= hold_s and keys_seen - keys >= KEYS):
                return since
        return self._calm_since(keys_seen, usual, hold_s) if usual is not None and usual >= LIVELY else None

    def _calm_since(self, keys_seen: int, usual: float, hold_s: float) -> float | None:
        first, newest = self._changes[0], self._changes[-1]
        step_s = (newest.time - first.time) / max(len(self._changes) - 1, 1)
        is_whole = newest.time - first.time + step_s >= hold_s - step_s / 2
        is_calm = (
            float(np.mean([change.typical for change in self._changes])) < CALM * usual
            and max(change.typical for change in self._changes) < CALM_LOOK * usual
            and max(change.most for change in self._changes) < CALM_CELL * usual
        )
        is_coded = keys_seen - first.keys_seen >= KEYS
        return first.time - step_s if is_whole and is_calm and is_coded else None
