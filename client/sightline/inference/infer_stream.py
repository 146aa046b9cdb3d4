"""Requests and answers over one gRPC stream: half the processor time of a call for each request."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from sightline.errors import DetectorError, DetectorTimeout, DetectorUnavailable

log = logging.getLogger(__name__)

#: Called once for a request, in the stream's thread: with the answer, or with why there is none.
OnEnd = Callable[[pb.ModelInferResponse | None, DetectorError | None], None]

_REFUSED_BY_QUEUE = ("maximum queue size", "timeout expired")
_GONE = ("shared memory region", "unknown model", "is not ready", "no available versions")


class InferStream:
    """A stream to one server, as long as it lasts.

    The main thread sends and closes; a thread of its own reads answers and calls whoever waits for them. When
    the stream breaks, everything that waits is told so, and so is every later request.
    """

    def __init__(self, stub: Any) -> None:
        self._outbox: queue.SimpleQueue[pb.ModelInferRequest | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the two below
        self._waiting: dict[str, OnEnd] = {}  # by request id, oldest first; bounded by the slots
        self._broken: DetectorError | None = None
        self._call = stub.ModelStreamInfer(iter(self._outbox.get, None))
        self._thread = threading.Thread(target=self._read, name="answers", daemon=True)
        self._thread.start()

    def send(self, request: pb.ModelInferRequest, on_end: OnEnd) -> None:
        """Send a request whose id no other request in flight has."""
        with self._lock:
            broken = self._broken
            if broken is None:
                self._waiting[request.id] = on_end
        if broken is None:
            self._outbox.put(request)
        else:
            on_end(None, broken)

    def close(self) -> None:
        """End the stream; what still waits is told that it was closed."""
        self._outbox.put(None)
        self._call.cancel()
        self._thread.join(timeout=5.0)

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._hand_over(answer)
            error = DetectorUnavailable("Triton ended the stream")
        except grpc.RpcError as problem:
            error = DetectorUnavailable(problem.details() or "the connection was lost")
        with self._lock:
            self._broken = error
            waiting, self._waiting = self._waiting, {}
        for on_end in waiting.values():
            on_end(None, error)

    def _hand_over(self, answer: pb.ModelStreamInferResponse) -> None:
        with self._lock:
            # Some refusals carry no id; answers come in the order of requests, so it is the oldest.
            key = answer.infer_response.id or next(iter(self._waiting), "")
            on_end = self._waiting.pop(key, None)
        if on_end is None:
            log.warning("an answer to no request that waits (id %r)", key)
        elif answer.error_message:
            on_end(None, classify(answer.error_message))
        else:
            on_end(answer.infer_response, None)


def classify(details: str) -> DetectorError:
    """Triton's refusals, told apart: late (drop the frame), gone (reconnect), or wrong (say so)."""
    if any(text in details for text in _REFUSED_BY_QUEUE):
        return DetectorTimeout(f"Triton's queue: {details}")
    if any(text in details.lower() for text in _GONE):
        return DetectorUnavailable(details)
    return DetectorError(details)
