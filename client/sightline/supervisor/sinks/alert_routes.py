"""The ways by which people and programs are told: PagerDuty, a signed webhook, and all that Apprise knows."""

import logging
from collections.abc import Callable

from sightline.config import Config
from sightline.config.alerts import AlertRoute
from sightline.supervisor.sinks.apprise_route import Apprise
from sightline.supervisor.sinks.http_routes import PagerDuty, Webhook
from sightline.supervisor.sinks.route import Route

log = logging.getLogger(__name__)


def make_route(name: str, options: AlertRoute) -> Route:
    """One route.

    Raises:
        SightlineError: a library is not installed, or does not know the URL.
    """
    kinds: dict[str, Callable[[str, AlertRoute], Route]] = {
        "apprise": Apprise,
        "webhook": Webhook,
        "pagerduty": PagerDuty,
    }
    return kinds[options.way](name, options)


def make(config: Config) -> list[Route]:
    """A sink for each route."""
    routes = [make_route(name, options) for name, options in config.alerts.routes.items()]
    for route in routes:
        route.update(config)
        if route.warning:
            log.warning("route %s %s", route.route, route.warning)
    return routes
