"""Batch and instance settings of a served model: read, tried on a running server, searched, and written.

A setting is written ``yolo.instances``: a key of a model; ``*`` is every model. A trial changes a running
server by a configuration in the load request; nothing is written. The search takes one setting after the
other and keeps the best value. What is written is the text of the model's own configuration with these
settings: comments and the export's parameters stay.
"""

import contextlib
import copy
import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import InferenceServerClient, model_config_pb2
from tritonclient.utils import InferenceServerException

from load.analyzer import Analyzer, Level, Measured
from load.reports import markdown_table
from load.servers import DETECTOR, Target, get_json
from sightline.errors import ServerError
from sightline.serving.runtime.backend import WAITING

Value = int | tuple[int, ...]
Values = Mapping[str, Value]
#: Settings and the values to try.
Axes = Mapping[str, Sequence[Value]]
#: Configurations of models, and what measures settings of theirs.
Trying = tuple[dict[str, dict[str, Any]], Callable[[Values], Measured]]
#: What our Python backend reads from its parameters, with its own default; and all that can be set.
PARAMETERS = {"streams": 0, "waiting": WAITING}
BATCHING = {"preferred": "preferred_batch_size", "delay_us": "max_queue_delay_microseconds"}
KEYS = ("max_batch", "instances", *BATCHING, *PARAMETERS)
LOAD_S = 300.0  # a large plan on a slow disk
#: A value replaces the one that is set only when it is better by this share: noise is no reason to change.
MARGIN = 0.03


def parse_value(key: str, text: str) -> Value:
    """A value as it is written: a number, or for ``preferred`` several with ``+``, or ``none``."""
    if key == "preferred":
        return () if text == "none" else tuple(sorted(int(part) for part in text.split("+")))
    return int(text)


def show(value: Value) -> str:
    """A value as :func:`parse_value` reads it."""
    return ("+".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def parse_config(text: str) -> dict[str, Any]:
    """A configuration's text as Triton's JSON; a ValueError when it is no ModelConfig."""
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
        "preferred": tuple(int(size) for size in batching.get(BATCHING["preferred"], [])),
        "delay_us": int(batching.get(BATCHING["delay_us"], 0)),
    }
    if config.get("backend") == "python":
        said = config.get("parameters", {})
        for key, usual in PARAMETERS.items():
            values[key] = int(said.get(key, {}).get("string_value", usual))
    return values


