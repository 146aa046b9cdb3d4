"""TensorRT-RTX on a machine with or without a GPU: engines built ahead of time, and what that runtime lacks.

An engine needs a version that was exported with --fused; `sightline triton serve --config-name rtx` then
serves it on an RTX card. TensorRT-RTX (NVIDIA's licence) is installed once, into the cache folder.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from sightline.errors import ModelError
from sightline.models.export import exporter, fused, graphs, network_source
from sightline.serving import model_configs
from sightline.serving.install import Say, install_rtx

BUILDER = Path(__file__).with_name("rtx_builder.py")
TIMEOUT_S = 900
Shapes = Mapping[str, Sequence[Sequence[int]]]


class RtxError(ModelError):
    """TensorRT-RTX could not be run, or refused a graph; the text says why."""


@dataclass(frozen=True, slots=True)
class Job:
    """A graph to build, and the range of its inputs' shapes."""

    model: onnx.ModelProto | Path
    shapes: Shapes
    engine: Path | None = None  # where the engine shall go
    capability: str | None = None  # compute capability, such as 8.6; None: as many as can run it


def build(jobs: Mapping[str, Job], say: Say = lambda _: None) -> tuple[str, dict[str, dict[str, Any]]]:
    """Parse and build graphs; no GPU is needed.

    Returns:
        TensorRT-RTX's version, and for each job ``parsed``, ``errors`` (none when it was built), ``bytes``
        and ``outputs``: name to type and shape.

    Raises:
        ServerError: TensorRT-RTX cannot be installed here.
        RtxError: it ended without an answer.
    """
    python = install_rtx(say).parents[2] / "bin" / "python"
    with tempfile.TemporaryDirectory(prefix="sightline-rtx-") as folder:
        asked = [_asked(job, Path(folder) / f"{number}.onnx") for number, job in enumerate(jobs.values())]
        done = subprocess.run(
            [python, BUILDER],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            env={key: text for key, text in os.environ.items() if not key.startswith("PYTHON")},
        )
    if done.returncode:
        raise RtxError(f"TensorRT-RTX ended with {done.returncode}: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["version"], dict(zip(jobs, answer["built"], strict=True))


def _asked(job: Job, path: Path) -> dict[str, Any]:
    if isinstance(job.model, Path):
        path = job.model
    else:
        onnx.save(job.model, path)
    shapes = {name: [list(shape) for shape in three] for name, three in job.shapes.items()}
    engine = str(job.engine) if job.engine else None
    return {"onnx": str(path), "shapes": shapes, "engine": engine, "capability": job.capability}


def parts(source: onnx.ModelProto, network: graphs.NetworkSpec, score_floor: float) -> dict[str, Job]:
    """Every graph that a GPU is given for this network, by what the table calls it.

    Args:
        source: FP32, ``images`` to ``output0``.
        network: its shape and precision.
        score_floor: baked in.
    """
    engine = exporter.engine_network(source, network)
    ranges = exporter.profiles(network)
    frame = {"frame": ranges["preprocess"]["frame"]}
    jobs = {
        "preprocess": Job(graphs.preprocess_graph(network), frame),
        "yolo": Job(engine, ranges["yolo"]),
        "postprocess": Job(graphs.postprocess_graph(network, score_floor), ranges["postprocess"]),
        "detector, one graph": Job(fused.fused_graph(engine, network, score_floor), frame),
    }
    if network.end_to_end:
        return jobs
    onnx_nms = graphs.postprocess_graph(network, score_floor, "onnx")
    whole, nms = around_nms(fused.fused_graph(engine, network, score_floor))
    post, _ = around_nms(graphs.postprocess_graph(network, score_floor))
    headless = fused.headless_graph(engine, network, score_floor)
    return jobs | {
        "postprocess, ONNX NMS": Job(onnx_nms, ranges["postprocess"]),
        "postprocess around its NMS": Job(post, ranges["postprocess"] | nms),
        "detector, one graph, around its NMS": Job(whole, frame | nms),
        "detector up to its NMS (rtx.onnx)": Job(headless, frame),
    }


def around_nms(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, list[list[int]]]]:
    """The graph without its plugin: its inputs are outputs now, its boxes an input; and their range."""
    model = copy.deepcopy(model)
    node = next(node for node in model.graph.node if node.op_type == "EfficientNMS_TRT")
    model.graph.node.remove(node)
    boxes = next(item for item in model.graph.output if item.name == "det_boxes")
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.input]
    del model.graph.output[:]
    model.graph.output.extend([boxes, *ends])
    sides = [item.dim_value for item in boxes.type.tensor_type.shape.dim][1:]
    given = helper.make_tensor_value_info("nms_boxes", onnx.TensorProto.FLOAT, ["batch", *sides])
    model.graph.input.append(given)
    return model, {
        "nms_boxes": [[batch, *sides] for batch in (1, exporter.MAX_BATCH // 2, exporter.MAX_BATCH)]
    }


def table(source: network_source.NetworkSource, size: tuple[int, int], say: Say = lambda _: None) -> str:
    """Markdown: every part of this network, in both precisions, and what TensorRT-RTX makes of it."""
    jobs: dict[str, Job] = {}
    for precision in ("fp32", "fp16"):
        made = parts(source.model, source.spec(size, precision), exporter.SCORE_FLOOR)
        jobs |= {f"{name}|{precision}": job for name, job in made.items()}
    version, built = build(jobs, say)
    names = dict.fromkeys(name.split("|")[0] for name in jobs)
    lines = [f"| part | FP32 | FP16 | TensorRT-RTX {version} lacks |", "|---|---|---|---|"]
    for name in names:
        both = [built[f"{name}|{precision}"] for precision in ("fp32", "fp16")]
        lacks = next((one["errors"][0] for one in both if one["errors"]), "")
        cells = [name, *map(verdict, both), reason(lacks)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(answer: Mapping[str, Any]) -> str:
    """One cell of the table."""
    if not answer["errors"]:
        return "builds"
    return "parses, does not build" if answer["parsed"] else "does not parse"


def reason(error: str) -> str:
    """What is lacking, out of an error's many words."""
    if "Plugin not found" in error:
        return "the plugin EfficientNMS_TRT"
    if "nonmaxsuppression" in error.lower():
        return "an NMS layer"
    return " ".join(error.split())[:120].replace("|", "/")


def build_version(
    folder: Path, version: int | None, capability: str | None = None, say: Say = lambda _: None
) -> Path:
    """Build ``detector/N/rtx.engine``; gives its path.

    Args:
        folder: the model repository.
        version: None: the newest.
        capability: see :class:`Job`.
        say: gets the progress of installing TensorRT-RTX.

    Raises:
        RtxError: the version was exported without --fused, or the graph is refused.
    """
    known = model_configs.versions(folder)
    version = version or max(known, default=0)
    place = folder / "detector" / str(version)
    if not (place / "rtx.onnx").is_file():
        raise RtxError(f"{place}/rtx.onnx is missing: export the version with --fused")
    draft, engine = place / ".rtx.engine.new", place / "rtx.engine"
    shapes = json.loads((place / "engine.json").read_text())
    try:
        _, built = build({"detector": Job(place / "rtx.onnx", shapes, draft, capability)}, say)
        if built["detector"]["errors"]:
            raise RtxError(f"{place}/rtx.onnx is refused: {'; '.join(built['detector']['errors'])}")
        draft.replace(engine)
    finally:
        draft.unlink(missing_ok=True)
    return engine


def cards(folder: Path, engine: Path, capability: str | None) -> str:
    """Which cards run an engine of :func:`build_version`, in words."""
    if capability:
        return f"RTX cards of compute capability {capability}"
    manifest = model_configs.read_manifest(folder, int(engine.parent.name))
    return f"RTX cards from {'Ada (8.9)' if manifest['precision'] == 'fp8' else 'Ampere (8.0)'} on"
