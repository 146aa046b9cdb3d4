"""``detector`` without a network: takes the picture into the GPU's memory and answers no boxes.

What transports differ in is left of the way of a frame, so they can be compared where there is no TensorRT.
"""

import math
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from sightline.base.cuda import Cuda
from sightline.serving.runtime.backend import pack_boxes, refuse, respond
from sightline.serving.runtime.rtx import DeviceFrames, from_dlpack

MAX_BYTES = 64 << 20


class TritonPythonModel:
    """Called by Triton's Python backend, on one thread."""

    def initialize(self, _: dict[str, str]) -> None:
        """Take memory on the first GPU."""
        self.cuda = Cuda()
        self.memory = self.cuda.allocate(MAX_BYTES)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        tensor = pb_utils.get_input_tensor_by_name(request, "frame")
        try:
            if tensor.is_cpu():
                array = np.ascontiguousarray(tensor.as_numpy())
                frames = DeviceFrames(array.ctypes.data, array.shape, array)
            else:
                frames = from_dlpack(tensor.to_dlpack())
            self.cuda.copy(self.memory, frames.address, math.prod(frames.shape))
        except Exception as error:  # noqa: BLE001 - told to whoever sent the frame
            return refuse(pb_utils, error)
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
        return respond(pb_utils, pack_boxes([nothing] * frames.shape[0]))
