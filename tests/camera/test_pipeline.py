"""The way of a frame, with the fake detector at its seam."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.classes import ClassTable, renumber
from sightline.analysis.observer import Observation, Observer
from sightline.analysis.options import AnalysisOptions
from sightline.base.stats import StageTimes
from sightline.base.threads import Bell
from sightline.camera.pipeline import Pipeline
from sightline.config.zones import Zone
from sightline.entities import STAGES, Detections, Event, Figure, Frame, ModelInfo
from sightline.errors import (
    DetectorError,
    DetectorOutdated,
    DetectorTimeout,
    DetectorUnavailable,
)
from sightline.video.mailbox import Mailbox
from support.fakes import FakeDetector, GreyPicture, boxes, frame, step
from support.waiting import until

PERSON = (0.4, 0.2, 0.5, 0.8)
START = 1_700_000_040.0  # a multiple of 60


def make_pipeline(
    *, in_flight: int = 2, deadline_s: float | None = 5.0, observers: Sequence[Observer] = (), **options: Any
) -> Pipeline:
    analysis = CameraAnalysis(AnalysisOptions("door", **options))
    analysis.use_model(version("m-1", "person", "car"))
    mailbox, bell = Mailbox(lossless=True, size=100), Bell()
    pipeline = Pipeline(
        mailbox, analysis, StageTimes(STAGES), bell, in_flight=in_flight, deadline_s=deadline_s
    )
    pipeline.observers += observers
    return pipeline


def version(name: str, *class_names: str) -> ModelInfo:
    return ModelInfo("detector", name, class_names, 192, 320, "fp32", 0.1)


def counts(pipeline: Pipeline) -> dict[str, int]:
    return {row.item_class: row.count for row in pipeline.analysis.rows()[0]}


def play(pipeline: Pipeline, detector: FakeDetector, frames: list[Frame]) -> None:
    for item in frames:
        pipeline.mailbox.put(item)
    pipeline.mailbox.shutdown()
    while not pipeline.ended:
        step(pipeline, detector)


@pytest.mark.fault(11)
def test_a_server_that_never_answers_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = make_pipeline(deadline_s=0.0)
    for index in range(50):
        pipeline.mailbox.put(frame(index, START + index / 10))
        step(pipeline, FakeDetector(lambda _: boxes(), hold=index % 5 > 0))  # now and then one is answered
        time.sleep(0.001)
        step(pipeline, FakeDetector(lambda _: boxes()))
    assert pipeline.dropped > 20
    late = [r for r in caplog.records if "no detections within the deadline" in r.getMessage()]
    assert len(late) == 1


def test_a_person_in_view_is_counted_once() -> None:
    pipeline = make_pipeline()
    play(pipeline, FakeDetector(lambda _: boxes(PERSON)), [frame(i, START + i / 10) for i in range(30)])
    assert counts(pipeline) == {"person": 1}
    assert (pipeline.frames, pipeline.dropped) == (30, 0)


def test_results_are_tracked_in_the_order_of_the_frames() -> None:
    pipeline = make_pipeline()
    detector = FakeDetector(lambda _: boxes(PERSON), hold=True)
    pipeline.mailbox.put(frame(0, START))
    pipeline.mailbox.put(frame(1, START + 0.1))
    step(pipeline, detector)
    step(pipeline, detector)
    detector.release(1)
    step(pipeline, detector)
    assert pipeline.frames == 0
    detector.release(0)
    step(pipeline, detector)
    assert pipeline.frames == 2
    assert pipeline.last_frame_time == START + 0.1


def test_no_more_than_the_limit_is_in_flight() -> None:
    pipeline = make_pipeline(in_flight=2)
    detector = FakeDetector(lambda _: boxes(), hold=True)
    for i in range(5):
        pipeline.mailbox.put(frame(i, START + i))
        step(pipeline, detector)
    assert len(detector.frames) == 2


@pytest.mark.parametrize("error", [DetectorTimeout("late"), DetectorError("odd")])
def test_a_failed_frame_is_dropped_and_counted_and_the_rest_go_on(error: DetectorError) -> None:
    def answer(item: Frame) -> Detections | BaseException:
        return error if item.index == 3 else boxes(PERSON)

    pipeline = make_pipeline()
    play(pipeline, FakeDetector(answer), [frame(i, START + i / 10) for i in range(10)])
    assert (pipeline.frames, pipeline.dropped) == (9, 1)
    assert counts(pipeline) == {"person": 1}


@pytest.mark.parametrize("error", [DetectorTimeout("late"), DetectorUnavailable("away")])
def test_a_recording_loses_no_frame_to_a_detector_that_is_late_or_away(error: DetectorError) -> None:
    tries: Counter[int] = Counter()

    def answer(item: Frame) -> Detections | BaseException:
        tries[item.index] += 1
        return error if item.index % 3 == 0 and tries[item.index] < 3 else boxes(PERSON)

    pipeline = make_pipeline(deadline_s=None, in_flight=3, observers=[probe := Probe()])
    play(pipeline, FakeDetector(answer), [frame(i, START + i / 10) for i in range(10)])
    assert [seen.frame.index for seen in probe.seen] == list(range(10))
    assert (pipeline.frames, pipeline.dropped) == (10, 0)


def test_a_recording_waits_for_an_answer_as_long_as_it_takes() -> None:
    pipeline, detector = make_pipeline(deadline_s=None), FakeDetector(lambda _: boxes(PERSON), hold=True)
    pipeline.mailbox.put(frame(0, START))
    step(pipeline, detector)
    time.sleep(0.02)
    step(pipeline, detector)
    assert (pipeline.busy, pipeline.dropped) == (1, 0)
    detector.release()
    step(pipeline, detector)
    assert pipeline.frames == 1


def test_the_same_error_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = make_pipeline()
    with caplog.at_level(logging.WARNING):
        detector = FakeDetector(lambda _: DetectorError("odd"))
        play(pipeline, detector, [frame(i, START + i / 10) for i in range(10)])
    assert [record.getMessage() for record in caplog.records] == ["camera door: frame dropped: odd"]


def test_a_lost_detector_is_told_with_everything_in_flight_counted() -> None:
    pipeline = make_pipeline()
    detector = FakeDetector(lambda _: DetectorUnavailable("gone"), hold=True)
    for i in range(2):
        pipeline.mailbox.put(frame(i, START + i))
        step(pipeline, detector)
    detector.release()
    detector.release()
    assert isinstance(step(pipeline, detector), DetectorUnavailable)
    assert pipeline.dropped == 2
    play(pipeline, FakeDetector(lambda _: boxes(PERSON)), [frame(i, START + i / 10) for i in range(10)])
    assert pipeline.frames == 10


@pytest.mark.fault(12)
def test_a_late_answer_is_not_waited_for_and_not_used() -> None:
    pipeline = make_pipeline(deadline_s=0.05)
    detector = FakeDetector(lambda _: boxes(PERSON), hold=True)
    pipeline.mailbox.put(frame(0, START))
    until(lambda: step(pipeline, detector) or pipeline.dropped == 1)
    detector.release()
    step(pipeline, detector)
    assert (pipeline.frames, pipeline.dropped) == (0, 1)


@pytest.mark.fault(7)
def test_a_new_picture_size_ends_the_tracks() -> None:
    pipeline = make_pipeline()
    small, large = GreyPicture(64, 36), GreyPicture(128, 72)
    frames = [frame(i, START + i / 10, small if i < 10 else large) for i in range(20)]
    play(pipeline, FakeDetector(lambda _: boxes(PERSON)), frames)
    assert counts(pipeline) == {"person": 2}


def test_events_are_taken_once_and_name_the_class() -> None:
    pipeline = make_pipeline(zones={"room": ROOM})
    small, large = GreyPicture(64, 36), GreyPicture(128, 72)
    frames = [frame(i, START + i / 10, small if i < 20 else large) for i in range(40)]
    play(pipeline, FakeDetector(lambda _: boxes(PERSON)), frames)
    pipeline.end()
    events = [result for result in pipeline.take_results() if isinstance(result, Event)]
    assert [(event.kind, event.item_class, event.track_id) for event in events] == [
        ("enter", "person", 1),
        ("leave", "person", 1),  # the picture is another one now
        ("enter", "person", 2),
        ("leave", "person", 2),  # the file ends
    ]
    assert [event.event_time - START for event in events] == pytest.approx([0, 1.9, 2.0, 3.9])
    assert pipeline.take_results() == []


ROOM = Zone(points=((0.2, 0.2), (0.8, 0.2), (0.8, 0.9), (0.2, 0.9)))


def of(model: ModelInfo, class_id: int) -> Detections:
    return replace(boxes(PERSON, class_id=class_id), model=model)


def test_a_version_that_numbers_its_classes_otherwise_counts_nobody_twice() -> None:
    old, new = version("m-1", "person", "car"), version("m-2", "dog", "person")
    pipeline = make_pipeline()
    detector = FakeDetector(lambda item: of(old, 0) if item.index < 15 else of(new, 1))
    play(pipeline, detector, [frame(i, START + i / 10) for i in range(30)])
    counted, (window,) = pipeline.analysis.rows()
    assert {row.item_class: row.count for row in counted} == {"person": 1}
    assert window.model_version == "m-2"
    assert pipeline.analysis.classes.names == ("person", "car", "dog")


def test_a_frame_refused_by_a_newer_version_is_sent_again_in_its_place() -> None:
    refused: list[int] = []

    def answer(item: Frame) -> Detections | BaseException:
        if item.index in {3, 4} and item.index not in refused:
            refused.append(item.index)
            return DetectorOutdated("too large")
        return boxes(PERSON)

    pipeline = make_pipeline()
    play(pipeline, FakeDetector(answer), [frame(i, START + i / 10) for i in range(10)])
    assert (pipeline.frames, pipeline.dropped) == (10, 0)
    assert counts(pipeline) == {"person": 1}


def test_a_frame_refused_twice_is_dropped() -> None:
    pipeline = make_pipeline()
    detector = FakeDetector(lambda _: DetectorOutdated("too large"))
    play(pipeline, detector, [frame(i, START + i / 10) for i in range(5)])
    assert (pipeline.frames, pipeline.dropped, len(detector.frames)) == (0, 5, 10)


def test_classes_keep_their_numbers_over_a_restart() -> None:
    table = ClassTable()
    assert table.lookup(["person", "car"]).tolist() == [0, 1, -1]
    successor = ClassTable(table.named([1]))
    assert successor.lookup(["truck", "car", "bus"]).tolist() == [0, 1, 2, -1]
    assert successor.names == ("truck", "car", "bus")
    assert renumber(np.array([0, 1, 2, -5], np.int32), table.lookup(["car"])).tolist() == [1, -1, -1, -1]


class Probe(Observer):
    """Remembers what it is asked, and fails at frame ``fails_at``."""

    name = "probe"

    def __init__(self, fails_at: int = -1) -> None:
        self.fails_at = fails_at
        self.calls: list[str] = []
        self.seen: list[Observation] = []

    def observe(self, seen: Observation) -> tuple[()]:
        if seen.frame.index == self.fails_at:
            raise RuntimeError("the disk is on fire")
        self.seen.append(seen)
        return ()

    def end(self, time: float) -> tuple[()]:
        self.calls.append(f"end {time - START:g}")
        return ()

    def snapshot(self) -> dict[str, Any]:
        return {"seen": len(self.seen)}

    def figures(self) -> tuple[Figure, ...]:
        return (Figure("probe_frames_total", len(self.seen)),)

    def close(self) -> None:
        self.calls.append("close")


def test_features_see_every_frame_with_the_results_of_rules() -> None:
    probe = Probe()
    pipeline = make_pipeline(observers=[probe], zones={"room": ROOM})
    small, large = GreyPicture(64, 36), GreyPicture(128, 72)
    frames = [frame(i, START + i / 10, small if i < 20 else large) for i in range(40)]
    play(pipeline, FakeDetector(lambda _: of(version("m-2", "car", "person"), 1)), frames)
    pipeline.end()
    pipeline.end_features()
    assert [seen.frame.index for seen in probe.seen] == list(range(40))
    assert [event.kind for seen in probe.seen for event in seen.results] == ["enter", "enter"]
    assert probe.calls == ["end 2", "end 3.9"]
    assert pipeline.snapshot()["probe"] == {"seen": 40}
    assert Figure("probe_frames_total", 40) in pipeline.figures()


def test_class_ids_of_an_observation_have_one_meaning() -> None:
    probe = Probe()
    pipeline = make_pipeline(observers=[probe])
    play(pipeline, FakeDetector(lambda _: of(version("m-2", "car", "person"), 1)), [frame(0, START)])
    (seen,) = probe.seen
    assert [seen.classes.name(number) for number in seen.detections.class_ids.tolist()] == ["person"]
    assert [seen.classes.name(number) for number in seen.tracks.class_ids.tolist()] == ["person"]
    assert seen.detections.model is None, "its class_names are in another order"
    assert seen.model_version == "m-2"


def test_a_feature_that_fails_is_switched_off_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    probe, healthy = Probe(fails_at=3), Probe()
    pipeline = make_pipeline(observers=[probe, healthy])
    play(pipeline, FakeDetector(lambda _: boxes(PERSON)), [frame(i, START + i / 10) for i in range(10)])
    assert (pipeline.frames, len(probe.seen), len(healthy.seen)) == (10, 3, 10)
    assert pipeline.retired == [probe]
    assert pipeline.observers == [healthy]
    assert ("feature_failed", {"feature": "probe"}) in [(f.name, f.labels) for f in pipeline.figures()]
    assert "probe has failed and is switched off" in caplog.text


class Breaks(Probe):
    """Fails at one thing, whenever it is asked for it."""

    name = "breaks"

    def __init__(self, what: str) -> None:
        super().__init__()
        setattr(self, what, self._fail)

    def _fail(self, *_: object) -> Any:
        raise RuntimeError("it broke")


class Opaque(Probe):
    """Has a state that nothing can store."""

    name = "breaks"

    def snapshot(self) -> dict[str, Any]:
        return {"of": {1, 2}}


@pytest.mark.parametrize(
    "what", ["observe", "tick", "end", "update", "snapshot", "problem", "figures", "state"]
)
def test_whatever_a_feature_fails_at_it_is_said_once_and_the_camera_goes_on(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    breaks, healthy = Opaque() if what == "state" else Breaks(what), Probe()
    pipeline = make_pipeline(observers=[breaks, healthy])
    play(pipeline, FakeDetector(lambda _: boxes(PERSON)), [frame(i, START + i / 10) for i in range(15)])
    for _ in range(3):
        pipeline.tick(START)
        pipeline.update_features(None)
        state, problems, figures = pipeline.snapshot(), pipeline.problems(), pipeline.figures()
        pipeline.end_features()
    assert (pipeline.frames, len(healthy.seen), state["probe"]) == (15, 15, {"seen": 15})
    assert ("breaks" not in state, problems) == (True, [])
    assert [figure.labels for figure in figures if figure.name == "feature_failed"] == [{"feature": "breaks"}]
    [line] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.message == "camera door: breaks has failed and is switched off"
    assert (pipeline.observers, pipeline.retired) == ([healthy], [breaks])


def test_a_feature_that_cannot_be_closed_keeps_no_other_open() -> None:
    healthy = Probe()
    pipeline = make_pipeline(observers=[Breaks("close"), healthy])
    pipeline.close()
    assert healthy.calls == ["close"]
