"""Batch norm and dropout as this project means them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smallprint.training import philox
from smallprint.training.draws import dropout_factor


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm2d` and `BatchNorm1d`: same parameters, same running statistics, same defaults.

    A batch of one value per channel, which has no variance, is normalised as in a test. Without scales the shifts alone
    are trained, as by `keras.layers.BatchNormalization(scale=False)`.
    Source: S. Ioffe and C. Szegedy, "Batch Normalization" (2015), arXiv 1502.03167, algorithms 1 and 2.
    """

    EPS = 1e-5  # added to the variance
    MOMENTUM = 0.1  # share of the newest batch in the running statistics

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if scaled else None
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
    """`torch.nn.Dropout`, or with `channels` `Dropout2d`; draws as the native step does.

    What is dropped of an image depends on the epoch's key, the image's place in the epoch, and which dropout of the
    network this is: on nothing that was drawn before.
    """

    key: philox.Key = (0, 0)  # of the epoch
    first = 0  # place of the batch's first image in the epoch
    index = 0  # which dropout of the network

    def __init__(self, rate: float, *, channels: bool = False) -> None:
        super().__init__()
        self.rate = rate  # 0 to 1
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Drop from (N, C, H, W) or (N, C); nothing in a test."""
        if not self.training or self.rate == 0:
            return x
        layout = torch.channels_last if x.dim() == 4 else torch.contiguous_format
        return x * self.kept(x).to(x.dtype, memory_format=layout).mul_(dropout_factor(self.rate))

    def kept(self, x: Tensor) -> Tensor:
        """Whether a value or channel of `x` is kept; fits `x`."""
        positions_N = torch.arange(self.first, self.first + len(x), device=x.device)
        return philox.kept(x.shape[1:], self.rate, self.key, positions_N, self.index, channels=self.channels)

    def extra_repr(self) -> str:
        return f"{self.rate}, channels={self.channels}"
