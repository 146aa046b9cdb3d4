"""What Triton reads of a model repository: what people edit there, and what each network says, in one text.

``<model>/config.pbtxt`` and ``<model>/configs/NAME.pbtxt`` are edited by people and never written here. For
the server each is written out once more, as ``configs/NAME.served.pbtxt``, with the network's sizes, classes
and version in it. A configuration in Triton holds for all versions of a model, and versions of a network may
differ in all of these: so each version's steps serve from folders of their own (``yolo-3``, a link to
``yolo/3``), and so does each detector but ``detector``. ``detectors.json`` says which version each serves:
of ``detector`` the first one that is exported, until another is chosen. The served texts are written anew
before Triton reads them, so none goes stale.

Python's standard library alone: ``build_engines.py`` runs it in Triton's container.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
ON_GPU = "kind: KIND_GPU"
TRITON_URL = "127.0.0.1:8001"  # gRPC of a Triton on this machine

_SERVED = ".served"
_KEYS = ("network_height", "network_width", "precision", "score_floor", "head", "model_version")
_FILLED = re.compile(r"^.*# network: (?P<name>\w+)$", re.MULTILINE)
_STEP = re.compile(rf'^(\s*)model_name: "({"|".join(STEPS)})"\n\s*model_version: -?\d+$', re.MULTILINE)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_NUMBER = re.compile(r"[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a detector serves."""

    version: int  # of the network
    nice: int = 0  # how much its process gives way to others: 0 not at all, 19 always; on a GPU 0 or more


def served_name(config_name: str) -> str:
    """Triton's ``--model-config-name`` for the configurations of this name."""
    return f"{config_name}{_SERVED}"


def config_names(folder: Path) -> set[str]:
    """Names of the configurations that people have made for some model, and of ``config.pbtxt``."""
    names = {path.stem for path in folder.glob("*/configs/*.pbtxt")}
    return {ENSEMBLE, *(name for name in names if not name.endswith(_SERVED))}


def beside(version: int) -> str:
    """The name under which a version serves by itself, beside the detectors."""
    return f"{DETECTOR}-{version}"


def versions(folder: Path) -> list[int]:
    """Numbers of the versions of ``yolo`` that hold a network, ascending."""
    return numbers(path.parent.name for path in folder.glob("yolo/[0-9]*/manifest.json"))


def numbers(names: Iterable[str]) -> list[int]:
    """Those of the names that are numbers as Triton takes them, ascending; ``2.bak`` is none."""
    return sorted(int(name) for name in names if _NUMBER.fullmatch(name))


def check_name(name: str) -> str:
    """A detector's name, or a RepositoryError when it is none that a detector can have."""
    if not _NAME.fullmatch(name) or name in STEPS:
        raise RepositoryError(f"{name!r} cannot be a detector's name: letters, digits and _, none of {STEPS}")
    return name


def read_choices(folder: Path) -> dict[str, Choice]:
    """What has been chosen, by the detector's name; nothing before the first export."""
    path = folder / CHOICES
    try:
        chosen = json.loads(path.read_text()) if path.is_file() else {}
        choices = {name: Choice(**values) for name, values in chosen.items()}
        if not all(type(value) is int for choice in choices.values() for value in asdict(choice).values()):
            raise ValueError("a version that is no number")
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise RepositoryError(f"{path} cannot be read: {error}") from error
    return choices


def settle(folder: Path) -> None:
    """Choose for ``detector`` the newest version that is there now, where nothing has been chosen yet."""
    choices = serving(folder)
    if choices and choices != read_choices(folder):
        _store(folder, choices)


def serving(folder: Path) -> dict[str, Choice]:
    """What each detector serves from its next load on: what was chosen, ``detector`` else the newest."""
    newest = versions(folder)[-1:]
    return ({DETECTOR: Choice(*newest)} if newest else {}) | read_choices(folder)


def active(folder: Path, name: str = DETECTOR) -> int | None:
    """The version that serves when Triton loads this detector now; None when there is none."""
    choice = serving(folder).get(name)
    return choice.version if choice else None


def detectors(folder: Path) -> list[str]:
    """Every detector: ``detector``, and those that a switch has made."""
    return [DETECTOR, *sorted(filter(_NAME.fullmatch, read_choices(folder).keys() - {DETECTOR}))]


def users(folder: Path, version: int) -> list[str]:
    """Detectors that serve this version."""
    return [name for name in detectors(folder) if active(folder, name) == version]


def choose(folder: Path, name: str, version: int, *, nice: int = 0) -> None:
    """Make a detector serve a version, which must be there, from its next load on, with its steps."""
    keep_choices(folder, read_choices(folder) | {name: Choice(version, nice)})


def keep_choices(folder: Path, choices: Mapping[str, Choice]) -> None:
    """Keep what all detectors shall serve, versions that are there, and write what Triton reads."""
    for choice in choices.values():
        read_manifest(folder, choice.version)
    _store(folder, choices)
    write(folder)


def _store(folder: Path, choices: Mapping[str, Choice]) -> None:
    chosen = {name: asdict(choice) for name, choice in choices.items()}
    replace(folder / CHOICES, json.dumps(chosen, indent=2) + "\n")


def forget(folder: Path, name: str) -> None:
    """Forget a detector and take its folder away; versions and weights stay."""
    choices = read_choices(folder)
    if choices.pop(name, None):
        keep_choices(folder, choices)
    if name != DETECTOR:
        shutil.rmtree(folder / name, ignore_errors=True)


