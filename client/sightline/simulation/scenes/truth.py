"""The truth of a run: frame by frame, what happened in it, and both as files: JSON, MOT and COCO.

Pure arithmetic: no picture is drawn. Crossings, visits to zones and violations are exact in time, whatever
the frame rate.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from sightline.simulation.scenes.scene import still_of, world_of
from sightline.simulation.scenes.scene_places import Places, SceneLine, SceneZone, in_picture, places_of
from sightline.simulation.scenes.spec import Point, SceneSpec, camera_of
from sightline.simulation.scenes.visibility import FrameTruth, TruthObserver
from sightline.simulation.scenes.world import STEP_S, Actor, ActorState, Placed, Snapshot

VEHICLES = ("car", "van", "truck", "bus", "motorcycle")
_HALVINGS = 24  # of a step, when looking for the moment of entry


@dataclass(frozen=True, slots=True)
class Crossing:
    """An actor's place on the ground went over a line, at x and y (metres)."""

    time_s: float
    line: str
    id: int
    kind: str
    direction: str  # forward, or backward
    speed: float
    x: float
    y: float


@dataclass(slots=True)
class Visit:
    """An actor's place on the ground was in a zone; ``leave_s`` is None when the run ended first."""

    zone: str
    id: int
    kind: str
    enter_s: float
    leave_s: float | None = None

    @property
    def dwell_s(self) -> float | None:
        """Seconds in the zone."""
        return None if self.leave_s is None else self.leave_s - self.enter_s


@dataclass(slots=True)
class Violation:
    """A rule was broken from ``time_s`` on; ``value`` is a top speed in m/s, or what was missing."""

    time_s: float
    rule: str
    id: int
    kind: str
    value: float | str = ""
    end_s: float | None = None


def frames(spec: SceneSpec, fps: float, length_s: float) -> Iterator[FrameTruth]:
    """The truth of every frame: frame i is at i / fps seconds."""
    observer, world = TruthObserver(camera_of(spec), still_of(spec)), world_of(spec)
    for i in range(round(length_s * fps)):
        yield observer.look(world.at(i / fps))


def run(spec: SceneSpec, length_s: float) -> "RunTruth":
    """What happens in the scene."""
    result, world = RunTruth(spec, length_s, places_of(spec.scene)), world_of(spec)
    before, after = world.step()
    while before.time_s < length_s - 1e-9:
        result.step(before, after)
        before, after = world.step()
    result.crossings.sort(key=lambda c: (c.time_s, c.id))
    return result


def meeting(line: SceneLine, p: Point, q: Point) -> tuple[float, bool] | None:
    """Where (0..1) the way from p to q crosses the line, and whether forward; None when it does not."""
    along = line.b[0] - line.a[0], line.b[1] - line.a[1]
    before, after = (along[0] * (y - line.a[1]) - along[1] * (x - line.a[0]) for x, y in (p, q))
    if (before >= 0) == (after >= 0):
        return None
    share = before / (before - after)
    x, y = p[0] + (q[0] - p[0]) * share, p[1] + (q[1] - p[1]) * share
    place = ((x - line.a[0]) * along[0] + (y - line.a[1]) * along[1]) / (along[0] ** 2 + along[1] ** 2)
    return (share, after >= 0) if 0 <= place <= 1 else None


def inside(points: Sequence[Point], x: float, y: float) -> bool:
    """Whether a point lies in a polygon."""
    odd = False
    for (xa, ya), (xb, yb) in zip(points, [*points[1:], points[0]], strict=True):
        if (ya > y) != (yb > y) and x < xa + (y - ya) / (yb - ya) * (xb - xa):
            odd = not odd
    return odd


