"""What the network is punished for: scores by binary cross-entropy, boxes by CIoU and their logarithms."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.assign import Targets, assign
from training.network import decode

BOX_GAIN, LOG_GAIN, CLASS_GAIN = 4.0, 1.0, 1.0


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
    common = (torch.minimum(found[:, 2:], wanted[:, 2:]) - torch.maximum(found[:, :2], wanted[:, :2])).clamp(
        0
    )
    intersection = common.prod(1)
    overlap = intersection / (size_f.prod(1) + size_w.prod(1) - intersection + 1e-7)
    hull = torch.maximum(found[:, 2:], wanted[:, 2:]) - torch.minimum(found[:, :2], wanted[:, :2])
    apart = (found[:, :2] + found[:, 2:] - wanted[:, :2] - wanted[:, 2:]).square().sum(1) / 4
    angle = torch.atan(size_w[:, 0] / size_w[:, 1].clamp(1e-3)) - torch.atan(
        size_f[:, 0] / size_f[:, 1].clamp(1e-3)
    )
    shape = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        share = shape / (1 - overlap + shape + 1e-7)
    return overlap - apart / (hull.square().sum(1) + 1e-7) - share * shape


def log_error(found: Tensor, wanted: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Mean difference of the four distances' logarithms [N]; small distances count as half a stride."""

    def distances(xyxy: Tensor) -> Tensor:
        reach = torch.cat([points - xyxy[:, :2], xyxy[:, 2:] - points], 1)
        return torch.maximum(reach, strides * 0.5).log()

    return functional.smooth_l1_loss(distances(found), distances(wanted), reduction="none", beta=0.1).mean(1)
