"""The client against a stand-in for the server: slots, borders, batches, regions, and who frees what when."""

import ctypes
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from sightline.base.letterbox import split_i420
from sightline.base.stats import StageTimes
from sightline.config import Transport, TritonOptions
from sightline.entities import U8, Box, Detections
from sightline.errors import (
    DetectorError,
    DetectorMismatch,
    DetectorTimeout,
    DetectorUnavailable,
    SharedMemoryError,
)
from sightline.inference import client, ring
from sightline.inference.client import ServedDetector, TritonConnection
from sightline.inference.leftovers import PREFIX, SHM_FOLDER, is_abandoned
from support.fake_cuda import FakeCuda
from support.fake_triton import SHAPE, FakeTriton
from support.fakes import GreyPicture, frame
from support.waiting import until

WAIT_S = 5.0
Connect = Callable[..., TritonConnection]


class OnGpu(GreyPicture):
    """A picture that writes its level into the GPU's memory."""

    def write_device(
        self, address: int, rows: int, width: int, device: int, box: Box, *, border: bool
    ) -> None:
        ctypes.memset(address, self.level, rows * width)


@pytest.fixture
def server() -> Iterator[FakeTriton]:
    with FakeTriton() as server:
        yield server


@pytest.fixture
def connection(server: FakeTriton) -> Iterator[Connect]:
    connections = []

    def connect(owner: str = "worker", **options: object) -> TritonConnection:
        connections.append(TritonConnection(TritonOptions(url=server.url, **options), owner))
        return connections[-1]

    yield connect
    for one in connections:
        one.close()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """A GPU that is none."""
    runtime = FakeCuda()
    monkeypatch.setattr("sightline.base.cuda.import_module", lambda _: runtime)
    monkeypatch.setattr(client, "has_gpu", lambda: True)
    return runtime


def connected(connection: TritonConnection, **options: object) -> ServedDetector:
    detector = connection.model(**options)  # type: ignore[arg-type]
    detector.connect()
    return detector


def frames(*pictures: GreyPicture) -> list:
    return [frame(index, 0.0, picture) for index, picture in enumerate(pictures)]


def detect(detector: ServedDetector, *pictures: GreyPicture) -> list[Detections]:
    return [future.result(WAIT_S) for future in detector.submit(frames(*pictures))]


