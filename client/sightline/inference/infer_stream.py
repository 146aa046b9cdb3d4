"""Requests and answers over one gRPC stream: half the processor time of a call for each request."""

import logging
import queue
import threading
from collections.abc import Callable

import grpc
from tritonclient.grpc import service_pb2 as pb

from sightline.errors import DetectorError, DetectorTimeout, DetectorUnavailable

log = logging.getLogger(__name__)

#: Called once for each request, in the stream's thread: with the answer, or with why there is none.
Callback = Callable[[pb.ModelInferResponse | None, DetectorError | None], None]

_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
_REFUSED_BY_QUEUE = ("maximum queue size", "timeout expired")
_GONE = ("shared memory region", "unknown model", "is not ready", "no available versions")


class InferStream:
    """A stream to one server, for as long as it lasts.

    Any thread sends and closes; a thread of its own reads answers and calls back. When the stream breaks,
    every request in flight and every later one ends with the error.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the two below
        self._waiting: dict[str, Callback] = {}  # by request id, oldest first; bounded by the slots
        #: Why nothing can be sent any more; set before the first callback learns of it.
        self.broken: DetectorError | None = None
        # Requests are built once and kept as bytes, so they need no serializer.
        call = channel.stream_stream(
            _METHOD, request_serializer=None, response_deserializer=pb.ModelStreamInferResponse.FromString
        )
        self._call = call(iter(self._outbox.get, None))
        self._thread = threading.Thread(target=self._read, name="answers", daemon=True)
        self._thread.start()

    def send(self, request_id: str, request: bytes, callback: Callback) -> None:
        """Send a serialized ModelInferRequest whose id no other request in flight has."""
        with self._lock:
            broken = self.broken
            if broken is None:
                self._waiting[request_id] = callback
        if broken is None:
            self._outbox.put(request)
        else:
            callback(None, broken)

    def close(self, why: str = "the connection was closed") -> None:
        """End the stream; requests in flight end with the error ``why``."""
        self._break(DetectorUnavailable(why))
        self._outbox.put(None)
        self._call.cancel()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)

    def _read(self) -> None:
        try:
            for answer in self._call:
                with self._lock:
                    # Some refusals carry no id; answers come in the order of requests, so it is the oldest.
                    key = answer.infer_response.id or next(iter(self._waiting), "")
                    callback = self._waiting.pop(key, None)
                if callback is None:
                    if self.broken is None:
                        log.warning("an answer to no request in flight (id %r)", key)
                elif answer.error_message:
                    callback(None, error_of(answer.error_message))
                else:
                    callback(answer.infer_response, None)
            error = DetectorUnavailable("Triton ended the stream")
        except grpc.RpcError as problem:
            error = DetectorUnavailable(problem.details() or "the connection was lost")
        self._break(error)

    def _break(self, error: DetectorError) -> None:
        with self._lock:
            self.broken = self.broken or error
            waiting, self._waiting = self._waiting, {}
        for callback in waiting.values():
            callback(None, error)


def error_of(details: str) -> DetectorError:
    """Triton's refusals by kind: late (drop the frame), gone (reconnect), or wrong (report it)."""
    if any(text in details for text in _REFUSED_BY_QUEUE):
        return DetectorTimeout(f"Triton's queue: {details}")
    if any(text in details.lower() for text in _GONE):
        return DetectorUnavailable(details)
    return DetectorError(details)
