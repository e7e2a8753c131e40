from __future__ import annotations

import numpy as np
import pytest

from smallprint.results.runs import Epoch
from smallprint.spec.errors import RunError
from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.checkpoint import pack, unpack
from smallprint.training.native.plan import plan
from smallprint.training.native.state import State

PLAN = plan(trace(Network.parse("conv3-4 batchnorm gap conv1-3"), (1, 6, 6)))
EPOCH = Epoch(
    epoch=1, learning_rate=0.1, train_loss=0.5, train_correct=7, train_total=9, test_loss=float("nan"),
    test_correct=0, test_total=0, seconds=1.5,
)  # fmt: skip


def _state() -> State:
    rng = np.random.default_rng(0)
    blank = State.of(PLAN).arrays()
    return State(**{name: rng.normal(size=vector.shape).astype(np.float32) for name, vector in blank.items()})


def test_what_is_packed_comes_out_again() -> None:
    epochs, state = unpack(pack([EPOCH], _state()), PLAN)
    assert repr(epochs) == repr([EPOCH])
    for name, vector in _state().arrays().items():
        np.testing.assert_array_equal(state.arrays()[name], vector)


def test_damage_and_another_network_are_errors() -> None:
    whole = pack([EPOCH], _state())
    for damaged in (b"", whole[:500], b"garbage" * 100):
        with pytest.raises(RunError, match="is damaged"):
            unpack(damaged, PLAN)
    with pytest.raises(RunError, match="another network"):
        unpack(whole, plan(trace(Network.parse("conv3-5 batchnorm gap conv1-3"), (1, 6, 6))))
