"""The mesh of each actor, and its pose in the world at a time; flames and smoke are puffs that rise."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes import people, vehicles
from sightline.simulation.scenes.arrays import F32, I64, f32, palette, pitch, xyz
from sightline.simulation.scenes.factory import BURNING_TOP_M
from sightline.simulation.scenes.mesh import Mesh, mesh, ring
from sightline.simulation.scenes.spec import PinholeCamera
from sightline.simulation.scenes.world import Actor, ActorState, Snapshot

TRANSPARENT = ("fire", "smoke")  # hide nothing behind them, throw no shadow
_SPARE_M = 0.8  # arms, riders and wheels reach less far beyond an actor's size
_SPARE_SHARE = 0.05  # of the picture, at each side: blurred edges reach less far
PAINTS = palette(
    "e1e3e4 c8ccd0 969ba0 565a60 222428 16171a 8c1216 183478 345c96 58141c 264a3a c4b08c be5c1e 3c424e"
)
FORKLIFTS = palette("ec8214 e8be1e c82c24")
_WAYS = f32([[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if x or y or z])


@dataclass(frozen=True, slots=True)
class Body:
    """A mesh sorted by bone, its points, and its outline."""

    mesh: Mesh
    bones: list[int]  # numbers of the bones it has
    starts: list[int]  # where each one's points begin (one more at the end)
    points: F32  # float32 [P, 3], every corner of the mesh once for each bone: far fewer than corners
    triangles: I64  # int64 [N, 3], the points of each triangle of the mesh
    outline: F32  # float32 [B, 26, 3], each bone's farthest points in 26 directions: what its shadow needs


@dataclass(frozen=True, slots=True)
class PosedActor:
    """An actor placed in the world: its body's points and outline in metres."""

    actor: Actor
    state: ActorState
    body: Body
    points: F32
    rotations: F32  # float32 [bones, 3, 3], how the mesh's bones are turned
    outline: F32


def figures(
    snapshot: Snapshot, camera: PinholeCamera, slant: F32 | None = None, beam_m: float = 0.0
) -> list[PosedActor]:
    """The actors that may be seen, or whose shadow or lamps may, each as fine as the picture needs.

    ``slant`` is that of the :class:`~sightline.simulation.scenes.light.Light`, None when no shadow is drawn;
    lamps shine ``beam_m`` ahead.
    """
    found: list[PosedActor] = []
    if not snapshot.bodies:
        return found
    middles = camera.project(f32([[state.x, state.y, 1.0] for _, state in snapshot.bodies])).tolist()
    seen = _in_view(snapshot, camera, slant, beam_m).tolist()
    for (actor, state), (x, _, depth), near in zip(snapshot.bodies, middles, seen, strict=True):
        if actor.kind in TRANSPARENT:
            found.append(_cloud(actor, state, snapshot.time_s))
            continue
        margin = (actor.size[0] + 3.0) * camera.focal_px / max(depth, 0.5)
        if not near or (depth > actor.size[0] and not -margin < x < camera.width + margin):
            continue
        if depth > -actor.size[0]:
            tall = actor.size[2] * camera.focal_px / max(depth, 1.0)
            k = 12 if tall > 150 else 8 if tall > 60 else 6 if tall > 24 else 5
            found.append(_posed(actor, state, _body_of(actor, k)))
    return found


def _in_view(
    snapshot: Snapshot, camera: PinholeCamera, slant: F32 | None, beam_m: float
) -> NDArray[np.bool_]:
    """Actors that may be in the picture, with shadow and beam: not wholly beyond one of its sides."""
    place = f32([[state.x, state.y] for _, state in snapshot.bodies])
    size = f32([actor.size for actor, _ in snapshot.bodies])
    reach = np.hypot(size[:, :1], size[:, 1:2]) / 2 + _SPARE_M + beam_m
    top = size[:, 2:] + _SPARE_M
    low, high = place - reach, place + reach
    if slant is not None:
        low, high = np.minimum(low, low - slant * top), np.maximum(high, high - slant * top)
    ends = (low[:, 0], high[:, 0]), (low[:, 1], high[:, 1]), (np.full(len(top), -0.1), top[:, 0])
    box = np.stack([np.stack([x, y, z], 1) for x in ends[0] for y in ends[1] for z in ends[2]], axis=1)
    right, down, ahead = np.moveaxis((box - camera.position) @ camera.rotation.T, -1, 0) * camera.focal_px
    ahead = ahead * np.float32((1 + 2 * _SPARE_SHARE) / camera.focal_px)
    wide, tall = ahead * (camera.width / 2), ahead * (camera.height / 2)
    beyond = (right > wide, right < -wide, down > tall, down < -tall)
    return np.asarray(~np.any([side.all(axis=1) for side in beyond], axis=0), np.bool_)


