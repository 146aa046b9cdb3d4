"""The way of every confirmed track, thinned to a few points, as rows of the database.

A way is cut after ten minutes, so that what is read of an hour is bounded and little is lost in a crash. A
point is left out while the straight line, in time, from the one kept last to the newest passes all between
them within a twentieth of the box; where a piece would have more than :data:`MAX_POINTS`, within twice as
much, and so on.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from sightline.analysis.observer import Observation, Observer
from sightline.config import Camera
from sightline.entities import PATH_PIECE_S, PATH_UNIT, Event, TrackPath
from sightline.features.feature import FeatureContext

MAX_POINTS = 48  # of a piece
WRITE_EVERY_S = 60.0  # of a piece that goes on
TOLERANCE = 0.05  # box sizes that a point may be off by
MIN_TOLERANCE = 0.001  # of the picture
SIZE_TOLERANCE = 3.0  # times as much for width and height
GRACE_S = 0.5  # the tracker ends its tracks first
SCORES = 50  # classes of scores that are told apart
Point = tuple[float, float, float, float, float]  # time, x, y (bottom centre), width, height


class _Way:
    """A track that lives, and the piece of its way that is being made."""

    __slots__ = (
        *("_anchor", "_last", "_points", "_slopes", "_wide"),
        *("class_id", "confirmed", "first_time", "places", "scores", "seen_s", "start_time", "written_time"),
    )

    def __init__(self, first_time: float) -> None:
        self.first_time = first_time
        self.confirmed, self.class_id, self.seen_s = False, 0, 0.0
        self.places: set[str] = set()
        self.scores = [0] * SCORES
        self._points: list[Point] = []
        self._last: Point | None = None  # the newest, if it is not kept
        self._slopes: list[tuple[float, float]] | None = None  # of lines from the anchor that pass all since

    def begin(self, point: Point) -> None:
        """A new piece begins with this point."""
        self.start_time = self.written_time = point[0]
        self._points, self._wide = [], 1.0
        self._keep(point)

    def add(self, point: Point) -> None:
        """Take the next point of the piece."""
        anchor, slopes, since = self._anchor, self._slopes, point[0] - self._anchor[0]
        if since <= 0:
            return
        loose = [self._wide * tolerance for tolerance in _tolerances(point)]
        if slopes is not None:
            for (low, high), value, begun in zip(slopes, point[1:], anchor[1:], strict=True):
                if not low <= (value - begun) / since <= high:
                    self._keep(self._last or point)
                    if len(self._points) >= MAX_POINTS:
                        self._thin()
                    self.add(point)
                    return
        fresh = [
            ((value - begun - room) / since, (value - begun + room) / since)
            for value, begun, room in zip(point[1:], anchor[1:], loose, strict=True)
        ]
        if slopes is not None:
            fresh = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(slopes, fresh, strict=True)]
        self._slopes, self._last = fresh, point

    def points(self) -> list[Point]:
        """Of the piece so far."""
        return self._points if self._last is None else [*self._points, self._last]

    @property
    def end_time(self) -> float:
        """Of the newest point."""
        return (self._last or self._points[-1])[0]

    def _keep(self, point: Point) -> None:
        self._points.append(point)
        self._anchor: Point = point
        self._slopes = None
        self._last = None

    def _thin(self) -> None:
        points = self._points
        self._points, wide = [], self._wide * 2
        self._wide = wide
        self._keep(points[0])
        for point in points[1:]:
            self.add(point)
        if self._last is not None:
            self._keep(self._last)


class TrackPaths(Observer):
    """Makes the rows. The worker's main thread owns it."""

    name = "track_paths"

    def __init__(self, camera: Camera) -> None:
        self._source, self._max_lost_s = camera.name, camera.track.max_lost_s
        self._ways: dict[int, _Way] = {}
        self._classes: Any = None

    def update(self, options: Camera) -> None:
        """A lost track is waited for as long as the tracker waits."""
        self._max_lost_s = options.track.max_lost_s

    def observe(self, seen: Observation) -> list[TrackPath]:
        """Take the places of a frame's tracks; the ways of those that have ended, and pieces that are due."""
        now, watched_s, tracks = seen.moment.capture_time, seen.moment.watched_s, seen.tracks
        self._classes = seen.classes
        rows = self._take_all() if seen.moment.blind else []
        columns = (
            tracks.ids,
            tracks.xyxy,
            tracks.scores,
            tracks.class_ids,
            tracks.first_times,
            tracks.confirmed,
        )
        for track_id, box, score, class_id, first_time, confirmed in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            left, top, right, bottom = box
            point = (now, (left + right) / 2, bottom, right - left, bottom - top)
            way = self._ways.get(track_id)
            if way is None:
                way = self._ways[track_id] = _Way(first_time)
                way.begin(point)
            elif now - way.start_time >= PATH_PIECE_S:
                way.add(point)
                rows += self._rows_of(track_id, way)
                way.begin(point)
            else:
                way.add(point)
            way.confirmed, way.class_id, way.seen_s = confirmed, class_id, watched_s
            way.scores[min(SCORES - 1, int(score * SCORES + 0.001))] += 1  # 0.9 as float32 is less
            if now - way.written_time >= WRITE_EVERY_S:
                way.written_time = now
                rows += self._rows_of(track_id, way)
        for event in seen.results:
            if isinstance(event, Event) and (way := self._ways.get(event.track_id)) is not None:
                way.places.add(event.place)
        over = watched_s - self._max_lost_s - GRACE_S
        for track_id in [track_id for track_id, way in self._ways.items() if way.seen_s < over]:
            rows += self._rows_of(track_id, self._ways.pop(track_id))
        return rows

    def end(self, time: float) -> list[TrackPath]:
        """Every way is over."""
        return self._take_all()

    def _take_all(self) -> list[TrackPath]:
        ways, self._ways = self._ways, {}
        return [row for track_id, way in ways.items() for row in self._rows_of(track_id, way)]

    def _rows_of(self, track_id: int, way: _Way) -> Iterator[TrackPath]:
        """The piece as a row; none of a track that is not confirmed."""
        if not way.confirmed:
            return
        yield TrackPath(
            source=self._source,
            track_id=track_id,
            first_time=way.first_time,
            start_time=way.start_time,
            end_time=way.end_time,
            item_class=self._classes.name(way.class_id),
            score=_usual(way.scores),
            points=tuple(_whole(point, way.start_time) for point in way.points()),
            places=tuple(sorted(way.places)),
        )


def make(context: FeatureContext) -> TrackPaths | None:
    """What a camera's ``track_log`` asks for."""
    return TrackPaths(context.camera) if context.camera.track_log.paths else None


def _tolerances(point: Point) -> tuple[float, float, float, float]:
    """By how much x, y, width and height may be off."""
    x, y = (max(MIN_TOLERANCE, TOLERANCE * side) for side in point[3:])
    return x, y, SIZE_TOLERANCE * x, SIZE_TOLERANCE * y


def _usual(counts: Sequence[int]) -> float:
    """The score that two fifths of a track's boxes have at least: what confirms a track."""
    wanted, above = 0.4 * sum(counts), 0
    for index in range(SCORES - 1, -1, -1):
        above += counts[index]
        if above >= wanted:
            return index / SCORES
    return 0.0


def _whole(point: Point, start: float) -> tuple[int, ...]:
    return (round((point[0] - start) * 1000), *(math.floor(value * PATH_UNIT + 0.5) for value in point[1:]))
