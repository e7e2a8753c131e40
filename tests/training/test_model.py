from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from smallprint.spec.ladder_file import read_ladder, shipped
from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.layers import BatchNorm
from smallprint.training.model import Model, build

EVERYTHING = """
every conv3: pad=1
after conv: batchnorm relu dropout=5%
after depthwise: silu
after linear: tanh

conv3-8  conv3-8,skip  conv5-8,times=3,skip,pad=same  maxpool
depthwise3,pad=1,bias  conv1-12,groups=4  gelu  hardswish  leakyrelu=0.2  dropout2d=10%
conv3-12,stride=2  avgpool2  batchnorm  flatten  linear-20  linear-20,times=2,bare,bias  linear-10,bare
"""


def _build(text: str, shape: tuple[int, int, int] = (1, 28, 28)) -> tuple[Model, Network]:
    network = Network.parse(text)
    return build(trace(network, shape), seed=0), network


def _weight(model: Model, block: int) -> Tensor:
    return next(model[block].parameters())


@pytest.mark.parametrize("place", [(name, rung.name) for name in shipped() for rung in read_ladder(name).rungs])
def test_every_shipped_rung_has_the_parameters_and_macs_of_its_trace(place: tuple[str, str]) -> None:
    ladder = read_ladder(place[0])
    traced = ladder.trace(ladder.rung(place[1]))
    model = build(traced, seed=0).eval()
    assert sum(p.numel() for p in model.parameters()) == traced.parameters
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *traced.input_shape))
    assert counter.get_total_flops() == 2 * traced.macs


def test_every_layer_operation_and_option_builds_with_the_shapes_of_its_trace() -> None:
    model, network = _build(EVERYTHING)
    traced = trace(network, (1, 28, 28))
    x = torch.randn(4, 1, 28, 28)
    for block, step in zip(model, traced.steps, strict=True):
        x = block(x)
        assert tuple(x.shape[1:]) == step.output_shape, step.text
    x.sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == traced.parameters


def test_skip_adds_the_input_to_what_the_operations_leave() -> None:
    model, _ = _build("conv3-1,pad=1,skip tanh", (1, 6, 6))
    x = torch.randn(2, 1, 6, 6)
    block = model[0]
    weight = next(block.parameters())
    torch.testing.assert_close(block(x), x + F.conv2d(x, weight, padding=1))


def test_times_applies_one_convolution_with_a_batch_norm_of_its_own_each_time() -> None:
    model, _ = _build("after conv3: batchnorm relu; conv3-4,pad=1 conv3-4,pad=1,times=3", (1, 6, 6))
    norms = [module for module in model[1].modules() if isinstance(module, BatchNorm)]
    assert len(norms) == 3
    assert len({id(norm) for norm in norms}) == 3
    for number, norm in enumerate(norms):
        assert norm.weight is not None
        torch.nn.init.constant_(norm.weight, number + 1.0)
    model.eval()
    x = torch.randn(2, 4, 6, 6)
    expected = x
    for norm in norms:
        expected = F.relu(norm(F.conv2d(expected, _weight(model, 1), padding=1)))
    torch.testing.assert_close(model[1](x), expected)


def test_the_seed_decides_the_first_weights_and_leaves_the_global_generator_alone() -> None:
    network = trace(Network.parse("conv3-8 gap conv1-10"), (1, 28, 28))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = build(network, 1), build(network, 1), build(network, 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(_weight(first, 0), _weight(again, 0))
    assert not torch.equal(_weight(first, 0), _weight(other, 0))


@pytest.mark.parametrize(
    "after", ["relu", "tanh relu", "relu relu", "batchnorm relu", "dropout=10% relu", "relu batchnorm"]
)
def test_a_relu_never_overwrites_what_the_way_back_needs(after: str) -> None:
    model, _ = _build(
        f"after conv: {after}; conv3-4,pad=1 conv3-4,pad=1,skip relu maxpool relu gap conv1-10", (1, 8, 8)
    )
    model(torch.randn(3, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
