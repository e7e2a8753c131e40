"""The update of one step for K trainings at once: SGD, Adam, AdamW and Muon, and the moving average."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

from smallprint.spec.recipe import Adam, AdamW, Muon, Recipe, Sgd
from smallprint.spec.schedule import Clock, Rates
from smallprint.training import muon
from smallprint.training.native.plan import Matrix

# Shapes: K trainings, P parameters.
# The sums are those of `torch.optim.SGD`, `Adam` and `AdamW`, and of native/update.h, in the same order; those of Muon
# are muon.py's.


class Update:
    """The optimisers of K trainings; each has its own numbers, all are of one kind."""

    NUMBERS = 5  # of one training and step, as `numbers` gives them

    def __init__(self, recipes: Sequence[Recipe], matrices: Sequence[Matrix], device: torch.device) -> None:
        optimisers = [recipe.optimiser for recipe in recipes]
        self.kind, self.matrices = type(optimisers[0]), matrices
        self.nesterov = any(isinstance(one, Muon) or (isinstance(one, Sgd) and one.nesterov) for one in optimisers)

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64).float().view(-1, 1).to(device)

        muons = [optimiser for optimiser in optimisers if isinstance(optimiser, Muon)]
        self.sgd_share = column([optimiser.sgd_lr / optimiser.lr for optimiser in muons])
        self.sgd_momentum = column([optimiser.sgd_momentum for optimiser in muons])
        decays = [one.sgd_weight_decay if isinstance(one, Muon) else one.weight_decay for one in optimisers]
        self.decay = column(decays)
        adams = [optimiser for optimiser in optimisers if isinstance(optimiser, Adam | AdamW)]
        self.kept = column([optimiser.beta2 for optimiser in adams])
        self.fresh = column([1 - optimiser.beta2 for optimiser in adams])
        self.eps = column([optimiser.eps for optimiser in adams])

    @staticmethod
    def numbers(recipe: Recipe, rates: Rates, clock: Clock) -> tuple[float, ...]:
        """What changes from step to step.

        The step's size, the momentum, by what to divide the root of the squares' mean, by what to shrink the weights
        first, and the share of the newest weights in the average.
        """
        size, root, shrunk, taken = rates.lr, 1.0, 1.0, clock.step
        match recipe.optimiser:
            case Adam(beta2=beta2) | AdamW(beta2=beta2):
                size = rates.lr / (1 - rates.momentum ** (taken + 1))
                root = sqrt(1 - beta2 ** (taken + 1))
        if isinstance(recipe.optimiser, AdamW | Muon):
            shrunk = 1 - rates.lr * recipe.optimiser.weight_decay
        fresh = 1 - recipe.average.decay if recipe.average and taken else 1.0
        return size, rates.momentum, root, shrunk, fresh

    def __call__(self, parameters: Tensor, gradient: Tensor, first: Tensor, second: Tensor, numbers: Tensor) -> None:
        """Change parameters and moments (K, P) in place; `numbers` is (NUMBERS, K)."""
        size, momentum, root, shrunk, _ = numbers[:, :, None]
        if self.kind is Muon:
            self._by_muon(parameters, gradient, first, size, momentum, shrunk)
            return
        if self.kind is AdamW:
            parameters.mul_(shrunk)
        else:
            gradient = gradient + self.decay * parameters
        if self.kind is Sgd:
            self._by_sgd(parameters, gradient, first, size, momentum)
            return
        first.add_((1 - momentum) * (gradient - first))
        second.mul_(self.kept).addcmul_(self.fresh * gradient, gradient)
        parameters.sub_(size * first / (second.sqrt() / root + self.eps))

    def _by_sgd(self, parameters: Tensor, gradient: Tensor, first: Tensor, size: Tensor, momentum: Tensor) -> None:
        still = momentum == 0  # then PyTorch leaves the momentum as it was
        first.copy_(torch.where(still, first, momentum * first + gradient))
        onward = gradient + momentum * first if self.nesterov else torch.where(still, gradient, first)
        parameters.sub_(size * onward)

    def _by_muon(
        self, parameters: Tensor, gradient: Tensor, first: Tensor, size: Tensor, momentum: Tensor, shrunk: Tensor
    ) -> None:
        """Matrices by themselves, and all that stands between them by SGD."""
        end = 0
        for matrix in (*self.matrices, None):
            between = slice(end, matrix.offset if matrix else parameters.shape[1])
            weights, slope, kept = (vector[:, between] for vector in (parameters, gradient, first))
            self._by_sgd(weights, slope + self.decay * weights, kept, size * self.sgd_share, self.sgd_momentum)
            if matrix:
                end = matrix.offset + matrix.rows * matrix.columns
                weights, slope, kept = (vector[:, matrix.offset : end] for vector in (parameters, gradient, first))
                muon.move(weights, slope, kept, (-1, matrix.rows, matrix.columns), size, momentum, shrunk)
