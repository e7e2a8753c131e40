from __future__ import annotations

import numpy as np
import pytest

from smallprint.spec.recipe import Recipe
from smallprint.training.draws import Draws

RECIPE = Recipe.parse({"optimiser": "sgd lr=0.1", "augment": "rotate=7deg; contrast=10%"})


def test_every_image_is_drawn_once_in_every_epoch() -> None:
    for epoch in range(3):
        assert sorted(Draws.of(0, epoch, 500, RECIPE).order) == list(range(500))


def test_seed_and_epoch_decide_every_draw() -> None:
    first, again = Draws.of(3, 5, 200, RECIPE), Draws.of(3, 5, 200, RECIPE)
    np.testing.assert_array_equal(first.order, again.order)
    np.testing.assert_array_equal(first.changes[0].inverse, again.changes[0].inverse)
    np.testing.assert_array_equal(first.changes[1].contrast, again.changes[1].contrast)
    assert first.key == again.key
    for other in (Draws.of(4, 5, 200, RECIPE), Draws.of(3, 6, 200, RECIPE)):
        assert (other.order != first.order).any()
        assert not np.array_equal(other.changes[0].inverse, first.changes[0].inverse)  # type: ignore[arg-type]
        assert other.key != first.key


def test_another_recipe_leaves_order_and_dropout_as_they_were() -> None:
    plain = Draws.of(0, 0, 100, Recipe.parse({"optimiser": "adam lr=0.1"}))
    np.testing.assert_array_equal(plain.order, Draws.of(0, 0, 100, RECIPE).order)
    assert plain.key == Draws.of(0, 0, 100, RECIPE).key
    assert plain.changes == []


@pytest.mark.parametrize(
    ("said", "strengths"),
    [
        ("fade=50%", [1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0]),
        ("clean=30%", [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]),
        ("fade=40% clean=30%", [1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0]),
        ("fade=40% clean=10%", [1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]),
        ("fade=40% clean=4%", [1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]),
        ("clean=100%", [0] * 10),
    ],
)
def test_what_fades_falls_evenly_to_nothing_before_the_clean_epochs(said: str, strengths: list[float]) -> None:
    stage = "shift=2px brightness=40%"
    recipe = Recipe.parse({"optimiser": "adam lr=0.1", "epochs": 10, "augment": f"{stage} {said}"})
    plain = Recipe.parse({"optimiser": "adam lr=0.1", "epochs": 10, "augment": stage})
    for epoch, strength in enumerate(strengths):
        (faded,), (whole,) = Draws.of(0, epoch, 50, recipe).changes, Draws.of(0, epoch, 50, plain).changes
        assert set(faded.drawn) == set(whole.drawn)
        np.testing.assert_allclose(faded.drawn["offset"], strength * whole.drawn["offset"], atol=1e-6)
        np.testing.assert_allclose(faded.drawn["brightness"] - 1, strength * (whole.drawn["brightness"] - 1), atol=1e-6)
