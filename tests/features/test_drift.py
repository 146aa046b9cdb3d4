"""Drift in the worker: numbers of every hour, and a sample of pictures that only consent lets be kept."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from prometheus_client.parser import text_string_to_metric_families

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.options import AnalysisOptions
from sightline.config import Camera, parse_config
from sightline.config.groups import Blurred, DetectOptions, DriftOptions
from sightline.entities import Checkpoint, Detections, DriftWindow, ModelInfo
from sightline.errors import ConfigError
from sightline.features.drift import hourly_stats
from sightline.features.drift.drift_watch import DriftWatch, make
from sightline.features.drift.hourly_stats import WINDOW_S, HourlyStats
from sightline.features.drift.labels import Sample, find
from sightline.features.drift.sampler import MAX_WAITING, FrameSampler
from sightline.features.drift.samples import (
    LEDGER,
    FrameKind,
    Samples,
    Schedule,
    kind_of,
    place_in_reservoir,
    sweep_folder,
)
from sightline.features.feature import FeatureContext
from sightline.store.database import Store
from sightline.store.read.queries import read_hours
from sightline.supervisor.http.prometheus import text_of_figures
from sightline.video import blur
from sightline.video.open_gate import OpenGate
from sightline.video.picture import YuvPicture, encode_jpeg
from support.fakes import GreyPicture, boxes, frame
from support.observations import Watched
from support.stored import write
from support.waiting import until

CLASSES = ("person", "car")
PERSON = (0.25, 0.25, 0.5, 0.75)
HOUR = float(int(datetime.now(UTC).timestamp()) // WINDOW_S * WINDOW_S)  # young enough to be kept


def camera(folder: Path, **drift: Any) -> Camera:
    options = {"folder": str(folder), "every_s": 1, **drift}
    return parse_config({"cameras": {"gate": {"url": "rtsp://x/1", "drift": options}}}).cameras["gate"]


def watch_of(camera: Camera) -> DriftWatch | None:
    return make(FeatureContext(camera, None, "detector", False, lambda: False, no_candidate, OpenGate("", 1)))


def kept_samples(folder: Path, camera: str) -> list[Sample]:
    return find(folder, (camera,), (0.0, float("inf")))


def no_candidate(model: str) -> NoReturn:
    raise AssertionError(f"drift asks for {model}")


def noise(width: int = 320, height: int = 192) -> YuvPicture:
    pixels = np.random.default_rng(3).integers(16, 235, (height * 3 // 2, width), np.uint8)
    return YuvPicture(av.VideoFrame.from_ndarray(pixels, "yuv420p"), VideoReformatter())


def watch_frames(watch: DriftWatch, detections: Detections, times: list[float]) -> None:
    seen = Watched(CLASSES)
    for index, time in enumerate(times):
        watch.observe(seen(replace(frame(index, time), picture=noise()), None, detections))


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.rglob("*") if path.is_file() and path.name != LEDGER)


# -- consent ------------------------------------------------------------------------------------------


def test_consent_is_given_camera_by_camera_and_never_by_default() -> None:
    cameras = {"gate": {"url": "rtsp://x/1"}, "yard": {"url": "rtsp://x/2", "drift": {"consent": True}}}
    loaded = parse_config({"drift": {"retention_days": 7}, "cameras": cameras})
    gate, yard = loaded.cameras["gate"].drift, loaded.cameras["yard"].drift
    assert (gate.consent, yard.consent) == (False, True)
    assert gate.retention_days == yard.retention_days == 7  # laid over the defaults, key by key
    with pytest.raises(ConfigError, match=r"drift\.consent.*camera by camera"):
        parse_config({"drift": {"consent": True}, "cameras": cameras})


def test_without_consent_nothing_but_numbers_is_made(tmp_path: Path) -> None:
    watch = watch_of(camera(tmp_path / "drift"))
    assert watch is not None
    watch_frames(watch, boxes(PERSON, score=0.15), [HOUR + second for second in range(20)])
    watch.close()
    assert not (tmp_path / "drift").exists()
    [window] = watch.end(HOUR + 20)
    assert (window.frames, window.pictures) == (20, 20)
    assert watch_of(camera(tmp_path / "drift", signals=False)) is None


def test_withdrawn_consent_deletes_what_was_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = watch_of(camera(tmp_path, consent=True))
    assert watch is not None
    watch_frames(watch, boxes(PERSON), [HOUR + 0.99, HOUR + 1.99])
    watch.close()
    assert files(tmp_path) == [".jpg", ".jpg", ".json", ".json"]
    [folder] = {path.parent for path in tmp_path.rglob("*.jpg")}
    others = [folder / name for name in ("holiday.jpg", "settings.json", "x.new")]
    for path in others:  # of whoever has put them there
        path.touch()
    watch_of(camera(tmp_path, consent=False))
    assert sorted(folder.iterdir()) == sorted(others)
    assert "2 sampled pictures deleted" in caplog.text


def test_a_model_that_does_not_know_what_to_blur_gets_no_picture_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = FrameSampler("gate", DriftOptions(consent=True, folder=tmp_path))
    sampler.offer(noise(), HOUR, "plain-dim", boxes(PERSON), ("apple", "car"))
    sampler.close()
    assert (files(tmp_path), sampler.refused) == ([], 1)
    assert "blur: faces: none of the model's classes" in caplog.text


def test_a_camera_that_starts_anew_leaves_no_thread_behind(tmp_path: Path) -> None:
    def threads() -> int:
        return sum(thread.name == "drift" for thread in threading.enumerate())

    before = threads()
    for second in range(3):
        watch = watch_of(camera(tmp_path, consent=True))
        assert watch is not None
        watch_frames(watch, boxes(PERSON), [HOUR + 0.99 + second])
        watch.close()
    until(lambda: threads() <= before, 5)


# -- which frames -------------------------------------------------------------------------------------


def test_kinds_of_frames() -> None:
    crowd = boxes(*[PERSON] * 8)
    weak = boxes(PERSON, PERSON, score=0.2)
    assert kind_of(crowd, 0.25) is FrameKind.CROWDED
    assert kind_of(weak, 0.25) is FrameKind.WEAK
    assert kind_of(boxes(PERSON), 0.25) is FrameKind.PLAIN
    assert kind_of(Detections.empty(), 0.25) is FrameKind.NONE


def test_each_kind_is_offered_once_in_each_stretch_at_a_moment_of_the_seed() -> None:
    def taken(seed: int) -> list[tuple[int, str]]:
        schedule, found = Schedule("gate", 100.0, seed), []
        for time in range(400):
            kind = FrameKind.WEAK if time % 2 else FrameKind.NONE
            if schedule.is_due(time) and schedule.take(kind):
                found.append((time, str(kind)))
        return found

    first = taken(0)
    assert [time // 100 for time, _ in first] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {kind for _, kind in first} == {"weak", "none"}
    assert len({time % 100 // 2 for time, _ in first}) > 2  # not always at the same moment
    assert taken(0) == first
    assert taken(1) != first


def test_the_reservoir_is_fair_bounded_and_the_same_for_the_same_seed() -> None:
    def kept(seed: int) -> list[int]:
        reservoir: dict[int, int] = {}
        for offered in range(1, 101):
            place = place_in_reservoir(seed, "gate/weak", offered, 4)
            if place is not None:
                reservoir[place] = offered
        return sorted(reservoir.values())

    assert kept(0) == kept(0)
    assert all(len(kept(seed)) == 4 for seed in range(50))
    middle = np.mean([kept(seed) for seed in range(300)])
    assert 45 < middle < 56  # early and late frames alike: 50.5 ± 0.85 for a fair one


# -- pictures -----------------------------------------------------------------------------------------


def test_a_sample_names_the_version_whose_boxes_it_has(tmp_path: Path) -> None:
    watch = watch_of(camera(tmp_path, consent=True))
    assert watch is not None
    analysis = CameraAnalysis(AnalysisOptions("gate"))
    model = ModelInfo("detector", "m-1", CLASSES, 192, 320, "fp32", 0.1)
    shown = replace(frame(0, HOUR + 0.99), picture=noise())
    watch.observe(analysis.observe(shown, replace(boxes(PERSON), model=model)))
    watch.close()
    [sample] = kept_samples(tmp_path, "gate")
    about = json.loads(sample.path.with_suffix(".json").read_text())
    assert (about["model"], about["model_version"]) == ("detector", "m-1")


def test_what_privacy_names_is_covered_in_samples_too(tmp_path: Path) -> None:
    drift = {"folder": str(tmp_path), "every_s": 1, "consent": True, "blur": []}
    privacy = {"blur": ["persons"]}
    raw = {"cameras": {"gate": {"url": "rtsp://x/1", "drift": drift, "privacy": privacy}}}
    watch = watch_of(parse_config(raw).cameras["gate"])
    assert watch is not None
    watch_frames(watch, boxes(PERSON), [HOUR + 0.99])
    watch.close()
    [sample] = kept_samples(tmp_path, "gate")
    with av.open(str(sample.path)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="yuv420p")
    assert spread(decoded, PERSON) < 15
    assert json.loads(sample.path.with_suffix(".json").read_text())["blurred"] == ["persons"]


def spread(picture: np.ndarray, area: tuple[float, float, float, float]) -> float:
    """Mean absolute step between neighbours in the inner part of an area, of luma."""
    height, width = len(picture) * 2 // 3, picture.shape[1]
    left, right = round(area[0] * width) + 4, round(area[2] * width) - 4
    top, bottom = round(area[1] * height) + 4, round(area[3] * height) - 4
    return float(np.abs(np.diff(picture[top:bottom, left:right].astype(int), axis=1)).mean())


def test_faces_and_plates_are_covered_and_the_rest_is_left_alone() -> None:
    picture = noise().copy_full_range()
    before = picture.copy()
    found = np.array([PERSON, (0.6, 0.25, 0.9, 0.75)], np.float32)
    blur.hide(picture, (Blurred.FACES, Blurred.PLATES), found, CLASSES)
    head, legs = (0.25, 0.25, 0.5, 0.45), (0.25, 0.6, 0.5, 0.75)
    roof, bumper = (0.6, 0.25, 0.9, 0.33), (0.6, 0.5, 0.9, 0.75)
    assert spread(before, head) > 50
    assert max(spread(picture, head), spread(picture, bumper)) < 15
    for area in (legs, roof):
        assert spread(picture, area) == spread(before, area)
    coloured, covered = (
        item.reshape(-1)[192 * 320 :][: 96 * 160].reshape(96, 160)[26:42, 45:75] for item in (before, picture)
    )
    assert len(np.unique(covered)) < len(np.unique(coloured)) / 3  # in colour too


def test_whole_persons_can_be_covered_also_at_the_edge_and_found_weakly(tmp_path: Path) -> None:
    sampler = FrameSampler("gate", DriftOptions(consent=True, folder=tmp_path, blur=(Blurred.PERSONS,)))
    edge = (0.8, 0.5, 1.0, 1.0)
    sampler.offer(noise(), HOUR, "weak-dim", boxes(edge, score=0.11), CLASSES)
    sampler.close()
    [sample] = kept_samples(tmp_path, "gate")
    with av.open(str(sample.path)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="yuv420p")
    assert spread(decoded, edge) < 15
    assert spread(decoded, (0.1, 0.1, 0.7, 0.9)) > 50
    found = json.loads(sample.path.with_suffix(".json").read_text())
    assert (found["classes"], found["scores"], found["blurred"]) == (["person"], [0.11], ["persons"])
    assert (sample.path.stat().st_mode & 0o777, sample.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_kept_picture_has_the_colours_of_the_frame() -> None:
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:] = (200, 40, 90)
    original = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
    encoded = encode_jpeg(YuvPicture(original, VideoReformatter()).copy_full_range())
    with av.open(io.BytesIO(encoded)) as container:
        back = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(back.astype(int) - pixels).max() <= 4


def test_a_picture_that_lies_elsewhere_is_looked_at_and_kept_too(tmp_path: Path) -> None:
    watch = watch_of(camera(tmp_path, consent=True))
    assert watch is not None
    watch.observe(Watched(CLASSES)(frame(0, HOUR + 0.99, GreyPicture(level=235)), None, boxes(PERSON)))
    watch.close()
    [sample] = kept_samples(tmp_path, "gate")
    with av.open(str(sample.path)) as container:
        assert abs(int(next(container.decode(video=0)).to_ndarray(format="gray").max()) - 255) <= 2
    assert sample.stratum == "plain-bright"


# -- bounds -------------------------------------------------------------------------------------------


def put(samples: Samples, time: float, place: int, stratum: str = "plain-dim", size: int = 1000) -> None:
    assert samples.place(time, stratum) is not None
    samples.keep(time, stratum, place, b"x" * size, {"sha256": ""})


def test_a_stratum_keeps_so_many_of_a_day_also_after_a_restart(tmp_path: Path) -> None:
    options = DriftOptions(folder=tmp_path, per_stratum=3)
    for _ in range(2):
        samples = Samples("gate", options)
        samples.open()
        for second in range(100):
            time = HOUR + len(list(tmp_path.rglob("*.json"))) * 500 + second
            place = samples.place(time, "weak-dark")
            if place is not None:
                samples.keep(time, "weak-dark", place, b"x", {})
        assert len(kept_samples(tmp_path, "gate")) == 3
    ledger = json.loads((tmp_path / "gate" / LEDGER).read_text())
    assert ledger["strata"]["weak-dark"]["offered"] == 200


def test_old_pictures_are_deleted_at_the_start_of_any_camera(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Samples("gone", DriftOptions(folder=tmp_path, retention_days=1))
    gone.open()
    put(gone, HOUR, 0)
    put(gone, HOUR - 60, 1)
    [old, _] = kept_samples(tmp_path, "gone")
    aged = old.path.with_name("20200101T000000.000Z-plain-dim.jpg")
    old.path.rename(aged)
    old.path.with_suffix(".json").rename(aged.with_suffix(".json"))
    caplog.set_level("INFO")
    Samples("other", DriftOptions(folder=tmp_path, retention_days=30)).open()
    assert len(kept_samples(tmp_path, "gone")) == 1
    assert not aged.exists()
    assert "1 sampled pictures deleted: older than 1 days" in caplog.text
    assert sweep_folder(tmp_path) == 0


def test_more_bytes_than_allowed_drop_the_oldest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    samples = Samples("gate", DriftOptions(folder=tmp_path, max_bytes=10_000, per_stratum=20))
    samples.open()
    for place in range(8):
        put(samples, HOUR + place, place, size=2000)
    kept = kept_samples(tmp_path, "gate")
    assert [sample.time for sample in kept] == [HOUR + place for place in (4, 5, 6, 7)]
    assert "more than 10000 bytes" in caplog.text


def test_a_busy_disk_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(Samples, "open", lambda _: go_on.wait(60))
    sampler = FrameSampler("gate", DriftOptions(consent=True, folder=tmp_path))
    for index in range(MAX_WAITING + 3):
        sampler.offer(noise(), HOUR + index, "plain-dim", boxes(PERSON), CLASSES)
    assert sampler.lost == 3
    go_on.set()
    sampler.close()


def test_a_disk_that_takes_nothing_is_said_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "drift").write_text("a file where the folder should be")
    sampler = FrameSampler("gate", DriftOptions(consent=True, folder=tmp_path / "drift"))
    for index in range(2):
        sampler.offer(noise(), HOUR + index, "plain-dim", boxes(PERSON), CLASSES)
        until(lambda: sampler.waiting == 0)
    sampler.close()
    assert sampler.kept == 0
    assert sampler.lost == 3  # opening, and two pictures
    assert caplog.text.count("cannot be kept: Not a directory") == 1


# -- numbers ------------------------------------------------------------------------------------------


def test_numbers_of_an_hour() -> None:
    stats = HourlyStats("gate", 0.25)
    strong = boxes(PERSON, PERSON, PERSON, score=0.93)
    weak = boxes(PERSON, score=0.12, class_id=1)
    for index in range(10):
        stats.observe(strong if index < 8 else weak, CLASSES, HOUR + index, "m-1")
    stats.observe(strong, CLASSES, HOUR + WINDOW_S, "m-1")
    [window] = stats.take_closed()
    assert (window.frames, window.boxes, window.window_start) == (10, 24, HOUR)
    figures = window.figures
    assert figures["scores"][18] == 24
    assert figures["scores"][2] == figures["weak"] == 2
    assert figures["per_frame"][3] == 8
    assert figures["per_frame"][0] == 2
    assert figures["classes"] == {"person": 24}
    assert stats.take_closed() == ()


def test_another_version_of_the_model_has_numbers_of_its_own() -> None:
    stats = HourlyStats("gate", 0.25)
    for version in ("m-1", "m-2"):
        stats.observe(boxes(PERSON), CLASSES, HOUR, version)
    assert [window.model_version for window in stats.take_closed()] == ["m-1"]
    assert stats.open_window is not None
    assert (stats.open_window.model_version, stats.open_window.frames) == ("m-2", 1)


def test_numbers_go_on_after_a_restart() -> None:
    halves, whole = [HourlyStats("gate", 0.25)], HourlyStats("gate", 0.25)
    for index in range(20):
        if index == 10:
            halves.append(HourlyStats("gate", 0.25, json.loads(json.dumps(halves[0].snapshot()))))
        for stats in (halves[-1], whole):
            stats.observe(boxes(PERSON, score=0.05 * index), CLASSES, HOUR + index, "m")
            stats.observe_image(hourly_stats.measure_luma(np.full((20, 30), 10 * index, np.uint8)))
    assert halves[-1].open_window == whole.open_window
    with pytest.raises(ValueError, match="not usable"):
        HourlyStats("gate", 0.25, {"hour": 3})


def test_blur_and_darkness_show_in_the_look_of_a_picture() -> None:
    rng = np.random.default_rng(5)
    sharp = rng.integers(60, 200, (240, 320), np.uint8)
    soft = np.cumsum(np.cumsum(sharp.astype(float), 0), 1)
    soft = (soft[8:, 8:] - soft[:-8, 8:] - soft[8:, :-8] + soft[:-8, :-8]) / 64
    seen, blurred, dark = (
        hourly_stats.measure_luma(item.astype(np.uint8)) for item in (sharp, soft, sharp / 4)
    )
    assert blurred.sharpness < seen.sharpness / 2
    assert (seen.light, dark.light) == ("bright", "dark")
    assert seen.luma.sum() == pytest.approx(1)


def test_another_threshold_holds_from_the_next_frame_on(tmp_path: Path) -> None:
    watch = watch_of(camera(tmp_path))
    assert watch is not None
    watch_frames(watch, boxes(PERSON, score=0.4), [HOUR])
    strict = camera(tmp_path).model_copy(update={"detect": DetectOptions(min_score=0.5)})
    watch.update(strict)
    watch_frames(watch, boxes(PERSON, score=0.4), [HOUR + 1])
    [window] = watch.end(HOUR + 1)
    assert (window.frames, window.boxes) == (2, 1)


def test_the_open_hours_figures_are_metrics(tmp_path: Path) -> None:
    watch = watch_of(camera(tmp_path))
    assert watch is not None
    half_weak = Detections(
        np.array([PERSON, PERSON], np.float32), np.array([0.9, 0.2], np.float32), np.zeros(2, np.int32)
    )
    watch_frames(watch, half_weak, [HOUR, HOUR + 1])
    families = text_string_to_metric_families(text_of_figures(watch.figures()).decode())
    values = {family.name: family.samples[0].value for family in families}
    assert values["sightline_drift_boxes_per_frame"] == 1
    assert values["sightline_drift_weak_share"] == 0.5
    assert 110 < values["sightline_drift_luma"] < 140
    assert "sightline_drift_samples_kept" not in values  # no consent


def test_hours_are_stored_once_and_replaced_by_newer_ones(database_url: str) -> None:
    def checkpoint(frames: int, version: str = "m-1") -> Checkpoint:
        window = DriftWindow("gate", HOUR, HOUR + WINDOW_S, version, frames, 2, 3, {"scores": [1, 2]})
        return Checkpoint("gate", (window,), {})

    store = Store(database_url)
    for item in (checkpoint(10), checkpoint(20), checkpoint(5, "m-2")):
        write(store, [item])
    store.close()
    rows = read_hours(database_url, None)
    assert [(row.model_version, row.frames, row.figures) for row in rows] == [
        ("m-1", 20, {"scores": [1, 2]}),
        ("m-2", 5, {"scores": [1, 2]}),
    ]
    assert rows[0].window_start == HOUR
