"""Light: the sun, the sky, lamps, and how surfaces give it back. Colours are linear, float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32, unit
from sightline.simulation.scenes.spec import SceneSpec


@dataclass(frozen=True, slots=True)
class Light:
    """What lights a scene.

    Attributes:
        sun: unit vector [3] towards the sun (or towards the main lamp indoors).
        sun_colour, sky, bounce: linear colours [3] of direct light, light from above, light from the ground.
        haze: colour [3] that distance fades to; ``haze_per_m`` is how fast.
        lamps: 0..1, how bright street lamps, head lamps and lit windows are.
        exposure: what the camera multiplies light by.
        noise: standard deviation of the sensor's noise in the finished picture (0..255).
        softness: width of a shadow's edge, relative to a clear sun's.
    """

    sun: F32
    sun_colour: F32
    sky: F32
    bounce: F32
    haze: F32
    haze_per_m: float
    lamps: float
    exposure: float
    noise: float
    softness: float


def light_of(spec: SceneSpec) -> Light:
    """The light of a scene; the sun stands elsewhere for each seed."""
    return _outdoors(spec) if spec.scene == "street" else _indoors(spec)


def _outdoors(spec: SceneSpec) -> Light:
    random = spec.random("sun")
    turn, height = random.uniform(-0.5, 0.5), random.uniform(0.75, 1.15)
    sun = unit([0.7 * turn, -0.52, height])
    rain = spec.weather == "rain"
    if spec.light == "day" and not rain:
        return Light(sun, f32([3.0, 2.75, 2.35]), f32([0.46, 0.56, 0.74]), f32([0.22, 0.20, 0.17]),
                     f32([0.62, 0.72, 0.86]), 0.0018, 0.0, 1.0, 1.6, 1.0)  # fmt: skip
    if spec.light == "day":
        return Light(unit([sun[0], sun[1], 3.0]), f32([0.25, 0.25, 0.26]), f32([0.62, 0.66, 0.72]),
                     f32([0.2, 0.2, 0.2]), f32([0.50, 0.53, 0.57]), 0.0055, 0.12, 1.0, 2.2, 5.0)  # fmt: skip
    if spec.light == "dusk":
        shine = 0.06 if rain else 0.35
        return Light(unit([-0.8, -0.6, 0.38]), f32([1.6, 0.75, 0.38]) * np.float32(shine), f32([0.15, 0.17,
            0.27]),
                     f32([0.07, 0.06, 0.055]), f32([0.36, 0.30, 0.34]), 0.0055 if rain else 0.003,
                     0.7, 1.7, 3.2, 2.5)  # fmt: skip
    return Light(unit([0.3, -0.4, 0.9]), f32([0.006, 0.007, 0.01]), f32([0.016, 0.019, 0.03]),
                 f32([0.008, 0.008, 0.008]), f32([0.035, 0.032, 0.035]), 0.005 if rain else 0.003,
                 1.0, 2.4, 5.5, 6.0)  # fmt: skip


def _indoors(spec: SceneSpec) -> Light:
    share = {"day": 1.0, "dusk": 0.7, "night": 0.55}[spec.light]
    sky = f32([0.72, 0.70, 0.66]) * np.float32(share)
    return Light(unit([0.12, -0.15, 1.0]), f32([0.75, 0.72, 0.66]) * np.float32(share), sky,
                 f32([0.26, 0.25, 0.23]) * np.float32(share), f32([0.6, 0.6, 0.6]), 0.0006,
                 {"day": 0.0, "dusk": 0.6, "night": 1.0}[spec.light], 0.95, 1.8 + 1.8 * (1 - share),
                     6.0)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Local:
    """Light that depends on the place: for each triangle, [N, ...].

    Attributes:
        sun: [N] share of the sun that reaches it.
        lamp_direction, lamp_colour: [N, 3] the lamps around, as one.
        emission: [N, 3] light of its own.
    """

    sun: F32
    lamp_direction: F32
    lamp_colour: F32
    emission: F32


def shade(corners: F32, normals: F32, albedo: F32, gloss: F32, eye: F32, light: Light, local: Local) -> F32:
    """Light that reaches the camera from every corner: [N, 3, 3]."""
    up = normals[..., 2:]
    direct = np.maximum(normals @ light.sun, 0)[..., None] * local.sun[:, None, None] * light.sun_colour
    near_ground = np.clip(0.5 + corners[..., 2:] * 0.7, 0.5, 1.0)
    ambient = ((0.5 + 0.5 * up) * light.sky + (0.5 - 0.5 * up) * light.bounce) * near_ground
    facing = np.sum(normals * local.lamp_direction[:, None], axis=-1, keepdims=True)
    lamps = np.clip(facing * 0.6 + 0.4, 0, 1) * local.lamp_colour[:, None]
    colour = albedo[:, None] * (direct + ambient + lamps) + local.emission[:, None]
    shiny = np.flatnonzero(gloss > 0.02)
    colour[shiny] += _mirrored(corners[shiny], normals[shiny], gloss[shiny], eye, light, local.sun[shiny])
    return f32(colour)


def _mirrored(corners: F32, normals: F32, gloss: F32, eye: F32, light: Light, sun: F32) -> F32:
    view = unit(corners - eye)
    against = np.sum(view * normals, axis=-1, keepdims=True)
    mirror = view - 2 * against * normals
    fresnel = 0.05 + 0.95 * (1 - np.clip(-against, 0, 1)) ** 5
    height = np.clip(mirror[..., 2:] * 2.5 + 0.15, 0, 1)
    seen = height * (light.sky * 1.1) + (1 - height) * light.bounce * 0.5
    spot = np.clip(mirror @ light.sun, 0, 1)[..., None] ** 70 * sun[:, None, None] * light.sun_colour * 1.5
    shine = gloss[:, None, None]
    return f32(shine * (fresnel * seen + 0.25 * shine * spot))
