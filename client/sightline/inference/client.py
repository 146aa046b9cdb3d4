"""The real detector: pictures into slots, one request that carries only names, boxes back.

Triton's own protocol is used directly: requests are built once for each run of slots and reused, and the
answer says when the server has let go of the slots.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sightline.base.cuda import DevicePicture, has_gpu
from sightline.base.letterbox import undo_letterbox
from sightline.base.stats import StageTimes
from sightline.config import Transport, TritonOptions
from sightline.entities import Box, Detections, Frame, ModelInfo, check_detections
from sightline.errors import (
    DetectorError,
    DetectorMismatch,
    DetectorTimeout,
    DetectorUnavailable,
    SharedMemoryError,
)
from sightline.inference.infer_stream import InferStream
from sightline.inference.leftovers import remove_abandoned
from sightline.inference.model_versions import ModelVersions
from sightline.inference.ring import Ring
from sightline.inference.segments import reclaim_regions

log = logging.getLogger(__name__)

CONTROL_TIMEOUT_S = 3.0
#: Without a free slot for so long: the server hangs or its host has vanished. gRPC's own keepalive would tell
#: the latter only, and Triton closes connections that ping while a camera is away.
HANGING_S = 8.0
SWEEP_EVERY_S = 1.0
CLOSE_S = 1.0  # for answers to what is in flight
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


class TritonConnection:
    """A process's connection to one server: one channel and one stream for all of its models.

    Any thread may use it.
    """

    def __init__(self, options: TritonOptions, owner: str) -> None:
        """Nothing is connected yet: :meth:`ServedDetector.connect` does that.

        Args:
            options: where the server is and how pictures reach it.
            owner: names the memory shared with the server and the log's lines: the worker, a tool.
        """
        self.options = options
        self.owner = owner
        self._lock = threading.RLock()  # guards everything below
        self._channel: grpc.Channel | None = None
        self._stub: Any = None
        self._stream: InferStream | None = None
        self._detectors: list[ServedDetector] = []
        self._retired: list[Ring] = []
        self._next_sweep_s = 0.0
        self._warned: set[str] = set()

    def __enter__(self) -> TritonConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def model(
        self, name: str = "", *, slots: int | None = None, priority: int | None = None
    ) -> ServedDetector:
        """A served detector; the same one for the same name, so that all cameras share its slots.

        Args:
            name: of the model; by default the options'.
            slots: pictures written or in flight at once; by default enough for one camera.
            priority: in the server's queue, 1 before 2; by default the options'.
        """
        name = name or self.options.model
        with self._lock:
            for detector in self._detectors:
                if detector.name == name:
                    return detector
            # One slot more than requests, so that a late answer does not stop the next frame.
            slots = self.options.in_flight + 1 if slots is None else slots
            detector = ServedDetector(
                self, name, slots, self.options.priority if priority is None else priority
            )
            self._detectors.append(detector)
            return detector

    def close(self) -> None:
        """Wait briefly for what is in flight, unregister all memory by name, close the channel, free it."""
        with self._lock:
            detectors, self._detectors = self._detectors, []
        for detector in detectors:
            detector.close()
        with self._lock:
            self._sweep()
            if self._stream is not None:
                self._stream.close()
            self._sweep()  # what a request still reads is given up now
            if self._retired:
                log.warning("%s: GPU memory that the server may still read is not freed", self.owner)
            if self._channel is not None:
                self._channel.close()
            self._channel = self._stub = self._stream = None

    def call(self, method: str, request: Any) -> Any:
        """One unary call.

        Raises:
            DetectorUnavailable: the server is away.
            DetectorMismatch: it refuses.
        """
        stub = self._stub
        if stub is None:
            raise DetectorUnavailable("not connected to Triton")
        remote: Callable[..., Any] = getattr(stub, method)
        try:
            return remote(request, timeout=CONTROL_TIMEOUT_S)
        except ValueError as error:  # another thread has closed the channel
            raise DetectorUnavailable(f"Triton at {self.options.url}: {error}") from error
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
            if code in _REFUSALS or any(text in details for text in _RESTRICTED):
                raise DetectorMismatch(f"Triton at {self.options.url} refused {method}: {details}") from error
            raise DetectorUnavailable(f"Triton at {self.options.url}: {details}") from error

    def open(self, model: str) -> InferStream:
        """The stream; a new channel and a new stream when there is none or it has broken.

        Raises:
            DetectorUnavailable: the server is away or ``model`` is not ready.
        """
        with self._lock:
            if self._stream is not None and self._stream.broken is not None:
                self._stream.close()
                self._stream = None
            if self._stream is None:
                if self._channel is not None:
                    self._channel.close()
                self._channel = grpc.insecure_channel(self.options.url, options=_CHANNEL_OPTIONS)
                self._stub = GRPCInferenceServiceStub(self._channel)
            if not self.call("ModelReady", pb.ModelReadyRequest(name=model)).ready:
                raise DetectorUnavailable(f"Triton at {self.options.url}: {model!r} is not ready")
            if self._stream is None and self._channel is not None:
                self._stream = InferStream(self._channel)
            self._sweep()
            assert self._stream is not None  # noqa: S101  made above
            return self._stream

    def open_ring(
        self, kinds: Sequence[Transport], slots: int, info: ModelInfo, stream: InferStream
    ) -> tuple[Ring, Transport, str]:
        """A ring in the first kind of memory that works, its kind, and why it is not a better one.

        Raises:
            DetectorMismatch: none works.
            DetectorUnavailable: the server is away.
        """
        problems: list[str] = []
        for kind in kinds:
            try:
                ring = Ring(kind, self.owner, slots, info, self.call, stream)
            except (SharedMemoryError, DetectorMismatch) as error:
                if kind is kinds[-1]:
                    raise DetectorMismatch(f"transport {kind} cannot be used: {error}") from error
                problems.append(f"transport {kind} is not used: {error}")
                self._warn_once(problems[-1])
            else:
                if kind is not Transport.GRPC:  # the server shares this machine's memory
                    self._reclaim()
                return ring, kind, "; ".join(problems)
        raise AssertionError("unreachable: the last kind is returned or raises")

    def retire(self, ring: Ring) -> None:
        """Give a ring's memory back as soon as no request reads it."""
        with self._lock:
            self._retired.append(ring)
            self._sweep()

    def sweep(self) -> None:
        """Give back what retired rings still hold, at most once a second; no cost when there are none."""
        if self._retired and time.monotonic() >= self._next_sweep_s:
            with self._lock:
                self._sweep()

    def forget(self, detector: ServedDetector) -> None:
        """Its user has closed it: the next :meth:`model` of its name is another one."""
        with self._lock:
            if detector in self._detectors:
                self._detectors.remove(detector)

    def _sweep(self) -> None:
        self._next_sweep_s = time.monotonic() + SWEEP_EVERY_S
        for ring in list(self._retired):
            try:
                done = ring.give_up(self.call)
            except DetectorError as error:
                log.info("%s: region not unregistered: %s", self.owner, error)
                done = not ring.segment.read_in_place
            if done:
                self._retired.remove(ring)

    def _reclaim(self) -> None:
        try:
            reclaim_regions(self.call)
        except DetectorError as error:
            log.info("%s: regions of crashed workers stay registered: %s", self.owner, error)
        else:
            remove_abandoned()

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s: %s", self.owner, text)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request on its way."""

    futures: Sequence[Future[Detections]]  # one for each picture
    boxes: Sequence[Box]  # where in the network's input it lies
    stages: Sequence[StageTimes]
    ring: Ring
    run: range
    info: ModelInfo  # of the version that it was made for
    started_s: float


