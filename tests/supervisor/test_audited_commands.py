"""What commands and switches do stands in the audit, and is done while the database is away, too."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from sightline.access.rights import own_user
from sightline.config import load_config
from sightline.errors import ServerError, StoreUnavailable
from sightline.supervisor.audited_commands import audited_commands, audited_reload, audited_switch
from sightline.supervisor.control import Control
from sightline.supervisor.control_socket import ask, taking_commands
from support.people import People


class Done(list[tuple[Any, ...]]):
    """Commands that note what they were asked for; one does not work."""

    def commands(self) -> dict[str, Any]:
        def refuse(route: str) -> None:
            raise LookupError(f"route {route} does not run")

        def note(**values: Any) -> None:
            self.append(tuple(values.values()))

        return {"set_state": note, "mute": note, "set_enabled": note, "test": refuse, "list": lambda: [1]}


def test_commands_are_kept_as_this_users_and_those_that_fail_or_only_tell_are_not(
    people: People, tmp_path: Path
) -> None:
    done, folder = Done(), tmp_path / "control"
    before = len(people.audit())
    with taking_commands(folder, audited_commands(done.commands(), people.store)):
        ask(folder, "set_state", alert="a1", state="acknowledged", who="zoe", comment="")
        ask(folder, "mute", camera="", rule="night", until=4e9, who="zoe")
        ask(folder, "set_enabled", camera="gate", enabled=False, by="zoe")
        assert ask(folder, "list") == [1]
        with pytest.raises(ServerError, match="does not run"):
            ask(folder, "test", route="hook")
    assert len(done) == 3
    entries = people.audit()[before:]
    assert {(entry.who, entry.how, entry.outcome) for entry in entries} == {
        (own_user().name, "command line", "done")
    }
    assert [(entry.action, entry.target, entry.detail) for entry in entries] == [
        ("change_alert", "a1", "acknowledged, zoe"),
        ("mute", "all cameras", "night, 4000000000.0, zoe"),
        ("change_config", "gate", "False, zoe"),
    ]


def test_a_brokers_switch_is_kept_as_the_brokers(people: People) -> None:
    done: list[Any] = []
    audited_switch(lambda *values: done.append(values), people.store, "MQTT")("gate", True, "MQTT")
    assert done == [("gate", True, "MQTT")]
    entry = people.audit()[-1]
    assert (entry.who, entry.how, entry.action, entry.target) == ("MQTT", "broker", "change_config", "gate")


@pytest.mark.parametrize(
    ("text", "outcome", "said"),
    [
        ("open_limit: 3\ncameras: {}\n", "done", "open_limit"),
        ("open_limit: much\ncameras: {}\n", "refused", "open_limit"),
        ("cameras: {}\n", "done", ""),
    ],
)
def test_a_signal_to_read_the_configuration_again_is_kept_with_what_came_of_it(
    people: People, tmp_path: Path, text: str, outcome: str, said: str
) -> None:
    path = tmp_path / "config.yml"
    path.write_text("cameras: {}\n")
    control = Control(path, load_config(path), lambda plan: None)
    path.write_text(text)
    audited_reload(control, people.store)
    entry = people.audit()[-1]
    assert (entry.who, entry.how) == (own_user().name, "command line")
    assert (entry.action, entry.target, entry.outcome) == ("change_config", "SIGHUP", outcome)
    assert said in entry.detail


def test_while_the_database_is_away_it_is_done_and_said(
    people: People, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> Any:
        raise StoreUnavailable("locked")

    monkeypatch.setattr(people.store, "writing", away)
    done = Done()
    with caplog.at_level(logging.WARNING):
        audited_commands(done.commands(), people.store)["set_enabled"](camera="gate", enabled=True)
    assert done == [("gate", True)]
    assert "not in the audit: change_config of gate" in caplog.text
