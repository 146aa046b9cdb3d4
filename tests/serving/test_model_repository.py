"""The numerics, and the boxes that the real server gives: in one process and as an ensemble."""

import json
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, InferInput, model_config_pb2
from tritonclient.utils import InferenceServerException

from sightline.base.letterbox import letterbox_i420
from sightline.models.export import exporter
from sightline.serving import model_configs
from sightline.serving.runtime import numerics
from sightline.serving.server import TritonServer
from support import toy
from support.networks import end_to_end_network, session

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "model_repository"
NETWORK = (192, 320)
OUTPUTS = ("num_dets", "det_boxes", "det_scores", "det_classes")
RNG = np.random.default_rng(7)


def frame_of(height, width, seed=0):
    """A smooth picture: chroma and luma differ from place to place."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 230, (height * 3 // 2 // 6 + 1, width // 10 + 1), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((6, 10), np.uint8))[: height * 3 // 2, :width])


# --- numerics -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 270, 320), (2, 288, 318), (1, 288)])
def test_frames_of_another_size_are_refused_with_what_is_needed(shape):
    with pytest.raises(ValueError, match=r"send uint8 \[n, 288, 320\]"):
        numerics.check_frames(shape, NETWORK)
    numerics.check_frames((8, 288, 320), NETWORK)


def test_colours_agree_with_opencv():
    cv2 = pytest.importorskip("cv2")
    frame = frame_of(*NETWORK)
    expected = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420).transpose(2, 0, 1).astype(np.float32)
    np.testing.assert_allclose(numerics.network_input(frame) * 255, expected, atol=1.5)


def slow_suppress(xyxy, class_ids):
    kept = []
    for i in range(len(xyxy)):
        if all(class_ids[i] != class_ids[j] or overlap(xyxy[i], xyxy[j]) <= 0.7 for j in kept):
            kept.append(i)
    return kept[: numerics.MAX_DETECTIONS]


def overlap(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = np.prod(np.maximum(sides, 0))
    return inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 400])
def test_suppression_is_greedy_and_by_class(count):
    corner = RNG.uniform(0, 100, (count, 2))
    xyxy = np.concatenate([corner, corner + RNG.uniform(60, 80, (count, 2))], axis=1).astype(np.float32)
    class_ids = RNG.integers(0, 2, count).astype(np.int32)
    assert numerics.suppress(xyxy, class_ids).tolist() == slow_suppress(xyxy, class_ids)


def test_the_number_of_boxes_is_bounded():
    corner = np.stack(np.meshgrid(np.arange(40), np.arange(40)), -1).reshape(-1, 2) * 10
    xyxy = np.concatenate([corner, corner + 5], axis=1).astype(np.float32)
    assert len(numerics.suppress(xyxy, np.zeros(len(xyxy), np.int32))) == numerics.MAX_DETECTIONS


def raw_head(anchors, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    head = rng.uniform(0, 0.3, (4 + classes, anchors)).astype(np.float32)
    head[:2] = rng.uniform(0, 190, (2, anchors))
    head[2:4] = rng.uniform(5, 60, (2, anchors))
    return head


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.29, 0.5])
def test_handing_on_the_best_anchors_alone_changes_no_box(floor):
    head = raw_head(700)
    whole = numerics.boxes_from_head(head, NETWORK, floor)
    few = numerics.boxes_from_head(numerics.best_anchors(head, floor), NETWORK, floor)
    for expected, got in zip(whole, few, strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)
    assert (whole[1] >= floor).all()
    assert (np.diff(whole[1]) <= 0).all()


def test_candidates_are_bounded_and_the_best_stay():
    head = raw_head(9000)
    kept = numerics.best_anchors(head, 0.0)
    assert kept.shape == (7, numerics.MAX_CANDIDATES)
    worst_kept = kept[4:].max(axis=0).min()
    assert np.count_nonzero(head[4:].max(axis=0) > worst_kept) < numerics.MAX_CANDIDATES


def test_an_end_to_end_head_is_told_by_its_shape_and_gets_no_suppression():
    rows = np.zeros((300, 6), np.float32)
    rows[0] = [10, 16, 50, 56, 0.4, 2]
    rows[1] = [10, 16, 50, 56, 0.9, 2]  # the same place: the network has decided that these are two
    rows[2] = [10, 16, 50, 56, 0.05, 1]
    xyxy, scores, class_ids = numerics.boxes_from_head(rows, NETWORK, 0.1)
    np.testing.assert_allclose(scores, [0.9, 0.4])
    assert class_ids.tolist() == [2, 2]
    np.testing.assert_allclose(xyxy[0], [10 / 320, 16 / 192, 50 / 320, 56 / 192], rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 100), (3, 7), (8,), (1, 7, 100)])
def test_a_head_that_is_neither_is_refused(shape):
    with pytest.raises(ValueError, match="is neither"):
        numerics.boxes_from_head(np.zeros(shape, np.float32), NETWORK, 0.1)


def test_numbers_that_are_none_give_no_boxes():
    head = raw_head(64)
    head[4:] = np.nan
    assert len(numerics.boxes_from_head(head, NETWORK, 0.1)[1]) == 0


# --- configurations -----------------------------------------------------------------------------------


def config_of(path):
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def tensors(config):
    parts = (config.input, config.output)
    return [{t.name: (t.data_type, [d if d > 0 else -1 for d in t.dims]) for t in part} for part in parts]


@pytest.mark.parametrize("model", ["detector", "preprocess", "yolo", "postprocess"])
def test_a_cpu_configuration_batches_without_a_policy_and_is_warmed_up(model):
    config = config_of(COMMITTED / model / "configs" / "cpu.pbtxt")
    assert (config.name, config.backend) == (model, "python")
    assert config.max_batch_size > 1
    assert config.HasField("dynamic_batching")
    assert not config.dynamic_batching.ListFields(), "with any of them the batcher sleeps through requests"
    assert config.model_warmup


def test_on_a_gpu_no_queue_keeps_a_frame_so_long_that_p99_exceeds_200_ms():
    def longest_ms(*paths):
        queues = [config_of(COMMITTED / path).dynamic_batching for path in paths]
        assert all(queue.default_queue_policy.max_queue_size == 64 for queue in queues)
        assert not any(queue.preferred_batch_size for queue in queues)
        delays = [queue.max_queue_delay_microseconds for queue in queues]
        assert sum(delay > 0 for delay in delays) == 1  # they would add up
        return sum(queue.default_queue_policy.default_timeout_microseconds for queue in queues) / 1000

    assert longest_ms("detector/configs/fused.pbtxt") < 200
    assert longest_ms(*(f"{step}/config.pbtxt" for step in ("preprocess", "yolo", "postprocess"))) < 200


def test_the_detector_has_one_contract_on_every_machine():
    cpu = config_of(COMMITTED / "detector" / "configs" / "cpu.pbtxt")
    ensemble = config_of(COMMITTED / "detector" / "config.pbtxt")
    assert [step.model_name for step in ensemble.ensemble_scheduling.step] == [
        "preprocess",
        "yolo",
        "postprocess",
    ]
    assert tensors(cpu) == tensors(ensemble)
    assert tuple(tensors(cpu)[1]) == OUTPUTS


# --- the real server ----------------------------------------------------------------------------------


def scene(size=(180, 320), share=0.3):
    """A red and a blue rectangle in an I420 picture of the network's size."""
    rgb = np.full((*size, 3), toy.GREY, np.uint8)
    toy.draw(rgb, [toy.Passage(0, 1, toy.RED)], share)
    toy.draw(rgb, [toy.Passage(0, 1, toy.BLUE)], share + 0.4)
    return letterbox_i420(
        av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p").to_ndarray(), NETWORK
    )[0]


