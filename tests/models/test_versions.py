"""Versions on the real server: switched and rolled back under load, bad ones refused, all on record."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, InferInput, model_config_pb2

from gpu import build_engines
from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.options import AnalysisOptions
from sightline.base.letterbox import split_i420
from sightline.base.stats import StageTimes
from sightline.base.threads import Bell
from sightline.camera.pipeline import Pipeline
from sightline.cli import main
from sightline.config import TritonOptions
from sightline.entities import STAGES, Box, Role
from sightline.errors import RepositoryError, ServerError
from sightline.inference.client import TritonConnection
from sightline.inference.leftovers import segment_prefix
from sightline.models.export import exporter
from sightline.models.registry import audit_trail
from sightline.models.registry import repository as model_repository
from sightline.models.registry.operations import Refused, Versions
from sightline.models.registry.triton_admin import AdminError, TritonAdmin
from sightline.serving import model_configs
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from sightline.video.mailbox import Mailbox
from support import toy
from support.fakes import frame, step
from support.people import ROOT, people_of
from support.shop import shop_of
from support.system import System, leftovers
from support.waiting import until

SIZE = (192, 320)
OTHER_NAMES = ("human", "vehicle")


def make_version(folder: Path, *, names: tuple[str, ...] = toy.CLASSES, size: tuple[int, int] = SIZE) -> int:
    """Export the toy network as the next version."""
    source = toy.write_network(folder.parent / f"toy-{size[0]}.onnx", height=size[0], width=size[1])
    labels = folder.parent / "labels.txt"
    labels.write_text("\n".join(names))
    return exporter.export_network(exporter.ExportOptions(source, folder, shape=size, labels=labels))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rehash(folder: Path, version: int) -> None:
    """Make the manifest agree with the files, as somebody would who edits both."""
    path = folder / "yolo" / str(version) / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files_sha256"]:
        step, file = name.split("/")
        manifest["files_sha256"][name] = model_repository.sha256(folder / step / str(version) / file)
    path.write_text(json.dumps(manifest))


def tree(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """Mode and content (or what a link leads to) by path, but for the log and what Python compiles."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "",
        )
        for path in folder.rglob("*")
        if path.name != audit_trail.FILE and "__pycache__" not in path.parts
    }


def served_texts(folder: Path) -> dict[str, str]:
    """What Triton reads of ``detector``, by the name of its configuration."""
    paths = (folder / "detector" / "configs").glob("*.served.pbtxt")
    return {path.name.removesuffix(".served.pbtxt"): path.read_text() for path in paths}


def change_manifest(folder: Path, version: int, **values: object) -> None:
    path = folder / "yolo" / str(version) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions") / "repository"
    make_version(folder)
    make_version(folder, names=OTHER_NAMES)
    return folder


@pytest.fixture
def folder(two_versions: Path, tmp_path: Path) -> Path:
    """Two good versions that differ in the names of their classes; a test may spoil it."""
    shutil.copytree(two_versions, tmp_path / "repository")
    return tmp_path / "repository"


# --- without a server -------------------------------------------------------------------------------


def test_a_version_as_exported_is_good(two_versions: Path) -> None:
    assert model_repository.problems(two_versions, 1) == []
    assert model_repository.problems(two_versions, 2) == []


def spoil_hash(folder: Path) -> None:
    truncate(folder / "yolo/2/model.onnx")


def spoil_network(folder: Path) -> None:
    truncate(folder / "yolo/2/model.onnx")
    rehash(folder, 2)


def spoil_shapes(folder: Path) -> None:
    toy.write_network(folder / "yolo/2/model.onnx", height=96, width=160)
    rehash(folder, 2)


def spoil_head(folder: Path) -> None:
    change_manifest(folder, 2, output_shape=[6, 999])


def spoil_classes(folder: Path) -> None:
    change_manifest(folder, 2, class_names=["person", "car", "dog"])


def spoil_names(folder: Path) -> None:
    change_manifest(folder, 2, class_names=["person", "person"])


def spoil_manifest(folder: Path) -> None:
    truncate(folder / "yolo/2/manifest.json")


def spoil_step(folder: Path) -> None:
    (folder / "postprocess/2/engine.onnx").unlink()


def spoil_program(folder: Path) -> None:
    (folder / "detector/2/model.py").unlink()


BAD = {
    spoil_hash: "its hash differs",
    spoil_network: "cannot be run",
    spoil_shapes: "cannot be run at 192x320",
    spoil_head: "the manifest says",
    spoil_classes: "the manifest names 3",
    spoil_names: "doubled",
    spoil_manifest: "is no manifest",
    spoil_step: "postprocess/2/engine.onnx is missing",
    spoil_program: "detector/2/model.py is missing",
}


