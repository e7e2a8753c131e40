"""Trainer: the loop, one page; yields an Epoch per epoch."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smallprint.results.runs import Arrays, Epoch
from smallprint.spec.errors import RunError
from smallprint.spec.network import Network
from smallprint.spec.recipe import Adam, AdamW, Recipe, Sgd
from smallprint.spec.schedule import Clock, Watched
from smallprint.spec.trace import Trace, trace
from smallprint.training import machine
from smallprint.training.augment import augment
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.model import build

# Shapes: N images, C channels, H rows, W columns, K outputs.
_TEST_BATCH = 500  # images


class Trainer:
    """One network in training, with one seed.

    Everything random is drawn from generators made anew for each epoch from seed, epoch and purpose: the
    same seed gives the same bits on the same machine and number of threads, and resuming needs no random state.
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
    ) -> None:
        self.recipe, self.seed = recipe, seed
        self.device = torch.device(device)
        self.threads = threads or machine.threads_for(trace.macs * recipe.batch)
        machine.prepare(self.threads)
        self.epochs: list[Epoch] = []
        self.model = build(trace, seed).to(self.device)
        self.optimiser = _optimiser(recipe, self.model)
        self.average: dict[str, Tensor] = {}  # of parameters and running statistics, by name
        self.train_images_NCHW, self.train_labels_N = self._on_device(dataset.train_images_NCHW, dataset.train_labels_N)
        self.test_images_NCHW, self.test_labels_N = self._on_device(dataset.test_images_NCHW, dataset.test_labels_N)
        mean, deviation = (torch.from_numpy(value).float().view(1, -1, 1, 1) for value in dataset.mean_and_deviation)
        self.mean, self.deviation = mean.to(self.device), deviation.to(self.device)

    def __iter__(self) -> Iterator[Epoch]:
        """Train epoch by epoch; stops early, after the epoch in question, when the loss is no longer a number."""
        total, planned = len(self.train_labels_N), self.recipe.epochs
        steps_per_epoch = -(-total // self.recipe.batch)
        while len(self.epochs) < planned and not (self.epochs and self.epochs[-1].diverged):
            started = perf_counter()
            done = len(self.epochs)
            history = [Watched(e.train_loss, e.train_accuracy, e.test_accuracy) for e in self.epochs]
            order = torch.randperm(total, generator=self._generator("order", "cpu")).to(self.device)
            augmenting = self._generator("augment")
            self.model.draw_from(self._generator("dropout"))
            self.model.train()
            loss_sum = torch.zeros((), device=self.device, dtype=torch.float64)
            correct = torch.zeros((), device=self.device, dtype=torch.int64)
            for step, chosen in enumerate(torch.split(order, self.recipe.batch), start=done * steps_per_epoch):
                learning_rate = self._set_rates(Clock(step, steps_per_epoch, planned), history)
                images = augment(self.train_images_NCHW[chosen].float() / 255, self.recipe.augment, augmenting)
                labels = self.train_labels_N[chosen]
                logits_NK = self.model(self._normalised(images))
                loss = F.cross_entropy(logits_NK, labels, label_smoothing=self.recipe.loss.smoothing)
                self.optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimiser.step()
                self._update_average()
                loss_sum += loss.detach() * len(chosen)
                correct += (logits_NK.argmax(1) == labels).sum()
            test_loss_N, predicted_N, _ = self._test()
            self.epochs.append(
                Epoch(
                    epoch=done + 1,
                    learning_rate=learning_rate,
                    train_loss=float(loss_sum) / total,
                    train_correct=int(correct),
                    train_total=total,
                    test_loss=float(test_loss_N.double().mean()),
                    test_correct=int((predicted_N == self.test_labels_N).sum()),
                    test_total=len(self.test_labels_N),
                    seconds=perf_counter() - started,
                )
            )
            yield self.epochs[-1]

    def weights(self) -> Arrays:
        """The judged weights and running statistics, by name."""
        return {name: value.cpu().numpy().copy() for name, value in self._judged().items()}

    def answers(self) -> Arrays:
        """What the judged weights say of each test image: `predicted`, its `confidence`, and the `loss`, all (N,)."""
        loss_N, predicted_N, confidence_N = self._test()
        return {
            "predicted": predicted_N.to(torch.int32).cpu().numpy(),
            "confidence": confidence_N.cpu().numpy(),
            "loss": loss_N.cpu().numpy(),
        }

    def checkpoint(self) -> bytes:
        """All that is needed to go on after the last whole epoch."""
        state = {
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def restore(self, checkpoint: bytes) -> None:
        """Go back to where a checkpoint was taken.

        Raises:
            RunError: the checkpoint is damaged or of another network.
        """
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(checkpoint), map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average = state["average"]
            self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        except Exception:  # a damaged file can make torch raise nearly anything
            raise RunError("resume.pt is damaged or belongs to another network") from None

    def _generator(self, purpose: str, device: str | None = None) -> torch.Generator:
        """A fresh generator for one purpose within the epoch that comes next."""
        digest = hashlib.sha256(f"{self.seed} {len(self.epochs)} {purpose}".encode()).digest()
        return torch.Generator(device or self.device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def _on_device(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return torch.tensor(images, device=self.device), torch.tensor(labels, device=self.device)

    def _normalised(self, images_NCHW: Tensor) -> Tensor:
        return ((images_NCHW - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)

    def _set_rates(self, clock: Clock, history: list[Watched]) -> float:
        rates = self.recipe.schedule.at(clock, self.recipe.optimiser.rates, history)
        for group in self.optimiser.param_groups:
            group["lr"] = rates.lr
            if "momentum" in group:
                group["momentum"] = rates.momentum
            else:
                group["betas"] = (rates.momentum, group["betas"][1])
        return rates.lr

    def _update_average(self) -> None:
        if not self.recipe.average:
            return
        current = self.model.state_dict()
        if not self.average:
            self.average = {name: value.clone() for name, value in current.items()}
            return
        names = list(self.average)
        share = 1 - self.recipe.average.decay
        torch._foreach_lerp_([self.average[name] for name in names], [current[name] for name in names], share)

    def _judged(self) -> dict[str, Tensor]:
        return self.average or self.model.state_dict()

    @torch.inference_mode()
    def _test(self) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, predicted class and its probability for each test image, all (N,)."""
        self.model.eval()
        losses, predicted, confidence = [], [], []
        for images, labels in zip(
            torch.split(self.test_images_NCHW, _TEST_BATCH), torch.split(self.test_labels_N, _TEST_BATCH), strict=True
        ):
            inputs = (self._normalised(images.float() / 255),)
            logits_NK = torch.func.functional_call(self.model, self._judged(), inputs)
            losses.append(F.cross_entropy(logits_NK, labels, reduction="none"))
            top = logits_NK.softmax(1).max(1)
            confidence.append(top.values)
            predicted.append(top.indices)
        return torch.cat(losses), torch.cat(predicted), torch.cat(confidence)


def train(
    network: Network | str,
    recipe: Recipe | Mapping[str, object],
    dataset: Dataset | str = "mnist",
    seed: int = 0,
    *,
    device: str = "cpu",
    threads: int | None = None,
) -> Trainer:
    """Make ready to train one network; iterate over the result for an Epoch per epoch.

    Nothing is stored: `Trainer.weights` and `Trainer.answers` hold what came of it.

    Raises:
        NotationError: a network or recipe that does not read, or does not fit the data set.
        DataError: the data set cannot be had.
    """
    network = Network.parse(network) if isinstance(network, str) else network
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.parse(recipe)
    dataset = load_dataset(dataset) if isinstance(dataset, str) else dataset
    traced = trace(network, dataset.facts.input_shape, len(dataset.facts.classes))
    return Trainer(traced, recipe, dataset, seed, device=device, threads=threads)


def _optimiser(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    match recipe.optimiser:
        case Sgd(lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay):
            return torch.optim.SGD(
                model.parameters(), lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True
            )
        case Adam(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay):
            return torch.optim.Adam(
                model.parameters(), lr, betas=(beta1, beta2), eps=eps, weight_decay=decay, fused=True
            )
        case AdamW(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay):
            return torch.optim.AdamW(
                model.parameters(), lr, betas=(beta1, beta2), eps=eps, weight_decay=decay, fused=True
            )
