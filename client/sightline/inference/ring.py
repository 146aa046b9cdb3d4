"""The slots of one model: pictures in the form that the network takes, and the requests that name them.

Slots have no gaps between them, so neighbouring ones travel as one request. A slot that a request reads is
never written to: it is free again when the server has answered.
"""

import math
import time

from tritonclient.grpc import service_pb2 as pb

from sightline.base.cuda import DevicePicture
from sightline.base.letterbox import fill_border, fit_box
from sightline.config import Transport
from sightline.entities import Box, ModelInfo, Picture
from sightline.inference.infer_stream import InferStream
from sightline.inference.segments import Call, CudaSegment, open_segment

INPUT = "frame"
OUTPUTS = ("num_dets", "det_boxes", "det_scores", "det_classes")
#: After the server has let go of a region, a request of a connection that broke may still be at work on it.
SETTLE_S = 5.0


class Ring:
    """Slots for pictures of one network's size: one thread at a time acquires and writes, any releases."""

    def __init__(
        self, kind: Transport, owner: str, slots: int, info: ModelInfo, call: Call, stream: InferStream
    ) -> None:
        """Make the slots that a model reads and register them, as :func:`open_segment` does.

        Requests will travel on ``stream``; the ring lasts no longer than it.
        """
        self.network = info.network_height, info.network_width
        self.slots = slots
        self.stream = stream
        self._shape = info.network_height * 3 // 2, info.network_width
        self._model = info.name
        self.segment = open_segment(kind, owner, slots, self._shape, call)
        self._free = bytearray(b"\1" * slots)
        self._boxes: list[Box | None] = [None] * slots  # what lies in the border's middle, host memory
        self._device_boxes: list[Box | None] = [None] * slots  # the same on the GPU
        self._requests: dict[range, tuple[str, bytes]] = {}
        self._settled_s = math.inf  # when memory that the server reads in place may be freed

    def acquire(self, count: int, longest: int) -> list[range]:
        """Take up to ``count`` free slots, as runs of at most ``longest`` neighbours."""
        runs = []
        while count > 0:
            length = min(count, longest)
            while (first := self._free.find(b"\1" * length)) < 0 and length:
                length -= 1
            if not length:
                break
            runs.append(range(first, first + length))
            self._free[first : first + length] = bytes(length)
            count -= length
        return runs

    def release(self, run: range) -> None:
        """Give slots back, once the request that read them has ended at the server."""
        self._free[run.start : run.stop] = b"\1" * len(run)

    @property
    def idle(self) -> bool:
        """True when no request reads a slot."""
        return 0 not in self._free

    def write(self, slot: int, picture: Picture) -> Box:
        """Scale a picture into an acquired slot, on grey; gives where in the network's input it lies.

        That happens on the GPU when both are there.
        """
        box = fit_box(picture.width, picture.height, self.network)
        segment = self.segment
        if isinstance(segment, CudaSegment) and isinstance(picture, DevicePicture):
            border = self._device_boxes[slot] != box
            self._device_boxes[slot] = box
            picture.write_device(segment.address(slot), *self._shape, segment.device, box, border=border)
            return box
        view = segment.view(slot)
        if self._boxes[slot] != box:
            fill_border(view, box)
            self._boxes[slot] = box
        picture.write_i420(view, box)
        segment.flush(slot)
        self._device_boxes[slot] = box
        return box

    def request(self, run: range, priority: int) -> tuple[str, bytes]:
        """The id and the serialized ModelInferRequest for the pictures in a run of written slots.

        The priority in the model's queue (0: its default) is the same each time.
        """
        if run in self._requests:
            return self._requests[run]
        in_request = not self.segment.kind
        request = pb.ModelInferRequest(
            model_name=self._model, id=f"{self.segment.name}/{run.start}+{len(run)}"
        )
        if priority:
            request.parameters["priority"].uint64_param = priority
        tensor = request.inputs.add(name=INPUT, datatype="UINT8", shape=[len(run), *self._shape])
        if in_request:
            request.raw_input_contents.append(b"".join(self.segment.view(slot).tobytes() for slot in run))
        else:
            size = math.prod(self._shape)
            tensor.parameters["shared_memory_region"].string_param = self.segment.name
            tensor.parameters["shared_memory_offset"].int64_param = run.start * size
            tensor.parameters["shared_memory_byte_size"].int64_param = len(run) * size
        for name in OUTPUTS:
            request.outputs.add(name=name)
        built = request.id, request.SerializeToString()
        if not in_request:
            self._requests[run] = built
        return built

    def give_up(self, call: Call) -> bool:
        """Unregister and free as far as that is safe now; True once nothing is left.

        Memory that the server reads in place is freed when it has confirmed that it has let go of it and no
        request can be at work on it; while the server is away it stays, and a DetectorError is raised.
        """
        broken = self.stream.broken is not None
        if not self.idle and not broken:
            return False
        try:
            if self.segment.registered:
                self.segment.unregister(call)
                self._settled_s = time.monotonic() + (0.0 if self.idle else SETTLE_S)
        finally:
            done = not self.segment.read_in_place or time.monotonic() >= self._settled_s
            if done:
                self.segment.close()
        return done
