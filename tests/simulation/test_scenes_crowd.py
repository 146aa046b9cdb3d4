"""People in a scene make room for each other."""

import itertools
import math

import pytest

from sightline.simulation.scenes.scene import world_of
from sightline.simulation.scenes.spec import SCENES, SceneSpec
from sightline.simulation.scenes.world import ASIDE_M, BODY_M, STEP_S, Actor, Walker, walk


def walker(number: int, *path: tuple[float, float, bool], pace: float = 1.4) -> Walker:
    return Walker(Actor(number, "person", "person", (0.35, 0.5, 1.75), number, {}), path, pace)


def nearest(people: list[Walker]) -> float:
    return min(math.hypot(a.x - b.x, a.y - b.y) for a, b in itertools.combinations(people, 2))


def test_two_who_meet_head_on_pass_each_other_and_arrive() -> None:
    people = [
        walker(1, (0.0, 0.0, False), (12.0, 0.0, False)),
        walker(2, (12.0, 0.0, False), (0.0, 0.0, False)),
    ]
    closest = 9.0
    for _ in range(round(12 / STEP_S)):
        walk(people)
        closest = min(closest, nearest(people))
    assert all(one.arrived for one in people)
    assert BODY_M <= closest <= ASIDE_M + 0.3


def test_who_is_faster_overtakes() -> None:
    slow = walker(1, (2.0, 0.0, False), (30.0, 0.0, False), pace=0.8)
    fast = walker(2, (0.0, 0.0, False), (30.0, 0.0, False), pace=1.6)
    for _ in range(round(10 / STEP_S)):
        walk([slow, fast])
    assert fast.x > slow.x + 2


def test_who_waits_stands_beside_those_who_wait_and_all_go_together() -> None:
    people = [walker(i, (-4.0 - i, 0.1 * i, False), (0.0, 0.0, True), (9.0, 0.0, False)) for i in range(4)]
    for _ in range(round(15 / STEP_S)):
        walk(people, may_go=False)
    assert max(one.x for one in people) < 1.5 and nearest(people) > BODY_M - 0.02
    for _ in range(round(15 / STEP_S)):
        walk(people, may_go=True)
    assert all(one.arrived for one in people)


@pytest.mark.parametrize("scene", SCENES)
def test_nobody_is_where_somebody_else_is_and_nobody_is_stuck(scene: str) -> None:
    world, began, closest = world_of(SceneSpec(scene, seed=3)), dict[int, float](), 9.0
    for i in range(round(150 / STEP_S)):
        snapshot = world.at(i * STEP_S)
        people = [(actor.id, state) for actor, state in snapshot.bodies if actor.kind == "person"]
        for (_, a), (_, b) in itertools.combinations(people, 2):
            closest = min(closest, math.hypot(a.x - b.x, a.y - b.y))
        began = {number: began.get(number, snapshot.time_s) for number, _ in people}
        assert all(snapshot.time_s - since < 145 for since in began.values())
    assert closest > BODY_M - 0.1
