"""Batch norm and dropout that cost a tiny network little on a CPU."""

from __future__ import annotations

from math import gcd, log1p
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Shapes: N images, C channels, H rows, W columns; in memory the channels lie innermost (channels_last).
# PyTorch's CPU kernels for batch norm run along the channels, 16 at a time on a wide vector unit. With 8 or 12
# channels they fall back to slow remainder loops, and two threads fight over one cache line of sums. So neighbouring
# pixels are folded into channels until a vector is full, and the statistics of the folds are merged afterwards.

_LANES = 16  # float32 values in the widest vector register


class _FoldedBatchNorm(torch.autograd.Function):
    """Batch norm in training mode over channels that do not fill a vector; also returns mean and variance (C,)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # autograd's context is untyped
        x_NCHW: Tensor,
        weight_C: Tensor,
        bias_C: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised images, and the batch's mean and variance (C,)."""
        channels, folds = x_NCHW.shape[1], _folds(x_NCHW)
        folded = _folded(x_NCHW, folds)
        unused = folded.new_zeros(2, channels * folds)  # running statistics, which the caller keeps itself
        means, variances = (
            statistic.view(folds, channels)
            for statistic in torch.batch_norm_update_stats(folded, unused[0], unused[1], 0.0)
        )
        mean = means.mean(0)
        variance = (variances + (means - mean) ** 2).mean(0)
        y_NCHW = torch.empty(x_NCHW.shape, memory_format=torch.channels_last)
        torch.native_batch_norm(
            folded, weight_C.repeat(folds), bias_C.repeat(folds), mean.repeat(folds), variance.repeat(folds),
            False, 0.0, eps, out=(_folded(y_NCHW, folds), folded.new_empty(0), folded.new_empty(0)),
        )  # fmt: skip
        ctx.save_for_backward(x_NCHW, weight_C, mean, torch.rsqrt(variance + eps))
        ctx.mark_non_differentiable(mean, variance)
        return y_NCHW, mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN401
        """Gradients of the images, of weight and of bias (C,)."""
        x_NCHW, weight_C, mean, deviation = ctx.saved_tensors
        n, channels, height, width = x_NCHW.shape
        pixels, folds = height * width, _folds(x_NCHW)
        _, dweights, dbiases = torch.ops.aten.native_batch_norm_backward(
            _folded(grads[0], folds), _folded(x_NCHW, folds), weight_C.repeat(folds), None, None,
            mean.repeat(folds), deviation.repeat(folds), True, 0.0, [False, True, True],
        )  # fmt: skip
        dweight, dbias = dweights.view(folds, channels).sum(0), dbiases.view(folds, channels).sum(0)
        # dx = scale * (dy - mean(dy) - normalised * mean(dy * normalised)), as scale * dy + slope * x + level
        scale = weight_C * deviation
        slope = -scale * deviation * dweight / (n * pixels)
        level = -scale * dbias / (n * pixels) - slope * mean
        dx = torch.addcmul(_tiled(level, pixels), _rows(x_NCHW), _tiled(slope, pixels))
        dx.addcmul_(_rows(grads[0]), _tiled(scale, pixels))
        return _images(dx, x_NCHW.shape), dweight, dbias, None


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm2d` and `BatchNorm1d`: same parameters, same running statistics, same defaults.

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
        count = x.numel() // x.shape[1]
        folding = self.training and x.dim() == 4 and x.device.type == "cpu" and x.shape[1] % _LANES != 0
        if folding and count > 1:
            y, mean, variance = _FoldedBatchNorm.apply(x, self.weight, self.bias, self.EPS)  # type: ignore[no-untyped-call]
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.MOMENTUM)
                self.running_var.lerp_(variance * (count / (count - 1)), self.MOMENTUM)
            return cast(Tensor, y)
        # A batch of one value per channel has no variance; it is normalised as in a test.
        training = self.training and count > 1
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training, self.MOMENTUM, self.EPS
        )


class _DropElements(torch.autograd.Function):
    """Scale everything by 1 / (1 - p) and set drawn places to zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, scale: float) -> Tensor:  # noqa: ANN401
        y = x * scale
        y.as_strided((y.numel(),), (1,)).index_fill_(0, places, 0.0)
        ctx.places, ctx.scale, ctx.shape, ctx.stride = places, scale, y.shape, y.stride()
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        # The places count memory, so the gradient is laid out as the output was.
        dx = torch.empty_strided(ctx.shape, ctx.stride, dtype=grads[0].dtype, device=grads[0].device)
        torch.mul(grads[0], ctx.scale, out=dx)
        dx.as_strided((dx.numel(),), (1,)).index_fill_(0, ctx.places, 0.0)
        return dx, None, None


class Dropout(nn.Module):
    """`torch.nn.Dropout`, or with `channels` `Dropout2d`; draws from its own generator.

    On a CPU it draws the places to drop instead of one number per element: their count from a Poisson
    distribution of mean -n ln(1 - p), then that many places evenly, with repetition. A place stays unhit with
    probability 1 - p, each independently of the others (Poisson thinning), so this is dropout exactly.
    """

    generator: torch.Generator | None = None

    def __init__(self, rate: float, *, channels: bool = False) -> None:
        super().__init__()
        self.rate = rate  # 0 to 1
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Drop from (N, C, H, W) or (N, C); nothing in a test."""
        if not self.training or self.rate == 0:
            return x
        keep, generator = 1 - self.rate, self.generator
        if self.channels:
            mask = torch.empty(x.shape[:2], device=x.device).bernoulli_(keep, generator=generator)
            return x * (mask / keep)[:, :, None, None]
        if x.device.type != "cpu":
            return x * (torch.empty_like(x).bernoulli_(keep, generator=generator) / keep)
        mean = torch.tensor(-x.numel() * log1p(-self.rate), dtype=torch.float64)
        count = int(torch.poisson(mean, generator=generator))
        places = torch.randint(x.numel(), (count,), generator=generator)
        dense = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.contiguous()
        return _DropElements.apply(dense, places, 1 / keep)  # type: ignore[no-any-return, no-untyped-call]

    def extra_repr(self) -> str:
        return f"{self.rate}, channels={self.channels}"


def _folds(x_NCHW: Tensor) -> int:
    """How many neighbouring pixels, taken together, fill whole vectors; 1 where they do not divide the batch."""
    n, channels, height, width = x_NCHW.shape
    folds = _LANES // gcd(channels, _LANES)
    return folds if n * height * width % folds == 0 else 1


def _folded(images_NCHW: Tensor, folds: int) -> Tensor:
    """The pixels of a batch as (pixels / folds, C * folds, 1, 1); no copy of a channels_last tensor."""
    n, channels, height, width = images_NCHW.shape
    return images_NCHW.permute(0, 2, 3, 1).reshape(n * height * width // folds, channels * folds, 1, 1)


def _rows(images_NCHW: Tensor) -> Tensor:
    """Each image as one row (N, H W C), channels innermost; no copy of a channels_last tensor."""
    return images_NCHW.permute(0, 2, 3, 1).reshape(len(images_NCHW), -1)


def _images(pixels: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `_rows` and `_folded`."""
    n, channels, height, width = shape
    return pixels.view(n, height, width, channels).permute(0, 3, 1, 2)


def _tiled(values_C: Tensor, pixels: int) -> Tensor:
    """One value per channel, repeated for every pixel of a row."""
    return values_C.expand(pixels, -1).reshape(-1)
