"""One owner for a database: refusal, stand-by, take-over, and what remains to one that has lost it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from test_spool import MEGABYTE, is_idle, locked, make_writer
from test_store import checkpoint, counted, counts_in, crossing, read, watched, with_events

from sightline.errors import NotOwner, OwnerSilent, StoreUnavailable
from sightline.store.database import Store, migrations
from sightline.store.kinds import rows_of
from sightline.store.lease import LEASE_S, Lease, Program
from sightline.store.read.queries import Programs, read_programs
from sightline.store.read.readonly import Database
from sightline.store.spool import Spool
from sightline.store.writer import Writer
from support.stored import database_options
from support.waiting import until

HERE = Program.this()
ELSEWHERE = replace(HERE, host="other", pid_namespace="pid:[1]")  # another container


def ended() -> Program:
    """A process of this machine that has died."""
    with subprocess.Popen(["true"]) as child:
        return replace(HERE, pid=child.pid)


@pytest.fixture
def alive() -> Iterator[Program]:
    """Another process of this machine."""
    with subprocess.Popen(["sleep", "60"]) as child:
        started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        yield replace(HERE, pid=child.pid, started=started)
        child.kill()


class Owner:
    """A program's store, lease and spool, with a clock of its own."""

    def __init__(self, url: str, folder: Path, program: Program = HERE) -> None:
        self.now_s = 1000.0
        self.spool = Spool(folder / f"{program.host}-{program.pid}.db", MEGABYTE)
        self.lease = Lease(self.spool, clock=lambda: self.now_s)
        self.lease._program = replace(program, address="http://127.0.0.1:8080")
        self.store = Store(url, self.lease)

    def write(self, count: int, sequence: int = 1) -> None:
        self.store.write_rows(rows_of(checkpoint(counted(count), step=count), sequence))


def wait_for_lease(other: Owner) -> None:
    """Watch an owner that is not heard of until its lease can be taken."""
    with pytest.raises(OwnerSilent):
        other.store.open()
    other.now_s += LEASE_S
    other.store.open()


def test_a_second_program_is_refused_and_names_the_owner(
    database_url: str, tmp_path: Path, alive: Program
) -> None:
    Owner(database_url, tmp_path, alive).write(3)
    for _ in range(2):
        with pytest.raises(NotOwner, match=rf"{alive.host}.*{alive.pid}.*UTC.*http://127.0.0.1:8080"):
            make_writer(database_url, tmp_path)
    assert list(counts_in(database_url).values()) == [3]


def test_an_owner_whose_port_has_moved_is_named_with_the_new_one(
    database_url: str, tmp_path: Path, alive: Program
) -> None:
    first = Owner(database_url, tmp_path, alive)
    first.write(1)
    first.lease.move("http://127.0.0.1:8099")
    first.write(2)
    assert "http://127.0.0.1:8099" in first.lease.owner
    with pytest.raises(NotOwner, match=r"http://127\.0\.0\.1:8099"):
        make_writer(database_url, tmp_path)


def test_owner_and_stand_by_are_seen_by_each_other_and_in_the_database(
    database_url: str, tmp_path: Path, alive: Program
) -> None:
    def programs(later_s: float = 0.0) -> Programs:
        with closing(Database(database_url)) as database, database.reading() as connection:
            return read_programs(connection, time.time() + later_s)

    first = Owner(database_url, tmp_path, alive)
    first.write(3)
    address = "http://127.0.0.1:8081"
    waits = Writer(
        database_options(database_url, tmp_path / "spool.db", standby=True),
        flush_every_s=0.02,
        address=address,
    )
    until(lambda: programs().waiting)
    shown = programs()
    assert shown.owns
    assert f"process {alive.pid}, since" in shown.owner
    assert (shown.owner, waits.health().owner, waits.health().state) == (shown.owner, shown.owner, "standby")
    [waiting] = shown.waiting
    assert f"process {os.getpid()}" in waiting
    assert address in waiting
    silent = programs(later_s=60)
    assert (silent.owner, silent.owns, silent.waiting) == (shown.owner, False, ())
    first.store.release()
    until(waits.is_open)
    until(lambda: waits.health().owner == programs().owner)
    assert (programs().owns, programs().waiting) == (True, ())
    assert f"process {os.getpid()}" in programs().owner
    waits.close()
    assert not programs().owns


