from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smallprint.training.data import Dataset, load_dataset


@pytest.fixture
def floats(digits: Dataset) -> Dataset:
    """The digits in colour, as numbers from 0 to 1."""
    levels = np.array([1.0, 0.5, 0.25], dtype=np.float32)[:, None, None]
    return replace(
        digits,
        train_images_NCHW=(digits.train_images_NCHW / 255 * levels).astype(np.float32),
        test_images_NCHW=(digits.test_images_NCHW / 255 * levels).astype(np.float32),
    )


def test_the_fingerprint_is_that_of_images_and_labels(digits: Dataset) -> None:
    assert digits.fingerprint == load_dataset("digits").fingerprint
    assert replace(digits, found="elsewhere").fingerprint == digits.fingerprint
    assert replace(digits, test_labels_N=np.roll(digits.test_labels_N, 1)).fingerprint != digits.fingerprint
    other = digits.train_images_NCHW.copy()
    other[700, 0, 3, 3] += 1
    assert replace(digits, train_images_NCHW=other).fingerprint != digits.fingerprint


def test_mean_and_deviation_are_those_of_the_training_images(digits: Dataset) -> None:
    mean, deviation = digits.mean_and_deviation
    greys = digits.train_images_NCHW / 255
    np.testing.assert_allclose(mean, [greys.mean()])
    np.testing.assert_allclose(deviation, [greys.std()])


def test_mean_and_deviation_of_numbers_are_those_of_numpy_channel_by_channel(floats: Dataset) -> None:
    mean, deviation = floats.mean_and_deviation
    numbers = floats.train_images_NCHW.astype(np.float64)
    np.testing.assert_allclose(mean, numbers.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(deviation, numbers.std((0, 2, 3)), rtol=1e-12)


def test_pictures_are_the_test_images_as_bytes_of_one_or_three_channels(digits: Dataset, floats: Dataset) -> None:
    assert digits.test_pictures() is digits.test_images_NCHW or np.shares_memory(
        digits.test_pictures(), digits.test_images_NCHW
    )
    assert np.array_equal(floats.test_pictures()[:, 0], digits.test_images_NCHW[:, 0])
    beyond = replace(floats, test_images_NCHW=floats.test_images_NCHW * 3 - 1)
    assert beyond.test_pictures().dtype == np.uint8
    assert (beyond.test_pictures().min(), beyond.test_pictures().max()) == (0, 255)
    for channels, shown in ((1, 1), (2, 1), (3, 3), (4, 3), (7, 3)):
        many = replace(digits, test_images_NCHW=np.repeat(digits.test_images_NCHW, channels, axis=1))
        assert many.test_pictures().shape == (len(digits.test_labels_N), shown, 8, 8)
