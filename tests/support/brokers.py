"""Real brokers for a test: Debian's mosquitto, and librdkafka's mock cluster in a process of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from support.waiting import until

_MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
_CLUSTER = """
import signal
from confluent_kafka import Producer
producer = Producer({"test.mock.num.brokers": 1})
[broker] = producer.list_topics(timeout=10).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
signal.pause()
"""


def free_port() -> int:
    """A port of loopback that is free now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def frozen(process: "subprocess.Popen[str]") -> Iterator[None]:
    """A process that neither reads nor answers for a while."""
    process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, 5)
        yield
    finally:
        process.send_signal(signal.SIGCONT)


class Mosquitto:
    """A broker at one port that can be stopped and started; what it holds for clients outlives that."""

    def __init__(self, folder: Path, *lines: str) -> None:
        if _MOSQUITTO is None:
            pytest.fail("mosquitto is not installed (.ci/run installs it)")
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        user = ("user root",) if os.geteuid() == 0 else ()
        basics = (f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/")
        self._config.write_text("\n".join([*basics, *user, *(lines or ("allow_anonymous true",)), ""]))
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it; returns once it listens."""
        command = [str(_MOSQUITTO), "-c", str(self._config)]
        self.process = subprocess.Popen(command, text=True, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None, "mosquitto does not start"
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


@contextmanager
def kafka_cluster() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A mock cluster: address, and the process that it is."""
    with subprocess.Popen([sys.executable, "-c", _CLUSTER], text=True, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()
