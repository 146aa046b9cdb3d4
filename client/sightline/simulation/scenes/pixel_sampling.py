"""Pictures together with their truth, as arrays: for training and for judging a detector without a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sightline.simulation.scenes.arrays import U8
from sightline.simulation.scenes.painting import painter
from sightline.simulation.scenes.scene import still_of, world_of
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.viewpoints import camera_of
from sightline.simulation.scenes.visibility import FrameTruth, Observer


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture, uint8 sRGB [height, width, 3] without a time code, and what is true of it."""

    picture: U8
    truth: FrameTruth


def samples(spec: SceneSpec, fps: float, length_s: float, start_s: float = 0.0) -> Iterator[Sample]:
    """Sample i is at start + i / fps seconds; a low rate gives pictures that differ more."""
    paint, observer, world = painter(spec), Observer(camera_of(spec), still_of(spec)), world_of(spec)
    for i in range(round(length_s * fps)):
        snapshot = world.at(start_s + i / fps)
        yield Sample(paint(snapshot), observer.look(snapshot))
