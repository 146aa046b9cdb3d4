"""TensorRT-RTX on a machine with or without a GPU: engines built ahead of time, and what that runtime lacks.

An engine needs a version that was exported with --fused; `sightline triton serve --config-name rtx` then
serves it on an RTX card. TensorRT-RTX (NVIDIA's licence) is installed once, into the cache folder.
"""

import copy
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import onnx
from onnx import helper

from sightline.errors import ModelError
from sightline.models.export import exporter, graphs, network_source
from sightline.serving import model_configs
from sightline.serving.install import Say, install_rtx

BUILDER = Path(__file__).with_name("rtx_builder.py")
TIMEOUT_S = 900
K = TypeVar("K")
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


def build(jobs: Mapping[K, Job], say: Say = lambda _: None) -> tuple[str, dict[K, dict[str, Any]]]:
    """Parse and build graphs; no GPU is needed.

    Gives TensorRT-RTX's version, and for each job ``parsed``, ``errors`` (none when it was built), ``bytes``
    and ``outputs``: name to type and shape.

    Raises a ServerError when TensorRT-RTX cannot be installed here, an RtxError when it gave no answer.
    """
    python = install_rtx(say).parents[2] / "bin" / "python"
    with tempfile.TemporaryDirectory(prefix="sightline-rtx-") as folder:
        asked = []
        for number, job in enumerate(jobs.values()):
            path = Path(folder) / f"{number}.onnx"
            if isinstance(job.model, Path):
                path = job.model
            else:
                onnx.save(job.model, path)
            asked.append(asdict(replace(job, model=path)))
        done = subprocess.run(
            [python, BUILDER],
            input=json.dumps(asked, default=str),
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


def parts(source: onnx.ModelProto, network: graphs.NetworkSpec, score_floor: float) -> dict[str, Job]:
    """Every graph that a GPU is given for a network (FP32, ``images`` to ``output0``), as in the table."""
    engine, ranges = exporter.engine_network(source, network), exporter.profiles(network)
    frame, head = ranges["preprocess"], ranges["postprocess"]
    post = graphs.postprocess_graph(network, score_floor)
    whole, headless = (graphs.fused_graph(engine, network, score_floor, nms) for nms in ("plugin", None))
    jobs = {
        "preprocess": Job(graphs.preprocess_graph(network), frame),
        "yolo": Job(engine, ranges["yolo"]),
        "postprocess": Job(post, head),
        "detector, one graph": Job(whole, frame),
    }
    if network.end_to_end:
        return jobs
    return jobs | {
        "postprocess, ONNX NMS": Job(graphs.postprocess_graph(network, score_floor, "onnx"), head),
        "postprocess around its NMS": _around_nms(post, head),
        "detector, one graph, around its NMS": _around_nms(whole, frame),
        "detector up to its NMS (rtx.onnx)": Job(headless, frame),
    }


def _around_nms(model: onnx.ModelProto, shapes: Shapes) -> Job:
    """The graph without its plugin: its inputs are outputs now, its boxes an input."""
    model = copy.deepcopy(model)
    node = next(node for node in model.graph.node if node.op_type == "EfficientNMS_TRT")
    model.graph.node.remove(node)
    boxes = next(item for item in model.graph.output if item.name == "det_boxes")
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.input]
    graphs.refill(model.graph.output, [boxes, *ends])
    sides = [item.dim_value for item in boxes.type.tensor_type.shape.dim][1:]
    model.graph.input.append(graphs.tensor_value("nms_boxes", onnx.TensorProto.FLOAT, *sides))
    return Job(model, {**shapes, "nms_boxes": exporter.batches(*sides)})


def table(source: network_source.NetworkSource, size: tuple[int, int], say: Say = lambda _: None) -> str:
    """Markdown: every part of this network, in both precisions, and what TensorRT-RTX makes of it."""
    by_precision = {
        precision: parts(source.model, source.spec(size, precision), exporter.SCORE_FLOOR)
        for precision in ("fp32", "fp16")
    }
    jobs = {(name, precision): job for precision, all_ in by_precision.items() for name, job in all_.items()}
    version, built = build(jobs, say)
    rows = [("part", "FP32", "FP16", f"TensorRT-RTX {version} lacks"), ["---"] * 4]
    rows += [[name, *cells([built[name, each] for each in by_precision])] for name in by_precision["fp32"]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row of the table: a verdict on each answer, and what is lacking, out of an error's many words."""
    words = {(True, False): "builds", (True, True): "parses, does not build", (False, True): "does not parse"}
    verdicts = [words[each["parsed"], bool(each["errors"])] for each in answers]
    error = next((each["errors"][0] for each in answers if each["errors"]), "")
    lacks = " ".join(error.split())[:120].replace("|", "/")
    if "Plugin not found" in error:
        lacks = "the plugin EfficientNMS_TRT"
    elif "nonmaxsuppression" in error.lower():
        lacks = "an NMS layer"
    return [*verdicts, lacks]


def build_version(
    folder: Path, version: int | None, capability: str | None = None, say: Say = lambda _: None
) -> Path:
    """Build ``detector/N/rtx.engine`` of a version, or of the newest; gives its path.

    Raises an RtxError when the version was exported without --fused, or the graph is refused.
    """
    place = folder / "detector" / str(version or max(model_configs.versions(folder), default=0))
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
