"""What the scoreboard reads of one camera, on SQLite and on a real Postgres."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.selftest.evidence import claimed_events, gather
from sightline.simulation.selftest.ground_truth import SimulatedCamera
from sightline.store.read.readonly import Database
from support.console_world import World

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def test_rows_are_added_over_all_windows_of_the_camera(database_url: str, tmp_path: Path) -> None:
    camera = SimulatedCamera(SceneSpec("street", 1), 5.0, 60.0)
    gate = camera.name
    world = World(database_url)
    for number in range(3):
        world.window(gate, START + 86_400 * number, 0.5, person=number, car=2)
    world.window("yard", START, 1.0, person=7)
    for second in (3, 1, 2):
        world.event(gate, "crossing", "door", START + second, direction="forward")
    world.event("yard", "enter", "door", START)
    database = Database(database_url)
    [last] = claimed_events(database, gate, START + 2.5)
    assert (last.kind, last.place, last.direction, last.unseen) == ("crossing", "door", "forward", False)
    assert last.created_at == START + 4
    database.close()
    found = gather(camera, tmp_path, database_url)
    assert found.counts == {"person": 3, "car": 6}
    assert (found.watched_s, found.dropped_frames, found.frames, found.began_time) == (90.0, 3, (), None)
    assert [event.event_time - START for event in found.events] == [1, 2, 3]
    nobody = replace(camera, fps=10.0)
    assert gather(nobody, tmp_path, database_url).counts == {}
