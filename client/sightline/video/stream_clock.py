"""When things happened on the media clocks of two streams of one camera, which both begin anywhere."""

from sightline.video.clock import LeastDelay
from sightline.video.packets import CodedPacket, CodedStream

#: Two streams of a camera are not delayed more differently than this: else its reports contradict arrival.
MAX_DIFFERENCE_S = 1.0
JUMP_S = 5.0  # a packet that comes so much later than the quickest ones: the media clock was set back


class StreamClock:
    """A stream's media clock against its sender's, as sender reports tell it, and against arrival.

    One thread calls :meth:`add`; any thread may ask for the rest.
    """

    def __init__(self) -> None:
        self.stream: CodedStream | None = None  # that the newest packet belongs to
        self.sender_s: float | None = None  # the sender's clock at media time 0
        self.arrival_s: float | None = None  # monotonic: when media time 0 came, the least delay later
        self._delay = LeastDelay()

    def add(self, packet: CodedPacket) -> None:
        """Take the stream's next packet."""
        zero_s = packet.received_s - packet.media_s
        jumped = self.arrival_s is not None and zero_s - self.arrival_s > JUMP_S
        if packet.stream is not self.stream or jumped:
            self._delay, self.sender_s = LeastDelay(), None
            self.stream = packet.stream
        self.arrival_s = self._delay.add(packet.received_s, zero_s)
        if packet.sender_time is not None:
            self.sender_s = packet.sender_time - packet.media_s


def shift_s(of: StreamClock, to: StreamClock, *, one_sender: bool) -> float | None:
    """What to add to a media time of one stream to get that of another; None: nothing has come of one.

    Where both have sender reports of ``one_sender`` it is exact to what those are; else as exact as the two
    streams' least delays are alike: some tens of milliseconds, and what one is coded later than the other.
    """
    if of.arrival_s is None or to.arrival_s is None:
        return None
    by_arrival = of.arrival_s - to.arrival_s
    if one_sender and of.sender_s is not None and to.sender_s is not None:
        by_sender = of.sender_s - to.sender_s
        if abs(by_sender - by_arrival) <= MAX_DIFFERENCE_S:
            return by_sender
    return by_arrival
