"""Things that stand in the street and hide what is behind: trees, lamps, traffic lights, posts, benches."""

from __future__ import annotations

import numpy as np

from sightline.simulation.scenes.arrays import f32, linear
from sightline.simulation.scenes.mesh import SIGN, Mesh, ball, bar, box, join, mesh
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.staging import Lamp, Stage
from sightline.simulation.scenes.street import STOP_X

_METAL = linear((74, 80, 82))


def place_things(spec: SceneSpec, stage: Stage) -> None:
    """Put everything in its place; needs no textures."""
    random = spec.random("things")
    for x in np.arange(-8.0, 118.0, 14.0):
        for side in (-1.0, 1.0):
            if not (side < 0 and x < 22):  # not before the camera
                _tree(stage, random, x + random.uniform(-1.5, 1.5), side * 9.3)
    for i, x in enumerate(np.arange(-6.0, 118.0, 19.0)):
        _street_lamp(stage, float(x + 3.5), -1.0 if i % 2 and x > 15 else 1.0)
    _traffic_lights(stage)
    _furniture(stage, random)


def _tree(stage: Stage, random: np.random.Generator, x: float, y: float) -> None:
    height = float(random.uniform(4.6, 6.4))
    trunk = linear((82, 66, 52))
    stage.meshes.append(bar((x, y, 0), (x, y, height - 1.2), 0.13, trunk))
    stage.meshes.append(bar((x, y, height - 1.6), (x + 0.5, y + 0.4, height - 0.4), 0.07, trunk))
    stage.meshes.append(_crown(random, (x, y, height), 1.9))
    stage.casters.append(
        f32([[x + a, y + b, z] for a in (-0.1, 0.1) for b in (-0.1, 0.1) for z in (0, height)])
    )
    for _ in range(70):
        c = random.normal(0, 0.95, 3) * [1, 1, 0.8] + [x, y, height]
        corners = c + random.normal(0, 0.22, (6, 3))
        stage.casters.append(f32(corners))


def _crown(random: np.random.Generator, centre: tuple[float, float, float], radius: float) -> Mesh:
    """Some hundred tufts of leaves in a ball, lighter outside and on top."""
    n = 2600
    way = random.standard_normal((n, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    lumps = 1 + 0.18 * np.sin(way[:, 0] * 4 + centre[0]) * np.cos(way[:, 1] * 5 + centre[1])
    far = radius * lumps * random.uniform(0.35, 1.0, n) ** 0.5
    middle = way * far[:, None] * [1, 1, 0.85] + centre
    corners = middle[:, None] + random.normal(0, 0.105, (n, 3, 3))
    tone = (0.45 + 0.75 * far / radius * (0.6 + 0.4 * way[:, 2])) * random.uniform(0.7, 1.25, n)
    green = linear((74, 98, 44)) * tone[:, None]
    normals = np.repeat((way + np.array([0, 0, 0.35]))[:, None], 3, axis=1)
    made = mesh(f32(corners), f32(normals), f32(green))
    back = mesh(f32(corners), f32(normals), f32(green))
    turned = Mesh(
        f32(back.corners[:, ::-1]), back.normals, back.albedo, back.gloss, back.bone, back.surface, back.uv
    )
    return join(made, turned)


def _street_lamp(stage: Stage, x: float, side: float) -> None:
    y = side * 8.95
    top = 7.2
    arm = y - side * 1.9
    stage.meshes.append(bar((x, y, 0), (x, y, top), 0.075, _METAL))
    stage.meshes.append(bar((x, y, top), (x, arm, top + 0.25), 0.05, _METAL))
    stage.meshes.append(box([0.25, 0.7, 0.1], [x, arm, top + 0.25], _METAL))
    glass = box([0.2, 0.6, 0.05], [x, arm, top + 0.18], f32([1.0, 0.72, 0.4])).as_surface(SIGN)
    stage.meshes.append(glass)
    stage.lamps.append(Lamp((x, arm, top), (38.0, 25.0, 13.0)))
    stage.casters.append(
        f32([[x + a, y + b, z] for a in (-0.07, 0.07) for b in (-0.07, 0.07) for z in (0, top)])
    )
    stage.casters.append(f32([[x + a, yy, top + 0.2] for a in (-0.07, 0.07) for yy in (y, arm)]))


def signal_heads() -> list[tuple[float, float, float, float]]:
    """x, y, z and facing (-1: towards traffic that runs along +x) of the drivers' traffic lights."""
    return [(STOP_X[1.0] + 0.9, -8.95, 2.7, -1.0), (STOP_X[-1.0] - 0.9, 8.95, 2.7, 1.0),
            (STOP_X[1.0] + 0.9, 8.95, 2.7, -1.0), (STOP_X[-1.0] - 0.9, -8.95, 2.7, 1.0)]  # fmt: skip


def _traffic_lights(stage: Stage) -> None:
    black = f32([0.02, 0.02, 0.02])
    for x, y, z, _ in signal_heads():
        stage.meshes.append(bar((x, y, 0), (x, y, z + 0.5), 0.06, _METAL))
        stage.meshes.append(box([0.22, 0.3, 0.9], [x, y, z], black))
        stage.casters.append(
            f32([[x + a, y + b, c] for a in (-0.1, 0.1) for b in (-0.1, 0.1) for c in (0, z + 0.5)])
        )


def _furniture(stage: Stage, random: np.random.Generator) -> None:
    green, steel = linear((40, 66, 52)), linear((130, 134, 136))
    for x in (9.0, 12.0, 26.0, 29.0, 32.0, 44.0, 47.0):
        for side in (-1.0, 1.0):
            y = side * 8.85
            stage.meshes.append(bar((x, y, 0), (x, y, 0.9), 0.055, steel))
            stage.meshes.append(ball([x, y, 0.93], [0.07, 0.07, 0.06], 8, steel))
            stage.casters.append(
                f32([[x + a, y + b, c] for a in (-0.05, 0.05) for b in (-0.05, 0.05) for c in (0, 0.9)])
            )
    for x in (24.5, 50.0):
        y = 12.2
        stage.meshes.append(join(box([1.8, 0.5, 0.06], [x, y, 0.45], linear((120, 84, 52))),
                                 box([1.8, 0.06, 0.4], [x, y + 0.25, 0.75], linear((120, 84, 52))),
                                 box([0.06, 0.45, 0.45], [x - 0.7, y, 0.22], steel),
                                 box([0.06, 0.45, 0.45], [x + 0.7, y, 0.22], steel)))  # fmt: skip
        stage.casters.append(
            f32([[x + a, y + b, c] for a in (-0.9, 0.9) for b in (-0.25, 0.25) for c in (0.4, 0.9)])
        )
        bin_x = x + random.uniform(2, 3)
        stage.meshes.append(bar((bin_x, y, 0), (bin_x, y, 0.95), 0.25, green))
        stage.casters.append(
            f32([[bin_x + a, y + b, c] for a in (-0.2, 0.2) for b in (-0.2, 0.2) for c in (0, 0.95)])
        )
