"""A whole Sightline in a folder: its configuration, its process, its answers and its rows."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
import yaml

from sightline.config.groups import DatabaseOptions
from sightline.entities import RULE_KINDS
from sightline.inference.leftovers import PREFIX, is_abandoned
from sightline.simulation.rtsp_server import free_port
from sightline.store.dialects import parse_url
from sightline.supervisor.control_socket import socket_folder
from sightline.supervisor.http.own_programs import KEY_FILE
from support.waiting import until

DAY_S = 86_400  # one window for a whole test


class System:
    """``sightline run`` on a configuration of its own; a context manager."""

    def __init__(
        self,
        folder: Path,
        cameras: Mapping[str, Mapping[str, Any]],
        *,
        triton_url: str,
        database_url: str | None = None,
        arguments: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """``prefix``: a program that runs it; ``environment``: variables besides ours."""
        self.folder = folder
        self.database_url = database_url or f"sqlite:///{folder / 'sightline.db'}"
        self._arguments, self._prefix = arguments, prefix
        self._environment = {**os.environ, **(environment or {})}
        self.origin = f"http://127.0.0.1:{(port := free_port())}"
        self.options: dict[str, Any] = {
            "count": {"window_s": DAY_S},
            "track": {
                "max_gap_s": 120
            },  # a busy machine may take longer than the default to start a worker again
            "triton": {"url": triton_url},
            "database": {"url": self.database_url, "spool_path": str(folder / "spool.db")},
            "http": {"port": port},
            **options,
        }
        self.write_config(cameras)
        self.process: subprocess.Popen[bytes] | None = None

    def write_config(self, cameras: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the cameras in the file; :meth:`reload` makes it known."""
        config = {**self.options, "cameras": {name: dict(value) for name, value in cameras.items()}}
        (self.folder / "config.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> "System":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.kill()

    def start(self) -> None:
        command = [sys.executable, "-m", "sightline", "run", "-c", str(self.folder / "config.yml")]
        command = [*self._prefix, *command, *self._arguments]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)

    def reload(self) -> None:
        self.send(signal.SIGHUP)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for its own end; the exit status."""
        assert self.process is not None
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def stop(self) -> float:
        """SIGTERM; the seconds it took. It must end well."""
        started = time.monotonic()
        self.send(signal.SIGTERM)
        assert self.wait(60.0) == 0, self.log()
        return time.monotonic() - started

    def kill(self) -> None:
        """SIGKILL, as a crash would, and wait until the workers have noticed."""
        assert self.process is not None
        workers = self.workers()
        self.process.kill()
        self.process.wait()
        self.process = None
        psutil.wait_procs(workers, timeout=10)

    def workers(self) -> list[psutil.Process]:
        """The processes that host cameras: children of the one that forks them."""
        assert self.process is not None
        try:
            servers = [child for child in psutil.Process(self.process.pid).children() if _is_server(child)]
            return [child for server in servers for child in server.children()]
        except psutil.NoSuchProcess:
            return []

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP answer; (0, "") while nothing listens."""
        request = urllib.request.Request(self.origin + path, headers=self.own_key())
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (urllib.error.URLError, OSError):
            return 0, ""

    def own_key(self) -> dict[str, str]:
        """What its own user's programs show; nothing before it is there."""
        key = socket_folder(DatabaseOptions.model_validate(self.options["database"])) / KEY_FILE
        return {"Authorization": f"Bearer {key.read_text()}"} if key.exists() else {}

    def viewers(self) -> dict[str, int]:
        """How many watch each camera."""
        body = self.get("/status")[1]
        return {item["source"]: item["viewers"] for item in json.loads(body)["cameras"]} if body else {}

    def camera(self, name: str) -> dict[str, Any]:
        """A camera's live status; empty while unknown."""
        body = self.get("/status")[1]
        cameras = json.loads(body)["cameras"] if body else []
        return next((item for item in cameras if item["source"] == name), {})

    def until_state(self, name: str, state: str, timeout_s: float = 90.0) -> None:
        try:
            until(lambda: self.camera(name).get("state") == state, timeout_s, every_s=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.camera(name)}\n{self.log()}") from error

    def until_frames(self, name: str, more: int, timeout_s: float = 90.0) -> None:
        """Wait until the camera has tracked ``more`` frames from now."""
        before = self.camera(name).get("frames_total", 0)
        until(lambda: self.camera(name).get("frames_total", 0) >= before + more, timeout_s, every_s=0.1)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Every row of a table; none while the database is not there."""
        engine = sa.create_engine(parse_url(self.database_url))
        try:
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]
        except sa.exc.OperationalError:
            return []
        finally:
            engine.dispose()

    def counts(self, source: str) -> dict[str, int]:
        """Counts of a source by class, added over its windows: who is seen in two counts twice."""
        return self._added("count", source)

    def arrivals(self, source: str) -> dict[str, int]:
        """By class, how many came to a source: each once, however the windows fall."""
        return self._added("arrivals", source)

    def _added(self, figure: str, source: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in self.rows("count_windows"):
            if row["source"] == source:
                found[row["item_class"]] = found.get(row["item_class"], 0) + row[figure]
        return {name: count for name, count in found.items() if count}

    def events(self, source: str) -> list[dict[str, Any]]:
        """What rules saw at a camera, in order of what happened; times are aware datetimes."""
        return [row for row in self._events(source) if row["kind"] in RULE_KINDS]

    def troubles(self, kind: str, source: str = "") -> list[dict[str, Any]]:
        """A camera's troubles of a kind, or the program's; as :meth:`events`."""
        return [row for row in self._events(source) if row["kind"] == kind]

    def _events(self, source: str) -> list[dict[str, Any]]:
        found = [row for row in self.rows("events") if row["source"] == source]
        for row in found:
            for name in ("event_time", "end_time"):
                if isinstance(row[name], str):
                    row[name] = datetime.fromisoformat(row[name]).replace(tzinfo=UTC)
        return sorted(found, key=lambda row: (row["event_time"], row["kind"]))

    def log(self) -> str:
        return (self.folder / "log").read_text()


def _is_server(process: psutil.Process) -> bool:
    try:
        return "fork_server" in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def leftovers() -> list[str]:
    """Segments in shared memory whose owner has died; those of tests beside this one are gone in a while."""

    def found() -> list[str]:
        return [path.name for path in Path("/dev/shm").glob(f"{PREFIX}*") if is_abandoned(path.name)]

    with contextlib.suppress(AssertionError):
        until(lambda: not found(), 15.0)
    return found()
