"""Lines and zones of a camera that was turned: as they would have to be drawn now."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.config.groups import RulesOptions
from sightline.config.zones import Line, Zone
from sightline.features.view.grey_look import edges_of
from sightline.features.view.reference_views import ReferenceView
from sightline.features.view.view_match import MIN_CELLS, agreement, find_shift
from sightline.features.view.view_verdict import CERTAIN, IN_PLACE

F64 = NDArray[np.float64]
_DIGITS = 4


def warp_between(view: ReferenceView, learnt: ReferenceView) -> tuple[F64 | None, float]:
    """The homography between places, in shares, of two views, and how far they agree by it."""
    shift = find_shift(view.grey, learnt.grey, view.known)
    height, width = view.grey.shape
    to_pixels = np.array([[width, 0, -0.5], [0, height, -0.5], [0, 0, 1]])
    best: F64 | None = None
    most = 0.0
    if find_spec("cv2") is None:
        if shift.score >= CERTAIN:
            best, most = np.array([[1, 0, shift.x], [0, 1, shift.y], [0, 0, 1]]), shift.score
        return best, most
    from sightline.video.warp_estimate import warped_back, warps  # noqa: PLC0415  needs OpenCV

    for warp in warps(view.grey, learnt.grey, (shift.x * width, shift.y * height)):
        back, seen = warped_back(learnt.grey, warp)
        agreed = agreement(edges_of(view.grey), edges_of(back), view.known & seen)
        if agreed.cells >= MIN_CELLS and agreed.share >= IN_PLACE and agreed.correlation > most:
            found = np.linalg.inv(to_pixels) @ warp @ to_pixels
            best, most = found / found[2, 2], agreed.correlation
    return best, most


def moved_places(camera: str, rules: RulesOptions, warp: F64) -> dict[str, Any]:
    """What is proposed, JSON-able: the ``rules`` of the configuration, as text too, and what cannot be kept.

    Args:
        camera: its name.
        rules: those that no longer fit.
        warp: float64 [3, 3], homography from places in the old picture to places in the new, both in 0..1.
    """
    moved: dict[str, dict[str, Any]] = {"lines": {}, "zones": {}}
    gone: list[str] = []
    for group, places in (("lines", rules.lines), ("zones", rules.zones)):
        for name, place in places.items():
            options = _moved(place, warp)
            middle = np.mean(options["points"], axis=0)
            try:
                type(place).model_validate(options)
                seen = bool(((middle > 0) & (middle < 1)).all())  # beyond, a homography is a guess
            except ValueError:  # as pydantic's own is: a part is far out of the picture
                seen = False
            if seen:
                moved[group][name] = options
            else:
                gone.append(name)
    return {"rules": moved, "gone": sorted(gone), "text": _text(camera, moved)}


def _moved(place: Line | Zone, warp: F64) -> dict[str, Any]:
    points = np.column_stack([np.array(place.points), np.ones(len(place.points))]) @ warp.T
    depth = points[:, 2:]
    # What is behind the camera now has no place: NaN is refused as far outside is.
    mapped = np.where(depth > 1e-6, points[:, :2] / np.maximum(depth, 1e-6), np.nan).round(_DIGITS)
    options = place.model_dump(mode="json", exclude_unset=True)
    return {**options, "points": mapped.tolist()}


def _text(camera: str, moved: Mapping[str, Mapping[str, Any]]) -> str:
    """A part of ``config.yml``; JSON is YAML."""
    lines = ["cameras:", f"  {_quoted(camera)}:", "    rules:"]
    for group, places in moved.items():
        lines += [f"      {group}:"] if places else []
        lines += [f"        {_quoted(name)}: {_quoted(options)}" for name, options in places.items()]
    return "\n".join([*lines, ""])


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
