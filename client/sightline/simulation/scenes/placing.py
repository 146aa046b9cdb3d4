"""A scene's lines and zones as a camera's configuration takes them.

Truth is counted where an actor's middle stands on the ground; the pipeline has a box, and takes its bottom
centre. For a person they are the same place. A car's box ends at the bumper that is nearer to the camera,
half a length before its middle, whichever way it drives. So a line is put where the bottom centre of what
usually passes is while its middle is over the line; what is longer passes a little sooner or later.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32
from sightline.simulation.scenes.pinhole import PinholeCamera
from sightline.simulation.scenes.scene_places import (
    Places,
    Point,
    SceneLine,
    SceneZone,
    in_picture,
    places_of,
)
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.viewpoints import camera_of

#: Places that reach further out of the picture than this are cut there.
MIN_SHARE, MAX_SHARE = -0.45, 1.45
#: ``detect`` of a camera that sees a scene: at lower scores, or where boxes may overlap more, the bundled
#: detector too often gives two boxes for one object.
DETECT = {"min_score": 0.45, "dedupe_iou": 0.5}


def camera_places(spec: SceneSpec, places: Places | None = None) -> dict[str, Any]:
    """``rules`` of a camera that sees the scene."""
    known, camera = places or places_of(spec.scene), camera_of(spec)
    return {
        "lines": {line.name: _line(line, camera) for line in known.lines},
        "zones": {zone.name: _zone(zone, camera) for zone in known.zones},
    }


def anchor(point: Point, size: tuple[float, float, float], camera: PinholeCamera) -> F32:
    """Picture x and y (pixels) of the bottom centre of the box of what stands there, its length along x."""
    corners = f32(
        [
            [point[0] + size[0] / 2 * a, point[1] + size[1] / 2 * b, size[2] * c]
            for a in (-1, 1)
            for b in (-1, 1)
            for c in (0, 1)
        ]
    )
    q = camera.project(corners)
    return f32([(q[:, 0].min() + q[:, 0].max()) / 2, q[:, 1].max()])


def _line(line: SceneLine, camera: PinholeCamera) -> dict[str, Any]:
    ends = [anchor(point, line.size, camera) for point in (line.a, line.b)]
    return {"points": [_share(end, camera) for end in ends], "classes": list(line.kinds)}


def _zone(zone: SceneZone, camera: PinholeCamera) -> dict[str, Any]:
    points = cut(in_picture(zone.points, camera))
    entry: dict[str, Any] = {"points": points, "classes": list(zone.kinds)}
    return entry | ({"loiter_s": zone.loiter_s} if zone.loiter_s else {})


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


def _share(xy: F32, camera: PinholeCamera) -> list[float]:
    shares = xy / f32([camera.width, camera.height])
    return [round(float(v), 5) for v in np.clip(shares, MIN_SHARE, MAX_SHARE)]
