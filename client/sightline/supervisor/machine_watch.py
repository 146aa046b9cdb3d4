"""How the machine does: processor, GPUs, and the room on the disks that results and clips need."""

import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sightline.base.cuda import has_gpu
from sightline.base.machine import Gpu, gpus
from sightline.config import Config
from sightline.store.dialects import sqlite_file

FRESH_S = 5.0
FIRST_S = 1.0  # the first look is waited for


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """A disk, and what of ours lies on it."""

    holds: tuple[str, ...]  # clips, database, spool
    path: str  # of the first of them
    free_bytes: int  # for this user
    total_bytes: int


@dataclass(frozen=True, slots=True)
class MachineFigures:
    """The machine at one moment."""

    cores: int  # that this program may use
    load: float  # processes that run or want to, mean of a minute
    gpus: tuple[Gpu, ...]
    disks: tuple[DiskRoom, ...]


def folders_of(options: Config) -> dict[str, Path]:
    """Where results and clips are kept on this machine, by what is kept there."""
    file = sqlite_file(options.database.url.get_secret_value())
    folders = {"clips": options.clips.folder} if options.clips.enabled else {}
    folders |= {"the database": file} if file is not None else {}
    return folders | {"results that wait": options.database.spool_path}


class MachineWatch:
    """Looks while somebody asks, in a thread of its own: a network's disk may not answer. Any thread.

    Args:
        folders: what is kept where, as :func:`folders_of`.
    """

    def __init__(self, folders: Callable[[], Mapping[str, Path]]) -> None:
        self._folders = folders
        self._lock = threading.Lock()  # guards the three below
        self._newest: MachineFigures | None = None
        self._looked_s = 0.0  # monotonic
        self._thread: threading.Thread | None = None

    def newest(self) -> MachineFigures | None:
        """As of some seconds ago; None: no look has ended yet."""
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if not running and (self._newest is None or time.monotonic() >= self._looked_s + FRESH_S):
                self._thread = threading.Thread(target=self._look, name="machine", daemon=True)
                self._thread.start()
            thread, newest = self._thread, self._newest
        if newest is None and thread is not None:
            thread.join(FIRST_S)
            newest = self._newest
        return newest

    def _look(self) -> None:
        found = MachineFigures(
            len(os.sched_getaffinity(0)),
            os.getloadavg()[0],
            tuple(gpus()) if has_gpu() else (),
            tuple(disks_of(self._folders())),
        )
        with self._lock:
            self._newest, self._looked_s = found, time.monotonic()


def disks_of(folders: Mapping[str, Path]) -> list[DiskRoom]:
    """The disks of these folders, or of what they will be made in; one that does not answer is left out."""
    held: defaultdict[int, list[tuple[str, Path]]] = defaultdict(list)
    for name, path in folders.items():
        with suppress(OSError):
            place = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
            held[place.stat().st_dev].append((name, place))
    rooms = []
    for items in held.values():
        with suppress(OSError):
            usage = shutil.disk_usage(items[0][1])
            names = tuple(name for name, _ in items)
            rooms.append(DiskRoom(names, str(items[0][1]), usage.free, usage.total))
    return rooms
