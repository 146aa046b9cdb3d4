"""What the network learns from a picture: which cell shall find which object, and what it is punished for.

Assignment is task-aligned, after the paper TOOD: a cell is the better for an object the more it says its
class and the better its box is already; the best few cells of every object learn it, to the degree that they
are good. All pictures of a batch at once, on the device of the network. Scores are punished by binary
cross-entropy, boxes by CIoU and their logarithms.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.dataset import Objects
from training.network import decode

BOX_GAIN, LOG_GAIN, CLASS_GAIN = 4.0, 1.0, 1.0
BEST = 10  # cells that learn one object
CLASS_POWER, BOX_POWER = 0.5, 6.0
#: Objects smaller than this are looked for in a square of this side: a cell of 8 pixels may miss them else.
REACH_PX = 20.0
TINY = 1e-9


class Targets(NamedTuple):
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

    def to(self, device: torch.device) -> "Targets":
        """The same on another device."""
        return Targets(*(part.to(device, non_blocking=True) for part in self))


class Assignment(NamedTuple):
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
    shape = len(batch), max(1, *(len(objects.xyxy) for objects in batch))
    xyxy, class_ids = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.int64)
    real, ignored = np.zeros((2, *shape), np.bool_)
    for i, objects in enumerate(batch):
        rows = slice(len(objects.xyxy))
        xyxy[i, rows], class_ids[i, rows] = objects.xyxy, objects.class_ids
        real[i, rows], ignored[i, rows] = ~objects.ignored, objects.ignored
    return Targets(*map(torch.from_numpy, (xyxy, class_ids, real, ignored)))


def assign(xyxy: Tensor, scores: Tensor, centres: Tensor, targets: Targets) -> Assignment:
    """Share the objects out, by the boxes float32 [B, A, 4] and scores [B, A, classes] that cells give now.

    Cells' centres are float32 [A, 2] in pixels.
    """
    near = inside(centres, targets.xyxy)  # [B, M, A], as all that follow
    overlap = torch.where(near & targets.real[..., None], iou(targets.xyxy, xyxy), 0.0)
    wanted = targets.class_ids[..., None].expand(-1, -1, scores.shape[1])
    value = scores.transpose(1, 2).gather(1, wanted) ** CLASS_POWER * overlap**BOX_POWER
    places = value.topk(min(BEST, value.shape[2]), dim=2).indices
    chosen = torch.zeros_like(near).scatter_(2, places, True) & (overlap > TINY)
    # Two want a cell: the better box has it.
    owner = torch.where(chosen, overlap, -1.0).argmax(1, keepdim=True)
    taken = chosen.any(1, keepdim=True)
    mine = torch.zeros_like(near).scatter_(1, owner, taken)
    own = torch.where(mine, value, 0.0)
    best_overlap = torch.where(mine, overlap, 0.0).amax(2, keepdim=True)
    strength = (own / (own.amax(2, keepdim=True) + TINY) * best_overlap).sum(1)
    index = torch.where(taken, owner, -1)[:, 0]
    # All scores count but the class of an ignored object, at the cells in it that learn nothing else.
    kinds = functional.one_hot(targets.class_ids, scores.shape[2]).float()
    dim = (near & targets.ignored[..., None]).float()
    counted = torch.bmm(dim.transpose(1, 2), kinds) < 0.5
    return Assignment(index, strength, counted | taken[:, 0, :, None])


def inside(points: Tensor, xyxy: Tensor) -> Tensor:
    """Bool [B, N, points]: points [points, 2] in boxes [B, N, 4] with no side shorter than REACH_PX."""
    middle = (xyxy[..., :2] + xyxy[..., 2:]) / 2
    half = (xyxy[..., 2:] - xyxy[..., :2]).clamp(min=REACH_PX) / 2
    (left, top), (right, bottom) = (edge[..., None].unbind(-2) for edge in (middle - half, middle + half))
    x, y = points.T
    return (x > left) & (x < right) & (y > top) & (y < bottom)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union, float32 [B, N, M], of boxes [B, N, 4] and [B, M, 4]."""
    a, b = first[:, :, None].unbind(3), second[:, None].unbind(3)
    width = torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])
    height = torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])
    common = width.clamp(min=0) * height.clamp(min=0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union.clamp(min=TINY)


def loss_of(levels: list[tuple[Tensor, Tensor]], targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and its parts for the log."""
    xyxy, logits, points, strides = decode(levels)
    given = assign(xyxy.detach(), logits.detach().sigmoid(), points, targets)
    picture, cell = torch.nonzero(given.object_index >= 0, as_tuple=True)
    row, strength = given.object_index[picture, cell], given.strength[picture, cell]
    scores = torch.zeros_like(logits)
    scores[picture, cell, targets.class_ids[picture, row]] = strength
    total = strength.sum().clamp(min=1.0)
    wrong = functional.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    classes = (wrong * given.counted).sum() / total
    found, wanted = xyxy[picture, cell], targets.xyxy[picture, row]
    boxes = ((1 - ciou(found, wanted)) * strength).sum() / total
    logs = (log_error(found, wanted, points[cell], strides[cell]) * strength).sum() / total
    loss = CLASS_GAIN * classes + BOX_GAIN * boxes + LOG_GAIN * logs
    return loss, {"classes": classes.detach(), "boxes": boxes.detach(), "logs": logs.detach()}


def ciou(found: Tensor, wanted: Tensor) -> Tensor:
    """Complete IoU of pairs of boxes xyxy [N, 4]: overlap, less distance, less difference of shape."""
    size_f, size_w = found[:, 2:] - found[:, :2], wanted[:, 2:] - wanted[:, :2]
    common = torch.minimum(found[:, 2:], wanted[:, 2:]) - torch.maximum(found[:, :2], wanted[:, :2])
    intersection = common.clamp(0).prod(1)
    overlap = intersection / (size_f.prod(1) + size_w.prod(1) - intersection + 1e-7)
    hull = torch.maximum(found[:, 2:], wanted[:, 2:]) - torch.minimum(found[:, :2], wanted[:, :2])
    apart = (found[:, :2] + found[:, 2:] - wanted[:, :2] - wanted[:, 2:]).square().sum(1) / 4
    angle_f, angle_w = (torch.atan(size[:, 0] / size[:, 1].clamp(1e-3)) for size in (size_f, size_w))
    shape = 4 / math.pi**2 * (angle_w - angle_f).square()
    with torch.no_grad():
        share = shape / (1 - overlap + shape + 1e-7)
    return overlap - apart / (hull.square().sum(1) + 1e-7) - share * shape


def log_error(found: Tensor, wanted: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Mean difference of the four distances' logarithms [N]; small distances count as half a stride."""

    def distances(xyxy: Tensor) -> Tensor:
        reach = torch.cat([points - xyxy[:, :2], xyxy[:, 2:] - points], 1)
        return torch.maximum(reach, strides * 0.5).log()

    return functional.smooth_l1_loss(distances(found), distances(wanted), reduction="none", beta=0.1).mean(1)
