"""The real detector: pictures into slots, one request that carries only names, boxes back.

Triton's own protocol is used directly: requests are built once for each run of slots and reused, and the
answer says when the server has let go of the slots.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from sightline.base.cuda import DevicePicture, has_gpu
from sightline.base.letterbox import undo_letterbox
from sightline.base.stats import StageTimes
from sightline.config import Transport, TritonOptions
from sightline.entities import SERVER_STAGES, Box, Detections, Frame, ModelInfo, check_detections
from sightline.errors import DetectorError, DetectorMismatch, DetectorTimeout, DetectorUnavailable
from sightline.inference.connection import TritonChannel
from sightline.inference.infer_stream import InferStream
from sightline.inference.model_versions import ModelVersions
from sightline.inference.ring import Ring

#: Without a free slot for so long: the server hangs or its host has vanished. gRPC's own keepalive would tell
#: the latter only, and Triton closes connections that ping while a camera is away.
HANGING_S = 8.0
CLOSE_S = 1.0  # for answers to what is in flight


class TritonConnection(TritonChannel):
    """A process's connection to one server, for all of its models. Any thread may use it."""

    def __init__(self, options: TritonOptions, owner: str) -> None:
        """Nothing is connected yet: :meth:`ServedDetector.connect` does that; see :class:`TritonChannel`."""
        super().__init__(options, owner)
        self._detectors: dict[str, ServedDetector] = {}

    def __enter__(self) -> "TritonConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def model(
        self, name: str = "", *, slots: int | None = None, priority: int | None = None
    ) -> "ServedDetector":
        """A served detector; the same one for the same name, so that all cameras share its slots.

        Args:
            name: of the model; by default the options'.
            slots: pictures written or in flight at once; by default enough for one camera.
            priority: in the server's queue, 1 before 2; by default the options'.
        """
        options, name = self.options, name or self.options.model
        with self._lock:
            if name not in self._detectors:
                # One slot more than requests, so that a late answer does not stop the next frame.
                slots = options.in_flight + 1 if slots is None else slots
                priority = options.priority if priority is None else priority
                self._detectors[name] = ServedDetector(self, name, slots, priority)
            return self._detectors[name]

    def forget(self, detector: "ServedDetector") -> None:
        """Its user has closed it: the next :meth:`model` of its name is another one."""
        with self._lock:
            if self._detectors.get(detector.name) is detector:
                del self._detectors[detector.name]

    def close(self) -> None:
        """Wait briefly for what is in flight, unregister all memory by name, close the channel, free it."""
        with self._lock:
            detectors = [*self._detectors.values()]
        for detector in detectors:
            detector.close()
        super().close()


@dataclass(slots=True)
class _Request:
    """A run of slots on its way to the server and back."""

    ring: Ring
    info: ModelInfo  # of the version that it is made for
    run: range
    futures: Sequence[Future[Detections]]  # one for each picture
    stages: Sequence[StageTimes]
    boxes: list[Box] = field(default_factory=list)  # where in the network's input each picture lies
    started_s: float = 0.0


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
        self.batch_size: float | None = None  # pictures at once, mean, as Triton last reported it
        self._statistics: list[int] | None = None

    def connect(self) -> ModelInfo:
        """Connect, read what the model says of itself, and make and register the slots.

        May be called again at any time: what works is left as it is.

        Raises:
            DetectorUnavailable: the server is away or the model is not ready; try again later.
            DetectorMismatch: the model or the transport is not what the configuration asks for.
        """
        with self._lock:
            ring = self._ring
            if self.info is not None and ring is not None and not self._lost and ring.stream.broken is None:
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
                request = _Request(ring, info, run, futures[begin:end], stages[begin:end])
                self._send(request, frames[begin:end])
                begin = end
            if begin < len(frames):
                # Late, or hanging? A hanging server's slots are lost; a new connection brings new ones.
                waited_s = time.monotonic() - self._sent_s
                late: DetectorError = DetectorTimeout("every slot waits for an answer of Triton")
                if waited_s > HANGING_S:
                    url = self._connection.options.url
                    late = DetectorUnavailable(f"Triton at {url} has not answered for {waited_s:.0f} s")
                    ring.stream.close(str(late))
                _fail(futures[begin:], late)
        return futures

    def resize(self, slots: int) -> None:
        """Hold so many slots from the next frames on: cameras have come or gone."""
        with self._lock:
            self._slots = slots

    def server_times_ms(self) -> dict[str, dict[str, float]]:
        """Mean queue and compute time of the model since the last call, as Triton reports them.

        Of a model that answers from threads of its own the compute time is left out: Triton takes the handing
        over for it.

        Raises:
            DetectorError: the server is away.
        """
        answer = self._connection.call("ModelStatistics", pb.ModelStatisticsRequest(name=self.name))
        stats = [item.inference_stats for item in answer.model_stats]
        now = [
            sum(item.success.count for item in stats),
            sum(item.inference_count for item in answer.model_stats),
            sum(item.execution_count for item in answer.model_stats),
            sum(item.queue.ns for item in stats),
            sum(item.compute_input.ns + item.compute_infer.ns + item.compute_output.ns for item in stats),
        ]
        before, self._statistics = self._statistics or now, now
        requests, pictures, runs, *spent_ns = (a - b for a, b in zip(now, before, strict=True))
        if requests <= 0:
            return {}
        self.batch_size = round(pictures / runs, 2) if runs > 0 else None
        names = SERVER_STAGES[:1] if self.info and self.info.answers_later else SERVER_STAGES
        return {n: {"mean": round(ns / requests / 1e6, 3)} for n, ns in zip(names, spent_ns, strict=False)}

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
        if self._lost or ring.stream.broken is not None:
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

    def _send(self, request: _Request, frames: Sequence[Frame]) -> None:
        """Write frames into the slots and send them."""
        ring, futures, stages, boxes = request.ring, request.futures, request.stages, request.boxes
        for index, (slot, frame) in enumerate(zip(request.run, frames, strict=True)):
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
            ring.release(request.run)
            return
        request_id, data = ring.request(request.run, self._priority)
        self._sent_s, request.started_s = time.monotonic(), time.perf_counter()
        ring.stream.send(request_id, data, partial(self._finish, request))

    def _finish(
        self, request: _Request, response: pb.ModelInferResponse | None, error: DetectorError | None
    ) -> None:
        """Runs in the stream's thread when a request has ended, however it ended."""
        ring, futures = request.ring, request.futures
        if ring.stream.broken is None:  # else nobody knows whether the server still reads the slots
            ring.release(request.run)
        versions = self._versions
        if response is None or versions is None:
            error = error or DetectorUnavailable("no answer")
            if isinstance(error, DetectorUnavailable) and ring is self._ring:
                self._lost = True
            _fail(futures, versions.outdated_or(error, request.info) if versions else error)
            return
        try:
            info = versions.info(response.model_version)
            rows = list(parse_response(response, request.boxes, ring.network, info))
        except DetectorError as problem:
            _fail(futures, DetectorError(f"its version is unknown: {problem}"))
        except (ValueError, KeyError, IndexError) as problem:
            _fail(futures, DetectorMismatch(f"unusable answer of {self.name!r}: {problem}"))
        else:
            took_s = time.perf_counter() - request.started_s
            for stage in request.stages:
                stage.observe("infer", took_s)
            for future, detections in zip(futures, rows, strict=True):
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
