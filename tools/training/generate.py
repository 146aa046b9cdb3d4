"""Draws the pictures that the bundled detector learns from, and those it is judged by, into a folder.

    python tools/training/generate.py OUT                      # every set to learn from
    python tools/training/generate.py OUT --set train rare     # two of them
    python tools/training/generate.py OUT --set heldout

Each camera of the plan becomes ``NAME.npy`` (uint8 [pictures, 3/2·height, width], I420 as the server gets it)
and ``NAME.npz`` (its boxes). What is there already is not drawn again. Seeds of the two sets are disjoint by
construction, see :data:`SEEDS`: the demo and the self-test use seeds below those of training.
"""

import os
import zlib
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import cycle, product
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes.scene import LabelledPicture, painter, samples, still_of, world_of
from sightline.simulation.scenes.spec import LIGHTS, SCENES, WEATHERS, SceneName, SceneSpec, camera_of
from sightline.simulation.scenes.visibility import FrameTruth, TruthObserver
from sightline.video import timecode
from sightline.video.timecode import TimeCode

U8 = NDArray[np.uint8]
Random = np.random.Generator | None
#: Class ids of the detector are places in this list.
CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "van", "forklift", "fire", "smoke")
LEARNT = ("train", "rare", "mast", "high", "roof", "crowd", "door")
#: First seed of each set; the held-out seeds end where those of training begin.
SEEDS = {"heldout": 900, **dict(zip(LEARNT, range(1000, 8000, 1000), strict=True))}
#: Cameras of each scene, pictures of each camera, seconds between two pictures.
Amounts = dict[SceneName, tuple[int, int, float]]
TRAIN: Amounts = {"street": (176, 24, 3.1), "factory": (64, 28, 3.3), "shop": (60, 24, 3.7)}
#: As of training, and how many cameras see a clear day and how many each of the other conditions.
HELDOUT = {"street": (6, 3, 12, 6.1), "factory": (3, 1, 12, 7.3), "shop": (3, 1, 10, 7.7)}
#: Places to count from, and their first seeds; one camera for each light and weather.
HELDOUT_ABOVE: dict[tuple[SceneName, int], int]
HELDOUT_ABOVE = {("street", 3): 950, ("street", 4): 970, ("street", 5): 980, ("shop", 3): 990}
NEAR, ABOVE = (0, 1, 2), (3, 4, 5)  # cameras of a street
#: Kinds that are rare, by how much they count.
RARE_KINDS = {"bus": 3.0, "motorcycle": 2.5, "truck": 2.0, "van": 1.5, "bicycle": 0.7}
LIGHT_SHARES, RAIN_SHARE = (0.55, 0.2, 0.25), 0.3
#: Of the training pictures, how many went through a codec, and its quality (x264's crf).
CODED_SHARE, CRF = 0.6, (20, 36)
TIME_CODE_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Shot:
    """A camera of the plan: ``count`` pictures, ``gap_s`` apart."""

    spec: SceneSpec
    count: int
    gap_s: float
    start_s: float
    rare: bool = False  # not every ``gap_s``, but at the moment in each that shows the most that is rare

    @property
    def name(self) -> str:
        """Of its files."""
        s = self.spec
        return f"{s.scene}-{s.seed}-{s.light}-{s.weather}-{s.camera}"


def _places(
    scene: SceneName, cameras: Sequence[int], count: int, people: Sequence[float] = (1.0,)
) -> list[SceneSpec]:
    """So many views of a scene, by its cameras and numbers of people in turn."""
    turns = zip(range(count), cycle(cameras), cycle(people), strict=False)
    return [SceneSpec(scene, camera=camera, people=crowd) for _, camera, crowd in turns]


def _shots(
    first: int, places: Iterable[SceneSpec], count: int, gap_s: float, random: Random = None, rare: int = 0
) -> list[Shot]:
    """Cameras with a seed each, in every light and weather; every ``rare``-th waits for what is rare."""
    random, shots = random or np.random.default_rng(first), []
    for i, place in enumerate(places):
        light = LIGHTS[int(random.choice(3, p=LIGHT_SHARES))]
        weather = WEATHERS[int(random.random() < RAIN_SHARE)]
        start_s = float(random.uniform(0, 5))
        spec = replace(place, seed=first + i, light=light, weather=weather)
        shots.append(Shot(spec, count, gap_s, start_s, rare > 0 and i % rare == rare - 1))
    return shots


def training_plan() -> list[Shot]:
    """Cameras to learn from, mixed, so that the first few hundred pictures are a fair sample already."""
    first = SEEDS["train"]
    random, shots = np.random.default_rng(first), list[Shot]()
    for scene, (cameras, count, gap_s) in TRAIN.items():
        shots += _shots(first, _places(scene, NEAR, cameras), count, gap_s, random)
    return [shots[int(i)] for i in random.permutation(len(shots))]


def crowd_plan() -> list[Shot]:
    """Two to four times as many people: how much of another each hides is what there is to learn."""
    first, people = SEEDS["crowd"], (2.0, 2.5, 3.0, 3.5, 4.0)
    streets, shops = _places("street", ABOVE, 96, people), _places("shop", NEAR, 36, people)
    shots = _shots(first, streets, 24, 2.3, np.random.default_rng([first, 0]))
    return shots + _shots(first + 96, shops, 24, 3.7, np.random.default_rng([first, 96]))


