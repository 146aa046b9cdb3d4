"""What is done by commands, signals and a broker's switches: kept in the audit, as is what comes by HTTP."""

from collections.abc import Callable, Mapping
from typing import Any

from sightline.access.audit import Action, record_done
from sightline.access.rights import Caller, How, Person, own_user
from sightline.entities import Role
from sightline.store.access_store import AccessStore
from sightline.supervisor.control import Control

Command = Callable[..., Any]
#: By their names, commands that change or send something, as which they are kept.
_KEPT = {
    "set_state": Action.CHANGE_ALERT,
    "comment": Action.CHANGE_ALERT,
    "mute": Action.MUTE,
    "test": Action.TEST_ROUTE,
    "set_enabled": Action.CHANGE_CONFIG,
}


def audited_commands(commands: Mapping[str, Command], store: AccessStore) -> dict[str, Command]:
    """The commands of this program's user; those that change something are kept once they are done."""
    user = own_user()
    return {
        name: audited(command, _KEPT[name], store, user) if name in _KEPT else command
        for name, command in commands.items()
    }


def audited_switch(set_enabled: Command, store: AccessStore, broker: str) -> Command:
    """What switches a camera by a message of a broker, which is kept once it is done."""
    return audited(set_enabled, Action.CHANGE_CONFIG, store, Person(broker, Role.ADMIN, None, How.BROKER))


def audited(command: Command, action: Action, store: AccessStore, person: Person) -> Command:
    """A command whose first value says of what it is; it works while the database is away, too."""

    def kept(*values: Any, **named: Any) -> Any:
        answer = command(*values, **named)
        target, *others = map(str, (*values, *named.values()))
        detail = ", ".join(filter(None, others))
        record_done(store, action, target or "all cameras", Caller(person), detail=detail)
        return answer

    return kept


def audited_reload(control: Control, store: AccessStore) -> None:
    """Read the configuration again, since a signal asks for it, and keep what came of it."""
    control.reload("SIGHUP")
    last = control.state()["last"]
    detail, refused = "; ".join(last["changes"]), last["outcome"] == "refused"
    record_done(store, Action.CHANGE_CONFIG, "SIGHUP", Caller(own_user()), detail=detail, refused=refused)
