"""What trains an epoch of progressive:steplr-sgd: plain PyTorch on whole tensors, and ours."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks._course import BATCH, course_network
from benchmarks._turns import Work
from smallprint.results.runs import Precision
from smallprint.spec.ladder_file import read_ladder
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Trace
from smallprint.training.augment import augment
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.draws import Draws
from smallprint.training.trainer import Trainer


def the_rung() -> tuple[Trace, Recipe]:
    """The rung that all sides train."""
    ladder = read_ladder("progressive")
    rung = ladder.rung("steplr-sgd")
    return ladder.trace(rung), rung.recipe


def first_images(dataset: Dataset, train: int, test: int) -> Dataset:
    """A data set of its first images only."""
    return replace(
        dataset,
        train_images_NCHW=dataset.train_images_NCHW[:train],
        train_labels_N=dataset.train_labels_N[:train],
        test_images_NCHW=dataset.test_images_NCHW[:test],
        test_labels_N=dataset.test_labels_N[:test],
    )


def some_of_mnist(images: int) -> Dataset:
    """So many of MNIST's training images, and one test image, so that testing takes no time."""
    return first_images(load_dataset("mnist"), images, 1)


def tensor_training(dataset: Dataset, side: str) -> Work:
    """An epoch by PyTorch: nchw or nhwc (memory formats), bfloat16 (autocast) or compile; counts read back at its end.

    The images are augmented by the batch.
    """
    layout = torch.contiguous_format if side == "nchw" else torch.channels_last
    model: nn.Module = course_network().to(memory_format=layout)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    model = torch.compile(model) if side == "compile" else model  # type: ignore[assignment]
    precision = torch.autocast("cpu", torch.bfloat16) if side == "bfloat16" else nullcontext()
    images_NCHW, labels_N = torch.tensor(dataset.train_images_NCHW), torch.tensor(dataset.train_labels_N)
    recipe = the_rung()[1]
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


def our_training(dataset: Dataset, threads: int, precision: Precision = "float32") -> Work:
    """An epoch of the rung by our trainer, with the native step."""
    return epochs_of(*the_rung(), dataset, threads, precision)


def epochs_of(
    trace: Trace, recipe: Recipe, dataset: Dataset, threads: int = 1, precision: Precision = "float32"
) -> Work:
    """One epoch of a training after the other, with the native step."""
    longest = replace(recipe, epochs=1000)  # as many as any number of rounds asks for
    trainer = Trainer(trace, longest, dataset, seed=0, threads=threads, way="native", precision=precision)
    epochs = iter(trainer)
    return lambda: next(epochs).seconds
