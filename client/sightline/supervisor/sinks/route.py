"""What every way by which people and programs are told has in common.

Each route is a durable sink that takes the notifications which name it: at least once, each with a key that
stays the same, in a thread of its own. What the other side refuses for good is given up, said and counted.
"""

import contextlib
import logging
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.base.redact import outside_text
from sightline.config import Camera, Config
from sightline.config.alerts import AlertPicture, AlertRoute
from sightline.config.groups import ClipOptions
from sightline.config.recording_options import RecordingOptions
from sightline.entities import EventKind, picture_name
from sightline.errors import StoreUnavailable
from sightline.store.kinds import NOTIFICATION, PendingRow
from sightline.supervisor.sinks.sink import DurableSink, PartlyDelivered

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 10  # so often a notification may fail while the target takes others
#: Steps whose notifications show the event's picture.
_WITH_PICTURE = frozenset({"opened", "more", "escalated"})
TEST_S = 30.0  # so long is waited for what comes of a test; afterwards it is not sent any more
PICTURE_S, PICTURE_STEP_S = 0.3, 0.01  # so long after the notification a picture is waited for
MAX_MISSES = 5  # failures one after another: the target is away, and the rest waits


class DeliveryRefused(Exception):
    """The other side will never take this notification, or some of its people will not."""


class NotTaken(OSError):
    """The other side answers that it does not take this; without its picture, or later, it may."""


def key_of(notification: Mapping[str, Any]) -> str:
    """What a notification is called, at every attempt, by those who are told."""
    return f"{notification['alert_id']}.{notification['ordinal']}"


