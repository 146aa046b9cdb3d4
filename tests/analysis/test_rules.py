"""Rules in worlds made of lists: the same events at 5, 10, 15 and 30 frames a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.analysis.classes import ClassTable
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.rules import Rules
from sightline.config.zones import EDGE, Line, Zone
from sightline.entities import RULE_KINDS, Event, EventKind, lasts
from sightline.simulation.scenes.scene_places import SceneLine as TrueLine
from sightline.simulation.scenes.truth import meeting
from support.rules_world import (
    EPOCH,
    RATES,
    SQUARE,
    UPWARD,
    Walk,
    play,
    rules,
    story,
    straight,
    times,
    tracks_at,
)

WIDE = Zone(points=((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)))
at_every_rate = pytest.mark.parametrize("fps", RATES)


# -- lines -------------------------------------------------------------------------------------------


@at_every_rate
def test_a_straight_walk_crosses_once_at_its_time(fps: int) -> None:
    walk = straight((0.8, 0.7), (0.2, 0.5), 6.0)
    [event] = play(rules({"gate": UPWARD}), [walk], times(fps, 0, 6))
    assert (event.source, event.kind, event.place) == ("door", EventKind.CROSSING, "gate")
    assert (event.track_id, event.item_class, event.direction) == (1, "person", "forward")
    assert event.event_time - EPOCH == pytest.approx(3.0, abs=1e-6)
    assert (event.x, event.y) == pytest.approx((0.5, 0.6), abs=1e-6)
    assert event.event_time < event.confirmed_time < event.event_time + 0.5
    assert not event.unseen


@at_every_rate
def test_the_other_way_is_backward(fps: int) -> None:
    walk = straight((0.2, 0.5), (0.8, 0.5), 6.0)
    assert story(play(rules({"gate": UPWARD}), [walk], times(fps, 0, 6))) == [("crossing", "backward", 3.0)]


@given(*[st.floats(-0.4, 1.4)] * 4)
@settings(max_examples=60, deadline=None)
def test_forward_is_what_the_simulated_cameras_truth_calls_forward(
    ax: float, ay: float, bx: float, by: float
) -> None:
    """The truth counts on the ground, with y to the left of x; the picture's y goes down."""
    a, b = (ax, ay), (bx, by)
    p, q = (0.1, 0.8), (0.9, 0.25)
    length, across = np.hypot(bx - ax, by - ay), (bx - ax) * (q[1] - p[1]) - (by - ay) * (q[0] - p[0])
    if length < 0.3 or abs(across) < 0.2 * length:  # along the line he never gets away from it
        return
    if min(max(ax, bx), max(ay, by)) <= EDGE or max(min(ax, bx), min(ay, by)) >= 1 - EDGE:  # refused
        return
    true = meeting(TrueLine("l", (ax, -ay), (bx, -by)), (p[0], -p[1]), (q[0], -q[1]))
    crossings = play(rules({"l": Line(points=(a, b))}), [straight(p, q, 4.0)], times(10, 0, 4))
    if true is None:
        assert crossings == []
    elif 0.15 < true[0] < 0.85:
        assert [event.direction for event in crossings] == ["forward" if true[1] else "backward"]
        assert crossings[0].event_time - EPOCH == pytest.approx(4 * true[0], abs=1e-3)


@at_every_rate
def test_who_trembles_on_a_line_does_not_cross_it(fps: int) -> None:
    noise = np.random.default_rng(1).normal(0, 0.002, 2000)
    walk: Walk = lambda now: (0.5 + noise[round(now * 30)], 0.5)  # noqa: E731
    begins_beside: Walk = lambda now: (0.53, 0.5) if now < 1 else walk(now)  # noqa: E731
    assert play(rules({"gate": UPWARD}), [begins_beside], times(fps, 0, 60)) == []


