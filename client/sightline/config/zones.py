"""Lines and zones: places in a camera's picture where rules make events.

Points are fractions of the picture, x to the right and y down, 0..1; a place may reach a little outside
(:data:`MIN_COORDINATE` to :data:`MAX_COORDINATE`). An object meets them with the bottom centre of its box.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

MIN_COORDINATE, MAX_COORDINATE = -0.5, 1.5
MAX_POINTS = 64
MAX_PLACES = 32  # lines of a camera, and zones of a camera
_TINY = 1e-6  # lengths and areas below this count as zero

Point = tuple[float, float]
PlaceName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[^\x00-\x1f\x7f]+$")]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class _Place(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[ClassName, ...] | None = Field(
        None, description="Classes that make events here; null: those that the camera counts."
    )


class Line(_Place):
    """A line of two or more points. Forward is from its right to its left, seen from its first point on."""

    points: tuple[Point, ...] = Field(
        description="[[x, y], …], at least 2, in 0..1 of the picture.", max_length=MAX_POINTS
    )

    @field_validator("points")
    @classmethod
    def _check(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        _check_points(points, at_least=2)
        if _crosses_itself(points, closed=False):
            raise _problem("the line crosses itself")
        return points


class Zone(_Place):
    """A polygon; the last point is joined to the first."""

    points: tuple[Point, ...] = Field(
        description="[[x, y], …], at least 3, in 0..1 of the picture.", max_length=MAX_POINTS
    )
    loiter_s: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        None, description="Staying this long makes a loiter event; null: no such events."
    )
    max_occupancy: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        None, description="More objects than this at once make an occupancy event; null: no such events."
    )

    @field_validator("points")
    @classmethod
    def _check(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        _check_points(points, at_least=3)
        if points[0] == points[-1]:
            raise _problem("the last point repeats the first; leave it out")
        if _crosses_itself(points, closed=True):
            raise _problem("the polygon crosses itself")
        if abs(_area(points)) < _TINY:
            raise _problem("the polygon has no area")
        return points


def _check_points(points: Sequence[Point], *, at_least: int) -> None:
    if len(points) < at_least:
        raise _problem(f"needs at least {at_least} points, has {len(points)}")
    for number, point in enumerate(points, 1):
        if not all(MIN_COORDINATE <= value <= MAX_COORDINATE for value in point):  # false for NaN too
            shown = ", ".join(f"{value:g}" for value in point)
            raise _problem(
                f"point {number} [{shown}] lies outside the picture: write fractions of width and height, "
                f"0..1 ({MIN_COORDINATE} to {MAX_COORDINATE} is allowed), not pixels"
            )
    for number, (a, b) in enumerate(pairwise(points), 1):
        if abs(a[0] - b[0]) < _TINY and abs(a[1] - b[1]) < _TINY:
            raise _problem(f"points {number} and {number + 1} are the same: the line between has no length")


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("points", text.replace("{", "(").replace("}", ")"))


def _area(points: Sequence[Point]) -> float:
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs) / 2


def _crosses_itself(points: Sequence[Point], *, closed: bool) -> bool:
    """Whether two segments that are not neighbours meet, or neighbours overlap."""
    ends = [*points[1:], points[0]] if closed else points[1:]
    segments = list(zip(points, ends, strict=False))
    last = len(segments) - 1
    for i, (a, b) in enumerate(segments):
        for j in range(i + 1, len(segments)):
            c, d = segments[j]
            if j == i + 1 or (closed and i == 0 and j == last):
                apex, one, other = (b, a, d) if j == i + 1 else (a, b, c)
                if _turns_back(apex, one, other):
                    return True
            elif _meet(a, b, c, d):
                return True
    return False


def _turns_back(apex: Point, one: Point, other: Point) -> bool:
    """Whether two segments from ``apex`` go the same way."""
    along = (one[0] - apex[0]) * (other[0] - apex[0]) + (one[1] - apex[1]) * (other[1] - apex[1])
    return abs(_side(apex, one, other)) < _TINY**2 and along > 0


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    if _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0:
        return True
    return any(_touches(*three) for three in ((a, b, c), (a, b, d), (c, d, a), (c, d, b)))


def _touches(a: Point, b: Point, p: Point) -> bool:
    """Whether ``p`` lies on the segment from a to b."""
    within = all(min(a[i], b[i]) <= p[i] <= max(a[i], b[i]) for i in (0, 1))
    return within and abs(_side(a, b, p)) < _TINY**2


def _side(a: Point, b: Point, p: Point) -> float:
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])
