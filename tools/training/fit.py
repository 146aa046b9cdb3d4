"""Trains the bundled detector on generated pictures; goes on where it stopped.

    python tools/training/fit.py DATA/train RUN --steps 27000

On a GPU one process learns and others prepare its pictures. Without one there is a process for each core:
they see different pictures and average their gradients. What a step sees depends on the seed and the step
alone, so a run that was stopped and resumed learns the same as one that was not.
"""

import copy
import math
import os
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from training import to_onnx
from training.dataset import NETWORK, Pictures, crop_example
from training.generate import CLASSES
from training.loss import Targets, loss_of, targets_of
from training.network import DetectorNetwork

CROP = (256, 320)
SAVE_EVERY, TELL_EVERY = 250, 50
EMA_STEPS = 400.0  # the average reaches so far back, less at the start
WARM_UP_STEPS = 200
CLIP = 10.0
SETTLING_PICTURES = 48  # that tell the normalisations of a network from ONNX what they see
#: Crops of a step for each process that learns.
BATCH = {"cpu": 6, "cuda": 144}
Batch = tuple[Tensor, Targets]  # uint8 [batch, height, width, 3], and what is in them


def rate_at(step: int, options: Namespace) -> float:
    """The learning rate: up during the warm-up, then down a half cosine to a fiftieth."""
    share = (step - WARM_UP_STEPS) / max(options.steps - WARM_UP_STEPS, 1)
    falling = 0.02 + 0.98 * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    return float(options.rate * ((step + 1) / WARM_UP_STEPS if step < WARM_UP_STEPS else falling))


class Batches(Dataset[Batch]):
    """What the steps see, by number: crops, and whole pictures at the end."""

    def __init__(self, pictures: Pictures, options: Namespace, rank: int) -> None:
        self._pictures, self._options, self._rank = pictures, options, rank
        self._shares = pictures.shares()

    def __getitem__(self, step: int) -> Batch:
        options = self._options
        random = np.random.default_rng([options.seed, self._rank, step])
        cv2.setRNGSeed(int(random.integers(1 << 31)))
        whole = step >= options.steps * (1 - options.whole_share)
        count = max(1, options.batch // 3) if whole else options.batch
        numbers = random.choice(len(self._pictures), count, p=self._shares)
        size = NETWORK if whole else CROP
        examples = [crop_example(self._pictures, int(number), size, random) for number in numbers]
        images = torch.from_numpy(np.stack([example.picture for example in examples]))
        return images, targets_of([example.objects for example in examples])


def _one_thread(_: int = 0) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def fit(rank: int, options: Namespace) -> None:
    """What one process does."""
    _one_thread()
    torch.manual_seed(options.seed)
    if options.learning > 1:
        store = f"file://{options.run.resolve() / 'processes'}"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=options.learning)
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True  # there are only two sizes
    model = DetectorNetwork(len(CLASSES)).to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(model).eval()
    decay, plain = ([p for p in model.parameters() if (p.ndim > 1) == kernel] for kernel in (True, False))
    # Only weights of convolutions decay.
    groups = [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.99))
    pictures = Pictures(options.data)
    learner = {"model": model, "average": average, "optimizer": optimizer}
    step = resume(options, learner, pictures)
    began, parts = time.monotonic(), dict[str, Tensor]()
    if rank == 0:
        print(f"{len(pictures)} pictures, from step {step}", flush=True)
    helpers = 0 if options.device == "cpu" else options.processes  # that prepare what the GPU learns from
    loader = DataLoader(
        Batches(pictures, options, rank),
        batch_size=None,
        sampler=range(step, options.steps),
        num_workers=helpers,
        prefetch_factor=4 if helpers else None,
        worker_init_fn=_one_thread,
        pin_memory=helpers > 0,
    )
    for images, targets in loader:
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options)
        shown = images.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
        told = train_step(model, optimizer, shown, targets.to(device), options.learning)
        step += 1
        follow(average, model, step)
        parts = {key: parts.get(key, value) * 0.98 + value * 0.02 for key, value in told.items()}
        if rank == 0 and step % TELL_EVERY == 0:
            text = " ".join(f"{key} {float(value):.3f}" for key, value in parts.items())
            seconds = (time.monotonic() - began) / TELL_EVERY
            began = time.monotonic()
            print(f"step {step}/{options.steps} {seconds:.3f} s {text}", flush=True)
        if rank == 0 and (step % SAVE_EVERY == 0 or step == options.steps):
            draft = options.run / ".checkpoint.pt"
            torch.save({name: part.state_dict() for name, part in learner.items()} | {"step": step}, draft)
            draft.replace(options.run / "checkpoint.pt")  # in one piece
    if options.learning > 1:
        distributed.destroy_process_group()


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, targets: Targets, learning: int
) -> dict[str, Tensor]:
    """One step of learning; the parts of its loss."""
    model.train()
    with torch.autocast(images.device.type, torch.bfloat16):
        levels = model(images.contiguous(memory_format=torch.channels_last))
    loss, parts = loss_of(levels, targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if learning > 1:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient)).div_(learning)
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    return parts


def follow(average: nn.Module, model: nn.Module, step: int) -> None:
    """Move the average of the weights, which is what is exported, towards the model."""
    share = 1 / min(EMA_STEPS, 1 + step / 4)
    pairs = zip(average.state_dict().values(), model.state_dict().values(), strict=True)
    kept, now = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    with torch.no_grad():
        torch._foreach_lerp_(list(kept), list(now), share)


def resume(options: Namespace, learner: dict[str, Any], pictures: Pictures) -> int:
    """Take up the run's checkpoint, or begin with what another run has learnt; the step to go on with.

    Of another run that is its checkpoint's average, or the ONNX file made of it.
    """
    place, path = options.run / "checkpoint.pt", options.start_from
    if place.is_file():
        state = torch.load(place, weights_only=True, map_location=options.device)
        for name, part in learner.items():
            part.load_state_dict(state[name])
        return int(state["step"])
    if path is not None and path.suffix == ".onnx":
        random = np.random.default_rng(options.seed)
        numbers = random.choice(len(pictures), SETTLING_PICTURES)
        seen = np.stack([crop_example(pictures, int(n), CROP, random).picture for n in numbers])
        shown = torch.from_numpy(seen).to(options.device).permute(0, 3, 1, 2).float().div_(255)
        to_onnx.load(learner["model"], path, shown)
    elif path is not None:
        state = torch.load(path, weights_only=True, map_location=options.device)
        learner["model"].load_state_dict(state["average"])
    learner["average"].load_state_dict(learner["model"].state_dict())
    return 0


def main() -> None:
    """Train."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=27000)
    of_batch = "crops of each process that learns (default 6, on a GPU 144); of whole pictures a third"
    parser.add_argument("--batch", type=int, help=of_batch)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--whole-share", type=float, default=0.46, help="last part: whole pictures")
    parser.add_argument("--start-from", type=Path, help="checkpoint or ONNX file of another run")
    parser.add_argument("--device", choices=sorted(BATCH), help="default: the GPU, if there is one")
    options = parser.parse_args()
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    options.batch = options.batch or BATCH[options.device]
    options.learning = options.processes if options.device == "cpu" else 1  # processes that learn
    options.run.mkdir(parents=True, exist_ok=True)
    (options.run / "processes").unlink(missing_ok=True)
    multiprocessing.spawn(fit, (options,), options.learning)


if __name__ == "__main__":
    main()
