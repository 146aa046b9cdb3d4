"""``sightline user`` and ``sightline token``: with no program, and beside one that writes."""

from __future__ import annotations

import io
import json
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from sightline.cli import main
from sightline.cli.main import build_parser
from sightline.entities import Checkpoint, CountWindow, Role
from sightline.errors import SignInRefused
from sightline.store.access_store import open_access_store
from sightline.store.writer import Writer
from support.people import HOME, PASSWORD, People, people_of
from support.stored import database_options, read_rows
from support.waiting import until


class Site:
    """A configuration with two cameras, and a keyboard."""

    def __init__(self, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self._monkeypatch = url, monkeypatch
        self.path = folder / "config.yml"
        cameras = {name: {"url": f"rtsp://127.0.0.1/{name}"} for name in ("gate", "yard")}
        database = {"url": url, "spool_path": str(folder / "spool.db")}
        self.path.write_text(yaml.safe_dump({"database": database, "cameras": cameras}))

    def run(self, *words: str, typed: str = f"{PASSWORD}\n") -> int:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return main([*words[:2], "-c", str(self.path), *words[2:]])


@pytest.fixture
def site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    umask = os.umask(0o022)
    yield Site(database_url, tmp_path, monkeypatch)
    os.umask(umask)


@pytest.fixture
def people(site: Site) -> Iterator[Callable[[], People]]:
    """Of the site's database; opened when it is asked for."""
    with people_of(site.url) as made:
        made.now = time.time()
        yield lambda: made


def test_accounts_are_made_and_changed_without_a_program(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.run("user", "add", "Root", "--role", "admin") == 0
    assert (
        site.run("user", "add", "Anna", "--cameras", "gate", "--expires", "2100-01-01", "--must-change") == 0
    )
    assert capsys.readouterr().out == "Root: admin, all cameras\nAnna: viewer, gate\n"
    for words in (("role", "anna", "operator"), ("cameras", "anna", "gate", "yard"), ("disable", "anna")):
        assert site.run("user", *words) == 0
    capsys.readouterr()
    assert site.run("user", "list") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["Anna", "operator", "closed", "2100-01-01", "gate,", "yard"],
        ["Root", "admin", "open", "all", "cameras"],
    ]
    assert site.run("user", "list", "--json") == 0
    [anna, _] = json.loads(capsys.readouterr().out)
    assert (anna["name"], anna["cameras"], anna["enabled"]) == ("Anna", ["gate", "yard"], False)
    assert "argon2" not in str(anna)
    rows = read_rows(site.url, "audit")
    user = pwd.getpwuid(os.getuid()).pw_name
    assert {(row["who"], row["how"], row["address"]) for row in rows} == {(user, "command line", "")}
    assert [row["action"] for row in rows].count("change_account") == 3


def test_what_is_changed_holds_at_once_for_those_who_are_signed_in(
    site: Site, people: Callable[[], People]
) -> None:
    assert site.run("user", "add", "Anna") == 0
    accounts = people().accounts
    for words, typed in (
        (("role", "anna", "operator"), ""),
        (("cameras", "anna", "yard"), ""),
        (("passwd", "anna"), f"{PASSWORD}\n"),
        (("disable", "anna"), ""),
    ):
        session = accounts.sign_in("anna", PASSWORD, HOME).session
        assert accounts.person_of(session)
        assert site.run("user", *words, typed=typed) == 0
        assert accounts.person_of(session) is None
    with pytest.raises(SignInRefused):
        accounts.sign_in("anna", PASSWORD, HOME)
    assert site.run("user", "enable", "anna") == 0
    assert site.run("user", "cameras", "anna", "--all") == 0
    person = accounts.sign_in("anna", PASSWORD, HOME).person
    assert (person.role, person.cameras) == (Role.OPERATOR, None)


def test_a_password_is_never_an_argument_and_is_told_nowhere(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["user", "add", "anna", PASSWORD])
    assert site.run("user", "add", "anna", typed="short\n") == 1
    assert site.run("user", "add", "anna", typed="") == 1
    assert "12 to 256 characters" in capsys.readouterr().err
    assert site.run("user", "add", "anna") == 0
    texts = capsys.readouterr()
    assert PASSWORD not in f"{texts.out} {texts.err} {read_rows(site.url, 'audit')}"


def test_at_a_terminal_a_password_is_asked_for_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers = [PASSWORD, "another password", PASSWORD, PASSWORD]
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    monkeypatch.setattr("sys.stdin", Terminal())
    for status in (1, 0):
        assert main(["user", "add", "-c", str(site.path), "anna"]) == status
    assert "two passwords" in capsys.readouterr().err


def test_mistakes_are_told_with_what_to_do(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("user", "add", "Root", "--role", "admin") == 0
    for words, text in (
        (("user", "add", "root"), "there is an account 'root' already"),
        (("user", "add", "a b"), "a name is 1 to 64"),
        (("user", "add", "anna", "--cameras", "gat"), "do you mean 'gate'?"),
        (("user", "role", "nobody", "viewer"), "no account 'nobody'"),
        (("user", "disable", "root"), "last admin"),
        (("user", "cameras", "root", "gate", "--all"), "not both"),
        (("token", "revoke", "nothing"), "no token 'nothing' that works"),
    ):
        assert site.run(*words) == 1
        assert text in capsys.readouterr().err


def test_a_token_is_shown_once_and_ends_when_it_is_revoked(
    site: Site, people: Callable[[], People], capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.run("token", "create", "prometheus", "--role", "operator", "--cameras") == 0
    shown = capsys.readouterr()
    token = shown.out.strip()
    assert "shown only now" in shown.err
    person = people().tokens.person_of(token)
    assert person is not None
    assert (person.role, person.cameras) == (Role.OPERATOR, frozenset())
    assert site.run("token", "list") == 0
    assert site.run("token", "list", "--json") == 0
    listed = capsys.readouterr().out
    assert "no camera" in listed
    assert token not in listed
    assert "token_hash" not in listed
    assert site.run("token", "revoke", "prometheus") == 0
    assert people().tokens.person_of(token) is None
    assert site.run("token", "create", "brief", "--days", "1e-9") == 0
    capsys.readouterr()
    assert site.run("token", "list") == 0
    [brief] = [line.split() for line in capsys.readouterr().out.splitlines() if "brief" in line]
    assert brief[3] == "expired"
    for days in ("0", "-1", "3651", "nan", "x"):
        with pytest.raises(SystemExit):
            site.run("token", "create", "other", "--days", days)


def test_accounts_are_made_beside_a_program_that_writes(site: Site, tmp_path: Path) -> None:
    writer = Writer(database_options(site.url, tmp_path / "spool.db"))
    try:
        writer.put(Checkpoint("gate", (CountWindow("gate", "person", 3, 60.0, 120.0),), {}))
        until(lambda: writer.health().state == "ok" and read_rows(site.url, "count_windows"))
        assert site.run("user", "add", "Anna") == 0
        writer.put(Checkpoint("gate", (CountWindow("gate", "person", 4, 120.0, 180.0),), {}))
        until(lambda: len(read_rows(site.url, "count_windows")) == 2)
    finally:
        writer.close()


def test_a_new_database_is_its_owners_alone(site: Site, tmp_path: Path) -> None:
    if site.url.startswith("postgres"):
        pytest.skip("its files are the server's")
    assert site.run("user", "add", "Anna") == 0
    [file] = tmp_path.glob("*.sqlite")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_older_schema_is_left_to_the_program_that_owns_it(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_access_store(site.url).close()
    monkeypatch.setattr("sightline.store.migrations.head", lambda: "9999")
    assert site.run("user", "add", "Anna") == 1
    assert "from an older Sightline" in capsys.readouterr().err
