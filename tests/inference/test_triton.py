"""The client against the real server: slots, refusals, deadlines, and a server that dies or hangs."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from sightline.base.letterbox import split_i420
from sightline.config import Transport, TritonOptions
from sightline.entities import U8, Box, Detections
from sightline.errors import DetectorError, DetectorMismatch, DetectorTimeout, DetectorUnavailable
from sightline.inference.client import ServedDetector, TritonConnection, parse_response
from sightline.inference.infer_stream import error_of
from sightline.inference.leftovers import segment_prefix
from sightline.inference.model_versions import parse_model_info
from sightline.inference.segments import Segment
from sightline.serving.server import TritonServer
from support.fakes import GreyPicture, frame
from support.system import leftovers
from support.toy import GREY, RED
from support.waiting import until

pytestmark = pytest.mark.triton

WAIT_S = 10.0
Connect = Callable[..., ServedDetector]


class Block:
    """A picture, 320x192, with one rectangle in it, as BT.601 I420."""

    width, height = 320, 192
    scale_s = 0.0

    def __init__(self, left: int = 100, colour: tuple[int, int, int] = RED) -> None:
        self.left, self.colour = left, colour

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        y, u, v = split_i420(out, box)
        for (rows, columns), colour in (
            ((slice(0, 192), slice(0, 320)), GREY),
            ((slice(48, 144), slice(self.left, self.left + 40)), self.colour),
        ):
            luma, blue, red = to_yuv(colour)
            y[rows, columns] = luma
            half = (slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2))
            u[half], v[half] = blue, red


def to_yuv(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """Limited-range BT.601."""
    r, g, b = (value / 255 for value in rgb)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return (
        round(16 + 219 * luma),
        round(128 + 224 * (b - luma) / 1.772),
        round(128 + 224 * (r - luma) / 1.402),
    )


def ask(detector: ServedDetector, picture: object) -> Future[Detections]:
    [future] = detector.submit([frame(0, 0.0, picture)])  # type: ignore[arg-type]
    return future


def detect(detector: ServedDetector, picture: object) -> Detections:
    return ask(detector, picture).result(WAIT_S)


def make(url: str, owner: str = "door", **options: object) -> ServedDetector:
    return TritonConnection(TritonOptions(url=url, **options), owner).model()


def close(detector: ServedDetector) -> None:
    detector._connection.close()


def regions(detector: ServedDetector) -> list[str]:
    """What the server knows by name."""
    return list(
        detector._connection.call("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest()).regions
    )


def segment(detector: ServedDetector) -> Segment:
    assert detector._ring is not None
    return detector._ring.segment


@pytest.fixture
def connected(toy_triton: TritonServer) -> Iterator[Connect]:
    """Makes detectors that are connected, each over a connection of its own, and closes them."""
    detectors: list[ServedDetector] = []

    def connect(owner: str = "door", **options: object) -> ServedDetector:
        detector = make(toy_triton.grpc_url, owner, **options)
        detectors.append(detector)
        detector.connect()
        return detector

    yield connect
    for detector in detectors:
        close(detector)


@pytest.mark.parametrize("transport", [Transport.AUTO, Transport.SYSTEM, Transport.GRPC])
def test_a_rectangle_is_found_where_it_is(connected: Connect, transport: Transport) -> None:
    detector = connected(transport=transport)
    assert detector.transport is (Transport.SYSTEM if transport is Transport.AUTO else transport)
    for left in (40, 100, 200):
        found = detect(detector, Block(left))
        assert found.class_ids.tolist() == [0]
        assert found.xyxy[0] == pytest.approx([left / 320, 0.25, (left + 40) / 320, 0.75], abs=0.01)
    assert len(detect(detector, Block(100, GREY))) == 0


def test_the_model_says_what_it_is(connected: Connect) -> None:
    info = connected().info
    assert info is not None
    assert (info.class_names, info.network_height, info.network_width) == (("person", "car"), 192, 320)
    assert info.version.startswith("toy-1-")


def test_many_requests_in_flight_get_their_own_answers(connected: Connect) -> None:
    detector = connected(in_flight=3)
    for start in range(0, 200, 8):
        lefts = [start + 2 * i for i in range(4)]
        futures = [ask(detector, Block(left)) for left in lefts]
        found = [future.result(WAIT_S).xyxy[0, 0] * 320 for future in futures]
        assert found == pytest.approx(lefts, abs=1)


def test_a_request_beyond_the_slots_is_refused_at_once_and_frees_nothing(
    toy_repository: Path, tmp_path: Path
) -> None:
    with TritonServer(toy_repository, log_path=tmp_path / "log") as server:
        detector = make(server.grpc_url, in_flight=1, owner="slots")
        detector.connect()
        detect(detector, Block())
        os.kill(server.pid, signal.SIGSTOP)
        try:
            held = [ask(detector, Block()) for _ in range(2)]
            with pytest.raises(DetectorTimeout, match="every slot"):
                detect(detector, Block())
            assert held[0].cancel(), "its deadline has passed: nobody waits for it"
            with pytest.raises(DetectorTimeout, match="every slot"):
                detect(detector, Block())  # the slot is still being read
        finally:
            os.kill(server.pid, signal.SIGCONT)
        held[1].result(WAIT_S)
        until(lambda: ask(detector, Block()).exception(WAIT_S) is None)
        close(detector)


@pytest.mark.fault(14)
def test_a_dead_server_is_noticed_and_its_successor_used(toy_repository: Path, tmp_path: Path) -> None:
    server = TritonServer(toy_repository, log_path=tmp_path / "log")
    server.start()
    try:
        detector = make(server.grpc_url, owner="dead")
        detector.connect()
        detect(detector, Block())
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        with pytest.raises(DetectorUnavailable):
            detect(detector, Block())
        with pytest.raises(DetectorUnavailable):
            detector.connect()
        server.start()
        detector.connect()
        assert len(detect(detector, Block())) == 1
        close(detector)
    finally:
        server.stop()
    assert leftovers() == []


@pytest.mark.fault(17)
def test_a_hanging_server_is_noticed(toy_repository: Path, tmp_path: Path) -> None:
    with TritonServer(toy_repository, log_path=tmp_path / "log") as server:
        detector = make(server.grpc_url, owner="hang")
        detector.connect()
        detect(detector, Block())
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for _ in range(4):  # as many as there are slots
                ask(detector, Block())
            until(lambda: isinstance(ask(detector, Block()).exception(WAIT_S), DetectorUnavailable))
        finally:
            os.kill(server.pid, signal.SIGCONT)
        close(detector)


@pytest.mark.fault(15)
def test_a_server_that_refuses_shared_memory_gets_pictures_in_requests(
    toy_repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TritonServer(toy_repository, log_path=tmp_path / "log", shared_memory=False) as server:
        detector = make(server.grpc_url, owner="refused")
        detector.connect()
        detector.connect()
        assert detector.transport is Transport.GRPC
        assert len(detect(detector, Block())) == 1
        close(detector)
        with pytest.raises(DetectorMismatch, match="transport system cannot be used"):
            make(server.grpc_url, transport=Transport.SYSTEM).connect()
    said = [record.getMessage() for record in caplog.records if "is not used" in record.getMessage()]
    assert len(said) == 1
    assert leftovers() == []


@pytest.mark.fault(18)
def test_a_crashed_workers_region_is_unregistered_and_a_neighbours_is_not(connected: Connect) -> None:
    crashed, neighbour = connected("crashed"), connected("neighbour")
    region = segment(crashed).name
    assert region in regions(neighbour)
    segment(crashed).close()  # as the kernel does when a process is killed; the server still knows the region
    segment(crashed).registered = False
    crashed._ring = None
    other = connected("another")
    assert region not in regions(other)
    assert segment(neighbour).name in regions(other)
    assert len(detect(neighbour, Block())) == 1


def test_closing_unregisters_only_our_own_region(connected: Connect) -> None:
    ours, other = connected("ours"), connected("other")
    close(ours)
    names = regions(other)
    assert [name for name in names if name.startswith(segment_prefix("ours"))] == []
    assert len(detect(other, Block())) == 1


def test_a_region_the_server_has_lost_means_connecting_anew(connected: Connect) -> None:
    detector = connected("lost")
    segment(detector).unregister(detector._connection.call)
    with pytest.raises(DetectorUnavailable, match="shared memory region"):
        detect(detector, Block())
    with pytest.raises(DetectorUnavailable):
        detect(detector, Block())
    detector.connect()
    assert len(detect(detector, Block())) == 1


def test_any_size_of_picture_is_sent_scaled_to_fit(connected: Connect) -> None:
    detector = connected()
    for size in ((64, 36), (4096, 2160), (1080, 1920), (2, 2), (333, 111)):
        assert len(detect(detector, GreyPicture(*size))) == 0


def test_a_missing_model_is_named(toy_triton: TritonServer) -> None:
    with pytest.raises(DetectorUnavailable, match="no-such-model"):
        make(toy_triton.grpc_url, model="no-such-model").connect()


def test_answers_of_several_connections_do_not_mix(connected: Connect) -> None:
    wrong: list[float] = []

    def watch(owner: str, left: int) -> None:
        detector = connected(owner)
        for _ in range(50):
            found = float(detect(detector, Block(left)).xyxy[0, 0]) * 320
            if abs(found - left) > 1:
                wrong.append(found)

    threads = [threading.Thread(target=watch, args=(f"t{i}", 40 * i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ("Exceeds maximum queue size", DetectorTimeout),
        ("Request timeout expired", DetectorTimeout),
        ("Unable to find shared memory region: 'x'", DetectorUnavailable),
        ("Request for unknown model: 'detector' is not found", DetectorUnavailable),
        ("a frame has 3/2·height rows, found 7", DetectorError),
    ],
)
def test_refusals_are_told_apart(details: str, kind: type[DetectorError]) -> None:
    assert type(error_of(details)) is kind


@pytest.mark.parametrize("missing", ["class_names", "network_width", "model_version"])
def test_a_model_that_does_not_say_what_it_is_is_refused(missing: str) -> None:
    parameters = {
        "model_version": "m-1",
        "class_names": '["person"]',
        "network_height": "384",
        "network_width": "640",
        "precision": "fp16",
        "score_floor": "0.1",
    }
    assert parse_model_info("detector", parameters).class_names == ("person",)
    del parameters[missing]
    with pytest.raises(DetectorMismatch, match=missing):
        parse_model_info("detector", parameters)


def test_an_answer_of_another_shape_is_refused() -> None:
    response = pb.ModelInferResponse()
    for name, array in (
        ("num_dets", np.array([2], np.int32)),
        ("det_boxes", np.zeros((1, 4), np.float32)),
        ("det_scores", np.zeros(2, np.float32)),
        ("det_classes", np.zeros(2, np.int32)),
    ):
        response.outputs.add(name=name)
        response.raw_output_contents.append(array.tobytes())
    with pytest.raises(ValueError, match="xyxy"):
        list(parse_response(response, [(0, 0, 320, 192)], (192, 320), None))
    with pytest.raises(ValueError, match="2 pictures were sent, 1 answered"):
        list(parse_response(response, [(0, 0, 320, 192)] * 2, (192, 320), None))
