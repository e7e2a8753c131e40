"""K trainings in one computation: their numbers on the device, a step, and a look at the test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Trace
from smallprint.training.augment import greys
from smallprint.training.draws import Draws
from smallprint.training.native.plan import Plan
from smallprint.training.native.state import State
from smallprint.training.stack.batches import Batches, Images
from smallprint.training.stack.convolution import all_bits
from smallprint.training.stack.graph import Recorder
from smallprint.training.stack.networks import Chance, Networks
from smallprint.training.stack.teachers import Teachers
from smallprint.training.stack.update import Update
from smallprint.training.teacher import Teacher

# Shapes: K trainings, S steps of an epoch, N images, P parameters, R running statistics, O outputs.
_AT_ONCE = 10_000  # images whose losses are worked out in 64 bits
_TOGETHER = 500  # test images times networks, at least; else as many images as a batch


class Engine:
    """K trainings that stand at the same step; what they may differ in is said by `shared`."""

    def __init__(
        self, trace: Trace, plan: Plan, recipes: Sequence[Recipe], images: Images, states: Sequence[State], taken: int,
        *, precision: torch.dtype, teachers: Sequence[Teacher] = (),
    ) -> None:  # fmt: skip
        self.plan, self.images, self.device, self.precision = plan, images, images.device, precision
        self.count, self.batch = len(recipes), min(recipes[0].batch, len(images.labels_T))
        self.networks = Networks(trace, plan, self.count, images=self.batch, device=self.device, dtype=precision)
        self.teachers = (
            Teachers(teachers, recipes, images=self.batch, device=self.device, dtype=precision) if teachers else None
        )
        self.update, self.batches = Update(recipes, plan.matrices, self.device), Batches(images, recipes)
        self.smoothing_K = self._tensor([recipe.loss.smoothing for recipe in recipes])
        self.averages = recipes[0].average is not None
        self.averaged = self.averages and taken > 0  # whether the average has begun
        self._load(states)
        self.positions_N = torch.arange(self.batch, device=self.device)
        self.step = torch.zeros(1, dtype=torch.int64, device=self.device)  # of the epoch
        steps = recipes[0].steps(len(images.labels_T))
        self.numbers_SUK = torch.zeros(steps, Update.NUMBERS, self.count, device=self.device)
        self.loss_K = torch.zeros(self.count, dtype=torch.float64, device=self.device)
        self.correct_K = torch.zeros(self.count, dtype=torch.int64, device=self.device)
        self._recorder = Recorder(self.device)
        self._steps: dict[int, Callable[[], None]] = {}  # by the number of images

    def begin(self, draws: Sequence[Draws], numbers_SUK: NDArray[np.float64]) -> None:
        """Start an epoch: what is drawn for each training, and what `Update.numbers` says of each step."""
        self.batches.begin(draws)
        self.numbers_SUK.copy_(torch.from_numpy(numbers_SUK))
        for tensor in (self.step, self.loss_K, self.correct_K):
            tensor.zero_()

    def train(self, count: int) -> None:
        """One step of every training, on the next `count` images of its order; does not wait for the device."""
        with all_bits():
            if count not in self._steps:
                self._steps[count] = self._recorder.recorded(lambda: self._train(count), self._changed())
            self._steps[count]()
        self.averaged = self.averages

    def totals(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Since `begin`, of each training: the sum of the images' losses, and how many were correct."""
        return self.loss_K.cpu().numpy(), self.correct_K.cpu().numpy()

    @torch.no_grad()
    def logits(self, images_NCHW: Tensor) -> Tensor:
        """What the judged weights of all trainings say of the same images, (K, N, O)."""
        parameters, running = self.parameters, self.running
        if self.averaged:
            parameters, running = self.average[:, : self.plan.parameters], self._running(self.average)
        values = self._values(parameters, running)
        said = [torch.zeros(0, self.count, self.plan.outputs, device=self.device)]
        with all_bits():
            for part in torch.split(images_NCHW, max(self.batch, _TOGETHER // self.count)):
                x = self.images.normalised(greys(part)).repeat(1, self.count, 1, 1)
                with self._products():
                    said.append(self.networks.logits(x, values).float())
        return torch.cat(said).transpose(0, 1)

    def judged(self, logits_KNO: Tensor, labels_N: Tensor) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Of each training: the sum of the cross-entropies, and how many were correct."""
        loss = self.losses(logits_KNO, labels_N).sum(1)
        return loss.cpu().numpy(), (logits_KNO.argmax(2) == labels_N).sum(1).cpu().numpy()

    def losses(self, logits_KNO: Tensor, labels_N: Tensor) -> Tensor:
        """The cross-entropy of each image, in 64 bits, (K, N)."""
        found = [torch.zeros(self.count, 0, dtype=torch.float64, device=self.device)]
        for some_KNO, labels in zip(torch.split(logits_KNO, _AT_ONCE, 1), torch.split(labels_N, _AT_ONCE), strict=True):
            exact = some_KNO.double().log_softmax(2)
            found.append(-exact.gather(2, labels.expand(self.count, -1)[:, :, None]).squeeze(2))
        return torch.cat(found, 1)

    def states(self) -> list[State]:
        """All numbers of each training; copies."""
        running = torch.cat([self.parameters.new_zeros(self.count, 0), *self.running], 1)
        vectors = {
            "parameters": self.parameters, "running": running,
            "first": self.first, "second": self.second, "average": self.average,
        }  # fmt: skip
        arrays = {name: vector.detach().cpu().numpy() for name, vector in vectors.items()}
        return [State(**{name: array[index].copy() for name, array in arrays.items()}) for index in range(self.count)]

    def _load(self, states: Sequence[State]) -> None:
        stacked = {name: self._tensor([state.arrays()[name] for state in states]) for name in states[0].arrays()}
        self.parameters = stacked["parameters"].requires_grad_()
        self.first, self.second, self.average = (stacked[name] for name in ("first", "second", "average"))
        self.running = self._running(stacked["running"])

    def _running(self, vectors: Tensor) -> list[Tensor]:
        """The running statistics that stand at the end of (K, ...), each (K, C) in memory of its own."""
        sizes = [entry.size for entry in self.plan.entries if not entry.trainable]
        parts = torch.split(vectors[:, vectors.shape[1] - self.plan.running :], sizes, 1)
        return [part.clone(memory_format=torch.contiguous_format) for part in parts]

    def _changed(self) -> list[Tensor]:
        """What a step changes."""
        vectors = [self.parameters, self.first, self.second, self.average, *self.running]
        return [*vectors, self.step, self.loss_K, self.correct_K]

    def _train(self, count: int) -> None:
        positions_N = self.step * self.batch + self.positions_N[:count]
        images, labels_NK = self.batches.at(positions_N)
        with self._products():
            values = self._values(self.parameters, self.running)
            logits_NKO = self.networks.logits(images, values, Chance(self.batches.key, positions_N))
            taught_NKO = self.teachers.logits(images) if self.teachers else None
        logits_NKO = logits_NKO.float()
        loss_NK = _cross_entropy(logits_NKO, labels_NK, self.smoothing_K)
        if self.teachers and taught_NKO is not None:
            loss_NK = self.teachers.loss(loss_NK, logits_NKO, taught_NKO.float())
        # The networks share no number, so the gradient of the sum is that of each one's own loss.
        (gradient,) = torch.autograd.grad(loss_NK.mean(0).sum(), self.parameters)
        with torch.no_grad():
            numbers = self.numbers_SUK.index_select(0, self.step)[0]
            self.update(self.parameters, gradient, self.first, self.second, numbers)
            if self.averages:
                self.average.lerp_(torch.cat([self.parameters, *self.running], 1), numbers[-1, :, None])
            self.loss_K += loss_NK.double().sum(0)
            self.correct_K += (logits_NKO.argmax(2) == labels_NK).sum(0)
            self.step += 1

    def _values(self, parameters_KP: Tensor, running: Sequence[Tensor]) -> dict[str, Tensor]:
        names = [entry.name for entry in self.plan.entries if not entry.trainable]
        return self.networks.named(parameters_KP) | dict(zip(names, running, strict=True))

    def _tensor(self, values: Sequence[float] | Sequence[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.array(values, np.float32)).to(self.device)

    def _products(self) -> torch.autocast:
        """Where convolutions and matrix products are computed in the precision asked for."""
        wanted = self.precision != torch.float32
        return torch.autocast(self.device.type, torch.bfloat16, enabled=wanted, cache_enabled=False)


def _cross_entropy(logits_NKO: Tensor, labels_NK: Tensor, smoothing_K: Tensor) -> Tensor:
    """`torch.nn.functional.cross_entropy` with every network's own label smoothing, (N, K)."""
    exact = logits_NKO.log_softmax(2)
    chosen = exact.gather(2, labels_NK[:, :, None]).squeeze(2)
    return -((1 - smoothing_K) * chosen + smoothing_K * exact.mean(2))
