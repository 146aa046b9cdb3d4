"""``sightline run`` as a child process, for the demo, the self-test, load tests and benchmarks alike."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from sightline.base.processes import spawn, terminate
from sightline.config.groups import DatabaseOptions, HttpOptions
from sightline.errors import ServerError
from sightline.simulation.rtsp_server import free_port
from sightline.supervisor.control_socket import socket_folder
from sightline.supervisor.http.own_programs import fetch_own

ONLINE_S = 180.0  # cameras, workers and server start at once, on a machine that may be busy
STOP_S = 12.0


class SightlineProcess:
    """``sightline run`` on a configuration of its own in a folder, made if need be; a context manager.

    Database (SQLite, unless ``database_url`` names another), spool, configuration and log (``sightline.log``)
    are in it. One thread calls it.
    """

    def __init__(
        self,
        folder: Path,
        cameras: Mapping[str, Mapping[str, Any]],
        *,
        triton: Mapping[str, Any],
        database_url: str | None = None,
        arguments: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Write the configuration: each camera's keys by its name, ``triton`` (``url`` at least), and more.

        ``options`` are further sections, ``arguments`` further arguments of ``sightline run``, and
        ``environment`` is the process's, in place of ours.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self.database_url = database_url or f"sqlite:///{folder / 'sightline.db'}"
        self.log_path = folder / "sightline.log"
        http = {"port": free_port(), **(options or {}).get("http", {})}
        self.config_path = folder / "config.yml"
        made = {
            "triton": dict(triton),
            "database": {"url": self.database_url, "spool_path": str(folder / "spool.db")},
            **(options or {}),
            "http": http,
            "cameras": {name: dict(camera) for name, camera in cameras.items()},
        }
        config = self.write(made)
        self._http = HttpOptions.model_validate(config["http"])
        self.url = self._http.url
        self._commands = socket_folder(DatabaseOptions.model_validate(config["database"]))
        command = [sys.executable, "-m", "sightline", "run", "-c", str(self.config_path)]
        self._command = [*command, *arguments]
        self.cameras, self._environment = tuple(config.get("cameras") or ()), environment or os.environ
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put a configuration into the file, whatever was in it; what stands there then."""
        self.config_path.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        return config

    def __enter__(self) -> Self:
        """Start the process; call it from the main thread."""
        with self.log_path.open("ab") as log:
            self._process = spawn(self._command, log, environment=self._environment)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            terminate(self._process, STOP_S)
            self._process = None

    @property
    def pid(self) -> int:
        """The supervisor's process; 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    def check(self) -> None:
        """Raise ``ServerError`` with the end of its log if it has ended."""
        if self._process is not None:
            check_running(self._process, "sightline run", self.log_path)

    def fetch(self, path: str) -> str:
        """The body of its answer to its own user; ``ServerError`` when there is none, or it is an error."""
        try:
            return fetch_own(self._http, self._commands, path, timeout_s=10).decode()
        except OSError as error:
            raise ServerError(f"{self.url}{path} gives no answer: {error}") from error

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Each camera's live status by its name; ``ServerError`` when there is no answer."""
        cameras = json.loads(self.fetch("/status"))["cameras"]
        return {camera["source"]: camera for camera in cameras}

    def metric(self, name: str) -> float:
        """The value of a metric without labels; ``ServerError`` when there is none."""
        for line in self.fetch("/metrics").splitlines():
            if line.startswith(f"{name} "):
                return float(line.removeprefix(f"{name} "))
        raise ServerError(f"{self.url}/metrics has no {name}")

    def wait_until_online(self, timeout_s: float = ONLINE_S) -> None:
        """Wait until a frame of every camera was tracked; ``ServerError`` if it ended or time is over."""
        waiting, deadline_s = set(self.cameras), time.monotonic() + timeout_s
        while waiting:
            self.check()
            if time.monotonic() > deadline_s:
                late = ", ".join(sorted(waiting))
                raise ServerError(f"no frames within {timeout_s:g} s from {late}; see {self.log_path}")
            time.sleep(0.2)
            with contextlib.suppress(ServerError):  # it is starting
                statuses = self.statuses()
                waiting = {name for name in waiting if not statuses.get(name, {}).get("frames_total")}


def check_running(process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    """Raise ``ServerError`` with the end of its log if a process has ended."""
    if (code := process.poll()) is not None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
        raise ServerError(f"{name} has ended with {code}; the end of {log}:\n{tail}")


def progress(program: str) -> Callable[[str], None]:
    """Says a line of a program's progress on standard error: standard output is for results."""

    def say(text: str) -> None:
        sys.stderr.write(f"{program}: {text}\n")

    return say


def fetch(url: str) -> str:
    """The body of an HTTP answer; ``ServerError`` when there is none, or it is an error."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  the scheme is ours
            return str(answer.read().decode())
    except OSError as error:
        raise ServerError(f"{url} gives no answer: {error}") from error


def frame_rate(first: Mapping[str, Any], last: Mapping[str, Any], counter: str = "frames_total") -> float:
    """A counter's rate between two statuses of a camera, by the worker's clock: reports are a second old."""
    seconds = last["status_time"] - first["status_time"]
    return float((last[counter] - first[counter]) / seconds) if seconds > 0 else 0.0