@at_every_rate
def test_trembling_while_crossing_is_one_crossing(fps: int) -> None:
    noise = np.random.default_rng(2).normal(0, 0.003, 400)
    way = straight((0.6, 0.5), (0.4, 0.5), 8.0)
    walk: Walk = lambda now: (way(now)[0] + noise[round(now * 30)], 0.5)  # type: ignore[index]  # noqa: E731
    [event] = play(rules({"gate": UPWARD}), [walk], times(fps, 0, 9))
    assert event.direction == "forward"
    assert event.event_time - EPOCH == pytest.approx(4.0, abs=0.4)


@at_every_rate
def test_forth_and_back_are_two_crossings(fps: int) -> None:
    walk: Walk = lambda now: (0.5 + 0.2 * np.cos(now), 0.5)  # noqa: E731
    found = story(play(rules({"gate": UPWARD}), [walk], times(fps, 0, 6)))
    assert [item[:2] for item in found] == [("crossing", "forward"), ("crossing", "backward")]
    assert [item[2] for item in found] == pytest.approx([np.pi / 2, 3 * np.pi / 2], abs=0.1)


@at_every_rate
def test_who_turns_back_right_behind_the_line_has_crossed_twice(fps: int) -> None:
    walk: Walk = lambda now: (0.5 + (0.04 - 0.02 * min(now, 4.0) if now < 6 else 0.01 * now - 0.1), 0.5)  # noqa: E731
    found = story(play(rules({"gate": UPWARD}), [walk], times(fps, 0, 20)))
    assert [item[:2] for item in found] == [("crossing", "forward"), ("crossing", "backward")]
    assert [item[2] for item in found] == pytest.approx([2.0, 10.0], abs=0.3)


@at_every_rate
def test_who_stops_just_beyond_the_line_has_crossed_after_a_second(fps: int) -> None:
    way = straight((0.6, 0.5), (0.495, 0.5), 2.1)  # 0.08 box sizes beyond it, and stays
    made = rules({"gate": UPWARD})
    assert play(made, [way], times(fps, 0, 2.8)) == []
    [event] = play(made, [way], times(fps, 3, 4))
    assert event.event_time - EPOCH == pytest.approx(2.0, abs=0.05)


@at_every_rate
def test_who_is_lost_before_and_found_behind_the_line_crosses_once(fps: int) -> None:
    way = straight((0.8, 0.5), (0.2, 0.5), 6.0)
    walk: Walk = lambda now: None if 2.05 < now < 4.35 else way(now)  # noqa: E731
    [event] = play(rules({"gate": UPWARD}), [walk], times(fps, 0, 6))
    assert (event.direction, event.unseen) == ("forward", True)
    assert event.event_time - EPOCH == pytest.approx(3.0, abs=0.05)


@at_every_rate
def test_past_the_end_of_a_line_nobody_crosses_it(fps: int) -> None:
    half = Line(points=((0.5, 0.45), (0.5, 0.1)))
    walk = straight((0.8, 0.5), (0.2, 0.5), 6.0)
    assert play(rules({"gate": half}), [walk], times(fps, 0, 6)) == []


@at_every_rate
def test_a_bent_line_is_one_line(fps: int) -> None:
    bent = Line(points=((0.5, 0.9), (0.5, 0.5), (0.9, 0.5)))
    through_the_corner = straight((0.7, 0.3), (0.3, 0.7), 4.0)
    assert story(play(rules({"gate": bent}), [through_the_corner], times(fps, 0, 4))) == []
    in_and_out = straight((0.7, 0.7), (0.45, 0.45), 4.0)
    [event] = play(rules({"gate": bent}), [in_and_out], times(fps, 0, 4))
    assert event.direction == "forward"


@at_every_rate
def test_who_vanishes_right_behind_the_line_has_crossed_it(fps: int) -> None:
    """A door: behind it nobody is seen any more."""
    way = straight((0.8, 0.5), (0.2, 0.5), 12.0)
    walk: Walk = lambda now: way(now) if way(now)[0] > 0.489 else None  # type: ignore[index]  # noqa: E731
    [event] = play(rules({"gate": UPWARD}), [walk], times(fps, 0, 12))
    assert event.event_time - EPOCH == pytest.approx(6.0, abs=0.01)


