"""The examples of docs/design.md run as they stand there; and no word of the code means two things."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import AnalysisOptions
from sightline.entities import Checkpoint, Detections, Event, EventKind, ModelInfo
from sightline.store.dialects import parse_url
from sightline.store.kinds import KINDS, RowKind
from sightline.store.tables import UtcDateTime, table_of
from sightline.store.writer import Writer
from sightline.supervisor.sinks import wanted_by
from sightline.supervisor.sinks.sink import make_runner
from support.stored import database_options
from support.waiting import until

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("client", "tools", "streamlit_app")


def example(name: str, **known: Any) -> dict[str, Any]:
    """What the code of an example defines."""
    text = (ROOT / "docs" / "design.md").read_text()
    match = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert match is not None
    known["__name__"] = name
    exec(match[1], known)
    return known


def test_the_observer_sees_frames_and_gives_figures() -> None:
    observer = example("observer")["Brightest"]()
    analysis = CameraAnalysis(AnalysisOptions("door"))
    analysis.use_model(ModelInfo("detector", "1", ("person",), 384, 640, "fp32", 0.1))
    boxes = Detections(
        np.array([[0.1, 0.1, 0.2, 0.2]], np.float32), np.array([0.75], np.float32), np.zeros(1, np.int32)
    )
    assert list(observer.observe(analysis.observe(frame_at(100.0), boxes))) == []
    [figure] = observer.figures()
    assert (figure.name, figure.value) == ("brightest_score", 0.75)


def test_the_sink_gets_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink = example("sink")["PrintEvents"]()
    options = database_options(f"sqlite:///{tmp_path}/db.sqlite", tmp_path / "spool")
    writer = Writer(options, sinks=wanted_by([sink]))
    runner = make_runner(sink, writer.outbox)
    try:
        event = Event("door", EventKind.CROSSING, "gate", 7, "person", 100.0, 100.5, first_time=99.0)
        writer.put(Checkpoint("door", (event,), {}))
        until(lambda: len(writer.outbox.read(sink.name, 10)) == 1)
        runner.start()
        until(lambda: runner.health().delivered == 1)
    finally:
        runner.stop(5.0)
        writer.close()
    assert capsys.readouterr().out.endswith("crossing gate\n")


def test_the_kind_of_row_is_stored(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tables(SQLModel, registry=sa.orm.registry()):  # of this test only
        metadata = sa.MetaData()

    defined = example(
        "kind", dataclass=dataclass, datetime=datetime, Field=Field, SQLModel=Tables, UtcDateTime=UtcDateTime,
        RowKind=RowKind,
    )  # fmt: skip
    monkeypatch.setitem(KINDS, "speed", defined["SPEED"])
    writer = Writer(database_options(database_url, tmp_path / "spool"))
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            table_of(defined["SpeedRow"]).create(connection)
        writer.put(Checkpoint("door", (defined["Speed"]("door", 7, 100.0, 42.0),), {}))

        def rows() -> list[Any]:
            with engine.connect() as connection:
                return list(connection.execute(sa.text("SELECT source, track_id, kmh FROM speeds")))

        until(lambda: rows() == [("door", 7, 42.0)])
    finally:
        writer.close()


def source_files() -> Iterator[Path]:
    """Every Python file that is not a test."""
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*.py")


def test_no_module_is_called_as_another() -> None:
    places = defaultdict(list)
    for path in source_files():
        if not path.stem.startswith("__"):
            places[path.stem].append(path.relative_to(ROOT))
    assert {stem: found for stem, found in places.items() if len(found) > 1} == {}


def test_no_public_class_is_called_as_another() -> None:
    places = defaultdict(list)
    for path in source_files():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.relative_to(ROOT))
    places.pop("TritonPythonModel", None)  # Triton's own name
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
