"""One training epoch of progressive:steplr-sgd: the course notebooks' loop against ours.

    python -m benchmarks.epoch [--rounds 3] [--images 60000] [--threads N] [--json]

Both sides train the same network with the same recipe on the same images, in turn, each in a process of its own
that waits while the other works. The course loop is what the published notebooks run: a Dataset that decodes,
turns and normalises one PIL image at a time, a DataLoader, and eager PyTorch in NCHW float32 with its counts read
back after every batch. Its transforms do, step by step, what torchvision's RandomRotation, ToTensor and Normalize
do. Testing is left out on both sides.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from smallprint.spec.ladder import read_ladder
from smallprint.training import machine
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.trainer import Trainer

BATCH = 128  # images


class CourseImages(TorchDataset[tuple[Tensor, int]]):
    """MNIST as the notebooks read it: one image at a time, through PIL."""

    def __init__(self, dataset: Dataset) -> None:
        self.images = torch.from_numpy(dataset.train_images_NCHW[:, 0].copy())
        self.labels = torch.from_numpy(dataset.train_labels_N.copy())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        angle = float(torch.empty(1).uniform_(-7.0, 7.0).item())
        image = image.rotate(angle, Image.Resampling.NEAREST, fillcolor=1)
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(28, 28, 1)
        tensor = pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255).clone()
        mean, deviation = (torch.as_tensor((value,), dtype=torch.float32).view(-1, 1, 1) for value in (0.1307, 0.3081))
        return tensor.sub_(mean).div_(deviation), int(self.labels[index])


def course_network() -> nn.Sequential:
    """Source 003's network, as eager PyTorch modules."""

    def block(width_in: int, width_out: int, pad: int = 0) -> list[nn.Module]:
        convolution = nn.Conv2d(width_in, width_out, 3, padding=pad, bias=False)
        return [convolution, nn.ReLU(), nn.BatchNorm2d(width_out), nn.Dropout(0.01)]

    return nn.Sequential(
        *block(1, 8), *block(8, 16), nn.MaxPool2d(2), nn.Conv2d(16, 8, 1, bias=False), nn.ReLU(),
        *block(8, 12), *block(12, 12), *block(12, 16), *block(16, 16, pad=1),
        nn.AvgPool2d(6), nn.Conv2d(16, 10, 1, bias=False), nn.Flatten(),
    )  # fmt: skip


def course_epoch(dataset: Dataset, workers: int) -> Callable[[], float]:
    """The notebooks' training loop; each call trains one epoch and returns its seconds."""
    model = course_network()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loader = DataLoader(CourseImages(dataset), batch_size=BATCH, shuffle=True, num_workers=workers)

    def epoch() -> float:
        started = perf_counter()
        model.train()
        loss_sum, correct = 0.0, 0
        for images, labels in loader:
            optimiser.zero_grad()
            log_probabilities = F.log_softmax(model(images), dim=1)
            loss = F.nll_loss(log_probabilities, labels)
            loss_sum += loss.item()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            correct += int(log_probabilities.argmax(dim=1).eq(labels).sum().item())
        return perf_counter() - started

    return epoch


def our_epoch(dataset: Dataset, threads: int) -> Callable[[], float]:
    """Our trainer on the same rung; each call trains one epoch and returns its seconds."""
    ladder = read_ladder("progressive")
    rung = ladder.rung("steplr-sgd")
    # One test image, so that testing takes no time; enough epochs for every round.
    training_only = replace(
        dataset, test_images_NCHW=dataset.test_images_NCHW[:1], test_labels_N=dataset.test_labels_N[:1]
    )
    recipe = replace(rung.recipe, epochs=1000)
    epochs = iter(Trainer(ladder.trace(rung), recipe, training_only, seed=0, threads=threads))
    return lambda: next(epochs).seconds


def serve(pipe: Connection, side: str, images: int, threads: int, workers: int) -> None:
    """One side's process: trains an epoch whenever it is asked to, and answers with its seconds."""
    mnist = load_dataset("mnist")
    dataset = replace(
        mnist, train_images_NCHW=mnist.train_images_NCHW[:images], train_labels_N=mnist.train_labels_N[:images]
    )
    torch.set_num_threads(threads)
    epoch = our_epoch(dataset, threads) if side == "ours" else course_epoch(dataset, workers)
    pipe.send(None)
    while pipe.recv():
        pipe.send(epoch())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epoch", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each side, in turn (default 3)")
    parser.add_argument("--images", type=int, default=60_000, help="training images of an epoch (default 60,000)")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="threads of either side (default: all)")
    parser.add_argument("--workers", type=int, default=0, help="the course loop's loader processes (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    pipes = {}
    for side in ("course", "ours"):
        pipes[side], far = Pipe()
        get_context("spawn").Process(target=serve, args=(far, side, asked.images, asked.threads, asked.workers)).start()
        pipes[side].recv()
    seconds: dict[str, list[float]] = {side: [] for side in pipes}
    for _ in range(asked.rounds):
        for side, pipe in pipes.items():
            pipe.send(True)
            seconds[side].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    ratios = [course / ours for course, ours in zip(seconds["course"], seconds["ours"], strict=True)]
    result = {
        "benchmark": "epoch",
        "images": asked.images,
        "threads": asked.threads,
        "workers": asked.workers,
        "seconds": seconds,
        "ratio": median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
        "torch": torch.__version__,
    }
    if asked.json:
        print(json.dumps(result, indent=1))
        return
    for name, measured in seconds.items():
        print(f"{name:>7}: {median(measured):6.1f} s per epoch (median of {', '.join(f'{s:.1f}' for s in measured)})")
    print(f"course / ours: {result['ratio']:.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
