"""The repository tests itself: imports, sample config, commands, contracts, and what must not be in it."""

import argparse
import ast
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from sightline.cli import build_parser
from sightline.config import json_schema, parse_config
from sightline.inference import ring

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "client" / "sightline"

#: The rooms from left to right: left never imports right, and rooms of one line do not import each other.
ROOMS = """
entities errors
base
config
video inference analysis store serving
models
features
camera
access
supervisor
simulation
cli
"""
#: Who may import what does not come with Python. numpy and our own package are everybody's.
FOREIGN = {
    "av": {"video", "simulation", "models"},
    "tritonclient": {"inference", "models"},
    "grpc": {"inference"},
    "pydantic": {"config", "supervisor"},
    "pydantic_core": {"config"},
    "yaml": {"config", "simulation"},
    "sqlalchemy": {"store"},
    "sqlmodel": {"store"},
    "alembic": {"store"},
    "openvino": {"serving"},
    "tensorrt_rtx_bindings": {"serving", "models"},
    "starlette": {"supervisor"},
    "uvicorn": {"supervisor"},
    "prometheus_client": {"supervisor"},
    "cv2": {"video", "models", "simulation"},
    "onnx": {"models"},
    "onnxruntime": {"models"},
    "matplotlib": {"models"},
    "trackeval": {"simulation"},
    "cuda": {"base"},
    "cupy": {"video"},
    "apprise": {"supervisor"},
    "confluent_kafka": {"supervisor"},
    "paho": {"supervisor"},
    "obstore": {"supervisor"},
    "argon2": {"access"},
    "authlib": {"access"},
    "joserfc": {"access"},
    "requests": {"access"},
    "pyarrow": {"store"},
}
FREE = {"numpy", "sightline", *sys.stdlib_module_names}


def room_of(path: Path) -> str:
    """The room that a file of the package is in; a file at the top is a room of its own."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def source_files() -> list[Path]:
    """The package's files in rooms."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem[0] != "_")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "sightline":
                yield from (f"sightline.{name.name}" for name in node.names)
            else:
                yield node.module


def test_left_never_imports_right() -> None:
    level_of = {room: level for level, line in enumerate(ROOMS.strip().splitlines()) for room in line.split()}
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {used}"
        for path in source_files()
        for module in imports(path)
        if module.startswith("sightline.")
        if (used := module.split(".")[1]) != (room := room_of(path)) and level_of[used] >= level_of[room]
    ]
    assert wrong == []


def test_foreign_libraries_stay_in_their_rooms() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {library}"
        for path in source_files()
        for module in imports(path)
        if (library := module.split(".")[0]) not in FREE
        if room_of(path) not in FOREIGN.get(library, set())
    ]
    assert wrong == []


def test_the_package_never_imports_ultralytics() -> None:
    found = [
        path for path in PACKAGE.rglob("*.py") if "ultralytics" in {m.split(".")[0] for m in imports(path)}
    ]
    assert found == []


def test_the_sample_configuration_loads_and_names_every_key() -> None:
    raw = yaml.safe_load((ROOT / "config.example.yml").read_text())
    loaded = parse_config(raw)
    assert (loaded.problems, loaded.warnings) == ((), ())
    assert len(loaded.cameras) == 2
    jsonschema.validate(raw, json_schema())
    properties = json_schema()["properties"]
    assert set(raw) == set(properties), "the sample is the manual: every key stands in it"
    for key in (
        "stream",
        "detect",
        "track",
        "count",
        "rules",
        "track_log",
        "triton",
        "database",
        "retention",
        "uploads",
        "http",
        "access",
        "allow",
        "drift",
        "shadow",
        "clips",
        "privacy",
        "live",
        "media",
        "canary",
    ):
        wanted = json_schema()["$defs"][properties[key]["$ref"].split("/")[-1]]["properties"]
        assert set(raw[key]) == set(wanted)


def commands(parser: argparse.ArgumentParser, name: str = "sightline") -> Iterator[tuple[str, str]]:
    """Every command that can be run, with its help."""
    nested = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not nested:
        yield name, parser.format_help()
    for action in nested:
        for word, child in action.choices.items():
            yield from commands(child, f"{name} {word}")


@pytest.mark.parametrize(("command", "text"), list(commands(build_parser())))
def test_every_command_has_help_and_stands_in_the_readme(command: str, text: str) -> None:
    assert "show this help" in text
    assert build_parser().prog in text
    assert f"`{command}`" in (ROOT / "README.md").read_text()


def test_the_tensors_of_the_served_detector_are_those_of_the_code() -> None:
    config = text_format.Parse(
        (ROOT / "model_repository/detector/config.pbtxt").read_text(), model_config_pb2.ModelConfig()
    )
    found = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in [*config.input, *config.output]}
    assert found == {
        ring.INPUT: (model_config_pb2.TYPE_UINT8, [-1, -1]),
        "num_dets": (model_config_pb2.TYPE_INT32, [1]),
        "det_boxes": (model_config_pb2.TYPE_FP32, [-1, 4]),
        "det_scores": (model_config_pb2.TYPE_FP32, [-1]),
        "det_classes": (model_config_pb2.TYPE_INT32, [-1]),
    }
    assert list(ring.OUTPUTS) == [tensor.name for tensor in config.output]


def tracked_files() -> list[Path]:
    """What git knows, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_weights_videos_or_pictures_are_in_the_repository() -> None:
    allowed = ROOT / "models" / "sightline.onnx"  # the detector that comes with Sightline, and no other
    files = [path for path in tracked_files() if path != allowed]
    kinds = {".pt", ".onnx", ".plan", ".engine", ".mp4", ".h264", ".jpg", ".jpeg", ".png", ".npz"}
    assert [path for path in files if path.suffix.lower() in kinds] == []
    assert [path for path in files if path.stat().st_size > 1 << 20] == []


def test_the_only_weights_are_those_of_the_model_card() -> None:
    network = ROOT / "models" / "sightline.onnx"
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    assert network.stat().st_size <= 4_000_000
    for page in ("models/README.md", "docs/detector.md"):
        assert re.findall(r"\b[0-9a-f]{64}\b", (ROOT / page).read_text()) == [digest], page


def test_links_of_the_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in tracked_files()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert broken == []
