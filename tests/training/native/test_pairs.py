from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from smallprint.spec.trace import Shape
from smallprint.training.native.kernels import Geometry, convolution, pack, weight_gradient
from smallprint.training.native.pairs import (
    by_channel,
    by_column,
    convolution_pays,
    gradient_pays,
    pair_channels,
    pair_columns,
    pair_neighbours,
)
from smallprint.training.native.passes import Held, Rows
from smallprint.training.native.plan import Convolution
from tests.training.native.snippets import aligned, call, compiled, lanes, tensor, vectors

# kernel, stride, pad, input (channels, rows, columns), output channels
LAYERS: list[tuple[int, int, int, Shape, int]] = [
    (1, 1, 0, (5, 4, 7), 3),
    (3, 1, 0, (2, 6, 9), 7),
    (3, 1, 1, (3, 5, 30), 10),
    (3, 1, 4, (1, 3, 4), 2),
    (3, 2, 1, (4, 7, 8), 5),
    (5, 2, 4, (2, 6, 5), 3),
    (2, 1, 1, (3, 8, 1), 4),
    (7, 1, 0, (3, 7, 7), 20),
    (3, 1, 1, (3, 40, 30), 9),
]
REGISTERS = (16, 32)


def _geometry(layer: tuple[int, int, int, Shape, int], *, back: bool = False, groups: int = 1) -> Geometry:
    kernel, stride, pad, source, outputs = layer
    target = (outputs, *((side + 2 * pad - kernel) // stride + 1 for side in source[1:]))
    conv = Convolution(kernel=kernel, stride=stride, pad=pad, groups=groups, weight=0, bias=None, first=True)
    return Geometry(convolution=conv, source=target if back else source, target=source if back else target, back=back)


@cache
def _library(registers: int) -> ctypes.CDLL:
    """Every layer's kernels in one library; `room` and `more` hold the pairs."""
    lines: list[str] = []
    given, pairs, more = Held(name="x"), Held(name="room"), Held(name="more")
    for index, layer in enumerate(LAYERS):
        for way, geometry in (("forward", _geometry(layer)), ("backward", _geometry(layer, back=True))):

            def store(outputs: int, columns: int, width: int = geometry.target[2]) -> list[str]:
                return [f"at[{o * width + c}] = a{o}_{c};" for o in range(outputs) for c in range(columns)]

            lines += convolution(f"{way}_by_pairs_{index}", by_channel(geometry), registers, store)
            lines += [
                f"void {way}_{index}(const V *x, const float *parameters, V *y, float *packed, P *room) {{",
                *pack(geometry, 0, registers, paired=True),
                *pair_channels(given, geometry.source, pairs, Rows.all(geometry.source)),
                f"{way}_by_pairs_{index}(room, packed, y, 0, {geometry.target[1]});",
                "}",
            ]
        if layer[1] > 1:
            continue
        ahead = _geometry(layer)
        lines += weight_gradient(f"weigh_{index}", by_column(ahead), registers, "=")
        lines += [
            f"void gradient_{index}(const V *x, const V *d, const int32_t *valid, float *out, P *room, P *more) {{",
            *pair_neighbours(given, ahead.source, pairs, Rows.all(ahead.source)),
            *pair_columns(Held(name="d"), ahead.target, more, Rows.all(ahead.target)),
            f"weigh_{index}(room, more, out, 0, {ahead.target[1]}, *(const I *)valid);",
            "}",
        ]
    return compiled("\n".join(lines))


def _rounded(values: Tensor) -> Tensor:
    """As PyTorch rounds to bfloat16."""
    return values.float().bfloat16().double()


@pytest.mark.parametrize("registers", REGISTERS)
@pytest.mark.parametrize("index", range(len(LAYERS)), ids=[" ".join(map(str, layer)) for layer in LAYERS])
def test_products_of_pairs_are_those_of_what_pytorch_rounds_to_bfloat16(index: int, registers: int) -> None:
    kernel, stride, pad, source, outputs = LAYERS[index]
    library = _library(registers)
    count, rng = lanes(library), np.random.default_rng(index)
    x, w = (
        torch.from_numpy(rng.normal(size=(count, *source))),
        torch.from_numpy(rng.normal(size=(outputs, source[0], kernel, kernel))),
    )
    rounded_x, rounded_w = _rounded(x).requires_grad_(), _rounded(w).requires_grad_()
    y = F.conv2d(rounded_x, rounded_w, None, stride, pad)
    d = torch.from_numpy(rng.normal(size=tuple(y.shape)))
    y.backward(_rounded(d))
    assert rounded_x.grad is not None
    assert rounded_w.grad is not None
    images, gradients = vectors(x.numpy(), count), vectors(d.numpy(), count)
    weights = aligned(w.numpy().astype(np.float32).ravel())
    room, more, packed = (aligned(np.zeros(2 * max(images.size, gradients.size), np.float32)) for _ in range(3))
    for way, read, expected in (("forward", images, y.detach()), ("backward", gradients, rounded_x.grad)):
        found = vectors(np.full(tuple(expected.shape), np.nan), count)
        call(library, f"{way}_{index}", read, weights, found, packed, room)
        np.testing.assert_allclose(tensor(found), expected.numpy(), atol=1e-4 * kernel)
    if stride == 1:
        written, everywhere = np.full_like(weights, np.nan), aligned(np.full(count, -1, np.int32))
        call(library, f"gradient_{index}", images, gradients, everywhere, written, room, more)
        np.testing.assert_allclose(written, rounded_w.grad.numpy().ravel(), atol=1e-3)


def test_rows_go_to_where_memory_of_a_few_rows_holds_them() -> None:
    shape: Shape = (3, 6, 5)
    library = compiled(
        "\n".join(
            ["void some(const V *x, P *room) {",
             *pair_channels(Held(name="x"), shape, Held(name="room", rows=4), Rows(first="3", last="6")), "}"]
        )
    )  # fmt: skip
    count = lanes(library)
    x = np.random.default_rng(0).normal(size=(count, *shape))
    room = aligned(np.zeros((4, 2, 5, count, 2), np.uint16))
    call(library, "some", vectors(x, count), room)
    halves = (_rounded(torch.from_numpy(x)).float().numpy().view(np.uint32) >> 16).astype(np.uint16)
    for row in (3, 4, 5):
        np.testing.assert_array_equal(room[row % 4, 0, :, :, 0].T, halves[:, 0, row])
        np.testing.assert_array_equal(room[row % 4, 0, :, :, 1].T, halves[:, 1, row])
        np.testing.assert_array_equal(room[row % 4, 1, :, :, 0].T, halves[:, 2, row])
        assert not room[row % 4, 1, :, :, 1].any()
    assert not room[2].any()


def test_pairs_pay_where_each_rounded_value_is_in_many_products() -> None:
    dense, pointwise = (3, 1, 1, (8, 12, 12), 8), (1, 1, 0, (8, 12, 12), 8)
    assert convolution_pays(_geometry(dense))
    assert convolution_pays(_geometry(dense, back=True))
    assert gradient_pays(_geometry(dense))
    assert not any(pays(_geometry(pointwise)) for pays in (convolution_pays, gradient_pays))
    assert not any(pays(_geometry(dense, groups=8)) for pays in (convolution_pays, gradient_pays))
    first = (3, 1, 1, (1, 12, 12), 8)
    assert not convolution_pays(_geometry(first))  # a channel alone has none to go with
    assert gradient_pays(_geometry(first))
    strided = (3, 2, 1, (8, 12, 12), 8)
    assert not convolution_pays(_geometry(strided))  # a quarter of the products of each value
    assert not gradient_pays(_geometry(strided))
