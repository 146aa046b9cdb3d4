"""A training run's averaged weights as the ONNX file that comes with Sightline, and back.

    python tools/training/to_onnx.py RUN/checkpoint.pt models/sightline.onnx
    python tools/training/to_onnx.py BEFORE/checkpoint.pt RUN/checkpoint.pt models/sightline.onnx --share 0.85

Of two runs, the second begun where the first ended, the mean of both sets of weights, so much of it the last
one's: what a network has learnt anew without all that it forgot over it (the paper WiSE-FT).
Normalisation is folded into the convolutions; weights are FP16 with Casts behind them, arithmetic is FP32.
Where no checkpoint is left, training goes on from the published file's weights (:func:`load`).
"""

import io
import sys
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import onnx
import torch
from onnx.numpy_helper import to_array
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from sightline.models.export import halve
from training.generate import CLASSES
from training.network import DetectorNetwork, Exported

OPSET = 17


def network_of(detector: DetectorNetwork) -> onnx.ModelProto:
    """FP32 ONNX with dynamic batch, height and width, input ``images``, output ``output0``, class names."""
    written = io.BytesIO()
    axes = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 2: "anchors"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter by tracing is old, and enough for this network
        torch.onnx.export(
            Exported(detector.eval()), (torch.rand(2, 3, 128, 160),), written, dynamo=False,
            input_names=["images"], output_names=["output0"], dynamic_axes=axes, opset_version=OPSET,
        )  # fmt: skip
    model = onnx.load_from_string(written.getvalue())
    model.metadata_props.add(key="names", value=str(dict(enumerate(CLASSES))))
    model.metadata_props.add(key="license", value="Apache-2.0")
    model.metadata_props.add(key="description", value="Sightline's own detector: docs/detector.md")
    return model


def load(model: DetectorNetwork, path: Path, pictures: Tensor) -> None:
    """Give the model the weights of an ONNX file that this program wrote.

    In the file every normalisation is folded into its convolution. Here each gets one again that changes
    nothing: it takes out mean and spread of what it sees on some dozens of training pictures (float32
    [batch, 3, height, width]), and puts both back as what it learns.

    Raises:
        ValueError: the file's network is another one.
    """
    graph = halve.unpack(onnx.load(path)).graph
    values = {item.name: torch.tensor(to_array(item), dtype=torch.float32) for item in graph.initializer}
    nodes = [[values[name] for name in node.input[1:3]] for node in graph.node if node.op_type == "Conv"]
    left = iter(nodes)  # kernel and bias of each convolution, as they are computed
    bias = torch.zeros(0)
    another = ValueError(f"{path} holds another network than tools/training/network.py describes")

    def settle(module: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal bias
        if isinstance(module, nn.Conv2d):
            kernel, bias = next(left, (torch.zeros(0), bias))
            if kernel.shape != module.weight.shape:
                raise another
            module.weight.copy_(kernel)
            if module.bias is not None:
                module.bias.copy_(bias)
        elif isinstance(module, nn.BatchNorm2d):
            variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
            module.running_mean.copy_(mean)
            module.running_var.copy_(variance)
            module.weight.copy_(torch.sqrt(variance + module.eps))
            module.bias.copy_(bias.to(mean.device) + mean)

    hooks = [module.register_forward_pre_hook(settle) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    if next(left, None) is not None:
        raise another


def main() -> None:
    """Export."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="+", help="one or two")
    parser.add_argument("network", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the last checkpoint in the mean")
    given = parser.parse_args()
    states = [torch.load(path, weights_only=True) for path in given.checkpoint]
    first, last = states[0], states[-1]
    detector = DetectorNetwork(len(CLASSES))
    mean = dict(first["average"])
    for name, kept in mean.items():
        if kept.is_floating_point():
            mean[name] = kept * (1 - given.share) + last["average"][name] * given.share
    detector.load_state_dict(mean)
    model = halve.pack(network_of(detector))
    onnx.checker.check_model(model)
    onnx.save(model, given.network)
    print(f"{given.network}: step {last['step']}, {given.network.stat().st_size} bytes")


if __name__ == "__main__":
    main()
