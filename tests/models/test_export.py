"""Networks into versions of ``yolo``: what is taken, what is refused and why, what the configurations say."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from sightline.cli import build_parser, main
from sightline.errors import NetworkUnusable, RepositoryError
from sightline.models.export import exporter, graphs, network_source, ultralytics_env
from sightline.models.registry import audit_trail, repository
from sightline.serving import model_configs
from sightline.serving.model_configs import STEPS
from support.networks import end_to_end_network, flat_network, raw_network, session

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "model_repository"
SHARED = Path(os.environ.get("SIGHTLINE_SHARED", ROOT.parent / "shared"))
NAMES = ["person", "car", 'dog "x"']
ONNX_TYPE = {"TYPE_FP32": "FLOAT", "TYPE_FP16": "FLOAT16", "TYPE_UINT8": "UINT8", "TYPE_INT32": "INT32"}


def save(model, folder, name="tiny.onnx"):
    onnx.save(model, folder / name)
    return folder / name


def export_model(model, folder, **options):
    source = save(model, folder)
    target = folder / "repository"
    return target, exporter.export_network(exporter.ExportOptions(source, target, **options))


def manifest_of(target, version):
    return json.loads((target / "yolo" / str(version) / "manifest.json").read_text())


def config_of(path):
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def check_gpu_configs(target, network, end_to_end):
    """Every configuration parses, and says of each tensor what the graph for its plan says."""
    engines = {
        "preprocess": graphs.preprocess_graph(network),
        "postprocess": graphs.postprocess_graph(network, 0.1),
    }
    inside = {"images": [3, network.height, network.width], "output0": [network.rows, network.columns]}
    for step in STEPS:
        config = config_of(served(target, step))
        assert config.name == f"{step}-1"
        assert (config.backend, config.max_batch_size) == ("tensorrt", exporter.MAX_BATCH)
        assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
        assert config.dynamic_batching.priority_levels == 2
        assert config.dynamic_batching.default_queue_policy.max_queue_size > 0
        assert config.model_warmup
        for warmup in config.model_warmup:
            assert set(warmup.inputs) == {tensor.name for tensor in config.input}
        for tensor in [*config.input, *config.output]:
            if tensor.name in inside:
                assert list(tensor.dims) == inside[tensor.name]
        graph = engines[step].graph if step in engines else None
        for tensors, values in ((config.input, graph.input), (config.output, graph.output)) if graph else ():
            assert {tensor.name: describe(tensor) for tensor in tensors} == {
                value.name: describe_value(value) for value in values
            }
    assert parameters_of(served(target, "yolo"))["head"] == end_to_end


def served(target, step, name="ensemble"):
    """What Triton reads of a step of version 1."""
    return target / f"{step}-1" / "configs" / f"{name}.served.pbtxt"


def parameters_of(path):
    return {key: value.string_value for key, value in config_of(path).parameters.items()}


def describe(tensor):
    kind = model_config_pb2.DataType.Name(tensor.data_type)
    return [ONNX_TYPE[kind], *tensor.dims]


def describe_value(value):
    tensor = value.type.tensor_type
    dims = [dim.dim_value or -1 for dim in tensor.shape.dim[1:]]  # without the batch
    return [onnx.TensorProto.DataType.Name(tensor.elem_type), *dims]


def test_committed_configurations_say_nothing_of_a_network_and_have_the_same_tensors():
    for step in STEPS:
        for path in (COMMITTED / step).rglob("*.pbtxt"):
            if not path.match("*.served.pbtxt"):
                assert set(parameters_of(path)) <= {"precision"}
                filled = [line for line in path.read_text().splitlines() if "# network: " in line]
                assert all("-1" in line for line in filled)
        names = [
            [tensor.name for tensor in tensors]
            for path in (COMMITTED / step / "config.pbtxt", COMMITTED / step / "configs" / "cpu.pbtxt")
            for tensors in (config_of(path).input, config_of(path).output)
        ]
        assert names[:2] == names[2:]


def test_ensemble_passes_tensors_that_its_steps_have():
    ensemble = config_of(COMMITTED / "detector" / "config.pbtxt")
    for step in ensemble.ensemble_scheduling.step:
        config = config_of(COMMITTED / step.model_name / "config.pbtxt")
        assert set(step.input_map) == {tensor.name for tensor in config.input}
        assert set(step.output_map) == {tensor.name for tensor in config.output}


@pytest.mark.parametrize(
    ("model", "network", "head"),
    [
        (raw_network(), graphs.NetworkSpec(480, 640, False, 7, 6300), "anchors"),
        (end_to_end_network(), graphs.NetworkSpec(480, 640, True, 300, 6), "end2end"),
        (end_to_end_network(boxes=100), graphs.NetworkSpec(480, 640, True, 100, 6, "fp32"), "end2end"),
    ],
)
def test_export_makes_a_version_that_runs(model, network, head, tmp_path):
    target, version = export_model(model, tmp_path, shape=(480, 640), precision=network.precision)
    assert version == 1
    check_gpu_configs(target, network, head)
    pictures = np.random.default_rng(0).uniform(0, 1, (3, 3, 480, 640)).astype(np.float32)
    folder = target / "yolo" / "1"
    (whole,) = session(str(folder / "model.onnx")).run(["output0"], {"images": pictures})
    assert whole.shape == (3, network.rows, network.columns)
    kind = np.float16 if network.precision == "fp16" else np.float32
    (plan,) = session(str(folder / "engine.onnx")).run(["output0"], {"images": pictures.astype(kind)})
    assert plan.dtype == np.float32
    if head == "anchors":
        np.testing.assert_allclose(plan, whole, rtol=5e-3)
    assert (folder / "model.py").read_bytes() == (COMMITTED / "yolo" / "1" / "model.py").read_bytes()


def test_parameters_and_manifest_say_the_same(tmp_path):
    target, version = export_model(raw_network(), tmp_path, score_floor=0.001)
    manifest = manifest_of(target, version)
    parameters = parameters_of(served(target, "yolo", "cpu"))
    assert json.loads(parameters["class_names"]) == manifest["class_names"] == NAMES
    assert parameters["model_version"] == manifest["model_version"]
    assert parameters["score_floor"] == "0.001"
    assert (parameters["precision"], manifest["precision"]) == ("fp32", "fp16")
    assert manifest["source_sha256"] == exporter.sha256(tmp_path / "tiny.onnx")
    assert manifest["licence"] == "CC0"
    for name, digest in manifest["files_sha256"].items():
        step, file = name.split("/")
        assert exporter.sha256(target / step / str(version) / file) == digest


def test_versions_count_up_and_are_never_overwritten(tmp_path):
    target, first = export_model(raw_network(), tmp_path)
    _, second = export_model(raw_network(seed=1), tmp_path)
    assert (first, second) == (1, 2)
    before = exporter.sha256(target / "yolo" / "1" / "model.onnx")
    with pytest.raises(RepositoryError, match="version 1 of yolo is there already"):
        export_model(raw_network(seed=2), tmp_path, version=1)
    assert exporter.sha256(target / "yolo" / "1" / "model.onnx") == before
    _, seventh = export_model(raw_network(), tmp_path, version=7)
    assert (seventh, repository.next_version(target)) == (7, 8)


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    target, _ = export_model(raw_network(), tmp_path)
    before = sorted(path.relative_to(target) for path in target.rglob("*"))

    def disk_full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(graphs, "postprocess_graph", disk_full)
    with pytest.raises(RepositoryError, match=r"version 2 cannot be written into .*: no space"):
        export_model(raw_network(), tmp_path)
    assert sorted(path.relative_to(target) for path in target.rglob("*")) == before


def test_an_export_and_a_switch_leave_nothing_for_git(tmp_path):
    """What people edit is tracked; nothing of a network is."""

    def git(*arguments):
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    listed = subprocess.run(
        ["git", "ls-files", "-z", "model_repository", ".gitignore"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "a clone")
    folder = tmp_path / "model_repository"
    with tempfile.TemporaryDirectory() as outside:
        source = save(raw_network(), Path(outside))
        for version in (1, 2):
            options = exporter.ExportOptions(source, folder, shape=(480, 640), fused=True)
            assert exporter.export_network(options) == version
    assert git("status", "--porcelain") == ""
    model_configs.choose(folder, "detector", 1)
    model_configs.choose(folder, "yards", 2)
    with audit_trail.operation(folder, "switch", version=1):
        pass
    assert git("status", "--porcelain") == ""
    (folder / "yolo/config.pbtxt").write_text("# edited by hand\n")
    assert "yolo/config.pbtxt" in git("status", "--porcelain")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (raw_network(7 + 32), "a segmentation head"),
        (raw_network(8), "an oriented-box head"),
        (raw_network(7 + 51), "a pose head"),
        (raw_network(6), "6 rows are 2 classes"),
        (end_to_end_network(8, 420), "YOLOv5-style head"),
        (end_to_end_network(7), "more than boxes"),
        (end_to_end_network(38, second=True), "several: a segmentation head"),
        (flat_network(3), "classification head"),
        (flat_network(5), "a detection head gives"),
        (raw_network(names=None), "brings no class names"),
        (raw_network(names="{0: 'a', 1: 'a', 2: 'b'}"), "two classes are called 'a'"),
        (raw_network(names="{0: __import__"), "cannot be read"),
        (raw_network(batch=1), "batch is fixed at 1"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_was_found(model, said, tmp_path):
    with pytest.raises(NetworkUnusable, match=said):
        export_model(model, tmp_path)
    assert not (tmp_path / "repository" / "yolo" / "1").exists()


def test_a_fixed_size_is_taken_or_refused(tmp_path):
    model = raw_network(size=(128, 160))
    target, version = export_model(model, tmp_path)
    assert manifest_of(target, version)["network_width"] == 160
    with pytest.raises(NetworkUnusable, match="fixed at 128x160"):
        export_model(model, tmp_path, shape=(384, 640))


def test_labels_file_wins(tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("Mensch\nAuto\n\nHund\n")
    target, version = export_model(raw_network(names=None), tmp_path, labels=labels)
    assert manifest_of(target, version)["class_names"] == ["Mensch", "Auto", "Hund"]


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        ("16:9", (384, 640)),
        ("4:3", (480, 640)),
        ("1:1", (640, 640)),
        ("9:16", (640, 384)),
        ("2.35:1", (288, 640)),
    ],
)
def test_shape_follows_the_cameras_aspect_ratio(aspect, shape, tmp_path):
    source = save(raw_network(), tmp_path)
    assert build_parser().parse_args(["model", "export", str(source), "--aspect", aspect]).shape == shape


@pytest.mark.parametrize("shape", [(384, 641), (0, 640), (384, 8192)])
def test_impossible_shapes_are_refused(shape, tmp_path):
    with pytest.raises(NetworkUnusable, match="multiples of 32"):
        export_model(raw_network(), tmp_path, shape=shape)


def test_not_a_network(tmp_path, capsys):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    assert main(["model", "export", str(broken), "--repository", str(tmp_path / "repository")]) == 1
    assert "broken.onnx is no ONNX network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nothing.onnx"], "nothing.onnx cannot be read: No such file"),
        (["."], "cannot be read: Is a directory"),
        (["nothing.pt"], "nothing.pt"),
        (["empty.onnx"], "empty.onnx is no ONNX network"),
        (["half.onnx"], "half.onnx is no ONNX network"),
        (["wrong.onnx"], "wrong.onnx cannot be run at"),
        (["good.onnx", "--labels", "nothing.txt"], "nothing.txt"),
        (["good.onnx", "--labels", "latin1.txt"], "latin1.txt is not UTF-8 at byte 1: save it as such"),
        (["good.onnx", "--version", "0"], "a version is a whole number from 1 on, not 0"),
        (["good.onnx", "--version", "-2"], "a version is a whole number from 1 on, not -2"),
        (["good.onnx", "--version", str(2**63)], "a version is a whole number from 1 on"),
        (["good.onnx", "--version", "1"], "version 1 of yolo is there already"),
    ],
)
def test_what_is_no_network_or_version_is_named_and_nothing_of_it_stays(
    tmp_path, capsys, monkeypatch, options, said
):
    monkeypatch.chdir(tmp_path)
    good = save(raw_network(), tmp_path, "good.onnx").read_bytes()
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "half.onnx").write_bytes(good[: len(good) // 2])
    wrong = raw_network()
    wrong.graph.node[-1].op_type, wrong.graph.node[-1].domain = "Nothing", "nowhere"
    wrong.opset_import.add(domain="nowhere", version=1)
    save(wrong, tmp_path, "wrong.onnx")
    (tmp_path / "latin1.txt").write_bytes("M\xfcll".encode("latin-1"))
    assert main(["model", "export", "good.onnx", "--repository", "r"]) == 0
    before = sorted((tmp_path / "r").rglob("*"))
    assert main(["model", "export", *options, "--repository", "r"]) == 1
    assert said in capsys.readouterr().err
    assert sorted((tmp_path / "r").rglob("*")) == before


def test_a_missing_extra_is_said_with_its_remedy(tmp_path, capsys, monkeypatch):
    source = save(raw_network(), tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "sightline.models.export.exporter")
    assert main(["model", "export", str(source), "--repository", str(tmp_path / "repository")]) == 1
    assert "pip install 'sightline[models]'" in capsys.readouterr().err


def test_versions_are_kept_and_switched_without_the_extra():
    """The image of clients has no ONNX, and its service ``versions`` needs none."""
    code = (
        "import sys, sightline.cli.main, sightline.models.registry.operations, "
        "sightline.models.registry.triton_admin; from sightline.cli.main import MODELS; "
        "print(*(MODELS & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_command_says_what_it_did(tmp_path, capsys):
    source = save(raw_network(), tmp_path)
    assert main(["model", "export", str(source), "--repository", str(tmp_path / "repository")]) == 0
    assert "switch" not in (said := capsys.readouterr().out)
    assert "yolo version 1" in said
    assert main(["model", "export", str(source), "--repository", str(tmp_path / "repository")]) == 0
    assert "version 1 goes on serving: `sightline model switch 2`" in capsys.readouterr().out


def test_ambiguous_shapes_are_not_guessed():
    assert network_source.anchor_count(32, 32) == 21
    with pytest.raises(NetworkUnusable, match="YOLOv5-style"):
        network_source.tell_head([("output0", (1, 21, 6))], 1, (32, 32))


def test_checkpoint_without_ultralytics_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_ULTRALYTICS_PYTHON", str(tmp_path / "missing"))
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(b"")
    with pytest.raises(ultralytics_env.UltralyticsError, match="make ultralytics"):
        exporter.export_network(exporter.ExportOptions(checkpoint, tmp_path / "repository", install=True))


def test_checkpoint_gives_the_network_it_always_gave(tmp_path):
    checkpoint, wanted = SHARED / "models" / "yolov8n.pt", SHARED / "models" / "yolov8n.onnx"
    if not (checkpoint.is_file() and wanted.is_file()):
        pytest.skip("models/yolov8n.pt and .onnx of the shared folder are not here")
    try:
        ultralytics_env.interpreter()
    except ultralytics_env.UltralyticsError as error:
        pytest.skip(str(error))
    target = tmp_path / "repository"
    version = exporter.export_network(exporter.ExportOptions(checkpoint, target))
    picture = np.random.default_rng(0).uniform(0, 1, (1, 3, 384, 640)).astype(np.float32)
    ours = session(str(target / "yolo" / str(version) / "model.onnx")).run(None, {"images": picture})[0]
    theirs = session(str(wanted)).run(None, {"images": picture})[0]
    assert np.abs(ours - theirs).max() < 1e-2  # pixels; scores are far closer
    half = session(str(target / "yolo" / str(version) / "engine.onnx"))
    halved = half.run(None, {"images": picture.astype(np.float16)})[0]
    assert np.abs(halved - ours)[:, :4].max() < 1.0  # pixels
    assert np.abs(halved - ours)[:, 4:].max() < 0.01  # scores


MAKE = "import sys; from ultralytics import YOLO; YOLO(sys.argv[1] + '.yaml').save(sys.argv[1] + '.pt')"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("yolo11n", "anchors"),
        ("yolo26n", "end2end"),
        ("yolo11n-pose", "a pose head"),
        ("yolo26n-seg", "a segmentation head"),
    ],
)
def test_heads_of_real_architectures(name, head, tmp_path):
    """Untrained networks of Ultralytics' own definitions: their shapes are what tells them apart."""
    try:
        python = ultralytics_env.interpreter()
    except ultralytics_env.UltralyticsError as error:
        pytest.skip(str(error))
    environment = ultralytics_env.environment()
    subprocess.run([python, "-c", MAKE, name], cwd=tmp_path, env=environment, check=True, capture_output=True)
    target = tmp_path / "repository"
    options = exporter.ExportOptions(tmp_path / f"{name}.pt", target)
    if head.startswith("a "):
        with pytest.raises(NetworkUnusable, match=head):
            exporter.export_network(options)
    else:
        assert manifest_of(target, exporter.export_network(options))["head"] == head


def test_onnxruntime_tells_nobody_what_it_runs(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    code = "import sightline.models.evaluation.onnx_engine"
    command = [sys.executable, "-c", code]
    subprocess.run(command, env={**environment, "TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []  # where it keeps a number for its reports