class RunTruth:
    """Everything that happened from time 0 to ``length_s``, recorded step by step. One thread."""

    def __init__(self, spec: SceneSpec, length_s: float, places: Places) -> None:
        self.spec, self.length_s, self._places = spec, length_s, places
        self.crossings: list[Crossing] = []
        self.visits: list[Visit] = []
        self.violations: list[Violation] = []
        self._actors: dict[int, Actor] = {}
        self._open: dict[tuple[str, int], Visit] = {}
        self._speeding: dict[int, Violation] = {}

    @property
    def actors(self) -> list[Actor]:
        """All who were there, by ascending id."""
        return [actor for _, actor in sorted(self._actors.items())]

    def occupancy(self) -> dict[str, dict[str, list[tuple[float, int]]]]:
        """For each zone and class: (second, how many from then on), at every change."""
        moves: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
        for visit in self.visits:
            moves[visit.zone, visit.kind].append((visit.enter_s, 1))
            if visit.leave_s is not None:
                moves[visit.zone, visit.kind].append((visit.leave_s, -1))
        series: dict[str, dict[str, list[tuple[float, int]]]] = defaultdict(dict)
        for (zone, kind), changes in sorted(moves.items()):
            times, steps = zip(*sorted(changes), strict=True)
            series[zone][kind] = list(zip(times, accumulate(steps), strict=True))
        return dict(series)

    def step(self, before: Snapshot, after: Snapshot) -> None:
        """Take in one step of the world."""
        if after.time_s <= 1e-9:
            return
        earlier = {actor.id: state for actor, state in before.bodies}
        for actor, now in after.bodies:
            self._actors.setdefault(actor.id, actor)
            was = earlier.get(actor.id, now)
            self._cross(actor, was, now, before)
            for zone in self._places.zones:
                self._visit(zone, (actor, now), was, before.time_s)
            if self._places.speed_limit is not None and actor.kind in VEHICLES:
                speed = math.hypot(now.x - was.x, now.y - was.y) / STEP_S
                open_one = self._speeding.get(actor.id)
                if speed > self._places.speed_limit:
                    if open_one is None:
                        open_one = self._violate(before.time_s, "speeding", actor, speed)
                        self._speeding[actor.id] = open_one
                    open_one.value = max(float(open_one.value), speed)
                elif open_one is not None:
                    self._speeding.pop(actor.id).end_s = before.time_s
        here = {actor.id for actor, _ in after.bodies}
        for key in [key for key in self._open if key[1] not in here]:
            self._open.pop(key).leave_s = before.time_s
        for number in self._speeding.keys() - here:
            self._speeding.pop(number).end_s = before.time_s

    def _cross(self, actor: Actor, was: ActorState, now: ActorState, before: Snapshot) -> None:
        p, q = (was.x, was.y), (now.x, now.y)
        who, speed = (actor.id, actor.kind), math.dist(p, q) / STEP_S
        for line in self._places.lines:
            if (met := meeting(line, p, q)) is not None:
                share, way = met[0], "forward" if met[1] else "backward"
                at = p[0] + (q[0] - p[0]) * share, p[1] + (q[1] - p[1]) * share
                time_s = before.time_s + share * STEP_S
                self.crossings.append(Crossing(time_s, line.name, *who, way, speed, *at))
        if before.signal in ("red", "walk") and actor.kind in VEHICLES:
            half = actor.size[0] / 2  # its nose counts, not its middle
            p, q = ((s.x + half * math.cos(s.heading), s.y + half * math.sin(s.heading)) for s in (was, now))
            for line in self._places.stop_lines:
                if (met := meeting(line, p, q)) is not None and met[1]:
                    time_s = before.time_s + met[0] * STEP_S
                    self._violate(time_s, "red light", actor, line.name).end_s = time_s

    def _violate(self, time_s: float, rule: str, actor: Actor, value: float | str) -> Violation:
        self.violations.append(Violation(time_s, rule, actor.id, actor.kind, value))
        return self.violations[-1]

    def _visit(self, zone: SceneZone, placed: Placed, was: ActorState, time_s: float) -> None:
        actor, now = placed
        key = zone.name, actor.id
        visit, here = self._open.get(key), inside(zone.points, now.x, now.y)
        if here and visit is None:
            at = time_s if inside(zone.points, was.x, was.y) else _moment(zone, was, now, time_s)
            self._open[key] = Visit(zone.name, actor.id, actor.kind, at)
            self.visits.append(self._open[key])
            if zone.rule == "forbidden" and actor.kind in ("person", "forklift"):
                self._violate(at, "forbidden zone", actor, zone.name)
            if zone.rule == "helmet and vest" and actor.kind == "person":
                for worn in ("helmet", "vest"):
                    if not actor.attributes.get(worn, False):
                        self._violate(at, f"no {worn}", actor, zone.name)
        elif visit is not None and not here:
            visit.leave_s = _moment(zone, was, now, time_s)
            del self._open[key]
        elif visit is not None and zone.rule == "loiter":
            due = visit.enter_s + zone.loiter_s
            if time_s < due <= time_s + STEP_S:
                self._violate(due, "loitering", actor, zone.name)


def _moment(zone: SceneZone, was: ActorState, now: ActorState, time_s: float) -> float:
    """When, within a step, the zone's edge was passed."""
    start, low, high = inside(zone.points, was.x, was.y), 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        x, y = was.x + (now.x - was.x) * middle, was.y + (now.y - was.y) * middle
        low, high = (middle, high) if inside(zone.points, x, y) == start else (low, middle)
    return time_s + high * STEP_S


CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "van", "forklift", "fire", "smoke")
_COLUMNS = ("ids", "full_xyxy", "visible_xyxy", "occlusion", "truncation", "foot_xy", "position", "heading",
            "speed")  # fmt: skip


