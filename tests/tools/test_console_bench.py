"""The benchmark of the console asks what the console asks, in names that its report has."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from bench import console
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