class ServedDetector:
    """One model of the server, with one ring of slots for all cameras of the process.

    Any thread may call it, one at a time gets in; gRPC's thread completes requests. After a
    :class:`DetectorUnavailable` its user calls :meth:`connect` again; slots and registrations are then made
    anew under a new name, so a request that is still running somewhere never sees a reused slot.

    Attributes:
        name: of the model.
        info: the version that the next frames are made for; None while not connected.
        transport: how pictures reach the server.
        transport_message: why not by a better way.
    """

    def __init__(self, connection: TritonConnection, name: str, slots: int, priority: int) -> None:
        self.name = name
        self.info: ModelInfo | None = None
        self.transport: Transport = connection.options.transport
        self.transport_message = ""
        self._connection = connection
        self._slots = slots
        self._priority = priority
        self._lock = threading.RLock()
        self._ring: Ring | None = None
        self._versions: ModelVersions | None = None
        self._lost = False  # an answer said that all must be made anew
        automatic = self.transport is Transport.AUTO
        self._kinds = [Transport.SYSTEM, Transport.GRPC] if automatic else [self.transport]
        # CUDA comes first once a picture lies on the GPU: before that its context is not worth its memory.
        self._may_use_gpu = automatic and has_gpu()
        self._sent_s = 0.0
        self._statistics: tuple[int, int, int] | None = None

    def connect(self) -> ModelInfo:
        """Connect, read what the model says of itself, and make and register the slots.

        May be called again at any time: what works is left as it is.

        Raises:
            DetectorUnavailable: the server is away or the model is not ready; try again later.
            DetectorMismatch: the model or the transport is not what the configuration asks for.
        """
        with self._lock:
            if self.info is not None and self._ring is not None and not self._is_lost(self._ring):
                return self.info
            self._drop_ring()
            stream = self._connection.open(self.name)
            self._versions = ModelVersions(self.name, self._connection.call)
            self._lost = False
            self._open_ring(self._versions.newest, stream)
            self.info = self._versions.newest
            return self.info

    def submit(self, frames: Sequence[Frame], stages: Sequence[StageTimes] = ()) -> list[Future[Detections]]:
        """Write frames of any cameras into free slots and start inference; see :class:`Detector`."""
        futures: list[Future[Detections]] = [Future() for _ in frames]
        with self._lock:
            try:
                ring, info = self._ready_ring(frames)
            except DetectorError as error:
                _fail(futures, DetectorUnavailable(str(error)))
                return futures
            begin = 0
            for run in ring.acquire(len(frames), info.max_batch):
                end = begin + len(run)
                self._send(ring, info, run, frames[begin:end], futures[begin:end], stages[begin:end])
                begin = end
            if begin < len(frames):
                _fail(futures[begin:], self._no_slot(ring))
        return futures

    def resize(self, slots: int) -> None:
        """Hold so many slots from the next frames on: cameras have come or gone."""
        with self._lock:
            self._slots = slots

    def server_times_ms(self) -> dict[str, dict[str, float]]:
        """Mean queue and compute time of the model since the last call, as Triton reports them.

        Raises:
            DetectorError: the server is away.
        """
        answer = self._connection.call("ModelStatistics", pb.ModelStatisticsRequest(name=self.name))
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
        """Wait briefly for requests in flight and give the slots back; the connection stays."""
        with self._lock:
            ring, self.info = self._ring, None
            deadline = time.monotonic() + CLOSE_S
            while ring is not None and not ring.idle and time.monotonic() < deadline:
                if ring.stream.broken is not None:
                    break
                time.sleep(0.005)
            self._drop_ring()
        self._connection.forget(self)

    def _ready_ring(self, frames: Sequence[Frame]) -> tuple[Ring, ModelInfo]:
        """The ring for the next frames: of the version that serves now, of the size and kind asked for."""
        ring, versions = self._ring, self._versions
        if ring is None or self.info is None or versions is None:
            raise DetectorUnavailable("not connected to Triton")
        if self._is_lost(ring):
            raise ring.stream.broken or DetectorUnavailable("Triton has lost the model or the memory")
        self._connection.sweep()
        newest = versions.newest
        anew = self._may_use_gpu and any(isinstance(frame.picture, DevicePicture) for frame in frames)
        if anew:
            self._kinds, self._may_use_gpu = [Transport.CUDA, *self._kinds], False
        if anew or ring.slots != self._slots or ring.network != (newest.network_height, newest.network_width):
            self._drop_ring()
            ring = self._open_ring(newest, ring.stream)
        self.info = newest
        return ring, newest

    def _open_ring(self, info: ModelInfo, stream: InferStream) -> Ring:
        self._ring, self.transport, self.transport_message = self._connection.open_ring(
            self._kinds, self._slots, info, stream
        )
        return self._ring

    def _drop_ring(self) -> None:
        if self._ring is not None:
            self._connection.retire(self._ring)
            self._ring = None

    def _is_lost(self, ring: Ring) -> bool:
        return self._lost or ring.stream.broken is not None

    def _no_slot(self, ring: Ring) -> DetectorError:
        """Late, or hanging? The slots of a server that hangs are lost; a new connection brings new ones."""
        waited_s = time.monotonic() - self._sent_s
        if waited_s <= HANGING_S:
            return DetectorTimeout("every slot waits for an answer of Triton")
        why = f"Triton at {self._connection.options.url} has not answered for {waited_s:.0f} s"
        ring.stream.close(why)
        return DetectorUnavailable(why)

    def _send(
        self,
        ring: Ring,
        info: ModelInfo,
        run: range,
        frames: Sequence[Frame],
        futures: Sequence[Future[Detections]],
        stages: Sequence[StageTimes],
    ) -> None:
        """Write frames into a run of slots and send it."""
        boxes: list[Box] = []
        for index, (slot, frame) in enumerate(zip(run, frames, strict=True)):
            started = time.perf_counter()
            try:
                boxes.append(ring.write(slot, frame.picture))
            except Exception as error:  # noqa: BLE001  this frame's alone; its neighbours are sent
                futures[index].set_exception(error)
                boxes.append((0, 0, 2, 2))
                continue
            if stages:
                scale_s = frame.picture.scale_s
                stages[index].observe("scale", scale_s)
                stages[index].observe("write", time.perf_counter() - started - scale_s)
        if all(future.done() for future in futures):
            ring.release(run)
            return
        request_id, request = ring.request(run, self._priority)
        self._sent_s = time.monotonic()
        sent = _Sent(futures, boxes, stages, ring, run, info, time.perf_counter())
        ring.stream.send(request_id, request, partial(self._finish, sent))

    def _finish(
        self, sent: _Sent, response: pb.ModelInferResponse | None, error: DetectorError | None
    ) -> None:
        """Runs in the stream's thread when a request has ended, however it ended."""
        if sent.ring.stream.broken is None:  # else nobody knows whether the server still reads the slots
            sent.ring.release(sent.run)
        versions = self._versions
        if response is None or versions is None:
            error = error or DetectorUnavailable("no answer")
            if isinstance(error, DetectorUnavailable) and sent.ring is self._ring:
                self._lost = True
            _fail(sent.futures, versions.outdated_or(error, sent.info) if versions else error)
            return
        try:
            info = versions.info(response.model_version)
            rows = list(parse_response(response, sent.boxes, sent.ring.network, info))
        except DetectorError as problem:
            _fail(sent.futures, DetectorError(f"its version is unknown: {problem}"))
        except (ValueError, KeyError, IndexError) as problem:
            _fail(sent.futures, DetectorMismatch(f"unusable answer of {self.name!r}: {problem}"))
        else:
            took_s = time.perf_counter() - sent.started_s
            for stage in sent.stages:
                stage.observe("infer", took_s)
            for future, detections in zip(sent.futures, rows, strict=True):
                if not future.done() and future.set_running_or_notify_cancel():
                    future.set_result(detections)