@pytest.mark.parametrize(("spoil", "text"), BAD.items(), ids=lambda item: getattr(item, "__name__", None))
def test_what_is_wrong_with_a_version_is_said(folder: Path, spoil, text: str) -> None:
    spoil(folder)
    assert text in "; ".join(model_repository.problems(folder, 2))
    assert main(["model", "verify", "2", "--repository", str(folder), "--offline"]) == 1
    assert audit_trail.read(folder)[-1]["result"] == "failed"
    assert main(["model", "list", "--repository", str(folder), "--offline"]) == 0


def test_the_list_says_that_a_files_precision_is_a_gpus(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "list", "--repository", str(folder), "--offline"]) == 0
    assert "fp16 on a GPU" in capsys.readouterr().out.splitlines()[1]


def test_a_new_version_serves_once_it_is_chosen_and_the_first_one_at_once(folder: Path) -> None:
    assert model_configs.active(folder) == 1
    before = tree(folder)
    assert make_version(folder) == 3
    after = tree(folder)
    assert {path: after[path] for path in before} == before
    assert {path.split("/")[1] for path in after.keys() - before} == {"3"}, "its own folders alone"


def test_where_nothing_was_ever_chosen_a_new_version_changes_nothing(folder: Path) -> None:
    """As an earlier release left it, that served the newest."""
    (folder / "detectors.json").unlink()
    assert model_configs.active(folder) == 2
    assert make_version(folder) == 3
    assert model_configs.active(folder) == 2
    (folder / "detectors.json").unlink()
    Versions(folder, None).retire(2)
    Versions(folder, None).restore(2)
    assert model_configs.active(folder) == 3


def test_what_an_operator_has_tuned_stays(folder: Path) -> None:
    cpu = folder / "detector/configs/cpu.pbtxt"
    tuned = cpu.read_text().replace('"fp32"', '"bf16"').replace("max_batch_size: 8", "max_batch_size: 7")
    cpu.write_text(tuned)
    model_configs.choose(folder, "detector", 1)
    model_configs.choose(folder, "yards", 2)
    assert cpu.read_text() == tuned, "what people edit is never written"
    for name, version, classes in (("detector", 1, toy.CLASSES), ("yards", 2, OTHER_NAMES)):
        text = (folder / name / "configs/cpu.served.pbtxt").read_text()
        assert "max_batch_size: 7" in text
        assert f'name: "{name}"' in text
        assert f"versions: [ {version} ]" in text
        found = dict(re.findall(r'key: "(\w+)" value \{ string_value: ("(?:[^"\\]|\\.)*") \}', text))
        assert json.loads(found["precision"]) == "bf16"
        assert json.loads(json.loads(found["class_names"])) == list(classes)


def test_a_candidate_on_a_gpu_gives_way_in_its_own_steps_alone(folder: Path) -> None:
    def lowest(model: str) -> bool:
        text = (folder / model / "configs/ensemble.served.pbtxt").read_text()
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        return bool(config.optimization.priority == config.optimization.PRIORITY_MIN)

    model_configs.choose(folder, "detector", 1)
    model_configs.choose(folder, "candidate", 2, nice=19)
    assert {step: lowest(f"{step}-2") for step in model_configs.STEPS} == dict.fromkeys(
        model_configs.STEPS, True
    )
    assert not any(lowest(f"{step}-1") for step in model_configs.STEPS)
    model_configs.choose(folder, "detector", 2)  # the candidate's steps serve live, too
    assert not any(lowest(f"{step}-2") for step in model_configs.STEPS)


def test_a_choice_that_cannot_be_read_is_named(folder: Path) -> None:
    model_configs.choose(folder, "detector", 1)
    truncate(folder / "detectors.json")
    with pytest.raises(RepositoryError, match=r"detectors\.json cannot be read"):
        model_configs.active(folder)
    with pytest.raises(ServerError, match=r"detectors\.json cannot be read"):
        TritonServer(folder).start()


def test_the_trail_survives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    audit_trail.record(tmp_path, action="switch", version=1, result="ok")
    with (tmp_path / audit_trail.FILE).open("a") as file:
        file.write('{"action": "swi')
    audit_trail.record(tmp_path, action="switch", version=2, result="ok")
    assert [entry["result"] for entry in audit_trail.read(tmp_path)] == ["ok", "unreadable", "ok"]


def test_one_operation_at_a_time_and_no_secret_in_the_trail(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        audit_trail.operation(tmp_path, "switch", version=1),
    ):
        with pytest.raises(Refused, match="another operation"), audit_trail.operation(tmp_path, "load"):
            pass
        raise RuntimeError("rtsp://me:hunter2@host failed")
    first, last = audit_trail.read(tmp_path)
    assert (first["result"], last["result"]) == ("started", "failed")
    assert last["user"]
    assert last["host"]
    assert "hunter2" not in (tmp_path / audit_trail.FILE).read_text()


