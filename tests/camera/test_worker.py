"""Several cameras in one worker: they share a server, and nothing that happens to one touches another."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.observer import Observation, Observer
from sightline.camera import running_camera, worker
from sightline.camera.messages import (
    EXIT_HANGING,
    AddCamera,
    AskFeature,
    CameraSpec,
    RemoveCamera,
    UpdateCamera,
    UpdateWorker,
)
from sightline.config import Camera
from sightline.entities import (
    CameraState,
    CameraStatus,
    ClockSource,
    ClockWindow,
    CountWindow,
    Event,
    EventKind,
    Frame,
    SourceWindow,
    Variant,
    Watch,
)
from sightline.errors import (
    DetectorError,
    DetectorTimeout,
    DetectorUnavailable,
    SourceUnreachable,
    SourceUnusable,
)
from sightline.features import FeatureContext
from sightline.features.live.live_observer import LiveObserver
from sightline.video import feed
from sightline.video.clock import ClockReading
from support.fakes import boxes, frame
from support.waiting import until
from support.worker_rig import MODEL, PERSON, Rig, camera, live

ROOM = {"room": {"points": [[0.2, 0.2], [0.8, 0.2], [0.8, 0.9], [0.2, 0.9]]}}
DAY = {"window_s": 86_400}
T0 = 1_700_000_040.0


def figures(rig: Rig, name: str) -> dict[str, float]:
    return {figure.name: figure.value for figure in rig.latest(name).figures}


def test_cameras_share_a_model_and_each_is_reported() -> None:
    with Rig() as rig:
        for name in ("a", "b", "c"):
            rig.add(name, count=DAY)
        for name in ("a", "b", "c"):
            rig.until_frames(name, 20)
        assert list(rig.triton.models) == ["detector"]
        assert rig.served().slots >= 4
        assert rig.latest("b").status.state is CameraState.ONLINE
        assert rig.latest("b").status.model_version == "m-1"
    for name in ("a", "b", "c"):
        assert rig.latest(name).last
        assert {row.count for row in rig.rows(name, CountWindow)} <= {0, 1}
        assert rig.rows(name, CountWindow)[-1].count == 1
    until(lambda: rig.served().closed, 5)  # in a side thread


def test_a_status_tells_what_is_due_and_who_is_busy() -> None:
    def fast(_: Frame) -> Any:
        return boxes(PERSON)

    def slow(_: Frame) -> Any:
        time.sleep(0.25)  # in the main thread: the fake answers at once
        return boxes(PERSON)

    def busy(answer: Any) -> CameraStatus:
        with Rig(answer) as rig:
            rig.add("a", lambda: live(fps=10), stream={"fps": 12})
            rig.until_frames("a", 8)
            return rig.latest("a").status

    status = busy(fast)
    assert status.asked_fps == 12
    assert status.due_fps == pytest.approx(status.fps, abs=2)
    assert status.worker_busy < 0.5
    status = busy(slow)
    assert status.due_fps > 1.5 * status.fps > 0
    assert status.worker_busy > 0.7


def test_a_cameras_clock_is_status_figure_row_and_event() -> None:
    with Rig() as rig:
        rig.add("a")
        rig.until_frames("a", 3)
        reading = ClockReading(
            T0, 4000.2, 50.0, T0 + 3950.2, 1, 2, ClockSource.RTCP_CORRECTED, 4000.0, T0 - 10
        )
        rig.sources["a"].clock_readings.append(reading)
        until(lambda: rig.rows("a", ClockWindow) and rig.latest("a").status.clock_offset_s, 20)
        [event], [row, *_] = rig.rows("a", Event), rig.rows("a", ClockWindow)
        assert (event.kind, event.value, event.event_time) == (EventKind.CLOCK_STEP, 4000.0, T0 - 10)
        hour = T0 // 3600 * 3600
        assert row == ClockWindow("a", hour, 4000.2, None, 0.0, 2, 1, "rtcp_corrected")
        report = rig.latest("a")
        assert (report.status.clock_offset_s, report.status.clock_drift_ppm) == (4000.2, None)
        assert {f.name: f.value for f in report.figures}["clock_offset_seconds"] == 4000.2
        assert report.checkpoint is not None
        assert report.checkpoint.resume["clock"]["offset_s"] == 4000.2


def test_a_worker_hands_requests_on_and_shows_what_they_ask_for() -> None:
    with Rig() as rig:
        rig.add("a")
        rig.add("b")
        rig.until_frames("b", 3)
        wanted = Watch(frozenset({Variant.DETECTIONS, Variant.SMALL}), 60.0)
        rig.send(AskFeature("nowhere", "live", wanted))
        rig.send(AskFeature("b", "nothing", wanted))
        rig.send(AskFeature("a", "live", wanted))
        until(lambda: len(rig.shown) >= 6, 20)
        assert {message.camera for message in rig.shown} == {"a"}
        assert {message.variant for message in rig.shown} == wanted.variants
        rig.until_frames("b", 3)
        assert figures(rig, "a")["live_variants"] == 2
        assert figures(rig, "b")["live_variants"] == 0


def test_a_feature_that_fails_at_a_request_is_switched_off_and_its_camera_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(LiveObserver, "request", fail)
    with Rig() as rig:
        rig.add("a")
        rig.until_frames("a", 3)
        rig.send(AskFeature("a", "live", Watch(frozenset({Variant.SMALL}), 5.0)))
        until(lambda: "live is switched off" in rig.latest("a").status.message, 20)
        rig.until_frames("a", 10)
        assert rig.latest("a").status.state is CameraState.ONLINE


def test_frames_that_are_due_together_travel_together() -> None:
    with Rig() as rig:
        for name in "abcd":
            rig.add(name)
        rig.until_frames("d", 5)
        rig.served().hold = True
        time.sleep(0.3)
        rig.served().hold = False
        rig.served().release()
        rig.until_frames("a", 10)
        assert max(len(batch) for batch in rig.served().batches) > 1


def test_frames_of_one_recorded_file_travel_together_and_leave_the_detector_work() -> None:
    with Rig(in_flight=6) as rig:
        frames = [frame(i, T0 + i / 10) for i in range(60)]
        rig.triton.model("detector").hold = True
        rig.add("a", lambda: iter(frames), until_end=True)
        until(lambda: len(rig.served().held) == 6, 20)
        rig.served().hold = False
        rig.served().release()
        until(lambda: rig.reports("a") and rig.latest("a").last, 20)
        assert (rig.latest("a").status.frames_total, rig.latest("a").status.dropped_total) == (60, 0)
        assert max(len(batch) for batch in rig.served().batches) == 2


def test_a_file_that_cannot_be_played_ends_as_that() -> None:
    with Rig() as rig:
        rig.add("a", SourceUnusable("no picture"), until_end=True)
        until(lambda: rig.reports("a") and rig.latest("a").last, 20)
        assert rig.latest("a").status.state is CameraState.UNUSABLE
        assert rig.latest("a").status.message == "no picture"


def test_each_camera_has_its_own_limit_and_its_turn() -> None:
    with Rig(in_flight=2) as rig:
        for name in "abcdef":
            rig.add(name)
        rig.until_frames("f", 5)
        served = rig.served()
        served.hold = True
        time.sleep(0.5)
        in_flight = len(served.held)
        assert in_flight == 6 - 1 + 2, "one for each, and all together one more"
        served.hold = False
        served.release()
        before = {name: rig.frames(name) for name in "abcdef"}
        rig.until_frames("a", 50)
        gained = [rig.frames(name) - before[name] for name in "abcdef"]
        assert min(gained) > 0.6 * max(gained)


@pytest.mark.fault(24)
def test_an_exception_in_one_chain_restarts_that_camera_from_its_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observe = CameraAnalysis.observe
    armed = [False]

    def failing(self: CameraAnalysis, item: Frame, *rest: Any) -> Observation:
        if armed[0] and self.options.camera == "b":
            armed[0] = False
            raise ZeroDivisionError("a fault of ours")
        return observe(self, item, *rest)

    monkeypatch.setattr(CameraAnalysis, "observe", failing)
    with Rig() as rig:
        for name in ("a", "b"):
            rig.add(name, count=DAY, rules={"zones": ROOM})
        rig.until_frames("a", 50)
        rig.until_frames("b", 50)
        until(lambda: rig.rows("b", Event), 5)
        seen_a = rig.frames("a")
        armed[0] = True
        until(lambda: rig.latest("b").status.state is CameraState.OFFLINE, 5)
        assert "a fault of ours" in rig.latest("b").status.message
        until(lambda: rig.latest("b").status.state is CameraState.ONLINE, 10)
        rig.until_frames("b", 20)
        assert figures(rig, "b")["camera_restarts_total"] == 1
        assert figures(rig, "a")["camera_restarts_total"] == 0
        assert rig.frames("a") > seen_a + 40
    assert rig.rows("b", CountWindow)[-1].count == 1, "the same person, counted once"
    assert [event.kind.value for event in rig.rows("b", Event)] == ["enter"]


class Broken(Observer):
    """Fails at its third frame."""

    name = "broken"

    def __init__(self) -> None:
        self.seen = 0
        self.closed = False

    def observe(self, seen: Observation) -> tuple[()]:
        self.seen += 1
        if self.seen == 3:
            raise RuntimeError("no more")
        return ()

    def close(self) -> None:
        self.closed = True


def test_a_feature_that_fails_is_switched_off_and_shown_and_the_camera_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Broken()
    monkeypatch.setattr(running_camera, "FEATURES", {"broken": lambda _: broken})
    with Rig() as rig:
        rig.add("a")
        rig.until_frames("a", 50)
        rig.until_frames("a", 50)
        status = rig.latest("a").status
        assert status.state is CameraState.ONLINE
        assert "broken is switched off" in status.message
        assert figures(rig, "a")["camera_restarts_total"] == 0
    assert broken.seen == 3
    assert broken.closed


class Watchful(Observer):
    """Takes note of the options that it is told of."""

    name = "watchful"

    def __init__(self) -> None:
        self.updates: list[Camera] = []

    def observe(self, seen: Observation) -> tuple[()]:
        return ()

    def update(self, options: Camera) -> None:
        if "bad" in options.rules.zones:
            raise RuntimeError("cannot be used")
        self.updates.append(options)


def test_a_main_stream_that_is_away_is_shown_and_the_camera_goes_on(tmp_path: Path) -> None:
    with Rig() as rig:
        urls = {"url": "rtsp://127.0.0.1:1/main", "sub_url": "rtsp://127.0.0.1/sub"}
        rig.add("a", **urls, clips={"enabled": True, "stream": "main", "folder": str(tmp_path)})
        until(lambda: rig.frames("a") > 0 and figures(rig, "a")["clips_main_reconnects_total"] > 0)
        rig.until_frames("a", 20)
        status = rig.latest("a").status
        assert status.state is CameraState.ONLINE
        assert status.warnings == ("main stream: cannot connect (Connection refused)",)
        assert figures(rig, "a")["clips_main_online"] == 0


def test_a_feature_that_cannot_be_made_is_shown_and_the_camera_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(context: FeatureContext) -> Observer:
        raise RuntimeError(f"no room beside {context.live_model}")

    monkeypatch.setattr(running_camera, "FEATURES", {"watchful": make})
    with Rig() as rig:
        rig.add("a")
        rig.until_frames("a", 20)
        assert "watchful is switched off" in rig.latest("a").status.message


def test_features_are_told_of_a_hot_change_and_one_that_cannot_use_it_is_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watchful = Watchful()
    monkeypatch.setattr(running_camera, "FEATURES", {"watchful": lambda _: watchful})
    with Rig() as rig:
        rig.add("a")
        rig.until_frames("a", 20)
        zoned = camera("a", track={"confirm_s": 1}, rules={"zones": ROOM})
        rig.send(UpdateCamera(zoned))
        until(lambda: watchful.updates == [zoned], 5)
        rig.send(UpdateCamera(camera("a", rules={"zones": {"bad": ROOM["room"]}})))
        until(lambda: "watchful is switched off" in rig.latest("a").status.message, 5)
        rig.until_frames("a", 20)
        assert figures(rig, "a")["camera_restarts_total"] == 0


def test_options_of_the_program_reach_a_worker() -> None:
    with Rig() as rig:
        rig.worker._parts.gate._name = "test"
        rig.send(UpdateWorker(open_limit=3, log_level="error"))
        until(lambda: logging.getLogger().level == logging.ERROR, 5)
        until(lambda: len(rig.worker._parts.gate._places) == 3, 5)
    logging.getLogger().setLevel(logging.WARNING)


@pytest.mark.fault(2)
def test_a_decode_thread_that_hangs_in_c_ends_the_worker_with_every_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "HANG_GRACE_S", 0.5)
    libc = ctypes.CDLL(None)
    with Rig() as rig:

        def hang() -> Iterator[Frame]:
            for index in range(10):
                yield frame(index, time.time())
                time.sleep(0.02)
            rig.sources["stuck"].call = ("reading", time.monotonic())
            libc.sleep(8)  # in C, where nothing here can end it
            rig.sources["stuck"].call = None

        rig.add("good", count=DAY)
        rig.add("stuck", hang)
        until(lambda: rig.exit_code is not None, 10)
        assert rig.exit_code == EXIT_HANGING
        until(lambda: rig.messages[-1].hanging, 5)
        message = rig.messages[-1]
        assert message.hanging == ("stuck",)
        assert {report.status.source for report in message.reports} == {"good", "stuck"}
        good = next(report for report in message.reports if report.status.source == "good")
        assert good.checkpoint is not None
        assert good.checkpoint.resume["windows"]


@pytest.mark.fault(2)
def test_a_camera_that_waits_is_not_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HANG_GRACE_S", 0.1)
    with Rig() as rig:
        rig.add("away", SourceUnreachable("nothing there"))
        rig.add("good")
        rig.until_frames("good", 150)
        assert rig.exit_code is None
        assert rig.latest("away").status.state is CameraState.OFFLINE
        assert rig.latest("away").status.message == "nothing there"
        assert rig.latest("away").retry.failures > 0


def test_cameras_come_change_and_go_beside_others() -> None:
    with Rig() as rig:
        rig.add("a", count=DAY)
        rig.until_frames("a", 20)
        opened = rig.sources["a"]
        rig.add("b", count=DAY)
        rig.until_frames("b", 20)
        changed = camera("b", count=DAY, rules={"zones": ROOM}, stream={"fps": 5})
        rig.send(UpdateCamera(changed))
        until(lambda: rig.rows("b", SourceWindow)[-1].config_hash == changed.config_hash, 5)
        assert rig.sources["b"].fps == 5
        rig.send(RemoveCamera("b"))
        until(lambda: rig.latest("b").last, 5)
        assert rig.latest("b").status.state is CameraState.STOPPED
        rig.until_frames("a", 20)
        assert rig.sources["a"] is opened, "never opened anew"
        checkpoint = rig.latest("b").checkpoint
        assert checkpoint is not None
        rig.add("b", count=DAY, resume=checkpoint.resume)
        rig.until_frames("b", 20)
    assert rig.rows("b", CountWindow)[-1].count == 1, "goes on from its last report"


def test_an_event_is_reported_at_once() -> None:
    with Rig(report_every_s=1.0) as rig:
        appears = [float("inf")]

        def answer(item: Frame) -> Any:
            return boxes(PERSON) if item.capture_time >= appears[0] else boxes()

        rig.add("a", rules={"zones": ROOM}, track={"confirm_s": 0})
        rig.served().answer = answer
        rig.until_frames("a", 60)
        time.sleep(0.3)
        appears[0] = time.time()
        until(lambda: rig.rows("a", Event), 5, every_s=0.005)
        assert time.time() - appears[0] < 0.4
        latest = rig.latest("a").checkpoint
        assert latest is not None
        assert latest.resume["tracker"], "with the state to go on from"


def test_neither_a_report_nor_another_event_a_moment_ago_holds_an_event_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "EVENT_EVERY_S", 30.0)
    monkeypatch.setattr(worker, "EVENT_BURST_S", 120.0)
    people: list[tuple[float, ...]] = []

    def come(number: int) -> None:
        people.append((0.1 + 0.1 * number, 0.4, 0.16 + 0.1 * number, 0.6))
        until(lambda: len(rig.rows("a", Event)) == number, 1, every_s=0.005)

    with Rig(lambda _: boxes(*people), report_every_s=4.0) as rig:
        rig.add("a", rules={"zones": ROOM}, track={"confirm_s": 0})
        rig.until_frames("a", 20)  # a report has just come
        for number in range(1, 6):
            come(number)
        with pytest.raises(AssertionError):
            come(6)  # after that one every `EVENT_EVERY_S`


def test_a_lost_detector_is_said_and_found_again() -> None:
    with Rig() as rig:
        rig.add("a")
        rig.add("b")
        rig.until_frames("a", 20)
        rig.served().away = True
        until(lambda: rig.latest("a").status.state is CameraState.NO_DETECTOR, 5)
        assert rig.latest("b").status.detector_message
        rig.served().away = False
        rig.until_frames("a", 20)
        rig.until_frames("b", 20)
        assert rig.latest("a").status.state is CameraState.ONLINE


def test_classes_that_the_model_lacks_are_told_after_every_switch_and_claim_no_zero(
    caplog: pytest.LogCaptureFixture,
) -> None:
    capital = replace(MODEL, version="m-2", class_names=("Person", "Car"))
    line = {"points": [[0.1, 0.1], [0.9, 0.9]], "classes": ["Person", "cra"]}
    with Rig() as rig:
        rig.add("a", count={"classes": ["Person"]}, rules={"lines": {"door": line}})
        until(lambda: rig.frames("a") > 20 and rig.latest("a").status.warnings, 20)
        status = rig.latest("a").status
        assert status.warnings == (
            "camera 'a', key 'count.classes': m-1 has no class 'Person', so nothing is counted as one; "
            "did you mean 'person'?",
            "camera 'a', key 'rules.lines.door.classes': m-1 has no class 'Person', so nothing is counted as "
            "one; did you mean 'person'?",
            "camera 'a', key 'rules.lines.door.classes': m-1 has no class 'cra', so nothing is counted as "
            "one; did you mean 'car'?",
        )
        assert status.message == "; ".join(status.warnings)
        assert status.coverage == 0.0
        assert {row.coverage for row in rig.rows("a", SourceWindow)} == {0.0}
        assert [r.getMessage() for r in caplog.records if "no class" in r.getMessage()] == [*status.warnings]
        rig.served().answer = lambda _: replace(boxes(PERSON), model=capital)
        until(lambda: len(rig.latest("a").status.warnings) == 1, 20)
        assert "m-2 has no class 'cra'" in rig.latest("a").status.message
        until(lambda: rig.latest("a").status.coverage > 0, 20)
        rig.send(UpdateCamera(camera("a")))
        until(lambda: not rig.latest("a").status.message, 20)


def test_an_error_of_a_batch_belongs_to_each_of_its_frames() -> None:
    with Rig(lambda item: DetectorError("odd") if item.index % 3 == 0 else boxes(PERSON)) as rig:
        for name in ("a", "b"):
            rig.add(name)
            rig.until_frames(name, 40)
        for name in ("a", "b"):
            status = rig.latest(name).status
            assert status.dropped_total > 10
            assert status.frames_total > 1.5 * status.dropped_total


@pytest.mark.parametrize("run", [1, 2])
def test_recorded_files_share_a_worker_and_lose_nothing(run: int) -> None:
    with Rig() as rig:
        for name in "abc":
            frames = [frame(i, T0 + i / 10) for i in range(300)]
            rig.add(name, lambda frames=frames: iter(frames), until_end=True, rules={"zones": ROOM})
        for name in "abc":
            until(lambda name=name: rig.reports(name) and rig.latest(name).last, 20)
            report = rig.latest(name)
            assert report.status.state is CameraState.ENDED
            assert (report.status.frames_total, report.status.dropped_total) == (300, 0)
            assert [event.kind.value for event in rig.rows(name, Event)] == ["enter", "leave"]


def test_a_recorded_file_loses_nothing_to_a_detector_that_is_late_or_goes_away() -> None:
    refused: set[int] = set()

    def answer(item: Frame) -> Any:
        if item.index % 7 or item.index in refused:
            return boxes(PERSON)
        refused.add(item.index)
        return DetectorUnavailable("gone") if item.index == 49 else DetectorTimeout("late")

    with Rig() as rig:
        rig.triton.model("detector").answer = answer
        frames = [frame(i, T0 + i / 10) for i in range(100)]
        rig.add("a", lambda: iter(frames), until_end=True)
        until(lambda: rig.reports("a") and rig.latest("a").last, 20)
        assert (rig.latest("a").status.frames_total, rig.latest("a").status.dropped_total) == (100, 0)


def test_a_worker_whose_supervisor_is_gone_ends() -> None:
    with Rig() as rig:
        rig.add("a")
        rig.until_frames("a", 5)
        rig.ends.close()


def test_a_camera_that_is_added_twice_is_replaced() -> None:
    with Rig() as rig:
        rig.add("a")
        rig.until_frames("a", 5)
        first = rig.sources["a"]
        rig.send(AddCamera(CameraSpec(camera("a"))))
        until(lambda: rig.sources["a"] is not first, 5)
        rig.until_frames("a", 5)
