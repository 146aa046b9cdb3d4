"""The real detector: a picture into a slot, one RPC that carries only names, boxes back.

The gRPC stub of Triton's own protocol is used directly: requests are built once per slot and reused, and the
answer says when the server has let go of the slot.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sightline.base.cuda import has_gpu
from sightline.base.geometry import fit_size
from sightline.base.stats import StageTimes
from sightline.config.loader import Transport, TritonOptions
from sightline.entities import Detections, Frame, ModelInfo, check_detections
from sightline.errors import (
    DetectorError,
    DetectorMismatch,
    DetectorTimeout,
    DetectorUnavailable,
    SharedMemoryError,
)
from sightline.inference.infer_stream import InferStream
from sightline.inference.model_versions import ServedModels
from sightline.inference.regions import close_region, open_region, reclaim_regions
from sightline.inference.segments import (
    HostSegment,
    Segment,
    SlotPool,
    remove_abandoned,
    segment_prefix,
    write_picture,
)

log = logging.getLogger(__name__)

INPUT = "frame"
OUTPUTS = ("num_dets", "det_boxes", "det_scores", "det_classes")
CONTROL_TIMEOUT_S = 3.0
#: Without a free slot for so long: the server hangs or its host has vanished. gRPC's own keepalive would tell
#: the latter only, and Triton closes connections that ping while a camera is away.
HANGING_S = 8.0
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # Reconnecting is decided here (see the worker), not hidden in the channel's own long back-off.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
)
#: Not a matter of time: the server will not do this.
_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}
_RESTRICTED = ("protocol is restricted",)  # what a server says whose operator switched shared memory off


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request on its way."""

    future: Future[Detections]
    pool: SlotPool
    slot: int
    info: ModelInfo  # of the version that it was made for
    started_s: float


