"""The same store tests on SQLite and on a real Postgres."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import Postgres
from sightline.entities import (
    CameraState,
    CameraStatus,
    Checkpoint,
    CountWindow,
    Event,
    EventEnd,
    EventKind,
    SourceWindow,
)
from sightline.errors import StoreError, StoreUnavailable
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.kinds import UNWATCHED
from sightline.store.read.readonly import Database, DatabaseState
from sightline.store.tables import EventRow, SourceWindowRow, table_of
from support.stored import write

TABLES = ("count_windows", "source_windows", "cameras")


def counted(count: int, *, source: str = "gate", name: str = "person", start: float = 60.0) -> CountWindow:
    return CountWindow(source, name, count, start, start + 60.0)


def watched(coverage: float, *, source: str = "gate", start: float = 60.0, fps: float = 10.0) -> SourceWindow:
    return SourceWindow(source, start, start + 60.0, coverage, fps, 0, "pts", "1", "abc")


def checkpoint(*rows: CountWindow | SourceWindow, source: str = "gate", **resume: Any) -> Checkpoint:
    return Checkpoint(source, rows, resume)


def read(url: str, table: str) -> list[dict[str, Any]]:
    """All rows of a table, read by another connection."""
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.execute(sa.text(f"SELECT * FROM {table}")).mappings().all()
    return sorted((dict(row) for row in rows), key=lambda row: str(list(row.values())[1:]))


def counts_in(url: str) -> dict[tuple[str, str, str], int]:
    return {
        (row["source"], row["item_class"], str(row["window_start"])[:16]): row["count"]
        for row in read(url, "count_windows")
    }


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    made = Store(database_url)
    yield made
    made.close()


def test_rows_are_written_and_replaced(store: Store, database_url: str) -> None:
    write(store, [checkpoint(counted(1), watched(0.25), step=1)])
    [first] = read(database_url, "count_windows")
    write(store, [checkpoint(counted(2), watched(0.5), step=2)])
    [second] = read(database_url, "count_windows")
    assert (first["count"], second["count"]) == (1, 2)
    assert first["id"] == second["id"]
    assert first["created_at"] == second["created_at"]
    [window] = read(database_url, "source_windows")
    assert window["coverage"] == 0.5
    assert {source: state for source, (_, state) in store.resume_states().items()} == {"gate": {"step": 2}}


def test_a_retry_changes_nothing(store: Store, database_url: str) -> None:
    batch = [checkpoint(counted(3), counted(1, name="dog"), watched(1.0), a=[1, 2])]
    write(store, batch)
    before = [read(database_url, table) for table in TABLES[:2]]
    write(store, batch)
    assert [read(database_url, table) for table in TABLES[:2]] == before


def test_the_last_of_one_batch_wins(store: Store, database_url: str) -> None:
    write(store, [checkpoint(counted(1), step=1), checkpoint(counted(5), step=2)])
    assert list(counts_in(database_url).values()) == [5]
    assert store.resume_states()["gate"][1] == {"step": 2}


def test_status_and_resume_state_do_not_touch_each_other(store: Store, database_url: str) -> None:
    status = CameraStatus("gate", CameraState.ONLINE, "", 1000.5, last_frame_time=1000.25, fps=9.5)
    write(store, [], [status])
    write(store, [checkpoint(counted(1), step=1)])
    write(store, [], [CameraStatus("gate", CameraState.OFFLINE, "refused", 1001.5)])
    [row] = read(database_url, "cameras")
    assert (row["state"], row["message"], row["last_frame_time"]) == ("offline", "refused", None)
    assert store.resume_states()["gate"][1] == {"step": 1}
    assert str(row["heartbeat"]).startswith("1970-01-01 00:16:41.5")


def test_unwatched_windows_fill_holes_only(store: Store, database_url: str) -> None:
    write(store, [checkpoint(watched(0.7))])
    unwatched = [watched(0.0, fps=0.0), watched(0.0, start=120.0, fps=0.0)]
    store.write_rows(UNWATCHED.pending(window, 0) for window in unwatched)
    assert [row["coverage"] for row in read(database_url, "source_windows")] == [0.7, 0.0]
    write(store, [checkpoint(watched(0.4, start=120.0))])
    assert [row["coverage"] for row in read(database_url, "source_windows")] == [0.7, 0.4]


def test_a_program_that_began_without_the_database_lowers_nothing(store: Store, database_url: str) -> None:
    write(store, [checkpoint(counted(13), watched(0.75))])
    store.close()
    later = time.time() // 60 * 60 + 120
    store.was_away = True
    write(store, [checkpoint(counted(2), counted(1, name="car"), watched(0.1), counted(5, start=later))])
    assert sorted(counts_in(database_url).values()) == [1, 5, 13]
    assert [row["coverage"] for row in read(database_url, "source_windows")] == [0.75]
    write(store, [checkpoint(counted(14), watched(0.8), counted(4, start=later))])
    assert sorted(counts_in(database_url).values()) == [1, 4, 14], "what it began itself it may correct"
    assert [row["coverage"] for row in read(database_url, "source_windows")] == [0.8]


def test_times_are_utc_and_exact(store: Store, database_url: str) -> None:
    start = 1_767_225_600.0  # 2026-01-01T00:00:00Z
    write(store, [checkpoint(counted(1, start=start))])
    [row] = read(database_url, "count_windows")
    found = row["window_start"]
    text = found if isinstance(found, str) else found.astimezone(tz=None).timestamp()
    assert text in {"2026-01-01 00:00:00.000000", start}


def test_one_bad_row_does_not_hold_up_the_others(store: Store, database_url: str) -> None:
    bad = counted(2**70, source="bad")
    write(store, [checkpoint(counted(1)), checkpoint(bad, source="bad"), checkpoint(counted(2, start=120.0))])
    assert sorted(counts_in(database_url).values()) == [1, 2]
    assert store.rejected_rows == 1


def test_a_long_class_name_is_cut_to_the_column(store: Store, database_url: str) -> None:
    write(store, [checkpoint(counted(1, name="x" * 300))])
    [row] = read(database_url, "count_windows")
    assert len(row["item_class"]) == 100


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret@h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "nonsense secret",
        "postgresql://u:secret@h:x/d",
    ],
)
def test_other_urls_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(StoreError, match="sqlite:///FILE") as caught:
        Store(url)
    assert "secret" not in str(caught.value)


def test_an_unreachable_server_is_named_without_the_password() -> None:
    store = Store("postgresql://user:hunter2@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable) as caught:
        store.open()
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(store.__dict__)


def crossing(ordinal: int = 0, *, time: float = 100.25, track_id: int = 7, first_time: float = 99.0) -> Event:
    return Event(
        source="gate",
        kind=EventKind.CROSSING,
        place="far pavement",
        track_id=track_id,
        item_class="person",
        event_time=time,
        confirmed_time=time + 0.5,
        direction="forward",
        x=0.5,
        y=0.75,
        first_time=first_time,
        ordinal=ordinal,
    )


def with_events(*events: Event) -> Checkpoint:
    return Checkpoint("gate", events, {})


def test_an_event_is_written_once_and_never_changed(store: Store, database_url: str) -> None:
    write(store, [with_events(crossing(), crossing(1, time=200.0))])
    before = read(database_url, "events")
    write(store, [with_events(replace(crossing(), item_class="car"), crossing(1, time=300.0))])
    assert read(database_url, "events") == before
    first = min(before, key=lambda row: str(row["event_time"]))
    assert (first["source"], first["kind"], first["place"]) == ("gate", "crossing", "far pavement")
    assert (first["track_id"], first["item_class"], first["direction"]) == (7, "person", "forward")
    assert (first["value"], first["x"], first["y"], bool(first["unseen"])) == (None, 0.5, 0.75, False)
    assert "00:01:40.25" in str(first["event_time"])
    assert "00:01:40.75" in str(first["confirmed_time"])


def test_events_of_different_tracks_places_and_lives_are_different_rows(
    store: Store, database_url: str
) -> None:
    again = crossing(first_time=5000.0, time=5001.0)  # ids began again: the camera's state was lost
    other = replace(crossing(), kind=EventKind.ENTER)
    write(store, [with_events(crossing(), crossing(track_id=8), again, other)])
    assert len(read(database_url, "events")) == 4


def test_an_event_that_lasts_is_open_until_its_end_and_nothing_else_of_it_changes(
    store: Store, database_url: str
) -> None:
    begun, moment = replace(crossing(), kind=EventKind.ENTER, direction=None), crossing()
    write(store, [with_events(begun, moment)])
    before = {row["kind"]: row for row in read(database_url, "events")}
    assert before["enter"]["end_time"] is None
    assert before["crossing"]["end_time"] == before["crossing"]["event_time"]
    end = EventEnd(replace(begun, item_class="car"), 130.5)
    for results in ([end], [end], [begun]):  # retries, and a replay of the beginning
        write(store, [Checkpoint("gate", tuple(results), {})])
        [entered] = [row for row in read(database_url, "events") if row["kind"] == "enter"]
        assert "00:02:10.5" in str(entered["end_time"])
        same = {"end_time": None, "change_number": before["enter"]["change_number"]}
        assert {**entered, **same} == before["enter"]


def test_an_end_whose_beginning_was_never_written_is_the_whole_event(store: Store, database_url: str) -> None:
    begun = replace(crossing(), kind=EventKind.LOITER, direction=None, media_s=12.5)
    write(store, [with_events(begun), Checkpoint("gate", (EventEnd(begun, 130.5),), {})])  # in one batch
    [row] = read(database_url, "events")
    assert (row["kind"], row["item_class"], row["media_s"]) == ("loiter", "person", 12.5)
    assert "00:02:10.5" in str(row["end_time"])


#: Each of them alone once broke something, or may.
SETTINGS = {
    "datestyle": "'German, DMY'",
    "timezone": "'Asia/Kathmandu'",
    "intervalstyle": "'sql_standard'",
    "bytea_output": "'escape'",
    "extra_float_digits": "-15",
    "client_encoding": "'SQL_ASCII'",
    "standard_conforming_strings": "off",
    "search_path": "nowhere",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_read_only": "on",
    "statement_timeout": "'1ms'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'1ms'",
    "idle_session_timeout": "'300ms'",  # these two hold until the connection is made
    "transaction_timeout": "'300ms'",
}


@pytest.mark.parametrize("of", ["DATABASE {name}", "ROLE {role} IN DATABASE {name}"])
def test_settings_of_role_and_database_do_not_change_what_is_read(postgres: Postgres, of: str) -> None:
    """Also by the short form of the URL, which program and console take alike."""
    url = postgres.new_database()
    names = {"name": parse_url(url).database, "role": parse_url(url).username}
    for setting, value in SETTINGS.items():
        if setting != "transaction_timeout" or postgres.version >= 17:
            postgres._execute(f"ALTER {of.format(**names)} SET {setting} = {value}")
    short = url.replace("postgresql://", "postgres://")
    place = "far \\ 'pavement' €"
    store = Store(short)
    write(store, [checkpoint(counted(3), watched(0.123456)), with_events(replace(crossing(), place=place))])
    time.sleep(0.4)
    with store._transaction() as connection:
        connection.execute(sa.text("SELECT pg_sleep(0.4)"))
    write(store, [checkpoint(counted(4))])
    store.close()
    database = Database(short)
    assert database.condition().state is DatabaseState.READY
    with database.reading() as connection:
        connection.execute(sa.text("SELECT pg_sleep(0.4)"))
        event = connection.execute(sa.select(table_of(EventRow))).one()
        coverage = connection.execute(sa.select(table_of(SourceWindowRow).c.coverage)).scalar()
    time.sleep(0.4)
    assert database.condition().state is DatabaseState.READY
    database.close()
    assert event.event_time.timestamp() == 100.25
    assert (event.place, coverage) == (place, 0.123456)


def test_the_operators_choice_of_a_schema_holds(postgres: Postgres) -> None:
    url = postgres.new_database()
    name = parse_url(url).database
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA counting"))
    postgres._execute(f"ALTER DATABASE {name} SET search_path = counting")
    store = Store(url)
    write(store, [checkpoint(counted(3))])
    store.close()
    assert read(url, "counting.count_windows")[0]["count"] == 3