# -- confirmation, classes ---------------------------------------------------------------------------


@at_every_rate
def test_what_a_track_did_before_it_was_confirmed_is_told_with_its_time(fps: int) -> None:
    walk: Walk = lambda now: (0.5 + 0.2 * np.cos(now), 0.5)  # noqa: E731
    made = rules({"gate": UPWARD})
    assert play(made, [walk], times(fps, 0, 7), confirm_s=7.1) == []
    state = json.loads(json.dumps(made.snapshot()))
    for goes_on in (made, rules({"gate": UPWARD}, state=state)):
        found = play(goes_on, [walk], [7.2], confirm_s=7.1)
        assert [item[1] for item in story(found)] == ["forward", "backward"]
        assert found[0].event_time - EPOCH == pytest.approx(np.pi / 2, abs=0.05)
        assert {event.confirmed_time for event in found} == {EPOCH + 7.2}


@at_every_rate
def test_who_is_never_confirmed_makes_no_events(fps: int) -> None:
    way = straight((0.8, 0.5), (0.2, 0.5), 6.0)
    walk: Walk = lambda now: way(now) if now < 6 else None  # noqa: E731
    assert play(rules({"gate": UPWARD}, {"yard": SQUARE}), [walk], times(fps, 0, 12), confirm_s=50) == []


def test_only_the_classes_of_a_place_make_events_there() -> None:
    walks = [straight((0.8, 0.5), (0.2, 0.5), 6.0), straight((0.8, 0.55), (0.2, 0.55), 6.0)]
    lines = {"all": UPWARD, "cars": UPWARD.model_copy(update={"classes": ("car",)})}
    zones = {"cars": SQUARE.model_copy(update={"classes": ("car",)})}
    found = play(rules(lines, zones), walks, times(10, 0, 6), class_ids=[0, 1])
    assert [(e.kind.value, e.place, e.item_class) for e in found] == [
        ("enter", "cars", "car"),
        ("crossing", "all", "person"),
        ("crossing", "all", "car"),
        ("crossing", "cars", "car"),
        ("leave", "cars", "car"),
    ]
    only_cars = play(rules({"all": UPWARD}, classes=("car",)), walks, times(10, 0, 6), class_ids=[0, 1])
    assert [event.track_id for event in only_cars] == [2]


def test_a_class_voted_late_counts_with_the_true_time_and_leaves_what_it_entered() -> None:
    way = straight((0.3, 0.5), (0.7, 0.5), 10.0)
    cars = {"cars": SQUARE.model_copy(update={"classes": ("car",)})}
    made, found = rules(None, cars), []
    for now in times(10, 0, 10):
        kind = 1 if 4 <= now < 6 else 0  # a car only while inside
        found += made.observe(tracks_at([way], now, class_ids=[kind]), EPOCH + now)
    assert story(found) == [("enter", None, 2.5), ("leave", None, 7.5)]
    assert [event.item_class for event in found] == ["car", "person"]  # as voted at that time


# -- zones -------------------------------------------------------------------------------------------


@at_every_rate
def test_a_visit_is_entered_and_left_with_its_dwell(fps: int) -> None:
    walk = straight((0.2, 0.5), (0.8, 0.5), 12.0)
    enter, leave = play(rules(zones={"yard": SQUARE}), [walk], times(fps, 0, 12))
    assert story([enter, leave]) == [("enter", None, 4.0), ("leave", None, 8.0)]
    assert enter.value is None
    assert leave.value == pytest.approx(4.0, abs=1e-6)
    assert (enter.ordinal, leave.ordinal, enter.unseen, leave.unseen) == (0, 1, False, False)


@at_every_rate
def test_who_trembles_on_the_edge_enters_once(fps: int) -> None:
    noise = np.random.default_rng(3).normal(0, 0.002, 2000)

    def walk(now: float) -> tuple[float, float]:
        along = 0.3 if now < 2 else 0.4 if now < 20 else 0.5  # outside, on the edge, inside
        return along + noise[round(now * 30)], 0.5

    [enter] = play(rules(zones={"yard": SQUARE}), [walk], times(fps, 0, 30))
    assert enter.kind is EventKind.ENTER
    assert 19 < enter.event_time - EPOCH < 20.2  # the last time that it came in


