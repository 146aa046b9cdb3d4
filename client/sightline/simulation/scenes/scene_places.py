"""Lines and zones on the ground, where truth is counted, and as a camera's configuration takes them. Metres.

Truth is counted where an actor's middle stands on the ground; the pipeline has a box, and takes its bottom
centre. For a person they are the same place. A car's box ends at the bumper that is nearer to the camera,
half a length before its middle, whichever way it drives. So a line is put where the bottom centre of what
usually passes is while its middle is over the line; what is longer passes a little sooner or later.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32
from sightline.simulation.scenes.spec import PinholeCamera, Point, SceneSpec, camera_of
from sightline.simulation.scenes.street import KERB_Y, SPEED_LIMIT, STOP_X, ZEBRA_X

Size = tuple[float, float, float]  # length, width, height in metres
Rule = Literal["", "forbidden", "helmet and vest", "loiter"]
PERSON: Size = (0.5, 0.5, 1.75)
VEHICLE: Size = (4.6, 1.8, 1.5)
TRAFFIC = ("car", "van", "truck", "bus", "motorcycle", "bicycle")


@dataclass(frozen=True, slots=True)
class SceneLine:
    """From ``a`` to ``b``. *Forward* is from its right to its left side, seen along it on the ground."""

    name: str
    a: Point
    b: Point
    kinds: tuple[str, ...] = ("person",)  # classes that are counted here
    # of what usually passes, its length along x: so the line can be put where boxes stand
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
    """What is counted in a scene."""

    lines: tuple[SceneLine, ...]
    zones: tuple[SceneZone, ...]
    # lines that may not be crossed (forward) while the traffic light is red
    stop_lines: tuple[SceneLine, ...] = ()
    speed_limit: float | None = None  # m/s, for vehicles; None where there is none


def box_of(x0: float, y0: float, x1: float, y1: float) -> tuple[Point, ...]:
    """A rectangle's corners."""
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


STREET = Places(
    lines=(
        # Each where its traffic flows, beyond its stop line: waiting traffic would stand on the line.
        SceneLine("outbound", (24.5, -KERB_Y), (24.5, 0.0), TRAFFIC, VEHICLE),
        SceneLine("inbound", (16.5, 0.0), (16.5, KERB_Y), TRAFFIC, VEHICLE),
        # Not in the middle of the road, where those of both sides meet and hide each other.
        SceneLine("zebra", (ZEBRA_X[0] - 0.5, KERB_Y / 2), (ZEBRA_X[1] + 0.5, KERB_Y / 2)),
    ),
    zones=(
        SceneZone("zebra", box_of(ZEBRA_X[0], -KERB_Y, ZEBRA_X[1], KERB_Y)),
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


#: Places that reach further out of the picture than this are cut there.
MIN_SHARE, MAX_SHARE = -0.45, 1.45
#: ``detect`` of a camera that sees a scene: at lower scores, or where boxes may overlap more, the bundled
#: detector too often gives two boxes for one object.
DETECT = {"min_score": 0.45, "dedupe_iou": 0.5}


def in_picture(points: tuple[Point, ...], camera: PinholeCamera) -> list[list[float]]:
    """Ground points as fractions of the picture, [[x, y], …], as config.yml takes them."""
    q = camera.project(f32([[x, y, 0.0] for x, y in points]))
    return _fractions(q[:, :2] / f32([camera.width, camera.height]))


def _fractions(points: F32) -> list[list[float]]:
    return [[round(share, 5) for share in point] for point in points.tolist()]


def camera_places(spec: SceneSpec) -> dict[str, Any]:
    """``rules`` of a camera that sees the scene."""
    places, camera = places_of(spec.scene), camera_of(spec)
    size, lines, zones = f32([camera.width, camera.height]), {}, {}
    for line in places.lines:
        ends = f32([anchor(end, line.size, camera) / size for end in (line.a, line.b)])
        points = _fractions(np.clip(ends, MIN_SHARE, MAX_SHARE))
        lines[line.name] = {"points": points, "classes": list(line.kinds)}
    for zone in places.zones:
        entry: dict[str, Any] = {"points": cut(in_picture(zone.points, camera)), "classes": list(zone.kinds)}
        zones[zone.name] = entry | ({"loiter_s": zone.loiter_s} if zone.loiter_s else {})
    return {"lines": lines, "zones": zones}


def anchor(point: Point, size: Size, camera: PinholeCamera) -> F32:
    """Picture x and y (pixels) of the bottom centre of the box of what stands there, its length along x."""
    (x, y), (lx, ly, lz) = point, size
    corners = [[x + lx / 2 * a, y + ly / 2 * b, lz * c] for a in (-1, 1) for b in (-1, 1) for c in (0, 1)]
    q = camera.project(f32(corners))
    return f32([(q[:, 0].min() + q[:, 0].max()) / 2, q[:, 1].max()])


def cut(points: list[list[float]]) -> list[list[float]]:
    """The part of a polygon within :data:`MIN_SHARE` to :data:`MAX_SHARE` each way."""
    for axis, bound, sign in ((0, MIN_SHARE, 1), (0, MAX_SHARE, -1), (1, MIN_SHARE, 1), (1, MAX_SHARE, -1)):
        inside: list[list[float]] = []
        for p, q in zip(points, [*points[1:], *points[:1]], strict=True):
            before, after = sign * (p[axis] - bound), sign * (q[axis] - bound)
            if before >= 0:
                inside.append(p)
            if (before >= 0) != (after >= 0):
                share = before / (before - after)
                inside.append([round(a + (b - a) * share, 5) for a, b in zip(p, q, strict=True)])
        points = inside
    return points
