"""A second connection to a camera, of which packets are taken as they are and nothing is decoded."""

import contextlib
import logging
import threading
import time
from typing import Any

import av

from sightline.base.backoff import Backoff
from sightline.base.logs import WarnOnce
from sightline.config import Camera
from sightline.errors import SourceEnded, SourceError, SourceStalled
from sightline.video import container as demux
from sightline.video.feed import FAILED_STATES, SLOW_RETRY_S
from sightline.video.open_gate import OpenGate
from sightline.video.packets import CodedPacket, CodedStream, PacketObserver
from sightline.video.sound import sound_of

log = logging.getLogger(__name__)


class PacketFeed:
    """Keeps a stream open, in a thread of its own, and hands its packets on. Nothing waits for it.

    Args:
        camera: whose stream at ``source_url`` it is.
        observer: gets the packets, on that thread.
        gate: bounds how many streams open at once; streams that are analysed go before.
    """

    def __init__(self, camera: Camera, observer: PacketObserver, gate: OpenGate) -> None:
        self._camera, self._observer, self._gate = camera, observer, gate
        self._backoff = Backoff(1.0, 60.0)
        self._stop = threading.Event()
        self._warnings = WarnOnce(log)
        self.online = False  # packets come
        self.problem = ""  # what went wrong last; empty while they come
        self.reconnects = 0
        self._thread = threading.Thread(target=self._run, name=f"packets-{camera.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Make the thread end with its next packet, or when FFmpeg gives up waiting for one."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._play()
            except SourceError as error:
                self._retry(error, least_s=SLOW_RETRY_S if type(error) in FAILED_STATES else 0.0)
            except Exception as error:  # a fault of ours
                log.exception("camera %s: its main stream", self._camera.name)
                self._retry(error, least_s=SLOW_RETRY_S)

    def _retry(self, error: Exception, *, least_s: float) -> None:
        self.online, self.problem = False, str(error) or repr(error)
        self.reconnects += 1
        if not self._stop.is_set():
            self._warnings.warn_once(f"camera {self._camera.name}: main stream: {self.problem}")
        self._stop.wait(self._backoff.next_delay_s(least_s=least_s))

    def _play(self) -> None:
        """Open the stream and hand packets on until it fails.

        Raises:
            SourceError: the kind says how.
        """
        demux.check_name(self._camera)
        with contextlib.ExitStack() as stack:
            with self._gate.wait(self._stop, self._backoff.failures + 1):
                if self._stop.is_set():
                    return
                container = stack.enter_context(demux.open_container(self._camera))
                video = demux.choose_video(container)
            sound, why_not = sound_of(container) if self._camera.wants_sound else (None, "")
            if why_not:
                self._warnings.warn_once(f"camera {self._camera.name}: clips have no sound: {why_not}")
            stream = CodedStream.of(video, sound)
            streams: dict[Any, Any] = (
                {video: stream} if sound is None else {video: stream, sound: stream.sound}
            )
            packets = container.demux(*streams)
            stall_s, video_s = self._camera.stream.stall_timeout_s, time.monotonic()
            while not self._stop.is_set():
                packet: Any = self._next(packets, stall_s)
                now = time.monotonic()
                if packet.stream is video:
                    video_s = now
                elif now - video_s >= stall_s:
                    raise SourceStalled(f"no video came for {stall_s:g} s")
                coded = CodedPacket.of(packet, streams[packet.stream], now, demux.camera_time(packet))
                if packet.size and coded is not None:
                    if not self.online:
                        self.online, self.problem = True, ""
                        self._backoff.good()
                    self._observer.packet(coded)

    def _next(self, packets: Any, stall_s: float) -> Any:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            raise demux.read_error(error, stall_s) from error
        if packet is None:
            raise SourceEnded("the camera ended the stream")
        return packet
