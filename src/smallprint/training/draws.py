"""Everything random of one epoch: data order, augmentation, and the key of dropout."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from smallprint.spec.recipe import Hard, Recipe
from smallprint.training.changes import Change, draw

_SURE = 1e-6  # no image counts as less doubted than that


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Drawn from seed and epoch alone, so that resuming needs no random state and no other draw disturbs it; where hard
    images are drawn more often, also from what the network says before the epoch, which its numbers decide.

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

    def by_doubt(self, doubt_N: NDArray[np.float64], hard: Hard) -> Draws:
        """The same epoch, its images drawn by how much each is doubted, 0 to 1.

        Systematic sampling: of images in random order, those on which evenly spaced marks fall when each is as long as
        the draws that it is due. So each gets those to within one, and then all are put in random order.
        """
        total = len(doubt_N)
        key = _key(self.key, 0, "sampling")  # seed and epoch are in this epoch's own key already
        generator = np.random.Generator(np.random.Philox(key=key))
        shuffled = generator.permutation(total)
        ends = np.cumsum(due(doubt_N, hard)[shuffled])
        marks = (generator.random() + np.arange(total)) * (ends[-1] / total)
        chosen = shuffled[np.searchsorted(ends, marks, side="right").clip(max=total - 1)]
        return replace(self, order=generator.permutation(chosen))


def doubt(loss_N: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float64]:
    """One minus the probability of each image's class, from its cross-entropy, (N,); 1 where that is no number."""
    probability = np.exp(-loss_N.astype(np.float64))
    return np.where(np.isnan(probability), 1.0, 1 - probability)


def due(doubt_N: NDArray[np.float64], hard: Hard) -> NDArray[np.float64]:
    """Draws that each image is due in an epoch, one on average, (N,); see `Hard`."""
    weight = np.maximum(doubt_N, _SURE) ** hard.power
    weight = np.minimum(weight, hard.cap * weight.mean())
    found: NDArray[np.float64] = 1 + hard.share / 100 * (weight / weight.mean() - 1)
    return found


def dropout_threshold(rate: float) -> int:
    """Of 65,536 equally likely draws, those that drop, at a rate from 0 to 1."""
    return min(round(rate * 65536), 65535)


def dropout_factor(rate: float) -> float:
    """What dropout multiplies a kept value with, so that the mean stays."""
    return 65536 / (65536 - dropout_threshold(rate))


def _key(seed: int, epoch: int, purpose: str) -> int:
    digest = hashlib.sha256(f"{seed} {epoch} {purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
