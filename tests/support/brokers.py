"""Real brokers for a test: Debian's mosquitto, and librdkafka's mock cluster in a process of its own.

And clients that receive from them.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from paho.mqtt import client as mqtt

from sightline.simulation.rtsp_server import free_port
from support.waiting import until

_MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
_CLUSTER = """
import signal
from confluent_kafka import Producer
producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
[broker] = producer.list_topics(timeout=10).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
signal.pause()
"""


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
    """A broker at one port that can be stopped, killed and started; what it holds for clients is kept."""

    def __init__(self, folder: Path, *lines: str) -> None:
        if _MOSQUITTO is None:
            pytest.fail("mosquitto is not installed (.ci/run installs it)")
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        user = ("user root",) if os.geteuid() == 0 else ()
        basics = (f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/")
        basics += ("autosave_on_changes true", "autosave_interval 1")  # so a kill loses no subscription
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
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
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


class Listener:
    """A client that remembers; the broker keeps for it what comes while it is away."""

    def __init__(self, broker: Mosquitto, topics: str = "#") -> None:
        self.messages: list[tuple[str, str]] = []
        self.states: dict[str, str] = {}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, "listener", clean_session=False, protocol=mqtt.MQTTv311
        )
        self.client.reconnect_delay_set(1, 1)
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = self._on_message
        self.client.on_connect = lambda client, *_: client.subscribe(topics, 1)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert subscribed.wait(10)

    def _on_message(self, _: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        text = message.payload.decode(errors="replace")
        self.messages.append((message.topic, text))
        self.states[message.topic] = text

    def json(self, topic: str) -> Any:
        return json.loads(self.states[topic])

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class KafkaReader:
    """Reads a topic from its beginning."""

    def __init__(self, address: str, topic: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": address, "group.id": "reader", "log_level": 2})
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        self.partitions = len(partitions)
        self.messages: list[Any] = []

    def read(self, timeout_s: float = 0.2) -> list[Any]:
        while (message := self._consumer.poll(timeout_s)) is not None:
            if message.error() is None:
                self.messages.append(message)
        return self.messages

    def close(self) -> None:
        self._consumer.close()
