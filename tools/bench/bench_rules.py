"""What rules cost a frame: invented walks past lines and zones, through :class:`Rules`.

Time is that of the thread, so a busy machine matters less; caches are shared all the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

import numpy as np

from sightline.analysis.chain import frame_at
from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import Observation
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.rules import Rules
from sightline.analysis.timebase import Timebase
from sightline.config.zones import Line, Zone
from sightline.entities import Detections, Tracks

WIDTH, HEIGHT = 0.04, 0.12
FPS = 10
BEGIN = 1.7e9
CLASSES = ClassTable([(0, "person")])


def make_rules(places: int) -> Rules:
    """So many lines and as many zones of five corners."""
    lines = {
        f"l{i}": Line(points=((0.1, 0.8 * i / places + 0.1), (0.9, 0.8 * i / places + 0.15)))
        for i in range(places)
    }
    corners = ((0.05, 0.1), (0.3, 0.1), (0.35, 0.5), (0.2, 0.9), (0.05, 0.5))
    zones = {
        f"z{i}": Zone(
            points=tuple((x + 0.6 * i / places, y) for x, y in corners), loiter_s=3.0, max_occupancy=2
        )
        for i in range(places)
    }
    return Rules(AnalysisOptions("bench", lines=lines, zones=zones), CLASSES)


class Walkers:
    """Objects that walk, bounce off the edges, and are replaced by new ones every two seconds."""

    def __init__(self, count: int) -> None:
        self._random = np.random.default_rng(0)
        self._count = count
        self._ids = np.arange(1, count + 1)
        self._places = self._random.uniform(0.1, 0.9, (count, 2))
        self._speeds = self._random.normal(0, 0.03, (count, 2))
        self._first = np.full(count, BEGIN)

    def step(self, frame: int) -> Tracks:
        """The tracks of the next frame."""
        if frame % (2 * FPS) == 0:
            gone = self._random.integers(self._count)
            self._ids = np.append(np.delete(self._ids, gone), self._ids.max() + 1)
            for name in ("_places", "_speeds"):
                kept = np.delete(getattr(self, name), gone, axis=0)
                setattr(self, name, np.vstack([kept, getattr(self, name)[gone]]))
            self._first = np.append(np.delete(self._first, gone), BEGIN + frame / FPS)
        self._places = self._places + self._speeds / FPS
        outside = (self._places < 0.05) | (self._places > 0.95)
        self._speeds[outside] *= -1
        self._places = np.clip(self._places, 0.05, 0.95)
        x, y = (self._places + self._random.normal(0, 0.001, self._places.shape)).T
        boxes = np.stack([x - WIDTH / 2, y - HEIGHT, x + WIDTH / 2, y], axis=1)
        none = np.zeros(self._count, np.int32)
        scores, confirmed = np.ones(self._count, np.float32), np.ones(self._count, bool)
        return Tracks(
            self._ids.astype(np.int64), boxes.astype(np.float32), scores, none, self._first, confirmed
        )


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=40)
    parser.add_argument("--places", type=int, default=4, help="lines, and as many zones (default 4)")
    parser.add_argument("--frames", type=int, default=3000)
    given = parser.parse_args()
    rules, walkers = make_rules(given.places), Walkers(given.tracks)
    timebase = Timebase(max_gap_s=10.0)
    taken_ms, kinds = [], Counter[str]()
    for frame in range(given.frames):
        now = BEGIN + frame / FPS
        tracks, moment = walkers.step(frame), timebase.advance(now)
        seen = Observation(frame_at(now), Detections.empty(), tracks, CLASSES, moment)
        began = time.thread_time()
        events = rules.observe(seen)
        taken_ms.append((time.thread_time() - began) * 1e3)
        kinds.update(event.kind.value for event in events)
    mean, p50, p99 = np.mean(taken_ms), np.median(taken_ms), np.quantile(taken_ms, 0.99)
    state = len(json.dumps(rules.snapshot()))
    print(
        f"{given.tracks} tracks, {given.places} lines, {given.places} zones, "
        f"{kinds.total() / given.frames:.2f} events a frame: "
        f"mean {mean:.3f} ms, p50 {p50:.3f}, p99 {p99:.3f}; state {state} bytes"
    )


if __name__ == "__main__":
    main()
