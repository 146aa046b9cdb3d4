"""TensorRT plans for the GPU of this machine, inside the Triton container.

    python3 build_engines.py --source /repository --target /models --cache /engines [--form fused]

Takes the newest version of ``yolo`` (or ``--version``), builds a plan from each step's ``engine.onnx`` by
``trtexec``, and puts complete version folders into the repository that Triton serves. A plan fits one GPU and
one TensorRT only, so it is cached under a key of both and of what it was built from; so are the timings of
layers, which make the next plan faster to build. ``--form fused`` builds the detector as one plan, too.

Python's standard library alone, and ``sightline.serving.model_configs``, which needs no more.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from sightline.errors import RepositoryError
from sightline.serving import model_configs

STEPS = ("preprocess", "postprocess", "yolo")  # yolo last: the ensemble switches to it
FORMS = {"ensemble": STEPS, "fused": (*STEPS, "detector")}
FUSED = Path("detector/configs/fused.pbtxt")
TRTEXEC = ("trtexec", "/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
TIMEOUT_S = 1800
BATCHES = (1, 2, 4, 8)  # of the curve that tells the bare engine's rate
FP8_FROM = (8, 9)  # compute capability: Ada, Hopper and newer


class BuildError(RuntimeError):
    """No plan could be built; the text says why."""


def build(
    source: Path, target: Path, cache: Path, version: int | None = None, *, form: str = "ensemble"
) -> int:
    """Build what is missing and put one version in place; returns its number.

    Args:
        source: model repository as sightline model export left it.
        target: model repository that Triton serves.
        cache: where plans are kept.
        version: of ``yolo``; the newest when not given.
        form: a key of :data:`FORMS`: which plans; or a configuration that tools/load/tune.py wrote, which
            serves the three steps. What serves is the server's --model-config-name.

    Raises:
        BuildError: there is no network, no GPU, no trtexec, the GPU lacks the precision, or a plan failed.
    """
    model_configs.settle(target)
    if version is None:
        versions = model_configs.versions(source)
        if not versions:
            raise BuildError(f"{source} holds no network: run `sightline model export` first")
        version = versions[-1]
        chosen = {choice.version for choice in model_configs.read_choices(target).values()}
        for older in chosen & set(versions) - {version}:  # a new TensorRT or GPU needs new plans, too
            build(source, target, cache, older, form=form)
    trtexec, machine = find_trtexec(), gpu()
    check_precision(source / "yolo" / str(version) / "manifest.json", machine)
    machine = f"{machine} tensorrt {tensorrt_version(trtexec)}"
    models = (*STEPS, "detector")
    tuned = [Path(model, "configs", f"{form}.pbtxt") for model in models if form not in FORMS]
    tuned = [place for place in tuned if (source / place).is_file()]
    if form not in FORMS and not tuned:
        raise BuildError(
            f"there is no configs/{form}.pbtxt: tools/load/tune.py writes it; or take {' or '.join(FORMS)}"
        )
    texts = {place.parts[0]: (source / place).read_text() for place in tuned}
    one_plan = 'backend: "tensorrt"' in texts.get("detector", "")
    steps = FORMS.get(form, FORMS["fused" if one_plan else "ensemble"])
    plans = {step: plan(source / step / str(version), cache, trtexec, machine) for step in steps}
    for step in steps:
        place_version(source / step / str(version), plans[step], target / step / str(version))
    (target / "detector" / str(version)).mkdir(parents=True, exist_ok=True)
    for place in (*(Path(model, "config.pbtxt") for model in models), *tuned, FUSED):
        if (source / place).is_file():
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            draft = (target / place).with_name(f".{place.name}.new")
            shutil.copyfile(source / place, draft)
            draft.replace(target / place)
    model_configs.write(target)  # after the versions: a configuration never names what is not there
    return version


def find_trtexec() -> str:
    """The program that builds plans."""
    found = next(filter(None, map(shutil.which, (os.environ.get("TRTEXEC", ""), *TRTEXEC))), None)
    if found is None:
        raise BuildError(f"none of {', '.join(TRTEXEC)} is here: run inside the Triton container")
    return found


def gpu() -> str:
    """Name and compute capability of the first GPU."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"no GPU to be seen ({error}): is the container given one?") from error
    return done.stdout.splitlines()[0].strip()


def check_precision(manifest: Path, machine: str) -> None:
    """Refuse an FP8 network on a GPU older than Ada, before TensorRT does so in its words.

    ``manifest`` is as sightline model export left it, ``machine`` as :func:`gpu` gives it.
    """
    precision = json.loads(manifest.read_text()).get("precision") if manifest.is_file() else None
    found = re.search(r"(\d+)\.(\d+)$", machine)
    if precision == "fp8" and found and (int(found[1]), int(found[2])) < FP8_FROM:
        raise BuildError(
            f"version {manifest.parent.name} is FP8, which needs compute capability 8.9 (Ada, Hopper) "
            f"or newer; this GPU is {machine}: export the network in FP16 or INT8, or name another --version"
        )


