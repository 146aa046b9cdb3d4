"""Lines and zones on the ground: where truth is counted. Metres in the world, drawn into any camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sightline.simulation.scenes.arrays import f32
from sightline.simulation.scenes.pinhole import PinholeCamera
from sightline.simulation.scenes.street import KERB_Y, SPEED_LIMIT, STOP_X, ZEBRA_X

Point = tuple[float, float]
Size = tuple[float, float, float]  # length, width, height in metres
Rule = Literal["", "forbidden", "helmet and vest", "loiter"]


PERSON: Size = (0.5, 0.5, 1.75)
VEHICLE: Size = (4.6, 1.8, 1.5)
TRAFFIC = ("car", "van", "truck", "bus", "motorcycle", "bicycle")


@dataclass(frozen=True, slots=True)
class SceneLine:
    """From ``a`` to ``b``. *Forward* is from its right to its left side, seen along it on the ground.

    Attributes:
        kinds: classes that are counted here.
        size: of what usually passes, its length along x: so the line can be put where boxes stand.
    """

    name: str
    a: Point
    b: Point
    kinds: tuple[str, ...] = ("person",)
    size: Size = PERSON


@dataclass(frozen=True, slots=True)
class SceneZone:
    """A polygon, and what must not be in it; ``kinds`` are the classes that are counted here."""

    name: str
    points: tuple[Point, ...]
    rule: Rule = ""
    loiter_s: float = 0.0
    kinds: tuple[str, ...] = ("person",)


@dataclass(frozen=True, slots=True)
class Places:
    """What is counted in a scene.

    Attributes:
        stop_lines: lines that may not be crossed (forward) while the traffic light is red.
        speed_limit: m/s, for vehicles; None where there is none.
    """

    lines: tuple[SceneLine, ...]
    zones: tuple[SceneZone, ...]
    stop_lines: tuple[SceneLine, ...] = ()
    speed_limit: float | None = None


def box_of(x0: float, y0: float, x1: float, y1: float) -> tuple[Point, ...]:
    """A rectangle's corners."""
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


STREET = Places(
    lines=(
        # Each where its traffic flows, beyond its stop line: waiting traffic would stand on the line.
        SceneLine("outbound", (24.5, -KERB_Y), (24.5, 0.0), TRAFFIC, VEHICLE),
        SceneLine("inbound", (16.5, 0.0), (16.5, KERB_Y), TRAFFIC, VEHICLE),
        # Not in the middle of the road, where those of both sides meet and hide each other.
        SceneLine("crossing", (ZEBRA_X[0] - 0.5, KERB_Y / 2), (ZEBRA_X[1] + 0.5, KERB_Y / 2)),
    ),
    zones=(
        SceneZone("crossing", box_of(ZEBRA_X[0], -KERB_Y, ZEBRA_X[1], KERB_Y)),
        SceneZone("far pavement", box_of(12.0, KERB_Y, 32.0, 13.0)),
    ),
    stop_lines=(
        SceneLine("stop outbound", (STOP_X[1.0], 0.0), (STOP_X[1.0], -6.75)),
        SceneLine("stop inbound", (STOP_X[-1.0], 0.0), (STOP_X[-1.0], 6.75)),
    ),
    speed_limit=SPEED_LIMIT,
)
FACTORY = Places(
    lines=(SceneLine("aisle", (11.0, -2.2), (11.0, 2.2), ("person", "forklift")),),
    zones=(
        SceneZone("forbidden", box_of(13.5, 3.0, 18.0, 7.6), rule="forbidden", kinds=("person", "forklift")),
        SceneZone("hall", box_of(3.0, -8.5, 26.0, 8.5), rule="helmet and vest"),
    ),
)
SHOP = Places(
    lines=(SceneLine("door", (7.6, -1.9), (7.6, 1.9)),),
    zones=(
        SceneZone("entrance", box_of(5.2, -2.4, 7.4, 2.4), rule="loiter", loiter_s=15.0),
        SceneZone("inside", box_of(1.0, -4.5, 7.4, 4.5)),
    ),
)


def places_of(scene: str) -> Places:
    """The lines and zones of a scene."""
    return {"street": STREET, "factory": FACTORY, "shop": SHOP}[scene]


def in_picture(points: tuple[Point, ...], camera: PinholeCamera) -> list[list[float]]:
    """Ground points as fractions of the picture, [[x, y], …], as config.yml takes them."""
    q = camera.project(f32([[x, y, 0.0] for x, y in points]))
    shares = q[:, :2] / f32([camera.width, camera.height])
    return [[round(float(x), 5), round(float(y), 5)] for x, y in np.asarray(shares)]
