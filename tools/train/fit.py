"""Trains the bundled detector on generated pictures, with one process a core; goes on where it stopped.

    python tools/train/fit.py DATA/train RUN --steps 27000

The processes see different pictures and average their gradients. What a step sees depends on the seed and
the step alone, so a run that was stopped and resumed learns the same as one that was not.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, distributed, multiprocessing, nn

import warm
from assign import Objects
from dataset import NETWORK, Pictures, crop_example
from generate import CLASSES
from loss import loss_of
from network import Detector

CROP = (256, 320)
SAVE_EVERY, TELL_EVERY = 250, 50
EMA_STEPS = 400.0  # the average reaches so far back, less at the start
WARM_UP_STEPS = 200
CLIP = 10.0
SETTLING_PICTURES = 48  # that tell the normalisations of a network from ONNX what they see


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    data: Path
    run: Path
    steps: int
    batch: int
    rate: float
    seed: int
    processes: int
    whole_share: float
    start_from: Path | None


def rate_at(step: int, options: Options) -> float:
    """The learning rate: up during the warm-up, then down a half cosine to a fiftieth."""
    if step < WARM_UP_STEPS:
        return options.rate * (step + 1) / WARM_UP_STEPS
    share = (step - WARM_UP_STEPS) / max(options.steps - WARM_UP_STEPS, 1)
    return options.rate * (0.02 + 0.98 * (1 + math.cos(math.pi * min(share, 1.0))) / 2)


def batches(
    pictures: Pictures, options: Options, rank: int, start: int
) -> Iterator[tuple[Tensor, list[Objects]]]:
    """Crops, and whole pictures at the end."""
    shares = pictures.shares()
    for step in range(start, options.steps):
        random = np.random.default_rng([options.seed, rank, step])
        cv2.setRNGSeed(int(random.integers(1 << 31)))
        whole = step >= options.steps * (1 - options.whole_share)
        count = max(1, options.batch // 3) if whole else options.batch
        numbers = random.choice(len(pictures), count, p=shares)
        size = NETWORK if whole else CROP
        examples = [crop_example(pictures, int(number), size, random) for number in numbers]
        images = torch.from_numpy(np.stack([example.picture for example in examples])).permute(0, 3, 1, 2)
        yield images.float().div_(255), [example.objects for example in examples]


def fit(rank: int, options: Options) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    store = f"file://{options.run.resolve() / 'processes'}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=options.processes)
    model = Detector(len(CLASSES)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(_groups(model), lr=options.rate, betas=(0.9, 0.99))
    pictures = Pictures(options.data)
    step = resume(options, model, average, optimizer)
    if step == 0 and options.start_from is not None:
        start(options, model, average, pictures)
    began, parts = time.monotonic(), dict[str, float]()
    if rank == 0:
        print(f"{len(pictures)} pictures, from step {step}", flush=True)
    for images, objects in batches(pictures, options, rank, step):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options)
        told = train_step(model, optimizer, images, objects, options.processes)
        step += 1
        follow(average, model, step)
        parts = {key: parts.get(key, value) * 0.98 + value * 0.02 for key, value in told.items()}
        if rank == 0 and step % TELL_EVERY == 0:
            seconds = (time.monotonic() - began) / TELL_EVERY
            began = time.monotonic()
            text = " ".join(f"{key} {value:.3f}" for key, value in parts.items())
            print(f"step {step}/{options.steps} {seconds:.2f} s {text}", flush=True)
        if rank == 0 and (step % SAVE_EVERY == 0 or step == options.steps):
            save(options, model, average, optimizer, step)
    distributed.destroy_process_group()


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, objects: list[Objects], processes: int
) -> dict[str, float]:
    """One step of learning; the parts of its loss."""
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        levels = model(images.contiguous(memory_format=torch.channels_last))
    loss, parts = loss_of(levels, objects)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient)).div_(processes)
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    return parts


def _groups(model: nn.Module) -> list[dict[str, object]]:
    """Only weights of convolutions decay."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    return [
        {"params": decay, "weight_decay": 0.02},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]


def follow(average: nn.Module, model: nn.Module, step: int) -> None:
    """Move the average of the weights, which is what is exported, towards the model."""
    share = 1 / min(EMA_STEPS, 1 + step / 4)
    with torch.no_grad():
        for kept, now in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(now, share)


def save(
    options: Options, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> None:
    """The checkpoint, in one piece."""
    draft = options.run / ".checkpoint.pt"
    state = {"model": model.state_dict(), "average": average.state_dict(), "step": step}
    torch.save(state | {"optimizer": optimizer.state_dict()}, draft)
    draft.replace(options.run / "checkpoint.pt")


def resume(options: Options, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Take up the run's checkpoint; the step to go on with."""
    place = options.run / "checkpoint.pt"
    if place.is_file():
        state = torch.load(place, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    return 0


def start(options: Options, model: Detector, average: nn.Module, pictures: Pictures) -> None:
    """Begin with what another run has learnt: its checkpoint's average, or the ONNX file made of it."""
    if options.start_from.suffix == ".onnx":
        random = np.random.default_rng(options.seed)
        numbers = random.choice(len(pictures), SETTLING_PICTURES)
        seen = np.stack([crop_example(pictures, int(n), CROP, random).picture for n in numbers])
        warm.load(model, options.start_from, torch.from_numpy(seen).permute(0, 3, 1, 2).float().div_(255))
    else:
        model.load_state_dict(torch.load(options.start_from, weights_only=True)["average"])
    average.load_state_dict(model.state_dict())


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=27000)
    parser.add_argument(
        "--batch", type=int, default=6, help="crops of each process (default 6); of whole pictures a third"
    )
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--whole-share", type=float, default=0.46, help="last part of the steps: whole pictures"
    )
    parser.add_argument(
        "--start-from", type=Path, help="checkpoint or ONNX file of another run to start from"
    )
    options = Options(**vars(parser.parse_args()))
    options.run.mkdir(parents=True, exist_ok=True)
    (options.run / "processes").unlink(missing_ok=True)
    multiprocessing.spawn(fit, (options,), options.processes)


if __name__ == "__main__":
    main()
