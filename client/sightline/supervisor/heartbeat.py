"""Tells an outside monitor that all is well: when the calls stop, it tells people what we no longer can."""

import logging
import threading
from collections.abc import Callable, Sequence

from sightline.base.http_request import send_request
from sightline.base.redact import outside_text
from sightline.config import Config
from sightline.config.alerts import HeartbeatOptions

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0


class Heartbeat:
    """Asks for a URL again and again, in a thread of its own, while there are no problems.

    Args:
        options: the URL and how often; replaced by :meth:`update`.
        problems: what is wrong now, as /healthz says it.
    """

    def __init__(self, options: HeartbeatOptions, problems: Callable[[], Sequence[str]]) -> None:
        self._options, self._problems = options, problems
        self._stopped, self._bell = threading.Event(), threading.Event()
        self._failure = ""  # of the last call
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start asking."""
        self._thread.start()

    def update(self, config: Config) -> None:
        """Ask for another URL, or at other intervals, from now on. Any thread may call it."""
        self._options = config.alerts.heartbeat
        self._bell.set()

    def stop(self) -> None:
        """Ask no more; a call that is under way ends with the process."""
        self._stopped.set()
        self._bell.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._bell.clear()
            options = self._options
            if options.url is not None and not self._problems():
                self._ask(options.url.get_secret_value(), options.secrets)
            self._bell.wait(options.every_s)

    def _ask(self, url: str, secrets: Sequence[str]) -> None:
        failure = ""
        try:
            send_request(url, timeout_s=TIMEOUT_S)
        except Exception as error:  # noqa: BLE001  whatever it is, people must hear of it, and it is tried again
            failure = type(error).__name__
            if isinstance(error, OSError):
                failure = outside_text(error, secrets)
        if failure and not self._failure:
            log.warning("heartbeat: the outside monitor was not reached: %s", failure)
        elif self._failure and not failure:
            log.info("heartbeat: the outside monitor is reached again")
        self._failure = failure
