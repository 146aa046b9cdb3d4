"""``streams``: results as they come, to Kafka and MQTT."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from sightline.config.option_group import OptionGroup, matching, restarts

Address = Annotated[
    str,
    matching(
        r"(?:\[[^\]\s]+\]|[^:/\s,\[\]]+):[0-9]{1,5}",
        "must be HOST:PORT of a broker, as kafka.example.org:9092",
    ),
]
Host = Annotated[
    str,
    matching(r"(?![^:]*:[^:]*$)[^/\s@\[\]]+", "must be a name or an address alone, without scheme and port"),
]
Prefix = Annotated[
    str,
    matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", "is 1 to 100 letters, digits, '_', '.' or '-'"),
]


class BrokerOptions(OptionGroup):
    """What both kinds of brokers have: who we are, and how the way there is kept from others."""

    prefix: Prefix = restarts("sightline", "First part of every topic; another for each program.")
    username: str | None = restarts(None, "Who we are to the broker; null: anybody.")
    password: SecretStr | None = restarts(None, "The user's password.")
    tls: bool = restarts(False, "Connect by TLS.")
    verify_tls: bool = restarts(True, "Check the broker's certificate and name.")
    tls_ca_file: Path | None = restarts(None, "Authorities to trust (PEM); null: the system's.")
    tls_cert_file: Path | None = restarts(None, "Our certificate, for brokers that ask for one (PEM).")
    tls_key_file: Path | None = restarts(None, "Its private key, not encrypted (PEM).")
    timeout_s: float = restarts(
        5.0, "What the broker has not confirmed within this time has failed, and is tried again.", gt=0, le=25
    )

    @model_validator(mode="after")
    def _check(self) -> "BrokerOptions":
        if self.password is not None and self.username is None:
            raise PydanticCustomError("user", "a password needs a username")
        if not self.tls and (self.tls_ca_file or self.tls_cert_file):
            raise PydanticCustomError("tls", "certificates are for TLS: add tls: true")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise PydanticCustomError("tls", "tls_cert_file and tls_key_file need each other")
        return self


class KafkaOptions(BrokerOptions):
    """``streams.kafka``: topics of events, windows and status, keyed by camera."""

    servers: tuple[Address, ...] = restarts(..., "HOST:PORT of one broker or some; they name the others.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = restarts(
        "SCRAM-SHA-512", "How the password is proved (SASL)."
    )

    @model_validator(mode="after")
    def _check_cluster(self) -> "KafkaOptions":
        if not self.servers:
            raise PydanticCustomError("servers", "servers names no broker")
        if (self.username is None) != (self.password is None):
            raise PydanticCustomError("user", "username and password need each other")
        if self.username and self.mechanism == "PLAIN" and not self.tls:
            raise PydanticCustomError("tls", "PLAIN shows the password to the network: add tls: true")
        return self


class MqttOptions(BrokerOptions):
    """``streams.mqtt``: topics for each camera, and devices for Home Assistant."""

    host: Host = restarts(..., "The broker's name or address.", min_length=1)
    port: int | None = restarts(None, "Its port; null: 1883, with TLS 8883.", ge=1, le=65_535)
    protocol: Annotated[Literal["5", "3.1.1"], BeforeValidator(str)] = restarts(
        "5", "Version of MQTT: 5 or 3.1.1."
    )
    discovery_prefix: Prefix | None = restarts(
        "homeassistant", "Where Home Assistant looks for new devices; null: it is told of none."
    )
    commands: bool = restarts(
        False, "Obey switches: whoever may publish at the broker can mute alerts and stop cameras."
    )
    mute_s: float = restarts(
        28_800.0, "For so long the mute switch mutes, unless it is switched off.", gt=0, le=2_592_000
    )


class ResultStreamsOptions(OptionGroup):
    """``streams``: brokers that are given every result."""

    kafka: KafkaOptions | None = restarts(None, "A Kafka cluster; null: none.")
    mqtt: MqttOptions | None = restarts(None, "An MQTT broker; null: none.")
