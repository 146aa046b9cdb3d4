"""Who did what to the versions of a model repository: lines of JSON that are only ever appended.

Before an operation a line with ``result`` "started" is written, after it one with "ok", "refused" (nothing
was touched) or "failed" (what served goes on). A line that only started tells of a crash.
"""

import fcntl
import json
import os
import pwd
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.base.redact import redact
from sightline.errors import RepositoryError

FILE = "versions.jsonl"
OPERATOR = "SIGHTLINE_OPERATOR"  # in the environment: who is behind the process' user


class Refused(RepositoryError):
    """An operation that would do harm; nothing was touched."""


def record(folder: Path, **values: Any) -> None:
    """Append one line: the time, who, and ``values``; it is on the disk when this returns.

    Raises a RepositoryError when it cannot be written.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's number without a name
        user = str(os.getuid())
    operator = os.environ.get(OPERATOR)
    who = {"user": user, "host": socket.gethostname(), **({"operator": operator} if operator else {})}
    entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **who, **values}
    line = json.dumps(entry, ensure_ascii=False) + "\n"
    try:
        with (folder / FILE).open("a+b") as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                line = f"\n{line}"  # the writer before us was cut off
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RepositoryError(f"{folder / FILE} cannot be written: {error.strerror}") from error


def read(folder: Path) -> list[dict[str, Any]]:
    """Every line, oldest first; one that was cut off is given as ``{"result": "unreadable", …}``."""
    path, entries = folder / FILE, list[dict[str, Any]]()
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in filter(None, text.split("\n")):
        try:
            entries.append(dict(json.loads(line)))
        except (TypeError, ValueError):
            entries.append({"result": "unreadable", "reason": line[:200]})
    return entries


@contextmanager
def operation(folder: Path, action: str, **values: Any) -> Iterator[dict[str, Any]]:
    """Run one operation alone, and record its start and how it ended.

    Yields a dictionary: what is put into it stands in the last line. Raises a :class:`Refused` when another
    operation runs on this repository.
    """
    with (folder / FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"another operation on {folder} is running; wait for its end") from error
        record(folder, action=action, **values, result="started")
        started, entry = time.monotonic(), dict(values)
        try:
            yield entry
        except BaseException as error:
            result = "refused" if isinstance(error, Refused) else "failed"
            entry |= {"result": result, "reason": redact(error) or repr(error)}
            try:
                record(folder, action=action, **entry)
            except RepositoryError as unrecorded:
                raise RepositoryError(f"{entry['reason']}; {unrecorded}") from error
            raise
        seconds = round(time.monotonic() - started, 3)
        try:
            record(folder, **({"action": action, "result": "ok", "seconds": seconds} | entry))
        except RepositoryError as unrecorded:
            raise RepositoryError(f"{action} is done, but {unrecorded}") from unrecorded