def test_a_stand_by_that_is_stopped_does_not_complain(
    database_url: str, tmp_path: Path, alive: Program
) -> None:
    Owner(database_url, tmp_path, alive).write(3)
    waits = Writer(database_options(database_url, tmp_path / "spool.db", standby=True))
    until(lambda: waits.health().owner)
    waits.standby = False  # as the program does that is told to stop, before it closes the writer
    time.sleep(1.0)
    waits.close()
    assert waits.failure is None


def test_an_owner_that_gave_its_lease_back_is_not_waited_for(
    database_url: str, tmp_path: Path, alive: Program
) -> None:
    first, second = Owner(database_url, tmp_path, alive), Owner(database_url, tmp_path)
    first.write(3)
    first.store.release()
    second.write(4, 2)
    assert second.lease.fence == first.lease.fence + 1


def test_an_owner_whose_process_has_died_is_not_waited_for(database_url: str, tmp_path: Path) -> None:
    Owner(database_url, tmp_path, ended()).write(3)
    Owner(database_url, tmp_path).write(4, 2)
    assert list(counts_in(database_url).values()) == [4]


def test_a_process_that_got_the_owners_number_is_not_taken_for_it(tmp_path: Path, alive: Program) -> None:
    url = f"sqlite:///{tmp_path}/counts.db"
    Owner(url, tmp_path, replace(alive, started="1")).write(3)
    Owner(url, tmp_path).write(4, 2)


def test_a_restart_of_the_machine_frees_a_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/counts.db"
    Owner(url, tmp_path, replace(HERE, boot="another")).write(3)
    Owner(url, tmp_path).write(4, 2)


def test_an_owner_elsewhere_is_watched_before_it_is_taken_for_dead(database_url: str, tmp_path: Path) -> None:
    first, second = Owner(database_url, tmp_path, ELSEWHERE), Owner(database_url, tmp_path)
    first.write(3)
    with pytest.raises(OwnerSilent, match="other"):
        second.store.open()
    second.now_s += LEASE_S - 0.1
    first.store.renew()
    with pytest.raises(NotOwner, match="other"):  # it has been heard of
        second.store.open()
    wait_for_lease(second)


def test_a_paused_owner_never_writes_after_a_take_over(database_url: str, tmp_path: Path) -> None:
    first, second = Owner(database_url, tmp_path, ELSEWHERE), Owner(database_url, tmp_path)
    first.write(3)
    assert first.lease.held
    first.now_s += LEASE_S
    assert not first.lease.held  # by then it has stopped telling
    wait_for_lease(second)
    second.write(4, 2)
    for _ in range(2):
        with pytest.raises(NotOwner, match="taken over"):
            first.write(9, 3)
        second.store.release()  # even when it is free again: what the old one remembers is old
    assert list(counts_in(database_url).values()) == [4]
    [lease] = read(database_url, "leases")
    assert lease["fence"] == 2


def test_an_owner_that_nobody_followed_goes_on(database_url: str, tmp_path: Path) -> None:
    first = Owner(database_url, tmp_path, ELSEWHERE)
    first.write(3)
    first.now_s += 3600
    first.write(4, 2)
    assert first.lease.held
    assert first.lease.fence == 1


def test_after_an_outage_the_owner_renews_first(tmp_path: Path) -> None:
    """A stand-by that could not see the owner's renewals watches it anew."""
    url = f"sqlite:///{tmp_path}/counts.db"
    first, second = Owner(url, tmp_path, ELSEWHERE), Owner(url, tmp_path)
    first.write(3)
    with pytest.raises(OwnerSilent):
        second.store.open()
    with locked(url):
        second.now_s += 3600
        with pytest.raises(StoreUnavailable, match="locked"):
            second.store.open()
    with pytest.raises(OwnerSilent):
        second.store.open()
    first.write(4, 2)
    assert first.lease.fence == 1


