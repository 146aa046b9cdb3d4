"""What makes one simulated camera, a pinhole over flat ground; everything else follows from the spec."""

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sightline.simulation.scenes.arrays import F32, F64, f32, unit

SceneName = Literal["street", "factory", "shop"]
LightName = Literal["day", "dusk", "night"]
WeatherName = Literal["clear", "rain"]
SCENES: tuple[SceneName, ...] = ("street", "factory", "shop")
LIGHTS: tuple[LightName, ...] = ("day", "dusk", "night")
WEATHERS: tuple[WeatherName, ...] = ("clear", "rain")


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """A scene, its actors (by the seed), the camera's place, and the weather."""

    scene: SceneName = "street"
    seed: int = 0  # of everything that happens; two seeds are two different days
    light: LightName = "day"
    weather: WeatherName = "clear"
    camera: int = 0  # the number of its place in :data:`PLACES`; each seed hangs it a little differently
    width: int = 640  # of the picture in pixels, even
    height: int = 360
    people: float = 1.0  # those on foot relative to usual; 3 is a crowd. Not in the factory

    def random(self, stream: str) -> np.random.Generator:
        """A stream of random numbers of its own for each purpose; what one draws never moves another."""
        return np.random.default_rng([self.seed, zlib.crc32(f"{self.scene}/{stream}".encode())])


def above_zero(maximum: float) -> Callable[[str], float]:
    """A parser of a number above 0, up to ``maximum``, for an argument."""

    def number(text: str) -> float:
        value = float(text)
        if not 0 < value <= maximum:
            raise argparse.ArgumentTypeError(f"{text} is not a number above 0, up to {maximum:g}")
        return value

    return number


def even(text: str) -> int:
    """Pixels of a side."""
    value = int(text)
    if not 64 <= value <= 4096 or value % 2:
        raise argparse.ArgumentTypeError(f"{text} is not an even number from 64 to 4096")
    return value


NEAR_M = 0.3  # nothing nearer than this is drawn


@dataclass(frozen=True, slots=True)
class PinholeCamera:
    """Position and lens. World: x and y on the ground, z up, metres. Picture: x right, y down, pixels."""

    position: F32  # float32 [3]
    rotation: F32  # float32 [3, 3]; rows are right, down and forward in world axes
    focal_px: float  # focal length in pixels
    width: int  # picture size in pixels; pixel (0, 0) covers 0..1
    height: int

    def scaled(self, factor: float) -> "PinholeCamera":
        """The same view with ``factor`` times the pixels each way."""
        size = round(self.width * factor), round(self.height * factor)
        return PinholeCamera(self.position, self.rotation, self.focal_px * factor, *size)

    def project(self, points: F32) -> F32:
        """Picture x, y and depth (metres; below zero behind the camera) of world points [..., 3]."""
        projected = f32((points.reshape(-1, 3) - self.position) @ self.rotation.T)
        depth = projected[:, 2]
        over = np.float32(self.focal_px) / np.where(np.abs(depth) < 1e-6, np.float32(1e-6), depth)
        projected[:, 0] = projected[:, 0] * over + np.float32(self.width / 2)
        projected[:, 1] = projected[:, 1] * over + np.float32(self.height / 2)
        return projected.reshape(points.shape)

    def rays(self, xy: F32) -> F32:
        """Directions (not of unit length: depth 1) of the rays through picture points [..., 2]."""
        flat = (xy - f32([self.width / 2, self.height / 2])) / np.float32(self.focal_px)
        local = np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1)
        return f32(local @ self.rotation)

    def ground(self, xy: F32) -> F32:
        """World x and y where rays through picture points [..., 2] meet the ground; NaN above the horizon."""
        ray = self.rays(xy)
        down = np.where(ray[..., 2:] < -1e-6, ray[..., 2:], np.nan)
        return f32(self.position[:2] - ray[..., :2] * (self.position[2] / down))

    def ground_homography(self) -> F64:
        """Float64 [3, 3] that takes ground points (x, y, 1) to picture points (times depth)."""
        r, p, f = self.rotation.astype(np.float64), self.position.astype(np.float64), self.focal_px
        lens = np.array([[f, 0, self.width / 2], [0, f, self.height / 2], [0, 0, 1]])
        return np.asarray(lens @ np.stack([r[:, 0], r[:, 1], -r @ p], axis=1))


Point = tuple[float, float]
Point3 = tuple[float, float, float]
Place = tuple[Point3, Point3, float]  # position, target, horizontal angle of view in degrees
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
    """The camera of a scene; it is level (no roll)."""
    random = spec.random("camera")
    position, target, angle = PLACES[spec.scene][spec.camera % len(PLACES[spec.scene])]
    sway = 0.25 if spec.scene == "street" else 0.1
    x, y, z = (float(v + random.normal(0, sway)) for v in position)
    aim = [float(v + random.normal(0, sway)) for v in target]
    turned = angle + float(random.normal(0, 1.5))
    place = x, y, min(z, HIGHEST.get(spec.scene, z))
    forward = unit(np.subtract(aim, place))
    right = unit(np.cross(forward, [0.0, 0.0, 1.0]))
    rotation = np.stack([right, np.cross(forward, right), forward])
    focal = spec.width / 2 / np.tan(np.radians(turned) / 2)
    return PinholeCamera(f32(place), f32(rotation), float(focal), spec.width, spec.height)
