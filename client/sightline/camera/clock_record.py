"""A camera's clock against ours, hour by hour: its offset, drift and jitter, and steps as events."""

import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sightline.analysis.observer import JSON, Observation, Observer
from sightline.analysis.saved import from_json
from sightline.base.values import values_of
from sightline.entities import ClockWindow, Event, EventKind, Figure, Result
from sightline.video.clock import ClockReading

log = logging.getLogger(__name__)

HOUR_S = 3600.0
WRITE_EVERY_S = 60.0  # the hour that is open, as it stands
#: Sum of squares of the times of readings every 5 s for ten minutes: fewer say nothing of drift.
MIN_SPREAD = 120 * 600.0**2 / 12


@dataclass(slots=True)
class _Hour:
    """One hour's readings, added up. Series of them each have an offset of their own, and share one drift."""

    window_start: float = 0.0
    offset_s: float = 0.0
    reports: int = 0
    steps: int = 0
    clock_source: str = ""
    readings: int = 0
    spread: float = 0.0  # sums of squares about each series' mean: of the time,
    product: float = 0.0  # of time and lead,
    lead_spread: float = 0.0  # and of the lead

    @property
    def drift_ppm(self) -> float | None:
        return 1e6 * self.product / self.spread if self.spread >= MIN_SPREAD else None

    @property
    def jitter_s(self) -> float:
        explained = self.product**2 / self.spread if self.spread else 0.0
        return math.sqrt(max(self.lead_spread - explained, 0.0) / max(self.readings, 1))


class ClockRecord(Observer):
    """Takes the readings of the decode thread to rows and events; of a camera that tells no clock, none."""

    name = "clock"

    def __init__(
        self, camera: str, readings: deque[ClockReading], state: Mapping[str, Any] | None = None
    ) -> None:
        """Begin, or go on in the hour of a :meth:`snapshot`; one that cannot be used is left out."""
        self._camera = camera
        self._incoming = readings
        self._series: int | None = None
        self._count, self._time_s, self._lead_s = 0, 0.0, 0.0  # of the series: readings, and their means
        self._steps = 0
        self._written = 0.0
        self._hour = _Hour()
        self._last_drift_ppm: float | None = None  # of the hour before
        try:
            self._hour = from_json(_Hour, state or {})
        except ValueError as error:
            log.warning("camera %s: what is known of its clock in this hour begins anew: %s", camera, error)

    @property
    def offset_s(self) -> float | None:
        """The camera's clock less ours."""
        return self._hour.offset_s if self._hour.readings else None

    @property
    def drift_ppm(self) -> float | None:
        """How much faster than ours it runs."""
        drift_ppm = self._hour.drift_ppm
        return self._last_drift_ppm if drift_ppm is None else drift_ppm

    def observe(self, seen: Observation) -> Iterable[Result]:
        """Frames say nothing that the readings do not."""
        return ()

    def tick(self, now: float, silent: bool) -> Iterable[Result]:
        """Take the readings that have come."""
        return list(self._take())

    def end(self, time: float) -> Iterable[Result]:
        """The hour as it stands."""
        return [*self._take(), *self._row()]

    def snapshot(self) -> JSON:
        """The hour so far."""
        return values_of(self._hour) if self._hour.readings else {}

    def figures(self) -> Iterable[Figure]:
        """Offset, drift and steps."""
        if self.offset_s is not None:
            text = "The camera's clock less ours, the least delay of its stream off."
            yield Figure("clock_offset_seconds", self.offset_s, help=text)
            yield Figure("clock_steps_total", self._steps, help="Times the camera's clock was set.")
        if self.drift_ppm is not None:
            yield Figure("clock_drift_ppm", self.drift_ppm, help="How much faster than ours it runs.")

    def _take(self) -> Iterator[Result]:
        while self._incoming:
            reading = self._incoming.popleft()
            start = reading.reading_time // HOUR_S * HOUR_S
            if start != self._hour.window_start:
                yield from self._row()
                self._last_drift_ppm = self._hour.drift_ppm
                self._hour, self._series = _Hour(start), None
            self._add(reading)
            if reading.step_s:
                yield self._step(reading)
            if reading.step_s or reading.reading_time - self._written >= WRITE_EVERY_S:
                self._written = reading.reading_time
                yield from self._row()

    def _add(self, reading: ClockReading) -> None:
        if reading.series != self._series:
            self._series = reading.series
            self._count, self._time_s, self._lead_s = 0, 0.0, 0.0
        # Welford's sums: times are large, and what differs is small.
        self._count += 1
        time_s, lead_s = reading.received_s - self._time_s, reading.lead_s - self._lead_s
        if self._count == 1:
            self._time_s, self._lead_s = reading.received_s, reading.lead_s
        else:
            share = (self._count - 1) / self._count
            self._time_s += time_s / self._count
            self._lead_s += lead_s / self._count
            self._hour.spread += share * time_s**2
            self._hour.product += share * time_s * lead_s
            self._hour.lead_spread += share * lead_s**2
        self._hour.readings += 1
        self._hour.reports += reading.reports
        self._hour.offset_s, self._hour.clock_source = reading.offset_s, reading.clock_source.value

    def _step(self, reading: ClockReading) -> Event:
        self._steps += 1
        self._hour.steps += 1
        text = "camera %s: its clock was set %s by %.1f s"
        way = "forward" if reading.step_s > 0 else "back"
        log.warning(text, self._camera, way, abs(reading.step_s))
        return Event(
            source=self._camera,
            kind=EventKind.CLOCK_STEP,
            place="",
            track_id=0,
            item_class="",
            event_time=reading.step_time,
            confirmed_time=reading.reading_time,
            value=reading.step_s,
            first_time=reading.step_time,
        )

    def _row(self) -> Iterator[ClockWindow]:
        hour = self._hour
        if hour.readings:
            yield ClockWindow(
                source=self._camera,
                window_start=hour.window_start,
                offset_s=hour.offset_s,
                drift_ppm=hour.drift_ppm,
                jitter_s=hour.jitter_s,
                reports=hour.reports,
                steps=hour.steps,
                clock_source=hour.clock_source,
            )
