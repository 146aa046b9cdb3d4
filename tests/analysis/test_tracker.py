"""The tracker in worlds made of lists: the same answers at 5, 10, 15 and 30 fps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import bench_tracker as bench
from sightline.analysis.options import TrackerOptions
from sightline.analysis.timebase import Timebase
from sightline.analysis.tracking.kalman import MotionModel
from sightline.analysis.tracking.tracker import Tracker
from sightline.base.geometry import iou_matrix
from sightline.entities import Detections, Tracks, check_detections
from sightline.simulation.scenes.spec import SceneSpec

RATES = (5, 10, 15, 30)
EPOCH = 1.7e9  # as large as real capture times are
Box = tuple[float, float, float, float]  # centre x, centre y, width, height
at_every_rate = pytest.mark.parametrize("fps", RATES)


def boxes(*rows: Box, score: float | list[float] = 0.8, class_id: int | list[int] = 0) -> Detections:
    centres = np.array(rows, np.float32).reshape(-1, 4)
    half = centres[:, 2:] / 2
    xyxy = np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1)
    scores = np.broadcast_to(np.float32(score), len(rows)).copy()
    classes = np.broadcast_to(np.int32(class_id), len(rows)).copy()
    return check_detections(Detections(xyxy, scores, classes))


def person(x: float, y: float = 0.5) -> Box:
    return (x, y, 0.05, 0.25)


class Timed(Tracker):
    """A tracker that is told capture times."""

    def __init__(
        self, options: TrackerOptions, *, max_gap_s: float = 10.0, state: Any = None, **values: Any
    ) -> None:
        super().__init__(options, state=state, **values)
        self.timebase = Timebase(max_gap_s, (state or {}).get("timebase"))

    def update(self, detections: Detections, time: float) -> Tracks:
        return super().update(detections, self.timebase.advance(time))

    def snapshot(self) -> dict[str, Any]:
        return super().snapshot() | {"timebase": self.timebase.snapshot()}


def run(tracker: Timed, world: Callable[[float], Detections], times: Iterable[float]) -> list[Tracks]:
    return [tracker.update(world(now), EPOCH + now) for now in times]


def seconds(fps: float, start: float, end: float) -> list[float]:
    return [start + frame / fps for frame in range(round((end - start) * fps))]


def confirmed_ids(frames: Iterable[Tracks]) -> set[int]:
    return {one for tracks in frames for one in tracks.ids[tracks.confirmed].tolist()}


def nothing(_: float) -> Detections:
    return Detections.empty()


# -- identity at any rate ------------------------------------------------------------------------


@at_every_rate
def test_steady_walkers_keep_their_ids(fps):
    frames = run(
        Timed(TrackerOptions()),
        lambda t: boxes(person(0.1 + 0.08 * t), person(0.9 - 0.08 * t, 0.2), person(0.5, 0.8)),
        seconds(fps, 0, 8),
    )
    assert confirmed_ids(frames) == {1, 2, 3}
    assert [tracks.ids.tolist() for tracks in frames] == [[1, 2, 3]] * len(frames)


@at_every_rate
def test_faster_than_its_own_width_in_a_frame_of_5_fps(fps):
    # 0.3 of the picture a second is 0.06 a frame at 5 fps: no overlap at all before the speed is known.
    frames = run(Timed(TrackerOptions()), lambda t: boxes(person(0.05 + 0.3 * t)), seconds(fps, 0, 3))
    assert confirmed_ids(frames) == {1}


def test_who_comes_near_is_followed_to_the_end():
    """A motorcycle at 10.5 m/s: in the picture it grows and speeds up all the time."""

    def world(time: float) -> Detections:
        metres = 60.0 - 10.5 * time
        foot, head, x = 0.1 + 1.2 * 7.6 / metres, 0.1 + 1.2 * 6.1 / metres, 0.5 - 0.9 * 5.0 / metres
        return boxes((x, (head + foot) / 2, 0.6 / metres, foot - head))

    def overlap(motion: MotionModel) -> float:
        """Of the track with what was detected, four seconds on."""
        tracker = Timed(replace(TrackerOptions(), motion=motion))
        last = run(tracker, world, [frame / 10 for frame in range(41)])[-1]
        return float(iou_matrix(last.xyxy, world(4.0).xyxy).max())

    assert overlap(MotionModel()) > overlap(MotionModel(speed_noise_gain=0.0, size_rate_noise_gain=0.0)) + 0.1


@at_every_rate
def test_crossing_walkers_keep_their_ids(fps):
    tracker = Timed(TrackerOptions())
    frames = run(
        tracker, lambda t: boxes(person(0.2 + 0.1 * t, 0.5), person(0.8 - 0.1 * t, 0.53)), seconds(fps, 0, 6)
    )
    assert confirmed_ids(frames) == {1, 2}
    last = frames[-1]
    assert last.xyxy[0, 0] > 0.7  # the one who began on the left
    assert last.xyxy[1, 0] < 0.3


@at_every_rate
def test_walking_on_behind_a_pillar(fps):
    def world(t: float) -> Detections:
        return nothing(t) if 2 <= t < 3 else boxes(person(0.1 + 0.1 * t))

    assert confirmed_ids(run(Timed(TrackerOptions()), world, seconds(fps, 0, 6))) == {1}


@at_every_rate
def test_standing_still_and_missed_for_two_seconds(fps):
    def world(t: float) -> Detections:
        wobble = 0.002 * np.sin(40 * t)
        return nothing(t) if t % 5 > 3 else boxes(person(0.5 + wobble))

    assert confirmed_ids(run(Timed(TrackerOptions()), world, seconds(fps, 0, 30))) == {1}


@at_every_rate
def test_jittered_times(fps):
    random = np.random.default_rng(fps)
    times = np.array(seconds(fps, 0, 8)) + random.uniform(-0.4, 0.4, 8 * fps) / fps
    frames = run(
        Timed(TrackerOptions()),
        lambda t: boxes(person(0.1 + 0.1 * t), person(0.9 - 0.1 * t, 0.2)),
        times,
    )
    assert confirmed_ids(frames) == {1, 2}


@at_every_rate
def test_weak_boxes_keep_a_track_but_neither_start_nor_confirm_one(fps):
    tracker = Timed(TrackerOptions())
    weak = run(tracker, lambda t: boxes(person(0.2), score=0.2), seconds(fps, 0, 2))
    assert not any(len(tracks) for tracks in weak)
    once_sure = run(tracker, lambda t: boxes(person(0.2), score=0.8 if t == 2 else 0.2), seconds(fps, 2, 4))
    assert confirmed_ids(once_sure) == set()
    sure = run(tracker, lambda t: boxes(person(0.2)), seconds(fps, 4, 6))
    weak_again = run(tracker, lambda t: boxes(person(0.2), score=0.2), seconds(fps, 6, 12))
    assert confirmed_ids(sure) == confirmed_ids(weak_again) == {1}
    assert all(len(tracks) == 1 for tracks in weak_again)


@at_every_rate
def test_weak_boxes_confirm_what_travels_also_over_a_restart(fps):
    """As in grainy pictures: one sure box, then weak ones, every third is missing."""

    def world(t: float) -> Detections:
        missing = round(t * fps) % 3 == 2
        return nothing(t) if missing else boxes(person(0.1 + 0.05 * t), score=0.2 if t else 0.5)

    begun = Timed(TrackerOptions())
    before = run(begun, world, seconds(fps, 0, 0.6))
    frames = run(Timed(TrackerOptions(), state=begun.snapshot()), world, seconds(fps, 0.6, 1.6))
    assert confirmed_ids(before) == set()
    assert confirmed_ids(frames) == {1}


@at_every_rate
def test_weak_boxes_that_jump_about_confirm_nobody(fps):
    def world(t: float) -> Detections:
        aside = 0.012 * (round(t * fps) % 3 - 1)  # IoU with the middle one 0.61
        return boxes(person(0.5 + aside), score=0.2 if t else 0.5)

    assert confirmed_ids(run(Timed(TrackerOptions()), world, seconds(fps, 0, 10))) == set()


@pytest.mark.parametrize("fps", [3, 5, 30])
def test_who_leaves_the_picture_is_followed_to_its_edge(fps):
    """The box that is found ends at the edge, the object goes on beyond it."""

    def world(t: float) -> Detections:
        bottom = 0.85 - 0.45 * t
        top = max(0.0, bottom - 0.3)
        return boxes((0.5, (top + bottom) / 2, 0.1, bottom - top), score=0.8 if t < 1 else 0.2)

    frames = run(Timed(TrackerOptions()), world, seconds(fps, 0, 1.84))
    assert [tracks.ids.tolist() for tracks in frames] == [[1]] * len(frames)


@at_every_rate
@pytest.mark.parametrize(
    ("there_s", "away_s", "same"),
    [(1, 0.6, True), (1, 1.6, False), (2, 1.6, True), (2, 2.6, False), (5, 2.6, True), (5, 3.6, False)],
)
def test_who_was_there_for_a_second_is_not_waited_for_longer(fps, there_s, away_s, same):
    def world(t: float) -> Detections:
        return nothing(t) if there_s <= t < there_s + away_s else boxes(person(0.5))

    frames = run(Timed(TrackerOptions(max_lost_s=3)), world, seconds(fps, 0, there_s + away_s + 1))
    assert (frames[-1].ids.tolist() == [1]) == same


@at_every_rate
def test_a_box_now_and_then_keeps_nobody_who_is_not_there(fps):
    """As a track goes on whose person another track has taken over, fed by boxes of others that it passes."""

    def world(t: float) -> Detections:
        now_and_then = t % 1 < 0.5 / fps
        return boxes(person(0.1 + 0.05 * t)) if t < 2 or now_and_then else nothing(t)

    times = seconds(fps, 0, 9)
    frames = run(Timed(TrackerOptions(max_lost_s=3)), world, times)
    assert confirmed_ids(frames) == {1}
    last = max(t for t, tracks in zip(times, frames, strict=True) if 1 in tracks.ids)
    assert 2 < last <= 6  # the first such box finds it still believed in; then come three seconds


def test_boxes_below_the_low_score_are_ignored():
    tracker = Timed(TrackerOptions())
    run(tracker, lambda t: boxes(person(0.2)), seconds(10, 0, 1))
    assert len(tracker.update(boxes(person(0.2), score=0.05), EPOCH + 1)) == 0


def test_two_people_side_by_side_stay_two():
    frames = run(
        Timed(TrackerOptions()),
        lambda t: boxes(person(0.50 + 0.02 * t), person(0.515 + 0.02 * t)),
        seconds(10, 0, 10),
    )
    assert confirmed_ids(frames) == {1, 2}


# -- confirmation, ends, ids ---------------------------------------------------------------------


@pytest.mark.parametrize(("fps", "first_confirmed"), [(5, 3), (10, 5), (15, 8), (30, 15)])
def test_confirmed_once_it_has_lasted(fps, first_confirmed):
    frames = run(Timed(TrackerOptions(confirm_s=0.5)), lambda t: boxes(person(0.5)), seconds(fps, 0, 2))
    assert [bool(tracks.confirmed[0]) for tracks in frames].index(True) == first_confirmed
    assert all(tracks.first_times[0] == EPOCH for tracks in frames)


def test_an_exact_half_second_at_two_fps_needs_two_boxes():
    frames = run(Timed(TrackerOptions(confirm_s=0.5)), lambda t: boxes(person(0.5)), [0.0, 0.4996])
    assert [tracks.confirmed.tolist() for tracks in frames] == [[False], [True]]


def test_a_stray_of_two_frames_is_never_confirmed():
    def world(t: float) -> Detections:
        return boxes(person(0.5)) if t % 2 < 0.15 else nothing(t)

    assert confirmed_ids(run(Timed(TrackerOptions()), world, seconds(10, 0, 20))) == set()


@at_every_rate
def test_a_track_ends_after_lost_s_and_its_id_is_not_used_again(fps):
    tracker = Timed(TrackerOptions(max_lost_s=3.0))
    seen: list[int] = []
    for start in (0, 10, 20):
        frames = run(tracker, lambda t: boxes(person(0.5)), seconds(fps, start, start + 2))
        seen.extend(confirmed_ids(frames))
        run(tracker, nothing, seconds(fps, start + 2, start + 10))
    assert seen == [1, 2, 3]


def test_who_has_left_the_picture_is_not_who_comes_in_there_next():
    def world(t: float) -> Detections:
        if t < 1.5:
            return boxes(person(0.7 + 0.2 * t))  # out at 1.5 s
        return boxes(person(1.0 - 0.2 * (t - 2.5))) if t >= 2.5 else nothing(t)

    assert len(confirmed_ids(run(Timed(TrackerOptions()), world, seconds(10, 0, 5)))) == 2


def test_cameras_do_not_share_ids():
    one, other = Timed(TrackerOptions()), Timed(TrackerOptions())
    for tracker in (one, other):
        assert tracker.update(boxes(person(0.2), person(0.8)), EPOCH).ids.tolist() == [1, 2]


# -- classes -------------------------------------------------------------------------------------


@at_every_rate
def test_a_car_that_flickers_to_truck_is_one_car(fps):
    def world(t: float) -> Detections:
        truck = round(t * 30) % 7 == 0 and t > 0
        return boxes(
            (0.2 + 0.08 * t, 0.5, 0.2, 0.15), score=0.5 if truck else 0.7, class_id=7 if truck else 2
        )

    frames = run(Timed(TrackerOptions()), world, seconds(fps, 0, 6))
    assert confirmed_ids(frames) == {1}
    assert frames[-1].class_ids.tolist() == [2]


@pytest.mark.parametrize(("alike", "ids"), [(True, {1}), (False, {1, 2})])
def test_a_class_that_detectors_confuse_with_the_tracks_hardly_costs_anything(alike, ids):
    tracker = Timed(TrackerOptions(confirm_s=0.0), alike=lambda a, b: a == b or alike)
    start, aside = (0.5, 0.5, 0.1, 0.1), (0.5, 0.54, 0.1, 0.1)  # they overlap by 0.43

    def world(t: float) -> Detections:
        return boxes(start if t < 1 else aside, class_id=int(t >= 1), score=0.3)

    assert confirmed_ids(run(tracker, world, seconds(5, 0, 1.4))) == ids


def test_the_class_is_voted_by_score():
    tracker = Timed(TrackerOptions())
    for frame, (class_id, score) in enumerate([(7, 0.3), (2, 0.9), (7, 0.3)]):
        tracks = tracker.update(boxes(person(0.5), score=score, class_id=class_id), EPOCH + frame / 10)
    assert tracks.class_ids.tolist() == [2]


@at_every_rate
def test_what_the_edge_cuts_hardly_votes(fps):
    """A lorry waits at the picture's edge: for twenty seconds its tail might be a bus's."""
    bus, truck = 5, 7

    def world(t: float) -> Detections:
        y = 0.9 if t < 20 else 0.9 - 0.1 * (t - 20)
        return boxes((0.5, y, 0.15, 0.2), class_id=bus if y > 0.89 else truck)

    frames = run(Timed(TrackerOptions()), world, seconds(fps, 0, 23))
    assert confirmed_ids(frames) == {1}
    assert frames[20 * fps - 1].class_ids.tolist() == [bus]  # nothing else was seen of it
    assert frames[-1].class_ids.tolist() == [truck]


def test_two_classes_on_one_object_are_one_track():
    def world(_: float) -> Detections:
        return boxes((0.5, 0.5, 0.2, 0.2), (0.502, 0.5, 0.2, 0.2), score=[0.7, 0.5], class_id=[2, 7])

    frames = run(Timed(TrackerOptions()), world, seconds(10, 0, 3))
    assert confirmed_ids(frames) == {1}
    assert all(len(tracks) == 1 for tracks in frames)


# -- time ----------------------------------------------------------------------------------------


@at_every_rate
def test_blindness_is_not_absence(fps):
    tracker = Timed(TrackerOptions(max_lost_s=3.0), max_gap_s=10.0)
    run(tracker, lambda t: boxes(person(0.5)), seconds(fps, 0, 4))
    after = run(tracker, lambda t: boxes(person(0.51)), seconds(fps, 12, 13))
    assert confirmed_ids(after) == {1}


def test_a_gap_longer_than_blind_s_ends_every_track():
    tracker = Timed(TrackerOptions(), max_gap_s=10.0)
    run(tracker, lambda t: boxes(person(0.5)), seconds(10, 0, 4))
    assert confirmed_ids(run(tracker, lambda t: boxes(person(0.5)), seconds(10, 14.1, 16))) == {2}


def test_a_gap_confirms_nobody():
    tracker = Timed(TrackerOptions(confirm_s=0.5))
    run(tracker, nothing, seconds(10, 0, 2))
    first, second = run(tracker, lambda t: boxes(person(0.5)), [2.0, 6.0])
    assert second.ids.tolist() == first.ids.tolist()
    assert not second.confirmed.any()


def test_a_walker_does_not_fly_away_in_a_gap():
    tracker = Timed(TrackerOptions())
    run(tracker, lambda t: boxes(person(0.1 + 0.06 * t)), seconds(10, 0, 3))  # at 0.28, then stops
    after = run(tracker, lambda t: boxes(person(0.31)), seconds(10, 9, 10))
    assert confirmed_ids(after) == {1}
    assert abs(after[-1].xyxy[0, [0, 2]].mean() - 0.31) < 0.02


def test_a_rate_that_falls_becomes_the_usual_one():
    tracker = Timed(TrackerOptions())
    run(tracker, lambda t: boxes(person(0.5)), seconds(30, 0, 3))
    run(tracker, lambda t: boxes(person(0.5)), seconds(1, 3, 12))
    run(tracker, nothing, seconds(1, 12, 17))
    assert tracker.update(boxes(person(0.5)), EPOCH + 17).ids.tolist() == [2]


@pytest.mark.parametrize("step", [0.0, -0.05, -3600.0])
def test_time_that_stands_or_goes_back(step):
    tracker = Timed(TrackerOptions())
    run(tracker, lambda t: boxes(person(0.5)), seconds(10, 0, 2))
    tracks = tracker.update(boxes(person(0.5)), EPOCH + 1.9 + step)
    assert tracks.ids.tolist() == [1]
    after = run(tracker, lambda t: boxes(person(0.5)), seconds(10, 1.9 + step + 0.1, 3.9 + step))
    assert confirmed_ids(after) == {1}


# -- state ---------------------------------------------------------------------------------------


@at_every_rate
def test_a_successor_goes_on_with_the_same_ids(fps):
    def world(t: float) -> Detections:
        return boxes(person(0.1 + 0.05 * t), person(0.7, 0.3), score=0.7, class_id=[0, 2])

    first = Timed(TrackerOptions())
    run(first, lambda t: boxes(person(0.5, 0.8)), seconds(fps, -10, -8))
    run(first, nothing, seconds(fps, -8, 0))
    before = run(first, world, seconds(fps, 0, 4))
    state = json.loads(json.dumps(first.snapshot()))
    second = Timed(TrackerOptions(), state=state)
    after = run(second, world, seconds(fps, 5.5, 7))
    assert confirmed_ids(after) == {2, 3}
    assert after[0].confirmed.all()
    np.testing.assert_array_equal(after[0].first_times, before[-1].first_times)
    assert after[0].class_ids.tolist() == [0, 2]
    assert second.update(boxes(person(0.9, 0.9)), EPOCH + 7.1).ids.tolist() == [4]


def test_the_state_is_compact():
    tracker = Timed(TrackerOptions())
    world = boxes(*(person(0.05 + 0.09 * (n % 10), 0.1 + 0.2 * (n // 10)) for n in range(40)))
    run(tracker, lambda t: world, seconds(10, 0, 2))
    assert len(json.dumps(tracker.snapshot())) < 40 * 250


def test_the_state_of_an_empty_tracker():
    tracker = Timed(TrackerOptions(), state=Timed(TrackerOptions()).snapshot())
    assert tracker.update(boxes(person(0.5)), EPOCH).ids.tolist() == [1]


@pytest.mark.parametrize(
    "state", [{}, {"version": 99}, {"version": 1}, {"version": 1, "tracks": 3, "class_ids": []}]
)
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(ValueError, match="state"):
        Timed(TrackerOptions(), state=state)


# -- anything at all -----------------------------------------------------------------------------

UNIT = st.floats(-0.25, 1.25, width=32)
FRAMES = st.lists(
    st.tuples(
        st.floats(-20, 20),  # step in time
        st.lists(
            st.tuples(UNIT, UNIT, UNIT, UNIT, st.floats(0, 1, width=32), st.integers(0, 2**31 - 1)),
            max_size=8,
        ),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(FRAMES, st.booleans())
def test_any_input_gives_sound_tracks(frames, restart):
    tracker, now, last_new = Timed(TrackerOptions(confirm_s=0.1)), EPOCH, 0
    ever: set[int] = set()
    for step, rows in frames:
        now += step
        table = np.array(rows, np.float64).reshape(-1, 6)
        found = Detections(
            table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int32)
        )
        tracks = tracker.update(found, now)
        ids = tracks.ids.tolist()
        assert ids == sorted(set(ids))
        new = set(ids) - ever
        assert all(one > last_new for one in new)
        last_new = max(new, default=last_new)
        ever |= new
        assert np.isfinite(tracks.xyxy).all()
        assert ((tracks.xyxy >= 0) & (tracks.xyxy <= 1)).all()
        assert (tracks.xyxy[:, 2:] >= tracks.xyxy[:, :2]).all()
        assert len(tracks) <= len(found)
        if restart:
            tracker = Timed(tracker.options, state=json.loads(json.dumps(tracker.snapshot())))


def test_memory_is_bounded():
    tracker = Timed(TrackerOptions(max_lost_s=60, confirm_s=0))
    random = np.random.default_rng(0)
    for frame in range(30):
        corner = random.uniform(0, 0.9, (100, 2))
        xyxy = np.concatenate([corner, corner + 0.01], 1).astype(np.float32)
        everywhere = Detections(xyxy, np.full(100, 0.9, np.float32), np.zeros(100, np.int32))
        tracker.update(everywhere, EPOCH + frame / 30)
    assert len(tracker.snapshot()["tracks"]) <= 1000


# -- a scene ------------------------------------------------------------------------------------


def test_a_scene_is_tracked_alike_at_every_rate():
    detector = bench.ImperfectDetector(SceneSpec("street", seed=7, camera=5), 20)
    found = {}
    for fps in RATES:
        samples = detector.samples(fps)
        found[fps] = bench.judge([(samples, bench.follow(bench.ours(), samples))])
    assert min(one.idf1 for one in found.values()) > 0.85, found
    assert found[5].idf1 > found[30].idf1 - 0.05, found
    for one in found.values():
        assert abs(one.tracks - one.objects) < 0.35 * one.objects, found


def test_the_judge_knows_a_perfect_and_a_useless_tracker():
    samples = bench.ImperfectDetector(SceneSpec("street", seed=3, camera=5), 3).samples(10)
    perfect = bench.judge([(samples, [(one.true_ids, one.true_xyxy) for one in samples])])
    assert (perfect.idf1, perfect.hota, perfect.switches) == (1.0, 1.0, 0)
    fresh = iter(range(10**6))
    useless = [(np.array([next(fresh) for _ in one.true_ids]), one.true_xyxy) for one in samples]
    assert bench.judge([(samples, useless)]).idf1 < 0.1


def test_a_second_box_of_the_same_object_makes_no_second_track():
    # The network's NMS lets overlaps up to 0.7 pass; the weaker box jumps from side to side.
    def world(now: float) -> Detections:
        aside = 0.01 if round(now * 10) % 2 else -0.01
        return boxes(person(0.5), person(0.5 + aside), score=[0.8, 0.6])

    frames = run(Timed(TrackerOptions()), world, seconds(10, 0, 3))
    assert {int(one) for tracks in frames for one in tracks.ids} == {1}
    apart = run(
        Timed(TrackerOptions()),
        lambda _: boxes(person(0.5), person(0.52), score=0.8),
        seconds(10, 0, 3),
    )
    assert len(confirmed_ids(apart)) == 2  # two people who overlap by less


@at_every_rate
def test_a_part_that_was_found_once_does_not_take_the_object_over(fps):
    """As a cyclist in a blurred picture, a box for the rider in one frame: both were counted at the line."""

    def world(t: float) -> Detections:
        parts = boxes(person(0.5), person(0.52), score=0.8)  # IoU 0.43
        return boxes(person(0.5)) if t < 2 else parts if t < 2 + 0.5 / fps else boxes(person(0.511))

    frames = run(Timed(TrackerOptions()), world, seconds(fps, 0, 4))
    assert confirmed_ids(frames) == {1}
    assert frames[-1].ids.tolist() == [1]


def test_a_lorry_taken_for_a_van_too_is_one_object():
    # Of one class 0.65 would be a second box already; two vehicles in a row may overlap so.
    def world(shift: float) -> Detections:
        return boxes((0.5, 0.5, 0.2, 0.2), (0.5 + shift, 0.5, 0.2, 0.2), score=[0.6, 0.8], class_id=[7, 2])

    frames = run(Timed(TrackerOptions()), lambda _: world(0.03), seconds(10, 0, 3))  # IoU 0.74
    assert {int(one) for tracks in frames for one in tracks.ids} == {1}
    assert frames[-1].class_ids.tolist() == [2]
    apart = run(Timed(TrackerOptions()), lambda _: world(0.042), seconds(10, 0, 3))  # IoU 0.65
    assert len(confirmed_ids(apart)) == 2


def test_a_weak_box_over_another_starts_no_track_and_a_sure_one_does():
    def world(score: float) -> Detections:
        return boxes(person(0.5), person(0.516), score=[0.9, score])  # IoU 0.52

    for score, objects in ((0.35, 1), (0.6, 2)):  # 0.35 counts as 0.2 for a start, 0.6 as 0.35
        frames = run(Timed(TrackerOptions()), lambda _, s=score: world(s), seconds(10, 0, 3))
        assert len(confirmed_ids(frames)) == objects
    alone = run(Timed(TrackerOptions()), lambda _: boxes(person(0.5), score=0.35), seconds(10, 0, 3))
    assert len(confirmed_ids(alone)) == 1


@at_every_rate
def test_a_box_that_is_there_every_fourth_time_confirms_nobody(fps):
    def flickering(t: float) -> Detections:
        return boxes(person(0.5)) if round(t * fps) % 4 == 0 else Detections.empty()

    assert confirmed_ids(run(Timed(TrackerOptions()), flickering, seconds(fps, 0, 6))) == set()
