"""Muon in PyTorch: orthogonalised momentum, of one matrix or of many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt

import torch
from torch import Tensor
from torch.nn import Parameter

from smallprint.spec.recipe import Muon as Rule
from smallprint.training.native.plan import Matrix

# Shapes: ... any number of matrices, R rows, C columns.
# What native/muon.h computes; torch.optim.Muon does the same with its iteration in bfloat16.
_ROUNDS = 5
_TINY = 1e-7  # the least that a norm counts as


class Muon(torch.optim.Optimizer):
    """The matrices of one network; the rest of its parameters is another optimiser's."""

    def __init__(self, matrices: Mapping[Parameter, Matrix], rule: Rule) -> None:
        self._matrices = matrices
        numbers = {"lr": rule.lr, "momentum": rule.momentum, "weight_decay": rule.weight_decay}
        super().__init__(list(matrices), numbers)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change every matrix by its gradient."""
        assert closure is None, "the loss is not worked out again"
        for group in self.param_groups:
            rate, momentum, shrunk = group["lr"], group["momentum"], 1 - group["lr"] * group["weight_decay"]
            for weight in group["params"]:
                first = self.state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))
                matrix = self._matrices[weight]
                move(weight, weight.grad, first, (matrix.rows, matrix.columns), rate, momentum, shrunk)


def move(
    weights: Tensor, gradient: Tensor, first: Tensor, shape: Sequence[int],
    rate: float | Tensor, momentum: float | Tensor, shrunk: float | Tensor,
) -> None:  # fmt: skip
    """Change the weights of one matrix or several, and their momentum `first`, in place by one step.

    Weights, gradient and momentum are of one shape; `shape` is theirs as matrices, (..., R, C). The weights shrink to
    the share `shrunk` first.
    """
    first.add_((1 - momentum) * (gradient - first))
    ahead = gradient + momentum * (first - gradient)
    step = orthogonalised(ahead.reshape(shape)).reshape(weights.shape)
    weights.mul_(shrunk).sub_(rate * sqrt(max(1.0, shape[-2] / shape[-1])) * step)


def orthogonalised(matrices: Tensor) -> Tensor:
    """The same singular vectors with values near 1 (0.7 to 1.2), (..., R, C), by Newton and Schulz's iteration.

    Source: K. Jordan's quintic in "Muon: an optimizer for hidden layers in neural networks" (2024).
    """
    upright = matrices.shape[-2] >= matrices.shape[-1]
    x = matrices if upright else matrices.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_TINY)
    for _ in range(_ROUNDS):
        gram = x.mT @ x
        x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
    result: Tensor = x if upright else x.mT
    return result
