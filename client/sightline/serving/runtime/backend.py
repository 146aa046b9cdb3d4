"""What the Python backends of ``model_repository`` share; runs inside Triton, on the CPU.

``pb_utils`` exists only there, so it is handed in.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.serving.runtime.engine import WAITING, CpuEngine
from sightline.serving.runtime.numerics import F32

Found = tuple[F32, F32, NDArray[np.int32]]


class Settings:
    """The parameters of a model's configuration, as numbers.

    Attributes:
        network: height and width of the network's input.
        score_floor: boxes that score less are left out.
    """

    def __init__(self, args: Mapping[str, str]) -> None:
        found = json.loads(args["model_config"]).get("parameters", {})
        self._values: dict[str, str] = {key: value["string_value"] for key, value in found.items()}
        for key in ("network_height", "network_width", "precision", "score_floor"):
            if key not in self._values:
                raise ValueError(f"parameter {key!r} is missing: run sightline model export")
        self.network = int(self._values["network_height"]), int(self._values["network_width"])
        self.score_floor = float(self._values["score_floor"])

    def engine(self, path: Path) -> CpuEngine:
        """Compile the network at ``path``, or raise a FileNotFoundError when there is none."""
        if not path.is_file():
            raise FileNotFoundError(f"no network at {path}: put one there with sightline model export")
        streams, waiting = int(self._values.get("streams", 0)), int(self._values.get("waiting", WAITING))
        os.nice(int(self._values.get("nice", "0")))  # the engine's threads are made by this one
        precision = self._values["precision"]
        return CpuEngine(path, self.network, precision=precision, streams=streams, waiting=waiting)


def refuse(pb_utils: Any, error: Exception) -> Any:
    """The response that tells a client what is wrong with its request."""
    wrong = isinstance(error, ValueError)
    code = pb_utils.TritonError.INVALID_ARG if wrong else pb_utils.TritonError.INTERNAL
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))


def respond(pb_utils: Any, tensors: Mapping[str, NDArray[Any]]) -> Any:
    """The response that carries ``tensors``."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in tensors.items()])


def pack_boxes(found: Sequence[Found]) -> dict[str, NDArray[Any]]:
    """What ``numerics.boxes_from_head`` gives of several pictures, as the four outputs of ``detector``."""
    return {
        "num_dets": np.array([[len(scores)] for _, scores, _ in found], np.int32),
        "det_boxes": pad([xyxy for xyxy, _, _ in found], 0),
        "det_scores": pad([scores for _, scores, _ in found], 0),
        "det_classes": pad([class_ids for _, _, class_ids in found], 0),
    }


def pad(parts: Sequence[NDArray[Any]], axis: int) -> NDArray[Any]:
    """Arrays that differ along one axis as one array; zeros fill the shorter ones."""
    shape = list(parts[0].shape)
    shape[axis] = max(part.shape[axis] for part in parts)
    whole = np.zeros((len(parts), *shape), parts[0].dtype)
    for into, part in zip(np.moveaxis(whole, axis + 1, 1), parts, strict=True):
        into[: part.shape[axis]] = np.moveaxis(part, axis, 0)
    return whole
