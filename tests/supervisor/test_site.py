"""What the HTTP port of a program offers as it is configured, and what a first start says."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.access.accounts import Accounts
from sightline.access.passwords import Passwords
from sightline.access.rights import Right
from sightline.config import Config
from sightline.config.loader import parse_config
from sightline.entities import Role
from sightline.store.access_store import AccessStore, ConfigChange, open_access_store
from sightline.store.read.readonly import Database
from sightline.supervisor.config_history import UNSEEN
from sightline.supervisor.http.endpoint import Call, Endpoint
from sightline.supervisor.http.own_programs import KEY_FILE
from sightline.supervisor.http.site import Site
from support.front import served_door
from support.people import CHEAP, HOME, PASSWORD
from support.waiting import until


def name_of(call: Call) -> dict[str, str]:
    """Who asks."""
    return {"name": call.caller.person.name if call.caller.person else ""}


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Any]:
    """Makes them, of one database."""
    url, made = f"sqlite:///{tmp_path}/people.db", []

    def make(**options: Any) -> Site:
        config: Config = parse_config({"database": {"url": url}, **options}).options
        endpoints = [Endpoint("GET", "/engine", Right.WRITE_CONFIG, name_of, gives=dict[str, str])]
        made.append(Site(config, AccessStore(url), Database(url), endpoints, tmp_path / "control"))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    store = open_access_store(f"sqlite:///{tmp_path}/people.db")
    yield Accounts(store, parse_config({}).options.access, Passwords(CHEAP))
    store.close()


def greeted(site: Site) -> None:
    site.start("http://127.0.0.1:8080", "cameras: {}\n")
    until(lambda: site._greeting is not None and not site._greeting.is_alive(), 10)


def test_the_first_start_in_a_terminal_shows_the_link_that_makes_an_admin(
    sites: Any, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    greeted(sites())
    told = re.search(r"http://127\.0\.0\.1:8080/auth/set-up#(\S+)", capsys.readouterr().err)
    assert told is not None
    assert accounts.set_up(told[1], "Anna", PASSWORD, HOME).person.role is Role.ADMIN
    greeted(sites())
    assert "set-up" not in capsys.readouterr().err


def test_without_a_terminal_no_link_is_written_anywhere(
    sites: Any, accounts: Accounts, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        greeted(sites())
    assert "sightline user add NAME --role admin" in caplog.text
    assert "#" not in caplog.text + "".join(capsys.readouterr())


def test_where_accounts_are_off_this_machine_may_everything_and_no_other(
    sites: Any, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    site = sites(access={"enabled": False})
    assert "whoever asks from this machine may see and do everything" in caplog.text
    with served_door(site.door, trusted_proxies=["127.0.0.0/8"]) as front:
        assert front.ask("/engine").json == {"name": "anybody"}
        assert front.ask("/engine", headers={"X-Forwarded-For": "192.0.2.7"}).status == 401
        assert front.ask("/auth/sign-in").status == 404


def test_this_users_programs_are_let_in_by_the_key_in_the_folder_of_commands(
    sites: Any, accounts: Accounts, tmp_path: Path
) -> None:
    with served_door(sites().door) as front:
        assert front.ask("/engine").status == 401
        assert front.ask("/engine", token=(tmp_path / "control" / KEY_FILE).read_text()).status == 200


def test_a_key_that_cannot_be_kept_stops_nothing(
    sites: Any, accounts: Accounts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "control").write_text("a file is in the way")
    with served_door(sites().door) as front:
        assert front.ask("/engine").status == 401
    assert "`sightline status` and the console are not let in" in caplog.text


def test_what_was_done_to_the_file_while_nothing_ran_is_in_its_history(
    sites: Any, accounts: Accounts
) -> None:
    site = sites()
    first, second = "cameras: {}\n", "cameras: {}\nlog_level: debug\n"

    def changes() -> list[tuple[str, str, str]]:
        with site._store.reading() as rows:
            return [(change.who, change.before, change.after) for change in rows.changes(10)]

    site.start("http://127.0.0.1:8080", first)
    assert changes() == [], "there is nothing to go on from"
    site.history.keep(ConfigChange(time=1.0, who="anna", changes="", before="", after=first))
    site.start("http://127.0.0.1:8080", first)
    assert len(changes()) == 1
    site.start("http://127.0.0.1:8080", second)
    assert changes()[0] == (UNSEEN, first, second)
    site.history.keep(ConfigChange(time=3.0, who="zoe", changes="", before="other", after=first))
    assert changes()[:2] == [("zoe", "other", first), (UNSEEN, second, "other")]
