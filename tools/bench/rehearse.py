"""Tracker and rules over a scene without servers: which crossings are wrong, and whose doing that is.

    python tools/bench/rehearse.py --seeds 11 12 13 --length 150 --fps 5 10             # truth's own boxes
    python tools/bench/rehearse.py --seeds 11 12 --length 300 --model models/sightline.onnx  # a network's
    python tools/bench/rehearse.py --demo --fps 10 --length 300 --model models/sightline.onnx  # the demo's

Truth's own boxes get mild noise; who is hidden by more than 80 % or very small has none; some are missed.
What is wrong then is the tracker's, the rules' or the line's doing, not the detector's. A network's boxes are
found in the self-test's own videos, in every frame, and kept, so that a change to the tracker is judged in
seconds. Choose by other seeds than those that the scoreboard tells (1 to 10).
"""

import hashlib
import pickle
import sys
import threading
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import analysis_options
from sightline.config import parse_config
from sightline.entities import Detections, Event, ModelInfo
from sightline.features.track_log import TrackedFrame
from sightline.models.evaluation.onnx_engine import BareEngine, open_session
from sightline.simulation.demo import SIMULATED
from sightline.simulation.scenes import truth
from sightline.simulation.scenes.scene_places import DETECT, camera_places
from sightline.simulation.scenes.spec import LIGHTS, SCENES, WEATHERS, SceneSpec
from sightline.simulation.scenes.truth import CLASSES
from sightline.simulation.scenes.visibility import FrameTruth
from sightline.simulation.selftest import ground_truth
from sightline.simulation.selftest.evidence import ClaimedEvent, Evidence
from sightline.simulation.selftest.figures import judge, table
from sightline.simulation.selftest.ground_truth import BEST_CAMERA, SimulatedCamera, prepare
from sightline.simulation.stack import progress

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from training.generate import CLASSES as DETECTOR_CLASSES

START = 1_000_000_000.0
NETWORK = (384, 640)
SCORE_FLOOR = 0.1  # as the server's
Frames = list[tuple[float, Detections]]  # scene time and boxes


def play(
    camera: SimulatedCamera, frames: Frames, names: Sequence[str], detect: Mapping[str, float]
) -> Evidence:
    """The analysis over a scene's boxes: what the whole path would leave behind."""
    raw: dict[str, Any] = {"url": "rtsp://scene/1", "detect": detect, "rules": camera_places(camera.spec)}
    raw["count"] = {"window_s": 10}
    options = analysis_options(parse_config({"cameras": {"scene": raw}}).cameras["scene"])
    analysis, kept = CameraAnalysis(options), list[TrackedFrame]()
    analysis.use_model(ModelInfo("", "", tuple(names), 0, 0, "", 0.0))
    counts: dict[tuple[str, float], int] = {}  # what arrived, by class and window
    for time_s, found in frames:
        now = START + time_s
        seen = analysis.observe(frame_at(now), found).tracks
        boxes = found.xyxy, found.scores, found.class_ids, seen.ids, seen.xyxy, seen.class_ids
        kept.append(TrackedFrame(now, time_s, now, time_s, now, tuple(names), *boxes, seen.confirmed))
        counts |= {(row.item_class, row.window_start): row.arrivals or 0 for row in analysis.rows()[0]}
    analysis.end(START + frames[-1][0])
    counts |= {(row.item_class, row.window_start): row.arrivals or 0 for row in analysis.rows()[0]}
    totals = Counter[str]()
    for (item_class, _), arrivals in counts.items():
        totals[item_class] += arrivals
    events = (event for event in analysis.take_results() if isinstance(event, Event))
    claimed = tuple(
        ClaimedEvent(
            e.kind, e.place, e.direction, e.item_class, e.track_id, e.event_time, e.confirmed_time,
            e.confirmed_time, e.unseen,
        )
        for e in events
    )  # fmt: skip
    return Evidence(tuple(kept), claimed, totals, camera.length_s, 0, START, camera.fps)


def boxes_of(frame: FrameTruth, spec: SceneSpec, random: np.random.Generator) -> Detections:
    """What a good detector might find in one frame."""
    shown = frame.visible_xyxy.copy()
    whole = frame.occlusion <= 0.3
    shown[whole] = frame.full_xyxy[whole]
    sides = shown[:, 2:] - shown[:, :2]
    large = (sides.max(axis=1, initial=0) >= 12) & (sides.min(axis=1, initial=99) >= 5)
    kept = (frame.occlusion <= ground_truth.MAX_HIDDEN) & large
    kept &= random.random(len(frame)) < np.where(frame.occlusion < 0.5, 0.97, 0.8)
    xyxy = shown + random.normal(0, 0.02, shown.shape) * np.tile(sides, 2)
    xyxy = np.clip(xyxy / np.array([spec.width, spec.height] * 2), 0, 1)
    scores = np.clip(random.normal(0.75 - 0.4 * frame.occlusion, 0.1), 0.15, 0.98)
    kinds = np.array([CLASSES.index(kind) for kind in frame.kinds], np.int32)
    return Detections(xyxy[kept].astype(np.float32), scores[kept].astype(np.float32), kinds[kept])


