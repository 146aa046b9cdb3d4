"""``detector`` on the CPU: the three steps of the ensemble in one process, by the very same functions.

Between processes every step costs about a millisecond of a core; a GPU has cores to spare, this path has not.
"""

from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from sightline.serving.runtime.backend import Settings, pack_boxes, refuse, respond
from sightline.serving.runtime.numerics import F32, Found, boxes_from_head, check_frames


class TritonPythonModel:
    """Called by Triton's Python backend; answers are sent as the engine has them."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the network of the same version of ``yolo``."""
        self.settings = Settings(args)
        yolo = Path(args["model_repository"]).parent / "yolo"
        self.engine = self.settings.engine(yolo / args["model_version"] / "model.onnx")

    def execute(self, requests: list[Any]) -> None:
        """Start on every request; blocks while the engine is full, so the rest waits in Triton's queue."""
        for request in requests:
            self._start(request)

    def finalize(self) -> None:
        """Let what is in flight end."""
        self.engine.wait()

    def _start(self, request: Any) -> None:
        frames = pb_utils.get_input_tensor_by_name(request, "frame").as_numpy()
        sender = request.get_response_sender()

        def send(response: Any) -> None:
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

        def keep(_: int, head: F32) -> Found:
            return boxes_from_head(head, self.settings.network, self.settings.score_floor)

        def done(found: list[Found] | None, error: Exception | None) -> None:
            send(refuse(pb_utils, error) if found is None else respond(pb_utils, pack_boxes(found)))

        try:
            check_frames(frames.shape, self.settings.network)
        except ValueError as error:
            send(refuse(pb_utils, error))
            return
        self.engine.submit(list(frames), keep, done)
