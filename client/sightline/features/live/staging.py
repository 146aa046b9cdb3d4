"""Which frames of a camera are shown, and what is known of each: for pictures and video alike."""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from time import monotonic

from sightline.analysis.observer import Observation
from sightline.config import Camera
from sightline.entities import Event, EventKind, Variant
from sightline.features.hidden_frames import hidden_in
from sightline.features.live.painter import Scene
from sightline.video.hidden_areas import HOLD_S, HiddenAreas, HiddenRow
from sightline.video.picture import YuvPicture, from_i420, written

MAX_LEASE_S = 60.0  # that somebody may ask for: whoever goes away costs no more


class Staging:
    """Makes scenes of one camera's frames. The main thread uses it; it keeps seconds, never pictures.

    ``camera`` holds the options; others may be put in its place between two frames.
    """

    def __init__(
        self,
        camera: Camera,
        occupancy: Callable[[], Mapping[str, int]],  # by zone, how many confirmed tracks are in it
    ) -> None:
        self.camera, self._occupancy = camera, occupancy
        self._since_s = self._due_s = 0.0  # when watching began; when the next picture is due
        self._window = 0.0  # start of the counting window that the crossings below are of
        self._crossings: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by line and direction
        self._hidden: deque[tuple[float, list[HiddenRow]]] = deque()  # of the last seconds, while watched

    def begin(self) -> None:
        """Somebody begins to watch, or the stream begins anew: no box of before tells where anybody is."""
        self._hidden.clear()
        self._since_s = monotonic()

    def count(self, seen: Observation) -> None:
        """Take note of crossings, also while nobody watches."""
        window_s = self.camera.count.window_s
        window = seen.frame.capture_time // window_s * window_s
        if window != self._window:
            self._window = window
            self._crossings.clear()
        for result in seen.results:
            if isinstance(result, Event) and result.kind is EventKind.CROSSING and result.direction:
                of_line = self._crossings[result.place]
                of_line[result.direction] = of_line.get(result.direction, 0) + 1

    def scene(self, seen: Observation, variants: Collection[Variant]) -> Scene | None:
        """The frame, of which those variants are wanted; None: it is not due, or cannot be covered yet.

        Call it with every frame while somebody watches.
        """
        blur, media_s, now_s = self.camera.privacy.blur, seen.frame.media_s, monotonic()
        if blur:
            if self._hidden and media_s <= self._hidden[-1][0]:  # the stream has begun anew
                self.begin()
            self._hidden.append((media_s, hidden_in(seen, blur)))
            while len(self._hidden) > 2 and media_s - self._hidden[1][0] > HOLD_S:
                self._hidden.popleft()
        every_s = 1 / self.camera.live.fps
        if now_s < self._due_s:
            return None
        self._due_s = max(self._due_s, now_s - every_s) + every_s  # a frame that comes late delays no other
        shown = set(variants)
        if blur and now_s - self._since_s < HOLD_S:  # whom the detector misses now was not noticed before
            shown &= {Variant.DETECTIONS}
        if not shown:
            return None
        picture = seen.frame.picture
        if not isinstance(picture, YuvPicture):  # this thread alone may read it
            picture = from_i420(written(picture))
        areas = HiddenAreas(self._hidden).at(media_s) if self._hidden else []
        lines = {
            name: {"forward": 0, "backward": 0, **self._crossings[name]} for name in self.camera.rules.lines
        }
        return Scene(seen, picture, shown, areas, self._occupancy(), lines)
