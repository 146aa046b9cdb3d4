"""The way to one Triton server: a channel, a stream on it, and the memory that the server still reads."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sightline.config import Transport, TritonOptions
from sightline.entities import ModelInfo
from sightline.errors import DetectorError, DetectorMismatch, DetectorUnavailable, SharedMemoryError
from sightline.inference.infer_stream import InferStream
from sightline.inference.leftovers import remove_abandoned
from sightline.inference.ring import Ring
from sightline.inference.segments import reclaim_regions

log = logging.getLogger(__name__)

CONTROL_TIMEOUT_S = 3.0
SWEEP_EVERY_S = 1.0
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # Reconnecting is decided here (see the worker), not hidden in the channel's own long back-off.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
)
#: Not a matter of time: the server will not do this.
_REFUSALS = {"INVALID_ARGUMENT", "INTERNAL", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"}
_RESTRICTED = "protocol is restricted"  # what a server says whose operator switched shared memory off


class TritonChannel:
    """One channel and one stream, which are made anew when they break. Any thread may use it."""

    def __init__(self, options: TritonOptions, owner: str) -> None:
        """Nothing is connected before :meth:`open`.

        The owner (the worker, a tool) names the memory shared with the server and the log's lines.
        """
        self.options = options
        self.owner = owner
        self._lock = threading.RLock()  # guards everything below
        self._channel: grpc.Channel | None = None
        self._stub: Any = None
        self._stream: InferStream | None = None
        self._retired: list[Ring] = []
        self._swept_s = -math.inf
        self._warned: set[tuple[Transport, type[Exception]]] = set()  # the text has how much room is left

    def close(self) -> None:
        """Unregister all memory by name, close the channel, and free the memory."""
        with self._lock:
            self.sweep(0)
            if self._stream is not None:
                self._stream.close()
            self.sweep(0)  # what a request still reads is given up now
            if self._retired:
                log.warning("%s: GPU memory that the server may still read is not freed", self.owner)
            if self._channel is not None:
                self._channel.close()
            self._channel = self._stub = self._stream = None

    def call(self, method: str, request: Any) -> Any:
        """One unary call; DetectorUnavailable when the server is away, DetectorMismatch when it refuses."""
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
            if code.name in _REFUSALS or _RESTRICTED in details:
                raise DetectorMismatch(f"Triton at {self.options.url} refused {method}: {details}") from error
            raise DetectorUnavailable(f"Triton at {self.options.url}: {details}") from error

    def open(self, model: str) -> InferStream:
        """The stream, made anew when there is none or it has broken.

        Raises a DetectorUnavailable when the server is away or ``model`` is not ready.
        """
        with self._lock:
            if self._stream is not None and self._stream.broken is not None:
                self._stream.close()
                self._stream = None
            if self._stream is None or self._channel is None:
                if self._channel is not None:
                    self._channel.close()
                self._channel = grpc.insecure_channel(self.options.url, options=_CHANNEL_OPTIONS)
                self._stub = GRPCInferenceServiceStub(self._channel)
            if not self.call("ModelReady", pb.ModelReadyRequest(name=model)).ready:
                raise DetectorUnavailable(f"Triton at {self.options.url}: {model!r} is not ready")
            stream = self._stream = self._stream or InferStream(self._channel)
            self.sweep(0)
            return stream

    def open_ring(
        self, kinds: Sequence[Transport], slots: int, info: ModelInfo, stream: InferStream
    ) -> tuple[Ring, Transport, str]:
        """A ring in the first kind of memory that works, its kind, and why it is not a better one.

        Raises a DetectorMismatch when none works, a DetectorUnavailable when the server is away.
        """
        problems: list[str] = []
        for kind in kinds:
            try:
                ring = Ring(kind, self.owner, slots, info, self.call, stream)
            except (SharedMemoryError, DetectorMismatch) as error:
                if kind is kinds[-1]:
                    raise DetectorMismatch(f"transport {kind} cannot be used: {error}") from error
                problems.append(f"transport {kind} is not used: {error}")
                if (about := (kind, type(error))) not in self._warned:
                    self._warned.add(about)
                    log.warning("%s: %s", self.owner, problems[-1])
            else:
                if kind is not Transport.GRPC:  # the server shares this machine's memory
                    try:
                        reclaim_regions(self.call)
                        remove_abandoned()
                    except DetectorError as error:
                        log.info("%s: regions of crashed workers stay registered: %s", self.owner, error)
                return ring, kind, "; ".join(problems)
        raise AssertionError("unreachable: the last kind is returned or raises")

    def retire(self, ring: Ring) -> None:
        """Give a ring's memory back as soon as no request reads it."""
        with self._lock:
            self._retired.append(ring)
            self.sweep(0)

    def sweep(self, every_s: float = SWEEP_EVERY_S) -> None:
        """Give back what retired rings still hold, if that is due; no cost when there are none."""
        if not self._retired or time.monotonic() < self._swept_s + every_s:
            return
        with self._lock:
            self._swept_s = time.monotonic()
            for ring in list(self._retired):
                try:
                    done = ring.give_up(self.call)
                except DetectorError as error:
                    log.info("%s: region not unregistered: %s", self.owner, error)
                    done = not ring.segment.read_in_place
                if done:
                    self._retired.remove(ring)
