"""What the view guard says of an hour in which nothing happens to a camera, and how soon it tells what does.

    python tools/bench/view_bench.py --json OUT                # every scene and light: about 20 minutes
    python tools/bench/view_bench.py --scenes street --minutes 10

Simulated cameras, a picture every three seconds, nothing detected, so that nothing is left out of the
reference. First an hour of the scene as it is. Then, one after the other, what happens to cameras and must
be told within a minute, and what must not be told: a lorry that stands before the camera for 20 s, head
lights, an exposure that jumps, infrared light, fog.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import Observation
from sightline.analysis.timebase import Timebase
from sightline.config import parse_config
from sightline.entities import U8, CameraView, ClockSource, Detections, Frame, Tracks
from sightline.features.view.view_guard import ViewGuard
from sightline.simulation.scenes.arrays import F32, F64, f32
from sightline.simulation.scenes.render import Renderer
from sightline.simulation.scenes.scene import world_of
from sightline.simulation.scenes.spec import LIGHTS, SCENES, PinholeCamera, SceneSpec, camera_of
from sightline.simulation.scenes.stages import stage_of
from sightline.video.picture import YuvPicture

T0 = 1_800_000_000.0
EVERY_S = 3.0
SETTLE_S = 60.0  # until a view is learnt
WITHIN_S = 60.0  # what happens must be told
Change = Callable[[U8, float], U8]  # a picture, and the seconds since the change began


class Film:
    """Pictures of a scene, from a camera that can be turned. Time only goes on."""

    def __init__(self, spec: SceneSpec) -> None:
        self.spec = spec
        self._stage, self._world = stage_of(spec), world_of(spec)
        self._renderers: dict[Any, Renderer] = {}

    def camera(self, pan: float = 0.0, roll_deg: float = 0.0) -> PinholeCamera:
        """Turned sideways by a share of the picture's width, and about its axis."""
        camera = camera_of(self.spec)
        turn = math.atan(pan * camera.width / camera.focal_px)
        about_z, about_axis = _turn(turn), _turn(math.radians(roll_deg))
        return replace(camera, rotation=f32(about_axis @ camera.rotation @ about_z.T))

    def picture(self, time_s: float, pan: float = 0.0, roll_deg: float = 0.0) -> U8:
        """Uint8 sRGB [h, w, 3]."""
        key = (pan, roll_deg)
        if key not in self._renderers:
            self._renderers[key] = Renderer(self.spec, self._stage, self.camera(*key))
        return self._renderers[key].draw(self._world.at(time_s))


def _turn(angle: float) -> F32:
    """To the right, seen from above."""
    cos, sin = math.cos(angle), math.sin(angle)
    return f32(np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]))


def decoded(picture: U8) -> VideoFrame:
    """Uint8 sRGB [h, w, 3] as a decoder gives it."""
    return VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")


def frame_of(picture: VideoFrame, index: int, capture_time: float, keys_seen: int) -> Frame:
    """A frame of a camera."""
    shown = YuvPicture(picture, VideoReformatter())
    return Frame(shown, index, capture_time, capture_time, ClockSource.PTS, 0.0, keys_seen=keys_seen)


