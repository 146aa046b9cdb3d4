"""What people do with alerts, as commands that ``sightline alerts`` sends to the running program."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from sightline.entities import AlertState, Mute
from sightline.supervisor.sinks.alert_engine import AlertEngine
from sightline.supervisor.sinks.route import TEST_S, Route
from sightline.supervisor.sinks.sink import Sink


def alert_actions(running: Callable[[], Iterable[Sink]]) -> dict[str, Callable[..., Any]]:
    """By name, what the engine among the sinks that run can be asked; a LookupError is for whoever asks."""
    [engine] = [sink for sink in running() if isinstance(sink, AlertEngine)]

    def set_state(alert: str, state: str, who: str, comment: str) -> dict[str, Any]:
        if not alert:
            raise LookupError("write the first characters of the alert's id")
        ids = {known.alert_id for known in engine.alerts() if known.alert_id.startswith(alert)}
        if len(ids) > 1:
            raise LookupError(f"{len(ids)} alerts begin with {alert}; write more of the id")
        found = engine.set_state(ids.pop() if ids else alert, AlertState(state), who, comment)
        return asdict(found)

    def test(route: str) -> str:
        """What went wrong; empty when the other side has taken it."""
        routes = {sink.route: sink for sink in running() if isinstance(sink, Route)}
        if route not in routes:
            raise LookupError(f"there is no route {route}; there are: {', '.join(routes) or 'none'}")
        alert_id = engine.test(route).alert_id
        deadline_s = time.monotonic() + TEST_S
        while (problem := routes[route].tests.get(alert_id)) is None and time.monotonic() < deadline_s:
            time.sleep(0.05)
        late = f"not sent within {TEST_S:g} s, and no longer is; /status says what held it up"
        return late if problem is None else problem

    return {
        "list": lambda: [asdict(alert) for alert in engine.alerts()],
        "set_state": set_state,
        "comment": lambda alert, text: asdict(engine.comment(alert, text)),
        "mute": lambda camera, rule, until, who: [
            asdict(mute) for mute in engine.mute(Mute(camera, rule, until, who))
        ],
        "mutes": lambda: [asdict(mute) for mute in engine.mutes()],
        "test": test,
    }
