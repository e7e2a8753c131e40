"""Everything random of one epoch: data order, augmentation, and the key of dropout."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smallprint.spec.recipe import Recipe
from smallprint.training.changes import Change, draw


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Drawn from seed and epoch alone, so that resuming needs no random state and no other draw disturbs it.

    The generators are counter-based: Philox (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
    1, 2, 3", SC 2011), NumPy's with 4 x 64 bits here, and 4 x 32 bits in dropout.
    """

    order: NDArray[np.int64]  # of the training images
    changes: list[Change]  # augmentation of the images in that order
    key: int  # 64 bits

    @staticmethod
    def of(seed: int, epoch: int, images: int, recipe: Recipe) -> Draws:
        """The draws of one epoch, counted from 0."""
        order, augmentation = (
            np.random.Generator(np.random.Philox(key=_key(seed, epoch, purpose))) for purpose in ("order", "augment")
        )
        strengths = [stage.strength(epoch, recipe.epochs) for stage in recipe.augment]
        return Draws(
            order=order.permutation(images),
            changes=draw(recipe.augment, images, augmentation, strengths),
            key=_key(seed, epoch, "dropout"),
        )


def dropout_threshold(rate: float) -> int:
    """Of 65,536 equally likely draws, those that drop, at a rate from 0 to 1."""
    return min(round(rate * 65536), 65535)


def dropout_factor(rate: float) -> float:
    """What dropout multiplies a kept value with, so that the mean stays."""
    return 65536 / (65536 - dropout_threshold(rate))


def _key(seed: int, epoch: int, purpose: str) -> int:
    digest = hashlib.sha256(f"{seed} {epoch} {purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
