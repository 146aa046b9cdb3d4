"""What it costs to be watched, and not to be.

    python tools/bench/live.py --json artifacts/live.json       # six minutes

Four cameras of 640x360 at 5 frames/s come over real RTSP, as in ``cameras.py``, and are answered by a model
that costs nothing. Measured are the supervisor and its workers, in alternation: the program without what
shows cameras live, the program while nobody watches, and then with two viewers of each camera's overlay, over
HTTP, in threads of this program, whose processor time is not counted.

``dropped_share`` is of the frames that were due since the first viewer came. ``core_ms_per_viewer_frame`` is
what a picture that a viewer got costs beyond the same cameras unwatched, ``idle_ratio`` the processor time of
a second while nobody watches by that without; medians of the rounds.
"""

import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from sightline.base import machine
from sightline.simulation.stack import SightlineProcess

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from bench.cameras import ROOT, SETTLE_S, keep, stage
from load.servers import cpu_s, parts_of

CAMERAS, VIEWERS = 4, 2  # viewers of each camera
#: Python runs it at the start of every process: the program without live pictures.
WITHOUT = 'from sightline.features import FEATURES\n\ndel FEATURES["live"]\n'
Run = dict[str, float]


class LiveViewer:
    """Watches a camera and counts its pictures; a context manager."""

    def __init__(self, url: str) -> None:
        self.pictures = 0
        self._answer = urllib.request.urlopen(url, timeout=30)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "LiveViewer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self._answer.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            line = self._answer.readline()
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
                while self._answer.readline().strip():
                    pass
                self._answer.read(length)
                self.pictures += 1


def measure(sightline: SightlineProcess, seconds: float, viewers: int) -> Run:
    """Say what running cameras cost with so many viewers of each."""

    def frames() -> tuple[int, int]:
        """Of all cameras so far, analysed and dropped; they are reported once a second."""
        cameras = sightline.statuses().values()
        return sum(one["frames_total"] for one in cameras), sum(one["dropped_total"] for one in cameras)

    def spent() -> tuple[float, float, int]:
        """Now, processor time of all processes, and pictures that viewers got, so far."""
        busy_s = sum(cpu_s(parts_of(sightline=sightline.pid)).values())
        return time.monotonic(), busy_s, sum(viewer.pictures for viewer in watching)

    watching: list[LiveViewer] = []
    with ExitStack() as stack:
        frames_before, dropped_before = frames()
        for at in range(CAMERAS * viewers):
            url = f"{sightline.url}/live/camera-{at % CAMERAS + 1}.mjpg"
            watching.append(stack.enter_context(LiveViewer(url)))
        time.sleep(SETTLE_S)
        before = spent()
        time.sleep(seconds)
        took_s, busy_s, seen = (now - then for now, then in zip(spent(), before, strict=True))
        analysed, dropped = frames()
    return {
        "core_ms_per_s": 1e3 * busy_s / took_s,
        "seen_per_s": seen / took_s,
        "frames": analysed - frames_before,
        "dropped": dropped - dropped_before,
    }


def main() -> None:
    """Measure in alternation, print, keep the JSON."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--json", type=Path, default=Path("artifacts/live.json"))
    arguments = parser.parse_args()
    runs: dict[str, list[Run]] = {"without": [], "idle": [], "watched": []}
    with tempfile.TemporaryDirectory(prefix="sightline-live-") as name, stage(Path(name)) as (camera, triton):
        (Path(name) / "sitecustomize.py").write_text(WITHOUT)
        for at in range(arguments.rounds):
            for words in (("without",), ("idle", "watched"))[:: 1 if at % 2 else -1]:
                path = [name] if "without" in words else []
                sightline = SightlineProcess(
                    Path(tempfile.mkdtemp(dir=name)),
                    {f"camera-{at + 1}": {"url": camera} for at in range(CAMERAS)},
                    triton={"url": triton},
                    options={"access": {"enabled": False}},  # viewers sign in nowhere
                    environment={**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT / "client")])},
                )
                with sightline:
                    sightline.wait_until_online()
                    for word in words:
                        viewers = VIEWERS if word == "watched" else 0
                        runs[word].append(measure(sightline, arguments.seconds, viewers))
                        print(word, json.dumps(runs[word][-1]), flush=True)
    report = {"machine": machine.describe(), "viewers": CAMERAS * VIEWERS, **figures(runs), "runs": runs}
    print(json.dumps({key: value for key, value in report.items() if key not in {"machine", "runs"}}))
    keep(arguments.json, report)


def figures(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """The three figures; each run is compared with its neighbours in time."""
    without, idle, watched = (runs[word] for word in ("without", "idle", "watched"))
    dropped, frames = (sum(run[key] for run in watched) for key in ("dropped", "frames"))
    return {
        "dropped_share": dropped / max(frames + dropped, 1),
        "core_ms_per_viewer_frame": median(
            (run["core_ms_per_s"] - own["core_ms_per_s"]) / run["seen_per_s"]
            for run, own in zip(watched, idle, strict=True)
        ),
        "idle_ratio": median(
            run["core_ms_per_s"] / own["core_ms_per_s"] for run, own in zip(idle, without, strict=True)
        ),
    }


if __name__ == "__main__":
    main()
