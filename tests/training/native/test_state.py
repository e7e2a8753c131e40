from __future__ import annotations

import numpy as np
import pytest

from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.native.plan import plan
from smallprint.training.native.state import State, named

PLAN = plan(trace(Network.parse("conv3-4,bias batchnorm relu gap conv1-10"), (1, 8, 8)))
SIZES = {"parameters": 88, "running": 8, "first": 88, "second": 88, "average": 96}


def _numbered() -> State:
    state = State.of(PLAN)
    for vector in state.arrays().values():
        vector[:] = np.arange(len(vector))
    return state


def test_a_state_begins_with_zeros_of_the_plans_sizes() -> None:
    arrays = State.of(PLAN).arrays()
    assert {name: len(vector) for name, vector in arrays.items()} == SIZES
    assert all(vector.dtype == np.float32 and not vector.any() for vector in arrays.values())


def test_names_are_views_of_the_vectors_in_the_modules_shapes() -> None:
    state = _numbered()
    views = named(PLAN, state.parameters, state.running)
    assert {name: view.shape for name, view in views.items()} == {
        "0.layer.weight": (4, 1, 3, 3), "0.layer.bias": (4,), "1.after.0.0.weight": (4,), "1.after.0.0.bias": (4,),
        "1.after.0.0.running_mean": (4,), "1.after.0.0.running_var": (4,), "4.layer.weight": (10, 4, 1, 1),
    }  # fmt: skip
    views["0.layer.bias"][...] = -1
    assert (state.parameters[36:40] == -1).all()
    assert views["4.layer.weight"][9, 3, 0, 0] == 87
    assert views["1.after.0.0.running_var"].tolist() == [4, 5, 6, 7]


def test_a_copy_shares_nothing_with_what_it_was_made_from() -> None:
    first = _numbered()
    second = State.like(first.arrays(), PLAN)
    first.parameters[:] = 0
    first.average[:] = 0
    assert second.parameters.tolist() == list(range(88))
    assert second.average.tolist() == list(range(96))


def test_averaged_values_stand_in_the_place_of_the_latest() -> None:
    state = _numbered()
    state.average[:] += 1000
    judged = state.averaged()
    assert judged.parameters.tolist() == list(range(1000, 1088))
    assert judged.running.tolist() == list(range(1088, 1096))
    assert judged.first is state.first


@pytest.mark.parametrize("name", SIZES)
def test_vectors_of_another_network_or_kind_are_refused(name: str) -> None:
    arrays = State.of(PLAN).arrays()
    for wrong in (np.zeros(SIZES[name] + 1, np.float32), np.zeros(SIZES[name]), np.zeros((SIZES[name], 1), np.float32)):
        with pytest.raises(ValueError, match=f"{name} does not fit"):
            State.like({**arrays, name: wrong}, PLAN)