def test_the_number_of_a_retired_version_is_never_given_again(folder: Path) -> None:
    Versions(folder, None).retire(2)
    assert not (folder / "detector/2").exists()
    assert make_version(folder) == 3
    Versions(folder, None).restore(2)
    assert model_configs.versions(folder) == [1, 2, 3]
    assert model_repository.problems(folder, 2) == []
    Versions(folder, None).retire(3, delete=True)
    assert not list(folder.glob("*/.retired-3/*.onnx"))
    with pytest.raises(RepositoryError, match="deleted"):
        Versions(folder, None).restore(3)
    assert make_version(folder) == 4


def test_what_cannot_be_moved_stays_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retiring, and an export in the place of a version without a network, fail at each rename in turn."""
    (folder / "yolo/3").mkdir()
    before, rename = tree(folder), Path.rename
    for act in (lambda: Versions(folder, None).retire(2), lambda: make_version(folder)):
        for fails_at in range(1, 10):
            calls = iter(range(1, 100))

            def failing(path: Path, target: Path, calls: Iterator[int] = calls, at: int = fails_at) -> Path:
                if next(calls) == at:
                    raise PermissionError(13, "Permission denied", str(target))
                return rename(path, target)

            monkeypatch.setattr(Path, "rename", failing)
            try:
                act()
            except (RepositoryError, PermissionError) as error:
                assert "ermission denied" in str(error)
                assert tree(folder) == before
            else:
                break
            finally:
                monkeypatch.undo()
        assert fails_at > 4
        before = tree(folder)


@pytest.mark.parametrize("action", [["switch", "2"], ["rollback"]], ids=["switch", "rollback"])
def test_a_version_without_classes_that_cameras_count_is_refused_unless_forced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], action: list[str]
) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        f"cameras:\n  yard: {{url: rtsp://h/, count: {{classes: [{toy.CLASSES[0]}, {OTHER_NAMES[0]}]}}}}\n"
        "  other: {url: rtsp://h/, detect: {model: other}, count: {classes: [xyz]}}\n"
    )
    audit_trail.record(folder, action="switch", detector="detector", version=1, previous=2, result="ok")
    words = ["model", *action, "--offline", "--repository", str(folder), "-c", str(config)]
    assert main(words) != 0
    said = capsys.readouterr().err
    assert "camera 'yard', key 'count.classes': " in said
    assert f"has no class {toy.CLASSES[0]!r}" in said
    assert "--force" in said
    assert "other" not in said
    assert main([*words, "--force"]) == 0
    assert "from Triton's next start on" in capsys.readouterr().out
    assert model_configs.active(folder) == 2


def test_plans_of_a_gpu_are_verified_and_a_managed_detector_is_left_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(step: Path, *_: object) -> Path:
        path = tmp_path / f"{step.parent.name}-{step.name}.plan"
        path.write_bytes(step.joinpath("engine.onnx").read_bytes()[:1000])
        return path

    for name, answer in (("find_trtexec", "trtexec"), ("gpu", "H200"), ("tensorrt_version", "v11")):
        monkeypatch.setattr(build_engines, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(build_engines, "plan", plan)
    target = tmp_path / "models"
    assert [build_engines.build(folder, target, tmp_path, version) for version in (1, 2)] == [1, 2]
    assert model_repository.problems(target, 2) == []
    model_configs.choose(target, "detector", 1)
    names = {path.name for path in (target / "detector/configs").iterdir()}
    assert names == {"fused.pbtxt", "fused.served.pbtxt", "ensemble.served.pbtxt"}
    fused, ensemble = served_texts(target)["fused"], served_texts(target)["ensemble"]
    assert "version_policy { specific { versions: [ 1 ] } }" in fused  # follows, whichever form serves
    assert 'model_name: "yolo-1"' in ensemble
    assert (target / "yolo-1/1/model.plan").is_file()
    make_version(folder)
    assert build_engines.build(folder, target, tmp_path) == 3
    assert model_configs.active(target) == 1
    (target / "yolo/2/model.plan").write_bytes(b"another")
    assert model_repository.problems(target, 2) == [
        "yolo/2/model.plan is not the plan that was built: its hash differs"
    ]


# --- what people get wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["switch", "7"], "version 7 is not in"),
        (["switch", "-1"], "version -1 is not in"),
        (["switch", "2", "--detector", "a b"], "'a b' cannot be a detector's name"),
        (["switch", "2", "--detector", "yolo"], "'yolo' cannot be a detector's name"),
        (["switch", "3"], "version 3 is not in"),
        (["load", "7"], "version 7 is not in"),
        (["unload", "7"], "version 7 is not in"),
        (["retire", "7"], "version 7 is not in"),
        (["retire", "1"], "version 1 serves (detector): switch first"),
        (["restore", "7"], "version 7 has not been retired"),
        (["show", "7"], "version 7 is not in"),
        (["remove", "yards"], "'yards' is not a detector that can be removed"),
        (["remove", "../../etc"], "cannot be a detector's name"),
        (["rollback"], "no earlier version of detector is known"),
    ],
)
def test_a_version_or_name_that_is_none_is_refused_and_nothing_changes(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    (folder / "yolo/3").mkdir()
    (folder / "yolo/2.bak").mkdir()
    (folder / "yolo/2.bak/manifest.json").write_text("{}")
    (folder / "yolo/.retired-3.bak").mkdir()
    before = tree(folder)
    assert main(["model", *words, "--offline", "--repository", str(folder)]) == 1
    assert said in capsys.readouterr().err
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ('{"detector": {"version": "1"}}', "a version that is no number"),
        ('{"detector": {"version": null}}', "a version that is no number"),
        ('{"detector": 1}', "cannot be read"),
        ("[1]", "cannot be read"),
        ('{"detector": {"version": 9}}', "version 9 is not in"),
    ],
)
def test_choices_that_are_none_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], choice: str, said: str
) -> None:
    (folder / "detectors.json").write_text(choice)
    before = tree(folder)
    assert main(["model", "load", "2", "--repository", str(folder), "--url", "127.0.0.1:1"]) == 1
    assert main(["model", "switch", "2", "--detector", "new", "--offline", "--repository", str(folder)]) == 1
    assert said in capsys.readouterr().err
    assert tree(folder) == before


def test_an_address_with_a_scheme_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--repository", str(folder), "--url", "http://127.0.0.1:8001"]
    assert main(["model", "list", *where]) == 1
    assert "HOST:PORT or unix:/PATH, not 'http://127.0.0.1:8001'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("operation", "offline"),
    [
        (["list"], "--offline looks at the files alone"),
        (["switch", "2"], "--offline changes the files alone"),
        (["rollback"], "--offline changes the files alone"),
        (["load", "2"], ""),  # it cannot
    ],
)
def test_without_a_triton_the_cure_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], operation: list[str], offline: str
) -> None:
    assert main(["model", *operation, "--repository", str(folder), "--url", "127.0.0.1:1"]) == 1
    said = capsys.readouterr().err
    assert "start it with `sightline triton serve`, or name the one that runs" in said
    assert ("--offline" in said) == bool(offline)
    assert offline in said


def test_the_log_may_be_damaged(folder: Path) -> None:
    bad = {"detector": "detector", "result": "ok"}
    lines = ["[]", "3", json.dumps(bad), json.dumps(bad)[:-1]]
    good = bad | {"action": "switch", "version": 1, "previous": 2}
    (folder / audit_trail.FILE).write_text("\n".join([*lines, json.dumps(good)]))
    assert main(["model", "log", "--repository", str(folder)]) == 0
    assert main(["model", "rollback", "--offline", "--repository", str(folder)]) == 0
    assert model_configs.active(folder) == 2


AS_NOBODY = """
import os, sys
import sightline.models.export.exporter, sightline.models.registry.triton_admin  # as long as they can be read
from sightline.cli import main
from sightline.models.registry import operations
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_repository_of_another_user_is_named_and_stays_as_it_is(two_versions: Path) -> None:
    with tempfile.TemporaryDirectory() as place:  # the tests' own folder is closed to others
        folder = Path(place, "repository")
        shutil.copytree(two_versions, folder)
        source = toy.write_network(Path(place, "toy.onnx"))
        Path(place).chmod(0o755)
        before = tree(folder)
        switch, retire = ["switch", "2", "--offline", "--force"], ["retire", "2", "--offline"]
        for words in (switch, retire, ["export", str(source)]):
            command = [sys.executable, "-c", AS_NOBODY, "model", *words, "--repository", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 1, words
            assert "ermission denied" in done.stderr
            assert str(folder) in done.stderr
            assert done.stderr.count("\n") == 1, done.stderr
            assert tree(folder) == before


# --- whatever fails, everything is as it was --------------------------------------------------------


class Server(TritonAdmin):
    """Stands in for Triton: loads what the files say, and fails at one of its calls."""

    def __init__(self, folder: Path, *, ensemble: bool) -> None:
        self.folder, self._ensemble = folder, ensemble
        self.models: dict[str, dict[int, str]] = {}
        self.calls, self.fails_at = 0, 0

    def _call(self, *_: object) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise AdminError("out of memory")

    def _read(self, name: str) -> dict[int, str]:
        text = (self.folder / name / "configs/ensemble.served.pbtxt").read_text()
        found = re.search(r"versions: \[ (\d+) \]", text)
        assert found is not None
        return {int(found[1]): "READY"}

    def load(self, name: str) -> None:
        """Load it with its steps, and fail behind that rather than before."""
        (version,) = found = self._read(name)
        steps = [f"{step}-{version}" for step in model_configs.STEPS if self._ensemble]
        self.models |= {step: self._read(step) for step in steps} | {name: found}
        self._call()

    def unload(self, name: str) -> None:
        self._call()
        del self.models[name]

    def states(self) -> dict[str, dict[int, str]]:
        self._call()
        return {name: dict(versions) for name, versions in self.models.items()}

    def is_ensemble(self, name: str, version: int) -> bool:
        self._call()
        return self._ensemble

    def probe(self, name: str) -> str:
        self._call()
        (version,) = self.models[name]
        return str(model_configs.read_manifest(self.folder, version)["model_version"])


def as_exported(operations: Versions) -> None:
    """The first version serves."""


def as_an_earlier_release_left_it(operations: Versions) -> None:
    (operations.folder / "detectors.json").unlink()


def with_a_shadow(operations: Versions) -> None:
    operations.load(2, nice=19)


def with_another_detector(operations: Versions) -> None:
    operations.switch(2, "yards")


@pytest.mark.parametrize("name", ["detector", "fresh"])
@pytest.mark.parametrize("ensemble", [False, True], ids=["one process", "ensemble"])
@pytest.mark.parametrize(
    "before", [as_exported, as_an_earlier_release_left_it, with_a_shadow, with_another_detector]
)
def test_a_switch_that_fails_leaves_files_and_server_as_they_were(
    folder: Path, before: Callable[[Versions], None], ensemble: bool, name: str
) -> None:
    server = Server(folder, ensemble=ensemble)
    operations = Versions(folder, server)
    server.load("detector")
    before(operations)
    files, models = tree(folder), server.states()
    for number in range(1, 100):
        server.calls, server.fails_at = 0, number
        try:
            operations.switch(2, name)
            break
        except AdminError:
            server.fails_at = 0
            assert (tree(folder), server.states()) == (files, models), f"after call {number} failed"
    assert number > 6, "it failed everywhere, then it succeeded"
    assert server.models[name] == {2: "READY"}
    assert model_configs.active(folder, name) == 2


def test_a_full_disk_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """Files of so many bytes are the largest that can be written: the disk is full at each file in turn."""
    files, code = tree(folder), "import sys; from sightline.cli import main; sys.exit(main(sys.argv[1:]))"
    source = toy.write_network(tmp_path / "toy.onnx")
    where = ["--repository", str(folder)]
    commands = {
        (0, 1000, 10**7): ["switch", "2", "--offline", "--force"],
        (10, 2000, 10**7): ["export", str(source), "--shape", "192x320"],
    }
    for sizes, words in commands.items():
        for size in sizes:
            limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); "
            command = [sys.executable, "-c", limit + code, "model", *words, *where]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode == 0) is (size == sizes[-1]), done.stderr
            if done.returncode:
                assert re.fullmatch(r"sightline: .*(cannot be written|too large).*\n", done.stderr)
                assert tree(folder) == files
        files = tree(folder)


