"""How much of a time a camera watched: every share that page, file or API shows is worked out here.

What was watched of the last seconds may not be in the database yet. So each camera is judged up to the moment
until which it is known what it watched: what its newest window lacks is forgiven, up to :data:`WRITE_LAG_S`,
as far as it may be of the last seconds. All that lies before is judged as it is stored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Connection

from sightline.entities import SourceWindow
from sightline.store.read.queries import read_first_windows, read_latest_windows, read_watched
from sightline.store.read.seen import Cameras, seen
from sightline.store.read.spans import Span

#: Within this time, with some to spare, what was watched is in the database: it is written once a second.
WRITE_LAG_S = 5.0


@dataclass(frozen=True, slots=True)
class KnownTime:
    """Between which moments it is known what a camera watched, and what not. UTC epoch seconds."""

    first: float  # when its first window began
    until: float  # not after now


@dataclass(frozen=True, slots=True)
class Covered:
    """What of a time has passed since a camera began, and how much of that it watched. UTC epoch seconds."""

    start: float
    end: float  # not after now
    passed_s: float  # since the camera began; 0: it had not
    expected_s: float  # of these, those of which it is known whether it watched
    watched_s: float  # of the expected ones

    @classmethod
    def of(
        cls, between: tuple[float, float], watched_s: float, known: KnownTime | None, now: float
    ) -> "Covered":
        """A time [start, end) of which ``watched_s`` are stored.

        Args:
            between: start and end.
            watched_s: stored of it.
            known: of the camera; None: it has no window, and is not waited for.
            now: what comes after it is in no figure.
        """
        start, end = between[0], max(between[0], min(between[1], now))
        if known is None:
            return cls(start, end, 0.0, 0.0, 0.0)
        began = min(max(start, known.first), end)
        expected_s = max(0.0, min(end, known.until) - began)
        return cls(start, end, end - began, expected_s, min(watched_s, expected_s))

    def share(self, blind_s: float = 0.0) -> float:
        """0..1; of a class that the model lacked for ``blind_s`` of the watched seconds, less."""
        return max(0.0, self.watched_s - blind_s) / self.expected_s if self.expected_s else 0.0


def known_until(newest: SourceWindow | None, now: float) -> float:
    """Until when it is known what a camera watched, by its newest window; None: it has none any more."""
    if newest is None or newest.window_end <= now - WRITE_LAG_S:
        return now - WRITE_LAG_S
    if newest.window_start >= now:
        return now
    end = min(newest.window_end, now)
    watched_s = newest.coverage * (newest.window_end - newest.window_start)
    missing_s = max(0.0, end - newest.window_start - watched_s)
    return max(end - missing_s, newest.window_start, now - WRITE_LAG_S)


def read_known(
    connection: Connection, cameras: Cameras, sources: Sequence[str], now: float
) -> dict[str, KnownTime]:
    """Of each camera that has ever watched."""
    newest = read_latest_windows(connection, cameras, sources)
    first = read_first_windows(connection, cameras, sources)
    return {name: KnownTime(begun, known_until(newest.get(name), now)) for name, begun in first.items()}


def read_covered(
    connection: Connection, cameras: Cameras, span: Span, sources: Sequence[str], now: float
) -> Iterator[tuple[str, Covered]]:
    """By bucket, then camera: its name, and the buckets of which something has passed since it began."""
    names = seen(cameras, sources)
    known = read_known(connection, None, names, now)
    watched = {(row.source, row.bucket): row.watched_s for row in read_watched(connection, None, span, names)}
    for start, end in pairwise(span.edges):
        for name in sorted(names):
            covered = Covered.of((start, end), watched.get((name, start), 0.0), known.get(name), now)
            if covered.passed_s > 0:
                yield name, covered
