"""The canary: a simulated camera beside the real ones, judged all the time (``docs/selftest.md``).

A process of its own, this module's program, serves the scene on loopback and judges each lap of it;
:class:`Canary` starts, watches and stops it, puts its camera among the others, and reads what it judged.
Nothing of it can hurt the real cameras but the frames a second that it takes from the detector.

python -m sightline.simulation.canary FOLDER PORT OPTIONS-AS-JSON  # database URL: stdin
"""

import contextlib
import json
import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from sightline.base.backoff import Backoff
from sightline.base.processes import spawn, terminate
from sightline.base.signals import stop_on_signals
from sightline.config import LoadedConfig, canary_camera
from sightline.config.groups import SOURCE, CanaryOptions
from sightline.errors import SightlineError
from sightline.features import track_log
from sightline.features.track_log import TrackedFrame
from sightline.simulation.rtsp_server import RtspServer, free_port, player
from sightline.simulation.scenes.scene_places import DETECT, camera_places
from sightline.simulation.selftest import ground_truth
from sightline.simulation.selftest.box_scores import TRACKEVAL_MISSING, identity_is_measured
from sightline.simulation.selftest.evidence import ClaimedEvent, Evidence, claimed_events
from sightline.simulation.selftest.figures import judge
from sightline.simulation.selftest.ground_truth import GroundTruth, Interrupted, camera_of_options, prepare
from sightline.simulation.stack import progress
from sightline.store.read.readonly import Database

log = logging.getLogger(__name__)

STOP_S = 8.0
EVERY_S = 5.0
SETTLE_S = 8.0  # after a lap, until its last events are rows
#: The scene's clock went back by more than this: a new lap.
BACK_S = 1.0
#: The newest laps are judged together: the figures roll.
LAPS = 5
#: Figures of count windows, which laps do not divide.
LEFT_OUT = ("count_error", "coverage")
Lap = tuple[TrackedFrame, ...]

say = progress("canary")


class Canary:
    """Owns the canary's process. ``start`` and ``stop`` by one thread; ``newest`` by any."""

    def __init__(self, options: CanaryOptions, database_url: str) -> None:
        self._options = options
        self._database_url = database_url
        self._folder = options.folder.resolve()
        self._port = free_port()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_running, name="canary", daemon=True)

    def start(self) -> None:
        """Start its process, and another whenever that one ends or cannot start."""
        self._thread.start()

    def stop(self) -> None:
        """End it and wait."""
        self._stop.set()
        self._thread.join()

    def join(self, config: LoadedConfig) -> LoadedConfig:
        """The configuration with the canary's camera in it."""
        camera = camera_of_options(self._options)
        own: dict[str, Any] = {
            "url": f"rtsp://127.0.0.1:{self._port}/{SOURCE}",
            "track_log": {"folder": str(self._folder / "tracks"), "max_bytes": 40_000_000, "time_code": True},
            "detect": {**DETECT, "model": self._options.model},
            "rules": camera_places(camera.spec),
        }
        return replace(config, cameras={**config.cameras, SOURCE: canary_camera(config.options, own)})

    def newest(self) -> Mapping[str, Any] | None:
        """The newest judgement; None before the first pass is over."""
        path = self._folder / "canary.json"
        judgement: dict[str, Any] | None = json.loads(path.read_bytes()) if path.is_file() else None
        return judgement

    def _keep_running(self) -> None:
        backoff = Backoff(1.0, 60.0)
        words = [str(self._folder), str(self._port), self._options.model_dump_json()]
        command = [sys.executable, "-m", "sightline.simulation.canary", *words]
        while not self._stop.is_set():
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                for old in (self._folder / "canary.json", self._folder / "began"):
                    old.unlink(missing_ok=True)
                with (self._folder / "canary.log").open("ab") as output:
                    child = spawn(command, output, first_line=self._database_url)
            except OSError as error:  # a read-only container, a full disk, no process to be had
                delay_s = backoff.next_delay_s()
                text = "the canary cannot start (%s); canary.folder must be writable; next try in %.0f s"
                log.error(text, error, delay_s)
                self._stop.wait(delay_s)
                continue
            while child.poll() is None and not self._stop.wait(0.5):
                pass
            if self._stop.is_set():
                terminate(child, STOP_S)
                return
            delay_s = backoff.next_delay_s()
            log.error("the canary ended with %s; next try in %.0f s", child.returncode, delay_s)
            self._stop.wait(delay_s)


