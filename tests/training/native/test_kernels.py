from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_weight

from smallprint.spec.trace import Shape
from smallprint.training.native.kernels import convolution, pack, weight_gradient
from tests.training.native.snippets import aligned, call, compiled, geometry, lanes, tensor, vectors

# kernel, stride, pad, groups, input (channels, rows, columns), output channels
LAYERS: list[tuple[int, int, int, int, Shape, int]] = [
    (1, 1, 0, 1, (5, 4, 7), 3),
    (3, 1, 0, 1, (2, 6, 9), 7),
    (3, 1, 1, 1, (3, 5, 30), 10),
    (3, 1, 4, 1, (1, 3, 4), 2),
    (3, 2, 1, 1, (4, 7, 8), 5),
    (2, 3, 0, 1, (3, 8, 7), 4),
    (5, 3, 2, 1, (2, 1, 1), 3),
    (5, 2, 4, 1, (2, 6, 5), 3),
    (4, 1, 2, 2, (6, 5, 6), 8),
    (3, 1, 1, 6, (6, 4, 5), 6),
    (3, 2, 0, 3, (6, 7, 7), 3),
    (1, 2, 1, 1, (3, 5, 6), 4),
    (18, 1, 3, 1, (1, 16, 17), 2),
    (7, 1, 0, 1, (3, 7, 7), 20),
    (1, 1, 0, 1, (40, 1, 1), 33),
    (3, 1, 1, 1, (3, 40, 30), 9),  # so many rows that the weight gradient takes them in slices
]


REGISTERS = (16, 32)  # tiles are chosen by their number; any processor can compute either


def _halves(rows: int) -> tuple[str, str]:
    """C of all rows in two calls."""
    return f"0, {rows // 2}", f"{rows // 2}, {rows}"


@cache
def _library(registers: int) -> ctypes.CDLL:
    """Every layer's kernels in one library, with bias forward."""
    lines: list[str] = []
    for index, layer in enumerate(LAYERS):
        ahead, back = geometry(*layer), geometry(*layer, back=True)

        def store(outputs: int, columns: int, width: int) -> list[str]:
            return [f"at[{o * width + c}] = a{o}_{c};" for o in range(outputs) for c in range(columns)]

        lines += convolution(
            f"ahead_{index}", ahead, registers, lambda o, c, w=ahead.target[2]: store(o, c, w),  # type: ignore[misc]
            "const float *restrict bias",
        )  # fmt: skip
        lines += convolution(f"back_{index}", back, registers, lambda o, c, w=back.target[2]: store(o, c, w))  # type: ignore[misc]
        for kept, sign in (("vectors", None), ("written", "="), ("added", "+=")):
            lines += weight_gradient(f"weigh_{index}_{kept}", ahead, registers, sign)
        weights = layer[0] ** 2 * ahead.inputs * layer[5]
        lines += [
            f"void forward_{index}(const V *x, const float *parameters, const float *bias, V *y, float *packed) {{",
            *pack(ahead, 0, registers),
            *(f"ahead_{index}(x, packed, y, {rows}, bias);" for rows in _halves(ahead.target[1])),
            "}",
            f"void backward_{index}(const V *d, const float *parameters, V *dx, float *packed) {{",
            *pack(back, 0, registers),
            *(f"back_{index}(d, packed, dx, {rows});" for rows in _halves(back.target[1])),
            "}",
            f"void gradient_{index}(const V *x, const V *d, const int32_t *valid, float *out, int add) {{",
            f"if (add) weigh_{index}_added(x, d, out, 0, {ahead.target[1]}, *(const I *)valid);",
            f"else weigh_{index}_written(x, d, out, 0, {ahead.target[1]}, *(const I *)valid); }}",
            f"void vectors_{index}(const V *x, const V *d, V *out) {{",
            *(f"weigh_{index}_vectors(x, d, out, {rows});" for rows in _halves(ahead.target[1])),
            "}",
            f"_Static_assert({weights} > 0, \"\");",
        ]  # fmt: skip
    return compiled("\n".join(lines))


