"""Draws one camera's live pictures and encodes them; all of it in the thread of those who draw."""

import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import ModuleType

from sightline.analysis.observer import JSON, Observation
from sightline.base.geometry import fit_size
from sightline.base.letterbox import split_i420
from sightline.config import Camera
from sightline.config.groups import Layer
from sightline.config.zones import Point
from sightline.entities import U8, Tracks, Variant
from sightline.features.live.detections_message import detections_message
from sightline.video.blur import Area, cover
from sightline.video.picture import YuvPicture, draw_edges, encode_jpeg, full_range

LIVE_QUALITY = 6  # of 1 (best) to 31: half the bytes of a picture that is kept
TRAIL_S = 3.0
_GREEN = (145, 54, 34)  # Y, U, V
_NONE = {"forward": 0, "backward": 0}  # of a line that has just come


@dataclass(frozen=True, slots=True)
class Scene:
    """A frame that is to be shown, and what was known of it when it had been analysed."""

    seen: Observation
    picture: YuvPicture
    variants: Collection[Variant]
    areas: Collection[Area]  # to be covered
    zones: Mapping[str, int]  # how many confirmed tracks are in each
    lines: Mapping[str, Mapping[str, int]]  # crossings of each, by direction


@cache
def drawing() -> ModuleType | None:
    """What draws; None without OpenCV: then boxes have edges, and nothing else is drawn."""
    try:
        from sightline.video import drawing as module  # noqa: PLC0415  needs the extra `draw`
    except ImportError:
        return None
    return module


def lacking() -> str:
    """What is missing for a whole overlay, for people; "" where nothing is."""
    return "an overlay needs OpenCV: pip install 'sightline[draw]'" if drawing() is None else ""


class Painter:
    """Makes the variants of one camera's scenes; keeps the trails of the last seconds.

    ``camera`` holds the options; others may be put in its place at any time.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self._trails: defaultdict[int, deque[tuple[float, Point]]] = defaultdict(deque)

    def paint(self, scene: Scene) -> Iterator[tuple[Variant, JSON, bytes]]:
        """Each variant that is wanted, with its header.

        Raises:
            ValueError: FFmpeg cannot convert or encode the picture.
        """
        frame = scene.seen.frame
        header: JSON = {"capture_time": frame.capture_time, "media_s": frame.media_s}
        if Variant.DETECTIONS in scene.variants:
            message = detections_message(self.camera.name, scene.seen, scene.zones, scene.lines)
            yield Variant.DETECTIONS, header, message
        pictures = [variant for variant in scene.variants if variant is not Variant.DETECTIONS]
        if any(variant.has_overlay for variant in pictures):
            self._follow(frame.capture_time, scene.seen.tracks)
        plain: dict[int, U8] = {}  # by size, without what is drawn
        for variant in pictures:
            side = variant.side_px
            if side not in plain:
                plain[side] = self._covered(scene, side)
            size = {"width": plain[side].shape[1], "height": len(plain[side]) * 2 // 3}
            yield variant, header | size, self._jpeg(scene, plain[side], variant)

    def overlay(self, scene: Scene, side: int) -> U8:
        """The picture with what is drawn on it, uint8 [3/2·height, width], I420, limited range.

        Raises:
            ValueError: FFmpeg cannot convert the picture.
        """
        self._follow(scene.seen.frame.capture_time, scene.seen.tracks)
        plain, draw = self._covered(scene, side), drawing()
        if draw is None:
            return self._edged(scene, plain)
        overlaid: U8 = draw.to_i420(self._canvas(draw, scene, plain))
        return overlaid

    def _jpeg(self, scene: Scene, plain: U8, variant: Variant) -> bytes:
        draw = drawing()
        if draw is None:
            picture = self._edged(scene, plain) if variant.has_overlay else plain
            return encode_jpeg(full_range(picture), LIVE_QUALITY)
        jpeg: bytes = draw.to_jpeg(
            self._canvas(draw, scene, plain) if variant.has_overlay else draw.to_bgr(plain)
        )
        return jpeg

    def _covered(self, scene: Scene, side: int) -> U8:
        picture = scene.picture.copy(*fit_size(scene.picture.width, scene.picture.height, side, side))
        for area in scene.areas:
            cover(picture, area)
        return picture

    def _follow(self, now: float, tracks: Tracks) -> None:
        for track, (left, _, right, bottom) in zip(tracks.ids.tolist(), tracks.xyxy.tolist(), strict=True):
            self._trails[track].append((now, ((left + right) / 2, bottom)))
        for track, trail in list(self._trails.items()):
            while trail and not 0 <= now - trail[0][0] <= TRAIL_S:
                trail.popleft()
            if not trail:
                del self._trails[track]

    def _edged(self, scene: Scene, plain: U8) -> U8:
        """A picture of its own, as far as it goes without OpenCV."""
        picture = plain.copy()
        if Layer.BOXES in self.camera.live.layers:
            draw_edges(split_i420(picture), scene.seen.tracks.xyxy, _GREEN, 2)
        return picture

    def _canvas(self, draw: ModuleType, scene: Scene, plain: U8) -> U8:
        """The picture with the layers that are asked for, uint8 [height, width, 3], BGR."""
        layers, seen = self.camera.live.layers, scene.seen
        canvas: U8 = draw.to_bgr(plain)
        if Layer.PLACES in layers:
            rules = self.camera.rules
            lines = {_line_text(name, scene.lines): line for name, line in rules.lines.items()}
            zones = {f"{name}: {scene.zones.get(name, 0)}": zone for name, zone in rules.zones.items()}
            draw.draw_places(canvas, lines, zones)
        if Layer.TRAILS in layers:
            draw.draw_trails(canvas, [[place for _, place in trail] for trail in self._trails.values()])
        if Layer.BOXES in layers:
            draw.draw_boxes(canvas, seen.tracks.xyxy, list(_labels(seen, layers)))
        draw.draw_caption(canvas, "  ".join([self.camera.name, *_times(seen, layers)]))
        return canvas


def _line_text(name: str, lines: Mapping[str, Mapping[str, int]]) -> str:
    crossings = lines.get(name, _NONE)
    return f"{name}: {crossings['forward']} in, {crossings['backward']} out"


def _labels(seen: Observation, layers: Collection[Layer]) -> Iterator[str]:
    for track, class_id in zip(seen.tracks.ids.tolist(), seen.tracks.class_ids.tolist(), strict=True):
        words = [seen.classes.name(class_id)] if Layer.CLASSES in layers else []
        yield " ".join([*words, *([f"#{track}"] if Layer.IDS in layers else [])])


def _times(seen: Observation, layers: Collection[Layer]) -> Iterator[str]:
    """When the picture was taken, and how long ago its packet came."""
    if Layer.CLOCK in layers:
        at = datetime.fromtimestamp(seen.frame.capture_time, UTC)
        yield f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 100_000} UTC"
    if Layer.LATENCY in layers:
        yield f"{1e3 * (time.monotonic() - seen.frame.received_s):.0f} ms"
