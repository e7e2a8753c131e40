"""deskew(images): digits without their slant, of more even width, and larger."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from smallprint.spec.errors import DataError

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.float64]

_WIDTH = 4.0  # pixels: the standard deviation of columns that is neither stretched nor drawn together
_STEP = 0.9  # pixels of the old image for one of the new; MNIST leaves a margin of four
_LEAST = 0.25  # pixels squared: a smaller variance, as of a dot, counts as this one
_TOGETHER = 100  # images whose numbers stay in the cache


def deskew(images_NCHW: Bytes) -> Bytes:
    """Images of one grey channel, bytes with a background of 0, deskewed; a copy of the same shape.

    What a writer's hand decides and the class does not is taken out before a network spends weights on it. Rows are
    shifted against each other until columns and rows no longer vary together (LeCun, Bottou, Bengio and Haffner,
    "Gradient-based learning applied to document recognition", Proceedings of the IEEE 86 (1998), section III-A,
    "deskewed"). Columns are stretched or drawn together by the square root of what would give all images one width, so
    that a 1 stays narrower than a 0 (C.-L. Liu, Nakashima, Sako and Fujisawa, "Handwritten digit recognition:
    investigation of normalization and feature extraction techniques", Pattern Recognition 37 (2004), 265-279). And all
    is drawn larger by the same amount. The centre of an image keeps its place.

    No label and no other image plays a part, so whoever uses the network does the same to theirs. Moments are exact,
    as sums of whole numbers, and what follows is rounded as IEEE 754 says: the same bytes on every machine.

    Raises:
        DataError: other images than bytes of one channel.
    """
    if images_NCHW.dtype != np.uint8 or images_NCHW.ndim != 4 or images_NCHW.shape[1] != 1:
        shape = " x ".join(map(str, images_NCHW.shape))
        raise DataError(f"deskew takes bytes (images, 1, height, width), not {images_NCHW.dtype} of {shape}")
    made = np.empty_like(images_NCHW)
    for first in range(0, len(images_NCHW), _TOGETHER):
        part = images_NCHW[first : first + _TOGETHER, 0]
        made[first : first + _TOGETHER, 0] = _between(part, *_sources(part))
    return made


def _sources(images_NHW: Bytes) -> tuple[Numbers, Numbers]:
    """Where each value of the new images stands in the old ones: rows (N, H, 1) and columns (N, H, W), in pixels."""
    count, height, width = images_NHW.shape
    rows_H, columns_W = np.arange(height, dtype=np.float64)[:, None], np.arange(width, dtype=np.float64)
    one = np.ones((height, width))
    powers = (one, one * rows_H, one * columns_W, one * rows_H**2, rows_H * columns_W, one * columns_W**2)
    sums = images_NHW.reshape(count, -1).astype(np.float64) @ np.stack(powers, -1).reshape(-1, len(powers))
    grey = np.maximum(sums[:, 0], 1)  # an image of nothing stays nothing
    row, column, row_row, row_column, column_column = (sums[:, 1:] / grey[:, None]).T[:, :, None, None]
    covariance = row_column - row * column
    slant = covariance / np.maximum(row_row - row * row, _LEAST)
    variance = column_column - column * column - slant * covariance  # of what is deskewed
    step = np.sqrt(np.sqrt(np.maximum(variance, _LEAST)) / _WIDTH) * _STEP
    rows_NH1 = row + (rows_H - row) * _STEP
    return rows_NH1, column + (columns_W - column) * step + slant * (rows_NH1 - row)


def _between(images_NHW: Bytes, rows_NH1: Numbers, columns_NHW: Numbers) -> Bytes:
    """What stands at these places, bilinear between four neighbours; beyond the image all is background."""
    count, height, width = images_NHW.shape
    padded = np.zeros((count, height + 3, width + 3))
    padded[:, 1:-2, 1:-2] = images_NHW
    rows_NH1, columns_NHW = np.clip(rows_NH1, -1, height), np.clip(columns_NHW, -1, width)
    above, left = np.floor(rows_NH1), np.floor(columns_NHW)
    image_N11 = np.arange(count)[:, None, None] * (height + 3)
    place_NHW = (image_N11 + above.astype(np.intp) + 1) * (width + 3) + left.astype(np.intp) + 1
    values, share_NHW = padded.ravel(), columns_NHW - left

    def line(below: int) -> Numbers:
        """Between two columns of one row."""
        near, far = (values.take(place_NHW + below * (width + 3) + right) for right in (0, 1))
        mixed: Numbers = near + (far - near) * share_NHW
        return mixed

    upper, lower = line(0), line(1)
    found: Bytes = np.rint(upper + (lower - upper) * (rows_NH1 - above)).astype(np.uint8)
    return found
