"""Databases of an older or newer schema, on SQLite and on a real Postgres."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlmodel import SQLModel

from conftest import Postgres
from sightline.entities import Checkpoint, CountWindow, Event, EventKind
from sightline.errors import SchemaError, StoreUnavailable
from sightline.store.database import Store, migrations
from sightline.store.dialects import parse_url
from sightline.store.tables import EventRow, table_of
from support.stored import write
from support.waiting import until

COUNTED = Checkpoint("gate", (CountWindow("gate", "person", 3, 60.0, 120.0),), {"step": 1})


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def make_schema(url: str, revision: str) -> None:
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        command.upgrade(migrations._config(connection), revision)


def make_first_schema(url: str) -> None:
    make_schema(url, "0001")


def metadata_of(dialect: str) -> sa.MetaData:
    """The models' tables, with the indices that this database has: Alembic takes all of them."""
    made = sa.MetaData()
    for table in SQLModel.metadata.tables.values():
        copied = table.to_metadata(made)
        of_others = {
            tuple(index.columns.keys())
            for index in table.indexes
            if (only := index._ddl_if) is not None and only.dialect != dialect
        }
        copied.indexes -= {index for index in copied.indexes if tuple(index.columns.keys()) in of_others}
    return made


def test_the_migrations_make_the_tables_of_the_models(database_url: str) -> None:
    Store(database_url).open()
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        options = {"version_table": migrations.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata_of(connection.dialect.name)) == []


def test_the_counts_table_is_the_one_of_the_design(database_url: str) -> None:
    Store(database_url).open()
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    table = sa.inspect(engine)
    columns = {column["name"]: column for column in table.get_columns("count_windows")}
    wanted = ["id", "source", "item_class", "count", "window_start", "window_end", "created_at"]
    may_be_unknown = ["arrivals", "coverage"]
    assert list(columns) == [*wanted, *may_be_unknown]
    assert [name for name, column in columns.items() if column["nullable"]] == may_be_unknown
    [unique] = table.get_unique_constraints("count_windows")
    assert unique["name"] == "uq_count_windows_source_item_class_window"
    assert unique["column_names"] == ["source", "window_start", "item_class", "window_end"]
    if engine.dialect.name == "postgresql":
        kinds = {name: column["type"].compile(engine.dialect) for name, column in columns.items()}
        assert kinds["window_start"] == "TIMESTAMP WITH TIME ZONE"
        assert (kinds["id"], kinds["source"]) == ("UUID", "VARCHAR(255)")
    engine.dispose()


def test_events_of_before_get_the_ends_that_rows_tell(database_url: str) -> None:
    make_schema(database_url, "0009")
    story = [
        ("enter", None, 5, 10), ("loiter", None, 5, 20), ("crossing", "forward", 5, 25),
        ("leave", None, 5, 30), ("enter", None, 5, 40), ("enter", None, 6, 12), ("occupancy", "above", 0, 13),
        ("occupancy", "below", 0, 33),
    ]  # fmt: skip
    ends, later = {}, {"end_time", "media_s", "first_time", "ordinal", "change_number"}
    events = table_of(EventRow)
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    names = [name for name in events.c.keys() if name not in later]  # noqa: SIM118
    old = sa.table("events", *(sa.column(name, events.c[name].type) for name in names))
    with engine.begin() as connection:
        for kind, direction, track, second in story:
            time = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
            values = (uuid.uuid4(), "gate", kind, "yard", "", track, time, direction, None, None, None, False)
            connection.execute(sa.insert(old).values(dict(zip(names, (*values, time, time), strict=True))))
    execute(
        database_url,
        "INSERT INTO cameras (source, state, message, heartbeat, status, resume) "
        "VALUES ('gate', 'online', '', '2026-01-01 00:00:35', '{}', '{}')",
    )
    Store(database_url).open()
    with engine.connect() as connection:
        for kind, track, begun, ended in connection.execute(
            sa.select(events.c.kind, events.c.track_id, events.c.event_time, events.c.end_time)
        ):
            ends[kind, track, begun.second] = ended and ended.second
    assert ends == {
        ("enter", 5, 10): 30, ("loiter", 5, 20): 30, ("crossing", 5, 25): 25, ("leave", 5, 30): 30,
        ("enter", 5, 40): 40, ("enter", 6, 12): 35, ("occupancy", 0, 13): 33, ("occupancy", 0, 33): 33,
    }  # fmt: skip


@pytest.mark.fault(22)
def test_an_older_schema_is_migrated_with_its_rows(database_url: str, tmp_path: Path) -> None:
    make_first_schema(database_url)
    execute(
        database_url,
        "INSERT INTO cameras (source, state, message, heartbeat, status, resume) "
        "VALUES ('gate', 'online', '', '2026-01-01 00:00:00', '{}', '{\"step\": 7}')",
    )
    store = Store(database_url)
    assert store.resume_states() == {"gate": (0, {"step": 7})}
    write(store, [COUNTED])
    store.close()
    copies = list(tmp_path.glob("*.backup-0001-*"))
    if database_url.startswith("sqlite"):
        [copy] = copies
        with sqlite3.connect(copy) as old:
            assert old.execute("SELECT source FROM cameras").fetchall() == [("gate",)]
            assert "sequence" not in str(old.execute("SELECT sql FROM sqlite_master").fetchall())
    else:
        assert copies == []


