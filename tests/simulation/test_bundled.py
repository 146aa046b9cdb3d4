"""The detector that comes with Sightline, and the parts of its training that need no torch."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sightline.errors import NetworkUnusable
from sightline.models.export import exporter, halve, network_source
from sightline.simulation.scenes.spec import SceneSpec
from support.networks import raw_network, session
from training import dataset, generate, heldout

NETWORK = Path(__file__).resolve().parents[2] / "models" / "sightline.onnx"
#: Held-out seeds that the evaluation in docs/detector.md does not use either.
SHOTS = [
    generate.Shot(SceneSpec("street", 960, camera=0), 5, 5.1, 3.0),
    generate.Shot(SceneSpec("street", 961, camera=2), 5, 5.1, 3.0),
    generate.Shot(SceneSpec("factory", 962, camera=1), 6, 6.3, 3.0),
    generate.Shot(SceneSpec("shop", 963, camera=2), 5, 6.3, 3.0),
]


def objects(*rows):
    """Of (x0, y0, x1, y1, class, ignored)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return dataset.Objects(table[:, :4], table[:, 4].astype(np.int64), table[:, 5] > 0)


def cells(height=64, width=64, stride=8):
    y, x = np.mgrid[stride / 2 : height : stride, stride / 2 : width : stride]
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


def boxes_around(points, half=8.0):
    return np.concatenate([points - half, points + half], 1).astype(np.float32)


def test_it_is_exported_as_any_network_and_its_head_is_known(tmp_path):
    source = network_source.read_source(NETWORK, None)
    assert source.class_names == generate.CLASSES
    assert source.licence == "Apache-2.0"
    assert (source.end_to_end, len(source.class_names)) == (False, len(generate.CLASSES))
    version = exporter.export_network(exporter.ExportOptions(NETWORK, tmp_path / "repository"))
    manifest = json.loads((tmp_path / f"repository/yolo/{version}/manifest.json").read_text())
    assert (manifest["network_height"], manifest["network_width"]) == (384, 640)


def test_it_has_one_to_two_million_weights_and_any_batch_and_size():
    model = onnx.load(NETWORK)
    weights = sum(numpy_helper.to_array(item).size for item in model.graph.initializer)
    assert 1e6 < weights < 2e6
    for batch, height, width in ((1, 384, 640), (3, 96, 160)):
        picture = np.zeros((batch, 3, height, width), np.float32)
        (head,) = session(model).run(None, {"images": picture})
        assert head.shape == (batch, 14, 21 * height * width // 1024)


def test_it_finds_what_is_there_on_cameras_that_it_never_saw(tmp_path):
    for shot in SHOTS:
        generate.draw(shot, tmp_path)
    result = heldout.evaluate(NETWORK, tmp_path)
    assert result["all"]["pictures"] == 21
    assert result["all"]["map50"] > 0.8, heldout.table(result)
    assert result["all"]["recall_clear"] > 0.8, heldout.table(result)


def test_seeds_of_training_are_never_those_of_the_evaluation():
    learnt = {shot.spec.seed for name, plan in generate.PLANS.items() if name != "heldout" for shot in plan()}
    judged = {shot.spec.seed for shot in generate.heldout_plan()} | {shot.spec.seed for shot in SHOTS}
    assert min(learnt) == 1000 > max(judged)
    assert len({shot.name for shot in generate.training_plan()}) == len(generate.training_plan())


def test_packed_weights_are_half_as_large_and_compute_the_same(tmp_path):
    model = raw_network()
    small = halve.pack(model)
    back = halve.unpack(small)
    picture = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    heads = [
        session(each).run(None, {model.graph.input[0].name: picture})[0] for each in (model, small, back)
    ]
    assert small.ByteSize() < 0.7 * model.ByteSize()
    np.testing.assert_array_equal(heads[1], heads[2])
    np.testing.assert_allclose(heads[0], heads[1], rtol=0.02, atol=0.02)
    assert not any(node.name.startswith("unpack_") for node in back.graph.node)


def test_weights_that_fp16_cannot_hold_are_refused():
    model = raw_network()
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(1e6), weight.name))
    with pytest.raises(NetworkUnusable, match=weight.name):
        halve.pack(model)


def shared_out(scores, points, *batch):
    """The assignment when each cell's box is a square around it, and each says every class alike."""
    torch = pytest.importorskip("torch", reason="torch is only for training: tools/training/requirements.in")
    from training import loss

    boxes = np.stack([boxes_around(points)] * len(batch))
    targets = loss.targets_of([objects(*rows) for rows in batch])
    said = np.full((len(batch), len(points), 2), scores, np.float32)
    given = loss.assign(torch.from_numpy(boxes), torch.from_numpy(said), torch.from_numpy(points), targets)
    return given.object_index.numpy(), given.strength.numpy(), given.counted.numpy()


