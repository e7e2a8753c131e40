"""One training epoch of progressive:steplr-sgd: the course notebooks' loop, PyTorch at its best, and ours.

    python -m benchmarks epoch [--rounds 3] [--images 60000] [--threads N] [--sides course,ours] [--json]

All sides train the same network with the same recipe on the same images, in turn, each in a process of its own
that waits while the others work. `course` is what the published notebooks run: a Dataset that decodes, turns and
normalises one PIL image at a time, a DataLoader, and eager PyTorch in NCHW float32 with its counts read back after
every batch. Its transforms do, step by step, what torchvision's RandomRotation, ToTensor and Normalize do. `nchw`,
`nhwc`, `bfloat16` and `compile` are plain PyTorch on whole tensors, augmented by the batch: eager in both memory
formats, under bfloat16 autocast, and compiled. `ours` is the native step. Testing is left out on all sides.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from smallprint.spec.ladder import read_ladder
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Trace
from smallprint.training import machine
from smallprint.training.augment import augment
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.draws import Draws
from smallprint.training.trainer import Trainer

BATCH = 128  # images
SIDES = ("course", "nchw", "nhwc", "bfloat16", "compile", "ours")
Epoch = Callable[[], float]  # trains one epoch, returns its seconds


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


def course_epoch(dataset: Dataset, workers: int) -> Epoch:
    """The notebooks' training loop."""
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


