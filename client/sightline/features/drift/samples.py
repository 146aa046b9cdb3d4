"""A camera's kept pictures on disk: each a JPEG and what the detector found in it, bounded in days and bytes.

``FOLDER/CAMERA/20261121T093015.250Z-weak-dark.jpg`` and ``….json`` beside it. ``ledger.json`` remembers how
many frames each stratum of the day has offered, and for how long pictures may stay.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.config.groups import DriftOptions
from sightline.features.drift.sampling import place_in_reservoir

log = logging.getLogger(__name__)

LEDGER = "ledger.json"
DAY_S = 86_400
_STEM = re.compile(r"(\d{8}T\d{6}\.\d{3})Z-([a-z]+-[a-z]+)")
_STAMP = "%Y%m%dT%H%M%S.%f"


@dataclass(frozen=True, slots=True)
class Sample:
    """One kept picture.

    Attributes:
        path: of the JPEG; the JSON is beside it.
        time: capture time, UTC epoch seconds.
        stratum: kind and light, such as ``weak-dark``.
        size_bytes: of both files.
    """

    path: Path
    time: float
    stratum: str
    size_bytes: int


class Samples:
    """The folder of one camera; one thread uses it. Other cameras' pictures are only ever deleted when old.

    Raises:
        OSError: from every method, when the disk does not let us.
    """

    def __init__(self, source: str, options: DriftOptions) -> None:
        self._source = source
        self._options = options
        self._folder = options.folder / source
        self._ledger: dict[str, Any] = {}

    def open(self) -> None:
        """Make the folder, readable by its owner alone, and delete what may not stay."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._ledger = _read_ledger(self._folder)
        self._ledger["retention_days"] = self._options.retention_days
        self._write_ledger()
        self.sweep()

    def place(self, captured: float, stratum: str) -> int | None:
        """Count one offered frame; its place among the kept ones of day and stratum, None: it is not kept."""
        day = _day(captured)
        if self._ledger.get("day") != day:
            self._ledger.update(day=day, strata={})
        counted = self._ledger["strata"].setdefault(stratum, {"offered": 0, "kept": []})
        counted["offered"] += 1
        key = f"{self._source}/{day}/{stratum}"
        options = self._options
        place = place_in_reservoir(options.seed, key, counted["offered"], options.per_stratum)
        if place is None:
            self._write_ledger()
        return place

    def keep(self, captured: float, stratum: str, place: int, jpeg: bytes, found: Mapping[str, Any]) -> Path:
        """Write a picture and what was found in it, in the place of the one that stood there."""
        stem = f"{_stamp(captured)}Z-{stratum}"
        path = self._folder / f"{stem}.jpg"
        write_private(path, jpeg)
        write_private(path.with_suffix(".json"), (json.dumps(found, separators=(",", ":")) + "\n").encode())
        kept = self._ledger["strata"][stratum]["kept"]
        if place < len(kept):
            if kept[place] != stem:
                _delete(self._folder / f"{kept[place]}.jpg")
            kept[place] = stem
        else:
            kept.append(stem)
        self._write_ledger()
        self.sweep()
        return path

    def sweep(self) -> None:
        """Delete what is too old, of every camera in the folder, and what is too much of this one."""
        for folder in _cameras(self._options.folder):
            sweep_old(folder, self._ledger if folder == self._folder else _read_ledger(folder))
        samples = list(read_samples(self._folder))
        over, deleted = sum(sample.size_bytes for sample in samples) - self._options.max_bytes, 0
        for sample in samples:
            if over <= 0:
                break
            _delete(sample.path)
            over -= sample.size_bytes
            deleted += 1
        if deleted:
            most = self._options.max_bytes
            log.info(
                "camera %s: %d sampled pictures deleted: more than %d bytes", self._source, deleted, most
            )

    def delete_all(self) -> None:
        """Consent was withdrawn, or never given: nothing stays."""
        if not self._folder.is_dir():
            return
        samples = sum(1 for _ in self._folder.glob("*.jpg"))
        for path in self._folder.iterdir():
            if path.name == LEDGER or path.suffix in {".jpg", ".json", ".new"}:
                path.unlink(missing_ok=True)
        log.warning(
            "camera %s: no consent to keep pictures: %d sampled pictures deleted", self._source, samples
        )

    def _write_ledger(self) -> None:
        write_private(self._folder / LEDGER, (json.dumps(self._ledger) + "\n").encode())


def read_samples(folder: Path) -> Iterator[Sample]:
    """The whole samples of one camera's folder, oldest first."""
    for path in sorted(folder.glob("*.jpg")):
        captured, stratum = _parsed(path)
        beside = path.with_suffix(".json")
        if captured is not None and beside.is_file():
            yield Sample(path, captured, stratum, path.stat().st_size + beside.stat().st_size)


def sweep_folder(folder: Path) -> int:
    """Delete what is too old of every camera in a folder; how many pictures that were."""
    return sum(sweep_old(camera, _read_ledger(camera)) for camera in _cameras(folder))


def sweep_old(folder: Path, ledger: Mapping[str, Any]) -> int:
    """Delete what is older than the camera's own bound; how many pictures that were.

    What a crash left half-written goes with it.
    """
    days = ledger.get("retention_days")
    if not isinstance(days, int | float):
        return 0
    oldest, deleted = time.time() - days * DAY_S, 0
    for path in folder.iterdir():
        if path.name == LEDGER or path.suffix not in {".jpg", ".json", ".new"}:
            continue
        captured, _ = _parsed(path)
        stale = path.stat().st_mtime < time.time() - DAY_S and path.suffix != ".json"
        orphan = stale and (path.suffix == ".new" or not path.with_suffix(".json").exists())
        if orphan or (captured is not None and captured < oldest):
            path.unlink(missing_ok=True)
            deleted += path.suffix == ".jpg"
    if deleted:
        log.info("camera %s: %d sampled pictures deleted: older than %g days", folder.name, deleted, days)
    return deleted


def _cameras(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob(f"*/{LEDGER}"))]


def _read_ledger(folder: Path) -> dict[str, Any]:
    """The ledger; an empty one when it is not there or was cut off (then a day's sampling begins anew)."""
    try:
        found = json.loads((folder / LEDGER).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _parsed(path: Path) -> tuple[float | None, str]:
    match = _STEM.match(path.name)
    if match is None:
        return None, ""
    return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC).timestamp(), match[2]


def _stamp(captured: float) -> str:
    return datetime.fromtimestamp(captured, UTC).strftime(_STAMP)[:-3]


def _day(captured: float) -> str:
    return datetime.fromtimestamp(captured, UTC).strftime("%Y-%m-%d")


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """In one piece, readable by its owner alone."""
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)
