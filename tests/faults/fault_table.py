"""The faults that Sightline is built for, what it does in each, and the tests that hold it.

    python tests/faults/fault_table.py --write

writes the table of ``docs/reliability.md`` anew, from the tests' ``@pytest.mark.fault(NUMBER)``.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
HEAD = "| # | fault | what is expected | tests |\n|---|---|---|---|\n"

FAULTS = {
    1: (
        "camera restarts, connection reset",
        "noticed within 10 s; retried for ever with jittered back-off, anew after 5 good minutes",
    ),
    2: (
        "TCP stalls without an end; a decoder hangs in C",
        "aborted within 10 s by the monotonic clock; the worker is replaced",
    ),
    3: (
        "an address that swallows packets, a name that does not resolve",
        "a bounded opening; others go on",
    ),
    4: ("401 and 403", "a status of its own, a slow retry, no password anywhere"),
    5: ("404, no video, sound alone", "a clear state, a slow retry"),
    6: ("PTS missing, backwards, jumping", "a new time line; never a negative window"),
    7: ("another resolution mid-stream", "slots and scaler are made anew, tracks end, zones still fit"),
    8: ("another codec", "opened anew"),
    9: ("damaged packets", "counted; decoding goes on at the next key frame"),
    10: ("B-frames, variable frame rate", "time comes from PTS"),
    11: ("a storm of errors", "the log is rate limited"),
    12: (
        "inference slower than the camera",
        "the newest frame wins, drops are counted, memory is flat",
    ),
    13: ("Triton is not there at the start", "waited for, not ready, retried"),
    14: ("Triton restarts", "counting goes on within 5 s of its return, nothing twice"),
    15: ("the server refuses shared memory", "plain gRPC and one warning"),
    16: ("a new model does not load or has another shape", "the old one serves; a change is noticed"),
    17: ("a request takes too long", "the frame is dropped; its slot waits for the end of the request"),
    18: (
        "a worker is killed",
        "restarted; its memory and registrations reclaimed; nothing doubled",
    ),
    19: ("`/dev/shm` is too small", "said with the number needed, no bus error"),
    20: ("the database is locked or down", "a bounded spool, replayed in order, nothing lost or doubled"),
    21: ("the disk is full", "keeps running, alarms, recovers"),
    22: ("an older or newer schema", "migrated after a copy, or refused with the reason"),
    23: ("the wall clock steps by an hour", "watchdogs do not notice; no negative or double window"),
    24: ("a thread, process, start or reload fails", "restarted with back-off, visible, deafens nobody"),
    25: ("leaks", "memory, descriptors and threads are flat over reconnects"),
    26: (
        "the message bus is down",
        "its messages wait in the outbox; nothing is lost, each camera's order is kept",
    ),
    27: ("one bad camera among many", "the others run; the error names camera and key"),
    28: ("all cameras reconnect at once", "jitter; few open at once"),
    29: ("SIGTERM", "windows written, regions unregistered, exit within 10 s"),
    30: ("hostile input", "only known URL schemes, no redirect to files, bounded sizes"),
    31: (
        "killed while the configuration is saved",
        "the file is the old or the new one as a whole, with its secrets; the history has no gap",
    ),
}


def marked() -> Iterator[tuple[int, str, str]]:
    """Number of a fault, file and name of each test that is marked with it."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    name = str(getattr(node, "name", ""))
                    if not name.startswith("test_"):  # pytest ignores a mark there, and says nothing
                        raise ValueError(f"{path}: the mark on {name} marks no test")
                    yield from ((ast.literal_eval(n), str(path.relative_to(ROOT)), name) for n in mark.args)


def table() -> str:
    """The table in Markdown."""
    tests: dict[int, list[str]] = {number: [] for number in FAULTS}
    for number, file, name in marked():
        tests[number].append(f"[{name.removeprefix('test_').replace('_', ' ')}](../{file})")
    lines = (
        f"| {number} | {fault} | {expected} | {'<br>'.join(tests[number])} |\n"
        for number, (fault, expected) in FAULTS.items()
    )
    return HEAD + "".join(lines)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(PAGE.read_text(encoding="utf-8").split(HEAD)[0] + table(), encoding="utf-8")
    else:
        sys.stdout.write(table())