@at_every_rate
def test_who_appears_in_a_zone_and_is_lost_in_it_says_so(fps: int) -> None:
    walk: Walk = lambda now: (0.5, 0.5) if now <= 4.001 else None  # noqa: E731
    enter, leave = play(rules(zones={"yard": SQUARE}), [walk], times(fps, 0, 10))
    assert story([enter, leave]) == [("enter", None, 0.0), ("leave", None, 4.0)]
    assert (enter.unseen, leave.unseen) == (True, True)
    assert leave.value == pytest.approx(4.0)


@at_every_rate
def test_somebody_out_of_sight_for_a_while_stays_in_the_zone(fps: int) -> None:
    walk: Walk = lambda now: None if 3 < now < 5.5 else (0.5, 0.5)  # noqa: E731
    assert story(play(rules(zones={"yard": SQUARE}), [walk], times(fps, 0, 12))) == [("enter", None, 0.0)]


@at_every_rate
def test_loitering_is_told_once_and_while_it_lasts(fps: int) -> None:
    zone = SQUARE.model_copy(update={"loiter_s": 3.0})
    walk: Walk = lambda now: (0.3, 0.5) if now < 1 or now > 8 else (0.5, 0.5)  # noqa: E731
    made = rules(zones={"yard": zone})
    live = play(made, [walk], times(fps, 0, 5))
    assert [event.kind.value for event in live] == ["enter", "loiter"]
    assert live[1].value == 3.0
    assert live[1].event_time == pytest.approx(live[0].event_time + 3.0)
    assert live[1].confirmed_time - live[1].event_time < 0.21
    assert [event.kind.value for event in play(made, [walk], times(fps, 5.2, 12))] == ["leave"]


@at_every_rate
def test_too_many_at_once_and_few_enough_again(fps: int) -> None:
    zone = SQUARE.model_copy(update={"max_occupancy": 1})

    def visitor(start: float, end: float) -> Walk:
        return lambda now: (0.5, 0.5) if start <= now < end else (0.2, 0.5)

    # The third is there for half a second only: with the second gone that is no crowd.
    walks = [visitor(1, 9), visitor(3, 6), visitor(8, 8.4)]
    found = play(rules(zones={"yard": zone}), walks, times(fps, 0, 12))
    crowds = [event for event in found if event.kind is EventKind.OCCUPANCY]
    assert [(e.direction, e.value, e.track_id, e.item_class) for e in crowds] == [
        ("above", 2.0, 0, ""),
        ("below", 1.0, 0, ""),
    ]
    assert [event.event_time - EPOCH for event in crowds] == pytest.approx([3, 6], abs=0.21)


@at_every_rate
def test_boxes_cut_by_the_picture_stay_in_a_zone_that_ends_at_its_edge(fps: int) -> None:
    """Who walks out at the bottom: the box is cut, its bottom stays on the edge."""
    bottom = Zone(points=((0.3, 0.7), (0.7, 0.7), (0.7, 1.0), (0.3, 1.0)))
    line = Line(points=((0.3, 0.9), (0.7, 0.9)))
    way = straight((0.5, 0.5), (0.5, 1.15), 6.5)  # feet beyond the picture from 5 s on
    walk: Walk = lambda now: way(now) if now <= 6.5 else None  # noqa: E731
    found = play(rules({"gate": line}, {"doorstep": bottom}), [walk], times(fps, 0, 12))
    assert [item[:2] for item in story(found)] == [("enter", None), ("crossing", "backward"), ("leave", None)]
    assert [event.event_time - EPOCH for event in found] == pytest.approx([2, 4, 6.5], abs=0.21)
    assert found[-1].unseen


# -- ends, gaps, state -------------------------------------------------------------------------------


