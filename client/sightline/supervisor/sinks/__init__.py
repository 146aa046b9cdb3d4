"""Where results go besides the database. A sink is one file in this folder and one line in :data:`SINKS`.

Durable sinks (alerts, message brokers, uploads) miss nothing: they read the outbox, which is written in one
transaction with the rows. Lossy sinks (live views) get the newest of everything and drop what is older.
"""

from collections.abc import Callable, Iterable, Sequence

from sightline.config import Config
from sightline.store.kinds import Wants
from sightline.supervisor.sinks import (
    alert_engine,
    alert_routes,
    clip_retention,
    clip_sweep,
    kafka_sink,
    mqtt_sink,
    uploads,
)
from sightline.supervisor.sinks.route import Route
from sightline.supervisor.sinks.sink import DurableSink, LossySink, Sink, SinkHealth

#: Each makes its sinks from the configuration; none where they are not configured.
SINKS: list[Callable[[Config], Iterable[Sink]]] = [
    alert_engine.make,
    alert_routes.make,
    kafka_sink.make,
    mqtt_sink.make,
    uploads.make,
    clip_retention.make,
    clip_sweep.make,
]


def make_sinks(config: Config) -> list[Sink]:
    """The sinks that are configured.

    Raises:
        ValueError: two have one name: what the one has taken would be kept from the other.
    """
    sinks = [sink for make in SINKS for sink in make(config)]
    names = [sink.name for sink in sinks]
    if len(set(names)) < len(names):
        raise ValueError(f"two sinks have the same name: {sorted(names)}")
    _join(sinks)
    return sinks


def with_routes(sinks: Iterable[Sink], config: Config) -> list[Sink]:
    """The sinks that run, with the routes of alerts as another configuration has them.

    Raises:
        SightlineError: a route cannot be: its library is not installed, or does not know the URL.
    """
    sinks = list(sinks)
    running = {sink.route: sink for sink in sinks if isinstance(sink, Route)}
    others = (sink for sink in sinks if not isinstance(sink, Route))
    changed = [*others, *alert_routes.make(config, running)]
    _join(changed)
    return changed


def _join(sinks: Sequence[Sink]) -> None:
    """Tell those of each other that need it."""
    engines = [sink for sink in sinks if isinstance(sink, alert_engine.AlertEngine)]
    for sink in sinks:
        if isinstance(sink, Route) and engines:
            sink.note_failed = engines[0].note_failed
        if isinstance(sink, mqtt_sink.MqttSink):
            sink.mutes = next(iter(engines), None)


def let_switch(
    sinks: Iterable[Sink], set_enabled: Callable[[str, bool, str], object], is_enabled: Callable[[str], bool]
) -> None:
    """Let the switches of a broker turn cameras on and off."""
    for sink in sinks:
        if isinstance(sink, mqtt_sink.MqttSink):
            sink.set_enabled, sink.is_enabled = set_enabled, is_enabled


def wanted_by(sinks: Iterable[Sink]) -> dict[str, Wants]:
    """By the names of the durable ones, which rows each wants from the outbox."""
    return {sink.name: sink.wants for sink in sinks if isinstance(sink, DurableSink)}


__all__ = [
    "SINKS",
    "DurableSink",
    "LossySink",
    "Sink",
    "SinkHealth",
    "let_switch",
    "make_sinks",
    "wanted_by",
    "with_routes",
]
