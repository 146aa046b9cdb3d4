"""A running Triton and its models: load, unload, what is ready, whether one answers as it should."""

from __future__ import annotations

import json
import time
from typing import Any, Self

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from sightline.errors import AdminError

LOAD_TIMEOUT_S = 900.0  # a plan of hundreds of megabytes, or a compilation on a slow machine
CALL_TIMEOUT_S = 10.0
GREY = 114
#: What every detector answers: data type, and length of the shape of one picture's answer.
OUTPUTS = {
    "num_dets": ("INT32", 1),
    "det_boxes": ("FP32", 2),
    "det_scores": ("FP32", 1),
    "det_classes": ("INT32", 1),
}


class TritonAdmin:
    """One connection to Triton's gRPC; a context manager."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = InferenceServerClient(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def load(self, name: str) -> None:
        """Load a model as its configuration on disk says; what serves under the name goes on until then.

        Raises:
            AdminError: it cannot be loaded.
        """
        self._call(self._client.load_model, name, client_timeout=LOAD_TIMEOUT_S)

    def unload(self, name: str) -> None:
        """Unload a model and wait until it has gone; its steps stay.

        Raises:
            AdminError: Triton refuses, or requests keep the model busy.
        """
        self._call(self._client.unload_model, name, client_timeout=CALL_TIMEOUT_S)
        deadline = time.monotonic() + 3 * CALL_TIMEOUT_S
        while any(state in {"READY", "UNLOADING"} for state in self.states().get(name, {}).values()):
            if time.monotonic() > deadline:
                raise AdminError(f"{name} has been told to leave, but is still there")
            time.sleep(0.05)

    def states(self) -> dict[str, dict[int, str]]:
        """By model and version: READY, LOADING, UNLOADING or UNAVAILABLE."""
        states: dict[str, dict[int, str]] = {}
        answer = self._call(self._client.get_model_repository_index, client_timeout=CALL_TIMEOUT_S)
        for item in answer.models:
            if item.version:
                states.setdefault(item.name, {})[int(item.version)] = item.state
        return states

    def ready(self, name: str) -> list[int]:
        """The versions of a model that answer now."""
        return sorted(version for version, state in self.states().get(name, {}).items() if state == "READY")

    def config(self, name: str, version: int) -> Any:
        """The configuration of a loaded version, a ``ModelConfig``."""
        answer = self._call(self._client.get_model_config, name, str(version), client_timeout=CALL_TIMEOUT_S)
        return answer.config

    def probe(self, name: str, height: int, width: int, classes: int) -> int:
        """Have a grey picture detected, and check the answer against the contract; gives the version.

        Args:
            name: the model to ask, whichever version serves.
            height: of the network, in pixels.
            width: of the network, in pixels.
            classes: number of class names.

        Raises:
            AdminError: no answer, or not a detector's.
        """
        frame = np.full((1, height * 3 // 2, width), GREY, np.uint8)
        wanted = InferInput("frame", list(frame.shape), "UINT8")
        wanted.set_data_from_numpy(frame)
        result = self._call(self._client.infer, name, [wanted], client_timeout=CALL_TIMEOUT_S)
        response = result.get_response()
        answered = {item.name: (item.datatype, len(item.shape) - 1) for item in response.outputs}
        if answered != OUTPUTS:
            raise AdminError(
                f"{name} answers {json.dumps(answered)}, a detector answers {json.dumps(OUTPUTS)}"
            )
        count = int(result.as_numpy("num_dets")[0, 0])
        boxes = [result.as_numpy(key)[0][:count] for key in ("det_boxes", "det_scores", "det_classes")]
        xyxy, scores, class_ids = boxes
        sizes = {len(values) for values in boxes}
        if sizes != {count} or (xyxy.size and xyxy.shape[1] != 4):
            raise AdminError(f"{name} says {count} boxes and gives {sorted(sizes)}")
        good = np.isfinite(xyxy).all() and (scores >= 0).all() and (scores <= 1).all()
        if not good or (class_ids < 0).any() or (class_ids >= classes).any():
            raise AdminError(f"{name} gives boxes, scores or classes that are none ({classes} classes)")
        return int(response.model_version)

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except InferenceServerException as error:
            raise AdminError(f"Triton at {self.url}: {str(error.message()).strip()}") from error
