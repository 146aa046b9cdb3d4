"""Files of clips go when they are too old or too much, the oldest first: on SQLite and on a real Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sightline.config.groups import RetentionOptions
from sightline.entities import Clip, ClipState, Result
from sightline.errors import StoreUnavailable
from sightline.store.database import Store
from sightline.store.kinds import pending_row
from sightline.store.read.kept_clips import KeptClips, read_kept_clips
from sightline.store.read.readonly import Database
from sightline.supervisor.sinks import clip_retention
from sightline.supervisor.sinks.clip_retention import UPLOADS, ClipRetention
from support.stored import read_rows

T0, HOUR_S, MEGABYTE = 1_790_000_000.123457, 3600.0, 1_000_000


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store(database_url)) as made:
        made.open()
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "clips"
    made.mkdir()
    return made


def clip(folder: Path, hour: int, state: ClipState = ClipState.FINISHED) -> Clip:
    video = folder / f"{hour}.mp4"
    for path in (video, video.with_suffix(".json"), video.with_suffix(".jpg")):
        path.write_bytes(b"x")
    start = T0 + hour * HOUR_S
    files = (str(video), str(video.with_suffix(".jpg")), "h264", MEGABYTE)
    return Clip("gate", start, start + 5, 1.5, state, *files, False, (f"event{hour}",))


def put(store: Store, *clips: Clip, waiting: bool = False) -> None:
    rows = [pending_row(item, 1) for item in clips]
    store.write_rows([replace(row, sinks=(UPLOADS,)) if waiting else row for row in rows])


def retention_of(url: str, store: Store, now_hour: float) -> Callable[..., ClipRetention]:
    def load() -> KeptClips:
        with closing(Database(url, timeout_s=30.0)) as database, database.reading() as connection:
            return read_kept_clips(connection, UPLOADS, clip_retention.AT_ONCE)

    def write(results: Iterator[Result]) -> None:
        store.write_rows([pending_row(result, 2) for result in results])

    def make(**limits: float) -> ClipRetention:
        options = RetentionOptions.model_validate(limits)
        made = ClipRetention(options, load, clock=lambda: T0 + now_hour * HOUR_S)
        made.attach(write)
        return made

    return make


def left(folder: Path) -> set[int]:
    """Hours of the clips whose files are here, all three of them."""
    hours = {int(path.stem) for path in folder.iterdir()}
    assert all((folder / f"{hour}{end}").exists() for hour in hours for end in (".mp4", ".json", ".jpg"))
    return hours


def test_the_oldest_go_by_bytes_and_by_days_but_not_what_is_still_to_be_copied(
    store: Store, database_url: str, folder: Path
) -> None:
    make = retention_of(database_url, store, now_hour=48)
    put(store, clip(folder, 0), clip(folder, 2), *(clip(folder, hour) for hour in range(20, 25)))
    put(store, clip(folder, 1), waiting=True)
    put(store, clip(folder, 3, ClipState.RECORDING))
    make().tick()
    make(clips_days=3, clips_bytes=9 * MEGABYTE).tick()
    assert len(left(folder)) == 9
    make(clips_bytes=6 * MEGABYTE).tick()  # one of the nine waits, one is being written
    assert left(folder) == {1, 3, 21, 22, 23, 24}
    make(clips_bytes=6 * MEGABYTE).tick()
    assert left(folder) == {1, 3, 21, 22, 23, 24}
    make(clips_days=1).tick()
    assert left(folder) == {1, 3, 24}
    rows = {str(row["events"]): (row["path"], row["thumbnail"]) for row in read_rows(database_url, "clips")}
    assert len(rows) == 9
    assert sum(paths == ("", "") for paths in rows.values()) == 6


def test_it_goes_in_small_steps(
    store: Store, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_retention, "AT_ONCE", 2)
    put(store, *(clip(folder, hour) for hour in range(5)))
    retention = retention_of(database_url, store, now_hour=48)(clips_days=1)
    for kept in ({2, 3, 4}, {4}, set()):
        retention.tick()
        assert left(folder) == kept


def test_what_could_be_deleted_is_written_down_though_the_next_cannot(
    store: Store, database_url: str, folder: Path
) -> None:
    put(store, *(clip(folder, hour) for hour in range(3)))
    (folder / "1.mp4").unlink()
    (folder / "1.mp4").mkdir()  # as good as a file that may not be deleted
    retention = retention_of(database_url, store, now_hour=48)(clips_days=1)
    with pytest.raises(OSError, match=r"1\.mp4"):
        retention.tick()
    assert [bool(row["path"]) for row in read_rows(database_url, "clips")].count(False) == 1


def test_nothing_is_deleted_while_the_database_is_away() -> None:
    def away() -> KeptClips:
        raise StoreUnavailable("away")

    made: list[Result] = []
    retention = ClipRetention(RetentionOptions(clips_days=1), away)
    retention.attach(made.extend)
    retention.tick()
    assert made == []