# --- the real server --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_process(
    two_versions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, TritonServer]]:
    """A repository and its server, with ``detector`` as on a CPU."""
    folder = tmp_path_factory.mktemp("one") / "repository"
    shutil.copytree(two_versions, folder)
    with TritonServer(folder, log_path=folder.parent / "log") as server:
        yield folder, server


@pytest.fixture(scope="module")
def ensemble(
    two_versions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, TritonServer]]:
    """The same with ``detector`` as on a GPU: an ensemble, here of Python backends."""
    folder = tmp_path_factory.mktemp("ensemble") / "repository"
    shutil.copytree(two_versions, folder)
    shutil.rmtree(folder / "detector" / "configs")
    with TritonServer(folder, log_path=folder.parent / "log") as server:
        yield folder, server


@pytest.fixture(params=["one_process", "ensemble"])
def served(request: pytest.FixtureRequest) -> tuple[Path, TritonServer]:
    """Either of them, with version 1 serving and nothing known of the past."""
    found: tuple[Path, TritonServer] = request.getfixturevalue(request.param)
    folder, server = found
    with TritonAdmin(server.grpc_url) as control:
        if control.ready("detector") != [1]:
            Versions(folder, control).switch(1)
    (folder / audit_trail.FILE).unlink(missing_ok=True)
    return found