def test_the_end_of_the_stream_ends_every_visit() -> None:
    made = rules(zones={"yard": SQUARE})
    play(made, [straight((0.5, 0.5), (0.5, 0.5), 1)], times(10, 0, 5))
    [leave] = made.take(made.rules.end(EPOCH + 5))
    assert (leave.kind.value, leave.unseen, leave.value) == ("leave", True, pytest.approx(5.0))
    assert made.rules.end(EPOCH + 6) == []


def test_after_a_long_blindness_everybody_has_left_and_comes_in_anew() -> None:
    made, here = rules(zones={"yard": SQUARE}), straight((0.5, 0.5), (0.5, 0.5), 1)
    play(made, [here], times(10, 0, 5))
    found = play(made, [here, here], times(10, 20, 22), begins=[1e9, 20])
    assert story(found) == [("leave", None, 5.0), ("enter", None, 20.0)]


def test_a_silent_stream_ends_visits_on_the_wall_clock_once() -> None:
    made, here = rules(zones={"yard": SQUARE}), straight((0.5, 0.5), (0.5, 0.5), 1)
    play(made, [here], times(10, 0, 5))
    found = made.take(end for second in range(100) for end in made.rules.tick(5000.0 + second, silent=True))
    assert story(found) == [("leave", None, 5.0)]
    again = play(made, [here], times(10, 5.1, 7))  # frames that were only late: the camera's clock went on
    assert story(again) == [("enter", None, 5.1)]
    assert [event.ordinal for event in (*found, *again)] == [1, 2]


def test_a_clock_that_goes_back_makes_no_event_and_no_negative_dwell() -> None:
    made, here = rules(zones={"yard": SQUARE}), straight((0.5, 0.5), (0.5, 0.5), 1)
    play(made, [here], times(10, 100, 102), begins=[100])
    play(made, [here], times(10, 90, 92), begins=[90])
    [leave] = made.take(made.rules.end(EPOCH + 92))
    assert leave.value == 0.0


BUSY_LINES = {"gate": UPWARD, "bent": Line(points=((0.2, 0.3), (0.6, 0.55), (0.9, 0.3)))}
BUSY_ZONES = {
    "yard": SQUARE.model_copy(update={"loiter_s": 2.0, "max_occupancy": 1}),
    "cars": Zone(points=((0.1, 0.2), (0.9, 0.2), (0.5, 0.8)), classes=("car",)),
}


def busy_walks(seed: int, count: int = 8) -> list[Walk]:
    random = np.random.default_rng(seed)

    def one() -> Walk:
        a, b, c, d = random.uniform(0.5, 3, 4)
        gone = random.uniform(0, 15, 2)

        def walk(now: float) -> tuple[float, float] | None:
            if gone[0] < now < gone[0] + 1.5:
                return None
            return 0.5 + 0.4 * np.sin(a * now + b) * np.cos(now), 0.5 + 0.3 * np.sin(c * now * 0.5 + d)

        return walk

    return [*(one() for _ in range(count - 2)), waiting(3, 11), waiting(6, 14)]


def waiting(start: float, end: float) -> Walk:
    """Stands in the square between two moments, else beside it."""
    return lambda now: (0.5, 0.5) if start <= now < end else (0.3, 0.9)


