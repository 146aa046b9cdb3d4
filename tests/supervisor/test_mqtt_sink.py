"""Results to MQTT: a real mosquitto, stopped, frozen and back; Home Assistant's devices and switches."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest

from sightline.base.network_cures import cure_for
from sightline.camera.messages import Report
from sightline.config import load_config
from sightline.config.alerts import AlertOptions
from sightline.config.streams import MqttOptions
from sightline.entities import (
    CameraState,
    CameraStatus,
    Checkpoint,
    CountWindow,
    Event,
    EventKind,
    Mute,
    Result,
    SourceWindow,
)
from sightline.simulation.rtsp_server import free_port
from sightline.store.kinds import pending_row
from sightline.store.read.open_alerts import OpenAlerts
from sightline.supervisor.control import Control
from sightline.supervisor.sinks.alert_engine import AlertEngine
from sightline.supervisor.sinks.mqtt_sink import MqttSink
from sightline.supervisor.sinks.sink import DurableRunner
from support.brokers import Listener, Mosquitto, frozen
from support.certificates import tls_files
from support.running_hub import running
from support.waiting import until

T0 = 1_700_000_000.0
PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def event(camera: str, number: int) -> Event:
    return Event(camera, EventKind.CROSSING, "line", number, "person", T0 + number, T0 + number, "forward")


def status(
    camera: str = "gate", at: float = T0, state: CameraState = CameraState.ONLINE, **zones: int
) -> CameraStatus:
    return CameraStatus(camera, state, "", at, occupancy=zones)


def report(camera: str, *rows: Result) -> Report:
    return Report(status(camera), Checkpoint(camera, rows, {}), {})


def options(broker: Mosquitto, **more: Any) -> MqttOptions:
    values = {"host": "127.0.0.1", "port": broker.port, "timeout_s": 1, "commands": True, **more}
    return MqttOptions.model_validate(values)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Listener]:
    made = Listener(broker)
    yield made
    made.close()


@pytest.fixture
def make(broker: Mosquitto) -> Iterator[Callable[..., MqttSink]]:
    """Makes sinks, and closes them."""
    sinks: list[MqttSink] = []

    def made(**more: Any) -> MqttSink:
        sinks.append(MqttSink(options(broker, **more)))
        return sinks[-1]

    yield made
    for sink in sinks:
        sink.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DurableRunner.__init__, "__kwdefaults__", {"retry_s": (0.05, 0.2)})


def send(sink: MqttSink, *entities: Result | CameraStatus) -> None:
    sequence = time.time_ns() // 1000
    sink.deliver([pending_row(entity, sequence + number) for number, entity in enumerate(entities)])


# -- outages ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def away(broker: Mosquitto, how: str) -> Iterator[None]:
    """While the broker is stopped, killed or frozen."""
    if how == "frozen":
        assert broker.process is not None
        with frozen(broker.process):
            yield
        return
    broker.stop() if how == "stopped" else broker.kill()
    yield
    broker.start()


@pytest.mark.fault(26)
@pytest.mark.parametrize(
    ("protocol", "outage_s"), [("5", 3), ("3.1.1", 3), pytest.param("5", 60, marks=pytest.mark.long)]
)
@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"])
def test_nothing_is_lost_and_order_is_kept_while_the_broker_is_away(
    tmp_path: Path, broker: Mosquitto, listener: Listener, how: str, outage_s: float, protocol: str
) -> None:
    cameras, numbers = ("gate", "yard"), iter(range(1, 1000))

    def happen(times: int) -> None:
        for _ in range(times):
            number = next(numbers)
            for camera in cameras:
                hub.take(report(camera, event(camera, number)))
            time.sleep(0.005)

    def told(camera: str) -> list[str]:
        return [text for topic, text in list(listener.messages) if topic == f"sightline/{camera}/events"]

    with running(tmp_path, MqttSink(options(broker, protocol=protocol))) as hub:
        happen(20)
        until(lambda: len(told("yard")) == 20)
        with away(broker, how):
            for _ in range(10):
                happen(10)
                time.sleep(outage_s / 10)
            until(lambda: not hub.sinks()[0].ok)
        happen(20)
        last = next(numbers) - 1
        for camera in cameras:
            until(lambda camera=camera: len(set(told(camera))) == last)  # type: ignore[misc]
            tracks = [json.loads(text)["track_id"] for text in told(camera)]
            assert list(dict.fromkeys(tracks)) == list(range(1, last + 1)), "in order, by first sight"
            assert len(set(told(camera))) == last, "what comes twice is the same"
        until(lambda: hub.sinks()[0].ok)
        assert listener.states["sightline/_program/availability"] == "online"
    until(lambda: listener.states["sightline/_program/availability"] == "offline")


def test_a_program_that_dies_is_shown_as_gone(broker: Mosquitto, listener: Listener, make: Any) -> None:
    sink = make()
    send(sink, status())
    until(lambda: listener.states.get("sightline/_program/availability") == "online")
    sink._client.socket().close()  # as the kernel does for a process that is killed
    until(lambda: listener.states["sightline/_program/availability"] == "offline")


def test_one_who_waits_for_the_database_connects_to_nothing(make: Any) -> None:
    sink = make()
    sink.tick()
    assert sink._client is None


def test_a_lost_connection_is_noticed_without_results(broker: Mosquitto, make: Any) -> None:
    sink = make()
    send(sink, status())
    broker.stop()
    with pytest.raises(OSError, match=r"lost|refused"):
        for _ in range(3):
            sink.tick()
    broker.start()
    sink.tick()
    assert sink._client.is_connected()


# -- topics -----------------------------------------------------------------------------------------------


@PROTOCOLS
def test_states_are_retained_and_results_are_not(broker: Mosquitto, make: Any, protocol: str) -> None:
    window = SourceWindow("gate", T0, T0 + 60, 0.5, 5.0, 0, "rtcp", "sightline-1", "abc")
    counts = [CountWindow("gate", name, 2, T0, T0 + 60, 2) for name in ("person", "car")]
    send(make(protocol=protocol), status(yard=2), event("gate", 1), *counts, window)
    late = Listener(broker, "sightline/#")
    until(lambda: "sightline/gate/counts" in late.states)
    late.close()
    assert late.states["sightline/gate/occupancy/yard"] == "2"
    assert late.json("sightline/gate/status")["schema"] == "sightline.status.v1"
    assert late.json("sightline/gate/counts") == {
        "window_start": T0,
        "window_end": T0 + 60,
        "coverage": 0.5,
        "counts": {"person": 2, "car": 2},
    }
    assert not {"sightline/gate/events", "sightline/gate/windows"} & late.states.keys()


def test_a_window_without_a_class_counts_none_of_it(listener: Listener, make: Any) -> None:
    sink = make()
    send(sink, CountWindow("gate", "person", 5, T0, T0 + 60, 5))
    until(
        lambda: (
            listener.json("sightline/gate/counts")["counts"] == {"person": 5} if listener.states else False
        )
    )
    send(sink, SourceWindow("gate", T0 + 60, T0 + 120, 1.0, 5.0, 0, "rtcp", "sightline-1", "abc"))
    until(lambda: listener.json("sightline/gate/counts")["counts"] == {})
    send(sink, CountWindow("gate", "person", 6, T0, T0 + 60, 6))  # corrected late
    send(sink, status())
    until(lambda: "sightline/gate/status" in listener.states)
    assert listener.json("sightline/gate/counts")["counts"] == {}
    assert [json.loads(text)["count"] for topic, text in listener.messages if '"count": 6' in text] == [6]


def test_events_of_the_program_have_a_level_that_no_camera_can_have(listener: Listener, make: Any) -> None:
    send(make(), event("", 1))
    until(lambda: "sightline/_program/events" in listener.states)


# -- Home Assistant ---------------------------------------------------------------------------------------


def entities_of(listener: Listener) -> dict[str, dict[str, Any]]:
    """By component and name, those that are announced now."""
    found = {}
    for topic, text in listener.states.items():
        if topic.startswith("homeassistant/") and text:
            found[f"{topic.split('/')[1]} {json.loads(text)['name']}"] = json.loads(text)
    return found


def shown(listener: Listener, entity: dict[str, Any]) -> str:
    """What Home Assistant shows of an entity: its template, rendered as it does."""
    text = listener.states[entity["state_topic"]]
    with contextlib.suppress(ValueError):
        value_json = json.loads(text)
    template = jinja2.Environment(autoescape=False).from_string(entity.get("value_template", "{{ value }}"))
    return template.render(value=text, value_json=value_json if text[0] == "{" else None)


def test_a_camera_is_a_device_whose_entities_show_what_was_sent(listener: Listener, make: Any) -> None:
    sink = make()
    count = CountWindow("gate", 'traffic "light"', 4, T0, T0 + 60, 4)
    send(sink, count, status(**{"yard": 0, "Tür/links": 3}))
    until(lambda: "switch mute" in entities_of(listener))
    entities = entities_of(listener)
    assert set(entities) == {
        "binary_sensor connection",
        "binary_sensor yard",
        "binary_sensor Tür/links",
        'sensor traffic "light" count',
        "switch enabled",
        "switch mute",
    }
    values = {name: shown(listener, entity) for name, entity in entities.items() if "mute" not in name}
    assert list(values.values()).count("ON") == 3
    assert (values["binary_sensor yard"], values["binary_sensor Tür/links"]) == ("OFF", "ON")
    assert values['sensor traffic "light" count'] == "4"
    assert len({entity["unique_id"] for entity in entities.values()}) == len(entities)
    assert {json.dumps(entity["device"]) for entity in entities.values()} == {
        json.dumps({"identifiers": ["sightline_gate"], "name": "gate", "manufacturer": "Sightline"})
    }
    for entity in entities.values():
        for source in entity["availability"]:
            assert source["topic"] in listener.states
    topics = [topic for topic in listener.states if topic.startswith("homeassistant/")]
    assert all(set(topic) <= set("/_-") | {*map(chr, range(48, 123))} for topic in topics)


def test_a_zone_that_is_no_more_is_taken_back_but_not_while_the_camera_is_away(
    listener: Listener, make: Any
) -> None:
    sink = make()
    send(sink, status(yard=1, gate=0))
    until(lambda: "binary_sensor gate" in entities_of(listener))
    send(sink, status(state=CameraState.OFFLINE), status(at=T0 + 1, yard=1))
    until(lambda: "binary_sensor gate" not in entities_of(listener))
    assert "binary_sensor yard" in entities_of(listener)
    cleared = [text for topic, text in listener.messages if "yard" in topic and not text]
    assert cleared == [], "it was taken back while the camera was away"


def test_without_discovery_and_commands_there_are_none(listener: Listener, make: Any) -> None:
    send(make(discovery_prefix=None, commands=False), status(yard=1))
    until(lambda: "sightline/gate/status" in listener.states)
    send(make(discovery_prefix=None, commands=False, prefix="other"), status())
    until(lambda: "other/gate/status" in listener.states)
    assert not [topic for topic in listener.states if topic.startswith("homeassistant") or "enabled" in topic]


class Engine:
    """What the alert engine does about mutes."""

    def __init__(self) -> None:
        self.mutes: list[Mute] = []

    def mute(self, mute: Mute) -> None:
        self.mutes.append(mute)

    def is_muted(self, camera: str) -> bool:
        return any(mute.until > time.time() for mute in self.mutes[-1:] if mute.source == camera)


def test_a_switch_mutes_alerts_for_a_while(
    listener: Listener, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sink, engine = make(mute_s=3600), Engine()
    sink.mutes = engine
    send(sink, status())
    sink.tick()
    until(lambda: listener.states.get("sightline/gate/mute") == "OFF")

    def switch(topic: str, position: str, *, retain: bool = False) -> None:
        listener.client.publish(topic, position, 1, retain=retain).wait_for_publish(5)

    def mutes() -> list[Mute]:
        sink.tick()
        return engine.mutes

    switch("sightline/gate/mute/set", "ON")
    until(lambda: len(mutes()) == 1)
    assert (engine.mutes[0].source, engine.mutes[0].rule, engine.mutes[0].who) == ("gate", "", "MQTT")
    assert abs(engine.mutes[0].until - time.time() - 3600) < 30
    until(lambda: listener.states["sightline/gate/mute"] == "ON")
    for topic, position in (("other/mute", "ON"), ("gate/mute", "MAYBE")):
        switch(f"sightline/{topic}/set", position)
    switch("sightline/gate/mute/set", "OFF")
    until(lambda: len(mutes()) == 2)
    assert engine.mutes[1].until < time.time()
    until(lambda: listener.states["sightline/gate/mute"] == "OFF")
    assert caplog.text.count("is no command") == 2


@pytest.fixture
def control(tmp_path: Path) -> Control:
    path = tmp_path / "config.yml"
    path.write_text("cameras:\n  gate:\n    url: rtsp://127.0.0.1:1/x # ours\n")
    return Control(path, load_config(path), lambda _: None)


def test_a_switch_turns_a_camera_off_and_on_for_good(
    listener: Listener, make: Any, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    sink, path = make(), control._path
    sink.set_enabled, sink.is_enabled = control.set_enabled, control.is_enabled
    send(sink, status())
    until(lambda: listener.states.get("sightline/gate/enabled") == "ON")

    def switch(topic: str, position: bytes) -> None:
        listener.client.publish(f"sightline/{topic}/enabled/set", position, 1).wait_for_publish(5)

    def last() -> list[str]:
        sink.tick()
        last: dict[str, Any] = control.state()["last"]
        return [last["by"], *last["changes"]]

    for topic, position in (("nobody", b"OFF"), ("", b"OFF"), ("gate", b"\xff" * 100_000), ("gate", b"")):
        switch(topic, position)
    until(lambda: last() and caplog.text.count("is no command") == 4)
    assert len(caplog.text) < 2000
    assert "enabled" not in path.read_text()
    switch("gate", b"OFF")
    until(lambda: last() == ["MQTT", "camera 'gate' stops: enabled: false"])
    assert "    url: rtsp://127.0.0.1:1/x # ours\n    enabled: false\n" in path.read_text()
    assert listener.states["sightline/gate/enabled"] == "ON", "it runs until it is said to have stopped"
    send(sink, status(state=CameraState.STOPPED))
    until(lambda: listener.states["sightline/gate/enabled"] == "OFF")
    path.chmod(0o444)
    switch("gate", b"ON")
    until(lambda: last() and "cannot be written (it is read-only)" in caplog.text)
    assert sink._client.is_connected() and listener.states["sightline/gate/enabled"] == "OFF"
    path.chmod(0o644)
    for position in (b"OFF", b"OFF", b"ON"):
        switch("gate", position)
    until(lambda: last() == ["MQTT", "camera 'gate' starts"])


def test_a_broker_that_has_forgotten_everything_is_told_the_states_again(
    broker: Mosquitto, tmp_path: Path, make: Any
) -> None:
    sink = make()
    send(sink, status(state=CameraState.STOPPED))
    broker.kill()
    for file in tmp_path.glob("mosquitto.db*"):
        file.unlink()
    broker.start()
    late = Listener(broker, "#")
    until(lambda: _ticks(sink) and late.states.get("sightline/gate/enabled") == "OFF")
    until(lambda: "switch enabled" in entities_of(late))
    until(lambda: late.states.get("sightline/_program/availability") == "online")
    late.close()


def _ticks(sink: MqttSink) -> bool:
    try:
        sink.tick()
    except OSError:
        return False
    return True


def test_a_retained_command_is_not_obeyed_again_at_each_start(
    listener: Listener, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listener.client.publish("sightline/gate/mute/set", "ON", 1, retain=True).wait_for_publish(5)
    sink, engine = make(), Engine()
    sink.mutes = engine
    send(sink, status())
    until(lambda: sink.tick() or "is not obeyed" in caplog.text)
    assert engine.mutes == []


def test_a_retained_command_that_comes_while_connected_is_not_obeyed_either(
    listener: Listener, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sink, engine = make(), Engine()
    sink.mutes = engine
    send(sink, status())
    sink.tick()
    listener.client.publish("sightline/gate/mute/set", "ON", 1, retain=True).wait_for_publish(5)
    until(lambda: sink.tick() or "is not obeyed" in caplog.text)
    assert engine.mutes == []


def test_a_camera_that_stops_with_the_program_is_not_shown_as_switched_off(
    listener: Listener, make: Any
) -> None:
    sink = make()
    sink.is_enabled = lambda camera: camera == "gate"
    for state in (CameraState.ONLINE, CameraState.STOPPED):
        send(sink, status(state=state), status("yard", state=state))
    until(lambda: listener.states.get("sightline/yard/enabled") == "OFF")
    assert listener.json("sightline/gate/status")["state"] == "stopped"
    assert listener.states["sightline/gate/enabled"] == "ON"


def test_a_switch_that_cannot_lift_the_mute_of_all_alerts_stays_on_and_says_so(
    listener: Listener, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sink, engine = make(), AlertEngine(AlertOptions(), lambda _: OpenAlerts())
    engine.attach(lambda _: None)
    engine.mute(Mute("", "", time.time() + 3600))
    sink.mutes = engine
    send(sink, status())
    sink.tick()
    listener.client.publish("sightline/gate/mute/set", "OFF", 1).wait_for_publish(5)
    until(lambda: sink.tick() or "gate stays muted" in caplog.text)
    assert listener.states["sightline/gate/mute"] == "ON"


def test_a_try_leaves_a_program_that_runs_connected_and_publishes_nothing(
    listener: Listener, make: Any
) -> None:
    sink = make()
    send(sink, status())
    until(lambda: "switch mute" in entities_of(listener))
    before = len(listener.messages)
    assert make().probe() == "MQTT 5"
    assert make(protocol="3.1.1").probe() == "MQTT 3.1.1"
    sink.tick()
    assert sink._client.is_connected()
    send(sink, event("gate", 1))
    until(lambda: len(listener.messages) > before)
    assert [topic for topic, _ in listener.messages[before:]] == ["sightline/gate/events"]


# -- refusals ---------------------------------------------------------------------------------------------


def test_nobody_listens_at_the_port(broker: Mosquitto) -> None:
    sink = MqttSink(options(broker, port=free_port()))
    with pytest.raises(OSError, match="refused"):
        send(sink, status())


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_is_named_as_such_and_not_shown(tmp_path: Path, protocol: str) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "us", "hunter2"], check=True)
    broker = Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    broker.start()
    try:
        sink = MqttSink(options(broker, protocol=protocol, username="us", password="hunter3"))
        with pytest.raises(OSError, match=r"refuses the connection: .*uthori") as error:
            send(sink, status())
        assert "hunter" not in str(error.value)
        with pytest.raises(OSError, match="refuses the connection") as error:
            sink.probe()
        assert "check user name and password" in cure_for(str(error.value))
        sink = MqttSink(options(broker, protocol=protocol, username="us", password="hunter2"))
        send(sink, status())
        sink.close()
    finally:
        broker.stop()


def test_what_the_broker_does_not_let_us_publish_is_not_delivered(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite sightline/_program/#\ntopic readwrite sightline/gate/#\n")
    broker = Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rules}")
    broker.start()
    try:
        sink = MqttSink(options(broker, discovery_prefix=None, commands=False))
        send(sink, event("gate", 1))
        with pytest.raises(OSError, match="the broker refuses: Not authorized"):
            send(sink, event("yard", 1))
        sink.close()
    finally:
        broker.stop()


def test_tls_checks_the_brokers_certificate(tmp_path: Path) -> None:
    certificate, key = tls_files(tmp_path)
    broker = Mosquitto(tmp_path, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
    broker.start()
    try:
        good = {"tls": True, "host": "localhost", "tls_ca_file": certificate, "timeout_s": 5}
        sink = MqttSink(options(broker, **good))
        send(sink, status())
        sink.close()
        for wrong in ({"tls_ca_file": None}, {"host": "127.0.0.1"}):
            with pytest.raises(OSError, match="certificate verify failed"):
                send(MqttSink(options(broker, **{**good, **wrong})), status())
        sink = MqttSink(options(broker, tls=True, verify_tls=False, timeout_s=5))
        send(sink, status())
        sink.close()
    finally:
        broker.stop()
