"""What the network is punished for: scores by binary cross-entropy, boxes by CIoU and their logarithms."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from assign import Objects, assign
from network import decode

BOX_GAIN, LOG_GAIN, CLASS_GAIN = 4.0, 1.0, 1.0


def loss_of(levels: list[tuple[Tensor, Tensor]], batch: list[Objects]) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts for the log."""
    xyxy, logits, points, strides = decode(levels)
    targets = torch.zeros_like(logits)
    counted = torch.ones_like(logits)
    picked: list[tuple[Tensor, Tensor, Tensor]] = []  # picture and cell, true box, strength
    boxes_now, scores_now, cells = (t.detach().numpy() for t in (xyxy, logits.sigmoid(), points))
    for i, objects in enumerate(batch):
        given = assign(boxes_now[i], scores_now[i], cells, objects)
        counted[i] = torch.from_numpy(given.counted)
        chosen = torch.from_numpy(given.object_index).ge(0).nonzero()[:, 0]
        which, strength = given.object_index[chosen.numpy()], torch.from_numpy(given.strength)[chosen]
        targets[i, chosen, torch.from_numpy(objects.class_ids[which])] = strength
        place = torch.stack([torch.full_like(chosen, i), chosen], 1)
        picked.append((place, torch.from_numpy(objects.xyxy[which]), strength))
    place, wanted, strength = (torch.cat(parts) for parts in zip(*picked, strict=True))
    total = max(float(strength.sum()), 1.0)
    wrong = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    classes = (wrong * counted).sum() / total
    found, steps = xyxy[place[:, 0], place[:, 1]], strides[place[:, 1]]
    boxes = ((1 - ciou(found, wanted)) * strength).sum() / total
    logs = (log_error(found, wanted, points[place[:, 1]], steps) * strength).sum() / total
    loss = CLASS_GAIN * classes + BOX_GAIN * boxes + LOG_GAIN * logs
    return loss, {
        "classes": float(classes.detach()),
        "boxes": float(boxes.detach()),
        "logs": float(logs.detach()),
    }


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
