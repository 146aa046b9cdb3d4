"""The API for alerts: what there is, and what people do with them."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from pydantic import Field
from starlette.exceptions import HTTPException

from sightline.access.audit import Action, record, record_alone
from sightline.access.rights import Right
from sightline.config.groups import DAY_S
from sightline.entities import Alert, AlertState, Mute
from sightline.store.access_store import AccessStore
from sightline.store.read.open_alerts import read_mutes, read_open_alerts
from sightline.store.read.readonly import Database
from sightline.supervisor.http.endpoint import LAST, Call, Endpoint, FreeText, Taken, not_there

_MAX_COMMENT = 1000  # characters


class AlertsQuery(Taken):
    """Which alerts."""

    since: float | None = Field(
        None, ge=0, le=LAST, description="That go on or changed since then; null: a day ago."
    )


class AlertChange(Taken):
    """What somebody says of an alert."""

    state: Literal["acknowledged", "resolved", "false_alarm"] | None = Field(
        None, description="Null: it stays as it is."
    )
    comment: FreeText = Field("", max_length=_MAX_COMMENT)


class NewMute(Taken):
    """Of which alerts nobody is told for a while."""

    camera: str = Field("", max_length=63, description="Empty: of every camera.")
    rule: FreeText = Field("", max_length=100, description="Empty: of every rule.")
    until: float = Field(ge=0, le=LAST, description="UTC epoch seconds; 0: no longer.")


class AlertsApi:
    """Alerts, and who did what with them.

    Args:
        actions: by name, what the running program does with alerts.
        database: where alerts are.
        store: where it is kept who did what.
    """

    def __init__(
        self, actions: Mapping[str, Callable[..., Any]], database: Database, store: AccessStore
    ) -> None:
        self._actions, self._database, self._store = actions, database, store

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        alerts, mutes = "/api/v1/alerts", "/api/v1/mutes"
        each, post = partial(Endpoint, "GET", each=True), partial(Endpoint, "POST")
        one: dict[str, Any] = {"camera": self._camera_of, "takes": AlertChange, "gives": Alert}
        of_camera: dict[str, Any] = {"camera": lambda call: call.taken.camera, "takes": NewMute}
        return [
            each(alerts, Right.SEE_ALERTS, self._alerts, takes=AlertsQuery, gives=list[Alert]),
            post(f"{alerts}/{{alert}}", Right.ACKNOWLEDGE, self._change, **one),
            each(mutes, Right.SEE_ALERTS, self._mutes, gives=list[Mute]),
            post(mutes, Right.MUTE, self._mute, **of_camera),
            post("/api/v1/routes/{route}/test", Right.TEST_ROUTE, self._test, gives=str, long=True),
        ]

    def _alerts(self, call: Call) -> list[Alert]:
        """Alerts that go on or changed lately, newest first."""
        since = time.time() - DAY_S if call.taken.since is None else call.taken.since
        with self._database.reading() as connection:
            alerts = read_open_alerts(connection, call.cameras, since).alerts
        return list(reversed(alerts))

    def _change(self, call: Call) -> Alert:
        """Acknowledge an alert, resolve it, call it a false alarm, or comment on it."""
        alert, taken, who = call.connection.path_params["alert"], call.taken, call.caller.name
        if taken.state is None and not taken.comment:
            raise HTTPException(422, "say a state or a comment")
        where = f"camera {call.camera!r}" if call.camera else ""
        detail = ", ".join(filter(None, (where, taken.state, taken.comment)))
        with _audited(self._store, call, Action.CHANGE_ALERT, alert, detail):
            if taken.state is None:
                return Alert(**_answer(self._actions["comment"], alert, taken.comment))
            return Alert(
                **_answer(self._actions["set_state"], alert, AlertState(taken.state), who, taken.comment)
            )

    def _mutes(self, call: Call) -> list[Mute]:
        """Of what nobody is told now."""
        with self._database.reading() as connection:
            mutes = read_mutes(connection, call.cameras)
        return [mute for mute in mutes if mute.until > time.time()]

    def _mute(self, call: Call) -> None:
        """Tell nobody of a camera's alerts, a rule's, or all of them, until some time."""
        taken: NewMute = call.taken
        target = " ".join(filter(None, (taken.camera or "all cameras", taken.rule)))
        with _audited(self._store, call, Action.MUTE, target, f"until {taken.until:.0f}"):
            self._actions["mute"](taken.camera, taken.rule, taken.until, call.caller.name)

    def _test(self, call: Call) -> str:
        """Send a test by a route; what went wrong, or empty when the other side has taken it."""
        route = call.connection.path_params["route"]
        record_alone(self._store, Action.TEST_ROUTE, route, call.caller)  # before: it takes long
        return str(_answer(self._actions["test"], route))

    def _camera_of(self, call: Call) -> str:
        """Whose alert it is; "": the program's."""
        alert_id = call.connection.path_params["alert"]
        for alert in self._actions["list"]():
            if alert["alert_id"] == alert_id:
                return str(alert["source"])
        with self._database.reading() as connection:
            for found in read_open_alerts(connection, None, 0.0, alert_id).alerts:
                return found.source
        raise not_there(f"alert {alert_id!r}")


@contextmanager
def _audited(store: AccessStore, call: Call, action: Action, target: str, detail: str = "") -> Iterator[None]:
    """Keep who does something: it is not done where that cannot be kept, nor kept where it fails."""
    with store.writing() as rows:
        record(rows, action, target, call.caller, time.time(), detail=detail)
        yield


def _answer(action: Callable[..., Any], *values: Any) -> Any:
    try:
        return action(*values)
    except LookupError as error:
        raise HTTPException(409, str(error.args[0] if error.args else error)) from error
