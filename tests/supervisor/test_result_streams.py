"""What streams send: which rows, what a message says, and the schemas that hold it to that."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sightline.config import parse_config
from sightline.config.alerts import AlertOptions
from sightline.config.groups import SOURCE
from sightline.config.loader import parse_text
from sightline.entities import (
    Alert,
    AlertState,
    CameraState,
    CameraStatus,
    CountWindow,
    Event,
    EventEnd,
    EventKind,
    Mute,
    Result,
    SourceWindow,
)
from sightline.errors import ConfigError, SightlineError
from sightline.store.kinds import UNWATCHED, PendingRow, merge, pending_row
from sightline.store.read.open_alerts import OpenAlerts
from sightline.supervisor.sinks import DurableSink, make_sinks
from sightline.supervisor.sinks.alert_engine import AlertEngine
from sightline.supervisor.sinks.kafka_sink import settings
from sightline.supervisor.sinks.mqtt_sink import MqttSink
from sightline.supervisor.sinks.result_stream import ResultStream, in_order, json_schemas, message_of

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
T0 = 1_700_000_000.0
ENTER = Event("gate", EventKind.ENTER, "yard/2", 7, "person", T0, T0 + 0.5, first_time=T0)
CROSSING = replace(ENTER, kind=EventKind.CROSSING, direction="forward", x=0.5, y=0.5, media_s=1.0)
COUNT = CountWindow("gate", "traffic light", 3, T0, T0 + 60, 2)
COVERAGE = SourceWindow("gate", T0, T0 + 60, 0.5, 5.0, 0, "rtcp", "sightline-1", "abc")
STATUS = CameraStatus(
    "gate",
    CameraState.ONLINE,
    "",
    T0,
    warnings=("slow",),
    stages_ms={"infer": {"mean": 1.5}},
    occupancy={"yard": 2},
)


class Stream(ResultStream):
    """One that sends nothing anywhere."""

    name = "stream"

    def deliver(self, rows: Any) -> None:
        raise NotImplementedError


def row(entity: Result | CameraStatus, sequence: int = 1) -> PendingRow:
    return pending_row(entity, sequence)


def test_the_schemas_of_the_documents_are_those_of_the_entities() -> None:
    for name, schema in json_schemas().items():
        written = json.loads((SCHEMAS / f"{name}.v1.json").read_text())
        cure = f"sightline schema --stream {name} > docs/schemas/{name}.v1.json"
        assert written == schema, f"the entity has changed; write the schema anew: {cure}"


@pytest.mark.parametrize(
    ("name", "entity"),
    [
        ("event", ENTER),
        ("event", EventEnd(ENTER, T0 + 9)),
        ("event", CROSSING),
        ("window", COUNT),
        ("window", replace(COUNT, arrivals=None, coverage=0.5)),
        ("window", COVERAGE),
        ("status", STATUS),
        ("status", CameraStatus("gate", CameraState.OFFLINE, "refused", T0)),
    ],
)
def test_messages_are_as_their_schema_says(name: str, entity: Result | CameraStatus) -> None:
    schema = json.loads((SCHEMAS / f"{name}.v1.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    message = json.loads(json.dumps(message_of(row(entity))))
    jsonschema.validate(message, schema)
    assert message["schema"] == f"sightline.{name}.v1"
    for key in message:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({other: value for other, value in message.items() if other != key}, schema)


def test_an_event_and_its_end_have_one_key_that_any_header_can_carry() -> None:
    began, ended = message_of(row(ENTER)), message_of(row(EventEnd(ENTER, T0 + 9), 2))
    assert began["key"] == ended["key"] == "event/gate/enter/yard%2F2/7/1700000000.0/0"
    assert (began["end_time"], ended["end_time"], message_of(row(CROSSING))["end_time"]) == (None, T0 + 9, T0)
    assert message_of(row(replace(ENTER, place="yard", track_id=2)))["key"] != began["key"]
    keys = [message_of(row(entity))["key"] for entity in (COUNT, COVERAGE)]
    assert keys[0] == "count/gate/traffic%20light/1700000000.0/1700000060.0"
    assert message_of(UNWATCHED.pending(COVERAGE, 3))["key"] == keys[1]


def test_rows_of_one_checkpoint_go_in_the_order_of_their_time() -> None:
    later = replace(ENTER, kind=EventKind.CROSSING, event_time=T0 + 2)
    rows = [row(later), row(ENTER), row(CROSSING, 0)]
    assert in_order(rows) == [rows[2], rows[1], rows[0]]


def test_a_stream_wants_events_ended_windows_and_what_is_new_of_a_status() -> None:
    stream, now = Stream(), time.time()
    assert stream.wants(row(ENTER)) and stream.wants(row(EventEnd(ENTER, T0 + 1)))
    open_window = replace(COVERAGE, window_start=now - 30, window_end=now + 30)
    assert [stream.wants(row(window)) for window in (COUNT, COVERAGE, open_window)] == [True, True, False]
    assert stream.wants(UNWATCHED.pending(COVERAGE, 1))
    alert = Alert("id", "rule", "gate", "enter", "yard", "", None, "info", AlertState.NEW, T0, T0, T0)
    assert not stream.wants(row(alert))
    assert not stream.wants(row(replace(ENTER, source=SOURCE))), "the canary is no camera"


def test_a_status_is_sent_each_ten_seconds_and_when_something_changes() -> None:
    stream = Stream()

    def wanted(
        at: float, state: CameraState = CameraState.ONLINE, tracks: int = 0, source: str = "gate"
    ) -> bool:
        status = CameraStatus(source, state, "", T0 + at, frames_total=int(at), occupancy={"yard": tracks})
        return stream.wants(row(status))

    assert [wanted(at) for at in range(22)] == [at in {0, 10, 20} for at in range(22)]
    assert wanted(21, source="other")
    assert wanted(22, CameraState.OFFLINE) and not wanted(23, CameraState.OFFLINE)
    assert wanted(24) and wanted(25, tracks=1) and not wanted(26, tracks=2) and wanted(27, tracks=0)
    assert wanted(-5), "the clock was set back"


def test_a_newer_row_that_a_sink_does_not_want_reaches_it_in_place_of_the_older_one() -> None:
    rows: dict[str, PendingRow] = {}
    merge(rows, [replace(row(STATUS, 1), sinks=("kafka", "mqtt"))])
    merge(rows, [replace(row(STATUS, 2), sinks=("mqtt",)), row(ENTER, 2)])
    status, event = rows.values()
    assert (status.sequence, set(status.sinks), event.sinks) == (2, {"kafka", "mqtt"}, ())


def test_the_engine_says_whether_a_camera_is_muted() -> None:
    now = [0.0]
    engine = AlertEngine(AlertOptions(), lambda _: OpenAlerts(), clock=lambda: now[0])

    def muted() -> list[str]:
        return [camera for camera in ("gate", "yard", "hall") if engine.is_muted(camera)]

    for mute in (Mute("gate", "", 50.0), Mute("gate", "night", 90.0), Mute("yard", "", 10.0)):
        engine.mute(mute)
    assert muted() == ["gate", "yard"]
    engine.mute(Mute("", "", 30.0))
    assert muted() == ["gate", "yard", "hall"]
    now[0] = 40.0
    assert muted() == ["gate"]


# -- configuration ----------------------------------------------------------------------------------------


def options(**streams: Any) -> Any:
    cameras = {"gate": {"url": "rtsp://127.0.0.1:1/x"}}
    return parse_config({"cameras": cameras, "streams": streams}).options


def test_sinks_are_made_of_what_is_configured_and_the_switches_reach_the_alerts() -> None:
    def of(config: Any) -> dict[str, Any]:
        return {sink.name: sink for sink in make_sinks(config) if isinstance(sink, DurableSink)}

    assert not {"kafka", "mqtt"} & of(options()).keys()
    sinks = of(options(kafka={"servers": ["127.0.0.1:9092"]}, mqtt={"host": "localhost", "protocol": 5}))
    assert isinstance(sinks["mqtt"], MqttSink) and isinstance(sinks["mqtt"].mutes, AlertEngine)
    assert "kafka" in sinks


def test_the_examples_of_the_document_are_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA", "MQTT"):
        monkeypatch.setenv(f"SIGHTLINE_{name}_PASSWORD", "hunter2")
    examples = re.findall(r"```yaml\n(.*?)```", (SCHEMAS.parent / "streams.md").read_text(), re.DOTALL)
    assert len(examples) == 4
    for text in examples:
        loaded = parse_text(text).options.streams
        assert loaded.kafka or loaded.mqtt


@pytest.mark.parametrize(("name", "more"), [("kafka", {"servers": ["x:1"]}), ("mqtt", {"host": "x"})])
def test_a_missing_library_is_named_with_its_extra(
    name: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.base.extras.find_spec", lambda _: None)
    with pytest.raises(SightlineError, match=rf"pip install 'sightline\[{name}\]'"):
        make_sinks(options(**{name: more}))


@pytest.mark.parametrize(
    ("broker", "key", "text"),
    [
        ({"kafka": {"servers": ["kafka"]}}, "streams.kafka.servers.0", "HOST:PORT"),
        ({"kafka": {"servers": ["http://kafka:9092"]}}, "streams.kafka.servers.0", "HOST:PORT"),
        ({"kafka": {"servers": []}}, "streams.kafka", "names no broker"),
        ({"kafka": {"servers": ["k:1"], "username": "u"}}, "streams.kafka", "need each other"),
        (
            {"kafka": {"servers": ["k:1"], "username": "u", "password": "hunter2", "mechanism": "PLAIN"}},
            "streams.kafka",
            "tls: true",
        ),
        ({"mqtt": {}}, "streams.mqtt.host", "is required"),
        ({"mqtt": {"host": "mqtt://broker:1883"}}, "streams.mqtt.host", "without scheme"),
        ({"mqtt": {"host": "broker:1883"}}, "streams.mqtt.host", "without scheme and port"),
        ({"mqtt": {"host": "b", "protocol": 4}}, "streams.mqtt.protocol", "3.1.1"),
        ({"mqtt": {"host": "b", "prefix": "a/#"}}, "streams.mqtt.prefix", "letters"),
        ({"mqtt": {"host": "b", "password": "hunter2"}}, "streams.mqtt", "needs a username"),
        ({"mqtt": {"host": "b", "tls_ca_file": "ca.pem"}}, "streams.mqtt", "tls: true"),
        ({"mqtt": {"host": "b", "tls": True, "tls_cert_file": "c"}}, "streams.mqtt", "need each other"),
    ],
)
def test_mistakes_are_named_with_their_key(broker: dict[str, Any], key: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options(**broker)
    [problem] = caught.value.problems
    assert (problem.key, text in str(problem), "hunter2" in str(problem)) == (key, True, False)


def test_a_certificate_that_is_not_there_is_named() -> None:
    raw = {"streams": {"kafka": {"servers": ["k:1"], "tls": True, "tls_ca_file": "/nowhere/ca.pem"}}}
    [problem] = parse_config(raw, on_disk=True).problems
    assert (problem.key, "cannot be read" in str(problem)) == ("streams.kafka.tls_ca_file", True)


def test_the_settings_of_kafka_are_as_secure_as_asked_for() -> None:
    plain = settings(options(kafka={"servers": ["a:1", "[::1]:2"]}).streams.kafka)
    assert (plain["bootstrap.servers"], plain["security.protocol"]) == ("a:1,[::1]:2", "PLAINTEXT")
    assert (plain["enable.idempotence"], plain["acks"]) == (True, "all")
    secure = {"servers": ["a:1"], "tls": True, "username": "u", "password": "p", "tls_ca_file": "ca.pem"}
    values = settings(options(kafka=secure).streams.kafka)
    assert (values["security.protocol"], values["sasl.mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (values["sasl.password"], values["ssl.ca.location"]) == ("p", "ca.pem")
    assert values["enable.ssl.certificate.verification"] is True