def as_ensemble(repository, folder):
    """The same repository without the one-process form of ``detector``: its config.pbtxt is the ensemble."""
    shutil.copytree(repository, folder)
    shutil.rmtree(folder / "detector" / "configs")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return toy.write_network(tmp_path_factory.mktemp("network") / "toy.onnx")


@pytest.fixture(scope="module")
def repository(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "repository"
    exporter.export_network(exporter.ExportOptions(network, folder, shape=NETWORK))
    return folder


@pytest.fixture(scope="module")
def detector(repository):
    """Asks the server whose ``detector`` is one process."""
    with TritonServer(repository) as server, InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def ensemble(repository, tmp_path_factory):
    """Asks the server whose ``detector`` is the ensemble of three Python backends."""
    folder = as_ensemble(repository, tmp_path_factory.mktemp("ensemble") / "repository")
    with TritonServer(folder) as server, InferenceServerClient(server.grpc_url) as client:
        yield client


def ask(client, frames, **options):
    wanted = InferInput("frame", list(frames.shape), "UINT8")
    wanted.set_data_from_numpy(frames)
    answer = client.infer("detector", [wanted], **options)
    return {name: answer.as_numpy(name) for name in OUTPUTS}


def reference(network, frame, floor=0.1):
    """Plain numpy around ONNX Runtime."""
    head = session(str(network)).run(None, {"images": numerics.network_input(frame)[None]})[0][0]
    return numerics.boxes_from_head(head, NETWORK, floor)


def check_boxes(answer, index, expected):
    xyxy, scores, class_ids = expected
    count = len(scores)
    assert answer["num_dets"][index].tolist() == [count]
    np.testing.assert_allclose(answer["det_scores"][index, :count], scores, atol=2e-3)
    np.testing.assert_allclose(answer["det_boxes"][index, :count], xyxy, atol=2e-3)
    assert answer["det_classes"][index, :count].tolist() == class_ids.tolist()


@pytest.mark.triton
@pytest.mark.parametrize("form", ["detector", "ensemble"])
@pytest.mark.parametrize("size", [(180, 320), (192, 320), (192, 256)])
def test_both_forms_give_the_reference_boxes(form, size, network, request):
    frame = scene(size)
    expected = reference(network, frame)
    assert len(expected[1]) == 2
    check_boxes(ask(request.getfixturevalue(form), frame[None]), 0, expected)


@pytest.mark.triton
@pytest.mark.parametrize("form", ["detector", "ensemble"])
def test_a_batch_is_answered_picture_by_picture(form, network, request):
    frames = np.stack([scene(share=0.1), scene(share=0.9), np.full((288, 320), 128, np.uint8)])
    answer = ask(request.getfixturevalue(form), frames)
    assert answer["det_boxes"].shape[0] == 3
    for index, frame in enumerate(frames):
        check_boxes(answer, index, reference(network, frame))


@pytest.mark.triton
@pytest.mark.parametrize("form", ["detector", "ensemble"])
@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((1, 270, 320), r"send uint8 \[n, 288, 320\]"),
        ((1, 300, 320), "has the wrong size"),
        ((1, 1, 1), "has the wrong size"),
        ((9, 288, 320), "batch-size must be <= 8"),
    ],
)
def test_a_wrong_frame_is_refused_and_the_next_one_served(form, shape, text, request):
    client = request.getfixturevalue(form)
    with pytest.raises(InferenceServerException, match=text):
        ask(client, np.zeros(shape, np.uint8))
    assert ask(client, scene()[None])["num_dets"].tolist() == [[2]]


