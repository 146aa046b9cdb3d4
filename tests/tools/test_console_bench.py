"""The benchmark of the console asks what the console asks, in names that its report has."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from bench import console
from bench.generated_rows import filling, insert_numbered
from sightline.store.database import Store
from sightline.store.read.readonly import Database


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("console_bench")
    url = f"sqlite:///{folder}/empty.db"
    with closing(Store(url)) as store:
        store.open()
    return url


@pytest.mark.parametrize("name", console.QUERIES)
def test_every_query_can_be_asked_of_a_database_in_which_nothing_is(empty: str, name: str) -> None:
    with closing(Database(empty)) as database:
        assert console.timed_ms(database, console.QUERIES[name]) < 5000


def test_rows_are_generated_of_the_cameras_that_are_asked_for(database_url: str) -> None:
    with filling(database_url) as connection:
        connection.exec_driver_sql("CREATE TABLE named (n BIGINT, source TEXT)")
        columns = {"n": "n", "source": console._CAMERA.format("n * 7919 / 11")}
        insert_numbered(connection, "named", 500, columns)
        rows = connection.execute(sa.text("SELECT n, source FROM named ORDER BY n")).all()
    assert [name for _, name in rows] == [console.NAMES[n * 7919 // 11 % 50] for n in range(500)]
