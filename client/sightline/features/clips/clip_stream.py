"""The streams that clips are made of: what each has sent of late, and the main one beside the other."""

import time
from urllib.parse import urlsplit

from sightline.config import Camera
from sightline.config.groups import ClipOptions
from sightline.features.clips.packet_ring import PacketRing
from sightline.video.open_gate import OpenGate
from sightline.video.packet_feed import PacketFeed
from sightline.video.packets import CodedPacket
from sightline.video.stream_clock import StreamClock, shift_s

LATE_S = 5.0  # an event is certain so long after it happened, or sooner
SILENT_S = 5.0  # a stream that has sent nothing for so long stands still
FRESH_S = 2.0  # the main stream has not come to a halt, as far as can be told at once
MAX_SHIFT_CHANGE_S = 1.5  # of two streams' media clocks; one of them has jumped


class ClipStream:
    """The last seconds of a stream. One thread calls :meth:`packet`; any other may read."""

    def __init__(self, options: ClipOptions, *, timed: bool) -> None:
        """``timed``: its clock is wanted."""
        self._timed = timed
        self.ring = PacketRing(options.pre_s + LATE_S, options.max_bytes)
        self.clock = StreamClock()
        self.packet_s = time.monotonic()  # of the newest packet of the video

    def packet(self, packet: CodedPacket) -> None:
        """Keep a packet for a while."""
        if not packet.is_sound:
            self.packet_s = time.monotonic()
            if self._timed:
                self.clock.add(packet)
        self.ring.append(packet)

    @property
    def silent_s(self) -> float:
        """Since the newest packet."""
        return time.monotonic() - self.packet_s


class MainStream(ClipStream):
    """What comes by a second connection, from the URL that is not analysed."""

    def __init__(self, camera: Camera, gate: OpenGate) -> None:
        super().__init__(camera.clips, timed=True)
        hosts = {urlsplit(url.get_secret_value()).hostname for url in (camera.url, camera.sub_url) if url}
        self.one_sender = len(hosts) == 1  # whose clock both streams' reports tell
        self.feed = PacketFeed(camera.model_copy(update={"sub_url": None}), self, gate)

    def shift_s(self, analysed: StreamClock) -> float | None:
        """Its media time less that of the analysed stream; None: not known."""
        return shift_s(analysed, self.clock, one_sender=self.one_sender)

    def shift_at(self, media_s: float, analysed: StreamClock) -> float | None:
        """The same, if a clip of that moment, on the analysed stream's clock, can be made of it."""
        shift_s, start_s = self.shift_s(analysed), self.ring.start_s
        if shift_s is None or start_s is None or self.silent_s > FRESH_S or start_s > media_s + shift_s:
            return None
        return shift_s

    def is_lost(self, shift_s: float, analysed: StreamClock) -> bool:
        """Whether it stands still, or no longer goes with the analysed stream as by ``shift_s``."""
        now_s = self.shift_s(analysed)
        return self.silent_s > SILENT_S or now_s is None or abs(now_s - shift_s) > MAX_SHIFT_CHANGE_S
