"""The hand-over of frames from a decode thread to the worker's main thread."""

import threading
from collections import deque

from sightline.base.threads import Bell
from sightline.entities import Frame


class Mailbox:
    """A bounded box for one camera's frames; its bell, which many boxes may share, says that one has come.

    Live (``lossless=False``): holds one frame; the newest wins and the one it replaces is counted as
    dropped, so the decoder never waits. Recorded (``lossless=True``): holds ``size`` frames and
    :meth:`put` waits for room, so nothing is lost.

    Threads: the decode thread calls :meth:`put` and ``shutdown()``; the main thread calls :meth:`take`, and
    ``shutdown(immediate=True)`` when it wants no more.
    """

    def __init__(self, bell: Bell | None = None, *, lossless: bool = False, size: int = 8) -> None:
        self._bell = bell or Bell()
        self._lossless = lossless
        self._size = size if lossless else 1
        self._frames: deque[Frame] = deque()
        self._room = threading.Condition(threading.Lock())  # its lock guards everything here
        self._closed = False
        self.dropped = 0  # frames replaced by newer ones before they were taken

    def __len__(self) -> int:
        """Frames that wait."""
        return len(self._frames)

    @property
    def ended(self) -> bool:
        """Whether it is shut down and empty: :meth:`take` will give no more frames."""
        return self._closed and not self._frames

    def put(self, frame: Frame) -> bool:
        """Hand a frame on; False once the box is shut down, and the frame is then let go."""
        with self._room:
            if self._lossless:
                self._room.wait_for(lambda: self._closed or len(self._frames) < self._size)
            if self._closed:
                return False
            if len(self._frames) == self._size:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
        self._bell.ring()
        return True

    def take(self) -> Frame | None:
        """The next frame, or None; never waits."""
        if not self._frames:
            return None
        with self._room:
            frame = self._frames.popleft() if self._frames else None
            if self._lossless:
                self._room.notify()
        return frame

    def shutdown(self, *, immediate: bool = False) -> None:
        """Accept no more frames; those that wait can still be taken, unless ``immediate`` drops them too."""
        with self._room:
            self._closed = True
            if immediate:
                self._frames.clear()
            self._room.notify_all()
        self._bell.ring()
