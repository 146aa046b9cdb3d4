"""Coordinate search: one setting after the other, its values tried on a server that runs, the best kept.

A trial is a load request that carries the configuration to use.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from load.analyzer import Analyzer
from load.measured import Level, Measured
from load.servers import DETECTOR, Target, get_json
from load.settings import Value, Values, changed, expand, show
from sightline.errors import ServerError

LOAD_S = 300.0  # a large plan on a slow disk
#: A value replaces the one that is set only when it is better by this share: noise is no reason to change.
MARGIN = 0.03

#: Settings and the values to try.
Axes = Mapping[str, Sequence[Value]]


#: Configurations of models, and what measures settings of theirs.
Trying = tuple[dict[str, dict[str, Any]], Callable[[Values], Measured]]


@dataclass
class Trial:
    """What was measured with one value of a setting, over several turns.

    Attributes:
        note: for the table: whether the value was set before, and whether it was kept.
    """

    setting: str
    value: Value
    note: str = ""
    results: list[Measured] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """Why it did not run; empty when it did."""
        return next((result.problem for result in self.results if result.problem), "")

    def median(self, figure: str) -> float:
        """``throughput`` or ``p99_ms``."""
        return float(statistics.median(getattr(result, figure) for result in self.results))

    def score(self, bound_ms: float | None) -> float:
        """What is made as large as possible: the throughput, 0 for what fails or is over the bound."""
        if self.problem or (bound_ms is not None and self.median("p99_ms") > bound_ms):
            return 0.0
        return self.median("throughput")


def search(
    axes: Axes,
    start: Values,
    measure: Callable[[Values], Measured],
    *,
    rounds: int = 2,
    passes: int = 1,
    bound_ms: float | None = None,
) -> tuple[dict[str, Value], list[Trial]]:
    """Find the best value of each setting, in the order given; ends early when a pass changes nothing.

    The values of one setting are measured in turns, the one that is set among them, so a machine that drifts
    does so for all of them.

    Args:
        axes: what to try.
        start: what is set now; every axis's setting is in it.
        measure: measures one set of settings.
        rounds: turns of each value; the median counts.
        passes: times through all axes.
        bound_ms: what the 99th percentile may be.
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


def table(trials: Sequence[Trial], bound_ms: float | None = None) -> list[str]:
    """Every measurement as a Markdown table."""
    lines = ["| setting | value | frames/s: median (all) | p99 ms | |", "|---|---|---|---|---|"]
    for trial in trials:
        head = f"| {trial.setting} | {show(trial.value)} |"
        if trial.problem:
            lines.append(f"{head} {trial.problem} | | |")
            continue
        p99_ms = trial.median("p99_ms")
        note = (
            f"{trial.note} over the bound".strip()
            if bound_ms is not None and p99_ms > bound_ms
            else trial.note
        )
        rates = ", ".join(f"{result.throughput:.1f}" for result in trial.results)
        lines.append(f"{head} {trial.median('throughput'):.1f} ({rates}) | {p99_ms:.0f} | {note} |")
    return lines


@contextlib.contextmanager
def trying(server: Target, analyzer: Analyzer, level: Level, transport: str) -> Iterator[Trying]:
    """Apply settings to the models of ``detector`` and measure them; in the end serve the repository's again.

    Gives the configuration of each model (``yolo``, also where it is served as ``yolo-3``) as it was served
    at first, an ensemble's steps before ``detector`` itself; and what measures settings. What the server
    refuses is a result.
    """

    def config(served: str) -> dict[str, Any]:
        return get_json(f"{server.http_url}/v2/models/{served}/config")

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
