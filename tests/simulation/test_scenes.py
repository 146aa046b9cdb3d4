"""The simulated street: the same for a seed, seen at any frame rate, drawn by depth."""

import numpy as np
import pytest

from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.street import StreetWorld
from sightline.simulation.scenes.visibility import fragments, resolve
from sightline.simulation.scenes.world import STEP_S


def positions(seed: int, fps: float, length_s: float = 6.0) -> dict[float, list[tuple[float, ...]]]:
    world = StreetWorld(SceneSpec(seed=seed))
    frames = [world.at(i / fps) for i in range(round(length_s * fps))]
    return {
        round(frame.time_s, 6): [(a.id, s.x, s.y, s.heading, s.speed) for a, s in frame.bodies]
        for frame in frames
    }


@pytest.mark.parametrize("fps", [10, 15, 30])
def test_the_world_does_not_depend_on_the_frame_rate(fps: int) -> None:
    slow, fast = positions(4, 5), positions(4, fps)
    shared = set(slow) & set(fast)
    assert len(shared) >= 25
    assert all(slow[t] == fast[t] for t in shared)


def test_one_seed_is_one_world_and_another_is_another() -> None:
    assert positions(1, 10) == positions(1, 10)
    assert positions(1, 10) != positions(2, 10)


def test_speed_is_the_distance_between_two_steps_over_their_time() -> None:
    world = StreetWorld(SceneSpec(seed=9))
    for _ in range(1300):
        before, after = world.step()
    now = {actor.id: state for actor, state in after.bodies}
    seen = world.at(before.time_s)
    assert seen.bodies
    for actor, state in seen.bodies:
        if actor.id in now:
            moved = np.hypot(now[actor.id].x - state.x, now[actor.id].y - state.y)
            assert state.speed == pytest.approx(moved / STEP_S, abs=1e-6)


def test_the_nearer_triangle_hides_the_farther() -> None:
    square = np.array([[0, 0], [0, 10], [10, 0]], np.float32)
    xy = np.stack([square, square + np.float32(2)])
    inverse = np.array([[0.1] * 3, [0.2] * 3], np.float32)
    keys = np.zeros(20 * 20, np.uint64)
    won = resolve(fragments(xy, inverse, 20, 20), keys)
    front = set(won.pixel[won.triangle == 1].tolist())
    behind = set(won.pixel[won.triangle == 0].tolist())
    assert len(front) == len(front | {5 * 20 + 5}) == 45
    assert not front & behind
    assert 0 in behind
