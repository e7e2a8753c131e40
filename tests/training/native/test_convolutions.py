from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.native import bands
from smallprint.training.native.kernels import Geometry
from smallprint.training.native.pairs import convolution_pays, gradient_pays
from smallprint.training.native.plan import plan
from smallprint.training.native.source import write_source
from tests.training.native import oracle
from tests.training.native.oracle import Case, Outcome, case, native, pytorch
from tests.training.native.snippets import bfloat16, geometry


class _Rounded(torch.autograd.Function):
    """A convolution whose products are of bfloat16 where pairs pay."""

    @staticmethod
    def forward(context: Any, x: Tensor, w: Tensor, conv: nn.Conv2d) -> Tensor:
        context.save_for_backward(x, w)
        context.conv = conv
        read = (bfloat16(x), bfloat16(w)) if convolution_pays(_geometry(conv, x.shape)) else (x, w)
        return F.conv2d(*read, None, conv.stride, conv.padding, 1, conv.groups)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (x, w), (d,), conv = context.saved_tensors, gradients, context.conv
        given = {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups}
        back = (bfloat16(w), bfloat16(d)) if convolution_pays(_geometry(conv, x.shape, back=True)) else (w, d)
        around = (bfloat16(x), bfloat16(d)) if gradient_pays(_geometry(conv, x.shape)) else (x, d)
        dx = conv2d_input(x.shape, *back, **given)
        return dx, conv2d_weight(around[0], w.shape, around[1], **given), None


def _geometry(conv: nn.Conv2d, source: torch.Size, *, back: bool = False) -> Geometry:
    kernel, stride, pad = (int(value[0]) for value in (conv.kernel_size, conv.stride, conv.padding))  # type: ignore[index]
    shape = source[1], source[2], source[3]
    return geometry(kernel, stride, pad, conv.groups, shape, conv.out_channels, back=back)


def _rounded(case: Case, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """The step in PyTorch with 64 bits, but for products of bfloat16 where pairs pay."""
    started = oracle.started

    def with_rounding(case: Case, dtype: torch.dtype) -> nn.Module:
        model = started(case, dtype)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):

                def forward(x: Tensor, conv: nn.Conv2d = module) -> Tensor:
                    y: Tensor = _Rounded.apply(x, conv.weight, conv)  # type: ignore[no-untyped-call]
                    return y if conv.bias is None else y + conv.bias[:, None, None]

                module.forward = forward  # type: ignore[method-assign,assignment]
        return model

    with monkeypatch.context() as patched:
        patched.setattr(oracle, "started", with_rounding)
        return pytorch(case)


NETWORKS = {
    "padded": "conv3-8 batchnorm silu conv3-9,pad=1 batchnorm silu avgpool2 conv3-11,pad=1 batchnorm gelu gap conv1-10",
    "odd channels and columns": "conv3-7 tanh conv3-9 tanh conv2-5 silu gap linear-10",
    "one row and column left": "conv3-6 tanh avgpool2 conv4-7 tanh gap linear-10",
    "skip": "conv3-8 tanh conv3-8,pad=1,skip silu conv3-6 gap linear-10",
    "shared and biased": "conv3-6,bias silu conv3-6,pad=1,bias,times=2 silu gap linear-10,bias",
    "wide and pointwise": "conv3-6 silu conv1-40 silu conv1-7 silu conv3-8 gap linear-10",
    "strided and grouped": "conv3-8 tanh conv5-16,stride=2,pad=2 tanh conv3-8,groups=2,pad=1 tanh gap linear-10",
}


@pytest.mark.parametrize(
    ("name", "cache"),
    [*((name, bands._CACHE) for name in NETWORKS),
     *((name, 150) for name in ("padded", "odd channels and columns", "shared and biased"))],  # some rows at a time
)  # fmt: skip
def test_a_step_by_pairs_is_that_of_pytorch_with_products_of_bfloat16(
    name: str, cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "_CACHE", cache)
    found = case(NETWORKS[name], (3, 11, 12), count=21)
    by_pairs, exact, rounded = native(found, precision="bfloat16"), pytorch(found), _rounded(found, monkeypatch)
    assert _off(rounded, exact) > 5e-4  # what is rounded can be seen
    assert _off(by_pairs, rounded) < _off(rounded, exact) / 8
    assert by_pairs.loss == pytest.approx(rounded.loss, rel=1e-4)
    assert np.abs(by_pairs.logits - exact.logits).max() < 1e-5 * np.abs(exact.logits).max()  # never rounded


def _off(one: Outcome, other: Outcome) -> float:
    """How far apart the gradients are, as a share of all of them."""
    apart = sum(float(((one.gradients[name] - value) ** 2).sum()) for name, value in other.gradients.items())
    return math.sqrt(apart / sum(float((value**2).sum()) for value in other.gradients.values()))


def test_the_number_of_threads_changes_no_bit_of_a_step_by_pairs() -> None:
    found = case(NETWORKS["padded"], (3, 11, 12), count=45)
    one, three = (native(found, precision="bfloat16", threads=threads) for threads in (1, 3))
    assert one.loss == three.loss
    for name, value in one.gradients.items():
        np.testing.assert_array_equal(value, three.gradients[name])


def test_only_what_pays_is_written_for_pairs() -> None:
    text = "conv3-6 silu conv1-4 silu depthwise3 conv3-8 gap linear-10"
    planned = plan(trace(Network.parse(text), (1, 12, 12)))
    plain, paired = write_source(planned, 16), write_source(planned, 16, paired=True)
    assert not re.findall(r"pair|dot\(", plain)
    assert re.findall(r"static void (\w+)\(const P", paired) == ["weigh_0", "convolve_pairs_3", "weigh_3", "return_3"]


def test_all_memory_that_pairs_take_is_counted() -> None:
    planned = plan(trace(Network.parse(NETWORKS["padded"]), (3, 11, 12)))
    source = write_source(planned, 16, paired=True)
    sizes = {
        name: int(found[1]) for name in ("scratch", "packed") if (found := re.search(rf"\.{name} = (\d+)", source))
    }
    taken = {name: max(map(int, re.findall(rf"g->{name} \+ (\d+)", source))) for name in sizes}
    assert all(taken[name] < sizes[name] for name in sizes)
    plain = write_source(planned, 16)
    assert sizes["packed"] > int(re.findall(r"\.packed = (\d+)", plain)[0])
