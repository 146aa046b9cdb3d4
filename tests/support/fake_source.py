"""A camera's stream that gives what a test wants."""

from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from sightline.entities import Frame
from sightline.errors import SourceEnded


class FakeSource:
    """Gives the frames of ``play()``, or fails to open with an error."""

    decoder = SimpleNamespace(used="cpu")

    def __init__(self, play: Callable[[], Iterator[Frame]] | BaseException, **_: Any) -> None:
        self._play = play
        self._aborted = False
        self.opened = 0
        self.recorded = False
        self.call: tuple[str, float] | None = None
        self.packets = self.decode_errors = self.gate_skipped = self.stray_frames = 0
        self.receive_s = self.waited_s = 0.0
        self.fps: float | None = None
        self.clock_readings: deque[Any] = deque()
        self.packet_observers: tuple[Any, ...] = ()
        self.failed_observers: deque[tuple[Any, Exception]] = deque()

    def resolve(self) -> None:
        pass

    def open(self) -> None:
        self.opened += 1
        if isinstance(self._play, BaseException):
            raise self._play

    def frames(self) -> Iterator[Frame]:
        assert not isinstance(self._play, BaseException)
        for item in self._play():
            if self._aborted:
                return
            self.packets += 1
            yield item
        if not self._aborted:
            raise SourceEnded("the camera ended the stream")

    def change_fps(self, fps: float | None) -> None:
        self.fps = fps

    def leave_out(self, observer: object) -> None:
        self.packet_observers = tuple(one for one in self.packet_observers if one is not observer)

    def abort(self) -> None:
        self._aborted = True

    def close(self) -> None:
        pass