class TritonDetector:
    """A camera's connection to the served detector.

    The main thread calls it; gRPC threads finish requests. After a :class:`DetectorUnavailable` the owner
    calls :meth:`connect` again; slots and registrations are then made anew under a new name, so a request
    that is still running somewhere never sees a reused slot.
    """

    def __init__(self, options: TritonOptions, camera: str, stages: StageTimes) -> None:
        self.options = options
        self.camera = camera
        self._stages = stages
        self._channel: grpc.Channel | None = None
        self._stub: Any = None
        self._stream: InferStream | None = None
        self._segment: Segment | None = None
        self._pool = SlotPool(0)
        self._requests: dict[tuple[int, int, int], pb.ModelInferRequest] = {}
        self._left: list[tuple[Segment, SlotPool]] = []  # made for an earlier version, still being read
        self._served: ServedModels | None = None
        self._generation = 0
        self._sent_s = 0.0
        self._said: set[str] = set()
        self._statistics: tuple[int, int, int] | None = None
        self.info: ModelInfo | None = None
        self.transport: Transport = options.transport
        self.transport_message = ""  # why it is not a better one

    def connect(self) -> ModelInfo:
        """Connect, read what the model says of itself, and make and register the slots.

        Raises:
            DetectorUnavailable: the server is away or the model is not ready; try again later.
            DetectorMismatch: the model or the transport is not what the configuration asks for.
        """
        self.close()
        self._channel = grpc.insecure_channel(self.options.url, options=_CHANNEL_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)
        ready = self._call("ModelReady", pb.ModelReadyRequest(name=self.options.model))
        if not ready.ready:
            raise DetectorUnavailable(f"Triton at {self.options.url}: {self.options.model!r} is not ready")
        self._served = ServedModels(self.options.model, self._call)
        self.info = self._served.newest = self._served.read()
        reclaim_regions(self.camera, self._call)
        remove_abandoned(segment_prefix(self.camera))
        self._open_segment(self.info)
        self._stream = InferStream(self._stub)
        return self.info

    def submit(self, frame: Frame) -> Future[Detections]:
        """Write the frame into a free slot and start inference; see :class:`Detector`."""
        future: Future[Detections] = Future()
        try:
            self._follow()
        except DetectorError as error:
            future.set_exception(DetectorUnavailable(str(error)))
            return future
        slot = self._pool.acquire()
        if self._segment is None or self.info is None or self._stream is None:
            future.set_exception(DetectorUnavailable("not connected to Triton"))
        elif slot is None:
            future.set_exception(self._no_slot())
        else:
            try:
                request = self._fill(self._segment, self.info, slot, frame)
            except BaseException:
                self._pool.release(slot)
                raise
            self._sent_s = time.monotonic()
            sent = _Sent(future, self._pool, slot, self.info, time.perf_counter())
            self._stream.send(request, partial(self._finish, sent))
        return future

    def _follow(self) -> None:
        """When answers come from another version: take it over, with slots of its size."""
        if self._left:
            self._close_left()
        newest = self._served.newest if self._served else self.info
        if newest is None or newest is self.info or self.info is None:
            return
        size = (self.info.network_height, self.info.network_width)
        if (newest.network_height, newest.network_width) != size and self._segment is not None:
            self._left.append((self._segment, self._pool))
            self._segment, self._pool = None, SlotPool(0)
            self._requests.clear()
            self._open_segment(newest)
        self.info = newest

    def server_times_ms(self) -> dict[str, dict[str, float]]:
        """Mean queue and compute time of the ensemble since the last call, as Triton reports them."""
        answer = self._call("ModelStatistics", pb.ModelStatisticsRequest(name=self.options.model))
        stats = [item.inference_stats for item in answer.model_stats]
        count = sum(item.success.count for item in stats)
        queue_ns = sum(item.queue.ns for item in stats)
        compute_ns = sum(
            item.compute_input.ns + item.compute_infer.ns + item.compute_output.ns for item in stats
        )
        before = self._statistics or (count, queue_ns, compute_ns)
        self._statistics = (count, queue_ns, compute_ns)
        if count <= before[0]:
            return {}
        requests = count - before[0]
        return {
            "triton_queue": {"mean": round((queue_ns - before[1]) / requests / 1e6, 3)},
            "triton_compute": {"mean": round((compute_ns - before[2]) / requests / 1e6, 3)},
        }

    def close(self) -> None:
        """Wait briefly for requests in flight, unregister by name, close the channel, free the slots."""
        deadline = time.monotonic() + 1.0
        if self._segment is not None:
            self._left.append((self._segment, self._pool))
        while not all(pool.idle for _, pool in self._left) and time.monotonic() < deadline:
            time.sleep(0.005)
        for segment, _ in self._left:
            self._unregister(segment)
        if self._stream is not None:
            self._stream.close()
        if self._channel is not None:
            self._channel.close()
        for segment, _ in self._left:
            segment.close()
        self._channel = self._stub = self._stream = self._segment = self.info = self._statistics = None
        self._served = None
        self._left.clear()
        self._requests.clear()
        self._pool = SlotPool(0)

    def _close_left(self) -> None:
        """Give up the slots of earlier versions that no request reads any more."""
        for segment, pool in [pair for pair in self._left if pair[1].idle]:
            self._left.remove((segment, pool))
            self._unregister(segment)
            segment.close()

    def _unregister(self, segment: Segment) -> None:
        try:
            close_region(segment, self._call)
        except DetectorError as error:
            log.info("camera %s: region not unregistered, the server is away: %s", self.camera, error)

    def _no_slot(self) -> DetectorError:
        """Late, or hanging? The slots of a server that hangs are lost; a new connection brings new ones."""
        waited_s = time.monotonic() - self._sent_s
        if waited_s > HANGING_S:
            return DetectorUnavailable(f"Triton at {self.options.url} has not answered for {waited_s:.0f} s")
        return DetectorTimeout("every slot waits for an answer of Triton")

    def _fill(self, segment: Segment, info: ModelInfo, slot: int, frame: Frame) -> pb.ModelInferRequest:
        picture = frame.picture
        width, height = fit_size(picture.width, picture.height, info.network_width, info.network_height)
        rows = height * 3 // 2
        started = time.perf_counter()
        write_picture(segment, slot, rows, width, picture)
        written = time.perf_counter()
        self._stages.observe("scale", picture.scale_s)
        self._stages.observe("write", written - started - picture.scale_s)
        return self._request(segment, slot, rows, width)

    def _finish(
        self, sent: _Sent, response: pb.ModelInferResponse | None, problem: DetectorError | None
    ) -> None:
        """Runs in the stream's thread when the request has ended, however it ended."""
        sent.pool.release(sent.slot)
        future, served = sent.future, self._served
        if not future.set_running_or_notify_cancel():
            return  # its deadline had passed; the slot is free again only now
        if response is None or served is None:
            problem = problem or DetectorUnavailable("no answer")
            future.set_exception(served.explain(problem, sent.info) if served else problem)
            return
        try:
            detections = parse_response(response, served.of(response.model_version))
        except DetectorError as error:
            future.set_exception(DetectorError(f"its version is unknown: {error}"))
        except (ValueError, KeyError, IndexError) as error:
            future.set_exception(DetectorMismatch(f"unusable answer of {self.options.model!r}: {error}"))
        else:
            self._stages.observe("infer", time.perf_counter() - sent.started_s)
            future.set_result(detections)

    def _request(self, segment: Segment, slot: int, rows: int, width: int) -> pb.ModelInferRequest:
        key = (slot, rows, width)
        request = self._requests.get(key)
        if request is None:
            if len(self._requests) >= 64:  # a camera that keeps changing its size
                self._requests.clear()
            request = self._requests[key] = self._build_request(segment, slot, rows, width)
        if isinstance(segment, HostSegment):
            request.ClearField("raw_input_contents")
            request.raw_input_contents.append(segment.view(slot, rows, width).tobytes())
        return request

    def _build_request(self, segment: Segment, slot: int, rows: int, width: int) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(model_name=self.options.model, id=f"{self._generation}-{slot}")
        if self.options.priority:
            request.parameters["priority"].uint64_param = self.options.priority
        tensor = request.inputs.add(name=INPUT, datatype="UINT8", shape=[1, rows, width])
        if not isinstance(segment, HostSegment):
            tensor.parameters["shared_memory_region"].string_param = segment.name
            tensor.parameters["shared_memory_offset"].int64_param = slot * segment.slot_bytes
            tensor.parameters["shared_memory_byte_size"].int64_param = rows * width
        for name in OUTPUTS:
            request.outputs.add(name=name)
        return request

    def _open_segment(self, info: ModelInfo) -> None:
        """The first transport that works, of those the configuration allows."""
        wanted = self.options.transport
        automatic = [Transport.CUDA] * has_gpu() + [Transport.SYSTEM, Transport.GRPC]
        kinds = automatic if wanted is Transport.AUTO else [wanted]
        self._generation += 1
        name = f"{segment_prefix(self.camera)}{os.getpid()}-{self._generation}"
        slots = self.options.in_flight + 1  # one more, so that a late answer does not stop the next frame
        slot_bytes = info.network_width * info.network_height * 3 // 2
        problems: list[str] = []
        for kind in kinds:
            try:
                self._segment = open_region(kind, name, slots, slot_bytes, self._call)
            except (SharedMemoryError, DetectorMismatch) as error:
                if wanted is not Transport.AUTO:
                    raise DetectorMismatch(f"transport {kind} cannot be used: {error}") from error
                problems.append(f"transport {kind} is not used: {error}")
                self._say_once(kind, problems[-1])
            else:
                self.transport, self.transport_message = kind, "; ".join(problems)
                self._pool = SlotPool(slots)
                return

    def _call(self, method: str, request: Any) -> Any:
        if self._stub is None:
            raise DetectorUnavailable("not connected to Triton")
        call: Callable[..., Any] = getattr(self._stub, method)
        try:
            return call(request, timeout=CONTROL_TIMEOUT_S)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
            if code in _REFUSALS or any(text in details for text in _RESTRICTED):
                raise DetectorMismatch(f"Triton at {self.options.url} refused {method}: {details}") from error
            raise DetectorUnavailable(f"Triton at {self.options.url}: {details}") from error

    def _say_once(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            log.warning("camera %s: %s", self.camera, text)


def parse_response(response: pb.ModelInferResponse, model: ModelInfo | None = None) -> Detections:
    """The boxes of one answer.

    Raises:
        ValueError: an output is missing or has another shape or type than the contract says.
    """
    contents = dict(zip((o.name for o in response.outputs), response.raw_output_contents, strict=True))
    count = int(np.frombuffer(contents["num_dets"], np.int32)[0])
    return check_detections(
        Detections(
            xyxy=np.frombuffer(contents["det_boxes"], np.float32).reshape(-1, 4)[:count],
            scores=np.frombuffer(contents["det_scores"], np.float32)[:count],
            class_ids=np.frombuffer(contents["det_classes"], np.int32)[:count],
            model=model,
        )
    )
