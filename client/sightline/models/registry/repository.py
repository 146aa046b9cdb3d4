"""Writing in a Triton model repository: whole versions at once, and the parameters in its configurations."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sightline.base.resources import resource
from sightline.errors import RepositoryError

STEPS = ("preprocess", "yolo", "postprocess")
MODELS = ("detector", *STEPS)
CONFIG = "config.pbtxt"

#: What a retired version's folders are called, with its number behind: Triton takes only plain numbers.
RETIRED = ".retired-"
#: What runs on the CPU has this in its line of instances.
ON_CPU = "kind: KIND_CPU"
BEGIN = "# >>> parameters by tools/export.py"
END = "# <<< parameters by tools/export.py"
_BLOCK = re.compile(rf"^{re.escape(BEGIN)}$.*?^{re.escape(END)}$", re.MULTILINE | re.DOTALL)
_MARKED = re.compile(r"^.*# by tools/export\.py: (?P<name>\w+)$", re.MULTILINE)


def prepare_repository(folder: Path) -> None:
    """Make ``folder`` a model repository without a network, unless it is one already.

    Configurations and Python models are copied; versions and weights are not.
    """
    skeleton = resource("model_repository")
    for model in MODELS:
        if (folder / model / "config.pbtxt").is_file():
            continue
        for source in sorted((skeleton / model).rglob("*")):
            place = source.relative_to(skeleton)
            program = place.parts[1] == "1" and source.suffix == ".py"
            if source.is_file() and (source.suffix == ".pbtxt" or program):
                (folder / place.parent).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, folder / place)
    (folder / "detector" / "1").mkdir(parents=True, exist_ok=True)  # an ensemble has an empty version


def config_names(*places: Path) -> list[str]:
    """A model's configurations: ``config.pbtxt`` and every ``configs/<name>.pbtxt`` in one of its folders."""
    named = {f"configs/{path.name}" for place in places for path in place.glob("configs/*.pbtxt")}
    return [CONFIG, *sorted(named)]


def versions(folder: Path) -> list[int]:
    """Numbers of the versions of ``yolo`` that hold a network, ascending."""
    return sorted(int(path.parent.name) for path in folder.glob("yolo/[0-9]*/manifest.json"))


def retired(folder: Path) -> list[int]:
    """Numbers of the versions that have been retired (``sightline model retire``), ascending."""
    names = (path.name.removeprefix(RETIRED) for path in folder.glob(f"yolo/{RETIRED}[0-9]*"))
    return sorted(int(name) for name in names)


def next_version(folder: Path) -> int:
    """The number after the newest; the number of a retired version is not given again."""
    return max([*versions(folder), *retired(folder)], default=0) + 1


def read_manifest(folder: Path, version: int) -> dict[str, Any]:
    """The manifest of one version of ``yolo``.

    Raises:
        RepositoryError: there is none, or it is no manifest.
    """
    path = folder / "yolo" / str(version) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        height, width = int(manifest["network_height"]), int(manifest["network_width"])
        rows, columns = (int(side) for side in manifest["output_shape"])
        if min(height, width, rows, columns) < 1 or not manifest["class_names"]:
            raise ValueError("a size or the list of classes is empty")
        parameters_of(manifest)
    except FileNotFoundError as error:
        raise RepositoryError(f"version {version} is not in {folder}: it has no manifest") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RepositoryError(f"{path} is no manifest: {error!r}; export the network again") from error
    return dict(manifest)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parameters_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that travel with the model, as texts."""
    keys = ("network_height", "network_width", "precision", "score_floor", "head", "model_version")
    return {"class_names": json.dumps(manifest["class_names"]), **{key: str(manifest[key]) for key in keys}}


def tensors_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What the marked lines of the configurations shall say."""
    height, width = manifest["network_height"], manifest["network_width"]
    rows, columns = manifest["output_shape"]
    boxes = min(300, rows) if manifest["head"] == "end2end" else 300
    kind = f"data_type: TYPE_{manifest.get('floating_point', manifest['precision']).upper()}"
    return {
        "images": f"{kind} dims: [ 3, {height}, {width} ]",
        "output0": f"dims: [ {rows}, {columns} ]",
        "i420": f"dims: [ {height * 3 // 2}, {width} ]",
        "boxes": f"dims: [ {boxes}, 4 ]",
        "scores": f"dims: [ {boxes} ]",
        "classes": f"dims: [ {boxes} ]",
    }


