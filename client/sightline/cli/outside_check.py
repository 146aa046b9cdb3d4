"""What takes results elsewhere: brokers, uploads and ways of alerts; made and tried, and nobody is told."""

from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from typing import Protocol

from sightline.base.http_request import reach_server
from sightline.config import Config
from sightline.errors import ConfigError, SightlineError
from sightline.supervisor.sinks import kafka_sink, mqtt_sink, uploads
from sightline.supervisor.sinks.alert_routes import make_route

HEARTBEAT_S = 10.0


class Outside(Protocol):
    """A sink, as long as it is not run."""

    def probe(self) -> str:
        """Connect and log in as for a delivery; what is there, in words. No error has a secret in it.

        Raises:
            OSError: it is not there, or refuses us.
        """


_SINKS: dict[str, Callable[[Config], Outside]] = {
    "streams.kafka": lambda options: kafka_sink.make(options)[0],
    "streams.mqtt": lambda options: mqtt_sink.make(options)[0],
    "uploads.url": lambda options: uploads.make(options)[0],
}


def _makers(options: Config) -> Iterator[tuple[str, Callable[[], Outside]]]:
    """By key, what makes each."""
    for key, make in _SINKS.items():
        if attrgetter(key)(options) is not None:
            yield key, partial(make, options)
    for name, route in options.alerts.routes.items():
        yield f"alerts.routes.{name}.{route.way}", partial(make_route, name, route)


def try_making(options: Config) -> tuple[list[ConfigError], list[str]]:
    """What cannot be made, since a library is not installed or does not know the URL; and warnings."""
    problems, warnings = [], []
    for key, make in _makers(options):
        try:
            if warning := getattr(make(), "warning", ""):
                warnings.append(f"{key} {warning}")
        except ConfigError as error:
            problems.append(error)
        except SightlineError as error:
            problems.append(ConfigError(key, str(error)))
    return problems, warnings


def probes_of(options: Config) -> Iterator[tuple[str, Callable[[], str]]]:
    """By key, what tries each, and says what is there."""
    for key, make in _makers(options):
        yield key, partial(_probe, key, make)
    if (url := options.alerts.heartbeat.url) is not None:
        key, value = "alerts.heartbeat.url", url.get_secret_value()
        yield key, lambda: f"{key}: ok: {reach_server(value, HEARTBEAT_S)}"


def _probe(key: str, make: Callable[[], Outside]) -> str:
    return f"{key}: ok: {make().probe()}"
