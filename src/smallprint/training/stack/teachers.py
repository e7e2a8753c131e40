"""The teachers of K trainings: what they say of every batch, and its share in the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smallprint.spec.recipe import Distilled, Recipe
from smallprint.training.native.plan import plan
from smallprint.training.stack.networks import Networks
from smallprint.training.teacher import Teacher

# Shapes: K trainings, N images, C channels, H rows, W columns, O outputs.


class Teachers:
    """One for each training, all of one trace; their weights stay as they are."""

    def __init__(
        self, teachers: Sequence[Teacher], recipes: Sequence[Recipe],
        *, images: int, device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        losses = [recipe.loss for recipe in recipes if isinstance(recipe.loss, Distilled)]
        assert len(losses) == len(recipes) == len(teachers), "each training learns from a teacher of its own"
        trace = teachers[0].trace
        assert all(teacher.trace == trace for teacher in teachers), "the teachers of a stack are of one network"
        self._networks = Networks(trace, plan(trace), len(teachers), images=images, device=device, dtype=dtype)
        self._values = {
            name: torch.from_numpy(np.stack([teacher.weights[name] for teacher in teachers])).to(device)
            for name in teachers[0].weights
        }
        self._share_K = torch.tensor([loss.share / 100 for loss in losses], device=device)
        self._temperature_K = torch.tensor([loss.temperature for loss in losses], device=device)

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """What every teacher says of its pupil's images: (N, K*C, H, W) to (N, K, O)."""
        return self._networks.logits(x, self._values)

    def loss(self, cross_entropy_NK: Tensor, logits_NKO: Tensor, taught_NKO: Tensor) -> Tensor:
        """The cross-entropy with the teacher's share in its place, (N, K); see `eager.distilled`."""
        temperature = self._temperature_K[:, None]
        said, should = ((logits / temperature).log_softmax(2) for logits in (logits_NKO, taught_NKO))
        divergence_NK = F.kl_div(said, should, reduction="none", log_target=True).sum(2)
        return (1 - self._share_K) * cross_entropy_NK + self._share_K * self._temperature_K**2 * divergence_NK
