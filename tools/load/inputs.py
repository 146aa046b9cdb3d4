"""The planner's inputs from the reports of the other tools; what none of them measured stays assumed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from load.planner import ASSUMED, Inputs, Known


def known(name: str, value: float, source: str) -> dict[str, Known]:
    """One input as it was measured."""
    return {name: Known(round(value, 4), ASSUMED[name].unit, source, measured=True)}


def from_load(found: Mapping[str, Any]) -> dict[str, Known]:
    """Of ``load.json``: the last step that kept up; else, as of a comparison, the last one there is.

    Raises:
        ValueError: it holds no step.
    """
    steps = found.get("steps") or [one["cameras"] for one in found.get("compare", {}).get("rounds", [])]
    if not steps:
        raise ValueError("the load report holds no step")
    one = next((step for step in reversed(steps) if step["kept_up"]), steps[-1])
    source = f"load test of {found['about']['date']}: {one['cameras']} cameras at {one['fps']:g} frames/s"
    spent = one["core_ms"]
    decoded = one["due"] / one["tracked"] if one["tracked"] else 1.0
    client = spent["workers"] + spent["supervisor"] - decoded * one["decode_ms"]
    ours = "engine" in spent  # the processes of a server elsewhere are not seen
    engine = known("engine_core_ms", spent["engine"] + spent["tritonserver"], source) if ours else {}
    return {
        **engine,
        **known("decode_core_ms", one["decode_ms"], source),
        **known("decode_pixels", one["pixels"], source),
        **known("client_core_ms", max(client, 0.0), source),
        **known("camera_mb", one["pss_mb"]["workers"] / one["cameras"], source),
        **known("records_s", one["records_s"], source),
    }


def from_soak(found: Mapping[str, Any]) -> dict[str, Known]:
    """Of ``soak.json``: the most that the workers took over minutes, for each of their cameras.

    Raises:
        ValueError: it holds no camera.
    """
    processes = found["report"]["processes"]
    workers = [one["max_mb"] for name, one in processes.items() if name.startswith("worker")]
    cameras = len(found["report"]["cameras"])
    if not workers or not cameras:
        raise ValueError("the soak report holds no camera")
    return known("camera_mb", sum(workers) / cameras, f"soak of {found['report']['seconds']:.0f} s")


def from_benchmark(found: Mapping[str, Any]) -> dict[str, Known]:
    """Of ``benchmark.json``: what a frame costs the bare engine, which keeps every core busy.

    Raises:
        ValueError: it does not say how many cores there were.
    """
    cores = re.search(r"(\d+) cores", found["machine"])
    if cores is None:
        raise ValueError("the benchmark's report does not say how many cores there were")
    source = f"benchmark of {found['date']}: the bare engine, all cores"
    return known("engine_core_ms", int(cores[1]) * 1e3 / found["fps"]["engine"], source)


def from_perf(found: Mapping[str, Any]) -> dict[str, Known]:
    """Of ``report.json`` of a GPU server: the rate that held the bound, else the best one that was steady.

    Raises:
        ValueError: nothing held, nothing was steady.
    """
    bracket, when = found.get("bracket"), found["about"]["date"]
    if bracket and bracket["holds"]:
        return known("gpu_fps", bracket["holds"], f"perf_analyzer, {when}: {bracket['text']}")
    steady = [one["throughput"] for one in found["measured"] if one["stable"]]
    if not steady:
        raise ValueError("perf_analyzer's report has neither a rate that held the bound nor a steady level")
    return known("gpu_fps", max(steady), f"perf_analyzer, {when}: the best steady level, no bound")


def given(text: str) -> dict[str, Known]:
    """``name=value:source`` of the command line: given, not measured by us.

    Raises:
        ValueError: it is not of that form, or there is no such input.
    """
    found = re.fullmatch(r"(\w+)=([\d.]+)(?::(.+))?", text)
    if found is None or found[1] not in ASSUMED:
        raise ValueError(f"{text!r} is no NAME=VALUE[:SOURCE]; names are {', '.join(ASSUMED)}")
    source = f"given: {found[3] or 'without a source'}"
    return {found[1]: Known(float(found[2]), ASSUMED[found[1]].unit, source, measured=False)}


def together(*parts: Inputs) -> dict[str, Known]:
    """All inputs; later parts win, what is in none of them is assumed."""
    found = dict(ASSUMED)
    for part in parts:
        found.update(part)
    return found
