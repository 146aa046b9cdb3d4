"""What a batch of checkpoints costs: one a camera and second, written in one transaction.

Prints milliseconds for the writer's two paths, straight into the database and into the spool.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sightline.entities import CameraState, CameraStatus, Checkpoint, CountWindow, SourceWindow
from sightline.store.database import Store
from sightline.store.kinds import PendingRow, pending_row, rows_of
from sightline.store.spool import Spool


def batch_of(cameras: int, second: int) -> list[PendingRow]:
    """One second of all cameras: three classes, a source row, resume state of 20 tracks, a status."""
    start = second // 60 * 60.0
    tracks = {str(i): ["person", True, 123.456789 + i] for i in range(20)}
    rows: list[PendingRow] = []
    for i in range(cameras):
        name = f"camera{i}"
        counts = tuple(
            CountWindow(name, item, second, start, start + 60) for item in ("person", "car", "dog")
        )
        window = SourceWindow(name, start, start + 60, 0.5, 10.0, 0, "rtcp", "yolo/1", "0123456789abcdef")
        rows += rows_of(Checkpoint(name, (*counts, window), {"tracks": tracks}), second + 1)
        rows.append(pending_row(CameraStatus(name, CameraState.ONLINE, "", float(second)), second + 1))
    return rows


def measure(write: Callable[[list[PendingRow]], None], cameras: int, seconds: int) -> str:
    """Median and 99th percentile of ``write``, as text."""
    times_ms = []
    for second in range(seconds):
        rows = batch_of(cameras, second)
        started = time.perf_counter()
        write(rows)
        times_ms.append((time.perf_counter() - started) * 1000)
    return (
        f"median {statistics.median(times_ms):6.1f} ms   p99 {sorted(times_ms)[int(seconds * 0.99)]:6.1f} ms"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--url", action="append", help="a database besides a new SQLite file; may be repeated"
    )
    parser.add_argument("--cameras", type=int, default=50, help="cameras in a batch (default: 50)")
    parser.add_argument("--seconds", type=int, default=120, help="batches (default: 120)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for url in [f"sqlite:///{folder}/bench.db", *(options.url or [])]:
            store = Store(url)
            name = url.split(":", 1)[0]
            print(f"{name:12} {measure(store.write_rows, options.cameras, options.seconds)}")
            store.close()
        spool = Spool(Path(folder) / "spool.db", 256_000_000)
        print(f"{'spool':12} {measure(spool.put, options.cameras, options.seconds)}")
        spool.close()


if __name__ == "__main__":
    main()
