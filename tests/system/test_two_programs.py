"""Two whole programs on one database, with a real camera and a real Triton; SQLite and Postgres at once."""

import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from conftest import Postgres
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.system import System, leftovers
from support.toy import BLUE, Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.triton, pytest.mark.rtsp, pytest.mark.long, pytest.mark.timeout(240)]

WINDOW_S = 2
CARS = [Passage(1, 3, BLUE), Passage(4, 6, BLUE), Passage(7, 9, BLUE)]
CLIP_S = 10  # so cars cross 3, 3 and 4 seconds apart
RULES = {
    "lines": {"gate": {"points": [[0.4, 0.2], [0.4, 0.95]]}},
    "zones": {"here": {"points": [[0, 0.5], [0.3, 0.5], [0.3, 1], [0, 1]], "classes": ["person"]}},
}


class Pair:
    """An owner and its stand-by on one database, each with a folder of its own."""

    def __init__(self, folder: Path, database_url: str, **options: Any) -> None:
        self._folder, self._options = folder, {"database_url": database_url, **options}
        self.owner, self.standby = self.program("owner"), self.program("standby", "--standby")

    def program(self, name: str, *arguments: str) -> System:
        folder = self._folder / name
        folder.mkdir(parents=True)
        return System(folder, arguments=arguments, **self._options)


@pytest.mark.fault(24)
def test_of_two_programs_one_counts_and_the_other_takes_over(
    tmp_path: Path, toy_triton: TritonServer, postgres: Postgres
) -> None:
    clip = write_clip(tmp_path / "street.mp4", [*CARS, Passage(0, 1e6)], seconds=CLIP_S)
    urls = {"sqlite": f"sqlite:///{tmp_path}/shared.db", "postgres": postgres.new_database()}
    with RtspServer({"street": clip}) as server, ExitStack() as stack:
        cameras = {"street": {"url": server.url("street"), "rules": RULES}}
        options = {"cameras": cameras, "triton_url": toy_triton.grpc_url, "count": {"window_s": WINDOW_S}}
        pairs = [Pair(tmp_path / name, url, **options) for name, url in urls.items()]
        for pair in pairs:
            stack.enter_context(pair.owner)
        for pair in pairs:
            pair.owner.until_state("street", "online")
            stack.enter_context(pair.standby)
            refused = pair.program("refused")
            refused.start()
            assert refused.wait() == 1
            assert f"process {pair.owner.process.pid}" in refused.log()
            assert "--standby" in refused.log()
        for pair in pairs:
            until(lambda pair=pair: '"standby"' in pair.standby.get("/healthz")[1])
            code, body = pair.standby.get("/readyz")
            assert code == 503
            assert f"process {pair.owner.process.pid}" in body
        time.sleep(2 * CLIP_S)
        for pair in pairs:
            assert not pair.standby.workers()
            pair.standby.send(signal.SIGSTOP)
            pair.owner.process.kill()
        killed = time.time()
        time.sleep(2 * WINDOW_S)  # else it may be so quick that nobody can have passed unseen
        for pair in pairs:
            pair.standby.send(signal.SIGCONT)
            pair.standby.until_state("street", "online", timeout_s=15)
        assert time.time() - killed < 15
        time.sleep(2 * CLIP_S)
        for pair in pairs:
            assert pair.standby.stop() < 10
    for pair in pairs:
        check_windows(pair.standby, killed)
        check_events(pair.standby.events("street"), killed)
    until(lambda: leftovers() == [])


def check_windows(system: System, killed: float) -> None:
    """Every window once, none lost but while nobody looked, and one person in each that was watched."""
    coverage = {to_epoch(row["window_start"]): row["coverage"] for row in system.rows("source_windows")}
    counts = system.rows("count_windows")
    assert len(coverage) == len(system.rows("source_windows"))
    persons = {to_epoch(row["window_start"]): row["count"] for row in counts if row["item_class"] == "person"}
    assert set(persons.values()) == {1}
    watched = sorted(start for start, share in coverage.items() if share > 0.5)
    assert {start for start in watched if start not in persons} == set()
    breaks = [(a, b) for a, b in pairwise(watched) if b - a > WINDOW_S]
    assert len(breaks) == 1, breaks
    [(before, after)] = breaks
    assert before > killed - 2 * WINDOW_S - 2, "at most the last second or so is lost"
    assert after < killed + 15 + 2 * WINDOW_S
    arrivals = sum(row["arrivals"] for row in counts if row["item_class"] == "person")
    assert arrivals == 1, "the person who stood there arrived once"


def check_events(events: Sequence[dict[str, Any]], killed: float) -> None:
    """One visit of the person through all of it, and each car that was watched crosses once."""
    assert [event["kind"] for event in events if event["place"] == "here"] == ["enter"]
    times = [event["event_time"].timestamp() for event in events if event["kind"] == "crossing"]
    gaps = [b - a for a, b in pairwise(times) if not a < killed < b]
    assert len(gaps) > 10
    assert min(gaps) > 2.5, "a car crossed twice"
    assert max(gaps) < 4.6, "a car is missing"


def to_epoch(stored: str | datetime) -> float:
    """SQLite's text, or Postgres' time, as epoch seconds."""
    found = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
