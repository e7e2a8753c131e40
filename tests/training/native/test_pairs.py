from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smallprint.spec.trace import Shape
from smallprint.training.native import pairs
from smallprint.training.native.kernels import convolution, pack, weight_gradient
from smallprint.training.native.passes import Held, Rows
from tests.training.native.snippets import aligned, bfloat16, call, compiled, geometry, lanes, tensor, vectors

# kernel, stride, pad, groups, input (channels, rows, columns), output channels
LAYERS: list[tuple[int, int, int, int, Shape, int]] = [
    (1, 1, 0, 1, (5, 4, 7), 3),
    (3, 1, 0, 1, (2, 6, 9), 7),
    (3, 1, 1, 1, (3, 5, 30), 10),
    (3, 1, 4, 1, (1, 3, 4), 2),
    (3, 2, 1, 1, (4, 7, 8), 5),
    (5, 2, 4, 1, (2, 6, 5), 3),
    (2, 1, 1, 1, (3, 8, 1), 4),
    (7, 1, 0, 1, (3, 7, 7), 20),
    (3, 1, 1, 1, (3, 40, 30), 9),
]
REGISTERS = (16, 32)


@cache
def _library(registers: int) -> ctypes.CDLL:
    """Every layer's kernels in one library; `room` and `more` hold the pairs."""
    lines: list[str] = []
    given, room, more = Held(name="x"), Held(name="room"), Held(name="more")
    for index, layer in enumerate(LAYERS):
        for way, read in (("forward", geometry(*layer)), ("backward", geometry(*layer, back=True))):

            def store(outputs: int, columns: int, width: int = read.target[2]) -> list[str]:
                return [f"at[{o * width + c}] = a{o}_{c};" for o in range(outputs) for c in range(columns)]

            lines += convolution(f"{way}_by_pairs_{index}", pairs.by_channel(read), registers, store)
            lines += [
                f"void {way}_{index}(const V *x, const float *parameters, V *y, float *packed, P *room) {{",
                *pack(read, 0, registers, paired=True),
                *pairs.of_channels(given, read.source, room, Rows.all(read.source)),
                f"{way}_by_pairs_{index}(room, packed, y, 0, {read.target[1]});",
                "}",
            ]
        if layer[1] > 1:
            continue
        ahead = geometry(*layer)
        lines += weight_gradient(f"weigh_{index}", pairs.by_column(ahead), registers, "=")
        lines += [
            f"void gradient_{index}(const V *x, const V *d, const int32_t *valid, float *out, P *room, P *more) {{",
            *pairs.of_neighbours(given, ahead.source, room, Rows.all(ahead.source)),
            *pairs.of_columns(Held(name="d"), ahead.target, more, Rows.all(ahead.target)),
            f"weigh_{index}(room, more, out, 0, {ahead.target[1]}, *(const I *)valid);",
            "}",
        ]
    return compiled("\n".join(lines))


@pytest.mark.parametrize("registers", REGISTERS)
@pytest.mark.parametrize("index", range(len(LAYERS)), ids=[" ".join(map(str, layer)) for layer in LAYERS])
def test_products_of_pairs_are_those_of_what_pytorch_rounds_to_bfloat16(index: int, registers: int) -> None:
    kernel, stride, pad, _, source, outputs = LAYERS[index]
    library = _library(registers)
    count, rng = lanes(library), np.random.default_rng(index)
    x, w = (
        torch.from_numpy(rng.normal(size=(count, *source))),
        torch.from_numpy(rng.normal(size=(outputs, source[0], kernel, kernel))),
    )
    rounded_x, rounded_w = bfloat16(x).requires_grad_(), bfloat16(w).requires_grad_()
    y = F.conv2d(rounded_x, rounded_w, None, stride, pad)
    d = torch.from_numpy(rng.normal(size=tuple(y.shape)))
    y.backward(bfloat16(d))
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
             *pairs.of_channels(Held(name="x"), shape, Held(name="room", rows=4), Rows(first="3", last="6")), "}"]
        )
    )  # fmt: skip
    count = lanes(library)
    x = np.random.default_rng(0).normal(size=(count, *shape))
    room = aligned(np.zeros((4, 2, 5, count, 2), np.uint16))
    call(library, "some", vectors(x, count), room)
    halves = (bfloat16(torch.from_numpy(x)).float().numpy().view(np.uint32) >> 16).astype(np.uint16)
    for row in (3, 4, 5):
        np.testing.assert_array_equal(room[row % 4, 0, :, :, 0].T, halves[:, 0, row])
        np.testing.assert_array_equal(room[row % 4, 0, :, :, 1].T, halves[:, 1, row])
        np.testing.assert_array_equal(room[row % 4, 1, :, :, 0].T, halves[:, 2, row])
        assert not room[row % 4, 1, :, :, 1].any()
    assert not room[2].any()


def test_pairs_pay_where_each_rounded_value_is_in_many_products() -> None:
    image: Shape = (8, 12, 12)
    dense = geometry(3, 1, 1, 1, image, 8)
    assert pairs.convolution_pays(dense)
    assert pairs.convolution_pays(geometry(3, 1, 1, 1, image, 8, back=True))
    assert pairs.gradient_pays(dense)
    pointwise, depthwise = geometry(1, 1, 0, 1, image, 8), geometry(3, 1, 1, 8, image, 8)
    strided = geometry(3, 2, 1, 1, image, 8)  # a quarter of the products of each value
    for read in (pointwise, depthwise, strided):
        assert not pairs.convolution_pays(read)
        assert not pairs.gradient_pays(read)
    first = geometry(3, 1, 1, 1, (1, 12, 12), 8)
    assert not pairs.convolution_pays(first)  # a channel alone has none to go with
    assert pairs.gradient_pays(first)
