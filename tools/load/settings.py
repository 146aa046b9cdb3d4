"""The batch and instance settings of a served model: read, changed for a trial, written to a file.

A setting is written ``yolo.instances``: a key of a model; ``*`` is every model. A trial changes a running
server by a configuration in the load request; nothing is written. What is written is the text of the model's
own configuration with these settings: comments and the export's parameters stay.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from sightline.serving.runtime.backend import WAITING

Value = int | tuple[int, ...]
Values = Mapping[str, Value]
#: What can be set; and what of it our Python backend reads from its parameters, with its own default.
KEYS = ("max_batch", "instances", "preferred", "delay_us", "streams", "waiting")
PARAMETERS = {"streams": 0, "waiting": WAITING}


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
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


def read(config: Mapping[str, Any]) -> dict[str, Value]:
    """The settings of a configuration in Triton's JSON; what is not said has Triton's default."""
    batching = config.get("dynamic_batching", {})
    groups = config.get("instance_group") or [{}]
    values: dict[str, Value] = {
        "max_batch": int(config.get("max_batch_size", 0)),
        "instances": int(groups[0].get("count", 1)),
        "preferred": tuple(int(size) for size in batching.get("preferred_batch_size", [])),
        "delay_us": int(batching.get("max_queue_delay_microseconds", 0)),
    }
    if config.get("backend") == "python":
        said = config.get("parameters", {})
        values |= {
            key: int(said.get(key, {}).get("string_value", usual)) for key, usual in PARAMETERS.items()
        }
    return values


def current(settings: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """What is set now; of ``*`` the smallest of the models'.

    Raises:
        ValueError: a model or a parameter is not there.
    """
    values = {}
    for setting in settings:
        model, _, key = setting.rpartition(".")
        names = list(configs) if model == "*" else [model]
        if not set(names) <= set(configs):
            raise ValueError(f"{setting}: there is no model {model!r}, only {', '.join(configs)}")
        values[setting] = min(read(configs[name])[key] for name in names)
    return values


def expand(settings: Values, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Value]]:
    """Settings by model: ``*`` is each of them, and preferred sizes fit the largest batch.

    An ensemble has no queue and no instances of its own: only its largest batch follows.
    """
    expanded = {}
    for name, config in configs.items():
        wanted = ((*setting.rpartition(".")[::2], value) for setting, value in sorted(settings.items()))
        values = {key: value for model, key, value in wanted if model in {"*", name}}
        if "ensemble_scheduling" in config:
            values = {key: value for key, value in values.items() if key == "max_batch"}
        sizes, largest = values.get("preferred", read(config)["preferred"]), values.get("max_batch")
        if isinstance(sizes, tuple) and isinstance(largest, int) and any(size > largest for size in sizes):
            values["preferred"] = tuple(size for size in sizes if size <= largest)
        expanded[name] = values
    return expanded


def changed(config: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """A configuration in Triton's JSON with other settings: what a load request takes."""
    new = copy.deepcopy(dict(config))
    for key, value in values.items():
        match key, value:
            case "max_batch", int():
                new["max_batch_size"] = value
                for one in new.get("model_warmup", []):
                    one["batch_size"] = min(int(one.get("batch_size", 0)), value)
            case "instances", _:
                new["instance_group"][0]["count"] = value
            case "preferred", tuple():
                new.setdefault("dynamic_batching", {})["preferred_batch_size"] = list(value)
            case "delay_us", _:
                new.setdefault("dynamic_batching", {})["max_queue_delay_microseconds"] = value
            case _:
                new.setdefault("parameters", {})[key] = {"string_value": str(value)}
    return new


def rewritten(text: str, values: Values) -> str:
    """A configuration's text with other settings, checked by Triton's own grammar.

    Raises:
        ValueError: the text is not laid out as ours are, so a setting could not be placed.
    """
    for key, value in values.items():
        match key, value:
            case "max_batch", int(largest):
                text = _line(text, r"^max_batch_size: \d+", f"max_batch_size: {largest}")
                text = re.sub(
                    r"(?m)^(  batch_size: )(\d+)", lambda at: f"{at[1]}{min(int(at[2]), largest)}", text
                )
            case "instances", _:
                text = _line(text, r"^instance_group \{ count: \d+", f"instance_group {{ count: {value}")
            case "preferred", tuple():
                text = _batching(
                    text, "preferred_batch_size", f"[ {', '.join(map(str, value))} ]" if value else ""
                )
            case "delay_us", _:
                text = _batching(text, "max_queue_delay_microseconds", str(value) if value else "")
            case _:
                text = re.sub(rf'^parameters \{{ key: "{key}" .*\n', "", text, flags=re.MULTILINE).rstrip()
                quoted = json.dumps(str(value))
                text += f'\nparameters {{ key: "{key}" value {{ string_value: {quoted} }} }}\n'
    now = read(parse_config(text))
    wrong = {key: now.get(key) for key, value in values.items() if now.get(key) != value}
    if wrong:
        raise ValueError(f"the settings {dict(values)} read back as {wrong}")
    return text


def _line(text: str, pattern: str, new: str) -> str:
    text, count = re.subn(pattern, new, text, count=1, flags=re.MULTILINE)
    if not count:
        raise ValueError(f"no line {pattern!r}")
    return text


def _batching(text: str, field: str, value: str) -> str:
    text = re.sub(rf"^  {field}: .*\n", "", text, flags=re.MULTILINE)
    head = "dynamic_batching {\n"
    return _line(text, rf"^{re.escape(head)}", f"{head}  {field}: {value}\n") if value else text
