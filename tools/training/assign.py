"""Which cell of the network shall find which object: task-aligned assignment, after the paper TOOD.

A cell is the better for an object the more it says its class and the better its box is already; the best few
cells of every object learn it, to the degree that they are good. All pictures of a batch at once, on the
device of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.dataset import Objects

BEST = 10  # cells that learn one object
CLASS_POWER, BOX_POWER = 0.5, 6.0
#: Objects smaller than this are looked for in a square of this side: a cell of 8 pixels may miss them else.
REACH_PX = 20.0
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Targets:
    """What is in the B pictures of a batch: as many rows for each as the fullest has, M.

    Attributes:
        xyxy: float32 [B, M, 4], pixels; class_ids: int64 [B, M].
        real: bool [B, M]: to be found.
        ignored: bool [B, M]: neither to be found nor to be denied. Rows that are neither are empty.
    """

    xyxy: Tensor
    class_ids: Tensor
    real: Tensor
    ignored: Tensor

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        return Targets(*(getattr(self, name).to(device, non_blocking=True) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Assignment:
    """What each of A cells shall say, in each of B pictures.

    Attributes:
        object_index: int64 [B, A]: of the rows of the targets; -1 where there is nothing.
        strength: float32 [B, A], 0..1: the score it shall give.
        counted: bool [B, A, classes]: whether the loss looks at this score at all.
    """

    object_index: Tensor
    strength: Tensor
    counted: Tensor


def targets_of(batch: Sequence[Objects]) -> Targets:
    """The objects of several pictures, padded to the same number."""
    most = max(1, *(len(objects.xyxy) for objects in batch))
    xyxy, class_ids = np.zeros((len(batch), most, 4), np.float32), np.zeros((len(batch), most), np.int64)
    real, ignored = np.zeros((len(batch), most), np.bool_), np.zeros((len(batch), most), np.bool_)
    for i, objects in enumerate(batch):
        rows = slice(len(objects.xyxy))
        xyxy[i, rows], class_ids[i, rows] = objects.xyxy, objects.class_ids
        real[i, rows], ignored[i, rows] = ~objects.ignored, objects.ignored
    return Targets(*map(torch.from_numpy, (xyxy, class_ids, real, ignored)))


def assign(xyxy: Tensor, scores: Tensor, centres: Tensor, targets: Targets) -> Assignment:
    """Share the objects out.

    Args:
        xyxy: float32 [B, A, 4], the boxes that the cells give now.
        scores: float32 [B, A, classes], 0..1.
        centres: float32 [A, 2], pixels.
        targets: of the B pictures.
    """
    near = inside(centres, grown(targets.xyxy))  # [B, M, A], as all that follow
    overlap = torch.where(near & targets.real[..., None], iou(targets.xyxy, xyxy), 0.0)
    wanted = targets.class_ids[..., None].expand(-1, -1, scores.shape[1])
    value = scores.transpose(1, 2).gather(1, wanted) ** CLASS_POWER * overlap**BOX_POWER
    places = value.topk(min(BEST, value.shape[2]), dim=2).indices
    chosen = torch.zeros_like(near).scatter_(2, places, True) & (overlap > TINY)
    owner = torch.where(chosen, overlap, -1.0).argmax(
        1, keepdim=True
    )  # two want a cell: the better box has it
    taken = chosen.any(1, keepdim=True)
    mine = torch.zeros_like(near).scatter_(1, owner, taken)
    own = torch.where(mine, value, 0.0)
    best_overlap = torch.where(mine, overlap, 0.0).amax(2, keepdim=True)
    strength = (own / (own.amax(2, keepdim=True) + TINY) * best_overlap).sum(1)
    index = torch.where(taken, owner, -1)[:, 0]
    return Assignment(index, strength, _counted(near, scores.shape[2], targets) | taken[:, 0, :, None])


def _counted(near: Tensor, classes: int, targets: Targets) -> Tensor:
    """All but the class of an ignored object, at the cells in it."""
    kinds = functional.one_hot(targets.class_ids, classes).float()
    dim = (near & targets.ignored[..., None]).float()
    return torch.bmm(dim.transpose(1, 2), kinds) < 0.5


def grown(xyxy: Tensor) -> Tensor:
    """Boxes [..., 4] with no side shorter than :data:`REACH_PX`."""
    middle = (xyxy[..., :2] + xyxy[..., 2:]) / 2
    half = (xyxy[..., 2:] - xyxy[..., :2]).clamp(min=REACH_PX) / 2
    return torch.cat([middle - half, middle + half], -1)


def inside(points: Tensor, xyxy: Tensor) -> Tensor:
    """Bool [B, boxes, points] of points [points, 2] and boxes [B, boxes, 4]."""
    x, y = points.T
    left, top, right, bottom = xyxy[..., None].unbind(2)
    return (x > left) & (x < right) & (y > top) & (y < bottom)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union, float32 [B, N, M], of boxes [B, N, 4] and [B, M, 4]."""
    a, b = first[:, :, None].unbind(3), second[:, None].unbind(3)
    width = torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])
    height = torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])
    common = width.clamp(min=0) * height.clamp(min=0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union.clamp(min=TINY)
