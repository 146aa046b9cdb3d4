"""Crossings on degraded pictures: ours beside ByteTrack (`trackers`) with a LineZone (`supervision`).

    python tools/bench/degraded.py                  # ours alone, on simulated streets
    pip install 'trackers==2.6.*'                   # in an environment of its own: brings supervision too
    python tools/bench/degraded.py --video one-by-one-person-detection.mp4 --model yolov8n.onnx

Each clip is shown as it is, with noise, dim, blurred and shrunk, at several frame rates; a network's boxes
are found once for each clip and degradation, and kept, and both trackers get the same. A crossing is found by
a claim of any class at the same line, in the same direction, within a second; a second claim of one is
*twice*. "21 of 30" are 21 found by 30 claims: on a busy street some false ones meet a crossing by chance.
The streets come with their truth. The video is Intel's sample of that name: its six persons leave to the
right, over a line at x = 0.8, at the times of :data:`LEAVING_S`. Choose by other seeds than those shown.
"""

import hashlib
import sys
import threading
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import analysis_options
from sightline.base.resources import resource
from sightline.config import parse_config
from sightline.entities import Detections, Event, ModelInfo
from sightline.models.evaluation.onnx_engine import BareEngine
from sightline.simulation.scenes.scene_places import camera_places
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.selftest import ground_truth
from sightline.simulation.selftest.evidence import match
from sightline.simulation.selftest.ground_truth import BEST_CAMERA, Happening, SimulatedCamera, prepare
from sightline.simulation.stack import progress

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from bench.bench_tracker import library
from bench.rehearse import NETWORK, SCORE_FLOOR, Frames, kept

SIZE = 640, 360  # width and height of the pictures
RATES = (24.0, 6.0, 3.0)
#: When each person's middle passes the line, seconds, as seen in the pictures.
LEAVING_S = (18.9, 44.0, 68.9, 85.9, 118.9, 135.0)
START = 1e9  # capture time of second 0
TWICE_S = 3.0  # a claim so near to a crossing that was found is of the same
Picture = NDArray[np.uint8]  # [H, W, 3], BGR
Lines = Mapping[str, Sequence[Sequence[float]]]  # their two points, shares of the picture
Degrade = Callable[[Picture, np.random.Generator], Picture]


def _noisy(picture: Picture, random: np.random.Generator) -> Picture:
    noise = random.normal(0, 25, picture.shape).astype(np.float32)
    return np.asarray(np.clip(picture + noise, 0, 255), np.uint8)


