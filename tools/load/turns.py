"""Whether perf_analyzer and the cameras agree on what one server serves, measured in turns.

Two figures are compared. Frames a second are what counts, but on a machine with neighbours they drift from
one turn to the next. Frames for each core second that the server worked hardly do: what a neighbour takes,
neither side has.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from load.camera_load import Served
from load.measured import Measured
from load.parts import cpu_s, parts_of
from load.pictures import get_json
from load.servers import Target

WITHIN = 0.10
T = TypeVar("T")


@dataclass(frozen=True)
class Turn(Generic[T]):
    """One side's turn: what it measured, and frames for each core second of the server meanwhile.

    ``per_core_s`` is 0 where the server's processes are not ours to look at.
    """

    found: T
    per_core_s: float


@dataclass(frozen=True)
class Round:
    """Perf_analyzer before, the cameras, perf_analyzer after: a machine that drifts does so for both."""

    before: Turn[Measured]
    cameras: Turn[Served]
    after: Turn[Measured]

    @property
    def fps(self) -> tuple[float, float, float]:
        """Frames a second: before, cameras, after."""
        return self.before.found.throughput, self.cameras.found.served_fps, self.after.found.throughput

    @property
    def per_core_s(self) -> tuple[float, float, float]:
        """Frames for each core second: before, cameras, after."""
        return self.before.per_core_s, self.cameras.per_core_s, self.after.per_core_s


class ServerMeter:
    """What the server counts and spends while a turn lasts."""

    def __init__(self, triton: Target, model: str) -> None:
        self._triton, self._model = triton, model

    def over(self, run: Callable[[], T]) -> Turn[T]:
        """Do it; frames for each second of processor time of the server and its engine."""
        frames, used = self._read()
        found = run()
        frames_after, used_after = self._read()
        spent = used_after - used
        return Turn(found, (frames_after - frames) / spent if spent > 0 else 0.0)

    def _read(self) -> tuple[int, float]:
        stats = get_json(f"{self._triton.http_url}/v2/models/{self._model}/stats")["model_stats"]
        used = cpu_s(parts_of(triton=self._triton.pid))
        return sum(int(item["inference_count"]) for item in stats), sum(
            seconds for _, seconds in used.values()
        )


def compare(
    perf: Callable[[], Turn[Measured]],
    cameras: Callable[[], Turn[Served]],
    rounds: int,
    say: Callable[[str], object],
) -> list[Round]:
    """Measure in turns: perf_analyzer, cameras, perf_analyzer, cameras, …, perf_analyzer."""
    found: list[Round] = []
    before = perf()
    for number in range(rounds):
        served, after = cameras(), perf()
        found.append(Round(before, served, after))
        before = after
        first, middle, last = found[-1].fps
        say(f"round {number + 1}: perf_analyzer {first:.1f}, cameras {middle:.1f}, then {last:.1f} frames/s")
    return found


def ratio(three: tuple[float, float, float]) -> float:
    """The cameras' ÷ the mean of perf_analyzer's before and after."""
    before, cameras, after = three
    return round(2 * cameras / (before + after), 4) if before + after else 0.0


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """The median ratios; they mean something when the cameras had the server at its limit."""
    ratios = {
        "fps": [ratio(one.fps) for one in rounds],
        "per_core_s": [ratio(one.per_core_s) for one in rounds],
    }
    medians = {key: statistics.median(values) for key, values in ratios.items()}
    saturated = all(not one.cameras.found.kept_up for one in rounds)
    return {
        "ratio": ratios,
        "median": medians,
        "saturated": saturated,
        "agree": saturated and abs(medians["fps"] - 1) <= WITHIN,
        "rounds": [_as_json(one) for one in rounds],
    }


def _as_json(one: Round) -> dict[str, Any]:
    return {
        "fps": list(one.fps),
        "per_core_s": [round(value, 3) for value in one.per_core_s],
        "perf_analyzer": [one.before.found.as_json(), one.after.found.as_json()],
        "cameras": one.cameras.found.as_json(),
    }


def verdict(found: dict[str, Any]) -> str:
    """What a person reads."""
    if not found["saturated"]:
        return (
            "the cameras did not bring the server to its limit: all that was due was served, so the two "
            "cannot be compared; give more --cameras or a higher --fps"
        )
    values, median = found["ratio"]["fps"], found["median"]
    text = (
        f"cameras ÷ perf_analyzer: {median['fps']:.3f} in frames/s ({min(values):.3f} to {max(values):.3f})"
    )
    agree = "within" if found["agree"] else "NOT within"
    known = f"; {median['per_core_s']:.3f} for each core second of the server" if median["per_core_s"] else ""
    return f"{text}, {agree} {WITHIN:.0%}{known}"
