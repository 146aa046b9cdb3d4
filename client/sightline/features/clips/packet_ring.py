"""The last seconds of a camera's coded video, with its sound, bounded by seconds and by bytes."""

import threading
from collections import deque

from sightline.video.packets import CodedPacket

BACK_S = 1.0  # a stream whose time goes back by more has begun anew


class PacketRing:
    """Whole groups of pictures, so it always begins at a key frame; and what a clip that grows has not taken.

    The decode thread appends. One other thread follows: it gets what was there, then everything that comes.
    A group that alone is larger than ``max_bytes`` is given up, and the ring is empty until the next key
    frame. What waits for the follower is at most twice ``max_bytes``.
    """

    def __init__(self, keep_s: float, max_bytes: int) -> None:
        self._keep_s, self._max_bytes = keep_s, max_bytes
        self._lock = threading.Lock()  # guards everything below
        self._groups: deque[list[CodedPacket]] = deque()
        self._newest: CodedPacket | None = None  # of the video; None: the ring is empty
        self._group_bytes: deque[int] = deque()
        self._waiting: list[CodedPacket] | None = None  # None: nobody follows
        self._waiting_bytes = 0
        self.bytes = 0
        self.given_up = 0  # groups larger than the bound
        self.overflowed = False  # the follower was too slow: packets are missing from here on

    @property
    def start_s(self) -> float | None:
        """Media time of the first packet; None: there is none."""
        with self._lock:
            return self._groups[0][0].media_s if self._groups else None

    @property
    def seconds(self) -> float:
        """From the first packet to the last."""
        with self._lock:
            return self._newest.media_s - self._groups[0][0].media_s if self._newest else 0.0

    def append(self, packet: CodedPacket) -> None:
        """Add the camera's next packet."""
        with self._lock:
            if not packet.is_sound:
                if self._newest and not follows(packet, self._newest):
                    self._clear()
                if packet.is_key or self._newest:
                    self._newest = packet
            if packet.is_key:
                self._groups.append([])
                self._group_bytes.append(0)
            self._wait(packet)
            if not self._groups:
                return
            size = len(packet.data)
            self._groups[-1].append(packet)
            self._group_bytes[-1] += size
            self.bytes += size
            if self._newest:
                self._trim(self._newest.media_s - self._keep_s)

    def follow(self, media_s: float) -> None:
        """From now on :meth:`take` gives everything from the last key frame before ``media_s`` on."""
        with self._lock:
            starts = [at for at, group in enumerate(self._groups) if group[0].media_s <= media_s]
            groups = list(self._groups)[starts[-1] if starts else 0 :]
            self._waiting = [packet for group in groups for packet in group]
            self._waiting_bytes = sum(len(packet.data) for packet in self._waiting)
            self.overflowed = False

    def take(self) -> list[CodedPacket]:
        """What has come since the last call; empty when nothing is followed."""
        with self._lock:
            taken = self._waiting or []
            if self._waiting is not None:
                self._waiting, self._waiting_bytes = [], 0
            return taken

    def release(self) -> None:
        """Follow no more."""
        with self._lock:
            self._waiting, self._waiting_bytes = None, 0

    def _wait(self, packet: CodedPacket) -> None:
        if self._waiting is None or self.overflowed:
            return
        self._waiting.append(packet)
        self._waiting_bytes += len(packet.data)
        self.overflowed = self._waiting_bytes > 2 * self._max_bytes

    def _trim(self, from_media_s: float) -> None:
        while len(self._groups) > 1 and (
            self._groups[1][0].media_s <= from_media_s or self.bytes > self._max_bytes
        ):
            self._groups.popleft()
            self.bytes -= self._group_bytes.popleft()
        if self.bytes > self._max_bytes:
            self.given_up += 1
            self._clear()

    def _clear(self) -> None:
        self._groups.clear()
        self._group_bytes.clear()
        self._newest = None
        self.bytes = 0


def follows(packet: CodedPacket, last: CodedPacket) -> bool:
    """Whether a packet goes on with the stream of another."""
    base = packet.stream.time_base  # without the sums of fractions, which every packet would pay for
    return (
        packet.stream is last.stream and (packet.dts - last.dts) * base.numerator > -BACK_S * base.denominator
    )
