"""What travels between supervisor and workers comes out of the pipe as it went in."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
from dataclasses import fields
from typing import Any

import pytest

from sightline.base.stats import Histogram
from sightline.camera.messages import PICKLED_BY_FIELDS, Report, Retry, WorkerReport
from sightline.entities import (
    CameraState,
    CameraStatus,
    Checkpoint,
    CountWindow,
    Event,
    EventEnd,
    EventKind,
    Figure,
)

EVENT = Event("gate", EventKind.ENTER, "hall", 7, "person", 100.0, 100.5, unseen=True, ordinal=2)
STATUS = CameraStatus(
    "gate", CameraState.ONLINE, "", 9.0, 8.5, stages_ms={"infer": {"mean": 1.5}}, lines=("door",)
)
CHECKPOINT = Checkpoint(
    "gate",
    (CountWindow("gate", "person", 3, 60.0, 120.0), EVENT, EventEnd(EVENT, 130.0)),
    {"rules": [{"id": 7}]},
)
FIGURES = (
    Figure("view_moved", 0.0, help="1 while it is.", trouble=EventKind.VIEW_MOVED),
    Figure("seen", 2, {"a": "b"}),
)
REPORT = Report(STATUS, CHECKPOINT, {"infer": Histogram([0, 3, 1], 0.5)}, FIGURES, Retry(2, 1.5), last=True)


def test_a_report_comes_out_of_the_pipe_as_it_went_in() -> None:
    receives, sends = multiprocessing.Pipe(duplex=False)
    with receives, sends:
        sends.send(report := WorkerReport((REPORT, REPORT), ("yard",)))
        received = receives.recv()
    assert received == report
    assert isinstance(received.reports[0].status.state, CameraState)
    assert isinstance(received.reports[0].checkpoint.rows[1].kind, EventKind)


@pytest.mark.parametrize("kind", PICKLED_BY_FIELDS, ids=lambda kind: kind.__name__)
def test_every_field_of_what_travels_is_kept(kind: type) -> None:
    """Whatever the class makes of its arguments, and in whatever order it takes them."""
    assert [item.name for item in fields(kind)] == list(inspect.signature(kind).parameters)
    values: dict[str, Any] = {item.name: f"value of {item.name}" for item in fields(kind)}
    for again in (pickle.loads(pickle.dumps(kind(**values))), copy.copy(kind(**values))):
        assert {name: getattr(again, name) for name in values} == values


def test_what_travels_does_not_look_up_its_fields_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(_: object) -> None:
        raise AssertionError("the fields of a class are known by now")

    monkeypatch.setattr("dataclasses.fields", look_up)
    assert pickle.loads(pickle.dumps(WorkerReport((REPORT,)))).reports == (REPORT,)
