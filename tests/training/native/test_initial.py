"""The oracle is PyTorch: the same modules, built after torch.manual_seed."""

from __future__ import annotations

import numpy as np
import pytest

from smallprint.spec.ladder_file import read_ladder
from smallprint.spec.network import Network
from smallprint.spec.trace import Trace, trace
from smallprint.training.model import build
from smallprint.training.native.initial import initial_state
from smallprint.training.native.plan import plan
from smallprint.training.native.state import named

EVERY_KIND = (
    "conv3-6,bias batchnorm relu conv3-6,groups=3,bias,pad=1,times=2 batchnorm depthwise3,bias dropout=5% maxpool "
    "flatten linear-20 batchnorm relu linear-10,bias"
)


def _assert_same(traced: Trace, seed: int) -> None:
    planned = plan(traced)
    state = initial_state(planned, seed)
    views = named(planned, state.parameters, state.running)
    expected = build(traced, seed).state_dict()
    assert views.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(views[name], tensor.numpy(), err_msg=name)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 + 5, 2**40])
def test_weights_of_every_kind_of_layer_are_pytorchs_to_the_bit(seed: int) -> None:
    _assert_same(trace(Network.parse(EVERY_KIND), (1, 12, 12), 10), seed)


@pytest.mark.parametrize("name", ["progressive", "six-models", "onecycle", "three-steps", "digits"])
def test_shipped_rungs_start_from_pytorchs_weights(name: str) -> None:
    ladder = read_ladder(name)
    for rung in ladder.rungs:
        if ladder.trace(rung).parameters < 50_000:
            _assert_same(ladder.trace(rung), seed=3)


def test_what_is_not_drawn_is_an_identity_or_zero() -> None:
    planned = plan(trace(Network.parse("conv3-6 batchnorm gap conv1-10"), (1, 12, 12), 10))
    state = initial_state(planned, 0)
    views = named(planned, state.parameters, state.running)
    for name, value in {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}.items():
        assert (views[f"1.after.0.0.{name}"] == value).all()
    for vector in (state.first, state.second, state.average):
        assert not vector.any()
