"""Lines, zones, boxes and their names on a picture."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.config.zones import Line, Zone
from sightline.video.drawing import (
    BOX_COLOUR,
    LINE_COLOUR,
    ZONE_COLOUR,
    draw_boxes,
    draw_places,
    to_bgr,
    to_i420,
)

HEIGHT, WIDTH, GREY = 240, 320, 90


def drawn(lines=None, zones=None):
    picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    draw_places(picture, lines or {}, zones or {})
    return picture


def changed(picture):
    """Columns (left to right) and rows in which something was drawn."""
    there = (picture != GREY).any(axis=2)
    return np.flatnonzero(there.any(axis=0)), np.flatnonzero(there.any(axis=1))


@pytest.mark.parametrize(
    ("points", "inward"),
    [
        (((0.5, 0.9), (0.5, 0.1)), (-1, 0)),  # upwards: forward is from right to left
        (((0.5, 0.1), (0.5, 0.9)), (1, 0)),
        (((0.1, 0.5), (0.9, 0.5)), (0, -1)),
        (((0.9, 0.5), (0.1, 0.5)), (0, 1)),
    ],
)
def test_a_line_is_drawn_where_it_lies_with_an_arrow_to_the_side_that_is_in(points, inward):
    picture = drawn({"": Line(points=points)})
    for share in (0.0, 0.3, 0.7, 1.0):
        x, y = (np.array(points[0]) * (1 - share) + np.array(points[1]) * share) * (WIDTH - 1, HEIGHT - 1)
        assert tuple(picture[round(y), round(x)]) == LINE_COLOUR
    middle = np.array([WIDTH - 1, HEIGHT - 1]) / 2
    x, y = np.rint(middle + 20 * np.array(inward)).astype(int)
    assert tuple(picture[y, x]) == LINE_COLOUR
    x, y = np.rint(middle - 20 * np.array(inward)).astype(int)
    assert tuple(picture[y, x]) == (GREY,) * 3


def test_the_arrow_is_in_the_part_of_a_line_that_is_seen():
    # In is beyond the picture's edge; the middle lies above it; it passes by the corner.
    _, rows = changed(drawn({"": Line(points=((0.0, 0.01), (1.0, 0.01)))}))
    assert rows[-1] > 30
    columns, _ = changed(drawn({"": Line(points=((0.5, 0.4), (0.5, -0.5)))}))
    assert columns[0] < WIDTH / 2 - 30
    assert (drawn({"door": Line(points=((-0.4, 0.3), (0.3, -0.4)))}) == GREY).all()


def test_a_zone_is_tinted_and_named_inside_itself():
    corner = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.3), (0.3, 0.3), (0.3, 0.9), (0.1, 0.9))
    bare, named = drawn(zones={"": Zone(points=corner)}), drawn(zones={"ab": Zone(points=corner)})
    left, top = round(0.1 * (WIDTH - 1)), round(0.5 * (HEIGHT - 1))
    assert tuple(bare[top, left]) == ZONE_COLOUR
    inside, hollow = bare[top, round(0.25 * WIDTH)].astype(int), bare[round(0.6 * HEIGHT), round(0.6 * WIDTH)]
    assert (np.sign(inside - GREY) == np.sign(np.array(ZONE_COLOUR) - GREY)).all()
    assert tuple(hollow) == (GREY,) * 3
    rows, columns = np.nonzero((bare != named).any(axis=2))  # the name's
    x, y = columns.mean() / WIDTH, rows.mean() / HEIGHT
    assert 0.1 < x < 0.3 and 0.1 < y < 0.3  # the widest place, where both arms meet


def test_a_zone_that_reaches_out_is_named_where_it_is_seen():
    zone = Zone(points=((-0.5, 0.4), (0.2, 0.4), (0.2, 1.5), (-0.5, 1.5)))
    rows, columns = np.nonzero((drawn(zones={"": zone}) != drawn(zones={"ab": zone})).any(axis=2))
    assert rows.size
    assert columns.max() < 0.2 * WIDTH
    assert rows.min() > 0.4 * HEIGHT


def test_names_are_written_in_many_scripts_and_stay_in_the_picture():
    place = Zone(points=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
    unknown = drawn(zones={"????": place})
    pictures = [drawn(zones={name: place}) for name in ("Türe", "Вход", "Πύλη", "出入口門", "입구문전")]
    for number, picture in enumerate(pictures):
        assert all((picture != other).any() for other in [unknown, *pictures[:number]])
    long = drawn({"x" * 63: Line(points=((0.99, 0.99), (0.99, 0.5)))})
    columns, _ = changed(long)
    assert columns[0] < WIDTH / 2  # it was moved to where there is room


def written(picture, bare):
    """Number of pixels in which letters are: they are brighter than their ground."""
    return int(((picture > 200).all(axis=2) & ~(bare > 200).all(axis=2)).sum())


def test_names_at_one_place_do_not_cover_each_other():
    points = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))
    names = [f"place number {number}" for number in range(4)]
    alone = [drawn(zones={name: Zone(points=points)}) for name in names]
    bare = drawn(zones={"": Zone(points=points)})
    together = drawn(zones=dict.fromkeys(names, Zone(points=points)))
    assert written(together, bare) > 0.95 * sum(written(picture, bare) for picture in alone)

    boxes, labels = np.array([[0.25, 0.5, 0.75, 1.0]] * 3, np.float32), ["person 1", "person 2", "person 3"]
    pictures = [np.full((HEIGHT, WIDTH, 3), GREY, np.uint8) for _ in range(4)]
    for picture, chosen in zip(pictures, ([0], [1], [2], [0, 1, 2]), strict=True):
        draw_boxes(picture, boxes[chosen], [labels[number] for number in chosen])
    *each, all_of_them = (written(picture, pictures[0] * 0) for picture in pictures)
    assert all_of_them > 0.85 * sum(each)  # one that is covered would leave two thirds


def test_boxes_are_drawn_with_labels_and_no_box_is_well():
    picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    draw_boxes(picture, np.zeros((0, 4), np.float32), [])
    assert (picture == GREY).all()
    draw_boxes(picture, np.array([[0.25, 0.5, 0.75, 1.0]], np.float32), ["person"])
    for x, y in ((0.25, 0.75), (0.75, 0.75), (0.5, 0.5), (0.5, 1.0)):
        assert tuple(picture[round(y * (HEIGHT - 1)), round(x * (WIDTH - 1))]) == BOX_COLOUR
    assert (picture[: HEIGHT // 2 - 5] != GREY).any()


def test_pictures_come_back_as_they_were():
    colours = np.repeat(np.repeat(np.arange(0, 240, 20, np.uint8).reshape(2, 2, 3), 8, 0), 8, 1)
    assert np.abs(to_bgr(to_i420(colours)).astype(int) - colours).max() <= 3
