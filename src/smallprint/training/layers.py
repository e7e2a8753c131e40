"""Batch norm and dropout as this project means them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm2d` and `BatchNorm1d`: same parameters, same running statistics, same defaults.

    A batch of one value per channel, which has no variance, is normalised as in a test.
    Source: S. Ioffe and C. Szegedy, "Batch Normalization" (2015), arXiv 1502.03167, algorithms 1 and 2.
    """

    EPS = 1e-5  # added to the variance
    MOMENTUM = 0.1  # share of the newest batch in the running statistics

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) or (N, C)."""
        training = self.training and x.numel() > x.shape[1]
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training, self.MOMENTUM, self.EPS
        )


class Dropout(nn.Module):
    """`torch.nn.Dropout`, or with `channels` `Dropout2d`; draws from its own generator."""

    generator: torch.Generator | None = None

    def __init__(self, rate: float, *, channels: bool = False) -> None:
        super().__init__()
        self.rate = rate  # 0 to 1
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Drop from (N, C, H, W) or (N, C); nothing in a test."""
        if not self.training or self.rate == 0:
            return x
        return x * self.kept(x) / (1 - self.rate)

    def kept(self, x: Tensor) -> Tensor:
        """One where a value or channel of `x` is kept, zero where it is dropped; fits `x`."""
        shape = (*x.shape[:2], *(1 for _ in x.shape[2:])) if self.channels else x.shape
        return torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate, generator=self.generator)

    def extra_repr(self) -> str:
        return f"{self.rate}, channels={self.channels}"
