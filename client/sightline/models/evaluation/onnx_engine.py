"""The bare engine: ONNX Runtime on this machine's processor, pictures as a client sends them, no server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

from sightline.base.letterbox import letterbox_i420, undo_letterbox
from sightline.entities import Detections
from sightline.errors import EvaluationError, NetworkUnusable
from sightline.models.evaluation import half
from sightline.models.evaluation.cocoset import (
    SCORE_FLOOR,
    CocoSet,
    read_picture,
    scaled_i420,
    to_rows,
)
from sightline.models.export import halve, network_source
from sightline.serving.runtime import numerics

#: What is run when a precision is asked for, said in every report.
WHAT_IS_RUN = {
    "fp32": "ONNX Runtime, FP32 throughout",
    "fp16": "ONNX Runtime; emulated: FP16 weights, every result of the FP16 part rounded, sums in FP32",
    "int8": "ONNX Runtime; weights and activations rounded to INT8 by the graph (QDQ), sums in FP32",
    "fp8": "ONNX Runtime; weights and activations rounded to FP8 (E4M3) by the graph (QDQ), sums in FP32",
}


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """A serialised network in ONNX Runtime, on the processor."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Waiting threads sleep: spinning is little faster alone, and twice as slow on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@dataclass(slots=True)
class BareEngine:
    """A network at one precision; keeps how long each picture took.

    Attributes:
        network: height and width of the input.
        class_names: of the network, by class id.
        times_ms: milliseconds inside the engine, a picture each; the first run is left out.
    """

    session: onnxruntime.InferenceSession
    network: tuple[int, int]
    class_names: tuple[str, ...]
    times_ms: list[float] = field(default_factory=list)

    @staticmethod
    def load(path: Path, precision: str, shape: tuple[int, int], labels: Path | None = None) -> BareEngine:
        """Read a file as ``fp32``, ``fp16`` (emulated), or as what it is quantised to.

        Raises:
            EvaluationError: the file cannot be run so.
            NetworkUnusable: the file is no network with a known head.
        """
        source = network_source.read_source(path, labels)
        is_now = source.quantisation["precision"] if source.quantisation else "fp32"
        if is_now != ("fp32" if precision == "fp16" else precision):
            raise EvaluationError(
                f"{path.name} is {is_now} and cannot be run as {precision}: "
                "sightline model quantize makes INT8 and FP8 from FP32"
            )
        height, width = network_source.network_shape(source.model, shape)
        model = source.model
        if precision == "fp16":
            try:
                model = half.emulate(halve.halve(model))
            except NetworkUnusable as error:
                raise EvaluationError(f"{path.name} in FP16: {error}") from error
        return BareEngine(open_session(model.SerializeToString()), (height, width), source.class_names)

    def detect(self, sent: numerics.U8, score_floor: float = SCORE_FLOOR) -> Detections:
        """Boxes of one I420 picture [3/2·height, width] that fits the network."""
        padded, box = letterbox_i420(sent, self.network)
        picture = numerics.network_input(padded)[None]
        if not self.times_ms:  # the first run allocates
            self.session.run(None, {"images": picture})
        started = time.perf_counter()
        (heads,) = self.session.run(None, {"images": picture})
        self.times_ms.append((time.perf_counter() - started) * 1000)
        xyxy, scores, class_ids = numerics.boxes_from_head(heads[0], self.network, score_floor)
        return Detections(undo_letterbox(xyxy, box, self.network), scores, class_ids)

    def detect_all(self, data: CocoSet) -> Iterator[list[float]]:
        """Rows of :func:`sightline.models.evaluation.cocoset.to_rows` of every picture."""
        data.check_classes(self.class_names)
        for index, image in enumerate(data.images):
            sent = scaled_i420(read_picture(data.folder / image["file_name"], index), self.network)
            yield from to_rows(image, self.detect(sent), self.class_names, data.category_ids)

    @property
    def median_ms(self) -> float:
        """Median time of a picture inside the engine, in milliseconds."""
        return float(np.median(self.times_ms))
