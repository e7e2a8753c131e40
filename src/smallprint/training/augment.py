"""Changes put into effect on a batch of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from smallprint.training.changes import Change

# Shapes: N images, C channels, H rows, W columns.


def greys(images: Tensor) -> Tensor:
    """Bytes as 0 to 1; floats are so already."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def augment(images_NCHW: Tensor, changes: Sequence[Change], first: int = 0) -> Tensor:
    """Change a batch whose images are those from `first` on of the changes; greys go from 0 to 1."""
    device, images = images_NCHW.device, slice(first, first + len(images_NCHW))
    for change in changes:
        drawn = {name: torch.from_numpy(array[images]).to(device) for name, array in change.drawn.items()}
        images_NCHW = alter(images_NCHW, drawn, fill=change.fill, nearest=change.nearest)
    return images_NCHW


def alter(images_NCHW: Tensor, drawn: Mapping[str, Tensor], *, fill: float, nearest: bool) -> Tensor:
    """Put a batch through one stage, whose arrays `drawn` are on its device."""
    if "order" in drawn:
        images_NCHW = _recolour(images_NCHW, drawn["brightness"], drawn["contrast"], drawn["order"])
    if "inverse" in drawn:
        images_NCHW = _warp(images_NCHW, drawn["inverse"], drawn["offset"], fill, nearest)
    return images_NCHW


def _recolour(images: Tensor, brightness_N: Tensor, contrast_N: Tensor, order_N: Tensor) -> Tensor:
    """Brightness and contrast, in the order drawn for each image."""
    brightness, contrast, order = (drawn.view(-1, 1, 1, 1) for drawn in (brightness_N, contrast_N, order_N))

    def brighten(x: Tensor) -> Tensor:
        return (x * brightness).clamp_(0, 1)

    def stretch(x: Tensor) -> Tensor:
        grey = x.mean((1, 2, 3), keepdim=True)
        return torch.lerp(grey.expand_as(x), x, contrast.expand_as(x)).clamp_(0, 1)

    return torch.where(order < 0, stretch(brighten(images)), brighten(stretch(images)))


def _warp(images: Tensor, inverse: Tensor, offset: Tensor, fill: float, nearest: bool) -> Tensor:
    """Every output pixel looks up where it comes from; what comes from outside has the grey `fill`."""
    _, _, height, width = images.shape
    # Centred pixel coordinates (x, y) of the output: for each, where in the input it comes from.
    xs = torch.arange(width, device=images.device) - (width - 1) / 2
    ys = torch.arange(height, device=images.device) - (height - 1) / 2
    column = inverse[:, :, 0, None] * xs  # (N, 2, W)
    row = inverse[:, :, 1, None] * ys + offset[:, :, None]  # (N, 2, H)
    source = column[:, :, None, :] + row[:, :, :, None]  # (N, 2, H, W)
    grid = torch.stack((source[:, 0] * (2 / width), source[:, 1] * (2 / height)), 3)
    mode = "nearest" if nearest else "bilinear"
    moved = F.grid_sample(images - fill if fill else images, grid, mode, "zeros", align_corners=False)
    return moved + fill if fill else moved
