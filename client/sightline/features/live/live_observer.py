"""Shows a camera to those who watch: pictures and boxes, for as long as somebody asks for them.

The supervisor asks for variants for some seconds (:class:`~sightline.entities.Watch`), and again before those
are over; while nobody does, a frame costs a comparison. The main thread only chooses frames. One thread of
the process scales, draws and encodes for all of its cameras, of each the newest frame.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from time import monotonic

from sightline.analysis.observer import Observation, Observer
from sightline.base.logs import WarnOnce
from sightline.base.threads import SideThreads
from sightline.config import Camera
from sightline.entities import Figure, Variant, Watch
from sightline.features.feature import FeatureContext, Publish
from sightline.features.live.painter import Painter, Scene, lacking
from sightline.features.live.staging import MAX_LEASE_S, Staging

log = logging.getLogger(__name__)

_THREAD = SideThreads("live-drawing", 1)  # begins in the worker, with the first picture


class LiveObserver(Observer):
    """What is seen live of one camera."""

    name = "live"

    def __init__(
        self,
        camera: Camera,
        publish: Publish,  # called by the thread that draws
        occupancy: Callable[[], Mapping[str, int]],  # by zone, how many confirmed tracks are in it
    ) -> None:
        self._publish = publish
        self._painter, self._staging = Painter(camera), Staging(camera, occupancy)
        self._leases: dict[Variant, float] = {}  # until when, on the monotonic clock
        self._scenes: deque[Scene] = deque(maxlen=1)  # the newest that is not drawn yet
        self._job: Future[None] = Future()
        self._job.set_result(None)
        self._warnings = WarnOnce(log)
        self._replaced = 0  # frames, by the main thread
        self._pictures = self._unsent = 0  # by the thread that draws

    def observe(self, seen: Observation) -> tuple[()]:
        """Show the frame, if somebody watches and it is due."""
        if self._leases or seen.results:
            self._take(seen)
        return ()

    def tick(self, now: float, silent: bool) -> tuple[()]:
        """Let go of what nobody has asked for again."""
        if self._leases:
            now_s = monotonic()
            self._leases = {variant: until_s for variant, until_s in self._leases.items() if until_s > now_s}
        return ()

    def end(self, time: float) -> tuple[()]:
        """The picture has another size: no box of before tells where anybody is."""
        self._staging.begin()
        return ()

    def update(self, options: Camera) -> None:
        """Rate, layers and places from the next picture on."""
        self._painter.camera = self._staging.camera = options

    def request(self, message: object) -> None:
        """Begin to show variants, or go on."""
        if isinstance(message, Watch):
            if not self._leases:
                self._staging.begin()
            until_s = monotonic() + min(message.seconds, MAX_LEASE_S)
            self._leases |= dict.fromkeys(message.variants, until_s)

    def problem(self) -> str:
        """What an overlay lacks."""
        wanted = any(variant.has_overlay for variant in self._leases) and self._pictures
        return f"live: {problem}" if wanted and (problem := lacking()) else ""

    def figures(self) -> list[Figure]:
        """What has been shown."""
        made, replaced = self._pictures, self._replaced + self._unsent
        return [
            Figure("live_pictures_total", made, help="Pictures and messages of boxes made."),
            Figure("live_replaced_total", replaced, help="Of them, and of frames: replaced by newer ones."),
            Figure("live_variants", len(self._leases), help="Variants that somebody watches now."),
        ]

    def _take(self, seen: Observation) -> None:
        self._staging.count(seen)
        if not self._leases:
            return
        if self._job.done():
            self._job.result()  # a fault of ours is shown, and the feature switched off
        if (scene := self._staging.scene(seen, self._leases)) is not None:
            self._replaced += len(self._scenes)
            self._scenes.append(scene)
            if self._job.done():
                self._job = _THREAD.submit(self._draw)

    def _draw(self) -> None:
        """Runs in the thread that draws."""
        if not self._scenes:
            return  # the job before has taken it, as it came just before that was done
        try:
            for variant, header, payload in self._painter.paint(self._scenes.pop()):
                self._unsent += self._publish(variant, header, payload)
                self._pictures += 1
        except ValueError as error:  # of FFmpeg, about this picture
            self._warnings.warn_once(f"camera {self._painter.camera.name}: it cannot be shown: {error}")


def make(context: FeatureContext) -> LiveObserver | None:
    """Of every camera; not of a recording, which is played as fast as it can be."""
    if context.lossless:
        return None
    return LiveObserver(context.camera, context.publish, context.occupancy)
