"""Lines and zones: places in a camera's picture where rules make events.

Points are fractions of the picture, x to the right and y down, 0..1; a place may reach a little outside
(:data:`MIN_COORDINATE` to :data:`MAX_COORDINATE`). An object meets them with the bottom centre of its box.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from sightline.base.redact import STEERING
from sightline.config.option_group import OptionGroup

MIN_COORDINATE, MAX_COORDINATE = -0.5, 1.5
MAX_POINTS = 64
MAX_PLACES = 32  # lines of a camera, and zones of a camera
EDGE = 1e-3  # an object's place is kept so far inside the picture: zones drawn to its edge contain it
_TINY = 1e-6  # lengths and areas below this count as zero

_TEXT = rf"^[^{STEERING}]+$"

Point = tuple[float, float]
PlaceName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=_TEXT)]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class _Place(OptionGroup):
    min_points: ClassVar[int]
    closed: ClassVar[bool]  # the last point is joined to the first

    classes: tuple[ClassName, ...] | None = Field(
        None, description="Classes that make events here; null: those that the camera counts."
    )
    points: tuple[Point, ...]

    @field_validator("points")
    @classmethod
    def _check(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        problem = (
            _numbers_problem(points, cls.min_points)
            or _shape_problem(points, closed=cls.closed)
            or _outside_problem(points)
        )
        if problem:
            raise PydanticCustomError("points", problem)
        return points


class Line(_Place):
    """A line of two or more points. Forward is from its right to its left, seen from its first point on."""

    min_points, closed = 2, False

    points: tuple[Point, ...] = Field(
        description="[[x, y], …], at least 2, in 0..1 of the picture.", max_length=MAX_POINTS
    )


class Zone(_Place):
    """A polygon; the last point is joined to the first."""

    min_points, closed = 3, True

    points: tuple[Point, ...] = Field(
        description="[[x, y], …], at least 3, in 0..1 of the picture.", max_length=MAX_POINTS
    )
    loiter_s: float | None = Field(
        None, description="Staying this long makes a loiter event; null: no such events.", gt=0, le=86_400
    )
    max_occupancy: int | None = Field(
        None,
        description="More objects than this at once make an occupancy event; null: no such events.",
        ge=0,
        le=100_000,
    )


def _numbers_problem(points: Sequence[Point], min_points: int) -> str:
    if len(points) < min_points:
        return f"needs at least {min_points} points, has {len(points)}"
    for number, point in enumerate(points, 1):
        if not all(MIN_COORDINATE <= value <= MAX_COORDINATE for value in point):  # false for NaN too
            return (
                f"point {number} [{point[0]:g}, {point[1]:g}] lies outside the picture: write fractions of "
                f"width and height, 0..1 ({MIN_COORDINATE} to {MAX_COORDINATE} is allowed), not pixels"
            )
    for number, (a, b) in enumerate(pairwise(points), 1):
        if abs(a[0] - b[0]) < _TINY and abs(a[1] - b[1]) < _TINY:
            return f"points {number} and {number + 1} are the same: the line between has no length"
    return ""


def _shape_problem(points: Sequence[Point], *, closed: bool) -> str:
    if closed and points[0] == points[-1]:
        return "the last point repeats the first; leave it out"
    corners = [complex(*point) for point in (*points, points[0])]
    segments = list(pairwise(corners if closed else corners[:-1]))
    last = len(segments) - 1
    for (i, (a, b)), (j, (c, d)) in combinations(enumerate(segments), 2):
        if j == i + 1:
            crosses = _turns_back(b, a, d)
        elif closed and (i, j) == (0, last):
            crosses = _turns_back(a, b, c)
        else:
            crosses = _meet(a, b, c, d)
        if crosses:
            return f"the {'polygon' if closed else 'line'} crosses itself"
    if closed and abs(sum(_products(0, a, b).imag for a, b in segments)) < 2 * _TINY:
        return "the polygon has no area"
    return ""


def _outside_problem(points: Sequence[Point]) -> str:
    for sides, (low, high) in zip(
        zip(*points, strict=True), (("left", "right"), ("top", "bottom")), strict=True
    ):
        if max(sides) <= EDGE or min(sides) >= 1 - EDGE:
            side = low if max(sides) <= EDGE else high
            return f"lies at or beyond the {side} edge of the picture, where nothing is seen; move it inside"
    return ""


def _products(apex: complex, a: complex, b: complex) -> complex:
    """Of the vectors from ``apex`` to a and to b: dot product (real part), cross product (imaginary part)."""
    return (a - apex).conjugate() * (b - apex)


def _turns_back(apex: complex, a: complex, b: complex) -> bool:
    """Whether the segments from ``apex`` to a and to b go the same way."""
    products = _products(apex, a, b)
    return abs(products.imag) < _TINY**2 and products.real > 0


def _meet(a: complex, b: complex, c: complex, d: complex) -> bool:
    """Whether the segments a to b and c to d cross, or an end of one lies on the other."""
    ends = [_products(p, *segment) for p, segment in ((c, (a, b)), (d, (a, b)), (a, (c, d)), (b, (c, d)))]
    if ends[0].imag * ends[1].imag < 0 and ends[2].imag * ends[3].imag < 0:
        return True
    return any(abs(products.imag) < _TINY**2 and products.real <= 0 for products in ends)
