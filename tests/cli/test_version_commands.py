"""What `sightline model` changes stands in the audit, and the database is no condition for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.access.rights import own_user
from sightline.cli import main
from support.model_shelf import put_version, serve_version
from support.people import People


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    for version in (1, 2):
        put_version(made, version)
    serve_version(made, 2)
    return made


def run(folder: Path, *words: str, database: str) -> int:
    config = folder.parent / "config.yml"
    config.write_text(f"database: {{url: '{database}'}}\n")
    return main(["model", *words, "--offline", "--repository", str(folder), "-c", str(config)])


def test_a_change_of_versions_is_kept_as_this_users(people: People, folder: Path) -> None:
    before = len(people.audit())
    assert run(folder, "retire", "1", "--why", "too old", database=people.url) == 0
    assert run(folder, "restore", "1", database=people.url) == 0
    assert main(["model", "list", "--offline", "--repository", str(folder)]) == 0
    entries = people.audit()[before:]
    assert {(entry.who, entry.how) for entry in entries} == {(own_user().name, "command line")}
    assert [(entry.action, entry.target, entry.detail) for entry in entries] == [
        ("change_model", "version 1", "version 1 is retired"),
        ("change_model", "version 1", "version 1 is back; it does not serve yet"),
    ]


def test_without_a_database_it_is_done_all_the_same_and_none_is_made(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.db"
    assert run(folder, "retire", "1", database=f"sqlite:///{missing}") == 0
    assert not missing.exists()
    missing.write_text("no database")
    assert run(folder, "restore", "1", database=f"sqlite:///{missing}") == 0
    assert "done, but not kept in the audit" in capsys.readouterr().err