def _fail(futures: Sequence[Future[Detections]], error: DetectorError) -> None:
    """End the futures that still wait: a request's error belongs to each of its frames."""
    for future in futures:
        if not future.done() and future.set_running_or_notify_cancel():
            future.set_exception(error)


def parse_response(
    response: pb.ModelInferResponse, boxes: Sequence[Box], network: tuple[int, int], model: ModelInfo | None
) -> Iterator[Detections]:
    """The boxes of each picture of one answer, in 0..1 of the picture.

    Args:
        response: the four outputs, for as many pictures as were sent.
        boxes: where in the network's input each picture lies.
        network: height and width of that input.
        model: the version that answered.

    Raises:
        ValueError: an output is missing or has another shape or type than the contract says.
    """
    contents = dict(zip((o.name for o in response.outputs), response.raw_output_contents, strict=True))
    counts = np.frombuffer(contents["num_dets"], np.int32)
    if len(counts) != len(boxes):
        raise ValueError(f"{len(boxes)} pictures were sent, {len(counts)} answered")
    xyxy = np.frombuffer(contents["det_boxes"], np.float32).reshape(len(boxes), -1, 4)
    scores = np.frombuffer(contents["det_scores"], np.float32).reshape(len(boxes), -1)
    class_ids = np.frombuffer(contents["det_classes"], np.int32).reshape(len(boxes), -1)
    for index, (count, box) in enumerate(zip(counts.tolist(), boxes, strict=True)):
        yield check_detections(
            Detections(
                undo_letterbox(xyxy[index, :count], box, network),
                scores[index, :count],
                class_ids[index, :count],
                model,
            )
        )