def test_a_cell_learns_the_object_that_its_box_fits_best():
    points = cells()
    one, other = (12, 12, 28, 28, 0, 0), (36, 36, 52, 52, 1, 0)
    index, strength, counted = shared_out(0.5, points, (other,), (), (one, other))
    best = [int(np.flatnonzero((points == middle).all(1))[0]) for middle in ((20, 20), (44, 44))]
    assert index[2, best].tolist() == [0, 1]
    assert index[0, best].tolist() == [-1, 0]
    assert (index[1] == -1).all()
    np.testing.assert_allclose(strength[2, best], 1.0, atol=1e-5)
    assert counted.all()
    far = (points < 8).any(1)
    assert (index[:, far] == -1).all()
    assert (strength[index == -1] == 0).all()


def test_a_cell_that_two_objects_want_goes_to_the_better_box():
    points = cells()
    index, strength, _ = shared_out(0.5, points, ((12, 12, 28, 28, 0, 0), (14, 12, 34, 28, 0, 0)))
    middle = int(np.flatnonzero((points == (20, 20)).all(1))[0])
    assert index[0, middle] == 0
    assert {0, 1} == set(index[0, index[0] >= 0].tolist())
    assert strength[0].max() <= 1.0


def test_an_object_smaller_than_a_cell_is_learnt_by_one_nearby():
    index, _, _ = shared_out(0.1, cells(), ((15, 15, 18, 23, 0, 0),))
    assert (index == 0).any()


def test_an_ignored_object_is_neither_learnt_nor_denied():
    points = cells()
    index, _, counted = shared_out(0.5, points, ((8, 8, 40, 40, 1, 1),))
    within = ((points > 8) & (points < 40)).all(1)
    assert (index == -1).all()
    assert not counted[0, within, 1].any()
    assert counted[0, :, 0].all()
    assert counted[0, ~within, 1].all()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generate.draw(generate.Shot(SceneSpec("factory", 970, camera=2), 3, 4.0, 1.0), folder)
    return dataset.Pictures(folder)


def test_examples_depend_on_the_random_stream_alone(pictures):
    first, second = (
        dataset.crop_example(pictures, 1, (256, 320), np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.objects.xyxy, second.objects.xyxy)
    assert first.picture.shape == (256, 320, 3)


def test_boxes_stay_on_their_objects_when_cut_scaled_and_mirrored(pictures):
    frame, rows = pictures.frame(0)
    assert frame.shape == (576, 640)
    found = dataset.objects_of(rows, (100, 50, 320, 200), (2.0, 2.0))
    x0, y0, x1, y1 = (rows[:, dataset.FULL] - np.float32([100, 50, 100, 50])).T
    there = (np.minimum(x1, 320) - np.maximum(x0, 0) > 1) & (np.minimum(y1, 200) - np.maximum(y0, 0) > 1)
    assert len(found.xyxy) == there.sum() > 0
    np.testing.assert_allclose(found.xyxy[:, 1], np.maximum(y0[there], 0) * 2, rtol=1e-5)
    picture = np.zeros((400, 640, 3), np.uint8)
    back = dataset.mirrored(picture, dataset.mirrored(picture, found).objects).objects
    np.testing.assert_allclose(back.xyxy, found.xyxy, atol=1e-3)


def test_noise_is_in_every_colour():
    grey = np.full((96, 96, 3), 128, np.uint8)
    spreads = np.array([dataset.changed(grey, np.random.default_rng(seed)).std((0, 1)) for seed in range(40)])
    noisy = spreads[spreads.max(axis=1) > 1]
    assert len(noisy) > 3
    assert noisy.min() > 0.5 * noisy.max(axis=1).min()


def test_what_is_hidden_or_tiny_is_ignored():
    rows = np.zeros((4, 12), np.float32)
    rows[:, dataset.FULL] = [[0, 0, 40, 80], [0, 0, 40, 80], [0, 0, 4, 80], [0, 0, 9, 9]]
    rows[:, dataset.OCCLUSION] = [0.5, 0.9, 0, 0]
    assert dataset.ignored(rows).tolist() == [False, True, True, True]


def test_the_network_learns_what_it_is_shown():
    torch = pytest.importorskip("torch", reason="torch is only for training: tools/training/requirements.in")
    from training import loss, network

    torch.manual_seed(0)
    model = network.DetectorNetwork(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    picture = torch.zeros(1, 3, 64, 96)
    picture[..., 16:48, 20:60] = 1.0
    wanted = loss.targets_of([objects((20, 16, 60, 48, 1, 0))])
    told = []
    for _ in range(60):
        value, _ = loss.loss_of(model(picture), wanted)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        told.append(float(value.detach()))
    assert told[-1] < told[0] / 3


def test_training_goes_on_from_the_published_file():
    torch = pytest.importorskip("torch", reason="torch is only for training: tools/training/requirements.in")
    from training import network, to_onnx

    pictures = np.random.default_rng(0).random((2, 3, 64, 96), np.float32)
    model = network.DetectorNetwork(len(generate.CLASSES))
    to_onnx.load(model, NETWORK, torch.from_numpy(pictures))
    with torch.no_grad():
        again = network.Exported(model.eval())(torch.from_numpy(pictures)).numpy()
    (heads,) = session(onnx.load(NETWORK)).run(None, {"images": pictures})
    np.testing.assert_allclose(again, heads, rtol=1e-3, atol=2e-2)
