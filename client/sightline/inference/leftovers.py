"""Segments of shared memory that crashed processes have left behind; it imports nothing of gRPC.

The owner of a segment holds a lock on its file for as long as it lives, so that a later process can tell a
crashed owner's leftovers from a live neighbour's segment, across containers too.
"""

import fcntl
import hashlib
import os
import re
from pathlib import Path

SHM_FOLDER = Path("/dev/shm")  # noqa: S108  where POSIX shared memory lives
PREFIX = "sightline-camera-"  # not shared with the embedded Triton, whose own regions nobody locks


def segment_prefix(owner: str) -> str:
    """What every segment of an owner starts with; distinct owners never share one."""
    slug = re.sub(r"[^A-Za-z0-9]", "_", owner)[:32]
    return f"{PREFIX}{slug}-{hashlib.sha256(owner.encode()).hexdigest()[:8]}-"


def is_abandoned(name: str, folder: Path = SHM_FOLDER) -> bool:
    """True when no live process holds the segment: its file is gone, or not locked."""
    try:
        file = os.open(folder / name, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # another user's: not ours to judge
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def remove_abandoned(prefix: str = PREFIX, folder: Path = SHM_FOLDER) -> list[str]:
    """Unlink the files that crashed processes left behind; returns their names."""
    removed = [path.name for path in folder.glob(f"{prefix}*") if is_abandoned(path.name, folder)]
    for name in removed:
        (folder / name).unlink(missing_ok=True)
    return removed
