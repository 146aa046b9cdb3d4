"""Which intervals of a camera's time are mirrored: whole ones, since a tracker needs frame after frame."""

from __future__ import annotations

import zlib

import numpy as np

BLOCK = 100  # intervals; of each block a fixed number is chosen, so the budget holds in every block


class EpisodeSampler:
    """Cuts UTC into intervals of ``episode_s`` and chooses ``share`` of them, at random but always the same.

    Every process that has the same seed chooses the same ones for a camera, so nothing has to be remembered.
    """

    def __init__(self, camera: str, *, share: float, episode_s: float, seed: int = 0) -> None:
        """Prepare.

        Args:
            camera: its name; other cameras are mirrored at other times.
            share: 0..1 of the intervals, in steps of 1/:data:`BLOCK`.
            episode_s: length of an interval.
            seed: another seed chooses others.
        """
        self._key = (seed, zlib.crc32(camera.encode()))
        self._chosen_each = round(share * BLOCK)
        self._episode_s = episode_s
        self._block: tuple[int, frozenset[int]] = (-1, frozenset())

    def interval_no(self, capture_time: float) -> int | None:
        """The number of the interval that a moment (epoch seconds) lies in; None when it is not chosen."""
        number = int(capture_time // self._episode_s)
        block, place = divmod(number, BLOCK)
        if self._block[0] != block:
            order = np.random.default_rng([*self._key, block]).permutation(BLOCK)
            self._block = (block, frozenset(order[: self._chosen_each].tolist()))
        return number if place in self._block[1] else None
