"""Files of clips and their rows are compared: all of them after a start, and from then on slowly.

What a kill at the wrong moment, a camera that has left the configuration, or a database that was lost has
left behind is finished, listed again, or removed. Files that are not named as ours are never touched, and
nothing that has changed a moment ago, nor anything in a folder that belongs to another database.
"""

import logging
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sightline.base.file_times import STAMP_LENGTH, captured_time, stamp
from sightline.base.logs import WarnOnce
from sightline.config import Config
from sightline.config.groups import DAY_S
from sightline.entities import Clip, ClipState, picture_name
from sightline.errors import StoreUnavailable
from sightline.store.read.kept_clips import (
    ListedClip,
    read_clip,
    read_identity,
    read_listed_clips,
    read_sources,
)
from sightline.store.read.readonly import reading_from
from sightline.supervisor.sinks.clip_retention import without_files
from sightline.supervisor.sinks.sink import TickingSink

log = logging.getLogger(__name__)

OLD_S = 600.0  # what has changed later may be on its way to a row
PART_OLD_S = 3600.0  # the worker of the camera may still wait for its turn to code a clip again
STEP_S = 2.0  # between two cameras
PASS_EVERY_S = 900.0
SAY_EVERY_S = DAY_S  # the same again
VIDEO, SIDECAR, PART, PART_VIDEO = ".mp4", ".json", ".part.jsonl", ".part.mp4"
WHOLE_COPY = ".part.whole.mp4"  # raw, of a part that was being covered
MARK = ".sightline-database"  # in the folder of the cameras' folders: whose clips they are
LISTED = "had no row, and are listed again"
_PICTURE = re.compile(r"event-[0-9a-f]{20}\.jpg(\.new)?")  # as entities.picture_name, and its draft
_ENDS = (PART, PART_VIDEO, WHOLE_COPY, ".h264.mp4", VIDEO, SIDECAR, ".jpg")
DRAFTS = (WHOLE_COPY, *(f"{end}.new" for end in _ENDS))
#: How names of our files end, after time and camera; the first that fits.
ENDS = sorted({*_ENDS, *DRAFTS}, key=len, reverse=True)


