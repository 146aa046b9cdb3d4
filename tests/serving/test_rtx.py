"""The detector through TensorRT-RTX: engines built ahead of time, and what runs them on a card.

There is no card here. The engine is really built; what loads it runs around a runtime that stands in
(``fake_rtx``), and on the real server, which must refuse clearly.
"""

import json
import subprocess

import numpy as np
import pytest

from sightline.base.cuda import Cuda, has_gpu
from sightline.base.letterbox import letterbox_i420
from sightline.errors import ServerError, SharedMemoryError
from sightline.models.export import exporter, rtx_engines
from sightline.serving.install import install_rtx
from sightline.serving.runtime import numerics
from sightline.serving.runtime.rtx import RtxEngine, from_dlpack
from sightline.serving.server import TritonServer
from support import fake_rtx, toy
from support.fake_cuda import FakeCuda
from support.fake_rtx import FakeRtx
from support.networks import same, scene, session

NETWORK = (192, 320)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rtx")
    network = toy.write_network(folder / "toy.onnx")
    exporter.export_network(
        exporter.ExportOptions(network, folder / "models", shape=NETWORK, fused=True, precision="fp32")
    )
    return folder / "models"


@pytest.fixture
def engine(repository):
    """Around the graph that the real engine is built from."""
    cuda = Cuda(runtime=FakeCuda(room=1 << 24))
    return RtxEngine(repository / "detector/1/rtx.onnx", cuda=cuda, runtime=FakeRtx())


def expected(repository, frame):
    model = session(str(repository / "yolo/1/model.onnx"))
    head = model.run(None, {"images": numerics.network_input(frame)[None]})[0][0]
    return numerics.boxes_from_head(head, NETWORK, 0.1)


def test_pictures_go_in_and_boxes_come_out_batch_after_batch(engine, repository):
    for size, count in (((180, 320), 2), ((192, 256), 1), ((192, 320), 8)):
        frames = np.stack([letterbox_i420(scene(size), NETWORK)[0]] * count)
        answer = engine.run(frames)
        assert len(answer["best"]) == count
        for head in answer["best"]:
            same(numerics.boxes_from_head(head, NETWORK, 0.1), expected(repository, frames[0]), 1e-5)


def test_a_tensor_that_is_handed_over_where_it_lies_gives_the_same(engine, repository):
    frames = scene(NETWORK)[None]
    handed = from_dlpack(frames.__dlpack__())
    assert handed.address == frames.ctypes.data
    assert handed.shape == frames.shape
    answer = engine.run(handed)
    boxes = numerics.boxes_from_head(answer["best"][0], NETWORK, 0.1)
    same(boxes, expected(repository, frames[0]), 1e-5)


@pytest.mark.parametrize("array", [np.zeros((1, 6, 4), np.float32), np.zeros((1, 6, 8), np.uint8)[:, :, :4]])
def test_a_tensor_of_another_kind_is_refused(array):
    with pytest.raises(ValueError, match="uint8 without gaps"):
        from_dlpack(array.__dlpack__())


def test_what_the_engine_cannot_take_is_refused(engine, repository, tmp_path):
    with pytest.raises(ValueError, match=r"\[1, 300, 320\] does not fit"):
        engine.run(np.zeros((1, 300, 320), np.uint8))
    with pytest.raises(FileNotFoundError, match="model rtx build"):
        RtxEngine(tmp_path / "none")
    (tmp_path / "old").write_bytes(b"no engine")
    with pytest.raises(ValueError, match="is no engine of this TensorRT-RTX"):
        RtxEngine(tmp_path / "old", cuda=Cuda(runtime=FakeCuda()), runtime=FakeRtx())
    with pytest.raises(SharedMemoryError, match="out of memory"):
        RtxEngine(repository / "detector/1/rtx.onnx", cuda=Cuda(runtime=FakeCuda(room=10)), runtime=FakeRtx())


CALLED = """
import json
import tensorrt_rtx_bindings as trt
from cuda.bindings import runtime as cuda

kind = cuda.cudaMemcpyKind.cudaMemcpyDefault
calls = {
    "cudaSetDevice": (0,), "cudaMalloc": (8,), "cudaFree": (0,), "cudaIpcGetMemHandle": (0,),
    "cudaMemcpyAsync": (0, 0, 0, kind, 0), "cudaStreamSynchronize": (0,),
    "cudaGetErrorString": (cuda.cudaError_t(2),),
}
answers = {name: getattr(cuda, name)(*given) for name, given in calls.items()}
print(json.dumps({
    "answers": {name: [int(error), *(type(value).__name__ for value in values)]
                for name, (error, *values) in answers.items()},
    "handle": [cuda.CUDA_IPC_HANDLE_SIZE, cuda.cudaIpcMemHandle_t().getPtr() > 0],
    "engine": dir(trt.ICudaEngine), "context": dir(trt.IExecutionContext),
    "runtime": [*dir(trt), *dir(trt.Runtime)],
}))
"""


def test_the_stand_ins_are_called_as_the_real_libraries_are():
    """Without a driver every call answers with an error, but it answers, and with as many values."""
    try:
        python = install_rtx().parents[2] / "bin" / "python"
    except ServerError as error:
        pytest.skip(str(error))
    done = subprocess.run([python, "-c", CALLED], capture_output=True, text=True, check=True, timeout=60)
    real = json.loads(done.stdout)
    fake = FakeCuda()
    for name in real["answers"]:
        assert hasattr(fake, name)
    assert {name for name in dir(fake) if name.startswith("cuda")} == {*real["answers"], "cudaMemcpyKind"}
    assert {name: len(answer) for name, answer in real["answers"].items()} == {
        "cudaSetDevice": 1,
        "cudaMalloc": 2,
        "cudaFree": 1,
        "cudaIpcGetMemHandle": 2,
        "cudaMemcpyAsync": 1,
        "cudaStreamSynchronize": 1,
        "cudaGetErrorString": 2,
    }
    assert real["answers"]["cudaGetErrorString"] == [0, "bytes"]
    assert real["handle"] == [64, True]
    for what, kind in (("engine", fake_rtx._Engine), ("context", fake_rtx._Context), ("runtime", FakeRtx)):
        assert {name for name in vars(kind) if not name.startswith("_")} <= set(real[what])


def build(repository):
    try:
        return rtx_engines.build_version(repository, None)
    except ServerError as error:
        pytest.skip(str(error))


@pytest.mark.triton
@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU: the server would serve")
def test_an_engine_is_built_here_and_the_server_says_what_it_lacks_to_run_it(repository, tmp_path):
    with pytest.raises(rtx_engines.RtxError, match="with --fused"):
        rtx_engines.build_version(tmp_path, None)
    engine = build(repository)
    assert engine.name == "rtx.engine"
    assert engine.stat().st_size > 100_000
    usual = engine.read_bytes()
    assert rtx_engines.cards(repository, engine, None) == "RTX cards from Ampere (8.0) on"
    assert (
        rtx_engines.build_version(repository, None, "7.5").read_bytes() != usual
    )  # Turing wants one of its own
    with pytest.raises(ServerError, match="no NVIDIA driver"):
        TritonServer(repository, config_name="rtx", log_path=tmp_path / "triton.log").start()
