"""The canary's own process: serves the scene, and judges each pass. Started by :mod:`canary`.

python -m sightline.simulation.selftest.canary_judge FOLDER PORT OPTIONS-AS-JSON  # database URL: stdin
"""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.base.signals import stop_on_signals
from sightline.config.canary_options import SOURCE, CanaryOptions
from sightline.errors import SightlineError
from sightline.features import track_log
from sightline.simulation.rtsp_server import RtspServer
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.selftest import ground_truth
from sightline.simulation.selftest.figures import judge
from sightline.simulation.selftest.ground_truth import Known
from sightline.simulation.selftest.laps import evidence, finished
from sightline.simulation.selftest.result_rows import read_events
from sightline.simulation.selftest.simulated_cameras import BEST_CAMERA, Interrupted, Part, prepare
from sightline.store.read.readonly import Database

EVERY_S = 5.0
SETTLE_S = 8.0  # after a pass, until its last events are rows
#: So many passes are judged together: the figures roll.
PASSES = 5
#: Of count windows, which do not know of passes.
LEFT_OUT = ("count_error", "coverage")


def part_of(options: CanaryOptions) -> Part:
    """The scene that the options name."""
    camera = BEST_CAMERA[options.scene]
    spec = SceneSpec(options.scene, options.seed, options.light, options.weather, camera)
    return Part(spec, options.fps, options.length_s)


def serve(folder: Path, port: int, database: Database, options: CanaryOptions, stop: threading.Event) -> None:
    """Serve the scene in a loop and judge, until told to stop."""
    part = part_of(options)
    prepare([part], folder / "videos", say, stop=stop, processes=1)
    truth = ground_truth.load(part.truth(folder / "videos"))
    began = folder / "began"
    feed = [sys.executable, "-m", "sightline.simulation.rtsp_player", "--began", str(began)]
    video = str(part.video(folder / "videos").resolve())
    judged = 0.0
    with RtspServer({SOURCE: [*feed, video, "{output}"]}, port=port) as server:
        while not stop.wait(EVERY_S):
            if not server.running:
                raise SightlineError("the canary's RTSP server has ended")
            record, newest = judge_passes(folder, database, truth, options)
            if record is not None and newest > judged:
                judged = newest
                write(folder, record)


def judge_passes(
    folder: Path, database: Database, truth: Known, options: CanaryOptions
) -> tuple[dict[str, Any] | None, float]:
    """The scoreboard of the newest passes, and when the newest ended; nothing while there is none."""
    now = time.time()
    passes = [one for one in finished(list(track_log.read(folder / "tracks", SOURCE))) if
              one.end_time < now - SETTLE_S][-PASSES:]  # fmt: skip
    if not passes:
        return None, 0.0
    with database.reading() as connection:
        since = datetime.fromtimestamp(passes[0].start_time, UTC)
        events = read_events(connection, SOURCE, since)
    began = folder / "began"
    began_time = float(began.read_text()) if began.is_file() else None
    board = judge(
        [
            (f"pass {i}", truth, evidence(one, events, began_time, truth.length_s, options.fps))
            for i, one in enumerate(passes)
        ]
    )
    figures = {name: value for name, value in board.figures.items() if name not in LEFT_OUT}
    return {"figures": figures, "passes": len(passes), "judged_time": passes[-1].end_time}, passes[
        -1
    ].end_time


def write(folder: Path, record: dict[str, Any]) -> None:
    """Where the supervisor finds it."""
    draft = folder / "canary.json.part"
    draft.write_text(json.dumps(record), encoding="utf-8")
    draft.replace(folder / "canary.json")


def say(text: str) -> None:
    """Into the supervisor's log."""
    sys.stderr.write(f"canary: {text}\n")
    sys.stderr.flush()


def main(words: list[str]) -> int:
    """Run until told to stop; 1 when something failed: the supervisor starts another."""
    folder, options = Path(words[0]), CanaryOptions.model_validate_json(words[2])
    database = Database(sys.stdin.readline().strip())  # it may hold a password: not an argument
    try:
        serve(folder, int(words[1]), database, options, stop_on_signals())
    except Interrupted:
        return 0
    except SightlineError as error:
        say(str(error))
        return 1
    finally:
        database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
