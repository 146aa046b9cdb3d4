"""Results to MQTT: topics for each camera, devices for Home Assistant, and switches that it may have."""

import json
import logging
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sightline.base.extras import require_extra
from sightline.base.redact import redact
from sightline.config import Config
from sightline.config.streams import MqttOptions
from sightline.entities import CameraState, Mute
from sightline.errors import SightlineError
from sightline.store.kinds import COUNT, PendingRow
from sightline.supervisor.sinks.home_assistant import CameraTopics, availability_topic, discovery
from sightline.supervisor.sinks.result_stream import ResultStream, Stream, in_order, message_of, stream_of

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
    from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger(__name__)

KEEPALIVE_S = 60
BY = "MQTT"  # stands beside what switches do
STATES_AT_ONCE = 100
MAX_COMMAND = 20  # bytes that are looked at
_NOT_RUNNING = frozenset({CameraState.STOPPED, CameraState.MISCONFIGURED})


class Mutes(Protocol):
    """What the mute switches act on: the alert engine."""

    def mute(self, mute: Mute) -> object:
        """Tell nobody of a camera's alerts for a while, or again."""

    def is_muted(self, camera: str) -> bool:
        """Whether nobody is told of any alert of a camera."""


class MqttSink(ResultStream):
    """One connection, used by the sink's thread alone; each failure ends it, and the next try makes another.

    What was given to :meth:`deliver` is published at least once (QoS 1), in order. Topics of states are
    retained, and published when they change and when the connection is new.

    Attributes:
        mutes: what the mute switches act on; None: there are none.
        set_enabled: what the switches of the cameras call: camera, whether it is to run, who says so. None:
            they are not obeyed.
        is_enabled: whether a camera is to run; one that is, and has stopped, ends with the program.
    """

    name = "mqtt"
    tick_s = 1.0

    def __init__(self, options: MqttOptions) -> None:
        super().__init__()
        self.mutes: Mutes | None = None
        self.set_enabled: Callable[[str, bool, str], object] | None = None
        self.is_enabled: Callable[[str], bool] = lambda _: False
        self._options = options
        self._client: Client | None = None
        self._begun = False  # something has been delivered: a stand-by connects to nothing
        self._answer: ReasonCode | None = None  # to the connection
        self._refusal = ""  # of what was published
        self._waiting: deque[MQTTMessageInfo] = deque()
        self._retained: dict[str, str] = {}  # by topic, as published last; each connection begins with them
        self._announced: dict[str, set[str]] = {}  # by camera, topics of its entities
        self._zones: dict[str, tuple[str, ...]] = {}  # by camera
        self._classes: dict[str, set[str]] = {}  # by camera, that a window has counted
        self._counts: dict[str, dict[str, Any]] = {}  # by camera, those of its newest window that has ended
        self._commands: dict[tuple[str, str], bool] = {}  # by camera and switch, the newest

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Publish the rows and the states that they change; return once all of it is acknowledged.

        Raises:
            OSError: it was not in time, or the broker refuses it.
        """
        self._begun = True
        self._while_connected(lambda: self._publish_rows(rows))

    def tick(self) -> None:
        """Keep the connection, do what switches ask for, and show what they have done."""
        if self._begun:
            self._while_connected(self._obey)

    def close(self) -> None:
        """Say that this program is gone, and disconnect."""
        if self._client is not None:
            try:
                self._publish(availability_topic(self._options.prefix), "offline", retain=True)
                self._wait_for_acknowledgements()
                self._client.disconnect()
            except (OSError, RuntimeError) as error:
                log.warning("mqtt: the connection ends without a goodbye: %s", error)
            self._drop()

    # -- the connection -------------------------------------------------------------------------------

    def _while_connected(self, work: Callable[[], object]) -> None:
        try:
            if self._client is None or not self._client.is_connected():
                self._connect()
            work()
            self._wait_for_acknowledgements()
        except BaseException:
            self._drop()
            raise

    def probe(self) -> str:
        """Log in under another name, so that a program that runs keeps its connection."""
        try:
            self._log_in(self._make_client(f"{self._options.prefix}-check"))
            self._used().disconnect()
        finally:
            self._drop()
        return f"MQTT {self._options.protocol}"

    def _connect(self) -> None:
        from paho.mqtt.subscribeoptions import SubscribeOptions  # noqa: PLC0415  an extra

        self._drop()
        options, availability = self._options, availability_topic(self._options.prefix)
        client = self._make_client(options.prefix)
        client.will_set(availability, "offline", qos=1, retain=True)
        self._log_in(client)
        if options.commands:
            # Otherwise a retained command that comes while we are connected would not be known as such.
            how: Any = SubscribeOptions(1, retainAsPublished=True) if options.protocol == "5" else 1
            client.subscribe([(f"{options.prefix}/+/{switch}/set", how) for switch in ("enabled", "mute")])
        for number, (topic, text) in enumerate(self._retained.items(), 1):  # the broker may have forgotten
            self._publish(topic, text, retain=True)
            if number % STATES_AT_ONCE == 0:
                self._wait_for_acknowledgements()
        self._keep(availability, "online")

    def _make_client(self, client_id: str) -> "Client":
        from paho.mqtt import client as mqtt  # noqa: PLC0415  an extra
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        options = self._options
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol={"5": mqtt.MQTTv5, "3.1.1": mqtt.MQTTv311}[options.protocol],
            reconnect_on_failure=False,
        )
        client.connect_timeout = options.timeout_s
        if options.username is not None:
            password = options.password.get_secret_value() if options.password else None
            client.username_pw_set(options.username, password)
        if options.tls:
            client.tls_set_context(_tls_context(options))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _log_in(self, client: "Client") -> None:
        """Connect, and wait for the broker's answer.

        Raises:
            OSError: it refuses us, or does not answer.
        """
        self._client, options = client, self._options
        client.connect(options.host, options.port or (8883 if options.tls else 1883), KEEPALIVE_S)
        self._turn_until(lambda: self._answer is not None)
        if self._answer is not None and self._answer.is_failure:
            raise OSError(f"the broker refuses the connection: {self._answer}")

    def _used(self) -> "Client":
        if self._client is None:
            raise OSError("there is no connection to the broker")
        return self._client

    def _drop(self) -> None:
        if self._client is not None and (connection := self._client.socket()) is not None:
            connection.close()
        self._client = self._answer = None
        self._refusal = ""
        self._waiting.clear()

    def _turn_until(self, is_done: Callable[[], bool]) -> None:
        """Send and receive until something has come.

        Raises:
            OSError: it did not in time, or the connection is lost.
        """
        from paho.mqtt import client as mqtt  # noqa: PLC0415  an extra

        client = self._used()
        deadline_s = time.monotonic() + self._options.timeout_s
        while not is_done():
            if (left_s := deadline_s - time.monotonic()) <= 0:
                raise OSError(f"no acknowledgement within {self._options.timeout_s:g} s")
            code = client.loop(left_s)
            if code is not mqtt.MQTT_ERR_SUCCESS and not is_done():
                raise OSError(f"the connection to the broker is lost: {mqtt.error_string(code)}")

    def _wait_for_acknowledgements(self) -> None:
        def all_came() -> bool:
            while self._waiting and self._waiting[0].is_published():
                self._waiting.popleft()
            return not self._waiting

        self._turn_until(all_came)
        if self._refusal:
            raise OSError(f"the broker refuses: {self._refusal}")

    def _on_connect(self, _: "Client", __: Any, ___: Any, answer: "ReasonCode", ____: Any) -> None:
        self._answer = answer

    def _on_subscribe(self, _: "Client", __: Any, ___: int, answers: list["ReasonCode"], ____: Any) -> None:
        self._refusal = next(
            (f"{answer}, commands" for answer in answers if answer.is_failure), self._refusal
        )

    def _on_publish(self, _: "Client", __: Any, ___: int, answer: "ReasonCode", ____: Any) -> None:
        if answer.is_failure:
            self._refusal = str(answer)

    # -- results --------------------------------------------------------------------------------------

    def _publish(self, topic: str, text: str, *, retain: bool = False) -> None:
        self._waiting.append(self._used().publish(topic, text, qos=1, retain=retain))

    def _keep(self, topic: str, text: str) -> None:
        """Publish a state that is new; the connection has begun with those that are not."""
        if self._retained.get(topic) != text:
            self._publish(topic, text, retain=True)
            self._retained[topic] = text

    def _publish_rows(self, rows: Sequence[PendingRow]) -> None:
        for row in in_order(rows):
            topics, text, stream = self._topics(row.source), json.dumps(message_of(row)), stream_of(row)
            if stream is Stream.STATUS:
                self._keep(f"{topics.base}/{stream}", text)
                self._show_status(topics, row.values)
                continue
            self._publish(f"{topics.base}/{stream}", text)
            if stream is Stream.WINDOWS:
                self._count(row)
                self._keep(f"{topics.base}/counts", json.dumps(self._counts[row.source]))

    def _count(self, row: PendingRow) -> None:
        """Note what a window has counted; a class that it says nothing of was not there."""
        values = row.values
        span = {name: values[name] for name in ("window_start", "window_end")}
        newest = self._counts.get(row.source)
        if newest is None or newest["window_start"] < span["window_start"]:
            newest = self._counts[row.source] = {**span, "coverage": None, "counts": {}}
        if newest["window_start"] > span["window_start"]:
            return
        if row.kind is COUNT:
            newest["counts"][values["item_class"]] = values["count"]
            self._classes.setdefault(row.source, set()).add(values["item_class"])
        else:
            newest["coverage"] = values["coverage"]

    def _show_status(self, topics: CameraTopics, status: Mapping[str, Any]) -> None:
        """Zones, switches, and the device that has them."""
        camera, prefix = topics.camera, self._options.discovery_prefix
        if status["state"] == CameraState.ONLINE:  # otherwise they are not known
            self._zones[camera] = tuple(status["occupancy"])
            for zone, tracks in status["occupancy"].items():
                self._keep(topics.occupancy(zone), str(tracks))
        is_off = status["state"] in _NOT_RUNNING
        if self._options.commands and not (is_off and self.is_enabled(camera)):
            self._keep(f"{topics.base}/enabled", "OFF" if is_off else "ON")
        zones, classes = self._zones.get(camera, ()), sorted(self._classes.get(camera, ()))
        entities = discovery(topics, zones, classes, commands=self._options.commands) if prefix else {}
        for end in self._announced.get(camera, set()) - entities.keys():
            self._keep(f"{prefix}/{end}", "")
        for end, entity in entities.items():
            self._keep(f"{prefix}/{end}", json.dumps(entity))
        self._announced[camera] = set(entities)

    def _topics(self, camera: str) -> CameraTopics:
        return CameraTopics(self._options.prefix, camera)

    # -- switches -------------------------------------------------------------------------------------

    def _on_message(self, _: "Client", __: Any, message: "MQTTMessage") -> None:
        camera, switch = message.topic.split("/")[1:3]
        position = message.payload[:MAX_COMMAND].decode(errors="replace").strip().upper()
        if message.retain:
            log.warning("mqtt: a retained command on %s is not obeyed", message.topic)
        elif camera not in self._announced or position not in {"ON", "OFF"}:
            log.warning("mqtt: %r on %.200r is no command", position, message.topic)
        else:
            self._commands[camera, switch] = position == "ON"

    def _obey(self) -> None:
        """Do what the switches ask for, and show what came of it."""
        self._used().loop(0.0)
        while self._commands:
            (camera, switch), is_on = next(iter(self._commands.items()))
            log.info("mqtt: camera %s: %s is switched %s", camera, switch, "on" if is_on else "off")
            if switch == "mute" and self.mutes is not None:
                until = time.time() + self._options.mute_s if is_on else 0.0
                self.mutes.mute(Mute(camera, "", until, BY))
                if not is_on and self.mutes.is_muted(camera):
                    log.warning("mqtt: camera %s stays muted: all are; see `sightline alerts mutes`", camera)
            elif switch == "enabled" and self.set_enabled is not None:
                try:
                    self.set_enabled(camera, is_on, BY)
                except SightlineError as error:  # it would be the same at the next try
                    log.warning("mqtt: %s", redact(error))
            del self._commands[camera, switch]
        if self.mutes is not None and self._options.commands:
            for camera in self._announced:
                position = "ON" if self.mutes.is_muted(camera) else "OFF"
                self._keep(f"{self._topics(camera).base}/mute", position)


def _tls_context(options: MqttOptions) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.tls_ca_file)
    if options.tls_cert_file is not None:
        context.load_cert_chain(options.tls_cert_file, options.tls_key_file)
    if not options.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def make(config: Config) -> list[MqttSink]:
    """The sink, where a broker is configured.

    Raises:
        SightlineError: the library is not installed.
    """
    if config.streams.mqtt is None:
        return []
    require_extra("paho", "streams.mqtt needs paho-mqtt", "mqtt")
    return [MqttSink(config.streams.mqtt)]
