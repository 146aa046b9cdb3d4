"""A hub with its writer and its sinks, for tests of sinks."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sightline.store.writer import Writer
from sightline.supervisor.hub import Hub
from sightline.supervisor.sinks import Sink, wanted_by
from support.stored import database_options


@contextlib.contextmanager
def running(folder: Path, *sinks: Sink) -> Iterator[Hub]:
    """On a SQLite file in the folder."""
    options = database_options(f"sqlite:///{folder}/counts.db", folder / "spool.db")
    writer = Writer(options, flush_every_s=0.02, retry_s=(0.02, 0.1), sinks=wanted_by(sinks))
    hub = Hub(writer, sinks)
    yield hub
    hub.close()
    writer.close()