def scene() -> np.ndarray:
    """I420 [1, 288, 320] with a red and a blue rectangle."""
    rgb = np.full((192, 320, 3), toy.GREY, np.uint8)
    toy.draw(rgb, [toy.Passage(0, 1, toy.RED)], 0.2)
    toy.draw(rgb, [toy.Passage(0, 1, toy.BLUE)], 0.7)
    return av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p").to_ndarray()[None]


def ask(client: InferenceServerClient, model: str = "detector") -> tuple[int, int]:
    """Version that answered, and how many boxes it gave."""
    frame = InferInput("frame", [1, 288, 320], "UINT8")
    frame.set_data_from_numpy(scene())
    answer = client.infer(model, [frame])
    return int(answer.get_response().model_version), int(answer.as_numpy("num_dets")[0, 0])


class Load:
    """Clients that ask without a pause; what each request gave, with its times."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self.answers: list[tuple[float, float, object]] = []

    @contextmanager
    def running(self, clients: int = 3) -> Iterator["Load"]:
        threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _ask(self) -> None:
        with InferenceServerClient(self._url) as client:
            while not self._stop.wait(0.02):
                started = time.monotonic()
                try:
                    answer: object = ask(client)
                except Exception as error:  # noqa: BLE001 - it is what the test looks at
                    answer = error
                self.answers.append((started, time.monotonic(), answer))

    def between(self, start: float, end: float) -> set[object]:
        """Answers to requests that began and ended within a time."""
        return {answer for began, ended, answer in self.answers if start <= began and ended <= end}


@pytest.mark.triton
def test_switched_and_rolled_back_under_load_without_one_failed_request(
    served: tuple[Path, TritonServer],
) -> None:
    folder, server = served
    marks = [time.monotonic()]
    with Load(server.grpc_url).running() as load, TritonAdmin(server.grpc_url) as control:
        operations = Versions(folder, control, why="a test")

        def quiet_for_a_while() -> None:
            """So long that requests begin and end in it, also on a machine that is busy with other tests."""
            time.sleep(0.3)
            until(lambda: load.between(marks[-1], math.inf), 10)

        for act in (lambda: operations.switch(2), operations.rollback):
            quiet_for_a_while()
            marks.append(time.monotonic())
            act()
            marks.append(time.monotonic())
        quiet_for_a_while()
    marks.append(time.monotonic())
    assert {answer for _, _, answer in load.answers} == {(1, 2), (2, 2)}, (
        "every answer: 2 boxes, version 1 or 2"
    )
    quiet = [load.between(*pair) for pair in zip(marks[::2], marks[1::2], strict=True)]
    assert quiet == [{(1, 2)}, {(2, 2)}, {(1, 2)}]
    done = [entry for entry in audit_trail.read(folder) if entry["result"] == "ok"]
    steps = [(entry["action"], entry["version"], entry["previous"]) for entry in done]
    assert steps == [("switch", 2, 1), ("rollback", 1, 2)]
    assert {entry["why"] for entry in done} == {"a test"}


@pytest.mark.triton
def test_the_api_switches_and_rolls_back_as_whoever_asks(
    one_process: tuple[Path, TritonServer], tmp_path: Path
) -> None:
    folder, server = one_process
    (folder / audit_trail.FILE).unlink(missing_ok=True)
    with people_of(f"sqlite:///{tmp_path}/all.db") as people, shop_of(people, tmp_path) as shop:
        shop.config_path.write_text(
            f"models: {{repository: {folder}}}\ntriton: {{url: '{server.grpc_url}'}}\n"
            "cameras: {gate: {url: rtsp://h/}}\n"
        )
        shop.control.reload("test")
        token = people.tokens.create("ops", Role.ENGINEER, ROOT, days=1)
        with Load(server.grpc_url).running(clients=1) as load, TritonAdmin(server.grpc_url) as control:
            served = control.ready("detector")
            for path, body, ready in (
                ("switch", {"version": 3 - served[0], "why": "a test"}, [3 - served[0]]),
                ("rollback", {}, served),
            ):
                answer = shop.front.ask(f"/api/v1/models/detector/{path}", "POST", body, token=token)
                assert answer.status == 200, answer.body
                assert answer.json["done"] is True
                assert control.ready("detector") == ready
        assert {answer for _, _, answer in load.answers} <= {(1, 2), (2, 2)}, "no request has failed"
        assert [entry.who for entry in people.audit() if entry.action == "change_model"] == ["token ops"] * 2
    done = [entry for entry in audit_trail.read(folder) if entry["result"] == "ok"]
    assert [(entry["action"], entry["operator"], entry.get("why")) for entry in done] == [
        ("switch", "token ops", "a test"),
        ("rollback", "token ops", None),
    ]


@pytest.mark.triton
def test_a_version_that_is_not_good_never_serves_and_the_old_one_goes_on(
    served: tuple[Path, TritonServer], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, server = served
    broken, failing = make_version(folder), make_version(folder)
    truncate(folder / f"yolo/{broken}/model.onnx")
    for model in ("detector", "yolo"):  # good files, but a program that fails inside the server
        path = folder / model / str(failing) / "model.py"
        path.write_text(path.read_text().replace("self.settings =", "self.settings = 1 / 0 #"))
    common = ["--repository", str(folder), "--url", server.grpc_url]
    with Load(server.grpc_url).running(clients=1) as load, TritonAdmin(server.grpc_url) as control:
        until(lambda: load.answers)
        before, ready = tree(folder), {name: control.ready(name) for name in control.states()}
        assert main(["model", "switch", str(broken), *common]) == 1
        assert "its hash differs" in capsys.readouterr().err
        assert main(["model", "switch", str(failing), *common]) == 1
        assert "division by zero" in capsys.readouterr().err
        assert {answer for _, _, answer in load.answers} == {(1, 2)}
        assert {name: found for name in control.states() if (found := control.ready(name))} == ready
    assert tree(folder) == before
    results = [
        entry["result"] for entry in audit_trail.read(folder) if entry.get("version") in {broken, failing}
    ]
    assert results == ["started", "refused", "started", "failed"]


@pytest.mark.triton
def test_a_switch_that_fails_at_its_last_step_is_undone(served: tuple[Path, TritonServer]) -> None:
    folder, server = served

    class Failing(TritonAdmin):
        def load(self, name: str) -> None:
            if name == "detector":
                raise AdminError("out of memory")
            super().load(name)

    with Failing(server.grpc_url) as control:
        before, states = tree(folder), control.states()
        with pytest.raises(AdminError, match="out of memory"):
            Versions(folder, control).switch(2)
        assert tree(folder) == before
        ready = {name for name, found in states.items() if "READY" in found.values()}
        assert {name for name in control.states() if control.ready(name)} == ready
    assert audit_trail.read(folder)[-1]["result"] == "failed"


@pytest.mark.triton
def test_what_serves_is_not_retired_and_what_serves_beside_is_unloaded_first(
    served: tuple[Path, TritonServer], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, server = served
    common = ["--repository", str(folder), "--url", server.grpc_url]
    with TritonAdmin(server.grpc_url) as control, InferenceServerClient(server.grpc_url) as client:
        (serving,) = control.ready("detector")
        idle = 3 - serving
        assert main(["model", "retire", str(serving), *common]) == 1
        assert "switch first" in capsys.readouterr().err
        assert main(["model", "load", str(idle), *common]) == 0
        assert ask(client, f"detector-{idle}") == (idle, 2)
        assert main(["model", "list", "--json", *common]) == 0
        out = capsys.readouterr().out
        listed = {item["version"]: item for item in json.loads(out[out.index("[") :])}
        assert {"configured: detector", "serves: detector"} <= set(listed[serving]["state"])
        assert listed[idle]["state"] == [f"serves: detector-{idle}"]
        assert listed[serving]["served_precision"] == listed[idle]["served_precision"] == "fp32"
        assert main(["model", "list", *common]) == 0
        table = [line for line in capsys.readouterr().out.splitlines() if "serves:" in line]
        assert [" fp32 " in line for line in table] == [True, True]
        assert main(["model", "retire", str(idle), *common]) == 0
        assert not control.ready(f"detector-{idle}")
        assert main(["model", "rollback", *common]) == 1
        assert "no earlier version" in capsys.readouterr().err
        assert main(["model", "restore", str(idle), *common]) == 0
        assert ask(client) == (serving, 2)
    assert main(["model", "show", str(idle), "--repository", str(folder), "--offline"]) == 0
    assert "retire 2" in (shown := capsys.readouterr().out) or "retire 1" in shown
    assert main(["model", "log", "--last", "2", "--repository", str(folder), "--offline"]) == 0
    assert f"restore {idle}: ok" in capsys.readouterr().out
    assert main(["model", "load", str(idle), "--repository", str(folder), "--offline"]) == 1


# --- clients follow ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(ensemble: tuple[Path, TritonServer]) -> int:
    """A version of half the size."""
    return make_version(ensemble[0], size=(96, 160))


def segments() -> list[str]:
    """Segments of shared memory of this process' detectors."""
    return [path.name for path in Path("/dev/shm").glob(f"{segment_prefix('door')}{os.getpid()}-*")]


