"""Dataset: a whole data set in memory, as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smallprint.spec.dataset import DatasetFacts

# Shapes: N images, C channels, H rows, W columns.
Images = NDArray[Any]  # uint8 from 0 to 255; or float32, of which the training images go from 0 to 1
_AT_ONCE = 1_000  # images


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A whole data set in memory: images as bytes, or as numbers where they were measured as numbers."""

    facts: DatasetFacts
    train_images_NCHW: Images = field(repr=False)
    train_labels_N: NDArray[np.int64] = field(repr=False)  # 0 to classes - 1
    test_images_NCHW: Images = field(repr=False)
    test_labels_N: NDArray[np.int64] = field(repr=False)  # 0 to classes - 1
    found: str = field(default="")  # where it was read from

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every image and label; the same data in another file format has the same."""
        digest = hashlib.sha256()
        for array in (self.train_images_NCHW, self.train_labels_N, self.test_images_NCHW, self.test_labels_N):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @cached_property
    def mean_and_deviation(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation (C,) of the training images, from 0 to 1."""
        images = self.train_images_NCHW
        if images.dtype == np.uint8:
            histograms = np.zeros((images.shape[1], 256), dtype=np.int64)
            for part in in_parts(images):
                histograms += [np.bincount(channel.ravel(), minlength=256) for channel in part.swapaxes(0, 1)]
            greys = np.arange(256) / 255
            mean = np.array([np.average(greys, weights=histogram) for histogram in histograms])
            square = np.array([np.average(greys**2, weights=histogram) for histogram in histograms])
            return mean, np.sqrt(np.maximum(square - mean**2, 1e-12))
        mean = images.mean((0, 2, 3), dtype=np.float64)
        squares = sum(((part - mean[:, None, None]) ** 2).sum((0, 2, 3)) for part in in_parts(images))
        return mean, np.sqrt(np.maximum(squares / (images.size / len(mean)), 1e-12))

    def test_pictures(self) -> NDArray[np.uint8]:
        """The test images as a person sees them: one channel of grey or three of colour, 0 to 255.

        Of two channels that is the first, of more the first three.
        """
        images = self.test_images_NCHW
        images = images[:, : 3 if images.shape[1] > 2 else 1]
        levels = images if images.dtype == np.uint8 else np.rint(np.clip(images, 0, 1) * 255)
        return levels.astype(np.uint8, copy=False)


def in_parts(images: Images) -> Iterator[Images]:
    """The images a thousand at a time: what is computed of each part stays small."""
    return (images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE))
