"""A checkpoint or an ONNX file becomes version N of ``yolo`` in a model repository.

An ``.onnx`` needs nothing but the ``onnx`` package. A ``.pt`` is turned into ONNX by Ultralytics (AGPL-3.0),
in an environment of its own. A ``.pt`` is a pickle: loading it runs its code.
"""

import copy
import json
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from sightline.errors import NetworkUnusable
from sightline.models.export import graphs, halve, network_source, ultralytics_env
from sightline.models.registry import repository
from sightline.models.registry.repository import sha256
from sightline.serving import model_configs
from sightline.serving.install import Say

SCORE_FLOOR = 0.1  # ByteTrack's second round uses boxes down to here
MAX_BATCH = 8


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export, how, and into which repository."""

    source: Path
    repository: Path
    version: int | None = None
    shape: tuple[int, int] | None = None  # height, width
    precision: str = "fp16"  # of the GPU's plan; model.onnx stays FP32
    labels: Path | None = None
    score_floor: float = SCORE_FLOOR
    nms: graphs.Nms = "plugin"
    fused: bool = False  # the whole detector as one graph, too
    install: bool = False


def export_network(options: ExportOptions, say: Say = lambda _: None) -> int:
    """Put the network in place and return its version; ``say`` gets the progress of what takes minutes.

    Raises a NetworkUnusable when the source cannot be served (unknown head, fixed batch, no labels, …), a
    RepositoryError when the repository cannot take it.
    """
    with tempfile.TemporaryDirectory(prefix="sightline-export-") as work:
        path = options.source
        if path.suffix == ".pt":
            path = ultralytics_env.to_onnx(path, Path(work), install=options.install, say=say)
        source = network_source.read_source(path, options.labels)
    network = source.spec(options.shape, options.precision)
    repository.prepare_repository(options.repository)
    version = options.version
    if version is None:
        version = repository.next_version(options.repository)
    model_configs.settle(options.repository)  # a new version serves once it is chosen, the first one at once
    with repository.new_version(options.repository, version) as folders:
        _write_version(folders, source, network, options, version)
    if model_configs.active(options.repository) == version:
        model_configs.write(options.repository)
    return version


def _write_version(
    folders: dict[str, Path],
    source: network_source.NetworkSource,
    network: graphs.NetworkSpec,
    options: ExportOptions,
    version: int,
) -> None:
    """Write everything of one version into the drafts; the manifest comes last."""
    engine, floor = engine_network(source.model, network), options.score_floor
    networks = {
        "yolo/model.onnx": unsigned_activations(source.model) if source.quantisation else source.model,
        "yolo/engine.onnx": engine,
        "preprocess/engine.onnx": graphs.preprocess_graph(network),
        "postprocess/engine.onnx": graphs.postprocess_graph(network, floor, options.nms),
    }
    shapes = profiles(network)
    if options.fused:  # the detector as one graph: for TensorRT, and without its NMS for TensorRT-RTX
        try:
            networks["detector/engine.onnx"] = graphs.fused_graph(engine, network, floor, options.nms)
            networks["detector/rtx.onnx"] = graphs.fused_graph(engine, network, floor, None)
        except NetworkUnusable as error:
            raise NetworkUnusable(f"{error}; leave --fused out") from error
        shapes["detector"] = shapes["preprocess"]
    hashes = {}
    for name, model in networks.items():
        step, file = name.split("/")
        onnx.save(model, folders[step] / file)
        hashes[name] = sha256(folders[step] / file)
    for step, ranges in shapes.items():
        (folders[step] / "engine.json").write_text(json.dumps(ranges, indent=2) + "\n")
    stem, digest = re.sub(r"[^A-Za-z0-9_.-]", "_", options.source.stem), sha256(options.source)
    manifest = {
        "model_version": f"{stem}-{version}-{digest[:12]}",
        "source_file": options.source.name,
        "source_sha256": digest,
        "licence": source.licence,
        "licence_note": "The licence of the weights binds whoever serves them.",
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "class_names": list(source.class_names),
        "head": network_source.HEADS[source.end_to_end],
        "output_shape": [network.rows, network.columns],
        "network_height": network.height,
        "network_width": network.width,
        "precision": source.quantisation["precision"] if source.quantisation else network.precision,
        "floating_point": network.precision,  # of the rest, and of the pictures between the steps
        "quantisation": source.quantisation,
        "score_floor": floor,
        "opset": graphs.opset_of(source.model),
        "measured_map": None,  # `sightline model evaluate --record` fills it
        "files_sha256": hashes,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folders["yolo"] / "manifest.json").write_text(text + "\n")


def unsigned_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """A QDQ network with activations in UINT8 around 128 instead of INT8 around 0: the same numbers.

    TensorRT takes activations without a zero point, so signed ones. OpenVINO on x86 processors gives wrong
    heads for those (2026.4: no box is left), and the right ones for unsigned activations. Weights stay INT8.
    """
    result = copy.deepcopy(model)
    constants = {item.name: item for item in result.graph.initializer}
    moved = {
        node.input[2]
        for node in result.graph.node
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}
        and node.input[0] not in constants
        and len(node.input) > 2
    }
    for zero in filter(None, map(constants.get, moved)):
        if zero.data_type == onnx.TensorProto.INT8:
            values = numpy_helper.to_array(zero).astype(np.int16) + 128
            zero.CopyFrom(numpy_helper.from_array(values.astype(np.uint8), zero.name))
    del result.graph.value_info[:]
    return result


def engine_network(model: onnx.ModelProto, network: graphs.NetworkSpec) -> onnx.ModelProto:
    """The network for TensorRT: the plan's precision in the graph, every side known but the batch."""
    result = copy.deepcopy(model)
    for value, sides in (
        (result.graph.input[0], (3, network.height, network.width)),
        (result.graph.output[0], (network.rows, network.columns)),
    ):
        value.CopyFrom(graphs.tensor_value(value.name, value.type.tensor_type.elem_type, *sides))
    if network.precision != "fp16":
        return result
    try:
        return halve.halve(result)
    except NetworkUnusable as error:
        raise NetworkUnusable(f"{error}; --precision fp32 serves it as it is") from error


def profiles(network: graphs.NetworkSpec) -> dict[str, dict[str, list[list[int]]]]:
    """For each step, the smallest, usual and largest shape of every input with its batch."""
    return {
        "preprocess": {"frame": batches(network.height * 3 // 2, network.width)},
        "yolo": {"images": batches(3, network.height, network.width)},
        "postprocess": {"output0": batches(network.rows, network.columns)},
    }


def batches(*shape: int) -> list[list[int]]:
    """The smallest, usual and largest shape of an input, with its batch."""
    return [[batch, *shape] for batch in (1, MAX_BATCH // 2, MAX_BATCH)]
