from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special

from tests.training.native.snippets import aligned, call, compiled, lanes

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]
FUNCTIONS: dict[str, tuple[Function, float, float, float]] = {  # with 64 bits; from, to, relative error
    "exponential": (np.exp, -87, 88, 3e-7),
    "exponential_minus_1": (np.expm1, -20, 80, 4e-7),
    "sigmoid": (special.expit, -8, 80, 1e-6),  # further down, exact to the last place of 1
    "power_of_2": (np.exp2, -126, 127, 3e-7),
    "hyperbolic_tangent": (np.tanh, -15, 15, 5e-7),
}
ABSOLUTE: dict[str, tuple[Function, float]] = {
    "sigmoid": (special.expit, 1.5e-7),
    "normal_distribution": (special.ndtr, 2e-7),
    "gelu_derivative": (lambda x: special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), 4e-7),
}


@cache
def _library() -> ctypes.CDLL:
    names = [*dict.fromkeys((*FUNCTIONS, *ABSOLUTE)), "rounded"]
    lines = [
        f"void {name}_of(const V *x, V *y, int n) {{ for (int i = 0; i < n; i++) y[i] = {name}(x[i]); }}"
        for name in names
    ]
    lines += [
        "void sum_of(const int32_t *mask, const V *x, float *y) { *y = sum(*(const I *)mask, *x); }",
        "void bits_of(const int32_t *mask, int32_t *y) { *y = bits(*(const I *)mask); }",
        "void lanes_of(int bits, int32_t *mask) { *(I *)mask = lanes((uint16_t)bits); }",
        "void pair_of(const V *x, const V *y, P *both, int n)",
        "{ for (int i = 0; i < n; i++) both[i] = pair(x[i], y[i]); }",
        "void dot_of(V *sum, const P *a, const P *b, int n)",
        "{ for (int i = 0; i < n; i++) sum[i] = dot(sum[i], a[i], b[i]); }",
        "void spread_of(float x, float y, P *both) { *both = spread_pair(packed_pair(x, y)); }",
    ]  # fmt: skip
    return compiled("\n".join(lines))