def finished(frames: Sequence[TrackedFrame]) -> list[Lap]:
    """Every whole lap, oldest first: not the first, which may have begun in its middle, nor the last."""
    read = [(frame, frame.scene_s) for frame in frames if frame.scene_s is not None]
    starts = [i for i, (before, now) in enumerate(pairwise(read), 1) if now[1] < before[1] - BACK_S]
    return [tuple(frame for frame, _ in read[a:b]) for a, b in pairwise(starts)]


def evidence_of(
    lap: Lap, events: Sequence[ClaimedEvent], began_time: float | None, length_s: float, fps: float
) -> Evidence:
    """What a lap left behind; ``began_time`` is when the player began with its first lap."""
    start_time, end_time = lap[0].capture_time, lap[-1].capture_time
    if began_time is not None:
        behind_s = start_time - (lap[0].scene_s or 0.0) - began_time
        began_time += round(behind_s / length_s) * length_s
    mine = tuple(event for event in events if start_time <= event.event_time <= end_time)
    return Evidence(lap, mine, {}, len(lap) / fps, 0, began_time, fps)


def serve(folder: Path, port: int, database: Database, options: CanaryOptions, stop: threading.Event) -> None:
    """Serve the scene in a loop and judge its laps until ``stop`` is set."""
    if not identity_is_measured():
        say(f"without IDF1 and HOTA: {TRACKEVAL_MISSING}")
    camera, videos = camera_of_options(options), folder / "videos"
    prepare([camera], videos, say, stop=stop, processes=1)
    truth = ground_truth.load(camera.truth(videos))
    judged_time, draft = 0.0, folder / "canary.json.part"
    feed = player(camera.video(videos), "--began", str(folder / "began"))
    with RtspServer({SOURCE: feed}, port=port) as server:
        while not stop.wait(EVERY_S):
            if not server.running:
                raise SightlineError("the canary's RTSP server has ended")
            record = judge_laps(folder, database, truth, options)
            if record is not None and record["judged_time"] > judged_time:
                judged_time = record["judged_time"]
                draft.write_text(json.dumps(record), encoding="utf-8")
                draft.replace(folder / "canary.json")  # in one step: the supervisor reads it


def judge_laps(
    folder: Path, database: Database, truth: GroundTruth, options: CanaryOptions
) -> dict[str, Any] | None:
    """The figures of the newest laps, and when the newest ended; None while no lap is over."""
    now = time.time()
    laps = finished(list(track_log.read(folder / "tracks", SOURCE)))
    laps = [lap for lap in laps if lap[-1].capture_time < now - SETTLE_S][-LAPS:]
    if not laps:
        return None
    events = claimed_events(database, SOURCE, laps[0][0].capture_time)
    began = folder / "began"
    began_time = float(began.read_text()) if began.is_file() else None
    each = [evidence_of(lap, events, began_time, truth.length_s, options.fps) for lap in laps]
    scoreboard = judge([(f"lap {i}", truth, lap) for i, lap in enumerate(each)])
    figures = {name: value for name, value in scoreboard.figures.items() if name not in LEFT_OUT}
    judged_time = laps[-1][-1].capture_time
    return {
        "figures": figures,
        "latencies": scoreboard.latencies,
        "passes": len(laps),
        "judged_time": judged_time,
    }


def main(words: list[str]) -> int:
    """Run until a signal; 1 after a failure, and the supervisor starts another."""
    folder, options = Path(words[0]), CanaryOptions.model_validate_json(words[2])
    url = sys.stdin.readline().strip()  # it may hold a password: not an argument
    with contextlib.closing(Database(url)) as database, contextlib.suppress(Interrupted):
        try:
            serve(folder, int(words[1]), database, options, stop_on_signals())
        except SightlineError as error:
            say(str(error))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