def write(folder: Path, config_names: Iterable[str] = ()) -> None:
    """Write what Triton reads of every detector and its steps.

    ``config_names`` are names under which a server looks for configurations, besides those that are there.
    RepositoryError: a version is not there, or its manifest is none.
    """
    settle(folder)
    names = {ENSEMBLE, *config_names}
    names |= {path.stem.removesuffix(_SERVED) for path in folder.glob("*/configs/*.pbtxt")}
    for detector, choice in serving(folder).items():
        manifest = read_manifest(folder, choice.version)
        nice = min(other.nice for other in serving(folder).values() if other.version == choice.version)
        for step in STEPS:  # of every detector that serves the version
            shared = Choice(choice.version, nice)
            _write_model(folder, step, f"{step}-{choice.version}", shared, manifest, names)
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


@contextmanager
def unchanged_on_failure(folder: Path) -> Iterator[None]:
    """Put back what has been chosen, and what Triton reads of it, bit for bit when the block raises.

    The copies lie in the repository, so that putting them back takes no room on the disk.
    """
    with tempfile.TemporaryDirectory(prefix=".before-", dir=folder) as place:
        copies = {path: Path(place, str(number)) for number, path in enumerate(_written(folder))}
        for path, copy in copies.items():
            shutil.copy2(path, copy, follow_symlinks=False)
        try:
            yield
        except BaseException:
            for path in _written(folder):
                if path not in copies:
                    path.unlink(missing_ok=True)  # one that a link leads to is listed twice
                    with suppress(OSError):  # something else is in it
                        path.parent.rmdir()
                        path.parent.parent.rmdir()
            for path, copy in copies.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                copy.replace(path)
            raise


def _written(folder: Path) -> list[Path]:
    """Files and links that are made here, and by Triton's Python; those of a folder come before its mark."""
    paths = [
        *folder.glob("[!.]*/[1-9]*/__pycache__/*.pyc"),
        *folder.glob("[!.]*/configs/*.served.pbtxt"),
        *(path for path in folder.glob("[!.]*/[0-9]*") if path.is_symlink()),
        *folder.glob("[!.]*/.gitignore"),
        folder / CHOICES,
    ]
    return [path for path in paths if path.is_symlink() or path.is_file()]


def filled(text: str, name: str, choice: Choice, manifest: Mapping[str, Any]) -> str:
    """A configuration as Triton reads it: under a name, for one version, with what its network says.

    Parameters that stand in the text already stay as they are.
    """
    version, parameters = choice.version, parameters_of(manifest)
    height, width = manifest["network_height"], manifest["network_width"]
    rows, columns = manifest["output_shape"]
    boxes = min(300, rows) if manifest["head"] == "end2end" else 300
    kind = f"data_type: TYPE_{manifest.get('floating_point', manifest['precision']).upper()}"
    tensors = {  # what the lines that end in ``# network: NAME`` say, by name
        "images": f"{kind} dims: [ 3, {height}, {width} ]",
        "output0": f"dims: [ {rows}, {columns} ]",
        "i420": f"dims: [ {height * 3 // 2}, {width} ]",
        "boxes": f"dims: [ {boxes}, 4 ]",
        "scores": f"dims: [ {boxes} ]",
        "classes": f"dims: [ {boxes} ]",
    }
    if choice.nice and ON_CPU in text:
        parameters["nice"] = str(choice.nice)

    def fill(match: re.Match[str]) -> str:
        line = match[0]
        for pattern in (r"dims: \[[^\]]*\]", r"data_type: \w+"):
            new = re.search(pattern, tensors[match["name"]])
            line = re.sub(pattern, new[0], line, count=1) if new else line
        return line

    text = _FILLED.sub(fill, text)
    text = re.sub(r'^name: ".*"$', f'name: "{name}"', text, count=1, flags=re.MULTILINE)
    text = _STEP.sub(rf'\1model_name: "\2-{version}"' + "\n" + rf"\1model_version: {version}", text)
    text = re.sub(r"^version_policy \{.*\}\n", "", text, flags=re.MULTILINE)
    if choice.nice and ON_GPU in text and "optimization {" not in text:
        # A request's priority ends where the steps of an ensemble begin.
        text += "optimization { priority: PRIORITY_MIN }\n"
    lines = [text.rstrip(), f"version_policy {{ specific {{ versions: [ {version} ] }} }}"]
    for key, value in parameters.items():
        if f'parameters {{ key: "{key}" ' not in text:
            # A JSON string is a protobuf text string too: both escape quotes and backslashes alike.
            quoted = json.dumps(value, ensure_ascii=False)
            lines.append(f'parameters {{ key: "{key}" value {{ string_value: {quoted} }} }}')
    return "\n".join([*lines, ""])


def read_manifest(folder: Path, version: int | str) -> dict[str, Any]:
    """The manifest of a version of ``yolo``, or of a folder beside the versions.

    A RepositoryError when there is none or it is no manifest.
    """
    path = folder / "yolo" / str(version) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        sides = manifest["network_height"], manifest["network_width"], *manifest["output_shape"]
        names = manifest["class_names"]
        if min(map(int, sides)) < 1 or len(sides) != 4 or not (names and isinstance(names, list)):
            raise ValueError("a size or the list of classes is empty")
        float(parameters_of(manifest)["score_floor"])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RepositoryError(f"version {version} is not in {folder}: it has no manifest") from error
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise RepositoryError(f"{path} is no manifest: {error!r}; export the network again") from error
    return dict(manifest)


def parameters_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that travel with the model, as texts."""
    return {"class_names": json.dumps(manifest["class_names"]), **{key: str(manifest[key]) for key in _KEYS}}


def replace(path: Path, text: str) -> None:
    """Write a file in one piece, when it changes at all: Triton looks at the time of its last change."""
    if path.is_file() and path.read_text() == text:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # the disk is full
