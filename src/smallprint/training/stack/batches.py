"""The images of K trainings, on the device: each training's own order and changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from smallprint.spec.recipe import Recipe
from smallprint.training import philox
from smallprint.training.augment import alter, greys
from smallprint.training.data import Dataset
from smallprint.training.draws import Draws

# Shapes: K trainings, T images of an epoch, N images of a batch, C channels, H rows, W columns.


class Images:
    """A data set on a device, uploaded once."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        self.train_TCHW, self.labels_T = self.upload(dataset.train_images_NCHW), self.upload(dataset.train_labels_N)
        self.test_NCHW, self.test_labels_N = self.upload(dataset.test_images_NCHW), self.upload(dataset.test_labels_N)
        self._mean, self._deviation = (
            torch.from_numpy(value).float().view(-1, 1, 1).to(device) for value in dataset.mean_and_deviation
        )

    def upload(self, array: NDArray[Any]) -> Tensor:
        """A copy on the device."""
        return torch.tensor(array, device=self.device)

    def normalised(self, greys: Tensor) -> Tensor:
        """Greys (..., C, H, W) from 0 to 1 as networks take them."""
        return (greys - self._mean) / self._deviation


class Batches:
    """What K trainings see and drop in an epoch.

    All tensors stay where they are and are only written anew for an epoch, so that a recorded graph finds them.
    """

    def __init__(self, images: Images, recipes: Sequence[Recipe]) -> None:
        self.images, self.count = images, len(recipes)
        total, device = len(images.labels_T), images.device
        self._order_KT = torch.zeros(self.count, total, dtype=torch.int64, device=device)
        self._keys = torch.zeros(2, self.count, 1, 1, dtype=torch.int64, device=device)
        blank = Draws.of(0, 0, total, recipes[0]).changes
        self._settings = [(change.fill, change.nearest) for change in blank]
        self._changes: list[dict[str, Tensor]] = [
            {name: torch.zeros(self.count, *array.shape, device=device) for name, array in change.drawn.items()}
            for change in blank
        ]

    @property
    def key(self) -> tuple[Tensor, Tensor]:
        """Of the epoch's dropout, (K, 1, 1) each."""
        low, high = self._keys
        return low, high

    def begin(self, draws: Sequence[Draws]) -> None:
        """Take over what is drawn for an epoch, one for each training."""
        for index, drawn in enumerate(draws):
            self._order_KT[index].copy_(torch.from_numpy(drawn.order))
            for kept, change in zip(self._changes, drawn.changes, strict=True):
                for name, array in change.drawn.items():
                    kept[name][index].copy_(torch.from_numpy(array))
        halves = torch.tensor([philox.halves_of(drawn.key) for drawn in draws], dtype=torch.int64)
        self._keys.copy_(halves.T[:, :, None, None])

    def at(self, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        """The images at those places of the epoch, changed and normalised (N, K*C, H, W), and their labels (N, K)."""
        chosen_KN = self._order_KT.index_select(1, positions_N)
        batch = greys(self.images.train_TCHW[chosen_KN]).flatten(0, 1)
        for drawn, (fill, nearest) in zip(self._changes, self._settings, strict=True):
            here = {name: array.index_select(1, positions_N).flatten(0, 1) for name, array in drawn.items()}
            batch = alter(batch, here, fill=fill, nearest=nearest)
        apart = torch.unflatten(self.images.normalised(batch), 0, (self.count, -1))  # (K, N, C, H, W)
        return apart.transpose(0, 1).flatten(1, 2), self.images.labels_T[chosen_KN].T