def _apply(name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    count = lanes(_library())
    padded = aligned(np.resize(x, -(-len(x) // count) * count))
    found = aligned(np.zeros_like(padded))
    call(_library(), f"{name}_of", padded, found, len(padded) // count)
    return found[: len(x)]


def _grid(least: float, most: float) -> NDArray[np.float32]:
    near_zero = np.geomspace(1e-30, 1, 2000)
    grid = np.concatenate((np.linspace(least, most, 200_001), near_zero, -near_zero, [0.0, -0.0]))
    return grid[(grid >= least) & (grid <= most)].astype(np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_exact_to_a_few_units_of_the_last_place(name: str) -> None:
    function, least, most, error = FUNCTIONS[name]
    x = _grid(least, most)
    np.testing.assert_allclose(_apply(name, x), function(x.astype(np.float64)), rtol=error, atol=1e-38)


@pytest.mark.parametrize("name", ABSOLUTE)
def test_a_function_around_0_to_1_is_exact_to_the_last_places_of_1(name: str) -> None:
    function, error = ABSOLUTE[name]
    x = _grid(-40, 40)
    np.testing.assert_allclose(_apply(name, x), function(x.astype(np.float64)), rtol=0, atol=error)


def test_what_lies_beyond_the_range_stays_at_its_end_and_what_is_no_number_stays_none() -> None:
    beyond = np.array([-1e30, 1e30, -np.inf, np.inf, np.nan], np.float32)
    np.testing.assert_allclose(_apply("sigmoid", beyond)[:4], [0, 1, 0, 1], atol=1e-37)
    np.testing.assert_allclose(_apply("hyperbolic_tangent", beyond)[:4], [-1, 1, -1, 1], rtol=1e-6)
    np.testing.assert_allclose(_apply("normal_distribution", beyond)[:4], [0, 1, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(_apply("gelu_derivative", beyond)[:4], [0, 1, 0, 1], rtol=1e-6)
    assert np.isfinite(_apply("exponential", beyond)[:4]).all()
    ranged = {*FUNCTIONS, *ABSOLUTE} - {"power_of_2"}  # whoever calls that has seen to its range
    assert all(np.isnan(_apply(name, beyond)[4]) for name in ranged)


def test_rounding_takes_ties_to_even() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49, 3.51, -1000.5], np.float32)
    assert _apply("rounded", x).tolist() == np.rint(x).tolist()


def test_a_sum_takes_the_lanes_of_its_mask_and_no_other() -> None:
    count, rng = lanes(_library()), np.random.default_rng(0)
    for _ in range(50):
        chosen = rng.random(count) < 0.5
        x = np.where(chosen, rng.normal(size=count), np.nan).astype(np.float32)
        found = np.zeros(1, np.float32)
        call(_library(), "sum_of", aligned(np.where(chosen, -1, 0).astype(np.int32)), aligned(x), found)
        assert found[0] == pytest.approx(x[chosen].sum(dtype=np.float64), abs=1e-5)


def test_a_mask_becomes_bits_and_bits_a_mask_again() -> None:
    count, rng = lanes(_library()), np.random.default_rng(0)
    for _ in range(50):
        chosen = rng.random(count) < 0.5
        said, back = np.zeros(1, np.int32), aligned(np.zeros(count, np.int32))
        call(_library(), "bits_of", aligned(np.where(chosen, -1, 0).astype(np.int32)), said)
        assert said[0] == sum(int(one) << lane for lane, one in enumerate(chosen))
        call(_library(), "lanes_of", int(said[0]), back)
        assert back.tolist() == np.where(chosen, -1, 0).tolist()


def _pairs(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.uint16]:
    """(N, 2); N is a multiple of the lanes."""
    both = aligned(np.zeros((len(first), 2), np.uint16))
    call(_library(), "pair_of", aligned(first), aligned(second), both, len(first) // lanes(_library()))
    return both


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    return torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()


def test_a_pair_is_rounded_as_pytorch_rounds_to_bfloat16() -> None:
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore"):
        wide = (rng.normal(size=4096) * 10.0 ** rng.uniform(-44, 39, 4096)).astype(np.float32)
    ties = (np.arange(4096, dtype=np.uint32) << 15 | 0x3F000000).view(np.float32)
    ends = np.resize(np.array([0.0, -0.0, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45], np.float32), 4096)
    for first in (wide, ties, ends):
        both = _pairs(first, wide)
        np.testing.assert_array_equal(both[:, 0], _bfloat16(first))
        np.testing.assert_array_equal(both[:, 1], _bfloat16(wide))
    with np.errstate(invalid="ignore"):
        none = np.full(64, np.inf, np.float32) - np.inf  # as arithmetic makes it
    assert np.isnan((_pairs(none, none).astype(np.uint32) << 16).view(np.float32)).all()


def test_a_dot_adds_the_products_of_both_halves_of_a_pair() -> None:
    rng, count = np.random.default_rng(1), 64 * lanes(_library())
    values = [rng.normal(size=count).astype(np.float32) for _ in range(4)]
    start = aligned(rng.normal(size=count).astype(np.float32))
    rounded = [torch.from_numpy(value).bfloat16().double().numpy() for value in values]
    expected = start + rounded[0] * rounded[2] + rounded[1] * rounded[3]
    call(_library(), "dot_of", start, _pairs(*values[:2]), _pairs(*values[2:]), 64)
    np.testing.assert_allclose(start, expected, rtol=1e-6, atol=1e-6)


def test_a_packed_pair_of_weights_goes_to_all_lanes_bit_by_bit() -> None:
    for first, second in ((1.5, -2.0), (0.0, 1e-40), (3.4e38, -1.0), (float("inf"), -0.0)):
        both = aligned(np.zeros((lanes(_library()), 2), np.uint16))
        call(_library(), "spread_of", first, second, both)
        np.testing.assert_array_equal(
            both, np.broadcast_to(_bfloat16(np.array([first, second], np.float32)), both.shape)
        )
