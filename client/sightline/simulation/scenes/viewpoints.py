"""Where the cameras hang: three to six places in every scene, each a little different for every seed."""

from __future__ import annotations

from sightline.simulation.scenes.pinhole import PinholeCamera
from sightline.simulation.scenes.spec import SceneName, SceneSpec

Place = tuple[
    tuple[float, float, float], tuple[float, float, float], float
]  # position, target, angle of view
PLACES: dict[SceneName, tuple[Place, ...]] = {
    "street": (
        ((-1.5, -9.6, 6.8), (19.0, 0.2, 0.3), 62.0),  # on a pole over the pavement
        ((-4.0, 0.6, 7.6), (22.0, 0.0, 0.0), 58.0),  # on a bridge over the road
        ((4.0, -10.4, 3.8), (17.5, -1.2, 0.5), 38.0),  # low and narrow, on the stop line: for plates
        ((3.5, 0.4, 13.0), (17.5, 0.0, 0.0), 64.0),  # on a mast, steeply down
        ((5.5, 0.4, 18.0), (18.0, 0.0, 0.0), 56.0),  # on a high mast, steeper: few people overlap
        ((2.0, 0.4, 26.0), (18.0, 0.0, 0.0), 44.0),  # as from a roof: to count; a lorry hides no cyclist
    ),
    "factory": (
        ((0.8, -8.6, 5.4), (11.5, 0.6, 0.2), 68.0),
        ((0.5, 8.2, 5.6), (12.0, -1.0, 0.2), 66.0),
        ((-0.5, -1.0, 6.2), (11.0, 0.0, 0.0), 64.0),
    ),
    "shop": (
        ((0.4, -3.6, 3.3), (7.0, 0.4, 0.6), 70.0),
        ((0.4, 3.4, 3.2), (7.0, -0.4, 0.6), 70.0),
        ((0.0, 0.0, 3.05), (6.8, 0.0, 0.7), 72.0),
        ((5.5, 0.0, 3.45), (7.3, 0.0, 0.0), 86.0),  # under the ceiling over the mat: to count
    ),
}
HIGHEST: dict[SceneName, float] = {"shop": 3.5}  # metres: there is a ceiling
#: Numbers of places, of the scene that has the most.
NUMBERS = range(max(map(len, PLACES.values())))


def camera_of(spec: SceneSpec) -> PinholeCamera:
    """The camera of a scene."""
    random = spec.random("camera")
    position, target, angle = PLACES[spec.scene][spec.camera % len(PLACES[spec.scene])]
    sway = 0.25 if spec.scene == "street" else 0.1
    x, y, z = (float(v + random.normal(0, sway)) for v in position)
    a, b, c = (float(v + random.normal(0, sway)) for v in target)
    turned = angle + float(random.normal(0, 1.5))
    z = min(z, HIGHEST.get(spec.scene, z))
    return PinholeCamera.looking_at((x, y, z), (a, b, c), turned, (spec.width, spec.height))