@pytest.mark.parametrize("seed", range(4))
def test_going_on_from_any_moment_gives_the_same_events(seed: int) -> None:
    walks, classes = busy_walks(seed), [0, 1] * 4
    moments = times(10, 0, 20)
    reference = rules(BUSY_LINES, BUSY_ZONES)
    whole = play(reference, walks, moments, class_ids=classes)
    assert {event.kind for event in whole} == RULE_KINDS
    made, found = rules(BUSY_LINES, BUSY_ZONES), []
    for number, now in enumerate(moments):
        if number % 7 == 3:
            state = json.loads(json.dumps(made.snapshot()))
            ends, made = made.ends, rules(BUSY_LINES, BUSY_ZONES, state=state)
            made.ends = ends
        found += made.observe(tracks_at(walks, now, class_ids=classes), EPOCH + now)
    names = [[(e.kind, e.place, e.track_id, e.ordinal, e.direction) for e in run] for run in (found, whole)]
    assert sorted(names[0], key=str) == sorted(names[1], key=str)
    by_time = sorted(found, key=lambda event: (event.event_time, event.kind))
    assert [e.event_time for e in by_time] == pytest.approx([e.event_time for e in whole], abs=1e-3)
    assert len({(e.kind, e.place, e.track_id, e.first_time, e.ordinal) for e in whole}) == len(whole)
    whole += reference.take(reference.rules.end(EPOCH + 20))
    found += made.take(made.rules.end(EPOCH + 20))
    for run, ends in ((whole, reference.ends), (found, made.ends)):
        lasting = [event for event in run if lasts(event.kind, event.direction)]
        assert sorted((end.event for end in ends), key=str) == sorted(lasting, key=str)
        assert all(end.end_time >= end.event.event_time for end in ends)
    assert sorted(end.end_time for end in made.ends) == pytest.approx(
        sorted(end.end_time for end in reference.ends), abs=1e-3
    )


@at_every_rate
def test_a_visit_lasts_until_it_is_left_and_crowds_until_they_are_gone(fps: int) -> None:
    made = rules(zones={"yard": SQUARE.model_copy(update={"loiter_s": 2.0, "max_occupancy": 0})})
    play(made, [waiting(2, 8)], times(fps, 0, 12))
    ends = {end.event.kind.value: end for end in made.ends}
    assert sorted(ends) == ["enter", "loiter", "occupancy"] and len(made.ends) == 3
    assert ends["enter"].end_time == ends["loiter"].end_time
    assert [end.end_time - EPOCH for end in ends.values()] == pytest.approx([8.0] * 3, abs=1 / fps + 1e-3)


def test_a_visit_that_is_over_before_its_track_is_confirmed_is_told_with_its_end() -> None:
    made = rules(zones={"yard": SQUARE})
    found = play(made, [waiting(1, 2)], times(10, 0, 6), confirm_s=4.0)
    assert [event.kind.value for event in found] == ["enter", "leave"]
    [end] = made.ends
    assert (end.event, end.end_time) == (found[0], found[1].event_time)


@pytest.mark.parametrize(
    "zones", [{}, {"yard": WIDE}, {"yard": SQUARE.model_copy(update={"max_occupancy": 9})}]
)
def test_what_lasts_in_a_place_that_changes_ends_there(zones: dict[str, Zone]) -> None:
    zone, here = SQUARE.model_copy(update={"max_occupancy": 0}), straight((0.5, 0.5), (0.5, 0.5), 1)
    made = rules(zones={"yard": zone})
    begun = play(made, [here], times(10, 0, 5))
    later = rules(zones=zones, state=json.loads(json.dumps(made.snapshot())))
    later.take(later.rules.take())
    stays = "yard" in zones and zones["yard"].points == SQUARE.points
    kinds = [end.event.kind.value for end in later.ends]
    assert sorted(kinds) == (["occupancy"] if stays else ["enter", "occupancy"])
    assert all(end.event in begun and end.end_time == EPOCH + 5 for end in later.ends)


def test_an_event_knows_its_position_in_the_stream() -> None:
    made, walk = rules({"gate": UPWARD}), straight((0.8, 0.7), (0.2, 0.5), 6.0)
    found: list[Event] = []
    for number, now in enumerate(times(10, 0, 6)):
        seen = made.frame(EPOCH + now, tracks_at([walk], now))
        opened_late = replace(seen.frame, index=number, media_s=seen.frame.capture_time - EPOCH + 1000)
        found += made.take(made.rules.observe(replace(seen, frame=opened_late)))
    assert [event.media_s for event in found] == [pytest.approx(1003.0, abs=1e-3)]


