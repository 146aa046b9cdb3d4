"""A stand-in for Triton's gRPC side: knows regions, answers by a function of the test's, now or later."""

# ruff: noqa: N802  the methods have the names of the protocol

import mmap
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

NETWORK = (64, 96)  # height, width
SHAPE = (96, 96)  # of a slot
Boxes = list[tuple[float, float, float, float]]


class FakeTriton(GRPCInferenceServiceServicer):
    """One model, ``detector``; a context manager.

    Attributes:
        requests: every inference request.
        hold: answers wait for :meth:`release`.
        error: what every request is answered with, unless empty.
        answer: boxes in 0..1 of the network's input for each picture, uint8 [3/2·height, width].
        regions: by kind (System, Cuda), the registered names and their keys or handles.
        refused: methods that end with an error.
    """

    def __init__(self) -> None:
        self.requests: list[pb.ModelInferRequest] = []
        self.hold = False
        self.error = ""
        self.version = "1"
        self.answer: Callable[[np.ndarray], Boxes] = lambda _: []
        self.regions: dict[str, dict[str, bytes | str]] = {"System": {}, "Cuda": {}}
        self.refused: dict[str, grpc.StatusCode] = {}
        self._held: deque[pb.ModelInferRequest] = deque()
        self._out: queue.SimpleQueue[pb.ModelStreamInferResponse | None] = queue.SimpleQueue()

    def __enter__(self) -> "FakeTriton":
        self._server = grpc.server(ThreadPoolExecutor(16))
        add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.url = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._out.put(None)
        self._server.stop(None).wait()

    def release(self, count: int = 1) -> None:
        """Answer the oldest requests that are held."""
        for _ in range(count):
            self._out.put(self._respond(self._held.popleft()))

    def break_stream(self) -> None:
        """End the stream, as a server that stops does."""
        self._out.put(None)

    def ModelReady(self, request, context):
        self._maybe_refuse("ModelReady", context)
        return pb.ModelReadyResponse(ready=True)

    def ModelConfig(self, request, context):
        response = pb.ModelConfigResponse()
        response.config.name, response.config.max_batch_size = request.name, 8
        for key, value in {
            "model_version": f"toy-{request.version or self.version}",
            "class_names": '["person"]',
            "network_height": str(NETWORK[0]),
            "network_width": str(NETWORK[1]),
            "precision": "fp32",
            "score_floor": "0.1",
        }.items():
            response.config.parameters[key].string_value = value
        return response

    def SystemSharedMemoryStatus(self, request, context):
        return self._status("System", pb.SystemSharedMemoryStatusResponse())

    def CudaSharedMemoryStatus(self, request, context):
        return self._status("Cuda", pb.CudaSharedMemoryStatusResponse())

    def _status(self, kind, response):
        for name in self.regions[kind]:
            response.regions[name].name = name
        return response

    def SystemSharedMemoryRegister(self, request, context):
        self._maybe_refuse("SystemSharedMemoryRegister", context)
        self.regions["System"][request.name] = request.key
        return pb.SystemSharedMemoryRegisterResponse()

    def CudaSharedMemoryRegister(self, request, context):
        self._maybe_refuse("CudaSharedMemoryRegister", context)
        self.regions["Cuda"][request.name] = request.raw_handle
        return pb.CudaSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request, context):
        self._maybe_refuse("SystemSharedMemoryUnregister", context)
        self.regions["System"].pop(request.name, None)
        return pb.SystemSharedMemoryUnregisterResponse()

    def CudaSharedMemoryUnregister(self, request, context):
        self._maybe_refuse("CudaSharedMemoryUnregister", context)
        self.regions["Cuda"].pop(request.name, None)
        return pb.CudaSharedMemoryUnregisterResponse()

    def ModelStreamInfer(self, request_iterator, context) -> Iterator[pb.ModelStreamInferResponse]:
        self._held.clear()
        out = self._out = queue.SimpleQueue()

        def read() -> None:
            try:
                for request in request_iterator:
                    self.requests.append(request)
                    if self.hold:
                        self._held.append(request)
                    else:  # of several clients, to the one that asked
                        out.put(self._respond(request))
            except grpc.RpcError:
                pass  # the client has closed the stream
            out.put(None)

        threading.Thread(target=read, daemon=True).start()
        yield from iter(out.get, None)

    def _maybe_refuse(self, method, context):
        if method in self.refused:
            context.abort(self.refused[method], f"{method} refused by the test")

    def _respond(self, request):
        answer = pb.ModelStreamInferResponse()
        answer.infer_response.id = request.id
        if self.error:
            answer.error_message = self.error
            return answer
        answer.infer_response.model_version = self.version
        found = [self.answer(picture) for picture in self._pictures(request)]
        longest = max(len(boxes) for boxes in found)
        xyxy = np.zeros((len(found), longest, 4), np.float32)
        for row, boxes in zip(xyxy, found, strict=True):
            row[: len(boxes)] = np.reshape(boxes, (-1, 4))
        for name, array in (
            ("num_dets", np.array([[len(boxes)] for boxes in found], np.int32)),
            ("det_boxes", xyxy),
            ("det_scores", np.full(xyxy.shape[:2], 0.9, np.float32)),
            ("det_classes", np.zeros(xyxy.shape[:2], np.int32)),
        ):
            answer.infer_response.outputs.add(name=name, shape=list(array.shape))
            answer.infer_response.raw_output_contents.append(array.tobytes())
        return answer

    def _pictures(self, request) -> np.ndarray:
        """What the request names, read where it lies; grey for memory of a GPU."""
        shape = tuple(request.inputs[0].shape)
        parameters = request.inputs[0].parameters
        if request.raw_input_contents:
            return np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(shape)
        key = self.regions["System"].get(parameters["shared_memory_region"].string_param)
        if key is None:
            return np.full(shape, 114, np.uint8)
        with Path(f"/dev/shm{key}").open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        begin = parameters["shared_memory_offset"].int64_param
        size = parameters["shared_memory_byte_size"].int64_param
        return np.frombuffer(memory[begin : begin + size], np.uint8).reshape(shape)