def write_truth(folder: Path, result: RunTruth, frames: Iterable[FrameTruth], fps: float) -> list[Path]:
    """Write everything into a folder: run.json, frames.jsonl, coco.json, mot/."""
    rows, lines = list(frames), []
    for i, frame in enumerate(rows):  # arrays become lists of the same names
        columns = {name: getattr(frame, name).tolist() for name in _COLUMNS}
        record = {"frame": i, "time_s": frame.time_s, "kinds": frame.kinds, **columns}
        lines.append(_text(record, separators=(",", ":")))
    texts = {
        "run.json": _text(run_record(result, fps), indent=1),
        "frames.jsonl": "".join(lines),
        "coco.json": _text(coco(result.spec, rows), indent=1),
        **{f"mot/{name}": text for name, text in mot(result.spec, rows, fps).items()},
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def run_record(result: RunTruth, fps: float) -> dict[str, Any]:
    """What happened, the camera, and the lines and zones in the picture, ready for JSON."""
    places, camera = places_of(result.spec.scene), camera_of(result.spec)
    view = {"position_m": camera.position.tolist(), "rotation": camera.rotation.tolist()}
    crossings = []  # say whether they are in the picture: a line may reach out of it
    for crossing in result.crossings:
        ((x, y),) = in_picture(((crossing.x, crossing.y),), camera)
        crossings.append({**asdict(crossing), "in_picture": 0 <= x <= 1 and 0 <= y <= 1})
    return {
        "spec": asdict(result.spec),
        "fps": fps,
        "length_s": result.length_s,
        "camera": view | {"focal_px": camera.focal_px},
        "lines": {line.name: in_picture((line.a, line.b), camera) for line in places.lines},
        "zones": {zone.name: in_picture(zone.points, camera) for zone in places.zones},
        "actors": [{"id": a.id, "kind": a.kind, "size_m": a.size, **a.attributes} for a in result.actors],
        "plates": {a.id: a.attributes["plate"] for a in result.actors if "plate" in a.attributes},
        "crossings": crossings,
        "visits": [{**asdict(v), "dwell_s": v.dwell_s} for v in result.visits],
        "occupancy": result.occupancy(),
        "violations": [asdict(v) for v in result.violations],
    }


def mot(spec: SceneSpec, rows: list[FrameTruth], fps: float) -> dict[str, str]:
    """MOTChallenge: gt/gt.txt (frame from 1, id, left, top, width, height, 1, class from 1, visibility)."""
    lines = []
    for number, frame in enumerate(rows, start=1):
        for i, (x0, y0, x1, y1) in enumerate(frame.full_xyxy.astype(float)):
            kind = CLASSES.index(frame.kinds[i]) + 1
            box = f"{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f}"
            lines.append(f"{number},{frame.ids[i]},{box},1,{kind},{1 - float(frame.occlusion[i]):.4f}\n")
    info = (
        f"[Sequence]\nname={spec.scene}-{spec.seed}\nimDir=img1\nframeRate={fps:g}\nseqLength={len(rows)}\n"
        f"imWidth={spec.width}\nimHeight={spec.height}\nimExt=.jpg\n"
    )
    return {"gt/gt.txt": "".join(lines), "seqinfo.ini": info, "labels.txt": "\n".join(CLASSES) + "\n"}


def coco(spec: SceneSpec, rows: list[FrameTruth]) -> dict[str, Any]:
    """COCO detection format: full boxes of the actors that are visible at all; image i is frame i."""
    annotations: list[dict[str, Any]] = []
    for index, frame in enumerate(rows):
        for i, (x0, y0, x1, y1) in enumerate(frame.full_xyxy.astype(float).tolist()):
            if frame.occlusion[i] >= 1:
                continue
            kind, wide, tall = CLASSES.index(frame.kinds[i]) + 1, x1 - x0, y1 - y0
            row: dict[str, Any] = {"id": len(annotations) + 1, "image_id": index, "category_id": kind}
            row |= {"bbox": [x0, y0, wide, tall], "area": wide * tall, "iscrowd": 0}
            row |= {"track_id": int(frame.ids[i]), "occlusion": float(frame.occlusion[i])}
            annotations.append(row)
    size = {"width": spec.width, "height": spec.height}
    images = [{"id": i, "file_name": f"{i:06d}.png", **size, "time_s": f.time_s} for i, f in enumerate(rows)]
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _text(record: dict[str, Any], **style: Any) -> str:
    return json.dumps(_rounded(record), **style) + "\n"


def _rounded(value: Any) -> Any:
    """Floats to four digits, so that the files are small and the same everywhere."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
