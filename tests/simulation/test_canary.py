"""The canary: its passes, its camera among the others, its figures."""

from pathlib import Path

import numpy as np
import pytest

from sightline.config import parse_config
from sightline.config.groups import SOURCE, CanaryOptions
from sightline.features.track_log import TrackedFrame
from sightline.simulation.canary import Canary, evidence_of, finished
from sightline.simulation.selftest.evidence import ClaimedEvent
from sightline.supervisor.http.prometheus import canary_figures

NOBODY = np.zeros((0, 4), np.float32)
NOTHING = np.zeros(0, np.int64)


def frame(time: float, scene_s: float | None) -> TrackedFrame:
    return TrackedFrame(
        time, time, time, scene_s, None, ("car",), NOBODY, NOTHING, NOTHING, NOTHING, NOBODY, NOTHING, NOTHING
    )


def looped(seconds: int, length_s: int) -> list[TrackedFrame]:
    return [frame(1000.0 + i, float((i + 3) % length_s)) for i in range(seconds)]


def test_whole_passes_are_judged_and_nothing_else() -> None:
    frames = [*looped(37, 10), frame(1037.5, None)]  # joined at second 3; now at second 9
    found = finished(frames)
    assert [(lap[0].capture_time, lap[-1].capture_time) for lap in found] == [(1007, 1016), (1017, 1026)]
    assert finished(looped(12, 10)) == []


def test_a_pass_has_its_own_events_and_its_own_beginning() -> None:
    one = finished(looped(40, 10))[1]
    events = [
        ClaimedEvent("crossing", "road", "forward", "car", 1, at, at, at) for at in (1010.0, 1020.0, 1030.0)
    ]
    mine = evidence_of(one, events, 997.2, 10.0, 1.0)
    assert [event.event_time for event in mine.events] == [1020.0]
    assert mine.began_time == pytest.approx(1017.2)  # two passes after the player's start


def test_its_camera_stands_among_the_others_with_a_name_that_nobody_else_may_have(tmp_path: Path) -> None:
    raw = {
        "cameras": {"door": {"url": "rtsp://10.0.0.1/x"}},
        "stream": {"fps": 3},
        "count": {"classes": ["person"]},
    }
    config = parse_config(raw)
    assert not config.options.canary.enabled
    both = Canary(CanaryOptions(enabled=True, folder=tmp_path), "sqlite:///x.db").join(config)
    assert set(both.cameras) == {"door", SOURCE}
    camera = both.cameras[SOURCE]
    assert (camera.stream.fps, camera.count.classes, camera.track_log.time_code) == (None, None, True)
    assert camera.rules.lines
    assert both.cameras["door"] == config.cameras["door"]
    (problem,) = parse_config({"cameras": {SOURCE: {"url": "rtsp://10.0.0.1/x"}}}).problems
    assert "canary's name" in str(problem)


def test_its_figures_are_metrics() -> None:
    kinds = {"enter": {"row_p99_s": 0.3, "told_p99_s": None}, "leave (lost)": {"row_p99_s": 0.2}}
    newest = {"figures": {"idf1": 0.5, "hota": None}, "latencies": kinds, "passes": 2, "judged_time": 7.0}
    values = {(f.name.removeprefix("canary_"), *f.labels.values()): f.value for f in canary_figures(newest)}
    assert values == {
        ("idf1",): 0.5,
        ("passes",): 2.0,
        ("judged_timestamp_seconds",): 7.0,
        ("event_row_p99_s", "enter"): 0.3,
        ("event_row_p99_s", "leave (lost)"): 0.2,
    }
    assert canary_figures(None) == []
