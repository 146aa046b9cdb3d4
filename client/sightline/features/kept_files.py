"""Files that stay for a while: for their owner's eyes, named by their time, bounded in days and bytes.

Boxes stand in them as columns of whole numbers.
"""

import math
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from sightline.base.file_times import captured_time
from sightline.config.groups import DAY_S
from sightline.entities import Detections, Tracks

BOX, SCORE = 10_000, 1_000  # units of the numbers: 1/10000 of the picture, 1/1000


def make_private_folder(folder: Path) -> None:
    """Make the folder where it is not there, and let nobody but its owner in."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def write_private(path: Path, content: bytes) -> None:
    """In one piece, readable by its owner alone; an OSError leaves nothing behind."""
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError:  # a full disk has room for an empty file
        draft.unlink(missing_ok=True)
        raise


def trim(folder: Path, max_days: float, max_bytes: float = math.inf) -> tuple[int, int]:
    """Delete what is too old, then the oldest until ``max_bytes`` are left; files of one time go together.

    What a crash left half-written (a draft, or a picture alone) goes after a day. Returns how many pictures
    were too old, and how many too much.
    """
    now, too_old, too_much = time.time(), 0, 0
    by_time: dict[float, list[Path]] = defaultdict(list)
    for path in folder.iterdir():
        if (captured := captured_time(path)) is not None:
            by_time[captured].append(path)
    total = 0
    for captured, paths in sorted(by_time.items(), reverse=True):
        alone, kept = all(path.suffix in {".jpg", ".new"} for path in paths), []
        for path in paths:
            stat = path.stat()
            stale = (alone or path.suffix == ".new") and stat.st_mtime < now - DAY_S
            if stale or captured < now - max_days * DAY_S:
                path.unlink(missing_ok=True)
                too_old += path.suffix == ".jpg"
            else:
                kept.append(path)
                total += stat.st_size
        for path in kept if total > max_bytes else ():
            path.unlink(missing_ok=True)
            too_much += path.suffix == ".jpg"
    return too_old, too_much


def to_columns(boxes: Detections | Tracks) -> list[list[int]]:
    """Corners one after the other, scores, class ids."""
    return [
        np.rint(boxes.xyxy * BOX).astype(int).ravel().tolist(),
        np.rint(boxes.scores * SCORE).astype(int).tolist(),
        boxes.class_ids.tolist(),
    ]


def from_columns(columns: list[Any]) -> Detections:
    """What :func:`to_columns` gave; ValueError or TypeError: it is something else."""
    xyxy, scores, class_ids = columns
    return Detections(
        (np.array(xyxy, np.float32) / np.float32(BOX)).reshape(-1, 4),
        np.array(scores, np.float32) / np.float32(SCORE),
        np.array(class_ids, np.int32),
    )
