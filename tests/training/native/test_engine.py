from __future__ import annotations

import numpy as np
import pytest

from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.schedule import Rates
from smallprint.spec.trace import trace
from smallprint.training.native.engine import Engine, EpochImages
from smallprint.training.native.plan import plan
from smallprint.training.native.state import State

PLAN = plan(trace(Network.parse("conv3-4 tanh gap conv1-3"), (1, 6, 6)))
RECIPE = Recipe.parse({"optimiser": "sgd lr=0.1"})


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(PLAN, RECIPE, np.zeros(1), np.ones(1), batch=8, threads=1)


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 1, 6, 6)).astype(np.uint8)


def _state() -> State:
    state = State.of(PLAN)
    state.parameters[:] = np.random.default_rng(1).normal(0, 0.3, PLAN.parameters)
    return state


def test_each_image_is_predicted_by_itself(engine: Engine) -> None:
    images, state = _images(37), _state()
    whole = engine.predict(state, images)
    assert whole.shape == (37, 3)
    np.testing.assert_array_equal(np.concatenate([engine.predict(state, images[i : i + 1]) for i in range(37)]), whole)


def test_a_step_reads_its_place_of_the_epoch_and_nothing_else(engine: Engine) -> None:
    images, labels = _images(20), np.arange(20) % 3
    order = np.random.default_rng(2).permutation(20)
    whole = EpochImages(images, labels, order, [], 1)
    alone = EpochImages(images[order[8:16]], labels[order[8:16]], np.arange(8), [], 1)
    first, second = _state(), _state()
    said = [
        engine.train(first, whole, 8, 8, Rates(0.1, 0.0), 0),
        engine.train(second, alone, 0, 8, Rates(0.1, 0.0), 0),
    ]
    assert said[0] == said[1]
    np.testing.assert_array_equal(first.parameters, second.parameters)
    assert (first.parameters != _state().parameters).any()


def test_another_number_of_threads_gives_the_same(engine: Engine) -> None:
    two = Engine(PLAN, RECIPE, np.zeros(1), np.ones(1), batch=8, threads=2)
    np.testing.assert_array_equal(two.predict(_state(), _images(50)), engine.predict(_state(), _images(50)))
    two.use_threads(1)
    assert two.threads == 1
    np.testing.assert_array_equal(two.predict(_state(), _images(50)), engine.predict(_state(), _images(50)))


def test_more_images_than_the_engine_was_made_for_are_our_own_fault(engine: Engine) -> None:
    epoch = EpochImages(_images(20), np.zeros(20, np.int64), np.arange(20), [], 1)
    with pytest.raises(AssertionError):
        engine.train(_state(), epoch, 0, 9, Rates(0.1, 0.0), 0)
