"""A new kind of row: an entity, a table, and one declaration. Nothing else of the store knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import sqlalchemy as sa
from sqlmodel import Field, SQLModel
from test_spool import is_idle, locked, make_writer
from test_store import read

from sightline.entities import (
    CameraState,
    CameraStatus,
    Checkpoint,
    CountWindow,
    Event,
    EventEnd,
    EventKind,
    ResumeState,
    TrackPath,
)
from sightline.store.dialects import parse_url
from sightline.store.kinds import KINDS, RowKind, pending_row
from sightline.store.tables import UtcDateTime, table_of
from support.waiting import until


@dataclass(frozen=True, slots=True)
class Plate:
    source: str
    read_time: float
    text: str
    score: float


class _Tables(SQLModel):
    metadata = sa.MetaData()  # of this test only


class PlateRow(_Tables, table=True):
    __tablename__ = "plates"

    source: str = Field(sa_type=sa.String(255), primary_key=True)
    read_time: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    text: str = Field(sa_type=sa.String(8))
    score: float = Field(sa_type=sa.Float)
    created_at: datetime = Field(sa_type=UtcDateTime)


PLATE = RowKind(
    name="plate", entity=Plate, model=PlateRow, key=("source", "read_time"), time="read_time", urgent=True
)


def add_table(url: str) -> None:
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        table_of(PlateRow).create(connection)


def plates(*texts: str, score: float = 0.5) -> Checkpoint:
    rows = tuple(Plate("gate", 100.0 + number, text, score) for number, text in enumerate(texts))
    return Checkpoint("gate", rows, {"plates": len(texts)})  # type: ignore[arg-type]


def test_a_new_kind_is_written_replaced_spooled_and_handed_on(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, PLATE.name, PLATE)
    writer = make_writer(database_url, tmp_path, sinks={"alerts": lambda row: row.kind is PLATE})
    add_table(database_url)
    writer.put(plates("B-SL 1234", "M-X 1"))
    until(lambda: len(writer.outbox.read("alerts", 10)) == 2)
    first = read(database_url, "plates")
    assert [row["text"] for row in first] == ["B-SL 123", "M-X 1"]  # cut to the column
    if database_url.startswith("sqlite"):
        with locked(database_url):
            writer.put(plates("B-SL 1234", "M-X 7", score=0.9))
            until(lambda: writer.health().spooled_records == 3)  # and the resume state
            assert [message.values["text"] for message in writer.outbox.read("alerts", 10)] == [
                "B-SL 1234",
                "M-X 7",
            ]
    else:
        writer.put(plates("B-SL 1234", "M-X 7", score=0.9))
    until(lambda: [row["text"] for row in read(database_url, "plates")] == ["B-SL 123", "M-X 7"])
    until(lambda: is_idle(writer))
    newest = read(database_url, "plates")
    assert {row["score"] for row in newest} == {0.9}
    assert [row["created_at"] for row in newest] == [row["created_at"] for row in first]
    messages = writer.outbox.read("alerts", 10)
    assert [message.values["score"] for message in messages] == [0.9, 0.9]
    writer.put(plates("B-SL 1234", score=1.0))  # after the sink was given the one before
    until(lambda: writer.outbox.read("alerts", 10)[-1].values["score"] == 1.0)
    writer.outbox.acknowledge("alerts", messages)
    until(lambda: not writer.outbox.delivered())
    assert [message.values["score"] for message in writer.outbox.read("alerts", 10)] == [1.0]
    writer.close()


CROSSED = Event(
    "gate", EventKind.CROSSING, "far", 7, "person", 100.25, 100.75, first_time=99.123456, ordinal=2
)


@pytest.mark.parametrize(
    ("entity", "key"),
    [
        (CountWindow("gate", "person", 3, 60.0, 120.0), "a09ba066-6f4e-5659-9cb2-49c814c24eb0"),
        (CountWindow("g" * 255, "pers", 3, 60, 120), "c6a17deb-a9aa-5063-8ab3-7e1dc31595ef"),
        (CROSSED, "4aa823df-da5a-543c-9bb7-993e5838ece6"),
    ],
)
def test_primary_keys_are_those_of_the_rows_that_earlier_versions_wrote(
    entity: CountWindow | Event, key: str
) -> None:
    row = pending_row(entity, 42)
    assert str(row.kind.columns(row, datetime.now(UTC))["id"]) == key


def dataclasses_in(hint: object) -> Iterator[object]:
    if is_dataclass(hint):
        yield hint
    for part in get_args(hint):
        yield from dataclasses_in(part)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_no_entity_holds_another_but_for_the_end_of_an_event(kind: RowKind) -> None:
    """So that a row's values need not be looked through."""
    nested = {name: [*dataclasses_in(hint)] for name, hint in get_type_hints(kind.entity).items()}
    expected = {"event": [Event]} if kind.entity is EventEnd else {}
    assert {name: found for name, found in nested.items() if found} == expected


EVENT = Event("gate", EventKind.CROSSING, "door", 7, "person", 100.0, 100.5, direction="forward", x=0.5)
STAGES_MS = {"infer": {"mean": 1.0, "p50": 1.0, "p99": 2.0}}


@pytest.mark.parametrize(
    "entity",
    [
        CountWindow("gate", "person", 3, 60.0, 120.0),
        EVENT,
        EventEnd(EVENT, 130.0),
        TrackPath("gate", 7, 1.0, 1.0, 2.0, "person", 0.5, ((0, 1, 2, 3, 4), (9, 1, 2, 3, 4)), ("door",)),
        ResumeState("gate", {"rules": {"tracks": [{"id": 7}]}, "windows": {}}),
        CameraStatus("gate", CameraState.ONLINE, "", 9.0, stages_ms=STAGES_MS, occupancy={"hall": 2}),
    ],
    ids=lambda entity: type(entity).__name__,
)
def test_the_values_of_a_row_are_the_fields_of_its_entity(entity: Any) -> None:
    values = asdict(entity)
    values |= values.pop("event", {})
    row = pending_row(entity, 1)
    assert row.values == values
    assert list(row.values) == list(values)
