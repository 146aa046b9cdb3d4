"""``postprocess`` on the CPU: the head becomes boxes in 0..1 of the network's input."""

from typing import Any

import triton_python_backend_utils as pb_utils

from sightline.serving.runtime.backend import Settings, pack_boxes, refuse, respond
from sightline.serving.runtime.numerics import boxes_from_head


class TritonPythonModel:
    """Called by Triton's Python backend, on one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration's parameters."""
        self.settings = Settings(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request; a request may hold several pictures."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        heads = pb_utils.get_input_tensor_by_name(request, "output0").as_numpy()
        network, score_floor = self.settings.network, self.settings.score_floor
        try:
            found = [boxes_from_head(head, network, score_floor) for head in heads]
        except ValueError as error:
            return refuse(pb_utils, error)
        return respond(pb_utils, pack_boxes(found))
