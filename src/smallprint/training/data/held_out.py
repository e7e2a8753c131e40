"""held_out(dataset): the training images alone, a part of them held out to judge by."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from smallprint.training.data.in_memory import Dataset

_SHARE = 6  # one image in so many is held out: 10,000 of MNIST's 60,000, as many as it has test images


def held_out(dataset: Dataset) -> Dataset:
    """A data set whose "test" images are a sixth of the training images; no test image is in it.

    Which images are held out follows from the data alone: they are ranked by the SHA-256 of the data set's fingerprint
    and their number, so that every search on the same data is judged by the same images.
    """
    images, labels = dataset.train_images_NCHW, dataset.train_labels_N
    salt = dataset.fingerprint.encode()
    ranks = np.array([_rank(salt, number) for number in range(len(labels))], dtype=np.uint64)
    held = np.zeros(len(labels), dtype=bool)
    held[np.argsort(ranks, kind="stable")[: max(1, len(labels) // _SHARE)]] = True
    facts = replace(
        dataset.facts,
        name=f"{dataset.facts.name}-held-out",
        title=f"{dataset.facts.title}; training images alone, a part held out to judge by",
        train=int((~held).sum()),
        test=int(held.sum()),
        origin=None,
    )
    return Dataset(
        facts=facts,
        train_images_NCHW=images[~held],
        train_labels_N=labels[~held],
        test_images_NCHW=images[held],
        test_labels_N=labels[held],
        found=dataset.found,
    )


def _rank(salt: bytes, number: int) -> int:
    return int.from_bytes(hashlib.sha256(salt + number.to_bytes(8, "big")).digest()[:8], "big")