def _posed(actor: Actor, state: ActorState, body: Body) -> PosedActor:
    c, s = np.cos(state.heading), np.sin(state.heading)
    heading = f32([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    rotations, offsets = _bones(actor, state)
    rotations = f32(heading @ rotations)
    offsets = f32(offsets @ heading.T + f32([state.x, state.y, 0]))
    points, outline = np.empty_like(body.points), np.empty_like(body.outline)
    for i, bone in enumerate(body.bones):
        part = slice(body.starts[i], body.starts[i + 1])
        np.matmul(body.points[part], rotations[bone].T, out=points[part])
        points[part] += offsets[bone]
        np.matmul(body.outline[i], rotations[bone].T, out=outline[i])
        outline[i] += offsets[bone]
    return PosedActor(actor, state, body, points, rotations, outline)


@lru_cache(256)  # of the actors seen last
def _body_of(actor: Actor, k: int) -> Body:
    mesh = _build(actor, k)
    mesh = mesh[np.argsort(mesh.bone, kind="stable")]
    # The different corners, first come first.
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
    points, bone = flat[first[come]], bone[first[come]]
    bones = np.unique(bone)
    starts = [*np.searchsorted(bone, bones).tolist(), len(points)]
    parts = [points[a:b] for a, b in pairwise(starts)]
    outline = np.stack([part[np.argmax(part @ _WAYS.T, axis=0)] for part in parts])
    return Body(mesh, bones.tolist(), starts, points, triangles.reshape(-1, 3), f32(outline))


def _build(actor: Actor, k: int) -> Mesh:
    if actor.kind == "person":
        return people.person(people.Appearance(actor), k)
    if actor.kind in people.CYCLES:
        cycle = people.bicycle if actor.kind == "bicycle" else people.motorcycle
        return cycle(people.Appearance(actor), PAINTS[actor.seed % len(PAINTS)], k)
    if actor.kind == "forklift":
        loaded = bool(actor.attributes.get("loaded"))
        return vehicles.forklift(people.Appearance(actor), FORKLIFTS[actor.seed % 3], loaded=loaded, k=k + 2)
    random = np.random.default_rng([actor.seed, 2])
    paint, other = (PAINTS[int(random.integers(len(PAINTS)))] for _ in range(2))
    if actor.kind == "truck":
        return vehicles.truck(other, paint, k + 8)
    if actor.kind == "bus":
        return vehicles.bus(PAINTS[int(random.choice([0, 6, 8, 12]))], other, k + 8)
    white = actor.kind == "van" and random.random() < 0.6
    return vehicles.car(actor.variant, PAINTS[0] if white else paint, k + 8)


def _bones(actor: Actor, state: ActorState) -> tuple[F32, F32]:
    """Rotations and offsets of every bone, in the actor's own axes."""
    if actor.kind == "person":
        height = actor.size[2]
        return people.bones(people.walking(state.travel, state.speed, height), height)
    if actor.kind in people.CYCLES:
        rider = people.bones(people.riding(actor.kind, state.travel), people.Appearance(actor).height)
        machine = people.cycle_bones(actor.kind, state.travel)
        seat = f32([-0.22 if actor.kind == "bicycle" else -0.28, 0, 0])
        return np.concatenate([rider[0], machine[0]]), np.concatenate([rider[1] + seat, machine[1]])
    rotations, offsets = [np.eye(3, dtype=np.float32)], [np.zeros(3, np.float32)]
    for x, radius in vehicles.AXLES[actor.variant]:
        spin, centre = pitch(-state.travel / radius), f32([x, 0, radius])
        rotations.append(spin)
        offsets.append(f32(centre - spin @ centre))
    return f32(rotations), f32(offsets)


def puffs(actor: Actor, state: ActorState, time_s: float) -> tuple[F32, F32, F32, F32]:
    """The N puffs of a fire or its smoke: centres [N, 3] and radii in metres, ages and strengths (0..1)."""
    flame = actor.kind == "fire"
    count, life_s = (46, 0.75) if flame else (44, 4.2)
    slots = np.arange(count)
    turns = time_s / life_s + slots / count
    born = np.floor(turns).astype(np.int64)
    age = turns - born
    # Three numbers 0..1 for each puff, from its number and its birth: float32 [3, N].
    base = slots * 7919.0 + (born % 9973) * 104.729 + actor.seed % 1009
    factors = (0.129898, 0.078233, 0.053717)
    noise = f32([np.modf(np.abs(np.sin(base * factor)) * 43758.5453)[0] for factor in factors])
    spread, wider = (0.55 if flame else 0.4) * state.strength, 1 - 0.6 * age if flame else 1 + 1.6 * age
    x = (noise[0] - 0.5) * 2 * spread * wider
    y = (noise[1] - 0.5) * 1.4 * spread * wider
    sway = np.sin(age * 5 + noise[2] * 6.3) * (0.10 if flame else 0.25 * age)
    rise = (1.25 if flame else 3.4) * state.strength * age * (0.6 + 0.6 * noise[2])
    z = BURNING_TOP_M - (0.25 if flame else -0.25) + rise
    radii = (0.26 - 0.17 * age if flame else 0.22 + 0.62 * age) * (0.5 + 0.5 * state.strength)
    centres = np.stack([state.x + x + sway + (0.0 if flame else 0.5 * age), state.y + y, z], axis=1)
    strength = state.strength * np.sin(np.pi * np.clip(age * 0.9 + 0.1, 0, 1))
    return f32(centres), f32(radii * np.ones(count)), f32(age), f32(strength)


def _cloud(actor: Actor, state: ActorState, time_s: float) -> PosedActor:
    """The puffs that can be seen as round solids, for boxes: octagons that face along -x, and along y."""
    centres, radii, _, strength = puffs(actor, state, time_s)
    visible = strength > 0.25
    centres, radii = centres[visible][:, None], radii[visible][:, None, None] * np.float32(0.75)
    c, s = ring(8).T
    faces = []
    for rim in (xyz(c, 0, s), xyz(0, c, s)):
        points = centres + rim * radii
        middle = np.broadcast_to(centres, points.shape)
        faces.append(np.stack([middle, points, np.roll(points, -1, axis=1)], axis=2).reshape(-1, 3, 3))
    corners = f32(np.concatenate(faces))
    solid = mesh(corners, f32(np.broadcast_to(f32([-1, 0.01, 0.01]), corners.shape)), f32([0.5, 0.5, 0.5]))
    points, outline = solid.corners.reshape(-1, 3), solid.corners[:1, :1]
    body = Body(solid, [], [], points, np.arange(len(points)).reshape(-1, 3), outline)
    return PosedActor(actor, state, body, points, f32(np.eye(3)[None]), outline)
