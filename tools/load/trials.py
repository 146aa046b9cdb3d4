"""Trials of settings on a server that runs: each is a load request that carries the configuration to use."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from load.analyzer import Analyzer
from load.measured import Level
from load.pictures import model_config
from load.search import Result, Settings
from load.settings import Setting, Value, changed, read
from sightline.errors import ServerError

LOAD_S = 300.0  # a large plan on a slow disk


class Trials:
    """Applies settings to the models of ``detector`` and measures them; a context manager.

    Attributes:
        configs: model (``yolo``, also where it is served as ``yolo-3``) to its configuration as it was served
            at first; an ensemble's steps come before ``detector`` itself.
    """

    def __init__(self, url: str, http: str, analyzer: Analyzer, level: Level, transport: str) -> None:
        self._client = InferenceServerClient(url)
        self._analyzer, self._level, self._transport = analyzer, level, transport
        top = model_config(http, analyzer.model)
        steps = [step["model_name"] for step in top.get("ensemble_scheduling", {}).get("step", [])]
        self._names = {re.sub(r"-\d+$", "", name): name for name in steps} | {analyzer.model: analyzer.model}
        self.configs = {name: model_config(http, served) for name, served in self._names.items()}
        self._applied: dict[str, dict[str, Value]] = {}

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *_: object) -> None:
        """Serve what the repository says again."""
        try:
            for name in self._applied:
                self._client.load_model(self._names[name], client_timeout=LOAD_S)
        except InferenceServerException as error:
            raise ServerError(f"the server could not go back to its own settings: {error}") from error
        finally:
            self._client.close()

    def measure(self, settings: Settings) -> Result:
        """Apply and measure; what the server refuses is a result."""
        try:
            self._apply(expand(settings, self.configs))
        except InferenceServerException as error:
            self._applied = {name: {"unknown": 0} for name in self.configs}  # load everything next time
            return Result(0.0, float("inf"), f"not loaded: {error.message()}")
        found = self._analyzer.at(self._level, self._transport)
        return Result(found.throughput, found.p99_ms, found.problem)

    def _apply(self, wanted: Mapping[str, dict[str, Value]]) -> None:
        new = [name for name in self.configs if wanted.get(name, {}) != self._applied.get(name, {})]
        if new and len(self.configs) > 1 and self._analyzer.model not in new:
            new.append(self._analyzer.model)  # the ensemble follows its steps
        for name in new:
            config = changed(self.configs[name], wanted.get(name, {}))
            self._client.load_model(self._names[name], config=json.dumps(config), client_timeout=LOAD_S)
            self._applied[name] = wanted.get(name, {})


def expand(settings: Settings, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Value]]:
    """Settings by model: ``*`` is each of them, and preferred sizes fit the largest batch.

    An ensemble has no queue and no instances of its own: only its largest batch follows.
    """
    found: dict[str, dict[str, Value]] = {}
    for name, config in configs.items():
        values = {s.key: value for s, value in sorted(settings.items()) if s.model in {"*", name}}
        if "ensemble_scheduling" in config:
            values = {key: value for key, value in values.items() if key == "max_batch"}
        sizes, most = values.get("preferred", read(config)["preferred"]), values.get("max_batch")
        if isinstance(sizes, tuple) and isinstance(most, int) and any(size > most for size in sizes):
            values["preferred"] = tuple(size for size in sizes if size <= most)
        found[name] = values
    return found


def current(settings: list[Setting], configs: Mapping[str, Mapping[str, Any]]) -> dict[Setting, Value]:
    """What is set now; of ``*`` the smallest of the models'.

    Raises:
        ValueError: a model or a parameter is not there.
    """
    found: dict[Setting, Value] = {}
    for setting in settings:
        names = list(configs) if setting.model == "*" else [setting.model]
        if any(name not in configs for name in names):
            raise ValueError(f"{setting}: there is no model {setting.model!r}, only {', '.join(configs)}")
        found[setting] = min(read(configs[name])[setting.key] for name in names)
    return found
