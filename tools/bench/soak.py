"""Run N cameras for some minutes and say what was dropped and how memory moved.

    python tools/bench/soak.py --minutes 5 --cameras 4 --fps 5      # --video and --model as for the demo

The parts are the demo's, without the console: embedded Triton, RTSP server, ``sightline run``. Memory is PSS
(shared pages divided among those who share them), in MB, of each camera process and of the supervisor.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from sightline.base.processes import spawn, terminate
from sightline.serving.server import TritonServer
from sightline.simulation import demo
from sightline.simulation.rtsp_server import RtspServer, free_port

SETTLE_S = 20.0  # start-up is not part of the soak
EVERY_S = 10.0


def main() -> None:
    """Run, measure, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, action="append")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", type=Path, default=Path("artifacts/soak.json"))
    arguments = parser.parse_args()
    videos, model = demo.find_inputs(arguments.video, arguments.model)
    with tempfile.TemporaryDirectory(prefix="sightline-soak-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        triton = TritonServer(demo.prepare_model(model, folder), log_path=folder / "triton.log")
        stack.enter_context(triton)
        names = {f"camera-{i + 1}": videos[i % len(videos)] for i in range(arguments.cameras)}
        rtsp = stack.enter_context(RtspServer(names))
        port = free_port()
        urls = {name: rtsp.url(name) for name in names}
        config = demo.write_config(folder, triton.grpc_url, urls, arguments.fps, http_port=port)
        log = stack.enter_context((folder / "sightline.log").open("wb"))
        child = spawn([sys.executable, "-m", "sightline", "run", "-c", str(config)], log)
        stack.callback(terminate, child, 12.0)
        samples = watch(child.pid, f"http://127.0.0.1:{port}/status", arguments.minutes * 60)
    report = summarise(samples, arguments.fps)
    print(table(report))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"report": report, "samples": samples}, indent=2))
    print(f"kept in {arguments.json}")


def watch(pid: int, url: str, seconds: float) -> list[dict[str, Any]]:
    """A sample of every process and every camera each ten seconds."""
    time.sleep(SETTLE_S)
    started, samples = time.monotonic(), []
    while (now := time.monotonic()) - started <= seconds:
        with urllib.request.urlopen(url, timeout=5) as answer:
            cameras = {item["source"]: item for item in json.load(answer)["cameras"]}
        workers = [c for c in psutil.Process(pid).children() if "spawn_main" in " ".join(c.cmdline())]
        processes = [psutil.Process(pid), *workers]
        pss = {process.pid: process.memory_full_info().pss / 1e6 for process in processes}
        fds = {process.pid: process.num_fds() for process in processes}
        samples.append({"at_s": now - started, "cameras": cameras, "pss_mb": pss, "fds": fds, "main": pid})
        time.sleep(EVERY_S)
    return samples


def summarise(samples: list[dict[str, Any]], fps: float) -> dict[str, Any]:
    """Drops by camera over the whole soak, and each process's memory in its first and last minute."""
    first, last = samples[0], samples[-1]
    minute = max(1, round(60 / EVERY_S))
    cameras = {}
    for name, end in last["cameras"].items():
        begin = first["cameras"][name]
        tracked = end["frames_total"] - begin["frames_total"]
        dropped = end["dropped_total"] - begin["dropped_total"]
        due = tracked + dropped
        cameras[name] = {
            "due": due,
            "tracked": tracked,
            "dropped": dropped,
            "dropped_share": dropped / due if due else None,
            "latency_p50_ms": end["latency_p50_ms"],
            "latency_p99_ms": end["latency_p99_ms"],
            "reconnects": end["reconnects_total"] - begin["reconnects_total"],
        }
    memory = {
        ("supervisor" if pid == last["main"] else f"camera process {pid}"): {
            "first_minute_mb": mean(sample["pss_mb"][pid] for sample in samples[:minute]),
            "last_minute_mb": mean(sample["pss_mb"][pid] for sample in samples[-minute:]),
            "most_mb": max(sample["pss_mb"][pid] for sample in samples),
            "fds": (first["fds"][pid], last["fds"][pid]),
        }
        for pid in last["pss_mb"]
    }
    seconds = last["at_s"] - first["at_s"]
    return {"seconds": seconds, "fps": fps, "cameras": cameras, "processes": memory}


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean."""
    listed = list(values)
    return sum(listed) / len(listed)


def table(report: dict[str, Any]) -> str:
    """What a person reads."""
    lines = [f"{report['seconds']:.0f} s at {report['fps']:g} frames/s a camera"]
    for name, camera in report["cameras"].items():
        share, p50, p99 = camera["dropped_share"], camera["latency_p50_ms"], camera["latency_p99_ms"]
        due = f"due {camera['due']:6}  dropped {camera['dropped']:4} ({share:.2%})"
        lines.append(f"  {name:24} {due}  p50 {p50:.0f} ms  p99 {p99:.0f} ms")
    for name, process in report["processes"].items():
        first, last, most = (process[key] for key in ("first_minute_mb", "last_minute_mb", "most_mb"))
        fds = " -> ".join(str(count) for count in process["fds"])
        pss = f"first minute {first:6.1f} MB  last {last:6.1f} MB  most {most:6.1f} MB"
        lines.append(f"  {name:24} {pss}  fds {fds}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
