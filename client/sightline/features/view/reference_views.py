"""What a camera's view looks like, by light: coarse grey pictures without what moves, for its owner alone.

``FOLDER/CAMERA.npz`` has them all. No box of the detector gets into one, and what it did not find fades,
since each is a mean over minutes.
"""

import io
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.config.groups import DAY_S
from sightline.entities import F32, Detections, Tracks
from sightline.features.kept_files import make_private_folder, write_private
from sightline.features.view.grey_look import C64, Look, Mask, cell_means, edges_of
from sightline.features.view.view_match import Agreement, agreement

log = logging.getLogger(__name__)

RENEWED_S = 600.0  # what has been there for so long is most of the view
FIRST_LOOKS = 8  # that make a reference; those after the first few must agree with it
BLIND_LOOKS = 4  # a mean of so many shows more than its noise
KNOWN_LOOKS = 30  # of which it is known how much they usually differ
SHARP_CELLS = 16  # with the strongest edges: sharpness is seen there
MOST_WEIGHT = 250.0
LEFT_DAYS = 30  # files of cameras that no longer run go then
MARGIN = 0.15  # of a box, that is left out around it
_VERSION = 1


@dataclass(slots=True, eq=False)
class ReferenceView:
    """One of them."""

    grey: F32  # float32 [h, 160], means
    weight: F32  # float32 [h, 160], looks that they are of, 250 at most; 0: never seen without a box
    fineness: F32  # float32 [rows, columns], means
    looks: int = 1
    renewed: float = 0.0  # capture time
    change: float = 255.0  # levels by which a look usually differs from the one before
    _edges: C64 | None = field(default=None, repr=False)

    @staticmethod
    def of(look: Look, hidden: Mask) -> "ReferenceView":
        """A first look; what boxes hide is not known yet."""
        weight = (~hidden).astype(np.float32)
        return ReferenceView(look.grey.copy(), weight, look.fineness.copy(), renewed=look.time)

    @property
    def known(self) -> Mask:
        """Bool [h, 160]: where it has been seen."""
        return self.weight > 0

    def agreement(self, look: Look) -> Agreement:
        """How the look lies on it."""
        if self._edges is None:
            self._edges = edges_of(self.grey)
        return agreement(self._edges, look.edges, self.known)

    def sharpness(self, look: Look, agreed: Agreement) -> float:
        """How fine the look's edges are, in shares of what they are otherwise."""
        strong = np.argsort(agreed.strength, axis=None)[-min(SHARP_CELLS, agreed.cells) :]
        ratios = look.fineness / np.maximum(self.fineness, 1e-3)
        return float(np.median(ratios.ravel()[strong])) if agreed.cells else 1.0

    def renew(self, look: Look, hidden: Mask, change: float | None = None, *, slowly: bool = False) -> None:
        """Take in a look that agrees, but for what boxes hide.

        Args:
            look: the look.
            hidden: bool [h, 160].
            change: levels by which it differs from the one before; None: not known.
            slowly: it agrees in part only.
        """
        least = min(max(look.time - self.renewed, 0.0) / RENEWED_S, 0.2)
        share = np.where(hidden, 0, least if slowly else np.maximum(least, 1 / (self.weight + 1)))
        self.grey += share * (look.grey - self.grey)
        self.weight = np.minimum(self.weight + ~hidden, MOST_WEIGHT).astype(np.float32)
        share_of_numbers = max(least, 1 / (self.looks + 1))
        self.fineness += cell_means(~hidden) * share_of_numbers * (look.fineness - self.fineness)
        if change is not None and self.looks < FIRST_LOOKS:
            self.change = min(change, self.change)
        elif change is not None:  # who passes, and light that jumps, are no noise
            self.change += share_of_numbers * (min(change, 1.5 * self.change + 0.02) - self.change)
        self.looks, self.renewed, self._edges = self.looks + 1, look.time, None


def hidden_by(shape: tuple[int, int], *found: Detections | Tracks) -> Mask:
    """Bool [h, w]: what lies in a box, or beside one."""
    hidden = np.zeros(shape, np.bool_)
    for boxes in found:
        sides = np.tile(boxes.xyxy[:, 2:] - boxes.xyxy[:, :2], 2) * np.array([-1, -1, 1, 1]) * MARGIN
        scaled = (boxes.xyxy + sides) * np.array([shape[1], shape[0]] * 2)
        scaled[:, :2], scaled[:, 2:] = np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])
        for left, top, right, bottom in np.maximum(scaled, 0).astype(int).tolist():
            hidden[top:bottom, left:right] = True
    return hidden


def file_of(folder: Path, camera: str) -> Path:
    """Where a camera's are kept."""
    return folder / f"{camera}.npz"


class ReferenceViews:
    """All of a camera, by light, in memory and in their file; OSError: that cannot be written."""

    def __init__(self, folder: Path, camera: str, stream: str) -> None:
        """Read what is kept of the same ``stream``; another's is of no use."""
        self._path, self._camera, self._stream = file_of(folder, camera), camera, stream
        self.views: dict[str, ReferenceView] = {}
        if not self._path.is_file():
            return
        try:
            self.views = dict(self._read())
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("camera %s: its reference view begins anew: %s: %s", camera, self._path, error)

    def nearest(self, look: Look) -> Iterator[tuple[str, ReferenceView]]:
        """That of the look's light first, of those with the shape of its picture."""
        for light in sorted(self.views, key=lambda light: light != look.light):
            if self.views[light].grey.shape == look.grey.shape:
                yield light, self.views[light]

    def usual_change(self, look: Look) -> float | None:
        """By how much looks in this light differ from the ones before; None: that is not known yet."""
        view = self.views.get(look.light)
        return view.change if view is not None and view.looks >= KNOWN_LOOKS else None

    def write(self) -> None:
        """Keep them, and delete the files of cameras that have not run for a month."""
        make_private_folder(self._path.parent)
        about = {"version": _VERSION, "stream": self._stream, "views": {}}
        arrays: dict[str, NDArray[np.generic]] = {}
        for number, (light, view) in enumerate(self.views.items()):
            about["views"][light] = [number, view.looks, view.renewed, view.change]  # type: ignore[index]
            arrays[f"grey{number}"] = np.where(view.known, np.rint(view.grey), 0).astype(np.uint8)
            arrays[f"weight{number}"] = view.weight.astype(np.uint8)
            arrays[f"fineness{number}"] = view.fineness.astype(np.float16)
        content = io.BytesIO()
        np.savez_compressed(content, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
        write_private(self._path, content.getvalue())
        for path in self._path.parent.glob("*.npz"):
            if path.stat().st_mtime < time.time() - LEFT_DAYS * DAY_S:
                path.unlink(missing_ok=True)

    def _read(self) -> Iterator[tuple[str, ReferenceView]]:
        with np.load(self._path, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            if (about["version"], about["stream"]) != (_VERSION, self._stream):
                return
            for light, (number, looks, renewed, change) in about["views"].items():
                names = ("grey", "weight", "fineness")
                grey, weight, fineness = (kept[f"{name}{number}"].astype(np.float32) for name in names)
                if grey.ndim != 2 or grey.shape != weight.shape or fineness.shape != cell_means(grey).shape:
                    raise ValueError("its arrays are not of one size")
                numbers = int(looks), float(renewed), float(change)
                yield light, ReferenceView(grey, weight, fineness, *numbers)
