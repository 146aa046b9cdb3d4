"""Names of files that begin with a time, in UTC: in order of names they are in order of time."""

from datetime import UTC, datetime
from pathlib import Path

_STAMP = "%Y%m%dT%H%M%S.%f"
STAMP_LENGTH = 19


def stamp(captured: float) -> str:
    """Epoch seconds as the beginning of a file's name, in UTC, such as ``20261121T093015.250``."""
    return datetime.fromtimestamp(captured, UTC).strftime(_STAMP)[:STAMP_LENGTH]


def captured_time(path: Path) -> float | None:
    """The epoch seconds that a file's name begins with; None: it is another file."""
    try:
        return datetime.strptime(path.name[:STAMP_LENGTH], _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
