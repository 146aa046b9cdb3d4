"""The truth of a run: frame by frame, and what happened in it. Pure arithmetic: no picture is drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from sightline.simulation.scenes.happenings import Crossing, TruthRecorder, Violation, Visit
from sightline.simulation.scenes.scene import still_of, world_of
from sightline.simulation.scenes.scene_places import Places, places_of
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.viewpoints import camera_of
from sightline.simulation.scenes.visibility import FrameTruth, TruthObserver
from sightline.simulation.scenes.world import Actor


@dataclass(frozen=True, slots=True)
class RunTruth:
    """Everything that happened from time 0 to ``length_s``."""

    spec: SceneSpec
    length_s: float
    actors: tuple[Actor, ...]
    crossings: tuple[Crossing, ...]
    visits: tuple[Visit, ...]
    violations: tuple[Violation, ...]

    def occupancy(self) -> dict[str, dict[str, list[tuple[float, int]]]]:
        """For each zone and class: (second, how many from then on), at every change."""
        moves: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
        for visit in self.visits:
            moves[visit.zone, visit.kind].append((visit.enter_s, 1))
            if visit.leave_s is not None:
                moves[visit.zone, visit.kind].append((visit.leave_s, -1))
        series: dict[str, dict[str, list[tuple[float, int]]]] = defaultdict(dict)
        for (zone, kind), changes in sorted(moves.items()):
            count, steps = 0, []
            for time_s, change in sorted(changes):
                count += change
                steps.append((time_s, count))
            series[zone][kind] = steps
        return dict(series)


def frames(spec: SceneSpec, fps: float, length_s: float) -> Iterator[FrameTruth]:
    """The truth of every frame: frame i is at i / fps seconds."""
    observer = TruthObserver(camera_of(spec), still_of(spec))
    world = world_of(spec)
    for i in range(round(length_s * fps)):
        yield observer.look(world.at(i / fps))


def run(spec: SceneSpec, length_s: float, places: Places | None = None) -> RunTruth:
    """What happens in the scene; ``places`` replaces the scene's own lines and zones."""
    book = TruthRecorder(places or places_of(spec.scene))
    world = world_of(spec)
    while True:
        before, after = world.step()
        if before.time_s >= length_s - 1e-9:
            break
        book.step(before, after)
    actors = tuple(book.actors[number] for number in sorted(book.actors))
    order = sorted(book.crossings, key=lambda c: (c.time_s, c.id))
    return RunTruth(spec, length_s, actors, tuple(order), tuple(book.visits), tuple(book.violations))
