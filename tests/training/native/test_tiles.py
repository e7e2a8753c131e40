from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallprint.training.native.tiles import gradient_tiling, latency, parts, tiling


@given(st.integers(1, 3000), st.integers(1, 60))
def test_parts_cover_everything_in_nearly_equal_sizes(total: int, largest: int) -> None:
    found = parts(total, largest)
    assert [place for first, size in found for place in range(first, first + size)] == list(range(total))
    sizes = [size for _, size in found]
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-total // largest)


@pytest.mark.parametrize("registers", [16, 32])
def test_a_tile_fits_into_the_registers_with_what_it_reads(registers: int) -> None:
    for outputs, columns in product((1, 3, 8, 10, 16, 100), (1, 5, 12, 24, 26)):
        high, wide = tiling(outputs, columns, registers)
        assert high <= outputs
        assert wide <= columns
        assert high * wide + min(high, wide) + 2 <= registers
    for outputs, inputs, kernel in product((1, 3, 8, 100), (1, 4, 30), (1, 3, 5, 18)):
        high, deep, taps = gradient_tiling(outputs, inputs, kernel, registers)
        assert high <= outputs
        assert deep <= inputs
        assert taps <= kernel
        assert high * deep * taps + min(high, deep * taps) < registers


@pytest.mark.parametrize("registers", [16, 32])
def test_a_tile_is_as_large_as_the_latency_of_a_multiply_add_asks_for(registers: int) -> None:
    for outputs, columns in ((16, 24), (10, 12), (20, 14)):
        high, wide = tiling(outputs, columns, registers)
        assert high * wide >= latency(registers)
    for outputs, inputs, kernel in ((16, 8, 3), (12, 12, 3), (30, 26, 1)):
        high, deep, taps = gradient_tiling(outputs, inputs, kernel, registers)
        assert high * deep * taps >= latency(registers)


def test_with_few_registers_the_taps_of_a_row_stay_together() -> None:
    for outputs, inputs, kernel in product((1, 7, 16), (1, 5, 12), (1, 3, 5, 7)):
        assert gradient_tiling(outputs, inputs, kernel, 16)[2] == kernel
