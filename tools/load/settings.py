"""The batch and instance settings of a served model: read, changed for a trial, written to a file.

A trial changes a running server by a configuration in the load request; nothing is written. What is written
is the text of the model's own configuration with these settings: comments and the export's parameters stay.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from sightline.serving.runtime.engine import WAITING

#: What can be set; and what of it our Python backend reads from its parameters, with its own default.
KEYS = ("max_batch", "instances", "preferred", "delay_us", "streams", "waiting")
PARAMETERS = {"streams": 0, "waiting": WAITING}

Value = int | tuple[int, ...]


@dataclass(frozen=True, order=True)
class Setting:
    """One thing that can be set: a key of a model, written ``yolo.instances``; ``*`` is every model."""

    model: str
    key: str

    def __str__(self) -> str:
        return f"{self.model}.{self.key}"


def parse_value(key: str, text: str) -> Value:
    """A value as it is written: a number, or for ``preferred`` several with ``+``, or ``none``.

    Raises:
        ValueError: it is none.
    """
    if key == "preferred":
        return () if text == "none" else tuple(sorted(int(part) for part in text.split("+")))
    return int(text)


def show(value: Value) -> str:
    """A value as :func:`parse_value` reads it."""
    return ("+".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def parse_config(text: str) -> dict[str, Any]:
    """A configuration's text as Triton's JSON.

    Raises:
        ValueError: it is no ModelConfig.
    """
    try:
        message = text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(f"no ModelConfig: {error}") from error
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def read(config: Mapping[str, Any]) -> dict[str, Value]:
    """The settings of a configuration in Triton's JSON; what is not said has Triton's default."""
    batching = config.get("dynamic_batching", {})
    groups = config.get("instance_group", [])
    found: dict[str, Value] = {
        "max_batch": int(config.get("max_batch_size", 0)),
        "instances": int(groups[0].get("count", 1)) if groups else 1,
        "preferred": tuple(int(size) for size in batching.get("preferred_batch_size", [])),
        "delay_us": int(batching.get("max_queue_delay_microseconds", 0)),
    }
    if config.get("backend") == "python":
        said = config.get("parameters", {})
        found |= {key: int(said.get(key, {}).get("string_value", usual)) for key, usual in PARAMETERS.items()}
    return found


def changed(config: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """A configuration in Triton's JSON with other settings: what a load request takes."""
    found = copy.deepcopy(dict(config))
    for key, value in values.items():
        if key == "max_batch":
            found["max_batch_size"] = value
            for one in found.get("model_warmup", []):
                one["batch_size"] = min(int(one.get("batch_size", 0)), int(str(value)))
        elif key == "instances":
            found["instance_group"][0]["count"] = value
        elif key == "preferred":
            found.setdefault("dynamic_batching", {})["preferred_batch_size"] = list(_sizes(value))
        elif key == "delay_us":
            found.setdefault("dynamic_batching", {})["max_queue_delay_microseconds"] = value
        else:
            found.setdefault("parameters", {})[key] = {"string_value": str(value)}
    return found


def rewritten(text: str, values: Mapping[str, Value]) -> str:
    """A configuration's text with other settings, checked by Triton's own grammar.

    Raises:
        ValueError: the text is not laid out as ours are, so a setting could not be placed.
    """
    for key, value in values.items():
        if key == "max_batch":
            text = _line(text, r"^max_batch_size: \d+", f"max_batch_size: {value}")
            text = re.sub(
                r"^  batch_size: (\d+)", partial(_bounded, int(str(value))), text, flags=re.MULTILINE
            )
        elif key == "instances":
            text = _line(text, r"^instance_group \{ count: \d+", f"instance_group {{ count: {value}")
        elif key == "preferred":
            sizes = ", ".join(map(str, _sizes(value)))
            text = _batching(text, "preferred_batch_size", f"[ {sizes} ]" if sizes else "")
        elif key == "delay_us":
            text = _batching(text, "max_queue_delay_microseconds", str(value) if value else "")
        else:
            text = _parameter(text, key, str(value))
    found = read(parse_config(text))
    wrong = {key: found.get(key) for key, value in values.items() if found.get(key) != value}
    if wrong:
        raise ValueError(f"the settings {dict(values)} read back as {wrong}")
    return text


def _bounded(max_batch: int, batch_size: re.Match[str]) -> str:
    return f"  batch_size: {min(int(batch_size[1]), max_batch)}"


def _sizes(value: Value) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _line(text: str, pattern: str, new: str) -> str:
    found, count = re.subn(pattern, new, text, count=1, flags=re.MULTILINE)
    if not count:
        raise ValueError(f"no line {pattern!r}")
    return found


def _batching(text: str, field: str, value: str) -> str:
    text = re.sub(rf"^  {field}: .*\n", "", text, flags=re.MULTILINE)
    head = "dynamic_batching {\n"
    return _line(text, rf"^{re.escape(head)}", f"{head}  {field}: {value}\n") if value else text


def _parameter(text: str, key: str, value: str) -> str:
    text = re.sub(rf'^parameters \{{ key: "{key}" .*\n', "", text, flags=re.MULTILINE)
    line = f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}\n'
    return f"{text.rstrip()}\n{line}"
