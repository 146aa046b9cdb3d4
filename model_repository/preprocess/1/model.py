"""``preprocess`` on the CPU: I420 stays I420; only the grey around the picture is added."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from sightline.serving.runtime.backend import Settings, refuse, respond
from sightline.serving.runtime.numerics import letterbox_i420


class TritonPythonModel:
    """Called by Triton's Python backend, on one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration's parameters."""
        self.settings = Settings(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request; a request may hold several pictures of one size."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        frames = pb_utils.get_input_tensor_by_name(request, "frame").as_numpy()
        try:
            pairs = [letterbox_i420(frame, self.settings.network) for frame in frames]
        except ValueError as error:
            return refuse(pb_utils, error)
        images, letterboxes = zip(*pairs, strict=True)
        return respond(pb_utils, {"images": np.stack(images), "letterbox": np.stack(letterboxes)})
