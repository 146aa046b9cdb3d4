"""Where results go besides the database. A sink is one file in this folder and one line in :data:`SINKS`.

Durable sinks (alerts, message brokers, uploads) miss nothing: they read the outbox, which is written in one
transaction with the rows. Lossy sinks (live views) get the newest of everything and drop what is older.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sightline.camera.messages import Report
from sightline.config import Config
from sightline.store.outbox import OutboxMessage


@runtime_checkable
class DurableSink(Protocol):
    """Takes every result of the outbox at least once, oldest first of what can be reached.

    It has a thread of its own.
    """

    name: str  # stands in the outbox: renaming a sink leaves what waits for it behind

    def deliver(self, messages: Sequence[OutboxMessage]) -> None:
        """Hand the messages on; return once they are safe there.

        Whatever it raises, all of them come again after a back-off. After a crash some may come a second
        time, with the same ``key``.
        """

    def close(self) -> None:
        """Close connections and files."""


class LossySink(Protocol):
    """Takes the newest report of each camera, in a thread of its own."""

    name: str

    def show(self, report: Report) -> None:
        """Show a camera's report. An error is logged and counted; the next report comes all the same."""

    def close(self) -> None:
        """Close connections and files."""


Sink = DurableSink | LossySink


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """How a sink does, for /healthz, /status and the metrics."""

    name: str
    ok: bool  # the last attempt succeeded, and none takes too long
    delivered: int  # messages; reports of a lossy sink
    failures: int  # attempts that failed
    dropped: int  # reports that a newer one replaced; always 0 for a durable sink
    last_error: str  # without credentials; empty when all is well


#: Each makes its sink from the configuration, or gives None where it is not configured.
SINKS: list[Callable[[Config], Sink | None]] = []


def make_sinks(config: Config) -> list[Sink]:
    """The sinks that are configured.

    Raises:
        ValueError: two have one name: what the one has taken would be kept from the other.
    """
    sinks = [sink for make in SINKS if (sink := make(config)) is not None]
    names = [sink.name for sink in sinks]
    if len(set(names)) < len(names):
        raise ValueError(f"two sinks have the same name: {sorted(names)}")
    return sinks


def durable_names(sinks: Iterable[Sink]) -> tuple[str, ...]:
    """Names of those for which the outbox is written."""
    return tuple(sink.name for sink in sinks if isinstance(sink, DurableSink))
