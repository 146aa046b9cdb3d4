"""Run N cameras for some minutes and say what was dropped and how memory moved.

    python tools/bench/soak.py --minutes 5 --cameras 4 --fps 5      # --video and --model as for the demo

The parts are the demo's, without the console: embedded Triton, RTSP server, ``sightline run``. Memory is PSS
(shared pages divided among the processes that share them), in MB, of each worker and of the supervisor.
"""

import json
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.servers import parts_of
from sightline.serving.server import TritonServer
from sightline.simulation import demo
from sightline.simulation.rtsp_server import RtspServer
from sightline.simulation.stack import SightlineProcess

SETTLE_S = 20.0  # start-up is not part of the soak
EVERY_S = 10.0


def main() -> None:
    """Run, measure, print the table, keep the JSON."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, action="append")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", type=Path, default=Path("artifacts/soak.json"))
    arguments = parser.parse_args()
    videos, model = demo.find_inputs(arguments.video, arguments.model)
    names = {f"camera-{i + 1}": videos[i % len(videos)] for i in range(arguments.cameras)}
    with tempfile.TemporaryDirectory(prefix="sightline-soak-") as name:
        folder = Path(name)
        repository = demo.prepare_model(model, folder)
        options = {"stream": {"fps": arguments.fps}, "count": {"classes": demo.CLASSES}}
        with TritonServer(repository, log_path=folder / "triton.log") as server, RtspServer(names) as rtsp:
            cameras, triton = {name: {"url": rtsp.url(name)} for name in names}, {"url": server.grpc_url}
            with SightlineProcess(folder, cameras, triton=triton, options=options) as sightline:
                samples = watch(sightline, arguments.minutes * 60)
    report = summarise(samples, arguments.fps)
    print(table(report))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"report": report, "samples": samples}, indent=2))
    print(f"kept in {arguments.json}")


def watch(sightline: SightlineProcess, seconds: float) -> list[dict[str, Any]]:
    """A sample of every process and every camera each ten seconds, once all cameras are online."""
    sightline.wait_until_online()
    time.sleep(SETTLE_S)
    started, samples = time.monotonic(), []
    while (now := time.monotonic()) - started <= seconds:
        sightline.check()
        processes = [process for _, process in parts_of(sightline=sightline.pid)]
        samples.append(
            {
                "at_s": now - started,
                "cameras": sightline.statuses(),
                "pss_mb": {process.pid: process.memory_full_info().pss / 1e6 for process in processes},
                "fds": {process.pid: process.num_fds() for process in processes},
                "main": sightline.pid,
            }
        )
        time.sleep(EVERY_S)
    return samples


def summarise(samples: list[dict[str, Any]], fps: float) -> dict[str, Any]:
    """Drops by camera over the whole soak, and each process's memory in its first and last minute."""
    first, last = samples[0], samples[-1]
    minute = max(1, round(60 / EVERY_S))
    cameras = {}
    for name, end in last["cameras"].items():
        counters = ("frames_total", "dropped_total", "reconnects_total")
        tracked, dropped, reconnects = (end[key] - first["cameras"][name][key] for key in counters)
        cameras[name] = {
            "due": tracked + dropped,
            "tracked": tracked,
            "dropped": dropped,
            "dropped_share": dropped / (tracked + dropped) if tracked + dropped else None,
            **{key: end[key] for key in ("latency_p50_ms", "latency_p99_ms")},
            "reconnects": reconnects,
        }
    processes = {}
    for pid in last["pss_mb"]:
        pss = np.array([sample["pss_mb"].get(pid, np.nan) for sample in samples])
        processes["supervisor" if pid == last["main"] else f"worker {pid}"] = {
            "first_minute_mb": float(np.nanmean(pss[:minute])),
            "last_minute_mb": float(np.nanmean(pss[-minute:])),
            "max_mb": float(np.nanmax(pss)),
            "fds": (first["fds"].get(pid), last["fds"][pid]),
        }
    return {"seconds": last["at_s"] - first["at_s"], "fps": fps, "cameras": cameras, "processes": processes}


def table(report: dict[str, Any]) -> str:
    """What a person reads."""
    lines = [f"{report['seconds']:.0f} s at {report['fps']:g} frames/s a camera"]
    for name, camera in report["cameras"].items():
        keys = ("dropped_share", "latency_p50_ms", "latency_p99_ms")
        share, p50, p99 = (camera[key] or 0.0 for key in keys)
        due = f"due {camera['due']:6}  dropped {camera['dropped']:4} ({share:.2%})"
        lines.append(f"  {name:24} {due}  p50 {p50:.0f} ms  p99 {p99:.0f} ms")
    for name, process in report["processes"].items():
        first, last, most = (process[key] for key in ("first_minute_mb", "last_minute_mb", "max_mb"))
        fds = " -> ".join(str(count) for count in process["fds"])
        pss = f"first minute {first:6.1f} MB  last {last:6.1f} MB  max {most:6.1f} MB"
        lines.append(f"  {name:24} {pss}  fds {fds}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
