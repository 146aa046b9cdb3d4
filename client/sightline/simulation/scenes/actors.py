"""The mesh of each actor, and its pose in the world at a time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes import cycles, fire, forklift, people, vehicles
from sightline.simulation.scenes.arrays import F32, I64, f32, linear, pitch, turn
from sightline.simulation.scenes.mesh import I8, Mesh, by_bone
from sightline.simulation.scenes.viewpoints import PinholeCamera
from sightline.simulation.scenes.world import Actor, ActorState, Snapshot

TRANSPARENT = ("fire", "smoke")  # hide nothing behind them, throw no shadow
_SPARE_M = 0.8  # arms, riders and wheels reach less far beyond an actor's size
_SPARE_SHARE = 0.05  # of the picture, at each side: blurred edges reach less far
_KEPT = 256  # meshes, of the actors seen last
PAINTS = [linear(c) for c in (
    (225, 227, 228), (200, 204, 208), (150, 155, 160), (86, 90, 96), (34, 36, 40), (22, 23, 26), (140, 18,
    22),
    (24, 52, 120), (52, 92, 150), (88, 20, 28), (38, 74, 58), (196, 176, 140), (190, 92, 30), (60, 66, 78),
)]  # fmt: skip
CLOTHES = [linear(c) for c in (
    (40, 44, 56), (70, 74, 82), (120, 40, 44), (46, 82, 120), (196, 190, 178), (220, 220, 222), (64, 92, 66),
    (150, 110, 66), (90, 60, 90), (30, 30, 33), (190, 150, 60), (170, 86, 96), (60, 120, 130), (110, 116,
    124),
)]  # fmt: skip
TROUSERS = [linear(c) for c in (
    (36, 44, 66), (28, 29, 33), (70, 66, 60), (96, 92, 84), (46, 58, 88), (54, 48, 44),
)]  # fmt: skip
SKINS = [linear(c) for c in ((236, 196, 168), (222, 178, 146), (190, 140, 104), (140, 96, 68), (92, 62, 46))]
HAIRS = [linear(c) for c in (
    (30, 24, 20), (60, 42, 28), (110, 76, 44), (170, 136, 84), (120, 116, 112), (20, 20, 22),
)]  # fmt: skip
HELMETS = [linear(c) for c in ((240, 190, 20), (235, 235, 235), (30, 90, 190), (220, 70, 20))]
FORKLIFTS = [linear(c) for c in ((236, 130, 20), (232, 190, 30), (200, 44, 36))]
VESTS = [linear(c) for c in ((205, 235, 30), (255, 100, 10))]


_WAYS = f32([[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if x or y or z])


@dataclass(frozen=True, slots=True)
class Body:
    """A mesh sorted by bone, its points, and its outline.

    Attributes:
        bones: numbers of the bones it has; starts: where each one's points begin (one more at the end).
        points: float32 [P, 3], every corner of the mesh once for each bone: far fewer than corners.
        triangles: int64 [N, 3], the points of each triangle of the mesh.
        outline: float32 [B, 26, 3], each bone's farthest points in 26 directions: what its shadow needs.
    """

    mesh: Mesh
    bones: tuple[int, ...]
    starts: tuple[int, ...]
    points: F32
    triangles: I64
    outline: F32


@dataclass(frozen=True, slots=True)
class PosedActor:
    """An actor placed in the world.

    Attributes:
        points: float32 [P, 3], metres; triangles: int64 [N, 3], the points of each triangle of the mesh.
        rotations: float32 [bones, 3, 3], how the mesh's bones are turned.
        outline: float32 [B, 26, 3], points around each bone, metres.
    """

    actor: Actor
    state: ActorState
    mesh: Mesh
    points: F32
    triangles: I64
    rotations: F32
    outline: F32


class Cast:
    """Makes figures; keeps the meshes of those seen last. One thread.

    Args:
        slant: see :func:`~sightline.simulation.scenes.groundlight.slant_of`; None when no shadow is drawn.
        beam_m: how far lamps shine ahead.
    """

    def __init__(self, slant: F32 | None = None, beam_m: float = 0.0) -> None:
        self._slant, self._beam_m = slant, beam_m
        self._bodies: OrderedDict[tuple[int, int], Body] = OrderedDict()

    def figures(self, snapshot: Snapshot, camera: PinholeCamera) -> list[PosedActor]:
        """The actors that may be seen, or whose shadow or lamps may, each as fine as the picture needs."""
        figures: list[PosedActor] = []
        if not snapshot.bodies:
            return figures
        middles = camera.project(f32([[state.x, state.y, 1.0] for _, state in snapshot.bodies])).tolist()
        seen = self._in_view(snapshot, camera).tolist()
        for (actor, state), (x, _, depth), near in zip(snapshot.bodies, middles, seen, strict=True):
            if actor.kind in TRANSPARENT:
                figures.append(_cloud(actor, state, snapshot.time_s))
                continue
            margin = (actor.size[0] + 3.0) * camera.focal_px / max(depth, 0.5)
            if not near or (depth > actor.size[0] and not -margin < x < camera.width + margin):
                continue
            if depth > -actor.size[0]:
                tall = actor.size[2] * camera.focal_px / max(depth, 1.0)
                k = 12 if tall > 150 else 8 if tall > 60 else 6 if tall > 24 else 5
                figures.append(self._figure(actor, state, k))
        return figures

    def _in_view(self, snapshot: Snapshot, camera: PinholeCamera) -> NDArray[np.bool_]:
        """Actors that may be in the picture, with shadow and beam: not wholly beyond one of its sides."""
        place = f32([[state.x, state.y] for _, state in snapshot.bodies])
        size = f32([actor.size for actor, _ in snapshot.bodies])
        reach = np.hypot(size[:, :1], size[:, 1:2]) / 2 + _SPARE_M + self._beam_m
        top = size[:, 2:] + _SPARE_M
        low, high = place - reach, place + reach
        if self._slant is not None:
            low, high = np.minimum(low, low - self._slant * top), np.maximum(high, high - self._slant * top)
        ends = (low[:, 0], high[:, 0]), (low[:, 1], high[:, 1]), (np.full(len(top), -0.1), top[:, 0])
        box = np.stack(
            [np.stack([x, y, z], axis=1) for x in ends[0] for y in ends[1] for z in ends[2]], axis=1
        )
        right, down, ahead = np.moveaxis((box - camera.position) @ camera.rotation.T, -1, 0) * camera.focal_px
        ahead = ahead * np.float32((1 + 2 * _SPARE_SHARE) / camera.focal_px)
        wide, tall = ahead * (camera.width / 2), ahead * (camera.height / 2)
        beyond = (right > wide, right < -wide, down > tall, down < -tall)
        return np.asarray(~np.any([side.all(axis=1) for side in beyond], axis=0), np.bool_)

    def _figure(self, actor: Actor, state: ActorState, k: int) -> PosedActor:
        body = self._body(actor, k)
        rotations, offsets = _bones(actor, state)
        heading = turn(state.heading)
        rotations = f32(heading @ rotations)
        offsets = f32(offsets @ heading.T + f32([state.x, state.y, 0]))
        points = np.empty_like(body.points)
        outline = np.empty_like(body.outline)
        for i, bone in enumerate(body.bones):
            part = slice(body.starts[i], body.starts[i + 1])
            np.matmul(body.points[part], rotations[bone].T, out=points[part])
            points[part] += offsets[bone]
            np.matmul(body.outline[i], rotations[bone].T, out=outline[i])
            outline[i] += offsets[bone]
        return PosedActor(actor, state, body.mesh, points, body.triangles, rotations, outline)

    def _body(self, actor: Actor, k: int) -> Body:
        key = actor.id, k
        if key not in self._bodies:
            self._bodies[key] = _body(by_bone(_build(actor, k)))
            if len(self._bodies) > _KEPT:
                self._bodies.popitem(last=False)
        self._bodies.move_to_end(key)
        return self._bodies[key]


def _body(mesh: Mesh) -> Body:
    points, bone, triangles = _indexed(mesh)
    bones = np.unique(bone)
    starts = [*np.searchsorted(bone, bones).tolist(), len(points)]
    outline = []
    for i in range(len(bones)):
        part = points[starts[i] : starts[i + 1]]
        outline.append(part[np.argmax(part @ _WAYS.T, axis=0)])
    return Body(mesh, tuple(int(b) for b in bones), tuple(starts), points, triangles, f32(np.stack(outline)))


def _indexed(mesh: Mesh) -> tuple[F32, I8, I64]:
    """The different corners [P, 3] of a mesh, first come first, their bones [P], and its triangles [N, 3]."""
    flat, bone = mesh.corners.reshape(-1, 3), np.repeat(mesh.bone, 3)
    order = np.lexsort((flat[:, 2], flat[:, 1], flat[:, 0], bone))
    corner, part = flat[order], bone[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (corner[1:] != corner[:-1]).any(axis=1) | (part[1:] != part[:-1])
    first = order[new]  # the sort is stable: of equal corners the one that comes first
    come = np.argsort(first)
    rank = np.empty_like(come)
    rank[come] = np.arange(len(come))
    triangles = np.empty(len(order), np.int64)
    triangles[order] = rank[np.cumsum(new) - 1]
    return flat[first[come]], bone[first[come]], triangles.reshape(-1, 3)


def _cloud(actor: Actor, state: ActorState, time_s: float) -> PosedActor:
    mesh = fire.outline(fire.puffs(actor, state, time_s))
    points = mesh.corners.reshape(-1, 3)
    triangles = np.arange(len(points)).reshape(-1, 3)
    return PosedActor(actor, state, mesh, points, triangles, f32(np.eye(3)[None]), f32(mesh.corners[:1, :1]))


def look_of(actor: Actor) -> people.Appearance:
    """How a person is built and dressed, from the actor's seed and attributes."""
    random = np.random.default_rng([actor.seed, 1])

    def pick(colours: list[F32]) -> F32:
        return colours[int(random.integers(len(colours)))]

    worker = "helmet" in actor.attributes or actor.kind == "forklift"
    height = actor.size[2] if actor.kind == "person" else float(random.uniform(1.62, 1.88))
    return people.Appearance(
        height=height,
        build=float(random.uniform(0.88, 1.2)),
        skin=pick(SKINS),
        hair=pick(HAIRS),
        top=pick(CLOTHES[:4] + CLOTHES[9:10]) if worker else pick(CLOTHES),
        bottom=pick(TROUSERS),
        shoes=pick([linear((30, 28, 27)), linear((220, 220, 218)), linear((110, 70, 40))]),
        coat=not worker and random.random() < 0.22,
        sleeves=worker or random.random() < 0.75,
        long_hair=bool(random.random() < 0.35),
        bag=pick(CLOTHES) if not worker and random.random() < 0.3 else None,
        helmet=pick(HELMETS) if actor.attributes.get("helmet", actor.kind == "forklift") else None,
        vest=pick(VESTS) if actor.attributes.get("vest", actor.kind == "forklift") else None,
    )


