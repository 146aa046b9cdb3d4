"""What is wrong with a version of ``yolo``, found without a server."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sightline.errors import RepositoryError
from sightline.models.registry.repository import sha256
from sightline.serving import model_configs

BOX_COLUMNS = 6  # of an end-to-end head: xyxy, score, class


def problems(folder: Path, version: int) -> list[str]:
    """Everything that is wrong with a version; nothing when it can be served."""
    try:
        manifest = model_configs.read_manifest(folder, version)
    except RepositoryError as error:
        return [str(error)]
    faults = [*_files(folder, version, manifest.get("files_sha256")), *_classes(manifest)]
    return faults or list(_network(folder / "yolo" / str(version) / "model.onnx", manifest))


def _files(folder: Path, version: int, hashes: Mapping[str, str] | None) -> Iterator[str]:
    """Files that are missing or are not what the manifest says, and what Triton needs to load the version."""
    on_gpu = (folder / "yolo" / str(version) / "model.plan").is_file()  # a GPU's repository holds plans alone
    if not hashes:
        yield "the manifest holds no hashes: export the network again"
    for name, expected in (hashes or {}).items():
        step, file = name.split("/", 1)
        path = folder / step / str(version) / file
        if path.is_file() and sha256(path) != expected:
            yield f"{step}/{version}/{file} is not the file that was exported: its hash differs"
        elif not path.is_file() and not on_gpu:
            yield f"{step}/{version}/{file} is missing"
    for model in model_configs.MODELS:
        place, cpu = folder / model / str(version), folder / model / "configs" / "cpu.pbtxt"
        plan, said = place / "model.plan", place / "model.plan.sha256"
        python = cpu.is_file() and 'backend: "python"' in cpu.read_text()
        if hashes and plan.is_file() and said.is_file() and sha256(plan) != said.read_text().strip():
            yield f"{model}/{version}/model.plan is not the plan that was built: its hash differs"
        if not place.is_dir():
            yield f"{model}/{version} is missing"
        elif python and not on_gpu and not (place / "model.py").is_file():
            yield f"{model}/{version}/model.py is missing: copy it from {model}/1"


def _classes(manifest: Mapping[str, Any]) -> Iterator[str]:
    names, head = manifest["class_names"], manifest["head"]
    rows, columns = manifest["output_shape"]
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        yield "class names are empty or doubled"
    if head == "anchors" and rows != 4 + len(names):
        yield f"a head of {rows} rows has {rows - 4} classes, the manifest names {len(names)}"
    if head == "end2end" and columns != BOX_COLUMNS:
        yield f"an end-to-end head has {BOX_COLUMNS} columns, the manifest says {columns}"
    if head not in {"anchors", "end2end"}:
        yield f"head {head!r} is unknown"


def _network(path: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Run the network once at its own size; plans can only be loaded by Triton."""
    if not path.is_file():
        return
    import onnx

    from sightline.models.export import network_source

    size = int(manifest["network_height"]), int(manifest["network_width"])
    expected = [("output0", (1, *manifest["output_shape"]))]
    try:
        outputs = network_source.run_once(onnx.load(path), size)
    except Exception as error:  # noqa: BLE001 - onnx and its runtime raise errors of their own
        yield f"{path.name} cannot be run at {size[0]}x{size[1]}: {error}"
    else:
        if outputs != expected:
            yield f"{path.name} gives {outputs}, the manifest says {expected}"
