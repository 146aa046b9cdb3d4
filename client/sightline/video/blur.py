"""Making parts of a picture unrecognisable, as far as the detector found what is in them.

There is no detector of faces or plates here: of every box of a person the upper part is covered, of every box
of a vehicle the lower part, boxes of the lowest scores included. Who was not found at all is not covered.
"""

from collections.abc import Collection, Sequence

import numpy as np

from sightline.config.groups import Blurred
from sightline.entities import F32, U8, ModelInfo

#: Class names, in small letters, that are taken for persons and for vehicles.
PERSONS = frozenset({"person", "people", "pedestrian", "human", "man", "woman", "child", "worker"})
PERSONS |= {"rider", "cyclist"}
VEHICLES = frozenset({"car", "truck", "bus", "van", "motorcycle", "motorbike", "lorry", "vehicle", "trailer"})
VEHICLES |= {"taxi", "forklift"}
FACE_SHARE, PLATE_SHARE = 0.4, 0.65  # of the box's height
MARGIN = 0.1  # of the box's sides, on every side
CELLS = 5  # along the longer side of what is covered: too few to recognise anybody
_LEAST_CELL_PX = 8

_NEEDS = {
    Blurred.FACES: PERSONS,
    Blurred.PERSONS: PERSONS,
    Blurred.PLATES: VEHICLES,
    Blurred.VEHICLES: VEHICLES,
}
_WHOLE = {Blurred.PERSONS, Blurred.VEHICLES, Blurred.BOXES}
Area = tuple[float, float, float, float]  # left, top, right, bottom in shares of the picture


def why_not(blur: Collection[Blurred], model: ModelInfo | None, class_names: Sequence[str]) -> str:
    """Why a model's boxes cannot say what to blur; empty when they can.

    A model that knows no class of a kind would leave everything of that kind in the picture. ``class_names``
    count where it is not known which model it is: they are those of every version that has served.
    """
    known = {name.lower() for name in (model.class_names if model else class_names)}
    missing = sorted(item.value for item in blur if item in _NEEDS and not known & _NEEDS[item])
    return f"blur: {', '.join(missing)}: none of the model's classes is of that kind" if missing else ""


def area_of(blur: Collection[Blurred], box: Sequence[float], name: str) -> Area | None:
    """What to cover of one box in 0..1, margins included; None: nothing.

    Args:
        blur: what is asked for.
        box: left, top, right, bottom.
        name: of its class.
    """
    kinds = {item for item in blur if item not in _NEEDS or name.lower() in _NEEDS[item]}
    if not kinds:
        return None
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    whole = not kinds.isdisjoint(_WHOLE)
    low = bottom if whole or Blurred.FACES not in kinds else top + FACE_SHARE * high
    upper = top if whole or Blurred.PLATES not in kinds else bottom - PLATE_SHARE * high
    return left - MARGIN * wide, upper - MARGIN * high, right + MARGIN * wide, low + MARGIN * high


def hide(picture: U8, blur: Collection[Blurred], xyxy: F32, names: Sequence[str]) -> None:
    """Cover what is asked for in a picture, uint8 [3/2·height, width], I420, changed in place.

    Args:
        picture: what is changed.
        blur: what is asked for.
        xyxy: boxes, float32 [N, 4] in 0..1.
        names: class name of each box.
    """
    for box, name in zip(xyxy.tolist(), names, strict=True):
        if (area := area_of(blur, box, name)) is not None:
            cover(picture, area)


def cover(picture: U8, area: Area) -> None:
    """Replace an area by the means of a few cells.

    Args:
        picture: uint8 [3/2·height, width], I420, changed in place.
        area: left, top, right, bottom in shares of the picture; may reach beyond it.
    """
    rows, width = picture.shape
    height = rows * 2 // 3
    left, right = (round(min(max(share, 0.0), 1.0) * width / 2) * 2 for share in (area[0], area[2]))
    top, bottom = (round(min(max(share, 0.0), 1.0) * height / 2) * 2 for share in (area[1], area[3]))
    if right <= left or bottom <= top:
        return
    cell = max(_LEAST_CELL_PX, -(-max(right - left, bottom - top) // CELLS))
    cell += cell % 2
    _average(picture[:height][top:bottom, left:right], cell)
    chroma = picture.reshape(-1)[height * width :].reshape(2, height // 2, width // 2)
    for plane in chroma:
        _average(plane[top // 2 : bottom // 2, left // 2 : right // 2], cell // 2)


def _average(part: U8, cell: int) -> None:
    """Give every cell of a view its mean."""
    height, width = part.shape
    downs, rights = np.arange(0, height, cell), np.arange(0, width, cell)
    sums = np.add.reduceat(np.add.reduceat(part.astype(np.int64), downs, axis=0), rights, axis=1)
    tall, wide = np.diff(np.append(downs, height)), np.diff(np.append(rights, width))
    means = (sums // np.outer(tall, wide)).astype(np.uint8)
    part[:] = np.repeat(np.repeat(means, tall, axis=0), wide, axis=1)
