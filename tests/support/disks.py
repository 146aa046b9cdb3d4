"""Small file systems, and how they become full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "4m") -> Iterator[Path]:
    """Make ``folder`` a file system of its own, or skip where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that is left; the file that does."""
    filler = folder / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, b"x" * 4096)
    os.close(descriptor)
    return filler


def with_small_shm(size: str, kept: Path, aside: Path) -> tuple[str, ...]:
    """What starts a program with a /dev/shm of its own: of ``size``, and with the folder ``kept`` in it.

    ``aside`` is an empty folder. Skips where mount namespaces are not allowed.
    """
    script = (
        'mount --bind "$1" "$2" && mount -t tmpfs -o size="$0" tmpfs /dev/shm && mkdir "$1" '
        '&& mount --bind "$2" "$1" && shift 2 && exec "$@"'
    )
    namespace = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    return (*namespace, "sh", "-c", script, size, str(kept), str(aside))
