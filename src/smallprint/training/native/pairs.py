"""C text that lays values out in pairs of bfloat16, and the kernels' geometry that reads them so."""

from __future__ import annotations

from dataclasses import replace

from smallprint.spec.trace import Shape
from smallprint.training.native.kernels import PAIRS, Geometry, Lines, block, place
from smallprint.training.native.passes import Held, Rows

# Two products in one instruction need two values side by side in every lane, whose products go into the same sum:
# for a convolution two of its input channels, for a weight gradient two neighbouring columns.

_LEAST = 32  # products of a value that pay for its rounding: some ten operations, against half of the products


def by_channel(geometry: Geometry) -> Geometry:
    """A convolution that reads two channels at a time; behind an odd number of them stands a zero."""
    channels, height, width = geometry.source
    return replace(geometry, source=(-(-channels // 2), height, width), numbers=PAIRS)


def by_column(geometry: Geometry) -> Geometry:
    """A weight gradient, of stride 1, of two columns at a time.

    Of the output's gradient every column stands in one pair. Of the input it stands in two, once with either neighbour,
    so that every tap finds the pair that it needs: pair j holds the columns j - 1 and j, with zeros outside.
    """
    channels, height, width = geometry.source
    outputs, rows, columns = geometry.target
    return replace(
        geometry, source=(channels, height, width + 1), target=(outputs, rows, -(-columns // 2)), numbers=PAIRS,
        across=(2, geometry.convolution.pad - 1),
    )  # fmt: skip


def convolution_pays(geometry: Geometry) -> bool:
    """Whether pairs are probably faster; an estimate by operations."""
    conv = geometry.convolution
    products = conv.kernel**2 * geometry.outputs
    if not geometry.back:
        products //= conv.stride**2
    return conv.groups == 1 and geometry.inputs > 1 and products >= _LEAST


def gradient_pays(geometry: Geometry) -> bool:
    """The same of a weight gradient."""
    conv = geometry.convolution
    return conv.groups == conv.stride == 1 and geometry.target[2] > 1 and conv.kernel**2 * geometry.outputs >= _LEAST


def of_channels(source: Held, shape: Shape, target: Held, rows: Rows) -> Lines:
    """C that lays some rows of a tensor out for a convolution."""
    channels, _, width = shape
    pairs = -(-channels // 2)
    next_channel = f"ch + 1 < {channels} ? a[{width} + c] : (V){{0}}" if channels % 2 else f"a[{width} + c]"
    body = [
        f"const V *restrict a = &{source.at(shape, 'r', '0')};",
        f"P *restrict b = {target.name} + ({place('r', target.rows)} * {pairs} + ch / 2) * {width};",
        f"for (int c = 0; c < {width}; c++) b[c] = pair(a[c], {next_channel});",
    ]
    return _rows(rows, channels, body, step=2)


def of_columns(source: Held, shape: Shape, target: Held, rows: Rows) -> Lines:
    """C that lays some rows of the output's gradient out for a weight gradient."""
    channels, height, width = shape
    half = (channels, height, -(-width // 2))
    body = [
        f"const V *restrict a = &{source.at(shape, 'r', '0')};",
        f"P *restrict b = &{target.at(half, 'r', '0')};",
        f"for (int c = 0; c < {width // 2}; c++) b[c] = pair(a[2 * c], a[2 * c + 1]);",
        *([f"b[{width // 2}] = pair(a[{width - 1}], (V){{0}});"] if width % 2 else []),
    ]
    return _rows(rows, channels, body)


def of_neighbours(source: Held, shape: Shape, target: Held, rows: Rows) -> Lines:
    """C that lays some rows of the input out for a weight gradient."""
    channels, height, width = shape
    body = [
        f"const V *restrict a = &{source.at(shape, 'r', '0')};",
        f"P *restrict b = &{target.at((channels, height, width + 1), 'r', '0')};",
        "U left = {0};",
        *block(
            f"for (int c = 0; c < {width}; c++)",
            ["const U here = upper_half(a[c]);", "b[c] = left >> 16 | here;", "left = here;"],
        ),
        f"b[{width}] = left >> 16;",
    ]
    return _rows(rows, channels, body)


def _rows(rows: Rows, channels: int, body: Lines, step: int = 1) -> Lines:
    return block(
        f"for (int r = {rows.first}; r < {rows.last}; r++)",
        block(f"for (int ch = 0; ch < {channels}; ch += {step})", body),
    )