def test_a_refused_program_does_not_touch_the_schema(
    database_url: str, tmp_path: Path, alive: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    Owner(database_url, tmp_path, alive).write(3)
    monkeypatch.setattr(migrations, "migrate", lambda *_: pytest.fail("migrated under its owner"))
    with pytest.raises(NotOwner):
        Owner(database_url, tmp_path).store.open()


def test_a_lease_of_a_transaction_that_failed_is_not_held(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/counts.db"
    owner = Owner(url, tmp_path)
    owner.write(3)
    owner.now_s += LEASE_S - 1
    with locked(url), pytest.raises(StoreUnavailable):
        owner.write(4, 2)
    owner.now_s += 1
    assert not owner.lease.held


# -- the spool after a take-over, and of another database ---------------------------------------------


def test_the_next_program_on_a_spool_continues_its_owner(database_url: str, tmp_path: Path) -> None:
    writer = make_writer(database_url, tmp_path)
    writer.put(checkpoint(counted(3), watched(0.3), step=3))
    until(lambda: is_idle(writer))
    writer.close()
    spool = Spool(tmp_path / "spool.db", MEGABYTE)
    spool.put(rows_of(checkpoint(counted(5), watched(0.5), step=5), time.time_ns() // 1000))
    spool.close()
    again = make_writer(database_url, tmp_path)
    assert again.resume_states() == {"gate": {"step": 5}}
    until(lambda: is_idle(again))
    again.close()
    assert list(counts_in(database_url).values()) == [5]


def test_after_a_take_over_spooled_rows_only_fill_holes(database_url: str, tmp_path: Path) -> None:
    """What the old owner kept while it was cut off: rows where there are none; never what it resumed from."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    old = make_writer(database_url, tmp_path / "a")
    old.put(checkpoint(counted(3), step=3))
    until(lambda: is_idle(old))
    old.close()
    new = make_writer(database_url, tmp_path / "b")
    assert new.resume_states() == {"gate": {"step": 3}}
    time.sleep(0.3)
    new.put(checkpoint(counted(4), step=4))
    until(lambda: is_idle(new))
    new.close()
    spool = Spool(tmp_path / "a" / "spool.db", MEGABYTE)
    with spool._transaction() as connection:
        until_s = spool._facts(connection)["owned_until"]  # so the new owner saw what came after
    events = [crossing(n, time=until_s + later) for n, later in enumerate((-60, -0.1, 0.1, 60))]
    rows = [counted(9), counted(9, start=120.0), *events]
    spool.put(rows_of(checkpoint(*rows, step=9), time.time_ns() // 1000))
    spool.close()
    again = make_writer(database_url, tmp_path / "a")
    assert again.resume_states() == {"gate": {"step": 4}}
    until(lambda: is_idle(again))
    again.close()
    assert sorted(counts_in(database_url).values()) == [4, 9]
    [camera] = read(database_url, "cameras")
    resume = camera["resume"]
    assert (json.loads(resume) if isinstance(resume, str) else resume) == {"step": 4}
    assert len(read(database_url, "events")) == 3  # all but the one that the new owner may have seen


def test_a_spool_of_another_database_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (f"sqlite:///{tmp_path}/{name}.db" for name in ("first", "second"))
    writer = make_writer(first, tmp_path)
    writer.put(checkpoint(counted(1), step=1))
    until(lambda: is_idle(writer))
    with locked(first):
        writer.put(with_events(crossing(1)))
        until(lambda: writer.health().spooled_records > 0)
        writer.close()
    other = make_writer(second, tmp_path)
    assert other.resume_states() == {}
    assert "first.db" in caplog.text
    other.put(checkpoint(counted(2), step=2))
    until(lambda: is_idle(other))
    other.close()
    assert read(second, "events") == []
    [aside] = tmp_path.glob("spool.db.of-another-database-*")
    aside.rename(tmp_path / "spool.db")  # as the operator may do
    again = make_writer(first, tmp_path)
    until(lambda: is_idle(again))
    again.close()
    assert len(read(first, "events")) == 1


def test_a_database_made_anew_under_the_same_name_is_another_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/counts.db"
    writer = make_writer(url, tmp_path)
    writer.put(checkpoint(counted(1), step=1))
    until(lambda: is_idle(writer))
    with locked(url):
        writer.put(with_events(crossing(1)))
        until(lambda: writer.health().spooled_records > 0)
        writer.close()
    for file in tmp_path.glob("counts.db*"):
        file.unlink()
    again = make_writer(url, tmp_path)
    again.close()
    assert read(url, "events") == []
    assert len(list(tmp_path.glob("spool.db.of-another-database-*"))) == 1


def test_while_it_is_away_a_spool_of_another_url_is_set_aside(tmp_path: Path) -> None:
    first, second = (f"sqlite:///{tmp_path}/{name}.db" for name in ("first", "second"))
    Store(second).open()
    writer = make_writer(first, tmp_path)
    writer.put(checkpoint(counted(1), step=1))
    until(lambda: is_idle(writer))
    with locked(first):
        writer.put(checkpoint(counted(2), step=2))
        until(lambda: writer.health().spooled_records > 0)
        writer.close()
    with locked(second):
        other = make_writer(second, tmp_path)
        assert other.resume_states() == {}
        other.close()
    assert len(list(tmp_path.glob("spool.db.of-another-database-*"))) == 1


# -- real processes -------------------------------------------------------------------------------------

PROGRAM = """
import json, os, signal, sys, threading, time
from pathlib import Path
from sightline.entities import Checkpoint, CountWindow, Event, EventKind
from sightline.store import lease
lease.LEASE_S = 4.0
lease._EXPIRY = {name: text.replace("10.0", "4.0") for name, text in lease._EXPIRY.items()}
from sightline.store.kinds import is_event
from sightline.store.writer import Writer
from support.stored import database_options

url, folder, began, standby = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "standby"
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
told = (folder / "told").open("a", buffering=1)
options = database_options(url, folder / "spool.db", standby=standby)
writer = Writer(options, flush_every_s=0.02, retry_s=(0.05, 0.2), sinks={"alerts": is_event})
writer.when_failed(stop.set)
print(writer.health().state, flush=True)
while not writer.is_open() and not stop.wait(0.05):
    pass
print("open", flush=True)
# A camera that sees one crossing each tenth of a second since it began, whoever looks at it.
number = writer.resume_states().get("gate", {}).get("next", 0)
while not stop.wait(0.05):
    now = time.time()
    rows = writer.outbox.read("alerts", 100)
    for row in rows:
        print(json.dumps([now, row.values["value"]]), file=told)
    writer.outbox.acknowledge("alerts", rows)
    due = int((time.time() - began) / 0.1)
    if due > number:
        events = [Event("gate", EventKind.CROSSING, "line", k, "car", began + k / 10, began + k / 10,
                        value=float(k), x=float(os.getpid())) for k in range(number, due)]
        number = due
        window = CountWindow("gate", "car", number, 0.0, 86400.0)
        writer.put(Checkpoint("gate", (*events, window), {"next": number}))
writer.close()
if writer.failure is not None:
    sys.exit(str(writer.failure))
"""


class Running:
    """A program on a database, with a folder of its own."""

    def __init__(self, url: str, folder: Path, began: float, *, standby: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        command = [sys.executable, "-c", PROGRAM, url, str(folder), str(began), "standby" if standby else ""]
        tests = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": f"{tests.parent / 'client'}:{tests}"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> tuple[int, str]:
        """Exit status and what it said."""
        _, text = self.process.communicate(timeout=30)
        return self.process.returncode, text

    def stop(self) -> None:
        self.process.terminate()
        assert self.end()[0] == 0

    def told(self) -> list[float]:
        """When it told a durable sink of a crossing."""
        return [json.loads(line)[0] for line in (self.folder / "told").read_text().splitlines()]


@pytest.fixture
def programs() -> Iterator[list[Running]]:
    started: list[Running] = []
    yield started
    for program in started:
        program.process.kill()
        program.process.communicate()


def crossings(url: str) -> list[int]:
    return sorted(int(row["value"]) for row in read(url, "events"))


def require_each_once(url: str) -> None:
    seen = crossings(url)
    assert seen == list(range(len(seen)))
    [window] = read(url, "count_windows")
    assert window["count"] == len(seen)


def owner(
    url: str, folder: Path, programs: list[Running], began: float | None = None
) -> tuple[Running, float]:
    """A program that has become the database's owner, and the second from which its crossings count."""
    began = time.time() if began is None else began
    programs.append(program := Running(url, folder, began))
    assert [program.line(), program.line()] == ["ok", "open"]
    return program, began


def test_the_second_program_is_refused_while_the_first_counts(
    database_url: str, tmp_path: Path, programs: list[Running]
) -> None:
    first, began = owner(database_url, tmp_path / "first", programs)
    programs.append(second := Running(database_url, tmp_path / "second", began))
    code, text = second.end()
    assert code == 1
    assert f"process {first.process.pid}" in text
    assert "--standby" in text
    until(lambda: len(crossings(database_url)) > 20)
    first.stop()
    require_each_once(database_url)
    assert not any(lease["held"] for lease in read(database_url, "leases"))
    third, _ = owner(database_url, tmp_path / "second", programs, began)
    third.stop()
    require_each_once(database_url)


def test_kill_9_of_the_owner_is_followed_by_its_stand_by(
    database_url: str, tmp_path: Path, programs: list[Running]
) -> None:
    first, began = owner(database_url, tmp_path / "first", programs)
    programs.append(second := Running(database_url, tmp_path / "second", began, standby=True))
    assert second.line() == "standby"
    until(lambda: len(crossings(database_url)) > 20)
    first.process.kill()
    killed = time.monotonic()
    assert second.line() == "open"
    assert time.monotonic() - killed < 15
    until(lambda: len(crossings(database_url)) > 60)
    second.stop()
    require_each_once(database_url)


def stop_between_transactions(program: Running, url: str) -> None:
    """Within one it would keep the lock of a SQLite file until it goes on (docs/database.md says so)."""

    def stopped() -> bool:
        program.process.send_signal(signal.SIGSTOP)
        until(lambda: psutil.Process(program.process.pid).status() == psutil.STATUS_STOPPED, 10)
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0.1)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    program.process.send_signal(signal.SIGCONT)
                    return False
        return True

    until(stopped, 20)


def test_a_stopped_owner_writes_and_tells_nothing_after_a_take_over(
    database_url: str, tmp_path: Path, programs: list[Running]
) -> None:
    first, began = owner(database_url, tmp_path / "first", programs)
    programs.append(second := Running(database_url, tmp_path / "second", began, standby=True))
    assert second.line() == "standby"
    until(lambda: len(first.told()) > 20)
    stop_between_transactions(first, database_url)
    stopped = time.time()
    assert second.line() == "open"
    assert time.time() - stopped < 15
    until(lambda: len(second.told()) > 10)
    first.process.send_signal(signal.SIGCONT)
    code, text = first.end()
    assert code == 1
    assert f"taken over by sightline on {HERE.host} (process {second.process.pid}" in text
    until(lambda: len(second.told()) > 50)
    second.stop()
    require_each_once(database_url)
    assert [when for when in first.told() if when > stopped + 1] == []
    written = [row["x"] for row in read(database_url, "events") if began + row["value"] / 10 > stopped + 1]
    assert set(written) == {second.process.pid}
    # What waited in the old owner's spool when it lost the database never comes back.
    programs.append(again := Running(database_url, tmp_path / "first", began))
    assert [again.line(), again.line()][1] == "open"
    until(again.told)
    again.stop()
    require_each_once(database_url)
