"""Random changes to a batch of images, each image its own."""

from __future__ import annotations

from collections.abc import Sequence
from math import radians

import torch
import torch.nn.functional as F
from torch import Tensor

from smallprint.spec.recipe import Augment

# Shapes: N images, C channels, H rows, W columns.


def augment(images_NCHW: Tensor, stages: Sequence[Augment], generator: torch.Generator) -> Tensor:
    """Change every image of a batch at random, stage by stage; greys go from 0 to 1."""
    for stage in stages:
        if stage.recolours:
            images_NCHW = _recolour(images_NCHW, stage, generator)
        if stage.warps:
            images_NCHW = _warp(images_NCHW, stage, generator)
    return images_NCHW


def _spread(n: int, columns: int, generator: torch.Generator) -> Tensor:
    """Even draws from -1 to 1, (columns, n)."""
    draws = torch.empty((columns, n), device=generator.device)
    return draws.uniform_(-1, 1, generator=generator)


def _recolour(images: Tensor, stage: Augment, generator: torch.Generator) -> Tensor:
    """Brightness and contrast, in an order drawn per image."""
    brightness, contrast, order = _spread(len(images), 3, generator).view(3, -1, 1, 1, 1).unbind()
    brighter, contrasted = 1 + brightness * stage.brightness / 100, 1 + contrast * stage.contrast / 100

    def brighten(x: Tensor) -> Tensor:
        return (x * brighter).clamp_(0, 1)

    def contrast_(x: Tensor) -> Tensor:
        grey = x.mean((1, 2, 3), keepdim=True)
        return torch.lerp(grey.expand_as(x), x, contrasted.expand_as(x)).clamp_(0, 1)

    if not stage.contrast:
        return brighten(images)
    if not stage.brightness:
        return contrast_(images)
    return torch.where(order < 0, contrast_(brighten(images)), brighten(contrast_(images)))


def _warp(images: Tensor, stage: Augment, generator: torch.Generator) -> Tensor:
    """Rotate, shear and scale about the centre, then shift; what comes from outside has the grey `fill`."""
    n, _, height, width = images.shape
    turn, shear, scale, right, down = _spread(n, 5, generator).unbind()
    inverse = inverse_map(turn * radians(stage.rotate), shear * radians(stage.shear), 1 + scale * stage.scale / 100)
    shift = torch.stack((right, down), 1) * stage.shift
    if stage.interpolation == "nearest":
        shift = shift.round()
    # Centred pixel coordinates (x, y) of the output: for each, where in the input it comes from.
    xs = torch.arange(width, device=images.device) - (width - 1) / 2
    ys = torch.arange(height, device=images.device) - (height - 1) / 2
    offsets = -(inverse @ shift[:, :, None]).squeeze(2)
    column = inverse[:, :, 0, None] * xs  # (N, 2, W)
    row = inverse[:, :, 1, None] * ys + offsets[:, :, None]  # (N, 2, H)
    source = column[:, :, None, :] + row[:, :, :, None]  # (N, 2, H, W)
    size = torch.tensor([width, height], device=images.device)
    grid = (source * (2 / size).view(2, 1, 1)).permute(0, 2, 3, 1)
    moved = F.grid_sample(
        images - stage.fill if stage.fill else images, grid, stage.interpolation, "zeros", align_corners=False
    )
    return moved + stage.fill if stage.fill else moved


def inverse_map(turn_N: Tensor, shear_N: Tensor, scale_N: Tensor) -> Tensor:
    """The (N, 2, 2) matrices that undo: shear along x, turn (both in radians), scale."""
    sine, cosine, slant = turn_N.sin(), turn_N.cos(), shear_N.tan()
    forward = torch.stack((cosine, -cosine * slant - sine, sine, cosine - sine * slant))
    a, b, c, d = forward * scale_N
    return torch.stack((d, -b, -c, a), 1).view(-1, 2, 2) / (scale_N**2).view(-1, 1, 1)
