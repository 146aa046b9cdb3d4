"""``detector`` on PyTorch: pictures taken where they lie, the network on the GPU, the NMS by the numerics.

Requests that Triton hands over together become one batch.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

from gpu.torchnet import TorchDetector, as_frames
from sightline.serving.runtime.backend import Settings, pack_boxes, refuse, respond
from sightline.serving.runtime.numerics import F32, Found, suppress


class TritonPythonModel:
    """Called by Triton's Python backend, on one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load ``network.pt`` of this version."""
        self.settings = Settings(args)
        device = json.loads(args["model_config"])["parameters"]["device"]["string_value"]
        path = Path(args["model_repository"]) / args["model_version"] / "network.pt"
        self.detector = TorchDetector(path, self.settings.network, device)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request; pictures of one size are computed together."""
        answers: list[Any] = [None] * len(requests)
        sizes: dict[tuple[int, ...], list[tuple[int, torch.Tensor]]] = defaultdict(list)
        for place, request in enumerate(requests):
            try:  # frames are uint8 [n, rows, width], without a copy
                tensor = pb_utils.get_input_tensor_by_name(request, "frame")
                on_host = tensor.is_cpu()
                frames = as_frames(tensor.as_numpy()) if on_host else torch.from_dlpack(tensor.to_dlpack())
                sizes[tuple(frames.shape[1:])].append((place, frames))
            except Exception as error:  # noqa: BLE001 - told to whoever sent the frame
                answers[place] = refuse(pb_utils, error)
        for waiting in sizes.values():
            try:
                rows = self.detector.run([frames for _, frames in waiting])
                boxes = iter([self._boxes(one) for one in rows])
                for place, frames in waiting:
                    answers[place] = respond(pb_utils, pack_boxes([next(boxes) for _ in frames]))
            except Exception as error:  # noqa: BLE001 - told to whoever sent the frame
                for place, _ in waiting:
                    answers[place] = refuse(pb_utils, error)
        return answers

    def _boxes(self, rows: F32) -> Found:
        """Boxes of one picture from its candidates, float32 [candidates, 6]."""
        rows = rows[: np.count_nonzero(rows[:, 4] >= self.settings.score_floor)]
        class_ids = rows[:, 5].astype(np.int32)
        kept = suppress(rows[:, :4], class_ids)
        height, width = self.settings.network
        xyxy: F32 = np.clip(rows[kept, :4] / np.array([width, height] * 2, np.float32), 0, 1)
        return xyxy, rows[kept, 4], class_ids[kept]
