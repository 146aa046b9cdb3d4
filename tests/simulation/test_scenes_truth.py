"""The truth of a run agrees with itself, with the pictures, and with the formats it is written in."""

import configparser
import json
import math
from pathlib import Path

import numpy as np
import pytest

from sightline.simulation.scenes import truth
from sightline.simulation.scenes.mesh import box
from sightline.simulation.scenes.scene import still_of, world_of
from sightline.simulation.scenes.scene_places import Places, SceneLine, SceneZone, places_of
from sightline.simulation.scenes.spec import SCENES, SceneSpec, camera_of
from sightline.simulation.scenes.truth import RunTruth, inside, meeting
from sightline.simulation.scenes.visibility import TruthObserver
from sightline.simulation.scenes.world import STEP_S, Actor, ActorState, Snapshot

SMALL = {"width": 320, "height": 180}


def standing(number: int, x: float, y: float) -> tuple[Actor, ActorState]:
    return Actor(number, "person", "person", (0.35, 0.5, 1.75), number, {}), ActorState(x, y, 0.0)


@pytest.mark.parametrize("scene", SCENES)
def test_a_crossing_is_where_the_foot_point_changes_sides(scene: str) -> None:
    spec = SceneSpec(scene, seed=2, **SMALL)
    result = truth.run(spec, 40.0)
    assert result.crossings
    lines = {line.name: line for line in places_of(scene).lines}
    world = world_of(spec)
    for crossing in result.crossings:
        line = lines[crossing.line]
        places = []
        for time_s in (crossing.time_s - 1e-4, crossing.time_s + 1e-4):
            while world._after.time_s <= time_s:
                world.step()
            now = {
                a.id: s
                for a, s in (world.at(time_s) if time_s >= world._before.time_s else world._before).bodies
            }
            places.append((now[crossing.id].x, now[crossing.id].y))
        sides = [
            (line.b[0] - line.a[0]) * (y - line.a[1]) - (line.b[1] - line.a[1]) * (x - line.a[0])
            for x, y in places
        ]
        assert sides[0] * sides[1] <= 0
        assert (sides[1] > sides[0]) == (crossing.direction == "forward")


def test_visits_begin_and_end_at_the_edge_and_their_dwell_adds_up() -> None:
    zone = SceneZone("room", ((1.0, -1.0), (4.0, -1.0), (4.0, 1.0), (1.0, 1.0)))
    book = RunTruth(SceneSpec(), 10.0, Places((), (zone,)))
    actor = Actor(1, "person", "person", (0.3, 0.5, 1.7), 1, {})
    for i in range(200):  # walks along x at 1 m/s, from 0
        pair = [Snapshot(k * STEP_S, ((actor, ActorState(k * STEP_S, 0.0, 0.0)),)) for k in (i, i + 1)]
        book.step(pair[0], pair[1])
    (visit,) = book.visits
    assert visit.enter_s == pytest.approx(1.0, abs=1e-4)
    assert visit.dwell_s == pytest.approx(3.0, abs=1e-4)


def test_a_line_is_crossed_only_between_its_ends() -> None:
    line = SceneLine("l", (0.0, 0.0), (0.0, 2.0))
    assert meeting(line, (1.0, 1.0), (-1.0, 1.0)) == (0.5, True)
    assert meeting(line, (-1.0, 1.0), (1.0, 1.0)) == (0.5, False)
    assert meeting(line, (-1.0, 3.0), (1.0, 3.0)) is None
    assert meeting(line, (-1.0, 1.0), (-0.5, 1.0)) is None


def test_occupancy_is_how_many_are_inside_at_any_moment() -> None:
    spec = SceneSpec("shop", seed=5, **SMALL)
    result = truth.run(spec, 30.0)
    zone = next(z for z in places_of("shop").zones if z.name == "inside")
    series = result.occupancy()["inside"]["person"]
    world = world_of(spec)
    for time_s in np.arange(0.5, 30.0, 1.7):
        there = [s for a, s in world.at(float(time_s)).bodies if inside(zone.points, s.x, s.y)]
        assert [n for t, n in series if t <= time_s][-1] == len(there)


def test_who_breaks_a_rule_is_named_and_nobody_else() -> None:
    result = truth.run(SceneSpec("factory", seed=1, **SMALL), 90.0)
    bare = {a.id for a in result.actors if a.kind == "person" and not a.attributes["helmet"]}
    visited = {v.id for v in result.visits if v.zone == "hall"}
    named = {v.id for v in result.violations if v.rule == "no helmet"}
    assert named == bare & visited
    assert named
    forbidden = {v.id for v in result.visits if v.zone == "forbidden"}
    assert {v.id for v in result.violations if v.rule == "forbidden zone"} == forbidden
    kinds = {a.kind for a in result.actors}
    assert {"fire", "smoke", "forklift"} <= kinds


def test_speeders_are_those_who_drove_faster_than_the_limit() -> None:
    limit = places_of("street").speed_limit
    result = truth.run(SceneSpec(seed=4, **SMALL), 60.0)
    found = [v for v in result.violations if v.rule == "speeding"]
    assert found
    assert all(float(v.value) > limit for v in found)
    fast = {c.id for c in result.crossings if c.kind in ("car", "van") and c.speed > limit}
    assert fast <= {v.id for v in found}


