"""The scoreboard's arithmetic, on evidence made up for it; the whole path is in test_selftest_system."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sightline.cli.main import build_parser
from sightline.config import zones
from sightline.errors import ServerError
from sightline.features.track_log import TrackedFrame
from sightline.simulation.scenes.scene_places import anchor, camera_places, cut, places_of
from sightline.simulation.scenes.spec import SceneSpec, camera_of
from sightline.simulation.scenes.truth import CLASSES
from sightline.simulation.selftest import ground_truth
from sightline.simulation.selftest.box_scores import identity, moments, pairs, precision
from sightline.simulation.selftest.evidence import ClaimedEvent, Evidence, match
from sightline.simulation.selftest.figures import FIGURES, Count, failures, judge, table, thresholds
from sightline.simulation.selftest.ground_truth import GroundTruth, Happening, TruthSample
from sightline.simulation.selftest.runner import run_selftest

START = 1_700_000_000.0
SPAN = (3.0, 27.0)
SMALL = {"width": 320, "height": 180}


def at(time_s: float, *, what: str = "forward", kind: str = "car", hidden: bool = False) -> Happening:
    return Happening(time_s, "road", what, kind, 1, hidden)


def test_claims_are_paired_one_to_one_within_a_second() -> None:
    found = match([at(10), at(10.5), at(20)], [at(10.9), at(11.4), at(21.5)], SPAN)
    assert [(t.time_s, c.time_s) for t, c in found.pairs] == [(10, 10.9), (10.5, 11.4)]
    assert ([m.time_s for m in found.missed], [e.time_s for e in found.extra]) == ([20], [21.5])
    assert (found.recall, found.precision, found.bias) == (2 / 3, 2 / 3, 0.0)


def test_direction_and_class_count_and_the_class_may_be_left_out() -> None:
    true, claimed = [at(10), at(12, kind="bus")], [at(10, what="backward"), at(12, kind="truck")]
    assert match(true, claimed, SPAN).pairs == ()
    assert len(match(true, claimed, SPAN, by_class=False).pairs) == 1


def test_what_nobody_could_see_is_neither_missed_nor_extra() -> None:
    unclaimed = match([at(10, hidden=True)], [], SPAN)
    claimed = match([at(10, hidden=True)], [at(10.2)], SPAN)
    assert (unclaimed.missed, claimed.extra, claimed.pairs) == ((), (), ())
    assert len(claimed.hidden) == 1


def test_an_entry_that_says_it_was_not_seen_may_be_right_and_is_never_extra() -> None:
    assert match([], [at(10, what="enter", hidden=True)], SPAN).extra == ()
    assert len(match([at(10, what="enter")], [at(10, what="enter", hidden=True)], SPAN).pairs) == 1


def test_outside_the_judged_span_nothing_is_missed_or_extra() -> None:
    found = match([at(1), at(3.5), at(28)], [at(2.8), at(0.1), at(29)], SPAN)
    assert ([t.time_s for t, _ in found.pairs], found.missed, found.extra) == ([3.5], (), ())


@pytest.mark.parametrize(
    ("counted", "error"), [(0, -3), (2, -1), (3, 0), (5, 0), (7, 2)]
)  # fmt: skip
def test_a_count_is_right_between_what_must_and_what_may_be_counted(counted: int, error: int) -> None:
    assert Count(counted, must=3, may=5).error == error


def moving(length_s: float = 30.0) -> GroundTruth:
    """One car that drives down the picture, and a person who is hidden all the time."""
    looks = []
    for i in range(round(length_s * ground_truth.SAMPLES_FPS)):
        time_s = i / ground_truth.SAMPLES_FPS
        y = 0.1 + 0.6 * time_s / length_s
        boxes = np.array([[0.4, y, 0.5, y + 0.2], [0.7, 0.5, 0.75, 0.7]], np.float32)
        looks.append(
            TruthSample(
                time_s,
                np.array([1, 2]),
                np.array([CLASSES.index("car"), CLASSES.index("person")]),
                boxes,
                boxes,
                np.array([False, True]),
                np.array([[0.45, y + 0.2], [0.72, 0.7]], np.float32),
                np.array([[30 - y * 10, -2.0], [50.0, 50.0]], np.float32),
            )
        )
    happenings = (Happening(15.0, "outbound", "backward", "car", 1),)
    return GroundTruth(SceneSpec(), length_s, happenings, tuple(looks))


def evidence(truth: GroundTruth, *, shift: float = 0.0, late_s: float = 0.3) -> Evidence:
    """A pipeline that finds the car in every look, ``shift`` beside its place, and its crossing."""
    frames = []
    for look in truth.samples:
        box = look.full_xyxy[:1] + np.float32(shift)
        capture = START + look.time_s
        frames.append(
            TrackedFrame(
                capture, look.time_s, capture + 0.1, look.time_s, None, ("car",), box,
                np.ones(1, np.float32), np.zeros(1, np.int32), np.array([9]), box, np.zeros(1, np.int32),
                np.array([True]),
            )
        )  # fmt: skip
    crossed = ClaimedEvent(
        "crossing", "outbound", "backward", "car", 9, START + 15.0 + late_s, START + 16.0, START + 15.8
    )
    return Evidence(tuple(frames), (crossed,), {"car": 1}, truth.length_s, 0, START, ground_truth.SAMPLES_FPS)


def test_a_perfect_pipeline_has_a_perfect_scoreboard() -> None:
    truth = moving()
    board = judge([("gate", truth, evidence(truth))])
    wanted = {"crossing_recall": 1, "crossing_precision": 1, "crossing_bias": 0, "count_error": 0, "map50": 1,
              "map50_95": 1, "frames_lost": 0, "coverage": 1, "idf1": 1, "hota": 1}  # fmt: skip
    assert {name: board.figures[name] for name in wanted} == pytest.approx(wanted)
    assert board.figures["tracked_p50_s"] == pytest.approx(0.1, abs=1e-3)
    assert board.figures["row_p50_s"] == pytest.approx(0.7, abs=1e-3)  # 0.3 of it is the event's own lateness
    assert failures(board, thresholds()) == []
    json.dumps(board.record())


def test_latency_is_told_by_kind_and_exits_of_lost_tracks_are_in_no_pool() -> None:
    truth = moving()
    base = evidence(truth)

    def event(kind: str, at: float, certain: float, row: float, *, unseen: bool = False) -> ClaimedEvent:
        times = (START + at, START + row, START + certain)
        told_time = None if unseen else START + row + 0.1
        return ClaimedEvent(kind, "far pavement", None, "car", 9, *times, unseen, told_time=told_time)

    events = [
        event("enter", 10.0, 10.2, 10.4),
        event("leave", 12.0, 12.4, 12.5),
        event("leave", 14.0, 20.0, 20.3, unseen=True),
    ]
    board = judge([("gate", truth, replace(base, events=(*base.events, *events)))])
    crossing, enter = board.latencies["crossing"], board.latencies["enter"]
    assert (crossing["certain_p99_s"], crossing["row_p99_s"]) == pytest.approx((0.5, 0.2), abs=1e-3)
    assert (enter["certain_p50_s"], enter["row_p50_s"]) == pytest.approx((0.2, 0.2), abs=1e-3)
    assert enter["told_p99_s"] == pytest.approx(0.3, abs=1e-3)
    assert board.latencies["leave"]["certain_p99_s"] == pytest.approx(0.4, abs=1e-3)
    lost = board.latencies["leave (lost)"]
    assert (lost["number"], lost["certain_p99_s"], lost["row_p99_s"]) == pytest.approx(
        (1, 6.0, 0.3), abs=1e-3
    )
    assert lost["told_p50_s"] is None
    row_p99_s = board.figures["row_p99_s"]
    assert row_p99_s is not None and row_p99_s < 1, "6.3 s of the lost track are not among them"
    assert "leave (lost)" in table(board, thresholds())


def test_who_crosses_a_line_called_like_a_zone_does_not_leave_the_zone() -> None:
    truth = moving()
    base = evidence(truth)
    crossed = ClaimedEvent(
        "crossing", "crossing", "backward", "car", 9, START + 10.0, START + 10.5, START + 10.2
    )
    board = judge([("gate", truth, replace(base, events=(*base.events, crossed)))])
    assert board.figures["occupancy_mae"] == 0


def test_every_figure_gets_worse_when_the_pipeline_does() -> None:
    truth = moving()
    board = judge([("gate", truth, evidence(truth, shift=0.3, late_s=1.5))])
    figures = board.figures
    assert [figures[n] for n in ("crossing_recall", "crossing_precision", "idf1", "map50")] == [0, 0, 0, 0]
    assert {"crossing_recall", "idf1", "map50"} <= set(failures(board, thresholds()))
    assert failures(board, thresholds(["crossing_recall=", "idf1=0"])) != failures(board, thresholds())
    shown = table(board, thresholds())
    assert "✗ IDF1" in shown
    assert "no speed in Sightline" in shown


def test_the_table_has_a_line_for_every_figure() -> None:
    truth = moving()
    board = judge([("gate", truth, evidence(truth))])
    assert set(board.figures) == set(FIGURES)
    assert all(title in table(board, thresholds()) for title, _, _ in FIGURES.values())


def test_no_evidence_is_no_success() -> None:
    truth = moving()
    nothing = replace(evidence(truth), frames=(), events=(), counts={}, watched_s=0.0)
    scoreboard = judge([("gate", truth, nothing)])
    unjudged = {"crossing_precision", "idf1", "hota", "map50", "row_p50_s", "row_p99_s"}
    assert unjudged <= set(scoreboard.unjudged)
    assert unjudged | {"crossing_recall", "frames_lost", "coverage"} <= set(
        failures(scoreboard, thresholds())
    )
    assert "could not be judged" in table(scoreboard, thresholds())


def test_a_figure_without_anything_to_judge_does_not_fail() -> None:
    truth = replace(moving(), happenings=())
    scoreboard = judge([("gate", truth, replace(evidence(truth), events=()))])
    assert scoreboard.figures["crossing_recall"] is None
    assert failures(scoreboard, thresholds()) == []


def test_identity_that_nothing_can_measure_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.simulation.selftest.box_scores.find_spec", lambda name: None)
    truth = moving()
    scoreboard = judge([("gate", truth, evidence(truth))])
    assert failures(scoreboard, thresholds()) == ["idf1", "hota"]
    assert failures(scoreboard, thresholds(["idf1=", "hota="])) == []


def test_the_self_test_does_not_start_without_trackeval(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sightline.simulation.selftest.box_scores.find_spec", lambda name: None)
    arguments = build_parser().parse_args(["selftest", "--folder", str(tmp_path / "selftest")])
    with pytest.raises(ServerError, match=r"TrackEval: pip install .*, or give --require"):
        run_selftest(arguments)
    assert not (tmp_path / "selftest").exists()


def test_a_box_on_somebody_hidden_is_not_held_against_the_tracker() -> None:
    truth = moving()
    base = evidence(truth)
    hidden = truth.samples[0].full_xyxy[1:]
    both = tuple(
        replace(f, ids=np.array([9, 8]), track_xyxy=np.concatenate([f.track_xyxy, hidden]),
                confirmed=np.array([True, True]), track_class_ids=np.array([0, 0]),
                xyxy=np.concatenate([f.xyxy, hidden]), scores=np.ones(2, np.float32),
                class_ids=np.zeros(2, np.int32))
        for f in base.frames
    )  # fmt: skip
    kept = identity([moments(truth.samples, both)])
    assert kept is not None
    assert kept.idf1 == 1.0
    found = precision([pairs(truth.samples, both)])
    assert found is not None
    assert found.map50 == 1.0


def test_average_precision_is_that_of_coco(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    looks, frames, truths, claims = [], [], [], []
    for i in range(40):
        count = 5
        kinds = random.integers(0, 3, count)
        corner = random.uniform(0, 0.7, (count, 2))
        boxes = np.concatenate([corner, corner + random.uniform(0.1, 0.3, (count, 2))], 1).astype(np.float32)
        false = random.uniform(0, 0.5, (3, 2))
        moved = np.concatenate([boxes + random.normal(0, 0.02, boxes.shape), np.hstack([false, false + 0.2])])
        classes = np.concatenate([kinds, random.integers(0, 3, 3)])
        scores = random.uniform(0.1, 1, len(moved))
        moved = moved.astype(np.float32)
        nobody = np.zeros(count, bool)
        looks.append(TruthSample(i / 5, np.arange(count), kinds, boxes, boxes, nobody, corner, corner))
        frames.append(
            TrackedFrame(i, i, i, i / 5, None, CLASSES, moved, scores.astype(np.float32),
                         classes.astype(np.int32), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0, int),
                         np.zeros(0, bool))
        )  # fmt: skip
        for box, kind in zip(boxes.tolist(), kinds.tolist(), strict=True):
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            truths.append({"id": len(truths) + 1, "image_id": i, "category_id": kind, "bbox": xywh,
                           "area": 0.5, "iscrowd": 0})  # fmt: skip
        for box, kind, score in zip(moved.tolist(), classes.tolist(), scores.tolist(), strict=True):
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            claims.append({"image_id": i, "category_id": kind, "bbox": xywh, "score": score})
    found = precision([pairs(looks, frames)])
    assert found is not None
    assert (found.map50_95, found.map50) == pytest.approx(by_coco(tmp_path, truths, claims), abs=0.005)


def by_coco(folder: Path, truths: list, claims: list) -> tuple[float, float]:
    from faster_coco_eval import COCO, COCOeval_faster

    images = [{"id": i, "width": 1, "height": 1} for i in range(40)]
    categories = [{"id": i, "name": CLASSES[i]} for i in range(3)]
    path = folder / "truth.json"
    path.write_text(json.dumps({"images": images, "annotations": truths, "categories": categories}))
    truth = COCO(str(path))
    judged = COCOeval_faster(truth, truth.loadRes(claims), "bbox")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    return float(judged.stats[0]), float(judged.stats[1])


def test_truth_is_the_same_for_one_seed_and_survives_its_file(tmp_path: Path) -> None:
    spec = SceneSpec(seed=5, camera=1, **SMALL)
    first, second = ground_truth.work_out(spec, 8.0), ground_truth.work_out(spec, 8.0)
    assert first.happenings == second.happenings
    assert first.happenings
    ground_truth.save(first, tmp_path / "truth.npz")
    back = ground_truth.load(tmp_path / "truth.npz")
    assert (back.spec, back.length_s, back.happenings) == (spec, 8.0, first.happenings)
    for one, other in zip(back.samples, second.samples, strict=True):
        assert np.array_equal(one.full_xyxy, other.full_xyxy)
        assert np.array_equal(one.ignored, other.ignored)
    other_seed = ground_truth.work_out(replace(spec, seed=6), 8.0)
    assert [h.time_s for h in other_seed.happenings] != [h.time_s for h in first.happenings]


@pytest.mark.parametrize("scene", ["street", "factory", "shop"])
@pytest.mark.parametrize("camera", [0, 1, 2])
def test_places_of_every_camera_can_be_configured(scene: str, camera: int) -> None:
    for seed in range(4):
        found = camera_places(SceneSpec(scene, seed, camera=camera))
        for name, value in found["lines"].items():
            zones.Line(**value), name
        for name, value in found["zones"].items():
            zones.Zone(**value), name


def test_the_bottom_of_a_cars_box_is_on_its_line_when_its_middle_is() -> None:
    spec = SceneSpec(seed=1, camera=1)
    camera = camera_of(spec)
    line = next(line for line in places_of("street").lines if line.name == "inbound")
    (xa, ya), (xb, yb) = camera_places(spec)["lines"]["inbound"]["points"]
    for y in (1.75, 5.1):  # its two lanes
        foot = anchor((line.a[0], y), line.size, camera) / [spec.width, spec.height]
        share = (foot[0] - xa) / (xb - xa)
        assert ya + (yb - ya) * share == pytest.approx(foot[1], abs=0.006)


def test_a_polygon_is_cut_where_it_leaves_the_picture_far_behind() -> None:
    found = cut([[0.5, 0.5], [3.5, 0.5], [0.5, 3.5]])
    assert max(max(point) for point in found) == 1.45
    assert [0.5, 0.5] in found


def test_a_wrong_threshold_is_named() -> None:
    with pytest.raises(ValueError, match="'speed' is not a figure"):
        thresholds(["speed=1"])
    assert build_parser().parse_args(["selftest", "--require", "idf1=0.9"]).require == ["idf1=0.9"]
