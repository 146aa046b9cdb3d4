"""How a still scene lies in one small grey picture, and in another of the same camera that was turned.

Needs OpenCV (any of the extras that bring it). Whoever imports this module checks that it is there.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.entities import F32, U8

F64 = NDArray[np.float64]
_FEATURE_SCALE = 4  # small pictures have few corners; enlarged they have more
_MIN_MATCHES = 12
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
#: Motion model and blur of each refinement.
_REFINEMENTS = ((cv2.MOTION_EUCLIDEAN, 9), (cv2.MOTION_AFFINE, 7), (cv2.MOTION_HOMOGRAPHY, 5))
MAX_STRETCH = 3.0  # by which a part of the picture may have grown or shrunk

cv2.setNumThreads(1)  # the other cores have cameras of their own


def warps(before: F32, now: F32, shift_px: tuple[float, float]) -> Iterator[F64]:
    """Homographies [3, 3], pixels of ``before`` to pixels of ``now``, that may be what has happened.

    Args:
        before: float32 [h, w], grey.
        now: the same.
        shift_px: across and down, a first guess.
    """
    first, second = _even(before), _even(now)
    guess = np.array([[1, 0, shift_px[0]], [0, 1, shift_px[1]], [0, 0, 1]], np.float64)
    for start in (guess, _by_features(before, now)):
        if start is None:
            continue
        yield start
        warp = start
        for motion, blur in _REFINEMENTS:
            refined = _refined(first, second, warp, motion, blur)
            if refined is None or not _is_sane(refined, before.shape):
                break
            warp = refined
            yield warp


def warped_back(now: F32, warp: F64) -> tuple[F32, NDArray[np.bool_]]:
    """``now`` as it would lie on ``before``, and where it is known."""
    size, flags = now.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back = cv2.warpPerspective(now, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpPerspective(np.ones_like(now), warp, size, flags=flags)
    return np.asarray(back, np.float32), np.asarray(seen > 0.99)


def _even(grey: F32) -> F32:
    """Without the light: differences to the surroundings, in units of their spread."""
    less = grey - cv2.GaussianBlur(grey, (0, 0), 8)
    spread = np.sqrt(cv2.GaussianBlur(less * less, (0, 0), 12)) + 2
    return np.asarray(less / spread, np.float32)


def _refined(before: F32, now: F32, warp: F64, motion: int, blur: int) -> F64 | None:
    rows = 3 if motion == cv2.MOTION_HOMOGRAPHY else 2
    start: Any = np.ascontiguousarray(warp[:rows] / warp[2, 2], np.float32)
    try:
        everywhere = np.full(before.shape, 255, np.uint8)
        _, found = cv2.findTransformECC(before, now, start, motion, _STEPS, everywhere, blur)
    except cv2.error:  # it does not converge
        return None
    whole = np.eye(3)
    whole[:rows] = found
    return whole


def _by_features(before: F32, now: F32) -> F64 | None:
    orb = cv2.ORB_create(nfeatures=800, fastThreshold=5)  # type: ignore[attr-defined]
    points, descriptors = [], []
    for grey in (before, now):
        large = cv2.resize(
            _spread(grey), None, fx=_FEATURE_SCALE, fy=_FEATURE_SCALE, interpolation=cv2.INTER_CUBIC
        )
        found, described = orb.detectAndCompute(large, None)
        points.append(np.array([one.pt for one in found], np.float64).reshape(-1, 2))
        descriptors.append(described)
    if any(described is None for described in descriptors):
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(*descriptors)
    if len(matches) < _MIN_MATCHES:
        return None
    first = (points[0][[match.queryIdx for match in matches]] + 0.5) / _FEATURE_SCALE - 0.5
    second = (points[1][[match.trainIdx for match in matches]] + 0.5) / _FEATURE_SCALE - 0.5
    similar, inliers = cv2.estimateAffinePartial2D(first, second, ransacReprojThreshold=1.5)
    if similar is None or int(inliers.sum()) < _MIN_MATCHES:
        return None
    warp = np.vstack([similar, [0, 0, 1]])
    return warp if _is_sane(warp, before.shape) else None


def _spread(grey: F32) -> U8:
    low, high = np.percentile(grey, (1, 99))
    return np.asarray(np.clip((grey - low) / max(high - low, 1) * 255, 0, 255), np.uint8)


def _is_sane(warp: F64, shape: tuple[int, ...]) -> bool:
    """Whether it is what a camera may do: nothing is turned over, and no part changes its size by much."""
    height, width = shape
    corners = np.array(
        [[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1], [width / 2, height / 2, 1]]
    )
    mapped = corners @ warp.T
    if (mapped[:, 2] <= 1e-6).any():
        return False
    # How much area a point's surroundings have become.
    growth = np.linalg.det(warp) / mapped[:, 2] ** 3
    return bool((growth > 1 / MAX_STRETCH).all() and (growth < MAX_STRETCH).all())