def kept_boxes(camera: SimulatedCamera, network: bytes | None, folder: Path) -> Frames:
    """The boxes of a scene, made the first time and then read.

    They are truth's own, as :func:`boxes_of` has them, or what a network finds in the video, through the
    server's numerics.
    """
    video = camera.video(folder)
    word = "true" if network is None else hashlib.sha256(network).hexdigest()[:12]
    path = video.with_suffix(f".{word}.boxes")
    if network is not None:
        return kept(path, partial(_found, camera, video, network))
    random = np.random.default_rng(camera.spec.seed)
    frames = truth.frames(camera.spec, camera.fps, camera.length_s)
    return kept(path, lambda: ((frame.time_s, boxes_of(frame, camera.spec, random)) for frame in frames))


def _found(camera: SimulatedCamera, video: Path, network: bytes) -> Iterator[tuple[float, Detections]]:
    engine = BareEngine(open_session(network), NETWORK, ())
    with av.open(str(video)) as source:
        for i, coded in enumerate(source.decode(video=0)):
            picture = coded.to_ndarray(format="yuv420p").astype(np.uint8, copy=False)
            yield i / camera.fps, engine.detect(picture, SCORE_FLOOR)


def kept(path: Path, make: Callable[[], Iterable[tuple[float, Detections]]]) -> Frames:
    """Boxes as ``path`` has them; made and written there the first time."""
    if not path.is_file():
        draft = path.with_name(path.name + ".part")
        draft.write_bytes(pickle.dumps(list(make())))
        draft.replace(path)
    frames: Frames = pickle.loads(path.read_bytes())
    return frames


def main() -> None:
    """Play every scene at every frame rate, and tell what came out."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--scene", choices=SCENES, default="street")
    parser.add_argument("--light", choices=LIGHTS, default="day")
    parser.add_argument("--weather", choices=WEATHERS, default="clear")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    parser.add_argument("--fps", type=float, nargs="+", default=[5.0, 10.0])
    parser.add_argument("--demo", action="store_true", help="the demo's cameras, and their day's totals")
    parser.add_argument("--length", type=float, default=120.0, help="seconds")
    parser.add_argument("--model", type=Path, help="an ONNX file with the bundled detector's classes")
    parser.add_argument("--folder", type=Path, default=Path("artifacts/rehearsal"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    rate, viewpoint = max(arguments.fps), BEST_CAMERA[arguments.scene]
    conditions = arguments.light, arguments.weather, viewpoint
    specs = [SceneSpec(arguments.scene, seed, *conditions) for seed in arguments.seeds]
    if arguments.demo:
        specs = list(SIMULATED.values())
    cameras = [SimulatedCamera(spec, rate, arguments.length) for spec in specs]
    folder.mkdir(parents=True, exist_ok=True)
    prepare(cameras, folder, progress("rehearse"), stop=threading.Event())
    network = arguments.model.read_bytes() if arguments.model else None
    names, detect = (DETECTOR_CLASSES, DETECT) if arguments.model else (CLASSES, {})
    all_boxes = [kept_boxes(camera, network, folder) for camera in cameras]
    for step in (round(rate / fps) for fps in arguments.fps):
        played = []
        for full, frames in zip(cameras, all_boxes, strict=True):
            camera = replace(full, fps=rate / step)
            evidence = play(camera, frames[::step], names, detect)
            played.append((camera.name, ground_truth.load(camera.truth(folder)), evidence))
        board = judge(played)
        crossings = ((judged.name, line) for judged in board.cameras for line in judged.crossings.values())
        for name, line in crossings:
            wrong = [*(("missed", h) for h in line.missed), *(("extra", h) for h in line.extra)]
            for word, h in wrong:
                print(f"  {name}: {word} {h.place} {h.what} {h.item_class} {h.who} at {h.time_s:.1f} s")
        for judged in board.cameras if arguments.demo else ():
            for name, count in judged.counts.items():
                seen = f"{count.must} could be seen, {count.may} were in the picture"
                print(f"  {judged.name}: {name}: {count.counted} counted, {seen}")
        print(table(board, {}))


if __name__ == "__main__":
    main()
