from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smallprint.training.draws import dropout_threshold
from smallprint.training.native.plan import Activation, Dropout
from smallprint.training.native.pointwise import apply, factors, undo
from tests.training.native.snippets import aligned, call, compiled, lanes

ACTIVATIONS = {
    "relu": (Activation(kind="relu"), F.relu),
    "leakyrelu": (Activation(kind="leakyrelu", slope=0.2), lambda x: F.leaky_relu(x, 0.2)),
    "silu": (Activation(kind="silu"), F.silu),
    "hardswish": (Activation(kind="hardswish"), F.hardswish),
    "gelu": (Activation(kind="gelu"), F.gelu),
    "tanh": (Activation(kind="tanh"), torch.tanh),
}


@cache
def _library() -> ctypes.CDLL:
    lines: list[str] = []
    for name, (activation, _) in ACTIVATIONS.items():
        body = [
            *apply([activation], [], ["v0", "v1"]),
            "*y = v1;",
            "V dz = *d;",
            *undo([activation], ["v0", "v1"], "dz"),
        ]
        lines += [f"void {name}(const V *x, const V *d, V *y, V *dx) {{", "const V v0 = *x;", *body, "*dx = dz; }"]
    return compiled("\n".join(lines))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_and_its_slope_are_those_of_pytorch(name: str) -> None:
    library, function = _library(), ACTIVATIONS[name][1]
    count = lanes(library)
    spread = np.concatenate((np.linspace(-12, 12, 4001), np.geomspace(1e-7, 80, 300), -np.geomspace(1e-7, 80, 300)))
    for start in range(0, len(spread) - count + 1, count):
        x = torch.from_numpy(spread[start : start + count]).float().double().requires_grad_()
        d = np.linspace(0.5, 2, count)
        y = function(x)
        y.backward(torch.from_numpy(d))
        found, slope = aligned(np.zeros(count, np.float32)), aligned(np.zeros(count, np.float32))
        given = aligned(x.detach().numpy().astype(np.float32))
        call(library, name, given, aligned(d.astype(np.float32)), found, slope)
        assert x.grad is not None
        np.testing.assert_allclose(found, y.detach().numpy(), rtol=1e-6, atol=2e-6)
        np.testing.assert_allclose(slope, x.grad.numpy(), rtol=1e-6, atol=3e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_keeps_what_is_no_number_and_what_is_large(name: str) -> None:
    library, function = _library(), ACTIVATIONS[name][1]
    count = lanes(library)
    x = np.resize(np.array([np.nan, 1e30, 0.0, -50.0], np.float32), count)
    found = aligned(np.zeros(count, np.float32))
    call(library, name, aligned(x), aligned(np.ones(count, np.float32)), found, aligned(np.zeros(count, np.float32)))
    np.testing.assert_allclose(found, function(torch.from_numpy(x)).numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("percent", "drops"), [(50.0, 32768), (25.0, 16384), (5.0, 3277), (0.001, 1), (1e-9, 0), (99.9999999, 65535)]
)
def test_a_rate_is_a_share_of_65536_and_something_is_always_kept(percent: float, drops: int) -> None:
    dropout = Dropout(rate=percent / 100, channels=False, mask=0, index=0, shape=(1, 1, 1))
    assert dropout_threshold(dropout.rate) == drops
    (line,) = factors([dropout])
    factor = float(line.split("? ")[1].split("f :")[0])
    assert factor == pytest.approx(65536 / (65536 - drops))