@pytest.mark.parametrize("registers", REGISTERS)
@pytest.mark.parametrize("index", range(len(LAYERS)), ids=[" ".join(map(str, layer)) for layer in LAYERS])
def test_convolution_its_way_back_and_its_weight_gradient_are_those_of_pytorch(index: int, registers: int) -> None:
    kernel, stride, pad, groups, source, outputs = LAYERS[index]
    library = _library(registers)
    count, rng = lanes(library), np.random.default_rng(index)
    x = torch.from_numpy(rng.normal(size=(count, *source))).requires_grad_()
    w = torch.from_numpy(rng.normal(size=(outputs, source[0] // groups, kernel, kernel))).requires_grad_()
    bias = rng.normal(size=outputs)
    y = F.conv2d(x, w, torch.from_numpy(bias), stride, pad, 1, groups)
    d = torch.from_numpy(rng.normal(size=tuple(y.shape)))
    y.backward(d)
    assert x.grad is not None
    assert w.grad is not None
    weights = aligned(w.detach().numpy().astype(np.float32).ravel())
    packed, found, back = np.zeros_like(weights), vectors(y.detach().numpy(), count), vectors(x.grad.numpy(), count)
    images, gradients = vectors(x.detach().numpy(), count), vectors(d.numpy(), count)
    for out in (found, back):
        out[...] = np.nan
    call(library, f"forward_{index}", images, weights, aligned(bias.astype(np.float32)), found, packed)
    np.testing.assert_allclose(tensor(found), y.detach().numpy(), atol=1e-4 * kernel)
    call(library, f"backward_{index}", gradients, weights, back, packed)
    np.testing.assert_allclose(tensor(back), x.grad.numpy(), atol=1e-4 * kernel)
    everywhere = aligned(np.full(count, -1, np.int32))
    written = np.full_like(weights, np.nan)
    call(library, f"gradient_{index}", images, gradients, everywhere, written, 0)
    np.testing.assert_allclose(written, w.grad.numpy().ravel(), atol=1e-3)
    added = np.ones_like(weights)
    call(library, f"gradient_{index}", images, gradients, everywhere, added, 1)
    np.testing.assert_allclose(added, written + 1, atol=1e-4)
    kept = aligned(np.ones((weights.size, count), np.float32))
    call(library, f"vectors_{index}", images, gradients, kept)
    np.testing.assert_allclose(kept.sum(1), written + count, atol=1e-3)


def test_lanes_without_an_image_count_for_nothing_in_the_weight_gradient() -> None:
    library = _library(REGISTERS[0])
    count, rng = lanes(library), np.random.default_rng(0)
    images = vectors(rng.normal(size=(count, 2, 6, 9)), count)
    gradients = vectors(rng.normal(size=(count, 7, 4, 7)), count)
    gradients[..., 3:] = np.nan
    valid, written = aligned(np.where(np.arange(count) < 3, -1, 0).astype(np.int32)), np.zeros(7 * 2 * 9, np.float32)
    call(library, "gradient_1", images, gradients, valid, written, 0)
    x, d = torch.from_numpy(tensor(images)[:3].copy()), torch.from_numpy(tensor(gradients)[:3].copy())
    expected = conv2d_weight(x, (7, 2, 3, 3), d)
    np.testing.assert_allclose(written, expected.numpy().ravel(), atol=1e-4)


def test_columns_outside_the_image_are_read_by_no_tap() -> None:
    layer = (3, 2, 1, 1, (1, 5, 5), 1)
    ahead, back = geometry(*layer), geometry(*layer, back=True)
    assert [[ahead.column(c, tap) for tap in range(3)] for c in range(3)] == [[None, 0, 1], [1, 2, 3], [3, 4, None]]
    # Back: input column = output column * 2 + tap - 1.
    assert [[back.column(c, tap) for tap in range(3)] for c in range(5)] == [
        [None, 0, None], [1, None, 0], [None, 1, None], [2, None, 1], [None, 2, None],
    ]  # fmt: skip
