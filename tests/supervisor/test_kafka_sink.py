"""Results to Kafka: librdkafka's mock cluster, frozen and back; nothing lost, order kept."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.base.network_cures import cure_for
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
from sightline.simulation.rtsp_server import free_port
from sightline.store.kinds import pending_row
from sightline.supervisor.sinks.kafka_sink import KafkaSink
from sightline.supervisor.sinks.sink import DurableRunner
from support.brokers import KafkaReader, frozen, kafka_cluster
from support.certificates import tls_files
from support.running_hub import running
from support.waiting import until

T0 = 1_700_000_000.0


def event(camera: str, number: int) -> Event:
    return Event(camera, EventKind.CROSSING, "line", number, "person", T0 + number, T0 + number, "forward")


def report(camera: str, *rows: Any, at: float = T0) -> Report:
    return Report(CameraStatus(camera, CameraState.ONLINE, "", at), Checkpoint(camera, rows, {}), {})


def options(address: str, **more: Any) -> KafkaOptions:
    return KafkaOptions.model_validate({"servers": [address], "timeout_s": 1, "prefix": "site", **more})


@contextlib.contextmanager
def reading(address: str, topic: str) -> Iterator[KafkaReader]:
    reader = KafkaReader(address, topic)
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


@pytest.mark.fault(26)
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


# -- tries that tell nobody, and what is wrong -------------------------------------------------------------


def problem_of(options: KafkaOptions) -> str:
    """What a try says; a delivery says the same."""
    with pytest.raises(OSError, match=r".") as tried:
        KafkaSink(options).probe()
    sink = KafkaSink(options)
    with pytest.raises(OSError, match="no acknowledgement within") as delivered:
        sink.deliver([pending_row(event("gate", 1), 1)])
    sink.close()
    problem = str(tried.value)
    assert cure_for(problem) == cure_for(str(delivered.value).partition(": ")[2])
    return problem


@contextlib.contextmanager
def tls_in_front_of(address: str, certificate: Path, key: Path) -> Iterator[int]:
    """A port of TLS that passes everything on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host, _, port = address.partition(":")

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = server.accept()
                try:
                    inside = context.wrap_socket(plain, server_side=True)
                except OSError:  # the client does not trust us
                    continue
                behind = socket.create_connection((host, int(port)))
                for pair in ((inside, behind), (behind, inside)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])


def test_a_cluster_is_tried_without_a_message() -> None:
    with kafka_cluster() as (address, _):
        assert KafkaSink(options(address, timeout_s=5)).probe() == (
            "1 broker; not there yet: site.events, site.windows, site.status"
        )


def test_tls_to_a_cluster_is_checked_by_authority_and_name(tmp_path: Path) -> None:
    certificate, key = tls_files(tmp_path)
    good = {"tls": True, "tls_ca_file": certificate, "timeout_s": 3}
    with kafka_cluster() as (address, _), tls_in_front_of(address, certificate, key) as port:
        for server, more in ((f"localhost:{port}", {}), (f"127.0.0.1:{port}", {"verify_tls": False})):
            patient = options(server, **{**good, **more, "timeout_s": 20})
            assert KafkaSink(patient).probe().startswith("1 broker")
        for server, more in ((f"127.0.0.1:{port}", {}), (f"localhost:{port}", {"tls_ca_file": None})):
            problem = problem_of(options(server, **{**good, **more}))
            assert "certificate verify failed" in problem
            assert "not trusted" in cure_for(problem)
        assert "do not agree on TLS" in cure_for(problem_of(options(address, **good)))
        assert "do not agree on TLS" in cure_for(problem_of(options(f"localhost:{port}", timeout_s=3)))


def test_a_broker_that_cannot_be_reached_is_told_with_the_cure() -> None:
    assert "nothing listens there" in cure_for(problem_of(options(f"127.0.0.1:{free_port()}")))
    assert "does not resolve" in cure_for(problem_of(options("nowhere.invalid:9092", timeout_s=3)))


class LockedBroker(socketserver.StreamRequestHandler):
    """Just enough of a broker to refuse a password."""

    def handle(self) -> None:
        with contextlib.suppress(OSError, struct.error):
            while True:
                (size,) = struct.unpack(">i", self.rfile.read(4))
                request, version, number = struct.unpack(">hhi", self.rfile.read(size)[:8])
                name = b"SCRAM-SHA-512"
                known = b"".join(struct.pack(">hhh", *item) for item in ((17, 0, 1), (18, 0, 0), (36, 0, 0)))
                refusal = b"Authentication failed during authentication due to invalid credentials"
                body = {
                    17: struct.pack(f">hih{len(name)}s", 0, 1, len(name), name),
                    18: struct.pack(">hi", 35 if version else 0, 3) + known,
                    36: struct.pack(f">hh{len(refusal)}si", 58, len(refusal), refusal, 0),
                }[request]
                self.wfile.write(struct.pack(">ii", len(body) + 4, number) + body)


def test_a_password_that_is_refused_is_told_as_such_and_not_shown() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), LockedBroker) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        problem = problem_of(options(address, username="us", password="hunter2", timeout_s=2))
        server.shutdown()
    assert "invalid credentials" in problem and "hunter2" not in problem
    assert "check user name and password" in cure_for(problem)
