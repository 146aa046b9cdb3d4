"""The API for the configuration: read without secrets, and changed by the one way in which it changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field
from starlette.exceptions import HTTPException

from sightline.access.audit import Action, record_alone
from sightline.access.rights import Right
from sightline.base.redact import redact
from sightline.config import Config
from sightline.config.alert_names import idle_kinds, unknown_names
from sightline.config.alerts import AlertRule
from sightline.config.loader import MAX_BYTES
from sightline.config.yaml_edit import GONE
from sightline.errors import SightlineError
from sightline.store.access_store import AccessStore
from sightline.supervisor.config_history import difference
from sightline.supervisor.control import Control, Edit
from sightline.supervisor.http.endpoint import Call, Endpoint, Taken, not_there

_CONFIG, _CHANGES, _RULES = "/api/v1/config", "/api/v1/changes", "/api/v1/rules"
#: Sections by which somebody could become an admin, or look where no camera is: an admin's to change.
_ADMINS = frozenset({"access", "allow", "database", "http", "media"})


@dataclass(frozen=True, slots=True)
class ConfigText:
    """The file, its secrets masked."""

    text: str
    version: str  # for If-Match
    read_only: bool  # it cannot be changed here


@dataclass(frozen=True, slots=True)
class ConfigPart:
    """A part of the configuration, its secrets masked."""

    written: Any  # as it stands in the file; null: nothing does
    options: Any  # with what is set for all, and what is not written; null: it has mistakes
    problems: list[str]  # as which the program found them
    version: str  # of the file, for If-Match
    read_only: bool  # the file cannot be changed here


@dataclass(frozen=True, slots=True)
class ShownChange:
    """A change of the file, its secrets masked."""

    change_id: int  # rises
    time: float
    who: str
    changes: list[str]  # in sentences
    difference: str  # as ``diff -u`` writes it


@dataclass(frozen=True, slots=True)
class ShownRules:
    """Rules of alerts for those who do not see the configuration: of the cameras that one sees."""

    rules: dict[str, AlertRule]  # by name
    routes: dict[str, str]  # by name, what they are: apprise, webhook, pagerduty
    timezone: str  # of schedules and quiet hours
    warnings: list[str]  # of rules that wait in vain; for those who see all cameras


class TryOnly(Taken):
    """Whether it is only tried."""

    try_only: bool = Field(False, description="Check it, and tell what it would do.")


class ConfigEdit(TryOnly):
    """Another text of the whole file; what is masked stays as it is."""

    text: str = Field(max_length=MAX_BYTES)


class PartEdit(TryOnly):
    """What is to stand in the file instead of ``written``; what is masked stays as it is."""

    value: Any


class ChangesQuery(Taken):
    """Which changes."""

    limit: int = Field(50, ge=1, le=500)
    before: int | None = Field(None, ge=0, lt=1 << 63, description="A change_id: only older ones.")


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
        see, write = Right.SEE_CONFIG, Right.WRITE_CONFIG
        get = partial(Endpoint, "GET", right=see)
        # In a body a text is longer than in the file.
        change: dict[str, Any] = {
            "right": write,
            "gives": Edit,
            "versioned": True,
            "max_body": 2 * MAX_BYTES,
            "long": True,
        }
        camera: dict[str, Any] = {"path": "/api/v1/cameras/{camera}/config", "camera": "camera"}
        section = f"{_CONFIG}/{{section}}"
        return [
            get(_CONFIG, handler=self._read, gives=ConfigText),
            Endpoint("PUT", _CONFIG, handler=self._edit, takes=ConfigEdit, **change),
            get(**camera, handler=self._camera, gives=ConfigPart),
            Endpoint("PUT", **camera, handler=self._edit_camera, takes=PartEdit, **change),
            Endpoint("DELETE", **camera, handler=self._remove_camera, takes=TryOnly, **change),
            get(section, handler=self._section, gives=ConfigPart),
            Endpoint("PUT", section, handler=self._edit_section, takes=PartEdit, **change),
            Endpoint("DELETE", section, handler=self._remove_section, takes=TryOnly, **change),
            Endpoint("GET", _RULES, Right.SEE_ALERTS, self._rules, each=True, gives=ShownRules),
            get(_CHANGES, handler=self._changes, takes=ChangesQuery, gives=list[ShownChange]),
            Endpoint("POST", f"{_CHANGES}/{{change:row}}/undo", handler=self._undo, takes=TryOnly, **change),
        ]

    def _read(self, _: Call) -> ConfigText:
        """The configuration's file without its secrets, and its version."""
        return ConfigText(*self._control.masked(), self._control.is_read_only)

    def _edit(self, call: Call) -> Edit:
        """Change the file, if it is still the version of If-Match; what changes, and the difference."""
        return self._apply(call, "config", partial(self._control.edit, call.taken.text))

    def _camera(self, call: Call) -> ConfigPart:
        """What the file says of a camera, and its options with what is set for all."""
        written, version = self._control.part("cameras", call.camera or "")
        config = self._control.config
        problems = [redact(item.told) for item in config.problems if item.camera == call.camera]
        camera = config.cameras.get(call.camera or "")
        if camera is None and written is None:
            raise not_there(f"camera {call.camera!r}")
        # URLs as stars: a secret may stand anywhere in one.
        options = None if camera is None else camera.model_dump(mode="json")
        if camera is not None and options is not None and not call.sees(None):
            options = _without_paths(camera.model_dump(), options)
        return ConfigPart(written, options, problems, version, self._control.is_read_only)

    def _edit_camera(self, call: Call) -> Edit:
        """Change what the file says of a camera, or add one."""
        return self._edit_part(call, ("cameras", call.camera or ""), call.taken.value)

    def _remove_camera(self, call: Call) -> Edit:
        """Take a camera out of the file; its results stay."""
        return self._edit_part(call, ("cameras", call.camera or ""), GONE)

    def _section(self, call: Call) -> ConfigPart:
        """What the file says in one section, such as alerts, and all its options."""
        name = _section_of(call)
        written, version = self._control.part(name)
        options = self._control.config.options.model_dump(mode="json", include={name})
        return ConfigPart(written, options[name], [], version, self._control.is_read_only)

    def _rules(self, call: Call) -> ShownRules:
        """Of which events of their cameras people are told, and by which routes."""
        config, rules = self._control.config, {}
        alerts = config.options.alerts
        for name, rule in alerts.rules.items():
            cameras = rule.cameras and tuple(filter(call.sees, rule.cameras))
            if cameras != ():
                rules[name] = rule.model_copy(update={"cameras": cameras})
        routes = {name: route.way for name, route in alerts.routes.items()}
        given = alerts.rules, config.cameras, config.misconfigured
        warnings = [*unknown_names(*given), *idle_kinds(*given)] if call.sees(None) else []
        return ShownRules(rules, routes, alerts.timezone, warnings)

    def _edit_section(self, call: Call) -> Edit:
        """Change one section, such as alerts."""
        return self._edit_part(call, (_section_of(call),), call.taken.value)

    def _remove_section(self, call: Call) -> Edit:
        """Take a section out of the file: all its options are the defaults."""
        return self._edit_part(call, (_section_of(call),), GONE)

    def _changes(self, call: Call) -> list[ShownChange]:
        """What was changed by whom, the newest first; also by hand, by commands and by switches."""
        with self._store.reading() as rows:
            found = rows.changes(call.taken.limit, before=call.taken.before)
        return [
            ShownChange(
                item.change_id or 0,
                item.time,
                item.who,
                item.changes.splitlines(),
                difference(item.before, item.after),
            )
            for item in found
        ]

    def _undo(self, call: Call) -> Edit:
        """Undo one change, whatever others have changed elsewhere since."""
        number = call.connection.path_params["change"]
        with self._store.reading() as rows:
            found = rows.changes(1, before=number + 1)
        if not found or found[0].change_id != number:
            raise not_there(f"change {number}")
        return self._apply(call, f"change {number}", partial(self._control.undo, found[0]))

    def _edit_part(self, call: Call, path: tuple[str, ...], value: Any) -> Edit:
        if value is GONE and self._control.part(*path)[0] is None:
            raise not_there(f"{' '.join(path)!r} in the file")
        return self._apply(call, ".".join(path), partial(self._control.edit_part, path, value))

    def _apply(self, call: Call, target: str, change: Callable[..., Edit]) -> Edit:
        """Try a change, and make it if the caller may make all of it."""
        version = call.connection.headers.get("if-match", "").strip('"')
        if not version:
            raise HTTPException(428, "say in If-Match which version you have changed")
        by = call.caller.name
        tried = change(by, version, try_only=True)
        # Where files lie, too: they are written, read and deleted there, whatever else lies beside them.
        closed = [*sorted(_ADMINS.intersection(tried.sections)), *tried.paths]
        if closed and not call.may(Right.MANAGE_PEOPLE):
            raise HTTPException(403, f"an admin may change {', '.join(closed)}; you may change the rest")
        if not call.sees(None) and (tried.sections or not all(map(call.sees, tried.cameras))):
            raise HTTPException(403, "the file has changes of other cameras that are not in force yet")
        if call.taken.try_only:
            return _shown(call, tried)
        # Not in one transaction: a change of http would hold the database for seconds.
        keep = partial(record_alone, self._store, Action.CHANGE_CONFIG, target, call.caller)
        keep(detail="; ".join(tried.changes))
        try:
            return _shown(call, change(by, version))
        except SightlineError as error:
            keep(detail=redact(error), refused=True)
            raise


def _shown(call: Call, edit: Edit) -> Edit:
    """For those who do not see all cameras without the lines around what has changed."""
    if call.sees(None):
        return edit
    own = (line for line in edit.difference.splitlines(keepends=True) if not line.startswith(" "))
    return replace(edit, difference="".join(own))


def _without_paths(values: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """What is ``shown`` of options without their paths: where files lie is for those who see all cameras."""
    return {
        key: _without_paths(value, shown[key]) if isinstance(value, Mapping) else shown[key]
        for key, value in values.items()
        if not isinstance(value, Path)
    }


def _section_of(call: Call) -> str:
    name = str(call.connection.path_params["section"])
    if name not in Config.model_fields:
        raise not_there(f"section {name!r}")
    return name
