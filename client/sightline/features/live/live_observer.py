"""Shows a camera to those who watch: pictures and boxes, for as long as somebody asks for them.

The supervisor asks for variants for some seconds (:class:`~sightline.entities.Watch`), and again before those
are over; while nobody does, a frame costs a comparison. The main thread only chooses frames. One thread of
the process scales, draws and encodes for all of its cameras, of each the newest frame.
"""

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from time import monotonic

from sightline.analysis.observer import JSON, Observation, Observer
from sightline.base.logs import WarnOnce
from sightline.base.threads import SideThreads
from sightline.config import Camera
from sightline.entities import Event, EventKind, Figure, Variant, Watch
from sightline.features.feature import FeatureContext
from sightline.features.hidden_frames import hidden_in
from sightline.features.live.painter import Painter, Scene, drawing
from sightline.video.hidden_areas import HOLD_S, HiddenAreas, HiddenRow
from sightline.video.picture import YuvPicture, from_i420, written

log = logging.getLogger(__name__)

MAX_LEASE_S = 60.0  # whoever asks and goes away costs no more
_THREAD = SideThreads("live-drawing", 1)  # begins in the worker, with the first picture

Publish = Callable[[Variant, JSON, bytes], bool]  # as that of FeatureContext


class LiveObserver(Observer):
    """What is seen live of one camera."""

    name = "live"

    def __init__(
        self,
        camera: Camera,
        publish: Publish,  # called by the thread that draws
        occupancy: Callable[[], Mapping[str, int]],  # by zone, how many confirmed tracks are in it
    ) -> None:
        self._publish, self._occupancy = publish, occupancy
        self._painter = Painter(camera)
        self._leases: dict[Variant, float] = {}  # until when, on the monotonic clock
        self._since_s = self._due_s = 0.0  # when somebody began to watch; when the next picture is due
        self._window = 0.0  # start of the counting window that the crossings below are of
        self._crossings: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by line and direction
        self._hidden: deque[tuple[float, list[HiddenRow]]] = deque()  # of the last seconds, while watched
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
            if not self._leases:
                self._hidden.clear()
        return ()

    def end(self, time: float) -> tuple[()]:
        """The picture has another size: no box of before tells where anybody is."""
        self._forget(monotonic())
        return ()

    def update(self, options: Camera) -> None:
        """Rate, layers and places from the next picture on."""
        self._painter.camera = options

    def request(self, message: object) -> None:
        """Begin to show variants, or go on."""
        if isinstance(message, Watch):
            now_s = monotonic()
            if not self._leases:
                self._since_s = now_s
            until_s = now_s + min(message.seconds, MAX_LEASE_S)
            self._leases |= dict.fromkeys(message.variants, until_s)

    def problem(self) -> str:
        """What an overlay lacks."""
        wanted = any(variant.has_overlay for variant in self._leases)
        missing = wanted and self._pictures and drawing() is None
        return "live: an overlay needs OpenCV: pip install 'sightline[draw]'" if missing else ""

    def figures(self) -> list[Figure]:
        """What has been shown."""
        made, replaced = self._pictures, self._replaced + self._unsent
        return [
            Figure("live_pictures_total", made, help="Pictures and messages of boxes made."),
            Figure("live_replaced_total", replaced, help="Of them, and of frames: replaced by newer ones."),
            Figure("live_variants", len(self._leases), help="Variants that somebody watches now."),
        ]

    def _take(self, seen: Observation) -> None:
        self._count(seen)
        if not self._leases:
            return
        if self._job.done():
            self._job.result()  # a fault of ours is shown, and the feature switched off
        blur, media_s, now_s = self._painter.camera.privacy.blur, seen.frame.media_s, monotonic()
        if blur:
            if self._hidden and media_s <= self._hidden[-1][0]:  # the stream has begun anew
                self._forget(now_s)
            self._hidden.append((media_s, hidden_in(seen, blur)))
            while len(self._hidden) > 2 and media_s - self._hidden[1][0] > HOLD_S:
                self._hidden.popleft()
        every_s = 1 / self._painter.camera.live.fps
        if now_s < self._due_s:
            return
        self._due_s = max(self._due_s, now_s - every_s) + every_s  # a frame that comes late delays no other
        variants = set(self._leases)
        if blur and now_s - self._since_s < HOLD_S:  # whom the detector misses now was not noticed before
            variants &= {Variant.DETECTIONS}
        if variants:
            self._show(seen, variants)

    def _forget(self, now_s: float) -> None:
        self._hidden.clear()
        self._since_s = now_s

    def _show(self, seen: Observation, variants: set[Variant]) -> None:
        picture = seen.frame.picture
        if not isinstance(picture, YuvPicture):  # this thread alone may read it
            picture = from_i420(written(picture))
        areas = HiddenAreas(self._hidden).at(seen.frame.media_s) if self._hidden else []
        lines = {
            name: {"forward": 0, "backward": 0, **self._crossings[name]}
            for name in self._painter.camera.rules.lines
        }
        self._replaced += len(self._scenes)
        self._scenes.append(Scene(seen, picture, variants, areas, self._occupancy(), lines))
        if self._job.done():
            self._job = _THREAD.submit(self._draw)

    def _draw(self) -> None:
        """Runs in the thread that draws."""
        try:
            for variant, header, payload in self._painter.paint(self._scenes.pop()):
                self._unsent += self._publish(variant, header, payload)
                self._pictures += 1
        except ValueError as error:  # of FFmpeg, about this picture
            self._warnings.warn_once(f"camera {self._painter.camera.name}: it cannot be shown: {error}")

    def _count(self, seen: Observation) -> None:
        """Crossings in the counting window that is open."""
        window_s = self._painter.camera.count.window_s
        window = seen.frame.capture_time // window_s * window_s
        if window != self._window:
            self._window = window
            self._crossings.clear()
        for result in seen.results:
            if isinstance(result, Event) and result.kind is EventKind.CROSSING and result.direction:
                of_line = self._crossings[result.place]
                of_line[result.direction] = of_line.get(result.direction, 0) + 1


def make(context: FeatureContext) -> LiveObserver | None:
    """Of every camera; not of a recording, which is played as fast as it can be."""
    if context.lossless:
        return None
    return LiveObserver(context.camera, context.publish, context.occupancy)