def test_a_picture_lies_on_grey_and_its_boxes_come_back_in_its_own_terms(
    server: FakeTriton, connection: Connect
) -> None:
    sent: list[U8] = []
    server.answer = lambda picture: sent.append(picture.copy()) or [(0.25, 0.25, 0.75, 0.75)]  # type: ignore[func-returns-value]
    detector = connected(connection(), slots=1)
    for size, box in (((96, 32), (0, 16, 96, 32)), ((32, 64), (32, 0, 32, 64)), ((96, 64), (0, 0, 96, 64))):
        [found] = detect(detector, GreyPicture(*size, level=200))
        left, top, width, height = box
        planes = split_i420(sent[-1])
        for plane, grey, unit in zip(planes, (114, 128, 128), (1, 2, 2), strict=True):
            wanted = np.full(plane.shape, grey)
            wanted[top // unit : (top + height) // unit, left // unit : (left + width) // unit] = 200
            np.testing.assert_array_equal(plane, wanted)
        x, y = (24 - left) / width, (16 - top) / height
        np.testing.assert_allclose(found.xyxy[0], np.clip([x, y, 1 - x, 1 - y], 0, 1), atol=1e-6)


def test_frames_of_several_cameras_travel_as_one_request_and_get_their_own_boxes(
    server: FakeTriton, connection: Connect
) -> None:
    server.answer = lambda picture: [(0, 0, picture[32, 48] / 255, 1)] * (picture[32, 48] // 50)
    detector = connected(connection(), slots=6)
    stages = [StageTimes(("scale", "write", "infer")) for _ in range(4)]
    pictures = [GreyPicture(96, 64, level) for level in (50, 100, 150, 200)]
    futures = detector.submit(frames(*pictures), stages)
    answers = [future.result(WAIT_S) for future in futures]
    assert [len(one) for one in answers] == [1, 2, 3, 4]
    assert [one.xyxy[0, 2] for one in answers] == pytest.approx(
        [level / 255 for level in (50, 100, 150, 200)]
    )
    assert [list(one.inputs[0].shape) for one in server.requests] == [[4, *SHAPE]]
    assert [one.snapshots()["infer"].count for one in stages] == [1] * 4


@pytest.mark.fault(17)
def test_a_slot_in_flight_is_not_written_to_and_runs_go_round_it(
    server: FakeTriton, connection: Connect
) -> None:
    server.hold = True
    detector = connected(connection(), slots=4)
    [first], [second] = detector.submit(frames(GreyPicture())), detector.submit(frames(GreyPicture()))
    until(lambda: len(server.requests) == 2)
    server.release()  # slot 0; slot 1 is still being read
    first.result(WAIT_S)
    held = detector.submit(frames(*[GreyPicture()] * 4))
    until(lambda: len(server.requests) == 4)
    offsets = [one.inputs[0].parameters["shared_memory_offset"].int64_param for one in server.requests]
    assert [offset // (SHAPE[0] * SHAPE[1]) for offset in offsets] == [0, 1, 2, 0]
    assert [one.inputs[0].shape[0] for one in server.requests] == [1, 1, 2, 1]
    with pytest.raises(DetectorTimeout, match="every slot"):
        held[3].result(WAIT_S)
    server.release(3)
    assert [len(future.result(WAIT_S)) for future in [second, *held[:3]]] == [0] * 4
    server.hold = False
    assert len(detect(detector, *[GreyPicture()] * 4)) == 4


@pytest.mark.parametrize(
    ("details", "kind"), [("Exceeds maximum queue size", DetectorTimeout), ("odd", DetectorError)]
)
def test_an_error_of_a_request_belongs_to_each_of_its_frames(
    server: FakeTriton, connection: Connect, details: str, kind: type[DetectorError]
) -> None:
    detector = connected(connection(), slots=4)
    server.error = details
    futures = detector.submit(frames(*[GreyPicture()] * 3))
    assert [type(future.exception(WAIT_S)) for future in futures] == [kind] * 3
    server.error = ""
    assert len(detect(detector, *[GreyPicture()] * 4)) == 4, "its slots are free again"


def test_a_picture_that_cannot_be_written_fails_alone(server: FakeTriton, connection: Connect) -> None:
    class Broken(GreyPicture):
        def write_i420(self, out: U8, box: Box | None = None) -> None:
            raise ValueError("broken")

    detector = connected(connection(), slots=3)
    for _ in range(5):
        with pytest.raises(ValueError, match="broken"):
            detect(detector, Broken())
    assert server.requests == []
    for _ in range(3):
        first, second, third = detector.submit(frames(GreyPicture(), Broken(), GreyPicture()))
        with pytest.raises(ValueError, match="broken"):
            second.result(WAIT_S)
        assert [len(future.result(WAIT_S)) for future in (first, third)] == [0, 0]


def test_a_late_frame_that_was_given_up_does_not_disturb_its_neighbours(
    server: FakeTriton, connection: Connect
) -> None:
    server.hold = True
    detector = connected(connection(), slots=2)
    late, other = detector.submit(frames(GreyPicture(), GreyPicture()))
    assert late.cancel()
    until(lambda: len(server.requests) == 1)
    server.release()
    assert len(other.result(WAIT_S)) == 0


def test_models_share_one_stream_and_its_break_reaches_every_frame(
    server: FakeTriton, connection: Connect
) -> None:
    server.hold = True
    triton = connection()
    live, candidate = triton.model(), triton.model("candidate", slots=2, priority=2)
    assert triton.model() is live
    live.connect()
    candidate.connect()
    futures = live.submit(frames(GreyPicture(), GreyPicture())) + candidate.submit(frames(GreyPicture()))
    until(lambda: len(server.requests) == 2)
    assert {one.model_name for one in server.requests} == {"detector", "candidate"}
    assert server.requests[1].parameters["priority"].uint64_param == 2
    server.break_stream()
    for future in futures:
        assert isinstance(future.exception(WAIT_S), DetectorUnavailable)
    for detector in (live, candidate):
        with pytest.raises(DetectorUnavailable):
            detect(detector, GreyPicture())
    server.hold = False
    for detector in (live, candidate):
        detector.connect()
        assert len(detect(detector, GreyPicture())) == 1


def test_the_ring_grows_and_shrinks_between_two_frames(server: FakeTriton, connection: Connect) -> None:
    detector = connected(connection(), slots=2)
    for slots in (5, 1, 3):
        detector.resize(slots)
        futures = detector.submit(frames(*[GreyPicture()] * (slots + 1)))
        assert [len(future.result(WAIT_S)) for future in futures[:slots]] == [0] * slots
        with pytest.raises(DetectorTimeout):
            futures[slots].result(WAIT_S)
    until(lambda: detector._connection.sweep() or len(server.regions["System"]) == 1)  # type: ignore[func-returns-value]


# --- regions of CUDA ----------------------------------------------------------------------------------


def test_the_memory_of_a_gpu_is_taken_for_pictures_that_lie_on_it_alone(
    server: FakeTriton, connection: Connect, cuda: FakeCuda
) -> None:
    detector = connected(connection())
    detect(detector, GreyPicture())
    assert detector.transport is Transport.SYSTEM
    assert cuda.memory == {}, "a CUDA context costs 300 to 500 MB"
    detect(detector, GreyPicture(), OnGpu())
    assert detector.transport is Transport.CUDA
    assert [len(block) for block in cuda.memory.values()] == [4 * SHAPE[0] * SHAPE[1]]
    [handle] = server.regions["Cuda"].values()
    assert handle == next(iter(cuda.memory)).to_bytes(8, "little") * 8  # 64 bytes, not their base64
    until(lambda: detector._connection.sweep() or not server.regions["System"])  # type: ignore[func-returns-value]
    detector._connection.close()
    assert cuda.memory == {}
    assert server.regions == {"System": {}, "Cuda": {}}


def test_a_gpu_without_room_means_the_hosts_memory(
    server: FakeTriton, connection: Connect, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    cuda.room = 0
    detector = connected(connection())
    for _ in range(3):
        detect(detector, OnGpu())
    assert detector.transport is Transport.SYSTEM
    assert "out of memory" in detector.transport_message
    assert caplog.text.count("transport cuda is not used") == 1


def test_a_reason_is_told_once_though_its_figures_change(
    server: FakeTriton, connection: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = itertools.count()

    def make_ring(kind: Transport, *about: Any) -> ring.Ring:
        if kind is Transport.SYSTEM:
            raise SharedMemoryError(f"/dev/shm has no room for 1.0 MB ({next(free)} MB free)")
        return ring.Ring(kind, *about)

    monkeypatch.setattr("sightline.inference.connection.Ring", make_ring)
    worker = connection()
    for number in range(2):
        detector = connected(worker)
        assert detector.transport_message.endswith(f"({number} MB free)")
        detector.close()
    assert caplog.text.count("transport system is not used") == 1


def test_pictures_of_the_host_are_copied_once_and_those_of_the_gpu_never(
    server: FakeTriton, connection: Connect, cuda: FakeCuda
) -> None:
    detector = connected(connection(transport=Transport.CUDA), slots=2)
    detect(detector, GreyPicture(96, 64, level=7))
    assert cuda.copies == [SHAPE[0] * SHAPE[1]]
    detect(detector, OnGpu(96, 64, level=9))
    assert cuda.copies == [SHAPE[0] * SHAPE[1]]
    [block] = cuda.memory.values()
    assert block.raw == bytes([9]) * SHAPE[0] * SHAPE[1] + bytes(SHAPE[0] * SHAPE[1])


def test_memory_that_the_server_reads_is_freed_only_after_it_has_let_go(
    server: FakeTriton, connection: Connect, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    triton = connection(transport=Transport.CUDA)
    detector = connected(triton)
    server.refused["CudaSharedMemoryUnregister"] = grpc.StatusCode.UNAVAILABLE
    triton.close()
    assert len(cuda.memory) == 1, "the server has not confirmed"
    assert "not freed" in caplog.text
    server.refused.clear()
    detector = connected(triton)
    assert list(server.regions["Cuda"]) == [detector._ring.segment.name]  # type: ignore[union-attr]
    assert len(cuda.memory) == 1, "now it has"


def test_memory_is_not_freed_while_a_request_may_read_it(
    server: FakeTriton, connection: Connect, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "SETTLE_S", 0.5)
    server.hold = True
    triton = connection(transport=Transport.CUDA)
    detector = connected(triton)
    [future] = detector.submit(frames(OnGpu()))
    until(lambda: len(server.requests) == 1)
    server.break_stream()
    assert isinstance(future.exception(WAIT_S), DetectorUnavailable)
    detector.connect()
    assert len(server.regions["Cuda"]) == 1
    assert len(cuda.memory) == 2, "unregistered, but the request may still be at work"
    time.sleep(0.5)
    until(lambda: triton.sweep() or len(cuda.memory) == 1)  # type: ignore[func-returns-value]


def test_regions_of_killed_workers_are_unregistered_and_those_of_live_ones_are_not(
    server: FakeTriton, connection: Connect, cuda: FakeCuda
) -> None:
    program = (
        "import sys, time; from sightline.base import cuda; from support.fake_cuda import FakeCuda\n"
        "cuda.import_module = lambda _: FakeCuda()\n"
        "from sightline.config import TritonOptions\n"
        "from sightline.inference.client import TritonConnection\n"
        "connections = [TritonConnection(TritonOptions(url=sys.argv[1], transport=kind), 'killed')"
        " for kind in ('cuda', 'system')]\n"
        "for one in connections: one.model().connect()\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    tests = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, tests])}
    with subprocess.Popen(
        [sys.executable, "-c", program, server.url], env=environment, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        killed = [*server.regions["Cuda"], *server.regions["System"]]
        assert len(killed) == 2
        connected(connection("live", transport=Transport.CUDA))
        assert all(name in {**server.regions["Cuda"], **server.regions["System"]} for name in killed)
        worker.kill()
    connected(connection("next"))
    assert [len(regions) for regions in server.regions.values()] == [1, 1], "those of the two that live"
    assert not {*killed} & {*server.regions["Cuda"], *server.regions["System"]}
    assert [path.name for path in SHM_FOLDER.glob(f"{PREFIX}*") if is_abandoned(path.name)] == []


def test_a_server_on_another_machine_keeps_the_regions_of_its_own_clients(
    server: FakeTriton, connection: Connect
) -> None:
    server.regions["System"][f"{PREFIX}elsewhere-1"] = "/elsewhere"
    server.refused["SystemSharedMemoryRegister"] = grpc.StatusCode.INVALID_ARGUMENT
    detector = connected(connection())
    assert detector.transport is Transport.GRPC
    assert list(server.regions["System"]) == [f"{PREFIX}elsewhere-1"]
    assert len(detect(detector, GreyPicture())) == 1
    with pytest.raises(DetectorMismatch, match="transport system cannot be used"):
        connected(connection(transport=Transport.SYSTEM))


def test_a_model_that_is_not_ready_is_unavailable(server: FakeTriton, connection: Connect) -> None:
    server.refused["ModelReady"] = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(DetectorUnavailable):
        connected(connection())
    server.refused.clear()
    assert connected(connection()).info is not None