@pytest.mark.triton
def test_many_requests_at_once_are_all_answered_rightly(detector, network):
    frames = [scene(share=share / 20) for share in range(12)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda frame: ask(detector, frame[None], priority=1 + len(frame) % 2), frames)
        )
    for frame, answer in zip(frames, answers, strict=True):
        check_boxes(answer, 0, reference(network, frame))


@pytest.mark.triton
def test_what_comes_while_the_model_is_called_does_not_wait_for_the_next_request(detector):
    frame, moments = scene()[None], random.Random(1)

    def took_s(delay_s):
        time.sleep(delay_s)
        started_s = time.monotonic()
        ask(detector, frame)
        return time.monotonic() - started_s

    with ThreadPoolExecutor(4) as pool:
        times = [
            s for _ in range(150) for s in pool.map(took_s, [moments.random() * 0.004 for _ in range(4)])
        ]
    slow = [s for s in times if s > 0.4]  # with a queue policy the batcher looks twice a second: 20 of these
    assert len(slow) < 4


@pytest.mark.triton
def test_a_client_learns_the_model_from_its_configuration(detector):
    parameters = detector.get_model_config("detector", as_json=True)["config"]["parameters"]
    found = {key: value["string_value"] for key, value in parameters.items()}
    assert json.loads(found["class_names"]) == list(toy.CLASSES)
    assert (int(found["network_height"]), int(found["network_width"])) == NETWORK
    assert found["precision"] == "fp32"
    assert found["model_version"].startswith("toy-1-")


@pytest.mark.triton
def test_an_end_to_end_head_and_another_floor_and_a_second_version(tmp_path):
    network = tmp_path / "tiny.onnx"
    onnx.save(end_to_end_network(), network)
    folder = tmp_path / "repository"
    exporter.export_network(exporter.ExportOptions(network, folder, shape=NETWORK, score_floor=0.001))
    with TritonServer(folder) as server, InferenceServerClient(server.grpc_url) as client:
        first = ask(client, scene()[None])
        head = session(str(network)).run(None, {"pixels": numerics.network_input(scene())[None]})[0][0]
        expected = numerics.boxes_from_head(head, NETWORK, 0.001)
        assert first["num_dets"].tolist() == [[len(expected[1])]]
        np.testing.assert_allclose(first["det_scores"][0], expected[1], atol=2e-3)
        toy_network = toy.write_network(tmp_path / "toy.onnx")
        assert exporter.export_network(exporter.ExportOptions(toy_network, folder, shape=NETWORK)) == 2
        model_configs.choose(folder, "detector", 2)
        client.load_model("detector")  # beside the old one, which leaves when this one is warm
        assert ask(client, scene()[None])["num_dets"].tolist() == [[2]]
        ready = {
            item["version"]
            for item in client.get_model_repository_index(as_json=True)["models"]
            if item["name"] == "detector" and item.get("state") == "READY"
        }
        assert ready == {"2"}
