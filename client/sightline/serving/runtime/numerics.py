"""The one definition of what the server does with pixels before the network and with its output after it.

Plain numpy: Triton's Python backends import it, the export tool's graphs and the tests are held against it.
"Network pixels" are coordinates inside the network's input. The grey around a picture is the client's part:
:mod:`sightline.base.letterbox`. Every function raises :class:`ValueError` with a readable text when it is
given what it cannot use.
"""

import numpy as np
from numpy.typing import NDArray

from sightline.base.letterbox import split_i420

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Found = tuple[F32, F32, NDArray[np.int32]]  # boxes xyxy [N, 4], scores [N], class ids [N]

#: Two boxes of one class that overlap more than this are one object.
NMS_IOU = 0.7
#: Boxes handed out for one frame, best first.
MAX_DETECTIONS = 300
#: Anchors that enter the NMS, best first: bounds time and memory, whatever the picture shows.
MAX_CANDIDATES = 2048
#: An end-to-end head gives rows of x1, y1, x2, y2, score, class in network pixels, NMS done.
END_TO_END_COLUMNS = 6

_NMS_BLOCK = 64  # boxes compared with all that are left at once: few numpy calls, bounded memory

# BT.601 limited range to RGB, as OpenCV's and OpenVINO's I420 conversions have it.
YUV_OFFSET = np.array([16.0, 128.0, 128.0], np.float32)
YUV_TO_RGB = np.array([[1.164, 0.0, 1.596], [1.164, -0.391, -0.813], [1.164, 2.018, 0.0]], np.float32)


def check_frames(shape: tuple[int, ...], network: tuple[int, int]) -> None:
    """Refuse pictures, uint8 [batch, 3/2·height, width], that are not of the network's height and width."""
    wanted = network[0] // 2 * 3, network[1]
    if tuple(shape[1:]) != wanted:
        raise ValueError(
            f"frame {list(shape)} has the wrong size: send uint8 [n, {wanted[0]}, {wanted[1]}], I420 of "
            f"{network[1]}x{network[0]}, the picture scaled to fit and centred on grey"
        )


def network_input(frame: U8) -> F32:
    """RGB planes float32 [3, height, width] in 0..1 of an I420 picture uint8 [3/2·height, width].

    The reference that faster paths are held against. Each chroma sample covers 2x2 pixels.
    """
    y, u, v = split_i420(frame)
    yuv = np.stack([y, *(plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v))], axis=-1)
    rgb = (yuv.astype(np.float32) - YUV_OFFSET) @ YUV_TO_RGB.T
    planes = np.clip(rgb, 0, 255).transpose(2, 0, 1) / np.float32(255)
    return np.ascontiguousarray(planes, np.float32)


def is_end_to_end(head: F32) -> bool:
    """Whether a head is end-to-end: [boxes, 6]; it must else be raw: [4 + classes, anchors]."""
    if head.ndim == 2 and head.shape[1] == END_TO_END_COLUMNS:
        return True
    if head.ndim != 2 or head.shape[0] <= 4:
        raise ValueError(f"head {list(head.shape)} is neither [4 + classes, anchors] nor [boxes, 6]")
    return False


def best_anchors(head: F32, score_floor: float, limit: int = MAX_CANDIDATES) -> F32:
    """A head without the anchors that cannot become boxes: what is worth handing on.

    All but the ``limit`` best are left out, and what scores less than the floor. Filled up with anchors that
    score 0 to a multiple of 32, so that requests have equal shapes and can be batched.
    """
    if is_end_to_end(head):
        return head
    best = head[4:].max(axis=0)
    chosen = np.flatnonzero(best >= score_floor)
    if len(chosen) > limit:
        chosen = chosen[np.argpartition(best[chosen], len(chosen) - limit)[-limit:]]
        chosen.sort()
    columns = max(32, -(-len(chosen) // 32) * 32)
    kept = np.zeros((head.shape[0], columns), np.float32)
    kept[:, : len(chosen)] = head[:, chosen]
    return kept


def decode(head: F32, score_floor: float) -> Found:
    """Boxes of a head, best first, overlaps still in it.

    Each anchor stands for its best class alone, so one object does not come out as two classes. Boxes are in
    network pixels.
    """
    if is_end_to_end(head):
        rows = head[head[:, 4] >= score_floor]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32)
    columns = best_anchors(head, score_floor)
    class_ids = columns[4:].argmax(axis=0)
    scores = columns[4 + class_ids, np.arange(columns.shape[1])]
    order = np.argsort(-scores, kind="stable")
    order = order[: np.count_nonzero(scores >= score_floor)]
    centre, half = columns[:2, order].T, columns[2:4, order].T / 2
    xyxy = np.concatenate([centre - half, centre + half], axis=1)
    return xyxy, scores[order], class_ids[order].astype(np.int32)


def suppress(xyxy: F32, class_ids: NDArray[np.int32], limit: int = MAX_DETECTIONS) -> NDArray[np.intp]:
    """What a greedy NMS within each class at :data:`NMS_IOU` leaves of boxes [N, 4], best first: indices."""
    kept: list[int] = []
    left = np.arange(len(xyxy))  # not decided yet
    while len(left):
        first, boxes, classes = left[:_NMS_BLOCK], xyxy[left], class_ids[left]
        a, b = boxes[:_NMS_BLOCK].T[:, :, None], boxes.T[:, None, :]
        width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
        height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
        inter = np.maximum(width, 0) * np.maximum(height, 0)
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
        apart = (classes[:_NMS_BLOCK, None] != classes) | (inter <= NMS_IOU * union)
        alive = np.ones(len(left), np.bool_)
        for row, (index, keeps) in enumerate(zip(first.tolist(), apart, strict=True)):
            if alive[row]:
                kept.append(index)
                if len(kept) == limit:
                    return np.array(kept, np.intp)
                alive &= keeps
        left = left[len(first) :][alive[len(first) :]]
    return np.array(kept, np.intp)


def boxes_from_head(head: F32, network: tuple[int, int], score_floor: float) -> Found:
    """Everything after the network; boxes that score less than the floor are left out.

    ``head`` is float32 [4 + classes, anchors] or [boxes, 6], in pixels of ``network`` (height, width). Gives
    boxes in 0..1 of the network's input, best first, at most :data:`MAX_DETECTIONS`.
    """
    xyxy, scores, class_ids = decode(head, score_floor)
    kept = np.arange(min(len(xyxy), MAX_DETECTIONS)) if is_end_to_end(head) else suppress(xyxy, class_ids)
    shares: F32 = np.clip(xyxy[kept] / np.array([network[1], network[0]] * 2, np.float32), 0, 1)
    return shares, scores[kept], class_ids[kept]