class Route(DurableSink):
    """One route. What is refused for good, or fails again and again while others are taken, is given up."""

    default_picture = AlertPicture.ATTACHED
    warning = ""  # of what works, and should not be so

    def __init__(self, name: str, options: AlertRoute) -> None:
        self.name = f"route:{name}"
        self.route, self.options = name, options
        self.given_up = 0
        #: By alert id, of those that were tests: what went wrong, "" if nothing.
        self.tests: dict[str, str] = {}
        self._failures: Counter[str] = Counter()  # by key
        self._failed: list[str] = []  # ids of alerts of which something was given up
        self.note_failed: Callable[[str, str], object] = lambda alert_id, route: None
        self._clips: Mapping[str, ClipOptions] = {}  # of the cameras that keep any
        self.picture = options.picture or self.default_picture
        self._secrets = options.secrets
        self._recording = RecordingOptions()

    def update(self, config: Config) -> None:
        """Link to recordings as the configuration says."""
        self._recording = config.recording

    def recording(self, notification: Mapping[str, Any]) -> str:
        """Where the recording of the notification's alert is played; empty: nowhere."""
        alert = notification["alert"]
        if not self._recording.url or not alert:  # which is empty in a test
            return ""
        return self._recording.link(notification["source"], alert["event_time"], alert["end_time"])

    def update_cameras(self, cameras: Mapping[str, Camera]) -> None:
        """Learn which cameras keep pictures of their events, and where."""
        self._clips = {name: camera.clips for name, camera in cameras.items() if camera.clips.enabled}

    def wants(self, row: PendingRow) -> bool:
        """Notices that name it."""
        return row.kind is NOTIFICATION and self.route in row.values["routes"]

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Send each notification, those of an alert in their order; one alert's trouble holds up no other's.

        A test that fails is over: whoever has asked for it is told, and nobody wants it later.

        Raises:
            PartlyDelivered: some were not taken, and come again.
        """
        taken: set[str] = set()
        over: set[str] = set()  # tests that failed
        failed: dict[str, tuple[PendingRow, str]] = {}  # by alert
        misses = 0  # since something was taken
        for row in rows:
            alert, is_test = row.values["alert_id"], row.values["transition"] == "test"
            if alert in failed or (misses >= MAX_MISSES and not is_test):
                continue
            problem, again = self._try(row)
            if is_test:
                self.tests[alert] = problem
            if not again:
                taken.add(row.key)
                self._failures.pop(row.key, None)
                misses = 0
            elif is_test:
                over.add(row.key)
            else:
                failed[alert] = row, problem
                misses += 1
        self._failures.update(row.key for row, _ in failed.values() if taken)
        for alert, (row, problem) in list(failed.items()):
            if self._failures[row.key] >= MAX_ATTEMPTS:
                self._give_up(row, problem)
                taken.add(row.key)
                del failed[alert], self._failures[row.key]
        if failed:
            raise PartlyDelivered(next(iter(failed.values()))[1], taken | over)

    def _try(self, row: PendingRow) -> tuple[str, bool]:
        """Send a notification; what went wrong, if anything, and whether to try it again."""
        if row.values["transition"] == "test" and time.time() - row.values["notification_time"] > TEST_S:
            return f"not sent within {TEST_S:g} s", False  # whoever has asked has been told so
        try:
            self._send(row)
        except DeliveryRefused as error:
            return f"given up: {self._give_up(row, self.masked(error))}", False
        except Exception as error:  # noqa: BLE001  whatever a library raises
            return self.masked(error) or type(error).__name__, True
        return "", False

    def masked(self, text: object) -> str:
        """A text of another program without what is secret in the options: URLs of services hold tokens."""
        return outside_text(text, self._secrets)

    def _send(self, row: PendingRow) -> None:
        """Send a notification with its picture; without, where an answer may be about the picture alone."""
        picture = self._picture(row)
        try:
            self.send(row.values, picture)
        except (DeliveryRefused, NotTaken):
            if picture is None or self.picture is not AlertPicture.ATTACHED:
                raise
            self.send(row.values)

    def _picture(self, row: PendingRow) -> Path | None:
        """The picture of the newest event, which is written at about the time of the notification."""
        values, alert = row.values, row.values["alert"]
        clips = self._clips.get(values["source"])
        if (
            clips is None
            or self.picture is AlertPicture.NONE
            or values["transition"] not in _WITH_PICTURE
            or alert["kind"] not in clips.kinds
        ):
            return None
        path: Path = (clips.folder / values["source"] / picture_name(alert["events"][-1])).resolve()
        patience_s = min(PICTURE_S, values["notification_time"] + PICTURE_S - time.time())
        deadline_s = time.monotonic() + patience_s
        while not path.exists():
            if time.monotonic() >= deadline_s:
                return None
            time.sleep(PICTURE_STEP_S)
        return path

    def tick(self) -> None:
        """Note at the alerts what could not be told of them; while the database is away, later."""
        with contextlib.suppress(StoreUnavailable):
            while self._failed:
                self.note_failed(self._failed[0], self.route)
                self._failed.pop(0)

    def _give_up(self, row: PendingRow, problem: str) -> str:
        kind = row.values["alert"].get("kind")
        if kind in {None, EventKind.DELIVERY_FAILED}:  # a test, or what tells of such a failure itself
            self.given_up += 1
        else:
            self.give_up()
        self._failed.append(row.values["alert_id"])
        log.error("alert %r by route %s is given up: %s", row.values["title"], self.route, problem)
        return problem

    def probe(self) -> str:
        """Go as far as the other side lets us without a notification."""
        try:
            return self.reach()
        except Exception as error:  # noqa: BLE001  whatever a library raises
            raise OSError(self.masked(error) or type(error).__name__) from None

    @abstractmethod
    def reach(self) -> str:
        """Connect, and log in where that is something of its own; what came of it, in words."""

    @abstractmethod
    def send(self, notification: Mapping[str, Any], picture: Path | None = None) -> None:
        """Send one notification, given by the fields of :class:`~sightline.entities.Notification`.

        Args:
            notification: what to send.
            picture: the JPEG of its event, if there is one and the options want it.

        Raises:
            DeliveryRefused: it will never be taken.
            NotTaken: the answer is no, and may be another one later.
            OSError: there is no answer.
        """
