"""What Triton reads of a model repository: what people edit there, and what each network says, in one text.

``<model>/config.pbtxt`` and ``<model>/configs/NAME.pbtxt`` are edited by people and never written here. For
the server each is written out once more, as ``configs/NAME.served.pbtxt``, with the network's sizes, classes
and version in it. A configuration in Triton holds for all versions of a model, and versions of a network may
differ in all of these: so each version's steps serve from folders of their own (``yolo-3``, a link to
``yolo/3``), and so does each detector but ``detector``. ``detectors.json`` says which version each serves;
where it is silent, ``detector`` serves the newest. The served texts are written anew before Triton reads
them, so none goes stale.

Python's standard library alone: ``build_engines.py`` runs it in Triton's container.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sightline.errors import RepositoryError

DETECTOR = "detector"
STEPS = ("preprocess", "yolo", "postprocess")
MODELS = (DETECTOR, *STEPS)
CHOICES = "detectors.json"
#: The name of a configuration without a file of its own: ``config.pbtxt``.
ENSEMBLE = "ensemble"
#: What runs on the CPU has this in its line of instances.
ON_CPU = "kind: KIND_CPU"

_SERVED = ".served"
_KEYS = ("network_height", "network_width", "precision", "score_floor", "head", "model_version")
_FILLED = re.compile(r"^.*# network: (?P<name>\w+)$", re.MULTILINE)
_STEP = re.compile(rf'^(\s*)model_name: "({"|".join(STEPS)})"\n\s*model_version: -?\d+$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a detector serves.

    Attributes:
        version: of the network.
        nice: on the CPU, how much its process gives way to others: 0 not at all, 19 always.
    """

    version: int
    nice: int = 0


def served_name(config_name: str) -> str:
    """Triton's ``--model-config-name`` for the configurations of this name."""
    return f"{config_name}{_SERVED}"


def versions(folder: Path) -> list[int]:
    """Numbers of the versions of ``yolo`` that hold a network, ascending."""
    return sorted(int(path.parent.name) for path in folder.glob("yolo/[0-9]*/manifest.json"))


def read_choices(folder: Path) -> dict[str, Choice]:
    """What has been chosen, by the detector's name.

    Raises:
        RepositoryError: the file cannot be read.
    """
    path = folder / CHOICES
    try:
        chosen = json.loads(path.read_text()) if path.is_file() else {}
        return {name: Choice(**values) for name, values in chosen.items()}
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise RepositoryError(f"{path} cannot be read: {error}") from error


def serving(folder: Path) -> dict[str, Choice]:
    """What each detector serves from its next load on: what was chosen, ``detector`` else the newest."""
    newest = versions(folder)[-1:]
    return ({DETECTOR: Choice(*newest)} if newest else {}) | read_choices(folder)


def choose(folder: Path, choices: Mapping[str, Choice]) -> None:
    """Keep what the detectors shall serve, and write what Triton reads.

    Raises:
        RepositoryError: a version is not there.
    """
    for choice in choices.values():
        read_manifest(folder, choice.version)
    replace(
        folder / CHOICES, json.dumps({name: asdict(one) for name, one in choices.items()}, indent=2) + "\n"
    )
    write(folder)


def write(folder: Path, config_names: Iterable[str] = ()) -> None:
    """Write what Triton reads of every detector and its steps.

    Args:
        folder: the model repository.
        config_names: names under which a server looks for configurations, besides those that are there.

    Raises:
        RepositoryError: a version is not there, or its manifest is none.
    """
    names = {ENSEMBLE, *config_names}
    names |= {path.stem.removesuffix(_SERVED) for path in folder.glob("*/configs/*.pbtxt")}
    for detector, choice in serving(folder).items():
        manifest = read_manifest(folder, choice.version)
        for step in STEPS:
            _write_model(folder, step, f"{step}-{choice.version}", choice, manifest, names)
        _write_model(folder, DETECTOR, detector, choice, manifest, names)


def _write_model(
    folder: Path, template: str, name: str, choice: Choice, manifest: Mapping[str, Any], names: set[str]
) -> None:
    place, version = folder / name, choice.version
    (place / "configs").mkdir(parents=True, exist_ok=True)
    if name != template:
        replace(place / ".gitignore", "*\n")  # nothing in it is anybody's work
        link = place / str(version)
        if not link.exists():
            link.unlink(missing_ok=True)  # a link that leads nowhere
            link.symlink_to(Path("..") / template / str(version), target_is_directory=True)
    for config_name in names:
        sources = (folder / template / "configs" / f"{config_name}.pbtxt", folder / template / "config.pbtxt")
        source = next((path for path in sources if path.is_file()), None)
        if source is not None:
            head = f"# Made from {source.relative_to(folder)}: edit that, this is written anew.\n"
            text = head + filled(source.read_text(), name, choice, manifest)
            replace(place / "configs" / f"{served_name(config_name)}.pbtxt", text)


def filled(text: str, name: str, choice: Choice, manifest: Mapping[str, Any]) -> str:
    """A configuration as Triton reads it: under a name, for one version, with what its network says.

    Parameters that stand in the text already stay as they are.
    """
    version = choice.version
    parameters = parameters_of(manifest)
    if choice.nice and ON_CPU in text:
        parameters["nice"] = str(choice.nice)
    tensors = tensors_of(manifest)
    text = _FILLED.sub(lambda line: _fill(line[0], tensors[line["name"]]), text)
    text = re.sub(r'^name: ".*"$', f'name: "{name}"', text, count=1, flags=re.MULTILINE)
    text = _STEP.sub(rf'\1model_name: "\2-{version}"' + "\n" + rf"\1model_version: {version}", text)
    text = re.sub(r"^version_policy \{.*\}\n", "", text, flags=re.MULTILINE)
    lines = [
        text.rstrip(),
        f"version_policy {{ specific {{ versions: [ {version} ] }} }}",
        *(
            f'parameters {{ key: "{key}" value {{ string_value: {_quoted(value)} }} }}'
            for key, value in parameters.items()
            if f'parameters {{ key: "{key}" ' not in text
        ),
    ]
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """A JSON string is a protobuf text string too: both escape quotes and backslashes alike."""
    return json.dumps(text, ensure_ascii=False)


def _fill(line: str, fields: str) -> str:
    for pattern in (r"dims: \[[^\]]*\]", r"data_type: \w+"):
        new = re.search(pattern, fields)
        if new:
            line = re.sub(pattern, lambda _, new=new: new[0], line, count=1)
    return line


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


def parameters_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that travel with the model, as texts."""
    return {"class_names": json.dumps(manifest["class_names"]), **{key: str(manifest[key]) for key in _KEYS}}


def tensors_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What the lines that end in ``# network: NAME`` say for this network, by name."""
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


def replace(path: Path, text: str) -> None:
    """Write a file in one piece, when it changes at all: Triton looks at the time of its last change."""
    if path.is_file() and path.read_text() == text:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
