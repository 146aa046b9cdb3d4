"""What the scoreboard reads of one camera, on SQLite and on a real Postgres."""

from __future__ import annotations

from sightline.simulation.selftest.evidence import claimed_events, total_counts, total_watched
from sightline.store.read.readonly import Database
from support.console_world import World

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def test_rows_are_added_over_all_windows_of_the_camera(database_url: str) -> None:
    world = World(database_url)
    for number in range(3):
        world.window("gate", START + 86_400 * number, 0.5, person=number, car=2)
    world.window("yard", START, 1.0, person=7)
    for second in (3, 1, 2):
        world.event("gate", "crossing", "door", START + second, direction="forward")
    world.event("yard", "enter", "door", START)
    database = Database(database_url)
    assert total_counts(database, "gate") == {"person": 3, "car": 6}
    assert total_watched(database, "gate") == (90.0, 3)
    assert [event.event_time - START for event in claimed_events(database, "gate")] == [1, 2, 3]
    [last] = claimed_events(database, "gate", START + 2.5)
    assert (last.kind, last.place, last.direction, last.unseen) == ("crossing", "door", "forward", False)
    assert last.created_at == START + 4
    assert total_counts(database, "nobody") == {}
    database.close()
