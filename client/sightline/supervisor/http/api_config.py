"""The API for the configuration: read without secrets, and changed by the one way in which it changes."""

import time
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from starlette.exceptions import HTTPException

from sightline.access.audit import Action, record
from sightline.access.rights import Right
from sightline.base.redact import redact
from sightline.config.loader import MAX_BYTES
from sightline.errors import SightlineError
from sightline.store.access_store import AccessStore
from sightline.supervisor.control import Control, Edit
from sightline.supervisor.http.endpoint import Call, Endpoint, Taken, not_there

_CONFIG = "/api/v1/config"
#: Sections by which somebody could become an admin, or look where no camera is: an admin's to change.
_ADMINS = frozenset({"access", "allow", "database", "http"})


@dataclass(frozen=True, slots=True)
class ConfigText:
    """The file, its secrets masked."""

    text: str
    version: str  # for If-Match


class ConfigEdit(Taken):
    """Another text of the whole file; what is masked stays as it is."""

    text: str = Field(max_length=MAX_BYTES)
    try_only: bool = Field(False, description="Check it, and tell what it would do.")


class ConfigApi:
    """The configuration.

    Args:
        control: owns it.
        store: where it is kept who changed what.
    """

    def __init__(self, control: Control, store: AccessStore) -> None:
        self._control, self._store = control, store

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [
            Endpoint("GET", _CONFIG, Right.SEE_CONFIG, self._read, gives=ConfigText),
            Endpoint(
                "PUT",
                _CONFIG,
                Right.WRITE_CONFIG,
                self._edit,
                takes=ConfigEdit,
                gives=Edit,
                max_body=2 * MAX_BYTES,  # as JSON writes it
                long=True,
            ),
            Endpoint(
                "GET",
                "/api/v1/cameras/{camera}/config",
                Right.SEE_CONFIG,
                self._camera,
                camera="camera",
                gives=dict[str, Any],
            ),
        ]

    def _read(self, _: Call) -> ConfigText:
        """The configuration's file without its secrets, and its version."""
        return ConfigText(*self._control.masked())

    def _edit(self, call: Call) -> Edit:
        """Change the file, if it is still the version of If-Match; what changes, and the difference."""
        version = call.connection.headers.get("if-match", "").strip('"')
        if not version:
            raise HTTPException(428, "say in If-Match which version you have changed")
        taken: ConfigEdit = call.taken
        by = call.caller.person.name if call.caller.person else ""
        tried = self._control.edit(taken.text, by, version, try_only=True)
        if taken.try_only:
            return tried
        if (closed := _ADMINS.intersection(tried.sections)) and not call.may(Right.MANAGE_PEOPLE):
            raise HTTPException(
                403, f"an admin may change {', '.join(sorted(closed))}; you may change the rest"
            )
        # Not in one transaction: a change of http would hold the database for seconds.
        self._record(call, "; ".join(tried.changes), refused=False)
        try:
            return self._control.edit(taken.text, by, version)
        except SightlineError as error:
            self._record(call, redact(error), refused=True)
            raise

    def _camera(self, call: Call) -> dict[str, Any]:
        """The options of one camera, with what is set for all, without its secrets."""
        camera = self._control.config.cameras.get(call.camera or "")
        if camera is None:
            raise not_there(f"camera {call.camera!r} that can run")
        return camera.model_dump(mode="json")  # its URLs as stars: a secret may stand anywhere in one

    def _record(self, call: Call, detail: str, *, refused: bool) -> None:
        with self._store.writing() as rows:
            record(
                rows, Action.CHANGE_CONFIG, "config", call.caller, time.time(), detail=detail, refused=refused
            )
