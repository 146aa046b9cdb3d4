"""Writing in a Triton model repository: whole versions at once."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sightline.base.resources import resource
from sightline.errors import RepositoryError
from sightline.serving.model_configs import MODELS, versions

#: What a retired version's folders are called, with its number behind: Triton takes only plain numbers.
RETIRED = ".retired-"


def prepare_repository(folder: Path) -> None:
    """Make ``folder`` a model repository without a network, unless it is one already.

    Configurations and Python models are copied; versions and weights are not.
    """
    skeleton = resource("model_repository")
    for model in MODELS:
        if (folder / model / "config.pbtxt").is_file():
            continue
        for source in [*skeleton.glob(f"{model}/**/*.pbtxt"), *skeleton.glob(f"{model}/1/**/*.py")]:
            if not source.match("*.served.pbtxt"):
                target = folder / source.relative_to(skeleton)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    (folder / "detector" / "1").mkdir(parents=True, exist_ok=True)  # an ensemble has an empty version


def retired(folder: Path) -> list[int]:
    """Numbers of the versions that have been retired (``sightline model retire``), ascending."""
    names = (path.name.removeprefix(RETIRED) for path in folder.glob(f"yolo/{RETIRED}[0-9]*"))
    return sorted(int(name) for name in names)


def next_version(folder: Path) -> int:
    """The number after the newest; the number of a retired version is not given again."""
    return max([*versions(folder), *retired(folder)], default=0) + 1


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

    Raises a RepositoryError when this version holds a network already; versions are never overwritten.
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
            for path in draft.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            place, old = folder / step / str(version), draft.with_name(f"{draft.name}-old")
            if place.exists():  # a version without a network
                place.rename(old)
            draft.rename(place)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        for draft in drafts.values():
            shutil.rmtree(draft, ignore_errors=True)
