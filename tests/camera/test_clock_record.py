from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from sightline.camera.clock_record import HOUR_S, ClockRecord
from sightline.entities import ClockSource, ClockWindow, Event, EventKind, Result, lasts
from sightline.video.clock import ClockReading

START = 1_700_002_800.0  # a whole hour


def readings(
    seconds: Iterable[float],
    ahead_s: Callable[[float], float],
    *,
    to_utc: Callable[[float], float] = lambda _: START,
    series: int = 1,
) -> list[ClockReading]:
    """Readings of a clock that is ``ahead_s`` of true time, some seconds after the hour's start."""
    delay = random.Random(6)
    return [
        ClockReading(
            reading_time=at + to_utc(at),
            offset_s=START + ahead_s(at) - to_utc(at) - 0.03,
            received_s=at,
            lead_s=START + ahead_s(at) - 0.03 - delay.gauss(0, 0.002),
            series=series,
            reports=1,
            clock_source=ClockSource.RTCP,
        )
        for at in seconds
    ]


def play(record: ClockRecord, incoming: deque[ClockReading], items: Iterable[ClockReading]) -> list[Result]:
    results: list[Result] = []
    for item in items:
        incoming.append(item)
        results += record.tick(item.reading_time, False)
    return results


def hours(results: Iterable[Result]) -> dict[float, ClockWindow]:
    """The newest row of each hour."""
    return {row.window_start: row for row in results if isinstance(row, ClockWindow)}


def make(state: Any = None) -> tuple[ClockRecord, deque[ClockReading]]:
    incoming: deque[ClockReading] = deque()
    return ClockRecord("gate", incoming, state), incoming


def test_an_hour_has_offset_drift_and_jitter() -> None:
    record, incoming = make()
    results = play(record, incoming, readings(range(0, 7200, 5), lambda at: 2.0 - 1e-4 * at))
    first = hours(results)[START]
    assert first.drift_ppm == pytest.approx(-100, abs=1)
    assert first.jitter_s == pytest.approx(0.002, rel=0.2)
    assert first.offset_s == pytest.approx(2.0 - 1e-4 * 3595 - 0.03, abs=0.001)
    assert (first.source, first.reports, first.steps, first.clock_source) == ("gate", 720, 0, "rtcp")
    assert sum(isinstance(row, ClockWindow) for row in results) == pytest.approx(120, abs=3)  # one a minute
    figures = {figure.name: figure.value for figure in record.figures()}
    assert figures["clock_offset_seconds"] == record.offset_s == pytest.approx(1.25, abs=0.01)
    assert figures["clock_drift_ppm"] == pytest.approx(-100, abs=1)


def test_drift_is_not_told_from_a_few_minutes_but_that_of_the_hour_before_is() -> None:
    record, incoming = make()
    early = hours(play(record, incoming, readings(range(0, 300, 5), lambda _: 2.0)))
    assert early[START].drift_ppm is record.drift_ppm is None
    play(record, incoming, readings(range(300, 3900, 5), lambda _: 2.0))
    [row] = record.end(START + 3900)
    assert isinstance(row, ClockWindow)
    assert (row.window_start, row.drift_ppm) == (START + HOUR_S, None)
    assert record.drift_ppm == pytest.approx(0, abs=1)


def test_a_step_is_an_event_and_no_drift() -> None:
    record, incoming = make()
    before = readings(range(0, 1800, 5), lambda _: 2.0)
    stepped = readings(range(1800, 3600, 5), lambda _: 3602.0, series=2)
    values = {name: getattr(stepped[0], name) for name in ClockReading.__slots__}
    stepped[0] = ClockReading(**values | {"step_s": 3600.0, "step_time": START + 1790})
    results = play(record, incoming, [*before, *stepped])
    [event] = [row for row in results if isinstance(row, Event)]
    assert (event.source, event.kind, event.place, event.value) == ("gate", "clock_step", "", 3600.0)
    assert (event.event_time, event.confirmed_time) == (START + 1790, START + 1800)
    assert not lasts(EventKind.CLOCK_STEP, None)
    [*_, row] = record.end(START + 3600)
    assert isinstance(row, ClockWindow)
    assert row.steps == 1
    assert row.drift_ppm == pytest.approx(0, abs=2)
    assert row.jitter_s < 0.003
    assert {f.name: f.value for f in record.figures()}["clock_steps_total"] == 1


@pytest.mark.fault(23)
def test_a_step_of_our_own_clock_is_no_drift_of_the_cameras() -> None:
    record, incoming = make()
    moved = readings(range(0, 3000, 5), lambda _: 2.0, to_utc=lambda at: START + 100.0 * (at >= 1500))
    row = hours(play(record, incoming, moved))[START]
    assert row.offset_s == pytest.approx(-98.03, abs=0.001)
    assert row.drift_ppm == pytest.approx(0, abs=2)


def test_an_hour_goes_on_in_a_successor() -> None:
    items = readings(range(0, 3600, 5), lambda at: 2.0 + 5e-5 * at)
    whole, incoming = make()
    play(whole, incoming, items)
    first, incoming = make()
    play(first, incoming, items[:400])
    second, incoming = make(json.loads(json.dumps(first.snapshot())))
    play(second, incoming, items[400:])
    [one], [two] = whole.end(START + 3600), second.end(START + 3600)
    assert isinstance(one, ClockWindow)
    assert isinstance(two, ClockWindow)
    assert (two.reports, two.offset_s) == (one.reports, one.offset_s)
    assert two.drift_ppm == pytest.approx(50, abs=2)


@pytest.mark.parametrize("state", [{"readings": "many"}, {"spread": None}])
def test_a_state_that_cannot_be_used_begins_anew(state: Any, caplog: pytest.LogCaptureFixture) -> None:
    record, incoming = make(state)
    assert record.snapshot() == {}
    assert "camera gate" in caplog.text
    play(record, incoming, readings(range(0, 100, 5), lambda _: 1.0))
    assert record.offset_s == pytest.approx(0.97)


def test_a_camera_that_tells_no_clock_has_no_rows() -> None:
    record, _ = make()
    assert list(record.end(START)) == list(record.figures()) == []
    assert record.offset_s is record.drift_ppm is None
    assert record.snapshot() == {}
