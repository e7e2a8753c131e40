"""deskew is a slow plain reference's, and takes out what it says: slant and part of the width."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from smallprint.spec.errors import DataError
from smallprint.training.data import load_dataset
from smallprint.training.data.deskew import deskew
from tests.training.data.test_known import needs_mnist

Bytes = NDArray[np.uint8]


def plain(image_HW: Bytes) -> list[list[float]]:
    """The same for one image, a value at a time, before rounding."""
    height, width = image_HW.shape
    grey = {(r, c): int(image_HW[r, c]) for r in range(height) for c in range(width)}
    total = max(sum(grey.values()), 1)
    row = sum(r * g for (r, _), g in grey.items()) / total
    column = sum(c * g for (_, c), g in grey.items()) / total
    tall = sum((r - row) ** 2 * g for (r, _), g in grey.items()) / total
    together = sum((r - row) * (c - column) * g for (r, c), g in grey.items()) / total
    slant = together / max(tall, 0.25)
    broad = sum((c - column) ** 2 * g for (_, c), g in grey.items()) / total - slant * together
    step = math.sqrt(math.sqrt(max(broad, 0.25)) / 4) * 0.9

    def made(r: int, c: int) -> float:
        y = row + (r - row) * 0.9
        x = column + (c - column) * step + slant * (y - row)
        top, left = math.floor(y), math.floor(x)
        return sum(
            grey.get((top + below, left + right), 0)
            * (y - top if below else 1 - y + top)
            * (x - left if right else 1 - x + left)
            for below in (0, 1)
            for right in (0, 1)
        )

    return [[made(r, c) for c in range(width)] for r in range(height)]


def slant_and_width(image_HW: Bytes) -> tuple[float, float]:
    """How far columns move with rows, and the standard deviation of what is left of them."""
    rows, columns = np.mgrid[: image_HW.shape[0], : image_HW.shape[1]]
    weights = image_HW / image_HW.sum()
    row, column = (weights * rows).sum(), (weights * columns).sum()
    slant = (weights * (rows - row) * (columns - column)).sum() / (weights * (rows - row) ** 2).sum()
    return slant, math.sqrt((weights * (columns - column - slant * (rows - row)) ** 2).sum())


def stroke(slant: float, width: int) -> Bytes:
    """A stroke of 16 rows across the middle of an image of 28 x 28."""
    image = np.zeros((28, 28), np.uint8)
    for row in range(6, 22):
        left = round(14 + slant * (row - 13.5) - width / 2)
        image[row, left : left + width] = 200
    return image


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_image_is_that_of_the_plain_reference(image_HW: Bytes) -> None:
    (made,) = deskew(image_HW[None, None])
    assert np.abs(made[0] - np.array(plain(image_HW))).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("slant", [-0.6, -0.2, 0.3, 0.5])
def test_a_slanted_stroke_stands_upright(slant: float) -> None:
    before = stroke(slant, 3)
    after = deskew(before[None, None])[0, 0]
    assert abs(slant_and_width(before)[0]) > 0.15
    assert abs(slant_and_width(after)[0]) < 0.02


def test_widths_come_nearer_by_the_square_root_of_their_ratio() -> None:
    widths = [slant_and_width(deskew(stroke(0, wide)[None, None])[0, 0])[1] for wide in (6, 12)]
    assert widths[1] / widths[0] == pytest.approx(math.sqrt(2), rel=0.03)


def test_an_image_of_nothing_stays_nothing_and_a_dot_stays_where_it_is() -> None:
    nothing = np.zeros((2, 1, 28, 28), np.uint8)
    assert not deskew(nothing).any()
    nothing[0, 0, 10, 12] = 255
    assert deskew(nothing)[0, 0, 10, 12] == 255


def test_many_images_are_each_as_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (230, 1, 6, 5), dtype=np.uint8)
    assert np.array_equal(deskew(images), np.concatenate([deskew(image[None]) for image in images]))


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((2, 3, 8, 8), np.uint8), "uint8 of 2 x 3 x 8 x 8"),
        (np.zeros((2, 1, 8, 8), np.float32), "float32 of 2 x 1 x 8 x 8"),
        (np.zeros((8, 8), np.uint8), "uint8 of 8 x 8"),
    ],
)
def test_other_images_are_refused_with_what_they_are(images: Bytes, found: str) -> None:
    with pytest.raises(DataError, match=rf"deskew takes bytes \(images, 1, height, width\), not {found}"):
        deskew(images)


@needs_mnist
def test_mnist_deskewed_is_mnist_with_the_same_bytes_on_every_machine() -> None:
    plain, deskewed = load_dataset("mnist"), load_dataset("mnist-deskewed")
    assert np.array_equal(plain.train_labels_N, deskewed.train_labels_N)
    assert np.array_equal(deskew(plain.test_images_NCHW), deskewed.test_images_NCHW)
    assert deskewed.found == plain.found
    assert deskewed.fingerprint == "8a47fc66fe7dbbcf198bc03d6e97dcd9faf5bc41c02a6cb4458a9cd0fd7ffdcf"
