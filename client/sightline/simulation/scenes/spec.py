"""What makes one simulated camera: everything else follows from it, the same every time."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

SceneName = Literal["street", "factory", "shop"]
LightName = Literal["day", "dusk", "night"]
WeatherName = Literal["clear", "rain"]
SCENES: tuple[SceneName, ...] = ("street", "factory", "shop")
LIGHTS: tuple[LightName, ...] = ("day", "dusk", "night")
WEATHERS: tuple[WeatherName, ...] = ("clear", "rain")


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """A scene, its actors (by the seed), the camera's place, and the weather.

    Attributes:
        seed: of everything that happens; two seeds are two different days.
        camera: which of the scene's camera places (0, 1, 2; in the street 3 to 5 too); each hangs a little
            differently for each seed.
        width, height: picture size in pixels, even.
        people: the number of people on foot relative to usual; 3 is a crowd. Not in the factory.
    """

    scene: SceneName = "street"
    seed: int = 0
    light: LightName = "day"
    weather: WeatherName = "clear"
    camera: int = 0
    width: int = 640
    height: int = 360
    people: float = 1.0

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