@at_every_rate
@pytest.mark.parametrize("away_s", [0.5, 2.0])
def test_a_killed_worker_neither_loses_nor_doubles_an_event(fps: int, away_s: float) -> None:
    """Checkpoints once a second; what came after the last one is gone, and frames are missed meanwhile."""
    walk = straight((0.2, 0.5), (0.8, 0.5), 12.0)
    for killed_s in np.arange(1.5, 11.5, 0.25):
        saved_s = np.floor(killed_s)
        made = rules({"gate": UPWARD}, {"yard": SQUARE})
        committed = play(made, [walk], [t for t in times(fps, 0, 12) if t <= saved_s])
        state = json.loads(json.dumps(made.snapshot()))
        play(made, [walk], [t for t in times(fps, 0, 12) if saved_s < t <= killed_s])  # lost with the worker
        made = rules({"gate": UPWARD}, {"yard": SQUARE}, state=state)
        committed += play(made, [walk], [t for t in times(fps, 0, 12) if t > killed_s + away_s])
        assert story(committed) == [
            ("enter", None, 4.0),
            ("crossing", "backward", 6.0),
            ("leave", None, 8.0),
        ], killed_s


def test_crossings_add_up_to_the_side_where_a_track_ends() -> None:
    """At a line across the whole picture nobody goes forward twice without having come back."""
    for seed in range(20):
        for walk in busy_walks(seed, 3):
            ways = [event.direction for event in play(rules({"wall": WALL}), [walk], times(15, 0, 20))]
            assert all(a != b for a, b in pairwise(ways)), ways


WALL = Line(points=((0.5, 1.5), (0.5, -0.5)))


def test_a_place_that_was_moved_begins_anew_and_others_go_on() -> None:
    here = straight((0.5, 0.5), (0.5, 0.5), 1)
    made = rules(zones={"yard": SQUARE, "other": SQUARE})
    play(made, [here], times(10, 0, 5))
    moved = Zone(points=((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)))
    goes_on = rules(zones={"yard": moved, "other": SQUARE}, state=made.snapshot())
    found = play(goes_on, [here], times(10, 5.1, 8))
    assert [(event.place, event.kind.value, event.unseen) for event in found] == [("yard", "enter", True)]
    assert found[0].ordinal == 1, "the first entry has that name"


@pytest.mark.parametrize("state", [{}, {"version": 1}, {"version": 99}])
def test_a_state_that_is_not_one_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="state of rules"):
        Rules(AnalysisOptions("door", zones={"yard": SQUARE}), ClassTable(), state=state)


def test_memory_is_bounded_by_the_tracks_that_live() -> None:
    made = rules(BUSY_LINES, BUSY_ZONES)
    for number in range(600):  # one a second passes through
        walk: Walk = lambda now, start=number: (0.2 + 0.3 * (now - start), 0.5)  # noqa: E731
        for now in times(5, number, number + 0.8):
            one = tracks_at([walk], now, confirm_s=99, begins=[number])
            one.ids[:] = number + 1
            made.observe(one, EPOCH + now)
    assert len(json.dumps(made.snapshot())) < 20_000


def test_without_places_nothing_happens() -> None:
    made = rules()
    assert play(made, [straight((0.2, 0.5), (0.8, 0.5), 2.0)], times(10, 0, 3)) == []
    assert made.rules.end(EPOCH) == made.rules.tick(5.0, silent=True) == []
    assert rules(state=made.snapshot()).snapshot()["rules"]["tracks"] == []


def events_at(fps: float, walk: Callable[[float], tuple[float, float] | None]) -> list[tuple[str, str]]:
    found = play(rules(BUSY_LINES, BUSY_ZONES), [walk], times(fps, 0, 20))
    return sorted((event.kind.value, event.place) for event in found if event.kind is not EventKind.LOITER)


def test_every_rate_sees_the_same_of_slow_walks() -> None:
    for seed in (0, 1, 3, 4, 5):  # seed 2 passes a line exactly at its end
        a, b, c, d = np.random.default_rng(seed).uniform(0.3, 1.0, 4)
        walk: Walk = lambda t, a=a, b=b, c=c, d=d: (  # noqa: E731
            0.5 + 0.4 * np.sin(a * t + 6 * b),
            0.5 + 0.3 * np.sin(c * t + 6 * d),
        )
        assert len({tuple(events_at(fps, walk)) for fps in RATES}) == 1, seed
