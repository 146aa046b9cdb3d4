"""Windows survive every reload: real analysis, hub and database, fake workers; on SQLite and Postgres."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import analysis_options
from sightline.camera.messages import AddCamera, RemoveCamera, Report, UpdateCamera, WorkerReport
from sightline.config import parse_config
from sightline.entities import CameraState, CameraStatus, Checkpoint, Detections, ModelInfo
from sightline.store.database import Store
from sightline.store.kinds import with_stored
from sightline.store.read.queries import distinct, read_counts
from sightline.store.read.readonly import Database
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.control import Control, make_plan
from sightline.supervisor.hub import Hub
from sightline.supervisor.supervisor import Supervisor
from support.damaged import Damage, damage, damages
from support.fake_workers import FakeClock, FakeHandle, FakeWorkers
from support.stored import write

DAY = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
BEGIN = DAY + 11 * 3600 - 20  # soon a window of an hour ends
MODEL = ModelInfo("detector", "m-1", ("person", "car"), 192, 320, "fp32", 0.1)
OPTIONS: dict[str, dict[str, Any]] = {
    "person only": {"count": {"classes": ["person"]}},
    "all classes": {"count": {"classes": None}},
    "a window of a day": {"count": {"window_s": DAY_S}},
    "a window of an hour": {"count": {"window_s": 3600}},
    "a window of ten seconds": {"count": {"window_s": 10}},
    "off": {"enabled": False},
    "on": {"enabled": True},
    "a typo": {"url": "rtps://h/a"},
    "its correction": {"url": "rtsp://h/a"},
    "another place": {"url": "rtsp://h/other"},
    "a line": {"rules": {"lines": {"door": {"points": [[0.5, 0], [0.5, 1]]}}}},
}
STEPS = [*OPTIONS, "a broken file", "killed"]


@pytest.fixture(autouse=True)
def scene_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scene's day is long past: its windows may still be open all the same."""
    monkeypatch.setattr("sightline.store.database.OPEN_S", 1e9)


class ToStore:
    """The writer's side that the hub uses, without a thread."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def resume_states(self) -> dict[str, dict[str, Any]]:
        states = with_stored(self.store.resume_states(), self.store.open_windows())
        return {source: resume for source, (_, resume) in states.items()}

    def put(self, checkpoint: Checkpoint) -> None:
        write(self.store, [checkpoint])

    def put_status(self, status: CameraStatus) -> None:
        """Not looked at."""

    def mark_unwatched(self, windows: Any) -> None:
        """Of the wall clock, which is not the scene's."""

    def put_results(self, results: Any) -> None:
        """Troubles, which are not looked at."""

    def health(self) -> WriterHealth:
        return WriterHealth()

    def open_events(self) -> None:
        """Not looked at."""


class Program:
    """Supervisor and worker of one camera, and the people and cars that it looks at."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store, self.path = store, path
        self.settings: dict[str, Any] = {"url": "rtsp://h/a", "count": {"window_s": DAY_S}}
        self.time = BEGIN
        self.start()

    def start(self) -> None:
        self.path.write_text(json.dumps({"cameras": {"a": self.settings}}))
        config = parse_config({"cameras": {"a": self.settings}})
        self.clock = FakeClock()
        self.workers = FakeWorkers(self.clock, obeys=False)
        hub = Hub(ToStore(self.store))  # type: ignore[arg-type]
        self.supervisor = Supervisor(config, hub, start_worker=self.workers.start, clock=self.clock)
        self.supervisor.apply(make_plan(parse_config({"cameras": {}}), config, config.options))
        self.control = Control(self.path, config, self.supervisor.apply)
        self.analysis: CameraAnalysis | None = None
        self.heard: dict[int, int] = {}
        self.obey()

    def change(self, step: str) -> None:
        if step == "killed":
            self.start()
            return
        if step == "a broken file":
            self.path.write_bytes(b"cameras: [\xfc")
        else:
            for key, value in OPTIONS[step].items():
                old = self.settings.get(key)
                self.settings[key] = {**old, **value} if isinstance(old, dict) else value
            self.path.write_text(json.dumps({"cameras": {"a": self.settings}}))
        self.control.reload("test")
        self.obey()

    def obey(self) -> None:
        """Do what the supervisor tells the workers until it tells them nothing more."""
        for _ in range(4):
            self.clock.now += 1
            self.supervisor.tick()
            for handle in self.workers.alive:
                handle.heard_s = self.clock.now
                known = self.heard.get(id(handle), 0)
                self.heard[id(handle)] = len(handle.sent)
                for message in handle.sent[known:]:
                    if isinstance(message, AddCamera):
                        state = json.loads(json.dumps(message.spec.resume))
                        self.analysis = CameraAnalysis(analysis_options(message.spec.camera), state=state)
                        self.analysis.use_model(MODEL)
                    elif isinstance(message, UpdateCamera) and self.analysis is not None:
                        self.analysis.update(analysis_options(message.camera))
                    elif isinstance(message, RemoveCamera):
                        self.report(handle, last=True)
                        self.analysis = None

    def report(self, handle: FakeHandle, *, last: bool = False) -> None:
        assert self.analysis is not None
        counts, sources = self.analysis.rows()
        results = (*counts, *sources, *self.analysis.take_results())
        checkpoint = Checkpoint("a", results, self.analysis.snapshot())
        status = CameraStatus("a", CameraState.ONLINE, "", 0.0)
        handle._on_report(WorkerReport((Report(status, checkpoint, {}, last=last),), ()))

    def watch(self, people: Sequence[tuple[int, int]], seconds: float) -> bool:
        """Frames that show ``people`` (number, which is their place, and class); whether anybody looked."""
        if self.analysis is None:
            self.time += 0.5
            return False
        places = [(0.1 + number % 4 * 0.25, 0.1 + number // 4 * 0.25) for number, _ in people]
        corners = [(x, y, x + 0.04, y + 0.1) for x, y in places]
        ids = np.array([class_id for _, class_id in people], np.int32)
        found = Detections(np.array(corners, np.float32), np.full(len(people), 0.9, np.float32), ids)
        for _ in range(round(seconds * 5)):
            self.time += 0.2
            self.analysis.observe(frame_at(self.time), found)
        self.report(self.workers.alive[-1])
        return True


def stored(database: Database) -> tuple[dict[tuple[Any, ...], int], list[tuple[Any, Any]], dict[str, int]]:
    """Counts by class and window, the windows that were watched, and the day's distinct tracks by class."""
    with database.reading() as connection:
        rows = connection.execute(
            sa.text("SELECT item_class, window_start, window_end, count FROM count_windows")
        )
        counts = {tuple(row[:3]): row.count for row in rows}
        query = "SELECT window_start, window_end FROM source_windows WHERE coverage > 0 ORDER BY 1"
        windows = [(row.window_start, row.window_end) for row in connection.execute(sa.text(query))]
        day = read_counts(connection, None, Span.over(DAY, DAY + DAY_S, DAY_S), ["a"])
    return counts, windows, {name: count or 0 for (_, name), count in distinct(day).items()}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database(database_url, timeout_s=30.0)) as made:
        yield made