def _shrunk(picture: Picture, _: object) -> Picture:
    small = cv2.resize(picture, (SIZE[0] // 3, SIZE[1] // 3), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, SIZE, interpolation=cv2.INTER_LINEAR), np.uint8)


DEGRADATIONS: dict[str, Degrade] = {
    "clean": lambda picture, _: picture,
    "noise": _noisy,
    "dim": lambda picture, _: (picture * 0.2).astype(np.uint8),
    "blur": lambda picture, _: np.asarray(cv2.GaussianBlur(picture, (0, 0), 2.0), np.uint8),
    "shrunk": _shrunk,
}


@dataclass(frozen=True, slots=True)
class Footage:
    """A video, who crosses which line when, and the network that watches it."""

    name: str
    video: Path
    lines: Lines
    truth: tuple[Happening, ...]
    engine: BareEngine
    network: str  # a word that names the network

    def boxes(self, degradation: str, folder: Path) -> Frames:
        """What the network finds in every frame, made the first time and then read."""
        path = folder / f"{self.video.stem}.{degradation}.{self.network}.boxes"
        return kept(path, lambda: self._detect(degradation))

    def _detect(self, degradation: str) -> Iterator[tuple[float, Detections]]:
        degrade, random = DEGRADATIONS[degradation], np.random.default_rng(1)
        with av.open(str(self.video)) as source:
            for coded in source.decode(video=0):
                picture = coded.to_ndarray(format="bgr24", width=SIZE[0], height=SIZE[1]).astype(np.uint8)
                i420 = cv2.cvtColor(degrade(picture, random), cv2.COLOR_BGR2YUV_I420)
                yield float(coded.time or 0), self.engine.detect(np.asarray(i420, np.uint8), SCORE_FLOOR)


def at_rate(frames: Frames, fps: float) -> Frames:
    """The frames that a camera of ``fps`` would have sent; all of a clip that has fewer."""
    taken, last = Frames(), -1
    for time_s, found in frames:
        if (slot := int(time_s * fps + 1e-6)) != last:
            taken.append((time_s, found))
            last = slot
    return taken


def ours(frames: Frames, clip: Footage) -> Iterator[Happening]:
    """Crossings as Sightline tells them, with its defaults."""
    lines = {name: {"points": points} for name, points in clip.lines.items()}
    raw: dict[str, Any] = {"url": "rtsp://clip/1", "rules": {"lines": lines}}
    analysis = CameraAnalysis(analysis_options(parse_config({"cameras": {"clip": raw}}).cameras["clip"]))
    analysis.use_model(ModelInfo("", "", clip.engine.class_names, 0, 0, "", 0.0))
    for time_s, found in frames:
        analysis.observe(frame_at(START + time_s), found)
    analysis.end(START + frames[-1][0])
    for e in analysis.take_results():
        if isinstance(e, Event):
            yield Happening(e.event_time - START, e.place, e.direction or "", e.item_class, e.track_id)


def librarys(frames: Frames, clip: Footage) -> Iterator[Happening]:
    """Crossings as the libraries tell them, with the same thresholds and the same point of a box."""
    import supervision as sv

    scale, zones = np.array(SIZE * 2, np.float32), {}
    for name, points in clip.lines.items():
        start, end = (sv.Point(x * SIZE[0], y * SIZE[1]) for x, y in points)
        zones[name] = sv.LineZone(start, end, triggering_anchors=[sv.Position.BOTTOM_CENTER])
    update = library((len(frames) - 1) / (frames[-1][0] - frames[0][0]), timed=False)
    for time_s, found in frames:
        ids, xyxy = update(found, START + time_s)
        tracked = sv.Detections(xyxy=xyxy * scale, tracker_id=ids, class_id=np.zeros(len(ids), int))
        for name, zone in zones.items():
            for direction, crossed in zip(("forward", "backward"), zone.trigger(tracked), strict=True):
                for track_id in ids[crossed].tolist():
                    yield Happening(time_s, name, direction, "", track_id)


def cells(clip: Footage, claims: Sequence[Happening]) -> tuple[int, str]:
    """How many true crossings there are; how many were found by how many claims, and claimed twice."""
    matched = match(clip.truth, claims, (0.0, np.inf), by_class=False)
    twice = sum(
        any(
            (t.place, t.what) == (e.place, e.what) and abs(t.time_s - e.time_s) <= TWICE_S
            for t, _ in matched.pairs
        )
        for e in matched.extra
    )
    word = f"{len(matched.pairs)} of {matched.claimed}"
    return matched.true, word + (f", {twice} twice" if twice else "")


def main() -> None:
    """Make what is not there yet, play everything, print and write the table."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[21, 22], help="streets; may be none")
    parser.add_argument("--pictures", nargs="+", choices=DEGRADATIONS, default=list(DEGRADATIONS))
    parser.add_argument("--length", type=float, default=60.0, help="seconds of each (default: %(default)g)")
    parser.add_argument("--video", type=Path, help="one-by-one-person-detection.mp4")
    parser.add_argument("--model", type=Path, help="the network for it, with COCO's classes: yolov8n.onnx")
    parser.add_argument("--folder", type=Path, default=Path("artifacts/degraded"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    clips = streets(arguments.seeds, arguments.length, folder)
    if arguments.video and arguments.model:
        left = tuple(Happening(t, "right", "forward", "person", n) for n, t in enumerate(LEAVING_S))
        lines: Lines = {"right": [[0.8, 0.0], [0.8, 1.0]]}
        clips.append(Footage("one by one", arguments.video, lines, left, *network(arguments.model)))
    with_library = all(map(find_spec, ("trackers", "supervision")))
    if not with_library:
        print("the libraries are not installed (--help says how): ours alone")
    rows = ["| clip | picture | fps | true | ours | library |", "|---|---|---|---|---|---|"]
    for clip in clips:
        for degradation in arguments.pictures:
            frames = clip.boxes(degradation, folder)
            for fps in RATES:
                played = at_rate(frames, fps)
                true, own = cells(clip, list(ours(played, clip)))
                other = cells(clip, list(librarys(played, clip)))[1] if with_library else "not run"
                rows.append(f"| {clip.name} | {degradation} | {fps:g} | {true} | {own} | {other} |")
                print(rows[-1], flush=True)
    (folder / "degraded.md").write_text("\n".join(rows) + "\n")


def network(path: Path) -> tuple[BareEngine, str]:
    """A network file, and a word that names it."""
    return BareEngine.load(path, "fp32", NETWORK), hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def streets(seeds: Sequence[int], length_s: float, folder: Path) -> list[Footage]:
    """Streets watched by the bundled network; videos and truths are made the first time."""
    specs = [SceneSpec("street", seed, camera=BEST_CAMERA["street"]) for seed in seeds]
    cameras = [SimulatedCamera(spec, max(RATES), length_s) for spec in specs]
    prepare(cameras, folder, progress("degraded"), stop=threading.Event())
    clips = []
    for camera in cameras:
        lines = {name: line["points"] for name, line in camera_places(camera.spec)["lines"].items()}
        true = ground_truth.load(camera.truth(folder)).happenings
        crossings = tuple(happening for happening in true if happening.what in ("forward", "backward"))
        watched = network(resource("models/sightline.onnx"))
        clips.append(Footage(f"street {camera.spec.seed}", camera.video(folder), lines, crossings, *watched))
    return clips


if __name__ == "__main__":
    main()
