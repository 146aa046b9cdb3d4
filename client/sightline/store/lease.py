"""Ownership of a database: only one program at a time counts into it.

A row of ``leases`` says which program owns a scope, with a fencing number that rises with every owner and an
expiry by the database's clock. Each write transaction renews it first, and so holds the row until it commits:
after a take-over, a program that was paused or cut off matches no row, and nothing of it is written.

A take-over needs no agreement of clocks. The owner stops telling :data:`LEASE_S` after it began its last
renewal; whoever waits takes over once it has seen the same row, unchanged and writable, for as long. A row
that could not be reached for a while is watched anew, so after an outage its owner renews first. An owner
whose process has ended on this machine, or that gave the lease back, is not waited for.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.errors import NotOwner, OwnerSilent, StoreUnavailable
from sightline.store.dialects import upsert
from sightline.store.spool import Spool
from sightline.store.tables import LeaseRow, table_of

LEASE_S = 10.0
SCOPE = "all"  # of what is written: every camera
#: Scopes that begin with this are no leases: each shows a program that waits, until it expires.
STANDBY = "stand-by "
_LEASES = table_of(LeaseRow)
_EXPIRY = {
    "sqlite": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '+{LEASE_S} seconds') || '000'",
    "postgresql": f"clock_timestamp() + interval '{LEASE_S} seconds'",
}


@dataclass(frozen=True, slots=True)
class Program:
    """A program as those on other machines see it, and as those on the same one recognise it."""

    host: str
    pid: int
    since: str
    address: str  # of its HTTP port
    boot: str  # the machine's, since when it runs; "" where that is not known
    pid_namespace: str
    started: str  # the process, in ticks after the boot

    @classmethod
    def this(cls, address: str = "") -> "Program":
        """The one that calls this."""
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        pid, boot, namespace = os.getpid(), "", ""
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            namespace = str(Path("/proc/self/ns/pid").readlink())
        started = (_process_stat(pid) or ("", ""))[1]
        return cls(socket.gethostname(), pid, since, address, boot, namespace, started)

    def __str__(self) -> str:
        details = (f"process {self.pid}", f"since {self.since}", self.address)
        return f"sightline on {self.host} ({', '.join(filter(None, details))})"

    def runs(self, here: "Program", *, same_machine: bool) -> bool | None:
        """Whether its process still runs; None where that cannot be seen from ``here``.

        Args:
            here: this process.
            same_machine: it must have run on this machine, since it wrote one of its files.
        """
        if not self.boot or self.boot != here.boot:
            return False if same_machine and self.boot and here.boot else None
        if self.pid_namespace != here.pid_namespace:
            return None  # another container
        if (self.pid, self.started) == (here.pid, here.started):
            return False  # no other program: this process could not give it back, and begins anew
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # another user's
        stat = _process_stat(self.pid)
        return None if stat is None else stat[1] == self.started and stat[0] not in "ZX"


def _process_stat(pid: int) -> tuple[str, str] | None:
    """State and start of a process, as ``/proc`` has them; None where it cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]


