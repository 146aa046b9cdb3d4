"""``detector`` on an RTX card without a container: a TensorRT-RTX engine, and the NMS by the numerics."""

from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from sightline.serving.runtime.backend import Settings, pack_boxes, refuse, respond
from sightline.serving.runtime.numerics import boxes_from_head, check_frames
from sightline.serving.runtime.rtx import RtxEngine, from_dlpack


class TritonPythonModel:
    """Called by Triton's Python backend, on one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load ``rtx.engine`` of this version."""
        self.settings = Settings(args)
        version = Path(args["model_repository"]) / args["model_version"]
        self.engine = RtxEngine(version / "rtx.engine")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request; a request may hold several pictures of one size."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        tensor = pb_utils.get_input_tensor_by_name(request, "frame")
        try:
            frames = tensor.as_numpy() if tensor.is_cpu() else from_dlpack(tensor.to_dlpack())
            check_frames(tuple(frames.shape), self.settings.network)
            return respond(pb_utils, self._boxes(self.engine.run(frames)))
        except Exception as error:  # noqa: BLE001 - told to whoever sent the frame
            return refuse(pb_utils, error)

    def _boxes(self, outputs: dict[str, Any]) -> dict[str, Any]:
        if "best" not in outputs:  # an end-to-end head needs no NMS: its boxes leave the engine ready
            return outputs
        network, score_floor = self.settings.network, self.settings.score_floor
        return pack_boxes([boxes_from_head(head, network, score_floor) for head in outputs["best"]])
