"""The worker's end of the pipe for what is seen live: the newest of each camera and variant, and no more."""

import logging
import threading
from multiprocessing.connection import Connection

from sightline.camera.messages import LiveMessage
from sightline.entities import Variant

log = logging.getLogger(__name__)


class LiveSender:
    """Sends from a thread of its own, which is there once there is something to send.

    A supervisor that reads slowly, or not at all, holds up that thread alone: what has not been sent is
    replaced by what comes next of the same camera and variant, so no more than one of each waits.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._filled = threading.Condition()  # guards what follows
        self._newest: dict[tuple[str, Variant], LiveMessage] = {}  # in the order in which they are sent
        self._thread: threading.Thread | None = None
        self._is_over = False

    def put(self, message: LiveMessage) -> bool:
        """Send it, unless a newer one comes first; True: it replaces one. Any thread; never waits."""
        with self._filled:
            if self._is_over:
                return False
            key = (message.camera, message.variant)
            replaces = key in self._newest
            self._newest[key] = message
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="live-sender", daemon=True)
                self._thread.start()
            self._filled.notify()
        return replaces

    def _work(self) -> None:
        while True:
            with self._filled:
                self._filled.wait_for(lambda: self._newest)
                message = self._newest.pop(next(iter(self._newest)))
            try:
                self._connection.send(message)
            except OSError as error:  # the supervisor is gone, or about to go
                log.debug("nothing more is shown live: %s", error)
                with self._filled:
                    self._is_over = True
                    self._newest.clear()
                return