def test_the_schema_before_events_is_migrated_with_its_counts(database_url: str) -> None:
    make_schema(database_url, "0002")
    execute(
        database_url,
        "INSERT INTO cameras (source, state, message, heartbeat, status, resume, sequence) "
        "VALUES ('gate', 'online', '', '2026-01-01 00:00:00', '{}', '{\"step\": 7}', 12)",
        "INSERT INTO source_windows VALUES "
        "('gate', '2026-01-01 00:00:00', '2026-01-01 00:01:00', 1.0, 10.0, 0, 'pts', 'm', 'h')",
    )
    store = Store(database_url)
    assert store.resume_states() == {"gate": (12, {"step": 7})}
    event = Event("gate", EventKind.CROSSING, "line", 5, "person", 100.5, 100.7, "forward")
    write(store, [replace(COUNTED, rows=(*COUNTED.rows, event))])
    store.close()
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT kind, track_id FROM events")).all() == [("crossing", 5)]
        assert connection.execute(sa.text("SELECT count(*) FROM source_windows")).scalar() == 1
    engine.dispose()


def test_opening_again_changes_nothing_and_makes_no_copy(database_url: str, tmp_path: Path) -> None:
    for _ in range(2):
        store = Store(database_url)
        write(store, [COUNTED])
        store.close()
    assert list(tmp_path.glob("*.backup-*")) == []


@pytest.mark.fault(22)
def test_a_newer_schema_is_refused_by_both_revisions(database_url: str) -> None:
    Store(database_url).open()
    execute(database_url, f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(SchemaError, match=rf"9999.*{migrations.head()}.*newer Sightline"):
        Store(database_url).open()


def test_somebody_elses_tables_are_refused_and_left_alone(database_url: str) -> None:
    execute(database_url, "CREATE TABLE invoices (id INTEGER)")
    with pytest.raises(SchemaError, match="invoices"):
        Store(database_url).open()
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    assert sa.inspect(engine).get_table_names() == ["invoices"]


@pytest.mark.fault(22)
def test_a_migration_that_fails_changes_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_first_schema(database_url)
    execute(database_url, "ALTER TABLE cameras ADD COLUMN sequence INTEGER")  # in the migration's way
    with pytest.raises(SchemaError, match=rf"from 0001 to {migrations.head()}: .*(duplicate|exists)"):
        Store(database_url).open()
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert migrations.revision(connection) == "0001"


def test_a_migration_of_postgres_may_take_longer_than_a_write(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_database()
    make_schema(url, "0005")
    upgrade = command.upgrade

    def slowly(config: Any, revision: str) -> None:
        config.attributes["connection"].execute(sa.text("SELECT pg_sleep(2.5)"))
        upgrade(config, revision)

    monkeypatch.setattr(command, "upgrade", slowly)
    store = Store(url, write_timeout_s=1.5)
    store.open()
    store.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("shopping list\n" * 200)
    with pytest.raises(SchemaError, match="not a SQLite database"):
        Store(f"sqlite:///{tmp_path}/notes.txt").open()


def test_two_programs_that_open_an_empty_database_together_both_succeed(
    new_database: Callable[[], str],
) -> None:
    import threading

    url = new_database()
    problems: list[BaseException] = []

    def use() -> None:
        store = Store(url)
        try:
            until(lambda: written(store))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            problems.append(error)
        finally:
            store.close()

    def written(store: Store) -> bool:
        try:
            write(store, [COUNTED])
        except StoreUnavailable:
            return False  # whoever migrates holds the lock: the writer tries again, too
        return True

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_roles_that_read_the_database_do_not_read_its_accounts(postgres: Postgres) -> None:
    url = postgres.new_database()
    make_schema(url, "0015")
    execute(
        url,
        'DROP ROLE IF EXISTS "a-reader"',
        'CREATE ROLE "a-reader"',
        'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "a-reader", PUBLIC',
        'ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "a-reader", PUBLIC',
    )
    Store(url).open()
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        may = {
            name: connection.execute(
                sa.text("SELECT has_table_privilege('a-reader', :name, 'SELECT')"), {"name": name}
            ).scalar()
            for name in sa.inspect(connection).get_table_names()
        }
    secret = {"accounts", "sign_ins", "tokens", "one_time_links", "audit", "config_changes"}
    assert {name for name, it in may.items() if not it} == secret
    execute(url, 'DROP OWNED BY "a-reader"', 'DROP ROLE "a-reader"')
