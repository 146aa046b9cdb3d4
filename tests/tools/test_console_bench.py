"""The benchmark of the console asks what the console asks, of rows that are the same in every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from bench import console, console_pages, console_rows
from bench.generated_rows import filling, indexes_of, without_indexes
from sightline.access.rights import How, Person, allowed_for_some
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.read.event_search import EventPage
from sightline.store.read.readonly import Database
from sightline.store.rollups import DAY_S, HOUR_S

#: Two days, of which two hours have windows.
FEW = {
    "DAYS": 2,
    "BEGIN": console_rows.HOUR - 2 * DAY_S,
    "FIRST_WINDOW": console_rows.WINDOWS_END - 2 * HOUR_S,
    **{"EVENTS": 2000, "ALERTS": 400, "PATHS": 500, "PATH_DAYS": 1, "AUDIT": 100},
}
#: By table, all columns but those that are drawn anew each time.
FIGURES = {
    "source_windows": "*",
    "count_windows": "source, item_class, count, window_start, arrivals",
    "count_rollups": "*",
    "source_rollups": "*",
    "events": "source, kind, place, item_class, event_time, direction, value, end_time, first_time",
    "event_rollups": "*",
    "alerts": "alert_id, rule, source, state, event_time, events",
    "clips": "source, start_time, events",
    "stale_rollups": "*",
}


@pytest.fixture(scope="module")
def few() -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FEW.items():
            patch.setattr(console_rows, name, value)
        console_rows.traffic.cache_clear()
        yield FEW
    console_rows.traffic.cache_clear()


@pytest.fixture(scope="module")
def generated(few: object, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, int]]:
    """A small one, in SQLite: its URL, and how many rows there are."""
    url = f"sqlite:///{tmp_path_factory.mktemp('console_bench')}/sightline.db"
    return url, console_rows.generate(url)


def rows_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """By table, its figures as texts, in an order of their own."""
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        return {table: sorted(map(str, connection.execute(table_query(table)))) for table in FIGURES}


def table_query(table: str) -> sa.Select[Any]:
    from sqlmodel import SQLModel

    columns = SQLModel.metadata.tables[table].c
    names = columns.keys() if FIGURES[table] == "*" else FIGURES[table].split(", ")
    return sa.select(*(columns[name] for name in names))


@pytest.mark.parametrize("name", console.QUERIES)
def test_every_query_can_be_asked(generated: tuple[str, dict[str, int]], name: str) -> None:
    with closing(Database(generated[0], timeout_s=60.0)) as database:
        assert console.timed_ms(database, name) > 0


@pytest.mark.parametrize("name", console.MAIN)
def test_main_queries_have_something_to_read(generated: tuple[str, dict[str, int]], name: str) -> None:
    with closing(Database(generated[0])) as database, database.reading() as connection:
        answer = console.MAIN[name](connection, console.ADMIN)
    if isinstance(answer, EventPage):
        assert answer.rows
    else:
        assert all(answer) if isinstance(answer, tuple) else answer


def test_both_databases_get_the_same_rows(generated: tuple[str, dict[str, int]], postgres: Any) -> None:
    url, counted = generated
    other = postgres.new_database()
    assert console_rows.generate(other) == counted
    ours, theirs = rows_of(url), rows_of(other)
    for table, rows in ours.items():
        assert rows, table
        assert rows == theirs[table], table


def test_indexes_come_back_as_they_were(new_database: Callable[[], str]) -> None:
    tables, url = ("events", "count_windows"), new_database()
    with closing(Store(url)) as store:
        store.open()

    def indexes(connection: sa.Connection) -> list[tuple[str, str]]:
        return sorted(index for table in tables for index in indexes_of(connection, table))

    with filling(url) as connection:
        before = indexes(connection)
        with without_indexes(connection, tables):
            assert not indexes(connection)
        assert indexes(connection) == before
    assert any("ix_events_open" in make for _, make in before)


def test_its_pages_are_the_consoles() -> None:
    pytest.importorskip("streamlit", reason="the console's packages are not installed")
    from console.pages import PAGES

    assert {(page.title, page.path) for page in PAGES} == {
        (title, page.path) for title, page in console_pages.PAGES.items()
    }
    role, cameras = console_rows.PEOPLE["guest"]
    guest = Person("guest", role, cameras, How.PASSWORD)
    seen = {page.title for page in PAGES if allowed_for_some(guest, page.right) and not page.engineers}
    assert seen == {title for title, page in console_pages.PAGES.items() if not page.admins}


@pytest.mark.browser
def test_every_page_is_drawn(generated: tuple[str, dict[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_pages, "VISITS", 1)
    shown = console_pages.show_pages(generated[0])
    names = {title.lower() for title in console_pages.PAGES}
    assert {name for name in shown["useful_s"] if "," not in name} == names
    assert "counts, of three cameras" in shown["useful_s"]
    assert not [name for name, seconds in shown["useful_s"].items() if seconds is None]
    assert shown["memory_mb"] > 50
