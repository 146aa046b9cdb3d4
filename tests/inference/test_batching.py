"""Cameras of different aspect ratios batch together on the real server."""

import re
from collections import deque
from pathlib import Path

import pytest

from sightline.config import TritonOptions
from sightline.inference.client import TritonConnection
from sightline.models.export import exporter
from sightline.serving.server import TritonServer, get
from support.fakes import GreyPicture, frame

pytestmark = pytest.mark.triton

NETWORK = Path(__file__).resolve().parents[2] / "models" / "sightline.onnx"
IN_FLIGHT = 8
FRAMES = 96


def count(server: TritonServer, name: str) -> float:
    """A counter of the detector's, from the server's metrics."""
    text = get(server.folder / "metrics", "/metrics")[1].decode()
    return sum(map(float, re.findall(rf'^{name}{{model="detector".*?}} (\S+)$', text, re.MULTILINE)))


def test_requests_of_two_aspect_ratios_run_in_batches(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    exporter.export_network(exporter.ExportOptions(NETWORK, repository, shape=(384, 640)))
    pictures = GreyPicture(1920, 1080), GreyPicture(640, 480)
    with (
        TritonServer(repository, log_path=tmp_path / "log") as server,
        TritonConnection(TritonOptions(url=server.grpc_url), "batching") as connection,
    ):
        detector = connection.model(slots=IN_FLIGHT)
        detector.connect()
        before = {name: count(server, name) for name in ("nv_inference_count", "nv_inference_exec_count")}
        waiting = deque()
        for index in range(FRAMES):
            if len(waiting) == IN_FLIGHT:
                waiting.popleft().result(30)
            waiting += detector.submit([frame(index, 0.0, pictures[index % 2])])
        for future in waiting:
            future.result(30)
        frames, runs = (count(server, name) - before[name] for name in before)
    assert frames == FRAMES
    assert frames / runs > 1.5  # 1 if none shared a run; how many more do depends on the machine
