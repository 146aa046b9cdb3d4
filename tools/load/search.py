"""Coordinate search: one setting after the other, the best value of each is kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from load.settings import Setting, Value, show

Settings = Mapping[Setting, Value]
#: A value replaces the one that is set only when it is better by this share: noise is no reason to change.
MARGIN = 0.03


@dataclass(frozen=True)
class Result:
    """One measurement of a trial: answers a second and the 99th percentile; a problem when it did not run."""

    throughput: float
    p99_ms: float
    problem: str = ""


@dataclass
class Trial:
    """What was measured with one set of settings, over several turns."""

    settings: Settings
    results: list[Result] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """Why it did not run; empty when it did."""
        return next((result.problem for result in self.results if result.problem), "")

    @property
    def throughput(self) -> float:
        """The median."""
        return statistics.median(result.throughput for result in self.results)

    @property
    def p99_ms(self) -> float:
        """The median."""
        return statistics.median(result.p99_ms for result in self.results)

    def score(self, bound_ms: float | None) -> float:
        """What is made as large as possible: the throughput, 0 for what fails or is over the bound."""
        if self.problem or (bound_ms is not None and self.p99_ms > bound_ms):
            return 0.0
        return self.throughput


@dataclass(frozen=True)
class Axis:
    """A setting and the values to try."""

    setting: Setting
    values: tuple[Value, ...]


@dataclass(frozen=True)
class LoadStep:
    """One setting's turn: every value tried side by side, and the one that was kept."""

    axis: Axis
    trials: tuple[Trial, ...]
    kept: Value


def search(
    axes: Sequence[Axis],
    start: Settings,
    measure: Callable[[Settings], Result],
    *,
    rounds: int = 2,
    passes: int = 1,
    bound_ms: float | None = None,
) -> tuple[Settings, list[LoadStep]]:
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
    best, steps = dict(start), []
    for _ in range(passes):
        before = dict(best)
        for axis in axes:
            step = _along(axis, best, measure, rounds, bound_ms)
            steps.append(step)
            best[axis.setting] = step.kept
        if best == before:
            break
    return best, steps


def _along(
    axis: Axis, settings: Settings, measure: Callable[[Settings], Result], rounds: int, bound_ms: float | None
) -> LoadStep:
    now = settings[axis.setting]
    values = [now, *(value for value in axis.values if value != now)]
    trials = [Trial({**settings, axis.setting: value}) for value in values]
    for _ in range(rounds):
        for trial in trials:
            if not trial.problem:
                trial.results.append(measure(trial.settings))
    best = max(trials, key=lambda trial: trial.score(bound_ms))
    better = best.score(bound_ms) > trials[0].score(bound_ms) * (1 + MARGIN)
    return LoadStep(axis, tuple(trials), best.settings[axis.setting] if better else now)


def count(axes: Sequence[Axis], start: Settings, rounds: int) -> int:
    """Measurements of one pass."""
    return sum(rounds * len({start[axis.setting], *axis.values}) for axis in axes)


def table(steps: Sequence[LoadStep], bound_ms: float | None = None) -> list[str]:
    """Every measurement as a Markdown table."""
    lines = ["| setting | value | frames/s: median (all) | p99 ms | |", "|---|---|---|---|---|"]
    for step in steps:
        for index, trial in enumerate(step.trials):
            value = trial.settings[step.axis.setting]
            note = "**kept**" if value == step.kept else ""
            note = f"{note} (as it was)" if not index else note
            if trial.problem:
                lines.append(f"| {step.axis.setting} | {show(value)} | {trial.problem} | | |")
                continue
            if bound_ms is not None and trial.p99_ms > bound_ms:
                note = f"{note} over the bound"
            rates = ", ".join(f"{result.throughput:.1f}" for result in trial.results)
            measured = f"{trial.throughput:.1f} ({rates}) | {trial.p99_ms:.0f}"
            lines.append(f"| {step.axis.setting} | {show(value)} | {measured} | {note.strip()} |")
    return lines