def current(settings: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """What is set now, of ``*`` the smallest of the models'; a ValueError when a model is not there."""
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
            case (("preferred" | "delay_us"), _):
                said = list(value) if isinstance(value, tuple) else value
                new.setdefault("dynamic_batching", {})[BATCHING[key]] = said
            case _:
                new.setdefault("parameters", {})[key] = {"string_value": str(value)}
    return new


def rewritten(text: str, values: Values) -> str:
    """A configuration's text with other settings, checked by Triton's own grammar.

    A ValueError when the text is not laid out as ours are, so that a setting could not be placed.
    """

    def put(pattern: str, line: str) -> None:
        nonlocal text
        text, count = re.subn(pattern, line, text, count=1, flags=re.MULTILINE)
        if not count:
            raise ValueError(f"no line {pattern!r}")

    for key, value in values.items():
        match key, value:
            case "max_batch", int(largest):
                put(r"^max_batch_size: \d+", f"max_batch_size: {largest}")
                warm_up = r"(?m)^(  batch_size: )(\d+)"
                text = re.sub(warm_up, lambda at: f"{at[1]}{min(int(at[2]), largest)}", text)
            case "instances", _:
                put(r"^instance_group \{ count: \d+", f"instance_group {{ count: {value}")
            case (("preferred" | "delay_us"), _):
                text = re.sub(rf"(?m)^  {BATCHING[key]}: .*\n", "", text)
                if value:
                    said = f"[ {', '.join(map(str, value))} ]" if isinstance(value, tuple) else value
                    put(r"^dynamic_batching \{$", f"dynamic_batching {{\n  {BATCHING[key]}: {said}")
            case _:
                text = re.sub(rf'(?m)^parameters \{{ key: "{key}" .*\n', "", text).rstrip()
                quoted = json.dumps(str(value))
                text += f'\nparameters {{ key: "{key}" value {{ string_value: {quoted} }} }}\n'
    now = read(parse_config(text))
    if wrong := {key: now.get(key) for key, value in values.items() if now.get(key) != value}:
        raise ValueError(f"the settings {dict(values)} read back as {wrong}")
    return text


# --- trials ---------------------------------------------------------------------------------------------


@dataclass
class Trial:
    """What was measured with one value of a setting, over several turns."""

    setting: str
    value: Value
    note: str = ""  # for the table: whether the value was set before, and whether it was kept
    results: list[Measured] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """Why it did not run; empty when it did."""
        return next((result.problem for result in self.results if result.problem), "")

    def median(self, figure: str) -> float:
        """``throughput`` or ``p99_ms``."""
        return float(statistics.median(getattr(result, figure) for result in self.results))

    def score(self, bound_ms: float) -> float:
        """What is made as large as possible: the throughput, 0 for what fails or is over the bound."""
        fails = self.problem or self.median("p99_ms") > bound_ms
        return 0.0 if fails else self.median("throughput")


def search(
    axes: Axes,
    start: Values,
    measure: Callable[[Values], Measured],
    *,
    rounds: int = 2,
    passes: int = 1,
    bound_ms: float = math.inf,
) -> tuple[dict[str, Value], list[Trial]]:
    """Find the best value of each setting, in the order given; ends early when a pass changes nothing.

    The values of one setting are measured in turns, the one that is set among them, so a machine that drifts
    does so for all of them; the median of these ``rounds`` counts. ``start`` is what is set now, for every
    setting of the axes; ``passes`` are times through all axes, ``bound_ms`` what the 99th percentile may be.
    """
    best, done = dict(start), []
    for _ in range(passes):
        before = dict(best)
        for setting, values in axes.items():
            now = Trial(setting, best[setting], "(as it was)")
            trials = [now, *(Trial(setting, value) for value in values if value != now.value)]
            for _ in range(rounds):
                for trial in trials:
                    if not trial.problem:
                        trial.results.append(measure({**best, setting: trial.value}))
            kept = max(trials, key=lambda trial: trial.score(bound_ms))
            if kept.score(bound_ms) <= now.score(bound_ms) * (1 + MARGIN):
                kept = now
            kept.note = f"**kept** {kept.note}".strip()
            best[setting] = kept.value
            done += trials
        if best == before:
            break
    return best, done


def table(trials: Sequence[Trial], bound_ms: float = math.inf) -> list[str]:
    """Every measurement as a Markdown table."""
    rows = []
    for trial in trials:
        figures = [trial.problem, "", ""]
        if not trial.problem:
            p99_ms = trial.median("p99_ms")
            over = "over the bound" if p99_ms > bound_ms else ""
            rates = ", ".join(f"{result.throughput:.1f}" for result in trial.results)
            rate = f"{trial.median('throughput'):.1f} ({rates})"
            figures = [rate, f"{p99_ms:.0f}", f"{trial.note} {over}".strip()]
        rows.append([trial.setting, show(trial.value), *figures])
    return markdown_table(["setting", "value", "frames/s: median (all)", "p99 ms", ""], rows)


@contextlib.contextmanager
def trying(server: Target, analyzer: Analyzer, level: Level, transport: str) -> Iterator[Trying]:
    """Apply settings to the models of ``detector`` and measure them; in the end serve the repository's again.

    Gives the configuration of each model (``yolo``, also where it is served as ``yolo-3``) as it was served
    at first, an ensemble's steps before ``detector`` itself; and what measures settings. What the server
    refuses is a result.
    """

    def config(served: str) -> dict[str, Any]:
        return get_json(server, f"/v2/models/{served}/config")

    steps = config(DETECTOR).get("ensemble_scheduling", {}).get("step", [])
    names = {re.sub(r"-\d+$", "", step["model_name"]): step["model_name"] for step in steps}
    names[DETECTOR] = DETECTOR
    configs = {name: config(served) for name, served in names.items()}
    applied: dict[str, dict[str, Value]] = {}
    client = InferenceServerClient(server.grpc_url)

    def measure(settings: Values) -> Measured:
        wanted = expand(settings, configs)
        new = [name for name in configs if wanted[name] != applied.get(name, {})]
        if new and len(configs) > 1 and DETECTOR not in new:
            new.append(DETECTOR)  # the ensemble follows its steps
        try:
            for name in new:
                changes = json.dumps(changed(configs[name], wanted[name]))
                client.load_model(names[name], config=changes, client_timeout=LOAD_S)
                applied[name] = wanted[name]
        except InferenceServerException as error:
            applied.update({name: {"unknown": 0} for name in configs})  # load everything next time
            return Measured(level, transport, problem=f"not loaded: {error.message()}")
        return analyzer.at(level, transport)

    try:
        yield configs, measure
    finally:
        try:
            for name in applied:
                client.load_model(names[name], client_timeout=LOAD_S)
        except InferenceServerException as error:
            raise ServerError(f"the server could not go back to its own settings: {error}") from error
        finally:
            client.close()
