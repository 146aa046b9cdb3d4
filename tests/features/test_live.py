"""What is seen live of a camera: on demand, as large as asked for, covered where it has to be."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.observer import Observation
from sightline.analysis.options import analysis_options
from sightline.config import Camera, parse_config
from sightline.entities import Detections, Event, EventKind, ModelInfo, Variant, Watch
from sightline.features.live import live_observer, painter, staging
from sightline.features.live.detections_message import SCHEMA, detections_message
from sightline.features.live.live_observer import LiveObserver
from sightline.video.hidden_areas import HOLD_S
from sightline.video.picture import decode_jpeg, from_i420, full_range, written
from support.fakes import GreyPicture, boxes, frame
from support.waiting import until

MODEL = ModelInfo("detector", "m-1", ("person", "car"), 192, 320, "fp32", 0.1)
PERSON = (0.4, 0.2, 0.6, 0.8)
PLACES = {
    "lines": {"door": {"points": [[0.5, 0.9], [0.5, 0.1]]}},
    "zones": {"hall": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}},
}
T0 = 1_700_000_040.0


def camera(**groups: Any) -> Camera:
    return parse_config({"cameras": {"gate": {"url": "rtsp://h/", **groups}}}).cameras["gate"]


class Watched:
    """A camera, its live observer, and what it shows; frames come when a test says so."""

    def __init__(self, picture: Any = None, **groups: Any) -> None:
        groups.setdefault("live", {"fps": 30})
        self.camera = camera(**groups)
        self.analysis = CameraAnalysis(analysis_options(self.camera))
        self.analysis.use_model(MODEL)
        self.shown: list[tuple[Variant, dict[str, Any], bytes]] = []
        self.observer = LiveObserver(self.camera, self._publish, lambda: self.analysis.occupancy)
        self.picture = picture or GreyPicture(1920, 1080)
        self.is_congested = False  # what is shown replaces what has not been sent yet
        self.index = 0

    def _publish(self, *what: Any) -> bool:
        self.shown.append(what)
        return self.is_congested

    def watch(self, *variants: Variant, seconds: float = 60.0) -> None:
        self.observer.request(Watch(frozenset(variants), seconds))

    def see(self, found: Detections | None = None, step_s: float = 0.1) -> Observation:
        self.index += 1
        at = replace(frame(self.index, T0 + self.index * step_s, self.picture), received_s=time.monotonic())
        seen = self.analysis.observe(at, boxes(PERSON) if found is None else found)
        self.observer.observe(seen)
        return seen

    def until_shown(self, found: Detections | None = None) -> dict[Variant, tuple[dict[str, Any], bytes]]:
        """What one more frame shows."""
        until(self.observer._job.done, 10)
        self.observer._staging._due_s = 0.0
        self.shown.clear()
        self.see(found)
        until(self.observer._job.done, 10)
        self.observer._job.result()
        return {variant: (header, payload) for variant, header, payload in self.shown}


def luma(jpeg: bytes) -> np.ndarray:
    picture = written(decode_jpeg(jpeg))
    return picture[: len(picture) * 2 // 3]


def test_while_nobody_watches_nothing_is_made() -> None:
    gate = Watched()
    for _ in range(5):
        gate.see()
    gate.observer.tick(T0, False)
    assert not gate.shown
    assert gate.observer._job.done()
    assert [figure.value for figure in gate.observer.figures()] == [0, 0, 0]


def test_variants_have_their_sizes_and_pictures_are_never_enlarged() -> None:
    gate = Watched()
    wanted = set(Variant) - {Variant.VIDEO}  # which another feature shows
    gate.watch(*wanted)
    shown = gate.until_shown()
    assert set(shown) == wanted
    for variant, (header, payload) in shown.items():
        assert (header["capture_time"], header["media_s"]) == (T0 + 0.1, T0 + 0.1)
        if variant is not Variant.DETECTIONS:
            height, width = luma(payload).shape
            assert (width, height) == (header["width"], header["height"])
            assert width == variant.side_px
            assert height == variant.side_px * 9 // 16
    low = Watched(GreyPicture(320, 240))
    low.watch(Variant.LARGE)
    assert luma(low.until_shown()[Variant.LARGE][1]).shape == (240, 320)
    upright = Watched(GreyPicture(1080, 1920))
    upright.watch(Variant.SMALL)
    assert luma(upright.until_shown()[Variant.SMALL][1]).shape == (640, 360)


def test_an_overlay_is_drawn_on_its_own_variant_alone() -> None:
    gate = Watched(rules=PLACES)
    gate.watch(Variant.LARGE, Variant.LARGE_OVERLAY)
    shown = gate.until_shown()
    plain, drawn = luma(shown[Variant.LARGE][1]), luma(shown[Variant.LARGE_OVERLAY][1])
    assert np.ptp(plain) <= 3
    assert np.ptp(drawn) > 100
    left = round(PERSON[0] * 1280)
    assert abs(int(drawn[300, left - 1 : left + 2].max()) - int(drawn[300, left + 40])) > 15, (
        "no edge of the box"
    )


def test_layers_can_be_left_out_and_come_back_between_two_frames() -> None:
    gate = Watched(live={"fps": 30, "layers": ["boxes"]}, rules=PLACES)
    gate.watch(Variant.SMALL_OVERLAY)
    few = luma(gate.until_shown()[Variant.SMALL_OVERLAY][1])
    gate.observer.update(camera(live={"fps": 30}, rules=PLACES))
    many = luma(gate.until_shown()[Variant.SMALL_OVERLAY][1])
    changed = [(np.abs(one.astype(int) - np.median(one)) > 12).mean() for one in (few, many)]
    assert changed[1] > 2 * changed[0] > 0


def test_without_opencv_boxes_have_edges_and_the_state_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter, "drawing", lambda: None)
    gate = Watched(rules=PLACES)
    gate.watch(Variant.SMALL_OVERLAY)
    drawn = luma(gate.until_shown()[Variant.SMALL_OVERLAY][1])
    assert np.ptp(drawn) > 15
    assert "sightline[draw]" in gate.observer.problem()
    gate.observer._leases.clear()
    assert not gate.observer.problem()


def test_a_lease_ends_by_itself_and_can_be_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    for module in (live_observer, staging):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    gate = Watched()
    gate.watch(Variant.SMALL, seconds=12)
    gate.watch(Variant.DETECTIONS, seconds=3)
    assert set(gate.until_shown()) == {Variant.SMALL, Variant.DETECTIONS}
    now = 104.0
    gate.observer.tick(T0, False)
    assert set(gate.until_shown()) == {Variant.SMALL}
    gate.watch(Variant.SMALL, seconds=1e9)  # nobody may ask for more than a minute
    now = 104.0 + staging.MAX_LEASE_S + 0.1
    gate.observer.tick(T0, False)
    assert gate.until_shown() == {}


def test_no_more_than_fps_are_shown_and_frames_that_jitter_are_not_halved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    for module in (live_observer, staging):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    for fps, frames_s, shown_s in ((10, 25, 10), (10, 12, 10), (10, 5, 5)):
        gate = Watched(live={"fps": fps})
        gate.watch(Variant.DETECTIONS)
        for number in range(10 * frames_s):
            now = 200 + number / frames_s + 0.004 * (number % 3)
            gate.see()
            until(gate.observer._job.done, 10)
        assert len(gate.shown) == pytest.approx(10 * shown_s, abs=3)


def test_while_it_draws_the_newest_replaces_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Watched()
    gate.watch(Variant.DETECTIONS)
    painted: list[float] = []
    hold = [True]

    def paint(scene: painter.Scene) -> Any:
        painted.append(scene.seen.frame.capture_time)
        until(lambda: not hold[0], 10)
        return iter(())

    monkeypatch.setattr(gate.observer._painter, "paint", paint)
    for _ in range(20):
        gate.observer._staging._due_s = 0.0
        gate.see()
    until(lambda: painted, 5)
    assert len(gate.observer._scenes) <= 1
    hold[0] = False
    until(gate.observer._job.done, 5)
    last = gate.observer._scenes[0].seen.frame.capture_time
    gate.observer._staging._due_s = 0.0
    assert last == T0 + 2.0
    newest = gate.see().frame.capture_time
    until(gate.observer._job.done, 5)
    assert painted[-1] == newest


def test_a_frame_that_comes_just_as_the_thread_ends_is_drawn_once_and_no_fault() -> None:
    """The job takes it before its end is seen: the next job finds nothing left to draw."""
    gate = Watched()
    gate.watch(Variant.DETECTIONS)
    gate.see()
    until(gate.observer._job.done, 5)
    gate.observer._draw()
    until(gate.observer._job.done, 5)
    gate.observer._staging._due_s = 0.0
    gate.see()


def test_pictures_that_replace_others_on_their_way_are_counted() -> None:
    gate = Watched()
    gate.watch(Variant.SMALL, Variant.DETECTIONS)
    gate.until_shown()
    gate.is_congested = True
    gate.until_shown()
    figures = {figure.name: figure.value for figure in gate.observer.figures()}
    assert figures == {"live_pictures_total": 4, "live_replaced_total": 2, "live_variants": 2}


def test_a_fault_of_ours_is_raised_where_the_feature_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Watched()
    gate.watch(Variant.DETECTIONS)

    def paint(_: painter.Scene) -> Any:
        raise KeyError("a fault")

    monkeypatch.setattr(gate.observer._painter, "paint", paint)
    gate.see()
    until(gate.observer._job.done, 5)
    with pytest.raises(KeyError):
        gate.see()


def test_a_picture_that_cannot_be_converted_is_left_out_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Watched()
    gate.watch(Variant.SMALL)
    monkeypatch.setattr(
        painter.Painter, "_covered", lambda *_: (_ for _ in ()).throw(ValueError("no such format"))
    )
    assert gate.until_shown() == {}
    assert gate.until_shown() == {}
    assert caplog.text.count("camera gate: it cannot be shown: no such format") == 1


# -- boxes -----------------------------------------------------------------------------------------------


def test_the_schema_of_the_documents_is_that_of_the_code() -> None:
    path = Path(__file__).parents[2] / "docs" / "schemas" / "detections.v1.json"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    cure = "sightline schema --stream detections > docs/schemas/detections.v1.json"
    assert json.loads(path.read_text()) == SCHEMA, cure


def test_messages_of_boxes_are_as_the_schema_says_and_say_what_places_hold() -> None:
    gate = Watched(rules=PLACES, count={"window_s": 60})
    gate.watch(Variant.DETECTIONS)
    for step in range(30):  # from right to left over the line
        x = 0.9 - 0.025 * step
        gate.see(boxes((x - 0.05, 0.4, x + 0.05, 0.7)))
    header, payload = gate.until_shown(boxes((0.1, 0.4, 0.2, 0.7)))[Variant.DETECTIONS]
    message = json.loads(payload)
    jsonschema.validate(message, SCHEMA)
    for key in message:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({other: value for other, value in message.items() if other != key}, SCHEMA)
    [found] = message["objects"]
    assert (found["class"], found["confirmed"], found["score"]) == ("person", True, 0.9)
    assert found["box"] == pytest.approx([0.1, 0.4, 0.2, 0.7], abs=0.05)
    assert message["zones"] == {"hall": 1}
    assert message["lines"] == {"door": {"forward": 1, "backward": 0}}
    assert (message["width"], message["height"], message["camera"]) == (1920, 1080, "gate")
    assert message["capture_time"] == header["capture_time"]


def test_crossings_count_from_the_beginning_of_the_window_whoever_watches() -> None:
    gate = Watched(rules=PLACES, count={"window_s": 60})
    seen = gate.see()
    crossing = Event("gate", EventKind.CROSSING, "door", 7, "person", T0, T0, "backward")
    gate.observer.observe(replace(seen, results=[crossing]))
    gate.watch(Variant.DETECTIONS)

    def door() -> Any:
        return json.loads(gate.until_shown()[Variant.DETECTIONS][1])["lines"]["door"]

    assert door() == {"forward": 0, "backward": 1}
    gate.index = 600  # a minute later
    assert door() == {"forward": 0, "backward": 0}


def test_a_box_beyond_the_picture_and_none_at_all_are_messages_too() -> None:
    gate = Watched()
    seen = gate.see(boxes((-0.1, 0.2, 1.3, 0.9)))
    jsonschema.validate(json.loads(detections_message("gate", seen, {}, {})), SCHEMA)
    seen = gate.see(Detections.empty())
    message = json.loads(detections_message("gate", seen, {}, {}))
    jsonschema.validate(message, SCHEMA)
    assert message["objects"] == []


# -- privacy ---------------------------------------------------------------------------------------------


def noisy() -> Any:
    random = np.random.default_rng(1)
    return from_i420(random.integers(60, 200, (270 * 2, 640), np.uint8))


def roughness(jpeg: bytes, box: tuple[float, float, float, float]) -> float:
    """How much neighbouring pixels differ, in the middle of a box."""
    picture = luma(jpeg).astype(float)
    height, width = picture.shape
    left, top, right, bottom = (
        round(share * size) for share, size in zip(box, (width, height) * 2, strict=True)
    )
    part = picture[top + 4 : bottom - 4, left + 4 : right - 4]
    return float(np.abs(np.diff(part)).mean())


def hidden_gate() -> Watched:
    gate = Watched(noisy(), privacy={"blur": ["persons"]}, live={"fps": 30, "layers": []})
    gate.watch(Variant.LARGE, Variant.LARGE_OVERLAY)
    gate.observer._staging._since_s -= HOLD_S
    return gate


def test_persons_are_covered_in_every_variant() -> None:
    shown = hidden_gate().until_shown()
    for variant in (Variant.LARGE, Variant.LARGE_OVERLAY):
        payload = shown[variant][1]
        assert roughness(payload, PERSON) < 5
        assert roughness(payload, (0.05, 0.1, 0.3, 0.9)) > 10


def test_who_is_missed_for_a_moment_stays_covered_and_the_first_second_shows_nothing() -> None:
    gate = hidden_gate()
    gate.until_shown()
    missed = gate.until_shown(Detections.empty())
    assert roughness(missed[Variant.LARGE][1], PERSON) < 5
    for _ in range(12):
        gate.see(Detections.empty())
    assert roughness(gate.until_shown(Detections.empty())[Variant.LARGE][1], PERSON) > 10
    late = Watched(noisy(), privacy={"blur": ["persons"]})
    late.watch(Variant.LARGE, Variant.DETECTIONS)
    assert set(late.until_shown(Detections.empty())) == {Variant.DETECTIONS}, (
        "who knows whom it has just missed"
    )


def test_a_stream_that_begins_anew_is_shown_once_it_is_known_again() -> None:
    gate = hidden_gate()
    gate.until_shown()
    gate.index = -100
    assert gate.until_shown(Detections.empty()) == {}


def test_a_model_that_cannot_say_what_to_cover_covers_everything() -> None:
    gate = Watched(noisy(), privacy={"blur": ["plates"]}, live={"fps": 30, "layers": []})
    gate.analysis.use_model(replace(MODEL, class_names=("cat",)))
    gate.watch(Variant.LARGE)
    gate.observer._staging._since_s -= HOLD_S
    assert roughness(gate.until_shown()[Variant.LARGE][1], (0.01, 0.01, 0.99, 0.99)) < 5


def test_a_jpeg_that_is_none_is_told() -> None:
    for nothing in (b"", b"no picture", full_range(written(GreyPicture())).tobytes()):
        with pytest.raises(ValueError, match="no JPEG"):
            decode_jpeg(nothing)
