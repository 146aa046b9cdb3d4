"""The network on the CPU, through OpenVINO: what serves where there is no GPU.

OpenVINO is in the server's own environment, not in the client's: it is imported when an engine is made.
Colour conversion and scaling to 0..1 are part of the compiled graph, so pictures go in as uint8 I420.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from sightline.serving.runtime.numerics import F32, U8

#: What a manifest calls a precision, in OpenVINO's words.
PRECISIONS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}

#: Pictures beyond those in work, so that a stream that ends one begins the next without being asked.
WAITING = 2

T = TypeVar("T")


class CpuEngine:
    """A compiled network with one picture in flight for each core.

    One stream of one thread a core, not one stream of all threads: streams do not wait for each other after
    every layer, so it is faster, and a client that takes a core for a moment delays one picture instead of
    all. Cores are not pinned, for the same reason.

    One thread calls it; what it calls back comes on the engine's own threads.
    """

    def __init__(
        self,
        path: Path,
        network: tuple[int, int],
        *,
        precision: str = "fp32",
        streams: int = 0,
        waiting: int = WAITING,
    ) -> None:
        """Compile the network.

        Args:
            path: ONNX file with one input float32 [batch, 3, height, width], RGB in 0..1.
            network: height and width to compile for.
            precision: a key of :data:`PRECISIONS`; what the arithmetic is done in.
            streams: pictures in flight, a thread each; 0: as many as there are cores.
            waiting: pictures beyond those, see :data:`WAITING`.

        Raises:
            ValueError: the precision is unknown, or the file is no network.
        """
        import openvino  # noqa: PLC0415 - not in the client's environment

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
        compiled = openvino.Core().compile_model(_with_i420_input(path, network), "CPU", options)
        self._queue: Any = openvino.AsyncInferQueue(compiled, threads + waiting)
        self._queue.set_callback(lambda request, collect: collect(request.get_output_tensor().data[0]))

    def submit(
        self,
        pictures: Sequence[U8],
        keep: Callable[[int, F32], T],
        done: Callable[[list[T] | None, Exception | None], None],
    ) -> None:
        """Start on the pictures of one request; blocks while every stream is busy.

        Args:
            pictures: uint8 [3/2·height, width] of the network each, I420, letterbox done; copied.
            keep: gets a picture's index and head, float32 [rows, columns], which is overwritten after the
                call; gives what is kept of it.
            done: called once, with what was kept of every picture, or with the first error.
        """
        batch = _Batch(len(pictures), keep, done)
        for index, picture in enumerate(pictures):
            try:
                self._queue.start_async([picture.reshape(self._shape)], batch.collector(index))
            except Exception as error:  # noqa: BLE001 - told to whoever waits for the request
                batch.finish(index, None, error)

    def wait(self) -> None:
        """Return when every request has been answered."""
        self._queue.wait_all()


class _Batch(Generic[T]):
    """What was kept of the pictures of one request; several of the engine's threads add to it."""

    def __init__(
        self,
        count: int,
        keep: Callable[[int, F32], T],
        done: Callable[[list[T] | None, Exception | None], None],
    ) -> None:
        self._keep = keep
        self._done = done
        self._kept: list[Any] = [None] * count
        self._missing = count
        self._error: Exception | None = None
        self._lock = Lock()

    def collector(self, index: int) -> Callable[[F32], None]:
        """What takes the head of one picture."""

        def collect(head: F32) -> None:
            try:
                kept = self._keep(index, head)
            except Exception as error:  # noqa: BLE001 - told to whoever waits for the request
                self.finish(index, None, error)
            else:
                self.finish(index, kept, None)

        return collect

    def finish(self, index: int, kept: T | None, error: Exception | None) -> None:
        """One picture is done; the last one completes the request."""
        with self._lock:
            self._kept[index] = kept
            self._error = self._error or error
            self._missing -= 1
            complete = self._missing == 0
        if complete:
            self._done(None if self._error else self._kept, self._error)


def _with_i420_input(path: Path, network: tuple[int, int]) -> Any:
    """The model with a uint8 I420 input [1, 3/2·height, width, 1] in front of its float planes."""
    import openvino  # noqa: PLC0415
    from openvino.preprocess import ColorFormat, PrePostProcessor  # noqa: PLC0415

    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as error:
        raise ValueError(f"cannot read the network {path}: {error}") from error
    model.reshape([1, 3, *network])
    chain = PrePostProcessor(model)
    tensor = chain.input().tensor()
    tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    tensor.set_color_format(ColorFormat.I420_SINGLE_PLANE)
    steps = chain.input().preprocess().convert_color(ColorFormat.RGB)
    steps.convert_element_type(openvino.Type.f32).scale(255.0)
    chain.input().model().set_layout(openvino.Layout("NCHW"))
    return chain.build()
