"""Parses and builds ONNX graphs by TensorRT-RTX, ahead of time and without a GPU; run in its own environment.

Reads a JSON list of {"model": path, "shapes": {input: [least, usual, most]}, "engine": path or null,
"capability": compute capability of the only GPU to build for, or null} from stdin; prints {"version",
"built"}: {"parsed", "errors", "bytes", "outputs": {name: [type, sides…]}} of each.
"""

import json
import sys
from pathlib import Path
from typing import Any

import tensorrt_rtx_bindings as trt


class Log(trt.ILogger):  # type: ignore[misc]  # the library is untyped
    """Keeps what goes wrong; the builder says it here and nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def log(self, severity: Any, text: str) -> None:
        """Called by TensorRT-RTX."""
        if severity <= trt.ILogger.Severity.ERROR:
            self.errors.append(text)


def build(job: dict[str, Any]) -> dict[str, Any]:
    """One graph."""
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)  # strongly typed: there is nothing else
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(job["model"]):
        return {"parsed": False, "errors": [parser.get_error(at).desc() for at in range(parser.num_errors)]}
    config, shapes = builder.create_builder_config(), builder.create_optimization_profile()
    for name, three in job["shapes"].items():
        shapes.set_shape(name, *three)
    config.add_optimization_profile(shapes)
    if job["capability"]:
        config.num_compute_capabilities = 1
        wanted = getattr(trt.ComputeCapability, "SM" + job["capability"].replace(".", ""))
        config.set_compute_capability(wanted, 0)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return {"parsed": True, "errors": log.errors or ["no engine, no reason given"]}
    if job["engine"]:
        Path(job["engine"]).write_bytes(plan)
    outputs = [network.get_output(at) for at in range(network.num_outputs)]
    found = {item.name: [item.dtype.name, *item.shape] for item in outputs}
    return {"parsed": True, "errors": [], "bytes": plan.nbytes, "outputs": found}


if __name__ == "__main__":
    jobs = json.load(sys.stdin)
    answer = {"version": trt.__version__, "built": [build(job) for job in jobs]}
    print(json.dumps(answer))  # noqa: T201 - the answer to whoever started this program
