"""``yolo`` on the CPU: the network, and of its output only the anchors that can become boxes."""

from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from sightline.serving.runtime.backend import Settings, pad, refuse, respond
from sightline.serving.runtime.numerics import F32, best_anchors


class TritonPythonModel:
    """Called by Triton's Python backend; answers are sent as the engine has them."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile ``model.onnx`` of this version."""
        self.settings = Settings(args)
        version = Path(args["model_repository"]) / args["model_version"]
        self.engine = self.settings.engine(version / "model.onnx")

    def execute(self, requests: list[Any]) -> None:
        """Start on every request; blocks while the engine is full, so the rest waits in Triton's queue."""
        for request in requests:
            self._start(request)

    def finalize(self) -> None:
        """Let what is in flight end."""
        self.engine.wait()

    def _start(self, request: Any) -> None:
        pictures = pb_utils.get_input_tensor_by_name(request, "images").as_numpy()
        sender = request.get_response_sender()

        def keep(_: int, head: F32) -> F32:
            return best_anchors(head, self.settings.score_floor)

        def done(heads: list[F32] | None, error: Exception | None) -> None:
            if heads is None:
                response = refuse(pb_utils, error)
            else:
                response = respond(pb_utils, {"output0": pad(heads, 1)})
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

        self.engine.submit(list(pictures), keep, done)
