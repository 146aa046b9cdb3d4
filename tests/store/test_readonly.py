"""What a reader tells of a database: who owns it, and whether a program may write there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from test_lease import ELSEWHERE, Owner, alive, ended  # noqa: F401  a fixture

from sightline.store.dialects import parse_url
from sightline.store.lease import Program
from sightline.store.read.readonly import Database, DatabaseState


def test_the_owner_is_named_while_it_may_live(database_url: str, tmp_path: Path, alive: Program) -> None:  # noqa: F811
    database = Database(database_url)
    first = Owner(database_url, tmp_path, alive)
    first.store.open()
    assert database.owner().startswith(f"owned by sightline on {alive.host} (process {alive.pid}, since ")
    assert database.owner().endswith(", http://127.0.0.1:8080)")
    first.store.release()
    assert database.owner() == "owned by no program"
    second = Owner(database_url, tmp_path, ended())
    second.store.open()
    assert database.owner().startswith("last owned by sightline on ")
    second.store.release()
    Owner(database_url, tmp_path, ELSEWHERE).store.open()
    assert database.owner().startswith("owned by sightline on other ")
    database.close()


def test_an_owner_elsewhere_that_no_longer_renews_is_told_so(database_url: str, tmp_path: Path) -> None:
    Owner(database_url, tmp_path, ELSEWHERE).store.open()
    engine = sa.create_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE leases SET expires_at = '2026-01-01 00:00:00.000000'"))
    engine.dispose()
    database = Database(database_url)
    assert database.owner().startswith("last owned by sightline on other ")
    database.close()


def test_a_role_that_may_not_write_is_told_what_to_grant(postgres: Any, tmp_path: Path) -> None:
    url = parse_url(postgres.new_database())
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        connection.execute(sa.text("DROP ROLE IF EXISTS looker"))
        connection.execute(sa.text("CREATE ROLE looker LOGIN"))
        database = Database(url.set(username="looker").render_as_string(hide_password=False))
        assert database.condition().state is DatabaseState.EMPTY
        assert database.write_problem() == (
            "the role looker may not write there; GRANT CREATE ON SCHEMA public TO looker"
        )
        Owner(url.render_as_string(hide_password=False), tmp_path).store.open()
        assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES" in database.write_problem()
        connection.execute(sa.text("GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO looker"))
        assert database.write_problem() == ""
    database.close()
    engine.dispose()


@pytest.mark.parametrize("name", ["counts.db", "later/counts.db"])
def test_a_file_of_a_folder_that_may_be_written_has_no_problem(tmp_path: Path, name: str) -> None:
    assert Database(f"sqlite:///{tmp_path}/{name}").write_problem() == ""
