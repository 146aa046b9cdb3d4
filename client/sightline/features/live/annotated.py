"""A camera's video with its overlay, as H.264: pushed to a media server, and for players that ask us for it.

The main thread only chooses frames. Each way out has a thread of its own, which draws, encodes and sends the
newest: what comes meanwhile replaces what waits. Nothing that has been encoded is left out, so the video is
whole.
"""

import logging
import threading
from abc import abstractmethod
from time import monotonic
from typing import Literal

from sightline.analysis.observer import JSON, Observation, Observer
from sightline.base.backoff import Backoff
from sightline.base.logs import WarnOnce
from sightline.config import Camera
from sightline.entities import EventKind, Figure, Variant, Watch
from sightline.errors import OutputError, OutputRefused
from sightline.features.feature import FeatureContext, Publish
from sightline.features.live.painter import Painter, Scene, lacking
from sightline.features.live.staging import MAX_LEASE_S, Staging
from sightline.video.live_encoder import CodedPicture, LiveEncoder, codec_for
from sightline.video.rtsp_publisher import RtspPublisher

log = logging.getLogger(__name__)

SILENCE_S = 5.0  # a camera without frames for so long has no video: players see its end
REFUSED_S = 60.0  # media servers lock addresses out
GOODBYE_S, CLOSE_S = 0.5, 2.0  # for what is under way, and once it has been broken off


class VideoOutlet:
    """One way out of a camera's annotated video.

    The main thread offers scenes; a thread of its own, which begins with the first, does the rest.

    Attributes:
        camera: its options; others may be put in their place at any time.
        problem: why nothing gets out; empty when all is well.
        fault: a fault of ours, after which nothing gets out any more.
        pictures: sent so far.
        replaced: scenes that a newer one has replaced before they were drawn.
        failures: times that the way out was lost, or could not be found.
    """

    container: Literal["rtp", "mpegts"]

    def __init__(self, camera: Camera) -> None:
        self.camera, self.problem = camera, ""
        self.fault: Exception | None = None
        self.pictures = self.replaced = self.failures = 0
        self._painter = Painter(camera)
        self._encoder: LiveEncoder | None = None
        self._backoff = Backoff(1.0, 30.0)
        self._warnings = WarnOnce(log)
        self._closing = threading.Event()
        self._filled = threading.Condition()  # guards the two below
        self._scene: Scene | None = None  # the newest
        self._thread: threading.Thread | None = None

    @abstractmethod
    def deliver(self, coded: CodedPicture, encoder: LiveEncoder, scene: Scene) -> None:
        """Send a picture; :class:`OutputError`: it cannot be."""

    def hang_up(self) -> None:
        """No picture follows the last one."""

    def abort(self) -> None:
        """Make whatever is under way end soon. Any thread."""

    def offer(self, scene: Scene) -> None:
        """Show the scene, unless a newer one comes first. Never waits."""
        with self._filled:
            self.replaced += self._scene is not None
            self._scene = scene
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"video-{self.container}", daemon=True)
                self._thread.start()
            self._filled.notify()

    def close(self) -> None:
        """End; what hangs in the network is left behind."""
        with self._filled:
            self._closing.set()
            self._filled.notify()
            thread = self._thread
        if thread is not None:
            thread.join(GOODBYE_S)
            self.abort()
            thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                scene = self._next()
                try:
                    if scene is None:  # the camera is silent, or nobody watches
                        self._end()
                        self.problem = ""
                    else:
                        self._show(scene)
                except (OutputError, ValueError) as error:  # of FFmpeg, about this picture
                    self._lose(error)
        except Exception as error:  # noqa: BLE001  the main thread raises it
            self.fault = error
        finally:
            self._end()

    def _next(self) -> Scene | None:
        """The newest scene; None: none has come for a while, or it is time to end."""
        with self._filled:
            self._filled.wait_for(lambda: self._scene is not None or self._closing.is_set(), SILENCE_S)
            scene, self._scene = self._scene, None
            return None if self._closing.is_set() else scene

    def _show(self, scene: Scene) -> None:
        self._painter.camera = self.camera
        output, time = self.camera.output, scene.seen.frame.capture_time
        picture = self._painter.overlay(scene, output.side_px)
        height, width = len(picture) * 2 // 3, picture.shape[1]
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (width, height):
            self._end()
            codec, fps = codec_for(output.encoder), self.camera.live.fps
            encoder = self._encoder = LiveEncoder(
                self.container, width, height, fps=fps, codec=codec, begins=time
            )
        coded = encoder.encode(picture, time)
        if coded is not None and coded.pieces:
            self.deliver(coded, encoder, scene)
            self.pictures += 1
            self.problem = ""
            self._backoff.good()

    def _lose(self, error: Exception) -> None:
        """Say why, and wait before the next try."""
        self._end()
        if self._closing.is_set():
            return
        self.failures += 1
        delay_s = self._backoff.next_delay_s(least_s=REFUSED_S if isinstance(error, OutputRefused) else 0.0)
        self.problem = str(error)
        self._warnings.warn_once(
            f"camera {self.camera.name}: annotated video: {self.problem}; tried again and again"
        )
        self._closing.wait(delay_s)

    def _end(self) -> None:
        self.hang_up()
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


