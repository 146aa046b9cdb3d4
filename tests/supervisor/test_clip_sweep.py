"""Files of clips without rows, rows without files, and what is left alone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from sightline.entities import Clip, ClipState, Event, EventKind, Result, picture_name
from sightline.features.clips.clip_writer import GrowingClip
from sightline.store.database import Store
from sightline.store.kinds import pending_row
from sightline.store.read.readonly import Database
from sightline.supervisor.sinks.clip_sweep import PART_OLD_S, ClipSweep
from sightline.video.packets import CodedPacket
from sightline.video.source import Source
from support.camera_world import camera
from support.numbered import numbered_clip, numbers_by_time
from support.stored import read_rows

T0 = 1_700_000_000.25
OLD = time.time() - 2 * PART_OLD_S


class World:
    """A folder of clips and a database, compared by a sweep."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder / "clips", url
        self.gate = self.folder / "gate"
        self.gate.mkdir(parents=True)
        self.store = Store(url)
        self.store.open()
        self.sweep = ClipSweep(self.folder, self._reading)
        self.sweep.attach(self.write)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with contextlib.closing(Database(self.url, timeout_s=30.0)) as database, database.reading() as one:
            yield one

    def write(self, results: Iterable[Result]) -> None:
        self.store.write_rows([pending_row(result, time.time_ns() // 1000) for result in results])

    def clip(self, number: int, state: ClipState = ClipState.FINISHED, **values: Any) -> Clip:
        stem = self.stem(number)
        values = {"path": f"{stem}.mp4", "thumbnail": f"{stem}.jpg", **values}
        clip = Clip(
            "gate", T0 + number, T0 + number + 9, 0.0, state, codec="h264", bytes=9, truncated=False,
            events=("event",), **values,
        )  # fmt: skip
        self.write([clip])
        return clip

    def stem(self, number: int) -> Path:
        return self.gate / f"20231114T22132{number}.250Z-gate"

    def files(self, number: int, *ends: str) -> None:
        for end in ends or (".mp4", ".json", ".jpg"):
            path = Path(f"{self.stem(number)}{end}")
            path.write_bytes(b"{}")
            os.utime(path, (OLD, OLD))

    def sidecar(self, number: int, clip: Clip) -> None:
        path = Path(f"{self.stem(number)}.json")
        path.write_text(json.dumps({"version": 1, "clip": asdict(clip)}))
        os.utime(path, (OLD, OLD))

    def here(self) -> set[str]:
        return {path.name.removeprefix("20231114T22132") for path in self.gate.iterdir()}

    def rows(self) -> list[tuple[str, bool]]:
        rows = sorted(read_rows(self.url, "clips"), key=lambda row: str(row["start_time"]))
        return [(row["state"], bool(row["path"])) for row in rows]


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    made = World(tmp_path, database_url)
    yield made
    made.store.close()


def test_files_without_rows_are_listed_again_or_removed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.clip(1)  # all is well
    world.files(1)
    world.files(2, ".jpg")
    world.files(3, ".json", ".jpg.new")
    world.files(4, ".part.mp4", ".part.whole.mp4", ".part.whole.mp4.new", ".h264.mp4.new", ".jpg.new")
    world.files(5, ".mp4")
    world.clip(6, path="", thumbnail="", url="s3://b/6.mp4")
    world.files(6)
    world.clip(7, ClipState.LOST, path="", thumbnail="")
    world.files(7, ".jpg")
    kept = world.clip(8)
    world.files(8)
    world.sidecar(8, kept)
    world.clip(8, path="", thumbnail="")  # gone, as the row says; but a person has brought it back
    with caplog.at_level(logging.WARNING):
        world.sweep.look("gate")
        world.sweep.look("gate")
    assert world.here() == {
        *(f"1.250Z-gate{end}" for end in (".mp4", ".json", ".jpg")),
        "5.250Z-gate.mp4",
        *(f"8.250Z-gate{end}" for end in (".mp4", ".json", ".jpg")),
    }
    assert world.rows() == [("finished", True), ("finished", False), ("lost", False), ("finished", True)]
    assert (
        "camera gate: clips: 5 had left files behind, which are gone; 1 had no row, and are listed"
        in caplog.text
    )
    assert "1 have neither row nor sidecar, and are left alone" in caplog.text


def test_a_clip_of_a_database_that_was_lost_is_listed_as_it_was(world: World, tmp_path: Path) -> None:
    clip = world.clip(1)
    world.files(1)
    world.sidecar(1, clip)
    before = read_rows(world.url, "clips")
    new = World(tmp_path / "new", f"sqlite:///{tmp_path}/new.db")
    new.sweep._folder = world.folder
    new.sweep.look("gate")
    [row] = read_rows(new.url, "clips")
    assert (row["path"], row["codec"], row["state"]) == (clip.path, "h264", "finished")
    assert row["events"] in (before[0]["events"], json.dumps(list(clip.events)))
    new.store.close()


def test_files_of_another_programs_database_are_left_alone(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = world.clip(1)
    world.files(1)
    world.sidecar(1, clip)
    world.sweep.look("gate")
    world.files(2, ".part.mp4", ".jpg")
    other = World(tmp_path / "other", f"sqlite:///{tmp_path}/other.db")
    other.sweep._folder = world.folder
    there = world.here()
    mine = replace(clip, start_time=T0 + 7, path=f"{world.stem(7)}.mp4")
    other.write([mine])  # it was written into the same folder
    other.sweep.look("gate")
    assert world.here() == there
    assert other.rows() == [("finished", True)]
    mark = world.folder / ".sightline-database"
    assert f"if that database is no more, delete {mark}" in caplog.text
    mark.unlink()
    other.sweep.look("gate")
    assert other.rows() == [("finished", True), ("finished", False)]
    assert world.here() == {f"1.250Z-gate{end}" for end in (".mp4", ".json", ".jpg")}
    caplog.clear()
    world.sweep.look("gate")
    assert f"{world.folder} belongs to another program's database" in caplog.text
    other.store.close()


def test_rows_without_files_are_lost_but_not_with_their_whole_folder(world: World) -> None:
    world.clip(1, ClipState.RECORDING)
    world.clip(2)
    world.files(2)
    world.clip(3)
    world.clip(4)
    world.files(4, ".jpg")
    world.gate.rename(away := world.folder / "away")
    world.sweep.look("gate")
    assert world.rows() == [("lost", False), *[("finished", True)] * 3], "the disk may be missing"
    away.rename(world.gate)
    world.sweep.look("gate")
    world.sweep.look("gate")
    assert world.rows() == [("lost", False), ("finished", True), *[("finished", False)] * 2]
    assert world.here() == {f"2.250Z-gate{end}" for end in (".mp4", ".json", ".jpg")}


def test_what_is_new_or_not_ours_is_left_alone(world: World) -> None:
    names = [
        "notes.txt",
        "20231114T221321.250Z-yard.mp4.new",
        "20231114T221321.250Z-gate.txt",
        "20279915T080001.250Z-gate.jpg",
        "20231114T221321.250-gate.jpg",
        "holiday.mp4",
        "event-x.jpg",
    ]
    for name in names:
        (world.gate / name).write_bytes(b"x")
        os.utime(world.gate / name, (OLD, OLD))
    world.files(2, ".jpg")
    Path(f"{world.stem(3)}.jpg").write_bytes(b"new")
    world.files(3, ".json")
    world.sweep.look("gate")
    left = {path.name for path in world.gate.iterdir()}
    assert left == {*names, "20231114T221323.250Z-gate.jpg", "20231114T221323.250Z-gate.json"}


def test_pictures_of_events_go_once_no_clip_has_them(world: World) -> None:
    day = time.time() - 2 * 86_400.0
    names = [picture_name(key) for key in ("event", "another", "new")]
    names.append(f"{names[0]}.new")  # what a kill has left of one
    for name in names:
        (world.gate / name).write_bytes(b"x")
        os.utime(world.gate / name, (day, day))
    os.utime(world.gate / names[2])
    clip = world.clip(1)
    world.files(1)
    world.sidecar(1, clip)
    world.write([replace(clip, path="", thumbnail="", events=())])
    world.sweep.look("gate")
    assert {*names} <= {path.name for path in world.gate.iterdir()}, "it has only just been listed again"
    world.sweep.look("gate")
    left = {path.name for path in world.gate.iterdir()}
    assert {*names} & left == {names[0], names[2]}


def growing(world: World, tmp_path: Path) -> GrowingClip:
    """A clip of real video of which thirty frames have been written."""

    class Keep:
        packets: list[CodedPacket] = []  # noqa: RUF012

        def packet(self, packet: CodedPacket) -> None:
            self.packets.append(packet)

    keep, source = Keep(), Source(camera(numbered_clip(tmp_path / "v.mp4", 40)), realtime=False)
    source.packet_observers = (keep,)
    source.open()
    with contextlib.closing(source), contextlib.suppress(Exception):
        for _ in source.frames():
            pass
    clip = GrowingClip(world.gate, "gate", keep.packets[0], offset_s=T0, max_s=60)
    visit = Event("gate", EventKind.ENTER, "yard", 1, "person", T0, T0)
    clip.add_event(visit, keep.packets[0].media_s, 1.0)
    for packet in keep.packets[1:30]:
        clip.write(packet)
    return clip


def test_parts_of_a_camera_that_has_left_are_finished_once_nobody_writes_them(
    world: World, tmp_path: Path
) -> None:
    clip = growing(world, tmp_path)
    row = clip.clip
    world.write([row])

    def grow_old() -> None:
        for path in world.gate.iterdir():
            os.utime(path, (OLD, OLD))

    grow_old()
    world.sweep.look("gate")
    assert world.rows() == [("recording", True)], "it is being written"
    clip.close()
    world.sweep.look("gate")
    assert world.rows() == [("recording", True)], "it has only just changed"
    grow_old()
    world.sweep.look("gate")
    assert world.rows() == [("finished", True)]
    assert list(numbers_by_time(row.path).values()) == list(range(30))
    assert {path.name for path in world.gate.iterdir()} == {
        Path(row.path).name,
        f"{Path(row.path).stem}.json",
    }


def test_every_camera_is_looked_at_in_turn_and_then_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.folder / "yard").mkdir()
    seen: list[str] = []
    monkeypatch.setattr(ClipSweep, "look", lambda _, source: seen.append(source))
    monkeypatch.setattr("sightline.supervisor.sinks.clip_sweep.STEP_S", 0.0)
    world.clip(1)
    for _ in range(5):
        world.sweep.tick()
    assert sorted(seen) == ["gate", "yard"]
