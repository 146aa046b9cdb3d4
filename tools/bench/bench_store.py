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
from sightline.store.kinds import Record, records_of, status_record
from sightline.store.spool import Spool


def batch_of(cameras: int, second: int) -> list[Record]:
    """One second of all cameras: three classes, a source row, resume state of 20 tracks, a status."""
    start = second // 60 * 60.0
    tracks = {str(i): ["person", True, 123.456789 + i] for i in range(20)}
    records: list[Record] = []
    for i in range(cameras):
        name = f"camera{i}"
        counts = tuple(
            CountWindow(name, item, second, start, start + 60) for item in ("person", "car", "dog")
        )
        window = SourceWindow(name, start, start + 60, 0.5, 10.0, 0, "rtcp", "yolo/1", "0123456789abcdef")
        records += records_of(Checkpoint(name, counts, (window,), {"tracks": tracks}), second + 1)
        records.append(status_record(CameraStatus(name, CameraState.ONLINE, "", float(second)), second + 1))
    return records


def measure(write: Callable[[list[Record]], None], cameras: int, seconds: int) -> str:
    """Median and 99th percentile of ``write``, as text."""
    times_ms = []
    for second in range(seconds):
        records = batch_of(cameras, second)
        started = time.perf_counter()
        write(records)
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
            print(f"{name:12} {measure(store.write_records, options.cameras, options.seconds)}")
            store.close()
        spool = Spool(Path(folder) / "spool.db", 256_000_000)
        print(f"{'spool':12} {measure(spool.put, options.cameras, options.seconds)}")
        spool.close()


if __name__ == "__main__":
    main()