class GuardOnFilm:
    """A guard, and what it has told."""

    def __init__(self, folder: Path, rules: dict[str, Any] | None = None, **view: Any) -> None:
        options = {"url": "rtsp://x/1", "view": {"folder": str(folder), **view}, "rules": rules or {}}
        self.camera = parse_config({"cameras": {"gate": options}}).cameras["gate"]
        self.guard = ViewGuard(self.camera)
        self.told: list[tuple[str, float]] = []  # kind, or "", and when
        self.rows: list[CameraView] = []
        self.took_s = 0.0
        self.looks = 0
        self._timebase, self._index = Timebase(10.0), 0

    def see(
        self, picture: U8, time: float, keys_seen: int | None = None, found: Detections | None = None
    ) -> None:
        """The next frame: uint8 sRGB [h, w, 3]."""
        self.see_decoded(decoded(picture), time, self._index if keys_seen is None else keys_seen, found)

    def see_decoded(
        self, picture: VideoFrame, capture_time: float, keys_seen: int, found: Detections | None = None
    ) -> None:
        """The next frame as it was decoded."""
        frame = frame_of(picture, self._index, capture_time, keys_seen)
        self._index += 1
        moment = self._timebase.advance(capture_time)
        boxes = Detections.empty() if found is None else found
        seen = Observation(frame, boxes, Tracks.empty(), ClassTable([]), moment)
        started = time.perf_counter()
        self.rows += self.guard.observe(seen)
        self.took_s += time.perf_counter() - started
        self.looks += 1
        kind = next((figure.name for figure in self.guard.figures() if figure.trouble and figure.value), "")
        if kind != (self.told[-1][0] if self.told else ""):
            self.told.append((kind, capture_time))


def warp_of(before: PinholeCamera, now: PinholeCamera) -> F64:
    """The homography [3, 3] between places, in shares, of a camera that was only turned."""

    def lens(camera: PinholeCamera) -> F64:
        f, w, h = camera.focal_px, camera.width, camera.height
        return np.array([[f / w, 0, 0.5], [0, f / h, 0.5], [0, 0, 1]])

    turned = now.rotation.astype(np.float64) @ before.rotation.T.astype(np.float64)
    warp = lens(now) @ turned @ np.linalg.inv(lens(before))
    return np.asarray(warp / warp[2, 2])


# -- what happens to cameras ------------------------------------------------------------------------------


def noisy(picture: NDArray[Any], sigma: float, seed: float) -> U8:
    """With a sensor's noise."""
    noise = np.random.default_rng(round(seed * 1000)).standard_normal(picture.shape[:2]).astype(np.float32)
    return np.asarray(np.clip(picture + (sigma * noise)[..., None], 0, 255), np.uint8)


def capped(picture: U8, time_s: float) -> U8:
    """A cap on the lens."""
    return noisy(np.full(picture.shape, 12, np.float32), 3.0, time_s)


def bagged(picture: U8, time_s: float) -> U8:
    """A bag over the camera: bright, with folds that are out of focus."""
    h, w = picture.shape[:2]
    folds = np.random.default_rng(5).standard_normal((7, 9)).astype(np.float32)
    cloth = 130 + 35 * cv2.resize(folds, (w, h), interpolation=cv2.INTER_CUBIC)
    return noisy(np.repeat(cloth[..., None], 3, 2), 2.0, time_s)


def defocused(parts: int) -> Change:
    """Out of focus by one of so many parts of the width; the noise is the sensor's and stays sharp."""

    def change(picture: U8, time_s: float) -> U8:
        return noisy(cv2.GaussianBlur(picture, (0, 0), picture.shape[1] / parts), 2.0, time_s)

    return change


