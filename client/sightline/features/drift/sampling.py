"""Which frames are offered for the sample, and which of them stay: by kind, by light, by day, by a seed.

Nothing here is random: a hash of the seed, the camera and the place in the schedule decides, so the same
frames give the same sample.
"""

from __future__ import annotations

import hashlib
import math
from enum import StrEnum

import numpy as np

from sightline.entities import Detections

CROWD = 8  # boxes with at least the least score of a track


class FrameKind(StrEnum):
    """What a frame shows, as the detector sees it; where several fit, the first of these."""

    CROWDED = "crowded"
    WEAK = "weak"  # a box below the least score of a track: the detector was not sure
    PLAIN = "plain"
    NONE = "none"  # no boxes at all


def kind_of(detections: Detections, min_score: float) -> FrameKind:
    """The kind of a frame."""
    seen = int(np.count_nonzero(detections.scores >= min_score))
    if seen >= CROWD:
        return FrameKind.CROWDED
    if seen < len(detections):
        return FrameKind.WEAK
    return FrameKind.PLAIN if seen else FrameKind.NONE


class Schedule:
    """In every stretch of ``every_s``, from a moment in it that the seed chooses, each kind is due once."""

    def __init__(self, source: str, every_s: float, seed: int) -> None:
        self._source = source
        self._every_s = every_s
        self._seed = seed
        self._stretch = -1
        self._from = math.inf
        self._offered: set[FrameKind] = set()

    def is_due(self, time: float) -> bool:
        """Whether a frame of this capture time may be wanted: cheap, asked for every frame."""
        stretch = int(time // self._every_s)
        if stretch > self._stretch:
            share = number_of(self._seed, self._source, stretch) / 2**64
            self._stretch, self._from = stretch, (stretch + 0.8 * share) * self._every_s
            self._offered.clear()
        return time >= self._from and len(self._offered) < len(FrameKind)

    def take(self, kind: FrameKind) -> bool:
        """Whether this kind has not been offered yet in this stretch; it has been, from now on."""
        if kind in self._offered:
            return False
        self._offered.add(kind)
        return True


def place_in_reservoir(seed: int, stratum: str, offered: int, size: int) -> int | None:
    """Where the ``offered``-th frame (1, 2, …) of a stratum goes in a reservoir of ``size``; None: nowhere.

    Reservoir sampling: in the end every offered frame has had the same chance to stay.
    """
    if offered <= size:
        return offered - 1
    place = number_of(seed, stratum, offered) % offered
    return place if place < size else None


def number_of(*parts: object) -> int:
    """A number of 64 bits that is the same for the same parts."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
