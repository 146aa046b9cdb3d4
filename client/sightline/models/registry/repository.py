"""Writing whole versions into a Triton model repository, and what is wrong with one, without a server."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sightline.base.resources import resource
from sightline.errors import RepositoryError
from sightline.models.registry import audit_trail
from sightline.serving import model_configs
from sightline.serving.model_configs import MODELS, versions
from sightline.serving.runtime.numerics import END_TO_END_COLUMNS

#: What a retired version's folders are called, with its number behind: Triton takes only plain numbers.
RETIRED = ".retired-"
MAX_VERSION = 2**63  # Triton's numbers have 64 bits


def prepare_repository(folder: Path) -> None:
    """Make ``folder`` a model repository without a network, unless it is one already.

    Configurations and Python models are copied; versions and weights are not.
    """
    skeleton = resource("model_repository")
    for model in MODELS:
        if (folder / model / "config.pbtxt").is_file():
            continue
        sources = [*skeleton.glob(f"{model}/1/**/*.py"), *skeleton.glob(f"{model}/**/*.pbtxt")]
        for source in sorted(sources, key=lambda path: path.name == "config.pbtxt"):  # last: all is there
            if not source.match("*.served.pbtxt"):
                target = folder / source.relative_to(skeleton)
                target.parent.mkdir(parents=True, exist_ok=True)
                model_configs.replace(target, source.read_text())
    (folder / "detector" / "1").mkdir(parents=True, exist_ok=True)  # an ensemble has an empty version


def retired(folder: Path) -> list[int]:
    """Numbers of the versions that have been retired (``sightline model retire``), ascending."""
    names = (path.name.removeprefix(RETIRED) for path in folder.glob(f"yolo/{RETIRED}[0-9]*"))
    return model_configs.numbers(names)


def next_version(folder: Path) -> int:
    """The number after the newest; the number of a retired version is not given again."""
    return max([*versions(folder), *retired(folder)], default=0) + 1


def earlier_version(folder: Path, name: str) -> int | None:
    """The version that a detector served before the present one, by the audit trail; None: none is known."""
    stack: list[int] = []  # versions in the order in which they served
    for past in audit_trail.read(folder):
        if past.get("detector") != name or past.get("result") != "ok":
            continue
        action, version = past.get("action"), past.get("version")
        if action == "switch":
            stack += filter(None, [version] if stack else [past.get("previous"), version])
        elif action == "rollback":
            while stack and stack[-1] != version:
                stack.pop()
    present, there = model_configs.active(folder, name), versions(folder)
    while stack and (stack[-1] == present or stack[-1] not in there):
        stack.pop()
    return stack[-1] if stack else None


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_version(folder: Path, version: int) -> Iterator[dict[str, Path]]:
    """Give an empty folder for each step; at the end of the block all are put in place as ``version``.

    Triton takes only folders named by integers, and each is renamed into place in one piece, so nothing
    half-written can be loaded. ``yolo`` comes late, ``detector`` (whose CPU form runs the network of its own
    version) last. When the block raises, nothing stays.

    Raises a RepositoryError when this version holds a network already (versions are never overwritten), or
    cannot be written.
    """
    if not 1 <= version < MAX_VERSION:
        raise RepositoryError(f"a version is a whole number from 1 on, not {version}")
    if version in [*versions(folder), *retired(folder)]:
        raise RepositoryError(f"version {version} of yolo is there already; leave --version out for the next")
    drafts: dict[str, Path] = {}
    replaced: list[Path] = []  # versions without a network
    try:
        for step in ("preprocess", "postprocess", "yolo", "detector"):
            drafts[step] = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=folder / step))
            drafts[step].chmod(0o755)
            for program in (folder / step / "1").glob("*.py"):
                shutil.copyfile(program, drafts[step] / program.name)
        yield drafts
        with ExitStack() as undo:
            for step, draft in drafts.items():
                for path in draft.iterdir():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                place, old = folder / step / str(version), draft.with_name(f"{draft.name}-old")
                if place.exists():
                    place.rename(old)
                    undo.callback(old.rename, place)
                    replaced.append(old)
                draft.rename(place)
                undo.callback(place.rename, draft)
            undo.pop_all()
    except OSError as error:
        raise RepositoryError(f"version {version} cannot be written into {folder}: {error}") from error
    finally:
        for path in (*drafts.values(), *replaced):
            shutil.rmtree(path, ignore_errors=True)


def problems(folder: Path, version: int) -> list[str]:
    """Everything that is wrong with a version; nothing when it can be served."""
    try:
        manifest = model_configs.read_manifest(folder, version)
    except RepositoryError as error:
        return [str(error)]
    names, head, (rows, columns) = manifest["class_names"], manifest["head"], manifest["output_shape"]
    try:
        faults = list(_files(folder, version, manifest.get("files_sha256")))
    except (AttributeError, TypeError, ValueError):
        faults = ["the manifest's hashes are none: export the network again"]
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        faults.append("class names are empty or doubled")
    if head == "anchors" and rows != 4 + len(names):
        faults.append(f"a head of {rows} rows has {rows - 4} classes, the manifest names {len(names)}")
    if head == "end2end" and columns != END_TO_END_COLUMNS:
        faults.append(f"an end-to-end head has {END_TO_END_COLUMNS} columns, the manifest says {columns}")
    if head not in {"anchors", "end2end"}:
        faults.append(f"head {head!r} is unknown")
    path = folder / "yolo" / str(version) / "model.onnx"
    if faults or not path.is_file():  # plans can only be loaded by Triton
        return faults
    import onnx

    from sightline.models.export import network_source

    size = int(manifest["network_height"]), int(manifest["network_width"])
    expected = [("output0", (1, rows, columns))]
    try:
        outputs = network_source.run_once(onnx.load(path), size)
    except Exception as error:  # noqa: BLE001 - onnx and its runtime raise errors of their own
        return [f"{path.name} cannot be run at {size[0]}x{size[1]}: {error}"]
    return [] if outputs == expected else [f"{path.name} gives {outputs}, the manifest says {expected}"]


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
    for model in MODELS:
        place, cpu = folder / model / str(version), folder / model / "configs" / "cpu.pbtxt"
        plan, said = place / "model.plan", place / "model.plan.sha256"
        python = cpu.is_file() and 'backend: "python"' in cpu.read_text()
        if hashes and plan.is_file() and said.is_file() and sha256(plan) != said.read_text().strip():
            yield f"{model}/{version}/model.plan is not the plan that was built: its hash differs"
        if not place.is_dir():
            yield f"{model}/{version} is missing"
        elif python and not on_gpu and not (place / "model.py").is_file():
            yield f"{model}/{version}/model.py is missing: copy it from {model}/1"
