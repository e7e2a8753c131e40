from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from smallprint.spec.network import Network
from smallprint.spec.trace import Shape, trace
from smallprint.training import philox
from smallprint.training.stack import networks
from smallprint.training.stack.convolution import KERNELS
from smallprint.training.stack.networks import Chance, Networks
from tests.spec.test_trace import a_fitting_network
from tests.training.native import oracle
from tests.training.native.networks import ALONE, KINKED, SHAPE


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every layer is computed by this kernel."""
    monkeypatch.setattr(networks, "fastest", lambda *_: request.param)
    return request.param  # type: ignore[no-any-return]


def assert_alone(network: str | Network, shape: Shape) -> None:
    """Three networks with their own images and weights: logits, gradients and running statistics, with 64 bits."""
    cases = [oracle.case(network, shape, count=6, seed=seed) for seed in range(3)]
    planned, traced = cases[0].plan, cases[0].trace
    stack = Networks(traced, planned, 3, images=6, device=torch.device("cpu"), dtype=torch.float64)
    names = [entry.name for entry in planned.entries if entry.trainable]
    starts = [np.concatenate([case.start[name].ravel() for name in names]) for case in cases]
    flat = torch.tensor(np.stack(starts)).double().requires_grad_()
    running = {
        entry.name: torch.tensor(np.stack([case.start[entry.name] for case in cases])).double()
        for entry in planned.entries
        if not entry.trainable
    }
    values = stack.named(flat) | running
    everything = torch.cat([oracle.inputs(case) for case in cases], 1)
    tested = stack.logits(everything, values)
    x = torch.cat([oracle.inputs(case)[torch.from_numpy(case.order[:6])] for case in cases], 1)
    low, high = (torch.full((3, 1, 1), half) for half in philox.halves_of(oracle.Case.KEY))
    logits = stack.logits(x, values, Chance((low, high), torch.arange(6)))
    labels = torch.tensor(np.stack([case.labels[case.order[:6]] for case in cases]))
    losses = [F.cross_entropy(logits[:, k], labels[k]) for k in range(3)]
    (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), flat)
    for k, case in enumerate(cases):
        exact = oracle.pytorch(case)
        _assert_close(tested[:, k].detach(), exact.logits, "logits")
        assert losses[k].item() == pytest.approx(exact.loss, rel=1e-9)
        for name, value in stack.named(gradient).items():
            _assert_close(value[k], exact.gradients[name], name)
        for name, statistic in running.items():
            _assert_close(statistic[k], exact.running[name], name)


def _assert_close(mine: Tensor, expected: NDArray[Any], name: str) -> None:
    np.testing.assert_allclose(mine.numpy(), expected, rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("network", (ALONE | KINKED).values(), ids=(ALONE | KINKED).keys())
def test_every_network_of_a_stack_is_that_network_alone(network: str, kernel: str) -> None:
    assert_alone(network, SHAPE)


@settings(max_examples=25, deadline=None)
@given(a_fitting_network(), st.sampled_from(tuple(KERNELS)))
def test_a_stack_of_any_network_is_that_network_alone(fitting: tuple[Network, Shape], kernel: str) -> None:
    network, shape = oracle.smoothed(fitting[0]), fitting[1]
    assume(trace(network, shape).parameters)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(networks, "fastest", lambda *_: kernel)
        assert_alone(network, shape)


def test_a_batch_of_one_value_per_channel_is_normalised_as_in_a_test(kernel: str) -> None:
    case = oracle.case("conv3-5 gap batchnorm linear-4", SHAPE, count=1)
    planned = case.plan
    stack = Networks(case.trace, planned, 2, images=1, device=torch.device("cpu"), dtype=torch.float64)
    values = {name: torch.tensor(value).double().expand(2, *value.shape).clone() for name, value in case.start.items()}
    x = oracle.inputs(case)[:1].repeat(1, 2, 1, 1)
    chance = Chance((torch.zeros(2, 1, 1, dtype=torch.int64),) * 2, torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(stack.logits(x, values, chance), stack.logits(x, values))