def heldout_plan() -> list[Shot]:
    """Cameras to be judged by: every light and weather of every scene, seeds that were never learnt from."""
    shots, conditions = [], list(product(LIGHTS, WEATHERS))
    for scene in SCENES:
        plain, each, count, gap_s = HELDOUT[scene]
        cameras = [conditions[0]] * plain + [kind for kind in conditions[1:] for _ in range(each)]
        for i, kind in enumerate(cameras):
            shots.append(Shot(SceneSpec(scene, SEEDS["heldout"] + i, *kind, camera=i % 3), count, gap_s, 1.5))
    for (scene, camera), first in HELDOUT_ABOVE.items():
        for i, kind in enumerate(conditions):
            shots.append(Shot(SceneSpec(scene, first + i, *kind, camera=camera), *HELDOUT[scene][2:], 1.5))
    return shots


PLANS: dict[str, Callable[[], list[Shot]]] = {
    "train": training_plan,
    "rare": lambda: _shots(SEEDS["rare"], _places("street", NEAR, 60), 24, 6.5, rare=1),
    "mast": lambda: _shots(SEEDS["mast"], _places("street", [3], 60), 24, 3.9, rare=2),
    "high": lambda: _shots(SEEDS["high"], _places("street", [4], 60), 24, 3.9, rare=2),
    "roof": lambda: _shots(SEEDS["roof"], _places("street", [5], 120), 24, 3.9, rare=2),
    "crowd": crowd_plan,
    "door": lambda: _shots(SEEDS["door"], _places("shop", [3], 60, [1.0, 1.0, 2.0, 3.0]), 24, 3.7),
    "heldout": heldout_plan,
}


def rare_samples(shot: Shot) -> Iterator[LabelledPicture]:
    """Pictures at the moments that show the most of what is rare."""
    world = world_of(shot.spec)
    moments = [shot.start_s + i * 0.5 for i in range(round(shot.count * shot.gap_s * 2))]
    # How much that is rare stands 4 to 40 m along the road.
    bodies = ([actor.kind for actor, at in world.at(moment).bodies if 4 < at.x < 40] for moment in moments)
    values = np.array([sum(RARE_KINDS.get(kind, 0.0) for kind in kinds) for kinds in bodies])
    paint, observer = painter(shot.spec), TruthObserver(camera_of(shot.spec), still_of(shot.spec))
    world = world_of(shot.spec)
    for part in np.array_split(np.arange(len(moments)), shot.count):
        snapshot = world.at(moments[int(part[values[part].argmax()])])
        yield LabelledPicture(paint(snapshot), observer.look(snapshot))


def boxes_of(truth: FrameTruth, index: int) -> NDArray[np.float32]:
    """Rows of picture, class, full box, visible box, occlusion, truncation: float32 [N, 12], pixels."""
    known = [i for i, kind in enumerate(truth.kinds) if kind in CLASSES]
    rows = np.zeros((len(known), 12), np.float32)
    rows[:, 0] = index
    rows[:, 1] = [CLASSES.index(truth.kinds[i]) for i in known]
    rows[:, 2:6], rows[:, 6:10] = truth.full_xyxy[known], truth.visible_xyxy[known]
    rows[:, 10], rows[:, 11] = truth.occlusion[known], truth.truncation[known]
    return rows


def frames(shot: Shot) -> Iterator[tuple[U8, NDArray[np.float32]]]:
    """I420 pictures and their boxes; some with a time code, some through a codec, as streams have them."""
    random = np.random.default_rng([shot.spec.seed, zlib.crc32(shot.name.encode())])
    regular = samples(shot.spec, 1 / shot.gap_s, shot.count * shot.gap_s, shot.start_s)
    for index, sample in enumerate(rare_samples(shot) if shot.rare else regular):
        picture = sample.picture.copy()
        if random.random() < TIME_CODE_SHARE:
            scene_ms, utc_ms = (int(v) for v in random.integers(0, 1 << 32, 2))
            timecode.draw(picture, TimeCode(scene_ms, utc_ms))
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        if random.random() < CODED_SHARE:
            frame = coded(frame, int(random.integers(*CRF)))
        yield frame.to_ndarray().astype(np.uint8, copy=False), boxes_of(sample.truth, index)


def coded(frame: av.VideoFrame, crf: int) -> av.VideoFrame:
    """The picture as H.264 leaves it."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuv420p"
    encoder.options = {"preset": "veryfast", "crf": str(crf), "tune": "zerolatency"}
    encoder.time_base, encoder.thread_count = Fraction(1, 10), 1
    frame.pts, frame.time_base = 0, encoder.time_base
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    return [*(f for packet in packets for f in decoder.decode(packet)), *decoder.decode(None)][0]


def draw(shot: Shot, folder: Path) -> str:
    """Draw one camera's pictures, unless they are there."""
    place = folder / f"{shot.name}.npz"
    if not place.is_file():
        pictures, boxes = zip(*frames(shot), strict=True)
        np.save(folder / f"{shot.name}.npy", np.stack(pictures))
        draft = folder / f".{shot.name}.npz"
        np.savez(draft, boxes=np.concatenate(boxes))
        draft.rename(place)  # last: who sees the boxes finds the pictures
    return shot.name


def main() -> None:
    """Draw a whole set with a process for each core."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", nargs="+", choices=sorted(PLANS), default=sorted(LEARNT))
    parser.add_argument("--cameras", type=int, help="only the first so many of each set")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    places, shots = list[Path](), list[Shot]()
    for name in given.set:
        folder = given.out / ("heldout" if name == "heldout" else "train")
        folder.mkdir(parents=True, exist_ok=True)
        shots += PLANS[name]()[: given.cameras]
        places += [folder] * (len(shots) - len(places))
    with ProcessPoolExecutor(given.processes, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for done, name in enumerate(pool.map(draw, shots, places), 1):
            print(f"{done}/{len(shots)} {name}", flush=True)


if __name__ == "__main__":
    main()