class PushedVideo(VideoOutlet):
    """Annotated video to a media server, over RTSP."""

    container = "rtp"

    def __init__(self, camera: Camera, url: str) -> None:
        super().__init__(camera)
        self._url = url
        self._publisher: RtspPublisher | None = None

    def deliver(self, coded: CodedPicture, encoder: LiveEncoder, scene: Scene) -> None:
        """Send it, once there is a connection: the first picture is a key frame."""
        if self._publisher is None:
            self._publisher = RtspPublisher(self._url, self.camera.output.tls_ca_file)
            self._publisher.start(encoder.parameter_sets)
        self._publisher.send(coded.pieces)

    def hang_up(self) -> None:
        """Players see the end."""
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None

    def abort(self) -> None:
        """Sending fails at once."""
        if (publisher := self._publisher) is not None:
            publisher.abort()


class PulledVideo(VideoOutlet):
    """Annotated video for players that ask our HTTP port, as MPEG-TS."""

    container = "mpegts"

    def __init__(self, camera: Camera, publish: Publish) -> None:
        super().__init__(camera)
        self._publish, self._number = publish, 0

    def deliver(self, coded: CodedPicture, encoder: LiveEncoder, scene: Scene) -> None:
        """Show it; numbers tell a viewer who has missed one to wait for a key frame."""
        self._number += 1
        frame = scene.seen.frame
        header: JSON = {"capture_time": frame.capture_time, "media_s": frame.media_s}
        header |= {"number": self._number, "is_key": coded.is_key}
        self._publish(Variant.VIDEO, header, b"".join(coded.pieces))


class AnnotatedVideo(Observer):
    """The annotated video of one camera: pushed while it runs, shown over HTTP while somebody asks for it."""

    name = "annotated"

    def __init__(self, staging: Staging, pushed: PushedVideo | None, pulled: PulledVideo) -> None:
        self._staging, self._pushed, self._pulled = staging, pushed, pulled
        self._outlets: tuple[VideoOutlet, ...] = (pushed, pulled) if pushed else (pulled,)
        self._until_s = 0.0  # somebody asks for it, on the monotonic clock

    def observe(self, seen: Observation) -> tuple[()]:
        """Show the frame, if it is wanted and due."""
        if self._pushed is None and not self._until_s and not seen.results:
            return ()
        wanted = self._wanted()
        if wanted or seen.results:
            self._staging.count(seen)
        for outlet in self._outlets:
            if outlet.fault is not None:  # the feature is switched off, and shown
                raise outlet.fault
        if wanted and (scene := self._staging.scene(seen, {Variant.VIDEO})) is not None:
            for outlet in wanted:
                outlet.offer(scene)
        return ()

    def tick(self, now: float, silent: bool) -> tuple[()]:
        """Let go of what nobody has asked for again."""
        if monotonic() >= self._until_s:
            self._until_s = 0.0
        return ()

    def end(self, time: float) -> tuple[()]:
        """The picture has another size: no box of before tells where anybody is."""
        self._staging.begin()
        return ()

    def update(self, options: Camera) -> None:
        """Rate, layers and places from the next picture on."""
        self._staging.camera = options
        for outlet in self._outlets:
            outlet.camera = options

    def request(self, message: object) -> None:
        """Begin to show it over HTTP, or go on."""
        if isinstance(message, Watch):
            if not self._wanted():
                self._staging.begin()
            self._until_s = monotonic() + min(message.seconds, MAX_LEASE_S)

    def problem(self) -> str:
        """Why nothing gets to the media server, or what the overlay there lacks."""
        if self._pushed is None:
            return ""
        text = self._pushed.problem or (lacking() if self._pushed.pictures else "")
        return f"annotated video: {text}" if text else ""

    def figures(self) -> list[Figure]:
        """What has been shown."""
        outlets, pushed = self._outlets, self._pushed
        figures = {
            "pictures_total": (sum(one.pictures for one in outlets), "Pictures of annotated video sent."),
            "replaced_total": (sum(one.replaced for one in outlets), "Frames left out: a newer one came."),
        }
        made = [Figure(f"annotated_{name}", value, help=text) for name, (value, text) in figures.items()]
        if pushed is None:
            return made
        losses = "Times that the media server was lost, or could not be reached."
        failing, name = float(bool(pushed.problem)), "annotated_failing"
        text = "1 while no annotated video gets to the media server."
        return [
            *made,
            Figure("annotated_failures_total", pushed.failures, help=losses),
            Figure(name, failing, help=text, trouble=EventKind.OUTPUT_FAILED),
        ]

    def close(self) -> None:
        """End the streams."""
        for outlet in self._outlets:
            outlet.close()

    def _wanted(self) -> tuple[VideoOutlet, ...]:
        """The ways out by which somebody is to see the next frame."""
        asked = monotonic() < self._until_s
        return tuple(x for x in self._outlets if x is not self._pulled or asked)


def make(context: FeatureContext) -> AnnotatedVideo | None:
    """Of every camera; not of a recording, which is played as fast as it can be."""
    if context.lossless:
        return None
    camera = context.camera
    url = camera.output_url
    staging = Staging(camera, context.occupancy)
    pushed = PushedVideo(camera, url) if url else None
    return AnnotatedVideo(staging, pushed, PulledVideo(camera, context.publish))
