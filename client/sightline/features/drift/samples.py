"""The sample of a camera's frames: which are offered, which stay, and how they are kept.

By kind, by light, by day and by a seed. Nothing here is random: a hash of the seed, the camera and the place
in the schedule decides, so the same frames give the same sample.

``FOLDER/CAMERA/20261121T093015.250Z-weak-dark.jpg`` and ``….json`` beside it: a JPEG and what the detector
found in it. ``ledger.json`` remembers how many frames each stratum of the day has offered, and for how long
pictures may stay.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from sightline.base.file_times import captured_time, stamp
from sightline.config.groups import DriftOptions
from sightline.entities import Detections
from sightline.features.kept_files import make_private_folder, trim, write_private

log = logging.getLogger(__name__)

CROWD = 8  # boxes with at least the least score of a track
LEDGER = "ledger.json"


class FrameKind(StrEnum):
    """What a frame shows, as the detector sees it; where several fit, the first of these."""

    CROWDED = "crowded"
    WEAK = "weak"  # a box below the least score of a track: the detector was not sure
    PLAIN = "plain"
    NONE = "none"  # no boxes at all


def kind_of(detections: Detections, min_score: float) -> FrameKind:
    """The kind of a frame."""
    seen = int(np.count_nonzero(detections.scores >= min_score))
    if seen >= CROWD:
        return FrameKind.CROWDED
    if seen < len(detections):
        return FrameKind.WEAK
    return FrameKind.PLAIN if seen else FrameKind.NONE


class Schedule:
    """In every stretch of ``every_s``, from a moment in it that the seed chooses, each kind is due once."""

    def __init__(self, source: str, every_s: float, seed: int) -> None:
        self._source, self._every_s, self._seed = source, every_s, seed
        self._stretch = -1
        self._from = math.inf
        self._offered: set[FrameKind] = set()

    def is_due(self, time: float) -> bool:
        """Whether a frame of this capture time may be wanted: cheap, asked for every frame."""
        stretch = int(time // self._every_s)
        if stretch > self._stretch:
            share = number_of(self._seed, self._source, stretch) / 2**64
            self._stretch, self._from = stretch, (stretch + 0.8 * share) * self._every_s
            self._offered.clear()
        return time >= self._from and len(self._offered) < len(FrameKind)

    def take(self, kind: FrameKind) -> bool:
        """Whether this kind has not been offered yet in this stretch; it has been, from now on."""
        if kind in self._offered:
            return False
        self._offered.add(kind)
        return True


def place_in_reservoir(seed: int, stratum: str, offered: int, size: int) -> int | None:
    """Where the ``offered``-th frame (1, 2, …) of a stratum goes in a reservoir of ``size``; None: nowhere.

    Reservoir sampling: in the end every offered frame has had the same chance to stay.
    """
    if offered <= size:
        return offered - 1
    place = number_of(seed, stratum, offered) % offered
    return place if place < size else None


def number_of(*parts: object) -> int:
    """A number of 64 bits that is the same for the same parts."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Samples:
    """One camera's folder, for one thread; others' pictures are only deleted when old. Raises OSError."""

    def __init__(self, source: str, options: DriftOptions) -> None:
        self._source, self._options, self._folder = source, options, options.folder / source
        self._ledger: dict[str, Any] = {}

    def open(self) -> None:
        """Make the folder, readable by its owner alone, and delete what may not stay."""
        make_private_folder(self._folder)
        self._ledger = {**_read_ledger(self._folder), "retention_days": self._options.retention_days}
        self._write_ledger()
        self.sweep()

    def place(self, captured: float, stratum: str) -> int | None:
        """Count one offered frame; its place among the kept ones of day and stratum, None: it is not kept."""
        day = datetime.fromtimestamp(captured, UTC).strftime("%Y-%m-%d")
        if self._ledger.get("day") != day:
            self._ledger.update(day=day, strata={})
        counted = self._ledger["strata"].setdefault(stratum, {"offered": 0, "kept": []})
        counted["offered"] += 1
        key, size = f"{self._source}/{day}/{stratum}", self._options.per_stratum
        place = place_in_reservoir(self._options.seed, key, counted["offered"], size)
        if place is None:
            self._write_ledger()
        return place

    def keep(self, captured: float, stratum: str, place: int, jpeg: bytes, found: Mapping[str, Any]) -> None:
        """Write a picture and what was found in it, in the place of the one that stood there."""
        stem, kept = f"{stamp(captured)}Z-{stratum}", self._ledger["strata"][stratum]["kept"]
        text = json.dumps(found, separators=(",", ":")) + "\n"
        for suffix, content in ((".jpg", jpeg), (".json", text.encode())):
            write_private(self._folder / f"{stem}{suffix}", content)
        for replaced in {*kept[place : place + 1]} - {stem}:
            for suffix in (".json", ".jpg"):  # never what was found in a picture that is gone
                (self._folder / f"{replaced}{suffix}").unlink(missing_ok=True)
        kept[place : place + 1] = [stem]
        self._write_ledger()
        self.sweep()

    def sweep(self) -> None:
        """Delete what is too old, of every camera in the folder, and what is too much of this one."""
        sweep_folder(self._options.folder, self._source, self._options.max_bytes)

    def delete_all(self) -> None:
        """Consent was withdrawn, or never given: nothing stays."""
        if not (self._folder / LEDGER).exists():  # then nothing there is of ours
            return
        samples = [
            path
            for path in self._folder.iterdir()
            if path.suffix in {".jpg", ".json", ".new"} and captured_time(path) is not None
        ]
        for path in (*samples, self._folder / LEDGER):
            path.unlink(missing_ok=True)
        number, text = sum(path.suffix == ".jpg" for path in samples), "sampled pictures deleted"
        log.warning("camera %s: no consent to keep pictures: %d %s", self._source, number, text)

    def _write_ledger(self) -> None:
        write_private(self._folder / LEDGER, (json.dumps(self._ledger) + "\n").encode())


def camera_folders(folder: Path) -> list[Path]:
    """The folders of cameras in ``drift.folder``."""
    return [path.parent for path in sorted(folder.glob(f"*/{LEDGER}"))]


def sweep_folder(folder: Path, camera: str = "", max_bytes: float = math.inf) -> int:
    """Delete what is too old of every camera and too much of ``camera``; how many pictures that were."""
    deleted = 0
    for place in camera_folders(folder):
        days = _read_ledger(place).get("retention_days")
        if isinstance(days, int | float):
            old, over = trim(place, days, max_bytes if place.name == camera else math.inf)
            for number, why in ((old, f"older than {days:g} days"), (over, f"more than {max_bytes} bytes")):
                deleted += number
                if number:
                    log.info("camera %s: %d sampled pictures deleted: %s", place.name, number, why)
    return deleted


def _read_ledger(folder: Path) -> dict[str, Any]:
    """The ledger; an empty one when it is not there or was cut off (then a day's sampling begins anew)."""
    try:
        found = json.loads((folder / LEDGER).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
