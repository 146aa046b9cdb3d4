"""Files that are for their owner's eyes alone, also those that an earlier release left open."""

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

#: What SQLite and this program put beside a file: its name, and one of these.
_BESIDE = ("-wal", "-shm", "-journal", ".backup-", ".damaged-", ".of-another-database-")


def keep_from_others(path: Path) -> None:
    """Take a file, and what belongs to it, from other users (mode 0600); only what is ours.

    Its folder stays as it is: other programs may keep files there.
    """
    path = path.resolve()
    with suppress(OSError):  # a folder that cannot be listed, or a file that has just gone
        for file in path.parent.iterdir():
            end = file.name.removeprefix(path.name)
            if end and (end == file.name or not end.startswith(_BESIDE)):
                continue
            found = file.lstat()
            mode = stat.S_IMODE(found.st_mode)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and mode & 0o077:
                file.chmod(mode & 0o700)
                log.warning("%s was open to other users (mode %04o); now it is its owner's alone", file, mode)
