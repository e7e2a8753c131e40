"""PyTorchStep: plain eager PyTorch, on any device; the native step's fallback and its oracle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smallprint.spec.recipe import Adam, AdamW, Distilled, Muon, Recipe, Sgd
from smallprint.spec.schedule import Rates
from smallprint.spec.trace import Trace
from smallprint.training import machine, muon
from smallprint.training.augment import augment, greys
from smallprint.training.data import Dataset
from smallprint.training.draws import Draws
from smallprint.training.model import Model, build
from smallprint.training.native.plan import Plan
from smallprint.training.native.state import State, named
from smallprint.training.teacher import Teacher

# Shapes: N images, C channels, H rows, W columns, K outputs.
_TEST_BATCH = 500  # images


class PyTorchStep:
    """One network in training; `Step` says what its methods do."""

    def __init__(
        self,
        trace: Trace,
        plan: Plan,
        recipe: Recipe,
        dataset: Dataset,
        seed: int,
        *,
        device: str,
        threads: int,
        teacher: Teacher | None = None,
    ) -> None:
        self.plan, self.recipe = plan, recipe
        self.threads = threads
        machine.prepare(threads)
        self.device = torch.device(device)
        self.model = build(trace, seed).to(self.device)
        self.teacher = _frozen(teacher).to(self.device) if teacher else None
        self.optimisers = _optimisers(recipe, self.model, plan)
        self.average: dict[str, Tensor] = {}  # of parameters and running statistics, by name
        self.images_NCHW = torch.tensor(dataset.train_images_NCHW, device=self.device)
        self.labels_N = torch.tensor(dataset.train_labels_N, device=self.device)
        mean, deviation = (torch.from_numpy(value).float().view(1, -1, 1, 1) for value in dataset.mean_and_deviation)
        self.mean, self.deviation = mean.to(self.device), deviation.to(self.device)

    def try_threads(self, threads: int) -> None:
        """Nothing: PyTorch's sums depend on their number."""

    def begin(self, draws: Draws) -> None:
        """Start an epoch: its order on the device, dropout on, sums at zero."""
        self.draws = draws
        self.order_N = torch.from_numpy(draws.order).to(self.device)
        self.model.train()
        self.loss_sum = torch.zeros((), device=self.device, dtype=torch.float64)
        self.correct = torch.zeros((), device=self.device, dtype=torch.int64)

    def train(self, first: int, count: int, rates: Rates, taken: int) -> None:
        """Forward, backward and update by PyTorch, on images changed as the native step changes them."""
        self._set_rates(rates)
        chosen = self.order_N[first : first + count]
        images = augment(greys(self.images_NCHW[chosen]), self.draws.changes, first)
        labels = self.labels_N[chosen]
        self.model.draw(self.draws.key, first)
        inputs = self._normalised(images)
        logits_NK = self.model(inputs)
        loss = F.cross_entropy(logits_NK, labels, label_smoothing=self.recipe.loss.smoothing)
        if self.teacher and isinstance(self.recipe.loss, Distilled):
            with torch.no_grad():
                taught_NK = self.teacher(inputs)
            loss = distilled(loss, logits_NK, taught_NK, self.recipe.loss)
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in self.optimisers:
            optimiser.step()
        self._update_average()
        self.loss_sum += loss.detach() * count
        self.correct += (logits_NK.argmax(1) == labels).sum()

    def totals(self) -> tuple[float, int]:
        """Since `begin`: the sum of the images' losses, and how many were correct; waits for the device."""
        return float(self.loss_sum), int(self.correct)

    @torch.inference_mode()
    def logits(self, images_NCHW: NDArray[Any]) -> NDArray[np.float32]:
        """What the averaged weights, or else the last ones, say of images, (N, outputs)."""
        self.model.eval()
        judged = self.average or self.model.state_dict()
        found = [np.empty((0, self.plan.outputs), np.float32)]
        for first in range(0, len(images_NCHW), _TEST_BATCH):
            images = torch.tensor(images_NCHW[first : first + _TEST_BATCH], device=self.device)
            inputs = (self._normalised(greys(images)),)
            found.append(torch.func.functional_call(self.model, judged, inputs).cpu().numpy())
        return np.concatenate(found)

    def state(self) -> State:
        """All numbers of the training, copied into the native step's vectors."""
        state = State.of(self.plan)
        _copy(self.model.state_dict(), named(self.plan, state.parameters, state.running))
        _copy(
            self.average, named(self.plan, state.average[: self.plan.parameters], state.average[self.plan.parameters :])
        )
        for kept, vector in zip(self._moments(), (state.first, state.second), strict=True):
            _copy(kept, named(self.plan, vector, state.running))
        return state

    def restore(self, state: State, taken: int) -> None:
        """Go on from those numbers, after `taken` steps; without any, averages and moments are new."""
        tensors = {
            name: torch.from_numpy(value.copy())
            for name, value in named(self.plan, state.parameters, state.running).items()
        }
        self.model.load_state_dict(tensors)
        self.average = {}
        for optimiser in self.optimisers:
            optimiser.state.clear()
        if not taken:
            return
        if self.recipe.average:
            averaged = state.averaged()
            self.average = {
                name: torch.from_numpy(value.copy()).to(self.device)
                for name, value in named(self.plan, averaged.parameters, averaged.running).items()
            }
        first, second = (named(self.plan, vector, state.running) for vector in (state.first, state.second))
        owners = {p: one for one in self.optimisers for group in one.param_groups for p in group["params"]}
        for name, parameter in self.model.named_parameters():
            # A fused optimiser walks memory: its moments must be laid out as the parameter is.
            moments = [torch.empty_like(parameter).copy_(torch.tensor(kept[name])) for kept in (first, second)]
            if isinstance(self.recipe.optimiser, Sgd | Muon):
                kept = {"momentum_buffer": moments[0]}
            else:
                count = torch.tensor(float(taken), device=self.device)
                kept = {"step": count, "exp_avg": moments[0], "exp_avg_sq": moments[1]}
            owners[parameter].state[parameter] = kept

    def _moments(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the optimiser keeps of each parameter, by its name."""
        found: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        by_momentum = isinstance(self.recipe.optimiser, Sgd | Muon)
        keys = ("momentum_buffer", None) if by_momentum else ("exp_avg", "exp_avg_sq")
        states = {parameter: state for one in self.optimisers for parameter, state in one.state.items()}
        for name, parameter in self.model.named_parameters():
            kept = states.get(parameter, {})
            for key, moments in zip(keys, found, strict=True):
                if key and kept.get(key) is not None:
                    moments[name] = kept[key]
        return found

    def _normalised(self, images_NCHW: Tensor) -> Tensor:
        return ((images_NCHW - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)

    def _set_rates(self, rates: Rates) -> None:
        rule = self.recipe.optimiser
        for optimiser in self.optimisers:
            of_matrices = isinstance(optimiser, muon.Muon)
            own = rule.sgd_rates(rates) if isinstance(rule, Muon) and not of_matrices else rates
            for group in optimiser.param_groups:
                group["lr"] = own.lr
                if "momentum" in group:
                    group["momentum"] = own.momentum
                else:
                    group["betas"] = (own.momentum, group["betas"][1])

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


def distilled(cross_entropy: Tensor, logits_NK: Tensor, taught_NK: Tensor, loss: Distilled) -> Tensor:
    """The mean over images, with the teacher's share in it."""
    share, temperature = loss.share / 100, loss.temperature
    said, should = (F.log_softmax(logits / temperature, 1) for logits in (logits_NK, taught_NK))
    divergence = F.kl_div(said, should, reduction="batchmean", log_target=True)
    return (1 - share) * cross_entropy + share * temperature**2 * divergence


def _frozen(teacher: Teacher) -> Model:
    model = build(teacher.trace, seed=0)
    model.load_state_dict({name: torch.tensor(value) for name, value in teacher.weights.items()})
    return model.eval().requires_grad_(False)


def _copy(tensors: dict[str, Tensor], views: dict[str, NDArray[Any]]) -> None:
    for name, tensor in tensors.items():
        views[name][...] = tensor.detach().cpu().numpy()


def _optimisers(recipe: Recipe, model: torch.nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """Every parameter has one."""
    parameters = dict(model.named_parameters())
    match recipe.optimiser:
        case Sgd(lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay):
            return [_sgd(parameters.values(), lr, momentum, decay, nesterov=nesterov)]
        case Adam(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay):
            return [
                torch.optim.Adam(parameters.values(), lr, betas=(beta1, beta2), eps=eps, weight_decay=decay, fused=True)
            ]
        case AdamW(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay):
            return [
                torch.optim.AdamW(
                    parameters.values(), lr, betas=(beta1, beta2), eps=eps, weight_decay=decay, fused=True
                )
            ]
        case Muon(sgd_lr=lr, sgd_momentum=momentum, sgd_weight_decay=decay) as rule:
            matrices = {parameters.pop(matrix.name): matrix for matrix in plan.matrices}
            others = [_sgd(parameters.values(), lr, momentum, decay, nesterov=True)]
            return [*others, muon.Muon(matrices, rule)] if matrices else [*others]


def _sgd(
    parameters: Iterable[torch.nn.Parameter], lr: float, momentum: float, decay: float, *, nesterov: bool
) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True)
