from __future__ import annotations

import pytest

from smallprint.spec.network import Network
from smallprint.spec.trace import Shape, trace
from smallprint.training.native.bands import ahead, behind
from smallprint.training.native.plan import Convolution, plan


def _bands(text: str, shape: Shape = (1, 28, 28)) -> list[tuple[int, int | None, int | None]]:
    """Of every convolution, on the way back: rows, rows staged and rows stored."""
    stages = plan(trace(Network.parse(text), shape)).stages
    bands = [
        behind(stage, reader)
        for stage, reader in zip(stages, [*stages[1:], None], strict=True)
        if isinstance(stage.kernel, Convolution)
    ]
    return [(band.rows, band.staged, band.stored) for band in bands]


def test_what_fits_into_the_cache_is_taken_whole() -> None:
    assert _bands("conv3-2 relu conv3-4 relu gap conv1-10") == [(26, None, None), (24, None, None), (1, None, None)]


def test_a_band_and_the_rows_that_its_kernel_reads_fit_into_the_cache() -> None:
    _, (rows, staged, stored), _ = _bands("conv3-8 relu conv3-16 relu gap conv1-10")
    assert rows == 24  # a mean over all rows comes at once
    assert (staged, stored) == (None, None)
    _, (rows, staged, stored), *_ = _bands("conv3-8 relu conv3-16 relu conv3-4 gap conv1-10")
    assert staged == rows + 2
    assert stored == rows + 2
    assert staged * 8 * 26 + stored * 16 * 24 <= 4096 < (staged + 1) * 8 * 26 + (stored + 1) * 16 * 24


def test_a_band_holds_the_windows_of_a_pooling_whole() -> None:
    for size in (2, 3, 4):
        _, (rows, _, stored), *_ = _bands(f"conv3-8 relu conv3-16 relu maxpool{size} conv1-4 gap conv1-10")
        assert rows < 24
        assert rows % size == 0
        assert stored == rows + 2


def test_even_a_row_that_does_not_fit_is_taken_alone() -> None:
    _, (rows, staged, stored), *_ = _bands("conv3-60 relu conv3-10 relu conv3-4 gap conv1-10", (1, 40, 40))
    assert (rows, staged, stored) == (1, 3, 3)


@pytest.mark.parametrize("text", ["conv3-8 relu maxpool3,stride=2 conv3-16 gap", "conv3-100 relu conv3-100 relu gap"])
def test_windows_that_overlap_and_weights_beyond_number_are_taken_whole(text: str) -> None:
    assert _bands(text)[1][1:] == (None, None)


def test_forward_a_band_is_what_the_kernel_reads() -> None:
    stage = plan(trace(Network.parse("conv3-8 relu conv3-16,stride=2 gap"), (1, 80, 80))).stages[1]
    band = ahead(stage)
    assert band.staged == (band.rows - 1) * 2 + 3
    assert band.staged * 8 * 78 <= 4096 < (band.staged + 2) * 8 * 78