def lorry(picture: U8, time_s: float) -> U8:
    """A lorry's side over nine tenths of the picture: it comes, stands there for 20 s and goes."""
    h, w = picture.shape[:2]
    away = max(0.0, abs(time_s - 14.0) - 10.0) / 2.0  # two seconds to come and to go
    left = round(min(away, 1.0) * w + 0.05 * w)
    if left >= w:
        return picture
    side = np.full((h, w, 3), (150, 60, 50), np.uint8)
    side[::18] = (120, 45, 40)
    cv2.putText(side, "HAULAGE", (w // 5, h // 2), cv2.FONT_HERSHEY_SIMPLEX, w / 300, (230, 230, 230), 3)
    out = picture.copy()
    out[round(0.04 * h) :, left:] = side[round(0.04 * h) :, : w - left]
    return noisy(out, 2.0, time_s)


def head_lights(picture: U8, time_s: float) -> U8:
    """A car that stands there for half a minute and dazzles the camera."""
    if time_s > 30:
        return picture
    h, w = picture.shape[:2]
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    glare = sum(
        (np.exp(-((x - at * w) ** 2 + (y - 0.6 * h) ** 2) / (2 * (0.13 * w) ** 2)) for at in (0.4, 0.6)),
        start=np.zeros((h, w), np.float32),
    )
    return np.asarray(np.clip(picture * 0.6 + 300 * glare[..., None], 0, 255), np.uint8)


def jumping_exposure(picture: U8, time_s: float) -> U8:
    """Half or twice as bright every other 20 s."""
    gain = (0.5, 1.0, 1.9, 1.0)[int(time_s // 20) % 4]
    return np.asarray(np.clip(picture * np.float32(gain), 0, 255), np.uint8)


def infrared(picture: U8, time_s: float) -> U8:
    """The filter swings away: no colours, other greys, bright leaves, a lamp that shines from the camera."""
    r, g, b = (picture[..., i].astype(np.float32) for i in range(3))
    grey = 0.2 * r + 1.1 * g - 0.5 * b + 20
    h, w = grey.shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    lamp = 0.35 + 0.9 * np.exp(-(((x - w / 2) / (0.4 * w)) ** 2 + ((y - 0.55 * h) / (0.45 * h)) ** 2))
    return noisy(np.repeat((grey * lamp)[..., None], 3, 2), 3.0, time_s)


def fog(picture: U8, time_s: float) -> U8:
    """It comes within ten minutes and takes nine tenths of the contrast."""
    share = min(time_s / 600, 1.0) * 0.9
    return noisy(picture * np.float32(1 - share) + np.float32(150 * share), 1.0, time_s)


def as_it_is(picture: U8, time_s: float) -> U8:
    """Nothing happens."""
    return picture


MUST_BE_TOLD: dict[str, tuple[str, Change]] = {
    "cap": ("view_covered", capped),
    "bag": ("view_covered", bagged),
    "defocused": ("view_defocused", defocused(100)),
    "slightly_defocused": ("view_defocused", defocused(200)),
    "far_defocused": ("view_defocused", defocused(25)),  # no edge is left
    "frozen": ("view_frozen", as_it_is),
    "turned": ("view_moved", as_it_is),
    "turned_left": ("view_moved", as_it_is),
    "rolled": ("view_moved", as_it_is),
    "turned_away": ("view_moved", as_it_is),
}
TURNS = {"turned": (0.1, 0.0), "turned_left": (-0.1, 0.0), "rolled": (0.0, 6.0), "turned_away": (0.6, 0.0)}
MUST_NOT: dict[str, Change] = {
    "lorry": lorry,
    "head_lights": head_lights,
    "jumping_exposure": jumping_exposure,
    "infrared": infrared,
    "fog": fog,
}
RULES = {
    "lines": {"door": {"points": [[0.3, 0.7], [0.7, 0.6]]}},
    "zones": {"yard": {"points": [[0.25, 0.5], [0.75, 0.5], [0.8, 0.9], [0.2, 0.9]]}},
}


@dataclass
class WatchedFilm:
    """A scene and a guard that look on together."""

    film: Film
    watch: GuardOnFilm
    time_s: float = 0.0

    def run(self, seconds: float, change: Change = as_it_is, turn: tuple[float, float] = (0, 0)) -> None:
        """So much of the film; what changes, and where the camera looks."""
        begun = self.time_s
        while self.time_s < begun + seconds - 1e-6:
            picture = self.film.picture(self.time_s, *turn)
            self.watch.see(change(picture, self.time_s - begun), T0 + self.time_s)
            self.time_s += EVERY_S

    def freeze(self, seconds: float) -> None:
        """The same picture again and again, with new times."""
        picture, begun = self.film.picture(self.time_s), self.time_s
        while self.time_s < begun + seconds - 1e-6:
            self.watch.see(picture, T0 + self.time_s)
            self.time_s += EVERY_S

    def told_since(self, begun_s: float) -> list[tuple[str, float]]:
        """What has been told from then on, and after how many seconds."""
        return [(kind, time - T0 - begun_s) for kind, time in self.watch.told if time - T0 > begun_s]


def happen(watched: WatchedFilm, name: str) -> dict[str, Any]:
    """Let one thing happen for two minutes, and then be over for one; what was told, and when."""
    kind, change = MUST_BE_TOLD.get(name) or ("", MUST_NOT[name])
    begun, seconds = watched.time_s, 900.0 if name == "fog" else 120.0
    if name == "frozen":
        watched.freeze(seconds)
    else:
        watched.run(seconds, change, TURNS.get(name, (0.0, 0.0)))
    told = watched.told_since(begun)
    report: dict[str, Any] = {"told": told[0][0] if told else "", "after_s": told[0][1] if told else None}
    report["right"] = report["told"] == kind and (not kind or report["after_s"] <= WITHIN_S) and len(told) < 2
    if name in TURNS and watched.watch.rows and (proposal := watched.watch.rows[-1].proposal):
        truth = warp_of(watched.film.camera(), watched.film.camera(*TURNS[name]))
        points = np.array([*RULES["zones"]["yard"]["points"], *RULES["lines"]["door"]["points"]])
        true, found = (_mapped(np.array(warp), points) for warp in (truth, proposal["warp"]))
        report["off_by"] = round(float(np.abs(true - found).max()), 4)
        report["agreement"] = proposal["agreement"]
    over = watched.time_s
    watched.run(60.0)
    report["ended_after_s"] = next((after for kind, after in watched.told_since(over) if not kind), None)
    return report


def _mapped(warp: F64, points: F64) -> F64:
    mapped = np.column_stack([points, np.ones(len(points))]) @ warp.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:])


def measure(spec: SceneSpec, minutes: float, names: list[str]) -> dict[str, Any]:
    """All of one scene in one light."""
    with tempfile.TemporaryDirectory(prefix="sightline-views-") as folder:
        watched = WatchedFilm(Film(spec), GuardOnFilm(Path(folder), RULES))
        watched.run(60 * minutes)
        report: dict[str, Any] = {"hour": watched.watch.told, "looks": watched.watch.looks}
        report["ms_a_look"] = round(1000 * watched.watch.took_s / max(watched.watch.looks, 1), 2)
        for name in names:
            report[name] = happen(watched, name)
    return report


def main() -> None:
    """Measure, and print what was told."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=SCENES)
    parser.add_argument("--lights", nargs="+", choices=LIGHTS, default=LIGHTS)
    parser.add_argument(
        "--minutes", type=float, default=60, help="of the scene as it is (default: %(default)g)"
    )
    parser.add_argument("--only", nargs="*", choices=[*MUST_BE_TOLD, *MUST_NOT], help="what happens then")
    parser.add_argument("--rain", action="store_true", help="in the street")
    parser.add_argument("--json", type=Path, help="keep all of it in this file")
    arguments = parser.parse_args()
    names = [*MUST_BE_TOLD, *MUST_NOT] if arguments.only is None else arguments.only
    reports: dict[str, Any] = {}
    for scene in arguments.scenes:
        for light in arguments.lights:
            spec = SceneSpec(scene, seed=3, light=light, weather="rain" if arguments.rain else "clear")
            report = reports[f"{scene}/{light}"] = measure(spec, arguments.minutes, names)
            wrong = [name for name in names if not report[name]["right"]]
            print(f"{scene}/{light}: {len(report['hour'])} told in the hour, {report['ms_a_look']} ms a look")
            for name in names:
                print(f"    {name:20} {json.dumps(report[name])}")
            print(f"    wrong: {', '.join(wrong) or 'nothing'}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(reports, indent=1))


if __name__ == "__main__":
    main()