def _build(actor: Actor, k: int) -> Mesh:
    if actor.kind in ("person", "bicycle", "motorcycle", "forklift"):
        return _build_manned(actor, k)
    random = np.random.default_rng([actor.seed, 2])
    paint, other = (PAINTS[int(random.integers(len(PAINTS)))] for _ in range(2))
    if actor.kind == "truck":
        return vehicles.truck(other, paint, k + 8)
    if actor.kind == "bus":
        return vehicles.bus(PAINTS[int(random.choice([0, 6, 8, 12]))], other, k + 8)
    white = actor.kind == "van" and random.random() < 0.6
    return vehicles.car(actor.variant, PAINTS[0] if white else paint, k + 8)


def _build_manned(actor: Actor, k: int) -> Mesh:
    look = look_of(actor)
    paint = PAINTS[actor.seed % len(PAINTS)]
    if actor.kind == "person":
        return people.person(look, k)
    if actor.kind == "forklift":
        loaded = bool(actor.attributes.get("loaded"))
        return forklift.forklift(look, FORKLIFTS[actor.seed % 3], loaded=loaded, k=k + 2)
    return {"bicycle": cycles.bicycle, "motorcycle": cycles.motorcycle}[actor.kind](look, paint, k)


def _bones(actor: Actor, state: ActorState) -> tuple[F32, F32]:
    if actor.kind == "person":
        height = actor.size[2]
        return people.bones(people.walking(state.travel, state.speed, height), height)
    if actor.kind in cycles.AXLES:
        rider = people.bones(cycles.riding(actor.kind, state.travel), look_of(actor).height)
        machine = cycles.machine_bones(actor.kind, state.travel)
        seat = f32([-0.22 if actor.kind == "bicycle" else -0.28, 0, 0])
        offsets = np.concatenate([rider[1] + seat, machine[1]])
        return f32(np.concatenate([rider[0], machine[0]])), f32(offsets)
    axles = forklift.AXLES if actor.kind == "forklift" else vehicles.axles_of(actor.variant)
    return _wheel_bones(axles, state.travel)


def _wheel_bones(axles: tuple[tuple[float, float], ...], travel: float) -> tuple[F32, F32]:
    rotations, offsets = [np.eye(3, dtype=np.float32)], [np.zeros(3, np.float32)]
    for x, radius in axles:
        spin = pitch(-travel / radius)
        centre = f32([x, 0, radius])
        rotations.append(spin)
        offsets.append(f32(centre - spin @ centre))
    return f32(rotations), f32(offsets)
