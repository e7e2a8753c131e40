"""Random changes to a batch of images, each image its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import radians

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from smallprint.spec.recipe import Augment

# Shapes: N images, C channels, H rows, W columns.
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """One stage of augmentation, drawn for N images; None where it changes nothing."""

    brightness: Floats | None = field(default=None)  # factor, (N,)
    contrast: Floats | None = field(default=None)  # factor about the image's mean grey, (N,)
    order: Floats | None = field(default=None)  # brightness first where below zero, (N,)
    inverse: Floats | None = field(default=None)  # (N, 2, 2): from centred output (x, y) to centred input
    offset: Floats | None = field(default=None)  # (N, 2): added to that, pixels
    fill: float = field(default=0.0)  # grey from outside the image
    nearest: bool = field(default=False)  # the nearest pixel instead of a bilinear mean

    def on(self, images: slice, device: torch.device) -> dict[str, Tensor]:
        """The arrays of some of the images, as tensors."""
        return {
            name: torch.from_numpy(array[images]).to(device)
            for name in ("brightness", "contrast", "order", "inverse", "offset")
            if (array := getattr(self, name)) is not None
        }


def draw(stages: Sequence[Augment], count: int, generator: np.random.Generator) -> list[Change]:
    """Draw every stage for `count` images."""
    return [_draw(stage, count, generator) for stage in stages]


def augment(images_NCHW: Tensor, changes: Sequence[Change], first: int = 0) -> Tensor:
    """Change a batch whose images are those from `first` on of the changes; greys go from 0 to 1."""
    for change in changes:
        drawn = change.on(slice(first, first + len(images_NCHW)), images_NCHW.device)
        if "order" in drawn:
            images_NCHW = _recolour(images_NCHW, drawn["brightness"], drawn["contrast"], drawn["order"])
        if "inverse" in drawn:
            images_NCHW = _warp(images_NCHW, drawn["inverse"], drawn["offset"], change)
    return images_NCHW


def _draw(stage: Augment, count: int, generator: np.random.Generator) -> Change:
    drawn: dict[str, Floats] = {}
    if stage.recolours:
        brightness, contrast, order = _even(3, count, generator)
        drawn["brightness"] = (1 + brightness * stage.brightness / 100).astype(np.float32)
        drawn["contrast"] = (1 + contrast * stage.contrast / 100).astype(np.float32)
        drawn["order"] = order.astype(np.float32)
    if stage.warps:
        turn, shear, scale, right, down = _even(5, count, generator)
        inverse = inverse_map(turn * radians(stage.rotate), shear * radians(stage.shear), 1 + scale * stage.scale / 100)
        shift = np.stack((right, down), 1) * stage.shift
        if stage.interpolation == "nearest":
            shift = shift.round()
        drawn["inverse"] = inverse.astype(np.float32)
        drawn["offset"] = -(inverse @ shift[:, :, None]).squeeze(2).astype(np.float32)
    return Change(**drawn, fill=stage.fill, nearest=stage.interpolation == "nearest")


def _even(columns: int, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Even draws from -1 to 1, (columns, count)."""
    return generator.uniform(-1, 1, (columns, count))


def inverse_map(
    turn_N: NDArray[np.float64], shear_N: NDArray[np.float64], scale_N: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The (N, 2, 2) matrices that undo: shear along x, turn (both in radians), scale."""
    sine, cosine, slant = np.sin(turn_N), np.cos(turn_N), np.tan(shear_N)
    a, b, c, d = scale_N * np.stack((cosine, -cosine * slant - sine, sine, cosine - sine * slant))
    return np.stack((d, -b, -c, a), 1).reshape(-1, 2, 2) / (scale_N**2)[:, None, None]


def _recolour(images: Tensor, brightness_N: Tensor, contrast_N: Tensor, order_N: Tensor) -> Tensor:
    """Brightness and contrast, in the order drawn for each image."""
    brightness, contrast, order = (drawn.view(-1, 1, 1, 1) for drawn in (brightness_N, contrast_N, order_N))

    def brighten(x: Tensor) -> Tensor:
        return (x * brightness).clamp_(0, 1)

    def stretch(x: Tensor) -> Tensor:
        grey = x.mean((1, 2, 3), keepdim=True)
        return torch.lerp(grey.expand_as(x), x, contrast.expand_as(x)).clamp_(0, 1)

    return torch.where(order < 0, stretch(brighten(images)), brighten(stretch(images)))


def _warp(images: Tensor, inverse: Tensor, offset: Tensor, change: Change) -> Tensor:
    """Every output pixel looks up where it comes from; what comes from outside has the grey `fill`."""
    _, _, height, width = images.shape
    # Centred pixel coordinates (x, y) of the output: for each, where in the input it comes from.
    xs = torch.arange(width, device=images.device) - (width - 1) / 2
    ys = torch.arange(height, device=images.device) - (height - 1) / 2
    column = inverse[:, :, 0, None] * xs  # (N, 2, W)
    row = inverse[:, :, 1, None] * ys + offset[:, :, None]  # (N, 2, H)
    source = column[:, :, None, :] + row[:, :, :, None]  # (N, 2, H, W)
    size = torch.tensor([width, height], device=images.device)
    grid = (source * (2 / size).view(2, 1, 1)).permute(0, 2, 3, 1)
    mode = "nearest" if change.nearest else "bilinear"
    moved = F.grid_sample(images - change.fill if change.fill else images, grid, mode, "zeros", align_corners=False)
    return moved + change.fill if change.fill else moved