def tensorrt_version(trtexec: str) -> str:
    """TensorRT's version as trtexec prints it, for instance v101600."""
    found = re.search(r"\[TensorRT (v\d+)\]( \[b\d+\])?", options_of(trtexec))
    if found is None:
        raise BuildError(f"{trtexec} does not say which TensorRT it is of")
    return found[0]


def options_of(trtexec: str) -> str:
    """What trtexec says of itself."""
    done = subprocess.run([trtexec, "--help"], check=False, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def plan(folder: Path, cache: Path, trtexec: str, machine: str) -> Path:
    """The plan of one step's version, from the cache or built now: strongly typed, as its graph says."""
    network, profile = folder / "engine.onnx", folder / "engine.json"
    step = folder.parent.name
    for path in (network, profile):
        if not path.is_file():
            option = " with --fused" if step == "detector" else ""
            raise BuildError(f"{path} is missing: export this version again{option}")
    digest = hashlib.sha256(machine.encode() + network.read_bytes() + profile.read_bytes()).hexdigest()
    place = cache / f"{step}-{digest[:32]}.plan"
    if place.is_file():
        print(f"{step}: plan for {machine} is in the cache", flush=True)
        return place
    print(f"{step}: building for {machine} (some minutes)", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    draft = cache / f".{place.name}.{os.getpid()}"
    timings = cache / f"timings-{hashlib.sha256(machine.encode()).hexdigest()[:16]}.cache"
    command = [trtexec, f"--onnx={network}", f"--saveEngine={draft}", "--skipInference"]
    command.append(f"--timingCacheFile={timings}")
    if "--stronglyTyped" in options_of(trtexec):  # from TensorRT 11 on there is nothing else
        command.append("--stronglyTyped")
    shapes = json.loads(profile.read_text())
    for number, option in enumerate(("minShapes", "optShapes", "maxShapes")):
        sizes = (f"{name}:{'x'.join(map(str, three[number]))}" for name, three in shapes.items())
        command.append(f"--{option}={','.join(sizes)}")
    try:
        built = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
        if built.returncode or not draft.is_file() or not draft.stat().st_size:
            raise BuildError(f"trtexec failed on {network}:\n{(built.stdout + built.stderr)[-3000:]}")
        draft.rename(place)
    finally:
        draft.unlink(missing_ok=True)
    return place


def bare_rates(engine: Path, profile: Path) -> dict[int, float]:
    """Pictures a second of a plan alone, by batch: in a CUDA graph, nothing copied to the GPU or back."""
    rates, trtexec, shapes = {}, find_trtexec(), json.loads(profile.read_text())
    for batch in BATCHES:
        sizes = (f"{name}:{'x'.join(map(str, (batch, *three[1][1:])))}" for name, three in shapes.items())
        command = [trtexec, f"--loadEngine={engine}", f"--shapes={','.join(sizes)}"]
        command += ["--useCudaGraph", "--noDataTransfers", "--useSpinWait"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
        found = re.search(r"Throughput: ([\d.]+) qps", done.stdout)
        if done.returncode or found is None:
            raise BuildError(f"trtexec failed on {engine}:\n{(done.stdout + done.stderr)[-3000:]}")
        rates[batch] = round(batch * float(found[1]), 1)
    return rates


def place_version(source: Path, engine: Path, place: Path) -> None:
    """Put a version with its plan in place in one piece; a complete one with the same plan stays."""
    if place.is_dir() and (place / "model.plan").is_file():
        if (place / "model.plan").read_bytes() == engine.read_bytes():
            return
        # TensorRT or the GPU has changed: Triton is not running yet, or keeps what it has loaded.
        place.rename(place.with_name(f".{place.name}-old"))
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    draft.chmod(0o755)
    shutil.copyfile(engine, draft / "model.plan")
    (draft / "model.plan.sha256").write_text(hashlib.sha256(engine.read_bytes()).hexdigest() + "\n")
    if (source / "manifest.json").is_file():
        shutil.copyfile(source / "manifest.json", draft / "manifest.json")
    draft.rename(place)
    shutil.rmtree(place.with_name(f".{place.name}-old"), ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and say what was done."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--source", type=Path, required=True, help="model repository as sightline model export left it")
    add("--target", type=Path, required=True, help="model repository that Triton serves")
    add("--cache", type=Path, required=True, help="where plans are kept")
    add("--version", type=int, help="version of yolo (default: the newest)")
    what = "ensemble; fused: the detector as one plan, too; or a configuration of tools/load/tune.py"
    add("--form", default="ensemble", help=what)
    add(
        "--bare", action="store_true", help="measure the network's plan alone, for --bare-fps of gpu_proof.py"
    )
    given = parser.parse_args(arguments)
    try:
        version = build(given.source, given.target, given.cache, given.version, form=given.form)
        source, target = (folder / "yolo" / str(version) for folder in (given.source, given.target))
        rates = bare_rates(target / "model.plan", source / "engine.json") if given.bare else {}
    except (BuildError, RepositoryError, OSError, subprocess.SubprocessError) as error:
        print(f"build_engines: {error}", file=sys.stderr)
        return 1
    print(f"version {version} is ready in {given.target}")
    for batch, rate in rates.items():
        best = ", the best" if rate == max(rates.values()) else ""
        print(f"bare engine, batches of {batch}: {rate} pictures/s{best}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
