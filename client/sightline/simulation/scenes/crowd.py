"""People make room for each other: they step aside before they meet, queue, and are never in one place.

Steering in the spirit of Reynolds' *unaligned collision avoidance* and of the social force model (Helbing and
Molnár 1995), as plain rules: oncoming people are passed on the side that already has room, slower ones
ahead are followed, and two bodies that touch all the same push each other off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sightline.simulation.scenes.walkers import Walker
from sightline.simulation.scenes.world import STEP_S

BODY_M = 0.6  # from middle to middle, two people are never nearer; shoulders are half a metre wide
ASIDE_M = 0.8  # from middle to middle, the room wanted when passing
LOOK_M = 3.0  # people further away than this are ignored
LOOK_S = 2.0  # as are those who will not be met within this time
STEP_ASIDE = 0.7  # m/s, at most
_EASE = STEP_S / 0.25  # people change their step within a quarter of a second
_TURNS = 3  # of pushing off: being pushed may bring a third one near


@dataclass(frozen=True, slots=True)
class _Seen:
    """A person nearby, relative to another: metres ahead and to the left, wanted m/s towards them."""

    ahead: float
    left: float
    closing: float


def walk(people: Sequence[Walker], *, may_go: bool = True) -> None:
    """Move all by one step; with ``may_go`` those that wait may go on."""
    plans = [_plan(one, people) for one in people]
    for one, (room, aside) in zip(people, plans, strict=True):
        one.move(may_go=may_go, room=room, aside=one.aside + (aside - one.aside) * _EASE)
    for _ in range(_TURNS):
        _push_off(people)


def _plan(one: Walker, people: Sequence[Walker]) -> tuple[float, float]:
    """Free metres ahead, and how fast to step to the left (m/s, below zero to the right)."""
    room, aside = 9.0, 0.0
    for other in people:
        near = abs(other.x - one.x) < LOOK_M and abs(other.y - one.y) < LOOK_M
        if other is one or not near:
            continue
        seen = _seen(one, other)
        if seen.ahead <= 0:
            continue
        if abs(seen.left) < BODY_M * 0.8 and seen.closing > 0:
            room = min(room, seen.ahead - BODY_M)
        if seen.closing > 0 and seen.ahead < seen.closing * LOOK_S + BODY_M and abs(seen.left) < ASIDE_M:
            # Two people meeting head on both keep to the right.
            way = -1.0 if seen.left > -0.02 else 1.0
            aside += way * (ASIDE_M - abs(seen.left)) / max(seen.ahead / seen.closing, 0.5)
    return room, max(-STEP_ASIDE, min(STEP_ASIDE, aside))


def _seen(one: Walker, other: Walker) -> _Seen:
    c, s = math.cos(one.heading), math.sin(one.heading)
    dx, dy = other.x - one.x, other.y - one.y
    nearer = one.pace - other.speed * math.cos(other.heading - one.heading)
    return _Seen(dx * c + dy * s, -dx * s + dy * c, nearer)


def _push_off(people: Sequence[Walker]) -> None:
    for i, one in enumerate(people):
        for other in people[i + 1 :]:
            dx, dy = other.x - one.x, other.y - one.y
            if abs(dx) >= BODY_M or abs(dy) >= BODY_M:
                continue
            apart = math.hypot(dx, dy)
            if apart >= BODY_M:
                continue
            if apart < 1e-6:  # from one place: any way will do, but always the same
                dx, dy, apart = 1e-6, 0.0, 1e-6
            push = (BODY_M - apart) / 2 / apart
            one.shift(-dx * push, -dy * push)
            other.shift(dx * push, dy * push)
