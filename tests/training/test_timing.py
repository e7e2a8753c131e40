from __future__ import annotations

import pytest

from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import trace
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.timing import _few, step_alone, step_together


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.mark.parametrize(("batch", "steps"), [(64, 8), (179, 8), (512, 2), (1000, 1), (5000, 1)])
def test_the_batches_that_are_timed_are_whole(digits: Dataset, batch: int, steps: int) -> None:
    few, taken = _few(digits, Recipe.parse({"optimiser": "adam lr=0.01", "batch": batch}))
    assert (len(few.train_labels_N), taken) == (min(batch, len(digits.train_labels_N)) * steps, steps)


@pytest.mark.parametrize("said", [{"batch": 64}, {"batch": 5000}, {"loss": "distilled big"}, {"epochs": 1}])
def test_any_recipe_has_a_step_that_takes_time(digits: Dataset, said: dict[str, object]) -> None:
    recipe = Recipe.parse({"optimiser": "adam lr=0.01", **said})
    traced = trace(Network.parse("conv3-4 gap conv1-10"), digits.facts.input_shape, 10)
    assert step_alone(traced, recipe, digits) > 0
    assert step_together(traced, [recipe] * 2, digits, "cpu") > 0
