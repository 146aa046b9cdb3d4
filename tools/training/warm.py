"""Takes up the published ONNX file where no checkpoint is left: training goes on from its weights.

In the file every normalisation is folded into its convolution. Here each gets one again that changes
nothing: it takes out mean and spread of what it sees on some pictures, and puts both back as what it learns.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from sightline.models.export import halve
from training.network import DetectorNetwork

Weights = tuple[Tensor, Tensor]  # of one convolution: kernel and bias


def load(model: DetectorNetwork, path: Path, pictures: Tensor) -> None:
    """Give the model the file's weights.

    Args:
        model: of the same shape as the file's network.
        path: an ONNX file that ``to_onnx.py`` wrote.
        pictures: float32 [batch, 3, height, width], some dozens of training pictures.

    Raises:
        ValueError: the file's network is another one.
    """
    found = convolutions(path)
    modules = in_order(model, pictures[:1])
    shapes = [tuple(kernel.shape) for kernel, _ in found]
    if shapes != [tuple(conv.weight.shape) for conv, _ in modules]:
        raise ValueError(f"{path} holds another network than tools/training/network.py describes")
    hooks = []
    for (kernel, bias), (conv, norm) in zip(found, modules, strict=True):
        with torch.no_grad():
            conv.weight.copy_(kernel)
            if norm is None:
                conv.bias.copy_(bias)
        if norm is not None:
            hooks.append(norm.register_forward_pre_hook(partial(_settle, bias=bias)))
    with torch.no_grad():
        model.eval()(pictures)
    for hook in hooks:
        hook.remove()


def convolutions(path: Path) -> list[Weights]:
    """Kernel and bias of every convolution of a file, as they are computed."""
    graph = halve.unpack(onnx.load(path)).graph
    values = {item.name: numpy_helper.to_array(item).astype(np.float32) for item in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    return [
        (torch.from_numpy(values[node.input[1]].copy()), torch.from_numpy(values[node.input[2]].copy()))
        for node in nodes
    ]


def in_order(model: nn.Module, picture: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """The model's convolutions as they are computed, each with the normalisation behind it."""
    seen: list[tuple[nn.Conv2d, nn.BatchNorm2d | None]] = []

    def note(module: nn.Module, *_: Any) -> None:
        if isinstance(module, nn.Conv2d):
            seen.append((module, None))
        elif isinstance(module, nn.BatchNorm2d):
            seen[-1] = (seen[-1][0], module)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    with torch.no_grad():
        model.eval()(picture)
    for hook in hooks:
        hook.remove()
    return seen


def _settle(norm: nn.BatchNorm2d, inputs: tuple[Tensor], *, bias: Tensor) -> None:
    """Make a normalisation that only adds ``bias`` to what it sees now."""
    variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.copy_(bias.to(mean.device) + mean)
