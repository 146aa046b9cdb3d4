"""Rows expire while a program writes: what an event waits for the database before, meanwhile and afterwards.

    python tools/bench/retention_bench.py                        # 5 million rows in a new SQLite file
    python tools/bench/retention_bench.py --url postgresql://…   # in an empty database of Postgres
    python tools/bench/retention_bench.py --url … --rows 0 --rounds 4   # in one that holds them already

Rows of twenty days are generated, of which two are kept. A writer then does what it does in `sightline run`:
every camera reports once a second, and ten events a second each wait for their commit, which is timed. After
that, in each round, up to a million rows come in that are old already, and go: the database holds them
without growing, if Postgres has had the minute in which it finds what is free (``--every 75``).
"""

import itertools
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import sqlalchemy as sa

from sightline.config.groups import DatabaseOptions, RetentionOptions
from sightline.entities import (
    CameraState,
    CameraStatus,
    Checkpoint,
    CountWindow,
    Event,
    EventKind,
    SourceWindow,
)
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.kinds import PendingRow, is_event
from sightline.store.writer import Writer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from bench.generated_rows import filling, insert_numbered, time_of

DAYS, KEPT_DAYS = 20, 2
_KEPT = ("windows_days", "events_days", "alerts_days")
ROUND_ROWS = 1_000_000
EVENT_EVERY_S = 0.1
CLASSES = 2
TRACKS = {str(number): ["person", True, 123.456789 + number] for number in range(20)}  # of a resume state
#: By table: rows in a step of all cameras, and the columns of row ``n``.
_ROWS: dict[str, tuple[float, dict[str, str]]] = {
    "source_windows": (
        1.0,
        {
            **{"source": "{source}", "window_start": "{time}", "window_end": "{end}", "coverage": "1.0"},
            **{"effective_fps": "5.0", "dropped_frames": "0", "clock_source": "'rtcp'"},
            **{"model_version": "'yolo/1'", "config_hash": "'0123456789abcdef'"},
        },
    ),
    "count_windows": (
        float(CLASSES),
        {
            **{"id": "{uuid}", "source": "{source}", "item_class": "'class' || (n % 2)", "count": "n % 7"},
            **{"window_start": "{time}", "window_end": "{end}", "created_at": "{end}", "arrivals": "n % 5"},
        },
    ),
    "events": (
        0.5,
        {
            **{"id": "{uuid}", "source": "{source}", "kind": "'enter'", "place": "'yard'"},
            **{"item_class": "'person'", "track_id": "n", "event_time": "{time}", "x": "0.5", "y": "0.5"},
            **{"unseen": "FALSE", "end_time": "CASE WHEN n % 1000 > 0 THEN {end} END"},
            **{"confirmed_time": "{time}", "created_at": "{time}"},
        },
    ),
    "alerts": (
        0.02,
        {
            **{"alert_id": "'{prefix}' || n", "rule": "'night'", "source": "{source}", "kind": "'enter'"},
            **{"place": "'yard'", "item_class": "'person'", "severity": "'warning'"},
            **{"state": "CASE WHEN n % 500 > 0 THEN 'resolved' ELSE 'new' END", "event_time": "{time}"},
            **{"opened_time": "{time}", "changed_time": "{time}", "count": "1", "muted": "FALSE"},
            **{"escalated": "FALSE", "notifications": "1", "told": "1", "who": "''", "comment": "''"},
            **{"events": "'[]'", "open_events": "'[]'"},
        },
    ),
    "notifications": (
        0.02,
        {
            **{"alert_id": "'{prefix}' || n", "ordinal": "0", "transition": "'opened'", "routes": "'[]'"},
            **{"notification_time": "{time}", "source": "{source}", "severity": "'warning'"},
            **{"title": "'enter yard'", "text": "'enter yard'", "link": "''"},
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Phase:
    """What was measured for a while."""

    name: str
    seconds: float
    latencies_ms: tuple[float, ...]  # of events, from put to commit
    deleted: int
    size_bytes: int  # of the database, at the end

    def __str__(self) -> str:
        p50, p99, most = np.percentile(self.latencies_ms, [50, 99, 100]) if self.latencies_ms else (0, 0, 0)
        return (
            f"{self.name:8} {self.seconds:6.0f} s  {len(self.latencies_ms):6} events: p50 {p50:6.1f} ms,"
            f" p99 {p99:6.1f} ms, most {most:6.1f} ms; deleted {self.deleted:8} rows"
            f" ({self.deleted / self.seconds:6.0f}/s); {self.size_bytes / 1e6:7.1f} MB"
        )


def generate(url: str, rows: int, cameras: int, prefix: str, kept_days: int = 0) -> None:
    """Fill a database whose tables are there with about so many rows of the last :data:`DAYS`, but these."""
    per_step = cameras * sum(share for share, _ in _ROWS.values())
    steps = max(1, round(rows / per_step))
    step_s = max(60, (DAYS - kept_days) * 86_400 // steps // 60 * 60)
    start = int(time.time()) // 3600 * 3600 - kept_days * 86_400 - steps * step_s
    with filling(url) as connection:
        for table, (share, columns) in _ROWS.items():
            # The rows of a step stand together, as they do when they are written.
            per_camera = max(1, round(share))
            at_once = max(1, round(cameras * share)) if share < 1 else cameras * per_camera
            moment = f"({start} + n / {at_once} * {step_s})"
            words = {
                "{source}": f"'{prefix}' || (n / {per_camera} % {cameras})",
                "{time}": time_of(connection, moment),
                "{end}": time_of(connection, f"{moment} + {step_s}"),
                "{prefix}": prefix,
            }
            filled = dict(columns)
            for word, text in words.items():
                filled = {name: value.replace(word, text) for name, value in filled.items()}
            insert_numbered(connection, table, steps * at_once, filled)


def size_of(url: str) -> int:
    """Bytes on the disk: file and write-ahead log, or what Postgres says."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        file = Path(str(parsed.database))
        return sum(path.stat().st_size for path in file.parent.glob(f"{file.name}*"))
    engine = sa.create_engine(parsed, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())


class ReportingCameras:
    """Cameras that report to a writer, in a thread, and the times that events take to their commit."""

    def __init__(self, url: str, folder: Path, cameras: int) -> None:
        options = {"url": url, "spool_path": folder / "spool.db"}
        self.writer = Writer(DatabaseOptions.model_validate(options))
        self._url, self._cameras = url, cameras
        self._put_s: dict[str, float] = {}  # by an event's key
        self._latencies_ms: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def committed(self, rows: Iterable[PendingRow]) -> None:
        """These rows are in the database."""
        for row in rows:
            if is_event(row):
                self._latencies_ms.append((time.perf_counter() - self._put_s.pop(row.source)) * 1e3)

    def pass_time(self, name: str, seconds: float) -> Phase:
        """Go on for so long."""
        return self._phase(name, lambda passed_s: passed_s > seconds)

    def expire(self, name: str, limit_s: float) -> Phase:
        """Go on until nothing is left that is too old, at most for so long."""
        retention = self.writer.retention
        retention.update(RetentionOptions.model_validate(dict.fromkeys(_KEPT, KEPT_DAYS)))
        # Once nothing is left it looks again after a minute only.
        return self._phase(name, lambda passed_s: passed_s > limit_s or 10.0 < retention.wait_s < 1e9)

    def _phase(self, name: str, is_over: Callable[[float], bool]) -> Phase:
        self._latencies_ms.clear()
        retention, started_s = self.writer.retention, time.perf_counter()
        before = retention.deleted_rows
        while not is_over(time.perf_counter() - started_s):
            time.sleep(0.05)
        passed_s, deleted = time.perf_counter() - started_s, retention.deleted_rows - before
        return Phase(name, passed_s, tuple(self._latencies_ms), deleted, size_of(self._url))

    def close(self) -> None:
        """Stop reporting and writing."""
        self._stop.set()
        self._thread.join()
        self.writer.close(timeout_s=30.0)

    def _run(self) -> None:
        """Each camera reports once a second; events come from cameras of their own."""
        next_s = next_event_s = time.perf_counter()
        for number in itertools.count():
            now, camera = time.time(), number % self._cameras
            start = now // 60 * 60
            name, times = f"camera{camera}", (start, start + 60.0)
            counts = [CountWindow(name, f"class{k}", number, *times, number) for k in range(CLASSES)]
            window = SourceWindow(name, *times, 0.5, 5.0, number, "rtcp", "yolo/1", "0123456789abcdef")
            self.writer.put(Checkpoint(name, (*counts, window), {"tracks": TRACKS}))
            self.writer.put_status(CameraStatus(name, CameraState.ONLINE, "", now))
            if time.perf_counter() >= next_event_s:
                next_event_s += EVENT_EVERY_S
                event = Event(f"event{number}", EventKind.CROSSING, "door", 1, "person", now, now, "forward")
                self._put_s[event.source] = time.perf_counter()
                self.writer.put_results([event])
            next_s += 1 / self._cameras
            if self._stop.wait(max(0.0, next_s - time.perf_counter())):
                return


@contextmanager
def running(url: str, folder: Path, cameras: int) -> Iterator[ReportingCameras]:
    """A program at work, whose commits are timed."""
    write_rows = Store.write_rows
    program: ReportingCameras | None = None

    def write(store: Store, rows: Iterable[PendingRow]) -> None:
        batch = list(rows)
        write_rows(store, batch)
        if program is not None:
            program.committed(batch)

    with patch.object(Store, "write_rows", write):
        program = ReportingCameras(url, folder, cameras)
        try:
            yield program
        finally:
            program.close()


def measure(
    url: str, rows: int, cameras: int, seconds: float, limit_s: float, rounds: int = 1, every_s: float = 0.0
) -> Iterator[Phase]:
    """The phases as they end: before, while (at most ``limit_s``), and after; then rounds of ``every_s``."""
    store = Store(url)
    store.open()
    store.close()
    if rows:
        generate(url, rows, cameras, "camera")
    with tempfile.TemporaryDirectory() as folder:
        with running(url, Path(folder), cameras) as program:
            time.sleep(min(2.0, seconds))  # until it has begun
            yield program.pass_time("before", seconds)
            yield program.expire("while", limit_s)
            yield program.pass_time("after", seconds)
        for number in range(rounds):
            due_s = time.perf_counter() + every_s
            # The program is away meanwhile, since this is written as fast as can be.
            generate(url, min(rows, ROUND_ROWS) or ROUND_ROWS, cameras, f"{time.time_ns()}-", KEPT_DAYS)
            with running(url, Path(folder), cameras) as program:
                yield program.expire(f"round {number + 1}", limit_s)
                if due_s > time.perf_counter():
                    yield program.pass_time(f"rest {number + 1}", due_s - time.perf_counter())


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an empty database; default: a new SQLite file")
    for name, value, text in (
        ("rows", 5_000_000, "generated; 0: the database holds them already"),
        ("cameras", 50, "that report"),
        ("seconds", 20, "of the phases before and after"),
        ("limit-s", 1800, "of a phase in which rows are deleted, at most"),
        ("rounds", 1, "in which more rows come in and go"),
        ("every", 0, "seconds that a round takes at least: Postgres looks for free room once a minute"),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{text} (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{folder}/bench.db"
        numbers = *(arguments.rows, arguments.cameras, arguments.seconds, arguments.limit_s), arguments.rounds
        for phase in measure(url, *numbers, arguments.every):
            print(phase, flush=True)


if __name__ == "__main__":
    main()