def _clock() -> float:
    """Monotonic seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One program's lease. The writer's thread uses it; :attr:`held` may be read from anywhere.

    Args:
        spool: gives the name under which it is taken: a program that uses it next continues this one.
        address: of the program's HTTP port, for those that find the lease taken.
        clock: monotonic seconds.
    """

    def __init__(self, spool: Spool, address: str = "", *, clock: Callable[[], float] = _clock) -> None:
        self.owner = ""  # the program that owns the database, as far as is known here
        self.fence = 0  # the number of this ownership; 0: never owned
        self.previous = ""  # the owner before, when it was taken; "" where there was none
        self.previous_until = 0.0  # UTC epoch seconds, when that one's lease ended
        self._spool, self._name = spool, ""
        self._program = Program.this(address)
        self._clock = clock
        self._held_until_s = -1.0
        self._uncommitted = (0, 0.0)
        self._seen: tuple[object, float] | None = None  # the row as it is watched, and since when

    @property
    def held(self) -> bool:
        """No other program can have taken over."""
        return self._clock() < self._held_until_s

    def move(self, address: str) -> None:
        """The program's HTTP port is there from now on, as the next renewal says."""
        self._program = replace(self._program, address=address)

    def hold(self, connection: Connection) -> None:
        """Renew the lease, or take it where it is free; first thing in a write transaction.

        Raises:
            NotOwner: another program owns the database, or has taken over.
            OwnerSilent: its owner may have died; ask again within a second or so.
        """
        now_s = self._clock()
        expiry: sa.ColumnElement[datetime] = sa.literal_column(_EXPIRY[connection.dialect.name])
        renew = sa.update(_LEASES).where(_LEASES.c.scope == SCOPE).values(expires_at=expiry, held=True)
        mine = sa.and_(_LEASES.c.fence == self.fence, _LEASES.c.owner == self._name)
        self._uncommitted = (self.fence, now_s)
        program = asdict(self._program)
        if self.fence and connection.execute(renew.where(mine).values(program=program)).rowcount:
            return
        row = self._current(connection)
        if row.held or row.fence > self.fence > 0:
            self._require_end(row, connection, now_s)
        fence = max(row.fence, self.fence) + 1
        self._program = replace(self._program, since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))
        try:
            self._name = self._spool.name
        except StoreUnavailable:  # a full disk, say: then nothing can be continued from it either
            self._name = secrets.token_hex(16)
        connection.execute(renew.values(owner=self._name, fence=fence, program=asdict(self._program)))
        connection.execute(sa.delete(_LEASES).where(_LEASES.c.scope.startswith(STANDBY)))  # they come again
        self._uncommitted = (fence, now_s)
        self.previous, self.previous_until = row.owner, row.expires_at.timestamp()

    def committed(self) -> None:
        """The transaction of :meth:`hold` has been committed."""
        self.fence, since_s = self._uncommitted
        self._held_until_s = since_s + LEASE_S
        self._seen, self.owner = None, str(self._program)

    def announce(self, connection: Connection) -> None:
        """Show that this program waits for the lease, for as long as a lease holds."""
        program = self._program
        values = {"scope": f"{STANDBY}{program.host} {program.pid}", "owner": "", "fence": 0, "held": False}
        values["expires_at"] = sa.literal_column(_EXPIRY[connection.dialect.name])
        row = upsert(connection, _LEASES, ("scope",), ("expires_at", "program"))
        connection.execute(row.values(**values, program=asdict(program)))

    def out_of_sight(self) -> None:
        """The database could not be reached: its owner could not renew either."""
        self._seen = None

    def release(self, connection: Connection) -> None:
        """Give the lease back, so that the next program need not wait."""
        mine = sa.and_(_LEASES.c.scope == SCOPE, _LEASES.c.fence == self.fence)
        connection.execute(sa.update(_LEASES).where(mine).values(held=False))
        self._held_until_s = -1.0

    def _current(self, connection: Connection) -> Any:
        """The scope's row, locked; a free one is made where there is none."""
        c = _LEASES.c
        query = sa.select(c.owner, c.fence, c.held, c.program, c.expires_at).where(c.scope == SCOPE)
        free: dict[str, Any] = {"scope": SCOPE, "owner": "", "fence": 0, "held": False, "program": {}}
        free["expires_at"] = datetime.now(UTC)
        connection.execute(upsert(connection, _LEASES, ("scope",), ()), free)
        return connection.execute(query.with_for_update()).one()

    def _require_end(self, row: Any, connection: Connection, now_s: float) -> None:
        """Raise unless the program that holds the lease has died."""
        program = Program(**row.program)
        self.owner = str(program)
        if row.fence > self.fence > 0:
            raise NotOwner(f"the database has been taken over by {program}")
        runs = program.runs(self._program, same_machine=connection.dialect.name == "sqlite")
        if runs is False:
            return
        token = (row.fence, row.expires_at)
        changed = self._seen is not None and self._seen[0] != token
        if self._seen is None or changed:
            self._seen = (token, now_s)
        if changed or (runs and now_s - self._seen[1] < LEASE_S):
            raise NotOwner(f"the database is owned by {program}")
        if now_s - self._seen[1] < LEASE_S:
            raise OwnerSilent(f"the database is owned by {program}; waiting whether it still lives")