@pytest.mark.fault(16)
@pytest.mark.triton
def test_a_camera_follows_to_other_names_and_sizes_without_losing_a_frame(
    ensemble: tuple[Path, TritonServer], small: int
) -> None:
    folder, server = ensemble
    with TritonAdmin(server.grpc_url) as control:
        if control.ready("detector") != [2]:
            Versions(folder, control).switch(2)
    bell = Bell()
    mailbox, stages = Mailbox(bell), StageTimes(STAGES)
    pipeline = Pipeline(mailbox, CameraAnalysis(AnalysisOptions("door")), stages, bell)
    connection = TritonConnection(TritonOptions(url=server.grpc_url), "door")
    detector = connection.model()
    pipeline.analysis.use_model(detector.connect())
    picture = ScenePicture()
    seen: list[str] = []

    def act() -> None:
        with TritonAdmin(server.grpc_url) as control:
            for version in (small, 1):
                Versions(folder, control).switch(version)

    with ThreadPoolExecutor(1) as pool:
        switching = pool.submit(act)
        index = more = 0
        while more < 20:
            if not len(pipeline.mailbox):  # as many as can be detected: none shall be dropped for speed
                more += switching.done()
                pipeline.mailbox.put(frame(index, 1_700_000_040 + index / 1000, picture))
                index += 1
            bell.wait(1.0)
            step(pipeline, detector)
            time.sleep(0.01)  # the server needs a core for what it loads
            model = pipeline.analysis.model
            assert model is not None
            if not seen or seen[-1] != model.version:
                seen.append(model.version)
        switching.result()
    until(lambda: step(pipeline, detector) or pipeline.frames + pipeline.dropped == index)
    names = {version: model_configs.read_manifest(folder, version) for version in (2, small, 1)}
    assert seen == [manifest["model_version"] for manifest in names.values()]
    assert (pipeline.dropped, pipeline.mailbox.dropped) == (0, 0)
    assert (detector.info.network_height, detector.info.network_width) == SIZE
    until(
        lambda: step(pipeline, detector) or len(segments()) == 1
    )  # slots of earlier versions are given back
    counts, sources = pipeline.analysis.rows()
    assert sources[-1].model_version == seen[-1]
    assert sum(row.count for row in counts) <= 2
    connection.close()
    assert segments() == []


