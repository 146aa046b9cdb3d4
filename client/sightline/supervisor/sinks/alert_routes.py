"""The ways by which people and programs are told: PagerDuty, a signed webhook, and all that Apprise knows."""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

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


def make(config: Config, running: Mapping[str, Route] = MappingProxyType({})) -> list[Route]:
    """A sink for each route: of those that run with the same options already, the one that does.

    Raises:
        SightlineError: as :func:`make_route`.
    """
    routes = []
    for name, options in config.alerts.routes.items():
        route = running.get(name)
        if route is None or route.options != options:
            route = make_route(name, options)
            route.update(config)
            if route.warning:
                log.warning("route %s %s", name, route.warning)
        routes.append(route)
    return routes