def clear(store: Store) -> None:
    store.open()
    with store._transaction() as connection:
        for table in sa.inspect(connection).get_table_names():
            if table in {"count_windows", "source_windows", "cameras", "stale_rollups", "count_rollups"}:
                connection.execute(sa.text(f"DELETE FROM {table}"))


def test_a_day_through_ten_reloads_loses_nothing_and_counts_nothing_twice(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    store = Store(database_url)

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(steps=st.lists(st.sampled_from(STEPS), min_size=10, max_size=10))
    def check(steps: list[str]) -> None:
        clear(store)
        program = Program(store, tmp_path / "config.yml")
        shown: set[tuple[int, int]] = set()
        least: dict[tuple[Any, ...], int] = {}
        for number, step in enumerate([None, *steps, "its correction", "on", "all classes"]):
            if step is not None:
                program.change(step)
            # Everybody stays for three steps, in a place of their own; every third one is a car.
            present = [(i, int(i % 3 == 2)) for i in range(max(0, number - 2), number + 1)]
            if program.watch(present, 2.0):
                shown |= set(present)
            counts, windows, day = stored(database)
            assert all(counts[key] >= count for key, count in least.items()), "never less than was stored"
            assert all(end <= start for (_, end), (start, _) in pairwise(windows))
            least = counts
            for class_id, name in enumerate(MODEL.class_names):
                assert day.get(name, 0) <= sum(kind == class_id for _, kind in shown), "never a track twice"
        assert day["person"] == sum(kind == 0 for _, kind in shown)
        if "person only" not in steps:
            assert day.get("car", 0) == sum(kind == 1 for _, kind in shown)

    check()
    store.close()


# -- states that cannot be used ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["anything", "counts", "garbage", "gone"])
def test_a_state_that_cannot_be_used_lowers_nothing_that_was_stored(
    kind: str, database_url: str, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(database_url)

    @settings(max_examples=15 if kind == "anything" else 3, deadline=None)
    @given(window_s=st.sampled_from([10, 3600, DAY_S]), found=st.lists(damages, min_size=1, max_size=3))
    @example(window_s=10, found=[("windows", [], None), ("tracker", [1], -1)])  # next_id, below its tracks'
    def check(window_s: int, found: list[Damage]) -> None:
        clear(store)
        program = Program(store, tmp_path / "config.yml")
        program.change({10: "a window of ten seconds", 3600: "a window of an hour", DAY_S: "on"}[window_s])
        program.change("a line")
        before = {}
        for number in range(4):
            if number in {2, 3}:
                state = store.resume_states()["a"][1]
                if kind == "anything":
                    for one in found:
                        state = damage(state, *one)
                elif kind == "counts":  # as of a release to come
                    state["windows"] = {**state["windows"], "version": 99}
                text = {"garbage": '"gar', "gone": "{}"}.get(kind) or json.dumps(state)
                if kind == "garbage" and database_url.startswith("postgres"):
                    text = '"garbage"'  # it takes nothing else
                with store._transaction() as connection:
                    value = "CAST(:text AS JSON)" if connection.dialect.name == "postgresql" else ":text"
                    connection.execute(sa.text(f"UPDATE cameras SET resume = {value}"), {"text": text})
                program.change("killed")
            program.watch([(number, 0), (number + 1, 0)], 3.0)
            counts, _, day = stored(database)
            coverage = coverages(database)
            for key, known in before.items():
                assert {**counts, **coverage}[key] >= known, "never less than was stored"
            before = {**counts, **coverage}
            assert day["person"] >= number + 2, "whoever comes later is counted all the same"
            if kind == "counts":
                assert day["person"] == number + 2, "whoever stayed is not counted twice"

    check()
    store.close()
    if kind in {"counts", "garbage", "gone"}:
        assert "camera a: the window that began at 2026-03-01" in caplog.text


def coverages(database: Database) -> dict[tuple[Any, ...], float]:
    with database.reading() as connection:
        rows = connection.execute(sa.text("SELECT window_start, window_end, coverage FROM source_windows"))
        return {tuple(row[:2]): row.coverage for row in rows}
