"""Changes: what augmentation does to the images of an epoch, each image its own draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import radians

import numpy as np
from numpy.typing import NDArray

from smallprint.spec.recipe import Augment

# Shapes: N images.
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

    @property
    def drawn(self) -> dict[str, Floats]:
        """The arrays that there are, by name."""
        named = ((name, getattr(self, name)) for name in ("brightness", "contrast", "order", "inverse", "offset"))
        return {name: array for name, array in named if array is not None}


def draw(
    stages: Sequence[Augment], count: int, generator: np.random.Generator, strengths: Sequence[float] | None = None
) -> list[Change]:
    """Draw every stage for `count` images; every amount of a stage is multiplied with its strength, 0 to 1."""
    strengths = strengths or [1.0 for _ in stages]
    return [_draw(stage, count, generator, strength) for stage, strength in zip(stages, strengths, strict=True)]


def _draw(stage: Augment, count: int, generator: np.random.Generator, strength: float) -> Change:
    drawn: dict[str, Floats] = {}
    if stage.recolours:
        brightness, contrast, order = _even(3, count, generator, strength)
        drawn["brightness"] = (1 + brightness * stage.brightness / 100).astype(np.float32)
        drawn["contrast"] = (1 + contrast * stage.contrast / 100).astype(np.float32)
        drawn["order"] = order.astype(np.float32)
    if stage.warps:
        # A stage that does not stretch takes five draws, so that the ones behind it are those they have always been.
        turn, shear, scale, right, down, *stretch = _even(6 if stage.stretch else 5, count, generator, strength)
        inverse = inverse_map(
            turn * radians(stage.rotate),
            shear * radians(stage.shear),
            1 + scale * stage.scale / 100,
            1 + stretch[0] * stage.stretch / 100 if stretch else np.ones(count),
        )
        shift = np.stack((right, down), 1) * stage.shift
        if stage.interpolation == "nearest":
            shift = shift.round()
        drawn["inverse"] = inverse.astype(np.float32)
        drawn["offset"] = -(inverse @ shift[:, :, None]).squeeze(2).astype(np.float32)
    return Change(**drawn, fill=stage.fill, nearest=stage.interpolation == "nearest")


def _even(columns: int, count: int, generator: np.random.Generator, strength: float) -> NDArray[np.float64]:
    """Even draws from -strength to strength, (columns, count)."""
    return strength * generator.uniform(-1, 1, (columns, count))


def inverse_map(
    turn_N: NDArray[np.float64],
    shear_N: NDArray[np.float64],
    scale_N: NDArray[np.float64],
    stretch_N: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The (N, 2, 2) matrices that undo: stretch (times as wide, as many times less tall), shear along x, turn, scale.

    Shear and turn are in radians.
    """
    sine, cosine, slant = np.sin(turn_N), np.cos(turn_N), np.tan(shear_N)
    a, b, c, d = scale_N * np.stack((cosine, -cosine * slant - sine, sine, cosine - sine * slant))
    unstretched = np.stack((d, -b, -c, a), 1).reshape(-1, 2, 2) / (scale_N**2)[:, None, None]
    return unstretched * np.stack((1 / stretch_N, stretch_N), 1)[:, :, None]
