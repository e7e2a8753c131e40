"""How large a tile of each kernel is: as the multiply-adds need it, and as fits the vector registers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

_MANY = 32  # registers: with so many, both of what is multiplied stay in some; with fewer, one is read as it is used
_TAPS = 7  # of one row that sixteen registers can take together


def parts(total: int, largest: int) -> list[tuple[int, int]]:
    """Cut `total` into nearly equal parts of at most `largest`: (first, size), the larger ones first."""
    sizes = [size for size, count in _sizes(total, largest) for _ in range(count)]
    return list(zip(accumulate(sizes, initial=0), sizes, strict=False))


def _sizes(total: int, largest: int) -> list[tuple[int, int]]:
    """The sizes of those parts, each with how many there are."""
    count = -(-total // largest)
    size, longer = divmod(total, count)
    return [(s, n) for s, n in ((size + 1, longer), (size, count - longer)) if n]


def latency(registers: int) -> int:
    """Multiply-adds that two units must have in flight; those with few registers may take five cycles for one."""
    return 8 if registers >= _MANY else 10


def _cost(tiles: Iterable[tuple[int, int, int]], registers: int) -> tuple[int, int]:
    """Cycles and loads of tiles, each given by its multiply-adds, its loads, and how many there are of it.

    A tap of a tile costs its multiply-adds, its loads, or the latency of its chains, whichever is most.
    """
    found = list(tiles)
    cycles = sum(many * (max(products, loads, latency(registers)) + 1) for products, loads, many in found)
    return cycles, sum(many * loads for _, loads, many in found) if registers < _MANY else 0


def tiling(outputs: int, columns: int, registers: int) -> tuple[int, int]:
    """Output channels and columns of one tile of a convolution: the fewest cycles by a model of the vector units."""
    return min(
        (
            (high, wide)
            for high in range(1, min(outputs, 16) + 1)
            for wide in range(1, min(columns, 16) + 1)
            if (high, wide) == (1, 1) or _fits(high, wide, registers)
        ),
        key=lambda tile: _cost(
            (
                (o * c, o + c, many * more)
                for o, many in _sizes(outputs, tile[0])
                for c, more in _sizes(columns, tile[1])
            ),
            registers,
        ),
    )


def _fits(high: int, wide: int, registers: int) -> bool:
    if registers >= _MANY:
        return high * wide + wide + 2 <= registers * 3 // 4  # the compiler needs the rest
    return high * wide + 6 <= registers  # with twelve sums the compiler stored some in between (LOG.md)


def gradient_tiling(outputs: int, inputs: int, kernel: int, registers: int) -> tuple[int, int, int]:
    """Output channels, input channels and taps of one tile of a weight gradient, chosen likewise."""
    return min(
        (
            (high, deep, taps)
            for high in range(1, min(outputs, 8) + 1)
            for deep in range(1, min(inputs, 8) + 1)
            for taps in range(1, kernel + 1)
            if (high, deep, taps) == (1, 1, 1) or _gradient_fits(high, deep, taps, kernel, registers)
        ),
        key=lambda tile: _cost(
            (
                (o * i * k, o + i * k, many * more * again)
                for o, many in _sizes(outputs, tile[0])
                for i, more in _sizes(inputs, tile[1])
                for k, again in _sizes(kernel, tile[2])
            ),
            registers,
        ),
    )


def _gradient_fits(high: int, deep: int, taps: int, kernel: int, registers: int) -> bool:
    sums = high * deep * taps
    if registers >= _MANY:
        return sums + high + 2 <= registers * 3 // 4
    # What one tap has read the next one reads a column later, which the compiler keeps: so taps stay together.
    return taps == min(kernel, _TAPS) and sums + (deep * taps + 1 if taps > 1 else min(high, deep) + 2) <= registers
