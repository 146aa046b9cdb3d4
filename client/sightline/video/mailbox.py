"""The hand-over of frames from the decode thread to the main thread."""

from __future__ import annotations

import threading
import time
from collections import deque

from sightline.entities import Frame
from sightline.errors import SourceEnded


class Mailbox:
    """A bounded box for frames, closed once by the side that fills it.

    Live (``lossless=False``): holds one frame; the newest wins and the one it replaces is counted as
    dropped, so the decoder never waits. Recorded (``lossless=True``): holds ``size`` frames and
    :meth:`put` waits for room, so nothing is lost.

    Threads: the decode thread calls :meth:`put` and :meth:`close`; the main thread calls :meth:`get` and
    :meth:`wait_woken`, and :meth:`shut` when it wants no more; any thread (a finished detection) calls
    :meth:`wake`. Nobody is woken for what he does not wait for: each needless switch between threads costs a
    frame more than all bookkeeping here.
    """

    def __init__(self, *, lossless: bool = False, size: int = 8) -> None:
        self._lossless = lossless
        self._frames: deque[Frame] = deque(maxlen=size if lossless else 1)
        lock = threading.Lock()  # guards everything below
        self._arrived = threading.Condition(lock)  # a frame, or the end: for get
        self._room = threading.Condition(lock)  # for put
        self._wake = threading.Condition(lock)  # for wait_woken
        self._woken = False
        self._closed = False
        self._shut = False
        self._error: BaseException | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Frames replaced by newer ones before anybody took them."""
        return self._dropped

    def __len__(self) -> int:
        """Frames that wait."""
        return len(self._frames)

    @property
    def closed(self) -> bool:
        """Whether it is closed and empty: :meth:`get` will give no more frames."""
        with self._arrived:
            return (self._closed or self._shut) and not self._frames

    def put(self, frame: Frame) -> bool:
        """Hand a frame on; False once the box is shut or closed, and the frame is then let go."""
        with self._room:
            if self._lossless:
                self._room.wait_for(lambda: self._shut or self._closed or self._has_room())
            if self._shut or self._closed:
                return False
            self._dropped += not self._has_room()
            self._frames.append(frame)
            self._arrived.notify()
            return True

    def get(self, timeout_s: float) -> Frame | None:
        """The next frame; None when none came within ``timeout_s`` or before :meth:`wake`.

        Raises:
            BaseException: the last frame was taken and the box is closed: the error given to
                :meth:`close`, or SourceEnded when none was given.
        """
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            self._arrived.wait_for(
                lambda: self._frames or self._woken or self._closed or self._shut,
                max(0.0, deadline - time.monotonic()),
            )
            self._woken = False
            if self._frames:
                frame = self._frames.popleft()
                self._room.notify()
                return frame
            if not (self._closed or self._shut):
                return None
            error = self._error
        raise error or SourceEnded("no more frames")

    def wait_woken(self, timeout_s: float) -> None:
        """Wait for :meth:`wake`, not for frames; returns at once when it was called since the last wait."""
        with self._wake:
            self._wake.wait_for(lambda: self._woken, timeout_s)
            self._woken = False

    def wake(self) -> None:
        """Make the :meth:`get` or :meth:`wait_woken` that waits now, or the next one, return at once."""
        with self._arrived:
            self._woken = True
            self._arrived.notify()
            self._wake.notify()

    def close(self, error: BaseException | None = None) -> None:
        """No more frames will come; ``error`` says why. Frames that wait can still be taken."""
        with self._arrived:
            if not self._closed:
                self._closed, self._error = True, error
            self._notify_all()

    def shut(self) -> None:
        """No more frames are wanted: drop what waits and let a waiting :meth:`put` go."""
        with self._arrived:
            self._shut = True
            self._frames.clear()
            self._notify_all()

    def _notify_all(self) -> None:
        self._arrived.notify_all()
        self._room.notify_all()

    def _has_room(self) -> bool:
        return len(self._frames) < (self._frames.maxlen or 0)
