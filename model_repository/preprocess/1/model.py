"""``preprocess`` on the CPU: I420 stays I420, since the engine takes it; only its size is checked."""

from typing import Any

import triton_python_backend_utils as pb_utils

from sightline.serving.runtime.backend import Settings, refuse, respond
from sightline.serving.runtime.numerics import check_frames


class TritonPythonModel:
    """Called by Triton's Python backend, on one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration's parameters."""
        self.settings = Settings(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request; a request may hold several pictures."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        frames = pb_utils.get_input_tensor_by_name(request, "frame").as_numpy()
        try:
            check_frames(frames.shape, self.settings.network)
        except ValueError as error:
            return refuse(pb_utils, error)
        return respond(pb_utils, {"images": frames})