@contextmanager
def new_version(folder: Path, version: int) -> Iterator[dict[str, Path]]:
    """Give an empty folder for each step; at the end of the block all are put in place as ``version``.

    Triton takes only folders named by integers, and each is renamed into place in one piece, so nothing
    half-written can be loaded. ``yolo`` comes late, ``detector`` (whose CPU form runs the network of its own
    version) last. When the block raises, nothing stays.

    Raises:
        RepositoryError: this version holds a network already; versions are never overwritten.
    """
    if version < 1:
        raise RepositoryError(f"a version is a whole number from 1 on, not {version}")
    if version in [*versions(folder), *retired(folder)]:
        raise RepositoryError(f"version {version} of yolo is there already; leave --version out for the next")
    drafts: dict[str, Path] = {}
    try:
        for step in ("preprocess", "postprocess", "yolo", "detector"):
            drafts[step] = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=folder / step))
            drafts[step].chmod(0o755)
            for program in (folder / step / "1").glob("*.py"):
                shutil.copyfile(program, drafts[step] / program.name)
        yield drafts
        for step, draft in drafts.items():
            _put(draft, folder / step / str(version))
    finally:
        for draft in drafts.values():
            shutil.rmtree(draft, ignore_errors=True)


def _put(draft: Path, place: Path) -> None:
    """Rename a folder into place; what is there is a version without a network and is replaced."""
    for path in draft.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    old = draft.with_name(f"{draft.name}-old")
    if place.exists():
        place.rename(old)
    draft.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def write_configs(
    folder: Path, parameters: Mapping[str, str], cpu: Mapping[str, str], tensors: Mapping[str, str]
) -> None:
    """Write the parameters into every configuration that has the block, and the marked tensors' shapes.

    Args:
        folder: the model repository.
        parameters: key to text, in this order.
        cpu: what differs where a Python backend runs the network, as in ``configs/cpu.pbtxt``.
        tensors: name of a marked line to the ``dims: […]`` and, if need be, ``data_type: …`` it shall have.

    Raises:
        RepositoryError: a step has no configuration with the block.
    """
    written = dict.fromkeys(MODELS, 0)
    for step in MODELS:
        for name in config_names(folder / step):
            path = folder / step / name
            if path.is_file() and BEGIN in path.read_text():
                values = {**parameters, **(cpu if ON_CPU in path.read_text() else {})}
                replace(path, rewritten(path.read_text(), values, tensors))
                written[step] += 1
    if not written["yolo"]:
        raise RepositoryError(f"{folder}: yolo has no configuration with the line {BEGIN!r}")


def read_parameters(path: Path) -> dict[str, str]:
    """The parameters in a configuration's block."""
    block = _BLOCK.search(path.read_text())
    pattern = r'key: "(\w+)" value \{ string_value: ("(?:[^"\\]|\\.)*") \}'
    return {key: json.loads(text) for key, text in re.findall(pattern, block[0] if block else "")}


def rewritten(text: str, parameters: Mapping[str, str], tensors: Mapping[str, str]) -> str:
    """A configuration's text with these parameters and marked tensors."""
    lines = [
        # A JSON string is a protobuf text string too: both escape quotes and backslashes alike.
        f"parameters {{ key: {json.dumps(key)} value {{ string_value: {_quoted(value)} }} }}"
        for key, value in parameters.items()
    ]
    block = "\n".join([BEGIN, *lines, END])
    text = _BLOCK.sub(lambda _: block, text)
    return _MARKED.sub(lambda line: _marked(line[0], tensors.get(line["name"], "")), text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _marked(line: str, fields: str) -> str:
    for pattern in (r"dims: \[[^\]]*\]", r"data_type: \w+"):
        new = re.search(pattern, fields)
        if new:
            line = re.sub(pattern, lambda _, new=new: new[0], line, count=1)
    return line


def replace(path: Path, text: str) -> None:
    """Write a file in one piece, when it changes at all."""
    if path.is_file() and path.read_text() == text:
        return
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    draft.replace(path)
