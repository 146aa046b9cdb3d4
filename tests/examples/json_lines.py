"""A durable sink: appends every event to a file, a line of JSON each."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from sightline.config import Config
from sightline.store.kinds import PendingRow
from sightline.supervisor.sinks import DurableSink


class JsonLines(DurableSink):
    """The file is opened for each batch, and on the disk before the batch counts as delivered."""

    name = "json_lines"

    def __init__(self, path: Path) -> None:
        self._path = path

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Append the rows."""
        with self._path.open("a") as file:
            for row in rows:
                file.write(json.dumps({"key": row.key, **row.values}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Nothing is kept open."""


def make(_: Config) -> list[JsonLines]:
    """Where it is asked for; a sink of the package has options of its own in the configuration."""
    path = os.environ.get("EXAMPLE_JSON_LINES")
    return [JsonLines(Path(path))] if path else []