class ClipSweep(TickingSink):
    """A sink for the thread that each sink has: it takes no rows.

    Args:
        folder: of the cameras' folders; others are known by the rows that name them.
        reading: a connection to read by; StoreUnavailable: not now.
        clock: our UTC.
    """

    name = "clip_sweep"
    tick_s = STEP_S

    def __init__(
        self,
        folder: Path,
        reading: Callable[[], AbstractContextManager[Any]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._reading, self._clock = folder, reading, clock
        self._left: list[str] = []  # cameras of this round
        self._next_s = 0.0  # monotonic
        self._warnings = WarnOnce(log, SAY_EVERY_S)

    def update(self, config: Config) -> None:
        """Clips are kept elsewhere from now on."""
        self._folder = config.clips.folder

    def tick(self) -> None:
        """Look at the next camera, when that is due."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + STEP_S
        try:
            if not self._left:
                with self._reading() as connection:
                    sources = set(read_sources(connection))
                with suppress(FileNotFoundError, NotADirectoryError):
                    sources |= {path.name for path in self._folder.iterdir() if path.is_dir()}
                self._left = sorted(sources)
            if self._left:
                self.look(self._left[-1])
                self._left.pop()
        except StoreUnavailable:
            return  # which is shown elsewhere
        if not self._left:
            self._next_s = time.monotonic() + PASS_EVERY_S

    def look(self, source: str) -> None:
        """Compare the files and the rows of one camera."""
        with self._reading() as connection:
            identity = read_identity(connection)
            listed = {_name(clip.start_time, source): clip for clip in read_listed_clips(connection, source)}
        folders = {Path(clip.path).parent for clip in listed.values() if clip.path}
        folders.add((self._folder / source).resolve())
        pictures = {picture_name(key) for clip in listed.values() if clip.path for key in clip.events}
        done: Counter[str] = Counter()
        folders = {folder for folder in folders if self._is_ours(folder.parent, identity)}
        for folder in folders:
            for name, paths in _files(folder, source).items():
                row = listed.pop(name, None)
                if not _is_whole(row, paths) and self._is_old(paths):
                    self._count(done, self._put_right, source, folder / name, row, paths)
        for name, row in listed.items():
            is_here = row.path and Path(row.path).parent in folders
            if is_here and self._clock() - row.start_time > OLD_S and not Path(row.path).exists():
                self._count(done, self._miss, source, Path(row.path).with_name(name), row)
        for folder in [] if done[LISTED] else folders:  # the next time their pictures are known
            self._remove_pictures(folder, pictures, done)
        if done:
            text = "; ".join(f"{count} {what}" for what, count in sorted(done.items()))
            self._warnings.warn_once(f"camera {source}: clips: {text}")

    def _remove_pictures(self, folder: Path, known: Container[str], done: Counter[str]) -> None:
        """Remove pictures of events that are in no clip; one that grows does not name its events yet."""
        for path in folder.glob("event-*.jpg*"):
            if _PICTURE.fullmatch(path.name) and path.name not in known:
                with suppress(OSError):
                    if self._clock() - path.stat().st_mtime > DAY_S:
                        path.unlink()
                        done["pictures were of no clip, and are gone"] += 1

    def _is_ours(self, root: Path, identity: str) -> bool:
        """Whether the cameras' folders in a folder are this database's; those of nobody are from now on."""
        from sightline.features.kept_files import write_private  # noqa: PLC0415

        mark = root / MARK
        try:
            owner = mark.read_text("utf-8", "replace").strip() if mark.exists() else ""
            if not owner:  # or a power cut has emptied it
                write_private(mark, f"{identity}\n".encode())
                owner = identity
        except FileNotFoundError:
            return True  # there is nothing
        except OSError as error:
            self._warnings.warn_once(f"clips: {mark}: {error.strerror}; files in that folder are left alone")
            return False
        if owner != identity:
            self._warnings.warn_once(
                f"clips: {root} belongs to another program's database: no file there is listed or removed. "
                f"Give each program a clips.folder of its own; if that database is no more, delete {mark}"
            )
        return owner == identity

    def _is_old(self, paths: Mapping[str, Path]) -> bool:
        old_s = PART_OLD_S if PART in paths else OLD_S
        try:
            return all(self._clock() - path.stat().st_mtime > old_s for path in paths.values())
        except FileNotFoundError:  # it has just got its name
            return False

    def _count(self, done: Counter[str], work: Callable[..., str], *values: object) -> None:
        try:
            if what := work(*values):
                done[what] += 1
        except (OSError, ValueError) as error:  # of this clip alone
            self._warnings.warn_once(f"clips: {error}")

    def _put_right(self, source: str, stem: Path, row: ListedClip | None, paths: dict[str, Path]) -> str:
        """What has been done about files that have no row, or not the one that they should have."""
        from sightline.features.clips.clip_writer import settle  # noqa: PLC0415  FFmpeg, where it is needed
        from sightline.features.clips.hidden_clip import hides, settle_apart  # noqa: PLC0415

        if PART in paths or (row is not None and row.state is ClipState.RECORDING):
            make = settle_apart if PART in paths and hides(paths[PART]) else settle
            if (clip := make(stem, self._clip(source, row))) is not None:
                self._put([clip])
                return f"that nobody recorded any more are {clip.state}"
            return "" if PART in paths and paths[PART].exists() else "could not be read, and are gone"
        if row is not None and row.path and VIDEO not in paths:
            return self._miss(source, stem, row)
        if VIDEO in paths and (row is None or not (row.path or row.url)):
            if (clip := settle(stem)) is None:  # it is whole: this only reads what its sidecar says
                return "have neither row nor sidecar, and are left alone"
            self._put([_moved(clip, stem.parent)])
            return LISTED
        removed = {PART_VIDEO, *DRAFTS} if row is not None and row.path else ENDS
        for path in [path for end, path in paths.items() if end in removed]:
            path.unlink(missing_ok=True)
        return "had left files behind, which are gone"

    def _miss(self, source: str, stem: Path, row: ListedClip) -> str:
        """What has been done about a row without its file; nothing where a disk may be missing."""
        from sightline.features.clips.clip_writer import settle  # noqa: PLC0415

        clip = self._clip(source, row)
        if row.state is ClipState.RECORDING:
            clip = settle(stem, clip)
        elif clip is not None:
            clip = without_files(clip) if stem.parent.is_dir() else None
        self._put([] if clip is None else [clip])
        return "" if clip is None else "had lost their files"

    def _clip(self, source: str, row: ListedClip | None) -> Clip | None:
        if row is None:
            return None
        with self._reading() as connection:
            return read_clip(connection, None, source, row.start_time)


def make(config: Config) -> list[ClipSweep]:
    """The sink, always: there may be clips of cameras that are no more."""
    url = config.database.url.get_secret_value()
    return [ClipSweep(config.clips.folder, partial(reading_from, url))]


def _name(start_time: float, source: str) -> str:
    """Of a clip's files, without their ends."""
    return f"{stamp(start_time)}Z-{source}"


def _files(folder: Path, source: str) -> dict[str, dict[str, Path]]:
    """By clip's name and by end, the files of a camera's clips in a folder."""
    files: dict[str, dict[str, Path]] = defaultdict(dict)
    with suppress(FileNotFoundError, NotADirectoryError):
        for path in folder.iterdir():
            end = next((end for end in ENDS if path.name.endswith(end)), "")
            name = path.name.removesuffix(end)
            if end and name[STAMP_LENGTH:] == f"Z-{source}" and captured_time(path) is not None:
                files[name][end] = path
    return files


def _moved(clip: Clip, folder: Path) -> Clip:
    """As its sidecar has it, with its files where they are."""
    thumbnail, copy = (
        str(folder / Path(path).name) if path else "" for path in (clip.thumbnail, clip.h264_path)
    )
    return replace(clip, path=str(folder / Path(clip.path).name), thumbnail=thumbnail, h264_path=copy)


def _is_whole(row: ListedClip | None, paths: Iterable[str]) -> bool:
    """Whether row and files are as they should be."""
    ends = {*paths}
    settled = row is not None and bool(row.path) and row.state is not ClipState.RECORDING
    return settled and VIDEO in ends and not ends & {PART, PART_VIDEO, *DRAFTS}