def tensor_epoch(dataset: Dataset, side: str) -> Epoch:
    """Plain PyTorch on whole tensors; the counts are read back once per epoch."""
    layout = torch.contiguous_format if side == "nchw" else torch.channels_last
    model: nn.Module = course_network().to(memory_format=layout)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    model = torch.compile(model) if side == "compile" else model  # type: ignore[assignment]
    precision = torch.autocast("cpu", torch.bfloat16) if side == "bfloat16" else nullcontext()
    images_NCHW, labels_N = torch.tensor(dataset.train_images_NCHW), torch.tensor(dataset.train_labels_N)
    recipe = _rung()[1]
    done = 0

    def epoch() -> float:
        nonlocal done
        started = perf_counter()
        draws = Draws.of(0, done, len(labels_N), recipe)
        done += 1
        loss_sum = torch.zeros(())
        for first in range(0, len(labels_N), BATCH):
            chosen = torch.from_numpy(draws.order[first : first + BATCH])
            images = augment(images_NCHW[chosen].float() / 255, draws.changes, first)
            images = ((images - 0.1307) / 0.3081).contiguous(memory_format=layout)
            with precision:
                loss = F.cross_entropy(model(images), labels_N[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            loss_sum += loss.detach()
        loss_sum.item()
        return perf_counter() - started

    return epoch


def our_epoch(dataset: Dataset, threads: int) -> Epoch:
    """Our trainer on the same rung."""
    trace, recipe = _rung()
    # One test image, so that testing takes no time; enough epochs for every round.
    training_only = replace(
        dataset, test_images_NCHW=dataset.test_images_NCHW[:1], test_labels_N=dataset.test_labels_N[:1]
    )
    trainer = Trainer(trace, replace(recipe, epochs=1000), training_only, seed=0, threads=threads, way="native")
    epochs = iter(trainer)
    return lambda: next(epochs).seconds


def _rung() -> tuple[Trace, Recipe]:
    ladder = read_ladder("progressive")
    rung = ladder.rung("steplr-sgd")
    return ladder.trace(rung), rung.recipe


def work_per_image() -> int:
    """Floating-point operations to train on one image: forward, to the weights, and but for the first layer back."""
    trace, _ = _rung()
    return 2 * (3 * trace.macs - trace.steps[0].macs)


def matrix_product_rate(size: int = 1536) -> float:
    """Operations per second of the library's float32 product of two square matrices; the best of several."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(8):
        started = perf_counter()
        a @ b
        best = min(best, perf_counter() - started)
    return 2 * size**3 / best


def serve(pipe: Connection, side: str, images: int, threads: int, workers: int) -> None:
    """One side's process: trains an epoch whenever it is asked to, and answers with its seconds."""
    torch.set_num_threads(threads)
    mnist = load_dataset("mnist")
    dataset = replace(
        mnist, train_images_NCHW=mnist.train_images_NCHW[:images], train_labels_N=mnist.train_labels_N[:images]
    )
    if side == "ours":
        epoch = our_epoch(dataset, threads)
    elif side == "course":
        epoch = course_epoch(dataset, workers)
    elif side == "product":
        epoch = matrix_product_rate
    else:
        epoch = tensor_epoch(dataset, side)
        if side == "compile":
            epoch()  # compiles
    pipe.send(None)
    while pipe.recv():
        pipe.send(epoch())


def measure(asked: argparse.Namespace, threads: int) -> dict[str, Any]:
    """All sides in turn, so many rounds, with so many threads."""
    sides = asked.sides.split(",")
    pipes = {}
    for side in (*sides, "product"):
        pipes[side], far = Pipe()
        arguments = (far, side, asked.images, threads, asked.workers)
        get_context("spawn").Process(target=serve, args=arguments).start()
        pipes[side].recv()
    measured: dict[str, list[float]] = {side: [] for side in pipes}
    for _ in range(asked.rounds):
        for side, pipe in pipes.items():
            pipe.send(True)
            measured[side].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    product = measured.pop("product")
    result: dict[str, Any] = {
        "threads": threads,
        "seconds": measured,
        "product_gflops": [rate / 1e9 for rate in product],
    }
    if "ours" in sides:
        work = work_per_image() * asked.images
        rates = [work / seconds for seconds in measured["ours"]]
        result["gflops"] = [rate / 1e9 for rate in rates]
        result["share_of_product"] = median(ours / theirs for ours, theirs in zip(rates, product, strict=True))
        result["ratios"] = {side: ratio(measured[side], measured["ours"]) for side in sides if side != "ours"}
    return result


def ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """Of the seconds of two sides, round by round: median, lowest and highest."""
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return {"median": median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks epoch", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each side, in turn (default 3)")
    parser.add_argument("--images", type=int, default=60_000, help="training images of an epoch (default 60,000)")
    parser.add_argument("--threads", default=str(machine.cores()), help="of every side, as in 1,2 (default: all cores)")
    parser.add_argument("--workers", type=int, default=0, help="the course loop's loader processes (default 0)")
    parser.add_argument("--sides", default=",".join(SIDES), help=f"some of {','.join(SIDES)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    if unknown := set(asked.sides.split(",")) - set(SIDES):
        parser.error(f"no side is called {', '.join(sorted(unknown))}; known: {', '.join(SIDES)}")
    results = [measure(asked, int(threads)) for threads in asked.threads.split(",")]
    document = {
        "benchmark": "epoch",
        "images": asked.images,
        "workers": asked.workers,
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "ratio": results[-1].get("ratios", {}).get("course", {}).get("median"),
        "results": results,
    }
    print(json.dumps(document, indent=1) if asked.json else "\n".join(map(told, results)))


def told(result: dict[str, Any]) -> str:
    """One number of threads for people."""
    lines = [
        f"{result['threads']} thread(s): seconds per epoch, median (all rounds); times ours, median (lowest to highest)"
    ]
    ratios: dict[str, dict[str, float]] = result.get("ratios", {})
    for side, seconds in result["seconds"].items():
        found = ratios.get(side)
        compared = f"{found['median']:7.2f} ({found['lowest']:.2f} to {found['highest']:.2f})" if found else ""
        lines.append(f"{side:>9} {median(seconds):7.2f}  ({', '.join(f'{s:.2f}' for s in seconds)}) {compared}")
    if "gflops" in result:
        gflops, product = median(result["gflops"]), median(result["product_gflops"])
        share = 100 * result["share_of_product"]
        lines.append(f"ours: {gflops:.0f} GFLOP/s, {share:.0f}% of the matrix product's {product:.0f} in the same run")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
