"""Results to Kafka: topics of events, windows and status, keyed by camera."""

import json
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sightline.base.extras import require_extra
from sightline.config import Config
from sightline.config.streams import KafkaOptions
from sightline.store.kinds import PendingRow
from sightline.supervisor.sinks.result_stream import ResultStream, Stream, in_order, message_of, stream_of

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

log = logging.getLogger(__name__)

MAX_SENT = 1000  # messages that the library holds; more are not handed to it before some are acknowledged


class KafkaSink(ResultStream):
    """An idempotent producer: every broker in sync has a message before it counts as delivered.

    The library repeats what is not acknowledged by itself, in order and for ever; a row that comes again
    since :meth:`deliver` gave up waiting is not handed to it a second time. So within one run of the program
    nothing is sent twice by us, and what an earlier run has sent may come again, under the same key.
    """

    name = "kafka"

    def __init__(self, options: KafkaOptions) -> None:
        super().__init__()
        self._options = options
        self._producer: Producer | None = None
        self._sent: dict[tuple[str, int], bool] = {}  # by key and sequence: whether it is acknowledged
        self._problem = ""  # what the library last complained of
        self._is_broken = False  # the producer can go on no more

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Produce the rows; return once all of them are acknowledged.

        Raises:
            OSError: they were not in time; what is on its way may still arrive.
        """
        from confluent_kafka import KafkaException  # noqa: PLC0415  an extra

        try:
            producer = self._open()
            for row in in_order(rows):
                item = row.key, row.sequence
                if item not in self._sent and len(self._sent) < MAX_SENT:
                    self._produce(producer, row)
                    self._sent[item] = False
        except KafkaException as error:
            raise OSError(str(error.args[0])) from error
        producer.flush(self._options.timeout_s)
        if not all(self._sent.get((row.key, row.sequence)) for row in rows):
            waited = f"no acknowledgement within {self._options.timeout_s:g} s"
            raise OSError(f"{waited}: {self._problem}" if self._problem else waited)
        self._sent = {item: False for item, acknowledged in self._sent.items() if not acknowledged}
        self._problem = ""

    def probe(self) -> str:
        """Ask for the cluster's brokers and topics."""
        from confluent_kafka import KafkaException  # noqa: PLC0415  an extra

        try:
            producer = self._open()
            cluster = producer.list_topics(timeout=self._options.timeout_s)
        except KafkaException as error:
            if self._producer is not None:
                self._producer.poll(0)  # what it complains of
            raise OSError(self._problem or error.args[0].str()) from error
        finally:
            self.close()
        count = len(cluster.brokers)
        missing = [topic for stream in Stream if (topic := self._topic(stream)) not in cluster.topics]
        there = f"{count} broker{'s' * (count > 1)}"
        return f"{there}; not there yet: {', '.join(missing)}" if missing else there

    def tick(self) -> None:
        """Let the library say what it has to say."""
        if self._producer is not None:
            self._producer.poll(0)

    def close(self) -> None:
        """Leave what is on its way: it comes again at the next start."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(0)
            self._producer = None

    def _produce(self, producer: "Producer", row: PendingRow) -> None:
        message = message_of(row)
        producer.produce(
            self._topic(stream_of(row)),
            json.dumps(message).encode(),
            key=row.source,
            headers=[("key", message["key"].encode()), ("schema", message["schema"].encode())],
            on_delivery=partial(self._on_delivery, (row.key, row.sequence)),
        )

    def _topic(self, stream: Stream) -> str:
        return f"{self._options.prefix}.{stream}"

    def _on_delivery(self, item: tuple[str, int], error: "KafkaError | None", _: "Message") -> None:
        """Note what has become of a message; called by the library while this thread is in it."""
        if error is None:
            self._sent[item] = True
        else:
            self._on_error(error)
            self._sent.pop(item, None)

    def _on_error(self, error: "KafkaError") -> None:
        if not self._problem or error.name() != "_ALL_BROKERS_DOWN":  # that one follows upon the reason
            self._problem = error.str()
        self._is_broken |= error.fatal()

    def _open(self) -> "Producer":
        """The producer; a new one where the old one has come to its end."""
        from confluent_kafka import Producer  # noqa: PLC0415  an extra

        if self._is_broken:
            log.error("kafka: the producer has failed and is replaced: %s", self._problem)
            self.close()
            self._sent.clear()
            self._is_broken = False
        if self._producer is None:
            self._producer = Producer({**settings(self._options), "error_cb": self._on_error}, logger=log)
        return self._producer


def settings(options: KafkaOptions) -> dict[str, Any]:
    """The options as librdkafka calls them."""
    security = ("SASL_" if options.username else "") + ("SSL" if options.tls else "PLAINTEXT")
    values = {
        "bootstrap.servers": ",".join(options.servers),
        "client.id": options.prefix,
        "enable.idempotence": True,  # keeps order, and repeats without duplicates
        "acks": "all",
        "message.timeout.ms": 0,  # the outbox decides how long anything is worth waiting for
        "linger.ms": 5,
        "partitioner": "murmur2_random",  # as other producers: a key's partition is the same everywhere
        "socket.keepalive.enable": True,
        "socket.timeout.ms": 15_000,
        "request.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 2_000,
        "log_level": 2,  # refused connections are told by the health
        "security.protocol": security,
        "enable.ssl.certificate.verification": options.verify_tls,
        "ssl.ca.location": options.tls_ca_file,
        "ssl.certificate.location": options.tls_cert_file,
        "ssl.key.location": options.tls_key_file,
    }
    if options.username and options.password:
        values["sasl.mechanism"] = options.mechanism
        values["sasl.username"] = options.username
        values["sasl.password"] = options.password.get_secret_value()
    return {
        name: value if isinstance(value, bool | int) else str(value)
        for name, value in values.items()
        if value is not None
    }


def make(config: Config) -> list[KafkaSink]:
    """The sink, where a cluster is configured.

    Raises:
        SightlineError: the library is not installed.
    """
    if config.streams.kafka is None:
        return []
    require_extra("confluent_kafka", "streams.kafka needs confluent-kafka", "kafka")
    return [KafkaSink(config.streams.kafka)]
