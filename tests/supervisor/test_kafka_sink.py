"""Results to Kafka: librdkafka's mock cluster, frozen and back; nothing lost, order kept."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from sightline.camera.messages import Report
from sightline.config.streams import KafkaOptions
from sightline.entities import (
    CameraState,
    CameraStatus,
    Checkpoint,
    CountWindow,
    Event,
    EventKind,
    SourceWindow,
)
from sightline.store.kinds import pending_row
from sightline.supervisor.sinks.kafka_sink import KafkaSink
from sightline.supervisor.sinks.sink import DurableRunner
from support.brokers import free_port, frozen, kafka_cluster
from support.running_hub import running
from support.waiting import until

T0 = 1_700_000_000.0


def event(camera: str, number: int) -> Event:
    return Event(camera, EventKind.CROSSING, "line", number, "person", T0 + number, T0 + number, "forward")


def report(camera: str, *rows: Any, at: float = T0) -> Report:
    return Report(CameraStatus(camera, CameraState.ONLINE, "", at), Checkpoint(camera, rows, {}), {})


def options(address: str, **more: Any) -> KafkaOptions:
    return KafkaOptions.model_validate({"servers": [address], "timeout_s": 1, "prefix": "site", **more})


class Reader:
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


@contextlib.contextmanager
def reading(address: str, topic: str) -> Iterator[Reader]:
    reader = Reader(address, topic)
    yield reader
    reader.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DurableRunner.__init__, "__kwdefaults__", {"retry_s": (0.05, 0.2)})


def test_each_stream_has_its_topic_keyed_by_camera(tmp_path: Path) -> None:
    window = SourceWindow("gate", T0, T0 + 60, 1.0, 5.0, 0, "rtcp", "sightline-1", "abc")
    with kafka_cluster() as (address, _), running(tmp_path, KafkaSink(options(address))) as hub:
        hub.take(report("gate", event("gate", 1), window, CountWindow("gate", "person", 2, T0, T0 + 60, 2)))
        until(lambda: hub.sinks()[0].delivered == 4)
        assert hub.sinks()[0].ok
        for topic, schema, count in (
            ("events", "event", 1),
            ("windows", "window", 2),
            ("status", "status", 1),
        ):
            with reading(address, f"site.{topic}") as reader:
                until(lambda reader=reader, count=count: len(reader.read()) == count)  # type: ignore[misc]
                for message in reader.messages:
                    body = json.loads(message.value())
                    assert (message.key(), body["schema"]) == (b"gate", f"sightline.{schema}.v1")
                    assert dict(message.headers())["key"].decode() == body["key"]


@pytest.mark.parametrize("outage_s", [4, pytest.param(60, marks=pytest.mark.long)])
def test_nothing_is_lost_and_order_is_kept_while_the_cluster_is_frozen(
    tmp_path: Path, outage_s: float
) -> None:
    cameras = ("gate", "yard", "hall")
    with kafka_cluster() as (address, process), running(tmp_path, KafkaSink(options(address))) as hub:
        numbers = iter(range(1, 1000))

        def happen(times: int) -> None:
            for _ in range(times):
                number = next(numbers)
                for camera in cameras:
                    hub.take(report(camera, event(camera, number)))
                time.sleep(0.01)

        happen(20)
        until(lambda: hub.sinks()[0].ok and hub.sinks()[0].delivered >= 60)
        with frozen(process):
            for _ in range(10):
                happen(10)
                time.sleep(outage_s / 10)
            health = hub.sinks()[0]
            assert not health.ok and "no acknowledgement within 1 s" in health.last_error
        happen(20)
        last = next(numbers) - 1
        with reading(address, "site.events") as reader:
            until(lambda: len({message.headers()[0][1] for message in reader.read()}) == 3 * last)
            assert reader.partitions > 1
            for camera in cameras:
                mine = [message for message in reader.messages if message.key() == camera.encode()]
                assert len({message.partition() for message in mine}) == 1
                tracks = [json.loads(message.value())["track_id"] for message in mine]
                assert list(dict.fromkeys(tracks)) == list(range(1, last + 1)), "in order, by first sight"
            bodies: dict[str, set[bytes]] = {}
            for message in reader.messages:
                bodies.setdefault(dict(message.headers())["key"].decode(), set()).add(message.value())
            assert {len(values) for values in bodies.values()} == {1}, "what comes twice is the same"
        until(lambda: hub.sinks()[0].ok)


def test_a_row_that_comes_again_is_not_handed_to_the_library_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[int] = []
    produce = KafkaSink._produce

    def count(sink: KafkaSink, producer: Any, row: Any) -> None:
        handed.append(row.values["track_id"])
        produce(sink, producer, row)

    monkeypatch.setattr(KafkaSink, "_produce", count)
    rows = [pending_row(event("gate", number), number) for number in range(1, 4)]
    with kafka_cluster() as (address, process):
        sink = KafkaSink(options(address, timeout_s=0.3))
        until(lambda: _takes(sink, rows[:1]))
        with frozen(process):
            for _ in range(3):
                with pytest.raises(OSError, match=r"no acknowledgement within 0\.3 s"):
                    sink.deliver(rows[1:])
        until(lambda: _takes(sink, rows[1:]))
        with reading(address, "site.events") as reader:
            until(lambda: len({message.value() for message in reader.read()}) == 3)
        assert handed == [1, 2, 3]
        sink.close()


def _takes(sink: KafkaSink, rows: Any) -> bool:
    try:
        sink.deliver(rows)
    except OSError:
        return False
    return True


def test_no_broker_is_a_failure_with_its_reason_and_the_end_does_not_wait() -> None:
    sink = KafkaSink(options(f"127.0.0.1:{free_port()}"))
    with pytest.raises(OSError, match=r"no acknowledgement.*refused"):
        sink.deliver([pending_row(event("gate", 1), 1)])
    started = time.monotonic()
    sink.close()
    assert time.monotonic() - started < 2


def test_settings_that_the_library_refuses_are_a_failure_without_the_password(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    secure = {"tls": True, "tls_ca_file": tmp_path / "ca.pem", "username": "u", "password": "hunter2"}
    with pytest.raises(OSError, match=r"ca\.pem|ssl") as error:
        KafkaSink(options("127.0.0.1:1", **secure)).deliver([pending_row(event("gate", 1), 1)])
    assert "hunter2" not in str(error.value)