def test_occlusion_is_the_hidden_share_of_the_silhouette() -> None:
    spec = SceneSpec(**SMALL)
    camera = camera_of(spec)
    x, y = 12.0, 0.0
    alone = TruthObserver(camera, []).look(Snapshot(0.0, (standing(1, x, y),)))
    assert alone.occlusion.tolist() == [0.0]
    toward = (camera.position[:2] - [x, y]) / np.linalg.norm(camera.position[:2] - [x, y])
    wall = box([0.1, 6.0, 6.0], [x + toward[0] * 1.5, y + toward[1] * 1.5, 3.0], np.ones(3, np.float32))
    hidden = TruthObserver(camera, [wall]).look(Snapshot(0.0, (standing(1, x, y),)))
    assert hidden.occlusion.tolist() == [1.0]
    assert hidden.visible_xyxy.tolist() == [[0, 0, 0, 0]]
    assert hidden.full_xyxy.tolist() == alone.full_xyxy.tolist()
    step = toward * 0.9
    pair = TruthObserver(camera, []).look(
        Snapshot(0.0, (standing(1, x, y), standing(2, x + step[0], y + step[1])))
    )
    assert 0.3 < pair.occlusion[0] < 1.0
    assert pair.occlusion[1] == 0.0


@pytest.mark.parametrize("scene", SCENES)
def test_boxes_speeds_and_places_are_consistent(scene: str) -> None:
    spec = SceneSpec(scene, seed=4, **SMALL)
    found = list(truth.frames(spec, 5, 2.0))
    assert sum(map(len, found)) > 10
    world = world_of(spec)
    for frame in found:
        states = {a.id: s for a, s in world.at(frame.time_s).bodies}
        full, seen = frame.full_xyxy, frame.visible_xyxy
        shown = frame.occlusion < 1
        assert (seen[shown, :2] >= np.floor(full[shown, :2]) - 1).all()
        assert (seen[shown, 2:] <= np.ceil(full[shown, 2:]) + 1).all()
        clear = (frame.occlusion == 0) & np.array([k not in ("fire", "smoke") for k in frame.kinds], bool)
        assert np.abs(full - seen)[clear].max(initial=0) <= 2.5  # thin parts can fall between pixels
        for number, speed, place in zip(frame.ids, frame.speed, frame.position, strict=True):
            assert speed == pytest.approx(states[int(number)].speed, abs=1e-4)
            assert math.dist(place[:2], (states[int(number)].x, states[int(number)].y)) < 1e-3


def test_files_are_the_same_bytes_for_one_seed_and_parse(tmp_path: Path) -> None:
    spec = SceneSpec(seed=6, **SMALL)
    for name, seed in (("a", 6), ("b", 6), ("c", 7)):
        its = SceneSpec(seed=seed, **SMALL)
        truth.write_truth(tmp_path / name, truth.run(its, 3.0), truth.frames(its, 5, 3.0), 5)
    for file in ("run.json", "frames.jsonl", "coco.json", "mot/gt/gt.txt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()
    rows = [line.split(",") for line in (tmp_path / "a/mot/gt/gt.txt").read_text().splitlines()]
    frames = [json.loads(line) for line in (tmp_path / "a/frames.jsonl").read_text().splitlines()]
    assert len(rows) == sum(len(frame["ids"]) for frame in frames)
    assert all(len(row) == 9 and 0 <= float(row[8]) <= 1 for row in rows)
    info = configparser.ConfigParser()
    info.read(tmp_path / "a/mot/seqinfo.ini")
    assert info["Sequence"]["seqLength"] == "15"
    found = json.loads((tmp_path / "a/run.json").read_text())
    assert set(found["lines"]) == {line.name for line in places_of("street").lines}
    assert found["plates"]
    assert all(crossing["in_picture"] for crossing in found["crossings"])
    check_coco(tmp_path / "a/coco.json", spec)


def check_coco(path: Path, spec: SceneSpec) -> None:
    found = json.loads(path.read_text())
    images = {image["id"] for image in found["images"]}
    names = {category["id"]: category["name"] for category in found["categories"]}
    assert len(images) == 15
    assert {"person", "car"} <= {names[a["category_id"]] for a in found["annotations"]}
    for annotation in found["annotations"]:
        x, y, w, h = annotation["bbox"]
        assert annotation["image_id"] in images
        assert x >= 0 and y >= 0 and x + w <= spec.width + 1e-3 and y + h <= spec.height + 1e-3


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("camera", [0, 1, 2, 3, 4, 5])
def test_every_camera_sees_somebody_and_keeps_below_the_ceiling(scene: str, camera: int) -> None:
    spec = SceneSpec(scene, seed=camera, camera=camera, **SMALL)
    assert any((frame.occlusion < 0.5).any() for frame in truth.frames(spec, 0.2, 15.0))
    for seed in range(40):
        assert scene != "shop" or camera_of(SceneSpec(scene, seed, camera=camera)).position[2] < 3.55


def test_a_wall_hides_who_is_behind_it() -> None:
    spec = SceneSpec("factory", **SMALL)
    observer = TruthObserver(camera_of(spec), still_of(spec))
    seen = observer.look(Snapshot(0.0, (standing(1, 29.5, 0.0), standing(2, 26.0, 0.0))))
    assert seen.occlusion[0] == 1.0
    assert seen.occlusion[1] < 1.0
