"""What the Python backends of ``model_repository`` share, and their network; runs inside Triton, on the CPU.

``pb_utils`` exists only there, so it is handed in. OpenVINO is in the server's own environment, not in the
client's: it is imported when an engine is made.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.serving.runtime.numerics import F32, U8, Found

#: What a manifest calls a precision, in OpenVINO's words.
PRECISIONS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}

#: Pictures beyond those in work, so that a stream that ends one begins the next without being asked.
WAITING = 2

T = TypeVar("T")


class CpuEngine:
    """The network through OpenVINO, compiled, with one picture in flight for each core.

    Colour conversion and scaling to 0..1 are part of the compiled graph, so pictures go in as uint8 I420.

    One stream of one thread a core, not one stream of all threads: streams do not wait for each other after
    every layer, so it is faster, and a client that takes a core for a moment delays one picture instead of
    all. Cores are not pinned, for the same reason. One thread calls it; it calls back on threads of its own.
    """

    def __init__(
        self,
        path: Path,
        network: tuple[int, int],
        precision: str = "fp32",
        streams: int = 0,
        waiting: int = WAITING,
    ) -> None:
        """Compile an ONNX file with one input float32 [batch, 3, height, width], RGB in 0..1, for a size.

        ``precision``, of :data:`PRECISIONS`, is what the arithmetic is done in; ``streams`` are pictures in
        flight, a thread each, 0: as many as there are cores; ``waiting`` come on top, see :data:`WAITING`.
        ValueError: the precision is unknown, or the file is no network.
        """
        import openvino  # noqa: PLC0415 - not in the client's environment
        from openvino.preprocess import ColorFormat, PrePostProcessor  # noqa: PLC0415

        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        threads = streams or len(os.sched_getaffinity(0))
        self._shape = (1, network[0] // 2 * 3, network[1], 1)
        options = {
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        }
        core = openvino.Core()
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise ValueError(f"cannot read the network {path}: {error}") from error
        model.reshape([1, 3, *network])
        chain = PrePostProcessor(model)  # gets a uint8 I420 input [1, 3/2·height, width, 1]
        tensor = chain.input().tensor()
        tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        tensor.set_color_format(ColorFormat.I420_SINGLE_PLANE)
        steps = chain.input().preprocess().convert_color(ColorFormat.RGB)
        steps.convert_element_type(openvino.Type.f32).scale(255.0)
        chain.input().model().set_layout(openvino.Layout("NCHW"))
        compiled = core.compile_model(chain.build(), "CPU", options)
        self._queue: Any = openvino.AsyncInferQueue(compiled, threads + waiting)
        self._queue.set_callback(lambda request, collect: collect(request.get_output_tensor().data[0]))

    def submit(
        self,
        pictures: Sequence[U8],
        keep: Callable[[int, F32], T],
        done: Callable[[list[T] | None, Exception | None], None],
    ) -> None:
        """Start on the pictures of one request; blocks while every stream is busy.

        ``pictures`` are uint8 [3/2·height, width] of the network each, I420, letterbox done; copied. ``keep``
        gets a picture's index and head, float32 [rows, columns], which is overwritten after the call, and
        gives what is kept of it. ``done`` is called once, with what was kept of all, or with the first error.
        """
        kept: list[Any] = [None] * len(pictures)
        errors: list[Exception] = []
        missing, lock = len(pictures), Lock()

        def collect(index: int, head: F32 | Exception) -> None:
            """Take a picture's head, on one of the engine's threads; the last one completes the request."""
            nonlocal missing
            try:
                if isinstance(head, Exception):
                    raise head
                kept[index] = keep(index, head)
            except Exception as error:  # noqa: BLE001 - told to whoever waits for the request
                errors.append(error)
            with lock:
                missing -= 1
                complete = missing == 0
            if complete:
                done(None if errors else kept, errors[0] if errors else None)

        for index, picture in enumerate(pictures):
            try:
                self._queue.start_async([picture.reshape(self._shape)], partial(collect, index))
            except Exception as error:  # noqa: BLE001 - told to whoever waits for the request
                collect(index, error)

    def wait(self) -> None:
        """Return when every request has been answered."""
        self._queue.wait_all()


class Settings:
    """The parameters of a model's configuration, as numbers."""

    def __init__(self, args: Mapping[str, str]) -> None:
        found = json.loads(args["model_config"]).get("parameters", {})
        self._values: dict[str, str] = {key: value["string_value"] for key, value in found.items()}
        for key in ("network_height", "network_width", "precision", "score_floor"):
            if key not in self._values:
                raise ValueError(f"parameter {key!r} is missing: run sightline model export")
        self.network = int(self._values["network_height"]), int(self._values["network_width"])  # its input
        self.score_floor = float(self._values["score_floor"])  # boxes that score less are left out

    def engine(self, path: Path) -> CpuEngine:
        """Compile the network at ``path``, or raise a FileNotFoundError when there is none."""
        if not path.is_file():
            raise FileNotFoundError(f"no network at {path}: put one there with sightline model export")
        numbers = {key: int(self._values[key]) for key in ("streams", "waiting") if key in self._values}
        os.nice(int(self._values.get("nice", "0")))  # the engine's threads are made by this one
        return CpuEngine(path, self.network, self._values["precision"], **numbers)


def refuse(pb_utils: Any, error: Exception) -> Any:
    """The response that tells a client what is wrong with its request."""
    wrong = isinstance(error, ValueError)
    code = pb_utils.TritonError.INVALID_ARG if wrong else pb_utils.TritonError.INTERNAL
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))


def respond(pb_utils: Any, tensors: Mapping[str, NDArray[Any]]) -> Any:
    """The response that carries ``tensors``."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in tensors.items()])


def pack_boxes(found: Sequence[Found]) -> dict[str, NDArray[Any]]:
    """What ``numerics.boxes_from_head`` gives of several pictures, as the four outputs of ``detector``."""
    return {
        "num_dets": np.array([[len(scores)] for _, scores, _ in found], np.int32),
        "det_boxes": pad([xyxy for xyxy, _, _ in found], 0),
        "det_scores": pad([scores for _, scores, _ in found], 0),
        "det_classes": pad([class_ids for _, _, class_ids in found], 0),
    }


def pad(parts: Sequence[NDArray[Any]], axis: int) -> NDArray[Any]:
    """Arrays that differ along one axis as one array; zeros fill the shorter ones."""
    shape = list(parts[0].shape)
    shape[axis] = max(part.shape[axis] for part in parts)
    whole = np.zeros((len(parts), *shape), parts[0].dtype)
    for into, part in zip(np.moveaxis(whole, axis + 1, 1), parts, strict=True):
        into[: part.shape[axis]] = np.moveaxis(part, axis, 0)
    return whole