class ScenePicture:
    """The scene as a camera's picture, scaled to what the network takes."""

    width, height = 320, 192
    scale_s = 0.0

    def __init__(self) -> None:
        self._frame = av.VideoFrame.from_ndarray(scene()[0], "yuv420p")

    def write_i420(self, out: np.ndarray, box: Box | None = None) -> None:
        planes = split_i420(out, box)
        height, width = planes[0].shape
        scaled = self._frame.reformat(width=width, height=height).to_ndarray()
        for part, plane in zip(planes, split_i420(scaled), strict=True):
            part[:] = plane


@pytest.mark.triton
@pytest.mark.rtsp
def test_status_and_rows_name_the_version_and_a_switch_doubles_no_count(
    ensemble: tuple[Path, TritonServer], small: int, tmp_path: Path
) -> None:
    folder, server = ensemble
    full_name = {v: model_configs.read_manifest(folder, v)["model_version"] for v in (1, small)}
    clip = toy.write_clip(tmp_path / "standing.mp4", [toy.Passage(0, 1e6)], seconds=5)
    with TritonAdmin(server.grpc_url) as control, RtspServer({"door": clip, "yard": clip}) as rtsp:
        operations = Versions(folder, control)
        if control.ready("detector") != [1]:
            operations.switch(1)
        operations.switch(1, "yards")
        cameras = {
            "door": {"url": rtsp.url("door")},
            "yard": {"url": rtsp.url("yard"), "detect": {"model": "yards"}},
        }
        with System(tmp_path, cameras, triton_url=server.grpc_url) as system:
            for name in cameras:
                system.until_state(name, "online")
                system.until_frames(name, 15)
                assert system.camera(name)["model_version"] == full_name[1]
            operations.switch(small)
            until(lambda: system.camera("door")["model_version"] == full_name[small])
            system.until_frames("door", 15)
            assert system.camera("yard")["model_version"] == full_name[1], "its own detector was not switched"
            system.stop()
            rows = {row["source"]: row["model_version"] for row in system.rows("source_windows")}
            assert rows == {"door": full_name[small], "yard": full_name[1]}
            assert "frame dropped" not in system.log()
            assert "detector lost" not in system.log()
            assert system.counts("door") == system.counts("yard") == {"person": 1}
        operations.remove("yards")
        assert not control.ready("yards")
        assert model_configs.detectors(folder) == ["detector"]
    assert leftovers() == []
