"""Trainer: the loop, one page; yields an Epoch per epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from smallprint.results.runs import Arrays, Epoch, Precision
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.schedule import Clock, Watched
from smallprint.spec.trace import Trace, trace
from smallprint.training import machine
from smallprint.training.checkpoint import pack, unpack
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.draws import Draws, doubt
from smallprint.training.native import NativeError, NativeStep
from smallprint.training.native.plan import plan
from smallprint.training.native.state import judged
from smallprint.training.step import Step, Way
from smallprint.training.teacher import Teacher, check_teacher

# Shapes: N images, K outputs.


class Trainer:
    """One network in training, with one seed.

    Everything random is drawn from seed and epoch alone, hard images also by what the network says of them: the same
    seed gives the same bits on the same machine, and resuming needs no random state. `way` is how a step is computed:
    "native", C compiled for this network, whose results do not depend on the number of threads; "pytorch"; or "auto",
    native where it can be had (`reason` says why not, where it cannot). `precision` is that of products in training;
    only the native step knows another than float32, and `Trainer.precision` is the one in use.
    """

    def __init__(
        self,
        trace: Trace,
        recipe: Recipe,
        dataset: Dataset,
        seed: int,
        *,
        device: str = "cpu",
        threads: int | None = None,
        way: Way = "auto",
        precision: Precision = "float32",
        teacher: Teacher | None = None,
    ) -> None:
        self.recipe, self.seed, self.dataset = recipe, seed, dataset
        self.trace, self.plan = trace, plan(trace)
        self.epochs: list[Epoch] = []
        self._said_of_training: Arrays | None = None
        check_teacher(trace, recipe, teacher)
        self.way, self.reason = way, ""
        self.precision: Precision = "float32"
        self.step: Step
        if way == "native" and device != "cpu":
            raise NativeError(f"the native step runs on the processor, not on {device}")
        if way != "pytorch" and device == "cpu":
            try:
                self.step = NativeStep(
                    self.plan, recipe, dataset, seed, threads=threads, precision=precision, teacher=teacher
                )
                self.way, self.precision = "native", precision
                return
            except NativeError as fault:
                if way == "native":
                    raise
                self.reason = f"trained with PyTorch, many times slower: {fault}"
        from smallprint.training.eager import PyTorchStep  # torch takes seconds to import

        threads = threads or machine.threads_for(trace.macs * recipe.batch)
        self.step = PyTorchStep(
            trace, self.plan, recipe, dataset, seed, device=device, threads=threads, teacher=teacher
        )
        self.way = "pytorch"

    def __iter__(self) -> Iterator[Epoch]:
        """Train epoch by epoch; stops early, after the epoch in question, when the loss is no longer a number.

        Where hard images are drawn more often, loss and accuracy on the training images are not those of the draws, but
        what the judged weights say of every image after the epoch.
        """
        total, planned, batch = len(self.dataset.train_labels_N), self.recipe.epochs, self.recipe.batch
        steps_per_epoch = self.recipe.steps(total)
        while len(self.epochs) < planned and not (self.epochs and self.epochs[-1].diverged):
            started = perf_counter()
            done = len(self.epochs)
            history = [Watched(e.train_loss, e.train_accuracy, e.test_accuracy) for e in self.epochs]
            draws, hard = Draws.of(self.seed, done, total, self.recipe), self.recipe.hard(done)
            if hard:
                draws = draws.by_doubt(doubt(self._train_answers()["loss"]), hard)
            self._said_of_training = None
            self.step.begin(draws)
            for index in range(steps_per_epoch):
                taken, first = done * steps_per_epoch + index, index * batch
                clock = Clock(taken, steps_per_epoch, planned)
                rates = self.recipe.schedule.at(clock, self.recipe.optimiser.rates, history)
                self.step.train(first, min(batch, total - first), rates, taken)
            loss_sum, correct = self.step.totals()
            if hard and math.isfinite(loss_sum):
                loss_sum, correct = tally(self._train_answers(), self.dataset.train_labels_N)
            test_loss, test_correct = tally(self.answers(), self.dataset.test_labels_N)
            self.epochs.append(
                Epoch(
                    epoch=done + 1,
                    learning_rate=rates.lr,
                    train_loss=loss_sum / total,
                    train_correct=correct,
                    train_total=total,
                    test_loss=test_loss / max(1, len(self.dataset.test_labels_N)),
                    test_correct=test_correct,
                    test_total=len(self.dataset.test_labels_N),
                    seconds=perf_counter() - started,
                )
            )
            yield self.epochs[-1]

    @property
    def threads(self) -> int:
        """Threads in use."""
        return self.step.threads

    def weights(self) -> Arrays:
        """The judged weights and running statistics, by name."""
        return judged(self.plan, self.step.state(), averaged=bool(self.recipe.average and self.epochs))

    def answers(self) -> Arrays:
        """What the judged weights say of each test image: `predicted`, its `confidence`, and the `loss`, all (N,)."""
        return answers(self.step.logits(self.dataset.test_images_NCHW), self.dataset.test_labels_N)

    def _train_answers(self) -> Arrays:
        """The same of each training image as it is; asked once after an epoch."""
        if self._said_of_training is None:
            logits = self.step.logits(self.dataset.train_images_NCHW)
            self._said_of_training = answers(logits, self.dataset.train_labels_N)
        return self._said_of_training

    def checkpoint(self) -> bytes:
        """All that is needed to go on after the last whole epoch."""
        return pack(self.epochs, self.step.state())

    def restore(self, checkpoint: bytes) -> None:
        """Go back to where a checkpoint was taken.

        Raises:
            RunError: the checkpoint is damaged or of another network.
        """
        epochs, state = unpack(checkpoint, self.plan)
        self.step.restore(state, len(epochs) * self.recipe.steps(len(self.dataset.train_labels_N)))
        self.epochs, self._said_of_training = epochs, None


def answers(logits_NK: NDArray[np.float32], labels_N: NDArray[np.int64]) -> Arrays:
    """The most likely class of each image, its probability, and the cross-entropy with its label, all (N,)."""
    exponents = logits_NK.astype(np.float64)
    exponents -= exponents.max(1, keepdims=True)
    log_total = np.log(np.exp(exponents).sum(1))
    images = np.arange(len(labels_N))
    predicted = logits_NK.argmax(1)
    return {
        "predicted": predicted.astype(np.int32),
        "confidence": np.exp(exponents[images, predicted] - log_total).astype(np.float32),
        "loss": (log_total - exponents[images, labels_N]).astype(np.float32),
    }


def tally(said: Arrays, labels_N: NDArray[np.int64]) -> tuple[float, int]:
    """The sum of the images' losses, and how many were correct."""
    return float(said["loss"].sum(dtype=np.float64)), int((said["predicted"] == labels_N).sum())


def train(
    network: Network | str,
    recipe: Recipe | Mapping[str, object],
    dataset: Dataset | str = "mnist",
    seed: int = 0,
    *,
    device: str = "cpu",
    threads: int | None = None,
    way: Way = "auto",
    precision: Precision = "float32",
    teacher: Trainer | Teacher | None = None,
) -> Trainer:
    """Make ready to train one network; iterate over the result for an Epoch per epoch.

    Nothing is stored: `Trainer.weights` and `Trainer.answers` hold what came of it. A recipe whose loss is distilled
    needs the teacher that it speaks of.

    Raises:
        NotationError: a network or recipe that does not read, or does not fit the data set, or each other.
        DataError: the data set cannot be had.
    """
    network = Network.parse(network) if isinstance(network, str) else network
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.parse(recipe)
    dataset = load_dataset(dataset) if isinstance(dataset, str) else dataset
    traced = trace(network, dataset.facts.input_shape, len(dataset.facts.classes))
    if isinstance(teacher, Trainer):
        teacher = Teacher(trace=teacher.trace, weights=teacher.weights())
    return Trainer(
        traced, recipe, dataset, seed, device=device, threads=threads, way=way, precision=precision, teacher=teacher
    )
