from __future__ import annotations

import numpy as np
import pytest

from smallprint.spec.recipe import Hard, Recipe
from smallprint.training.draws import Draws, doubt, due

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


def test_doubt_is_what_the_right_class_lacks() -> None:
    probability = np.array([1.0, 0.75, 1e-9, np.nan])
    np.testing.assert_allclose(doubt(-np.log(probability)), [0, 0.25, 1 - 1e-9, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("hard", "expected"),
    [
        (Hard(share=100, power=1, cap=100), [0, 0, 0.5, 3.5]),
        (Hard(share=50, power=1, cap=100), [0.5, 0.5, 0.75, 2.25]),
        (Hard(share=100, power=1, cap=1), [0, 0, 4 / 3, 8 / 3]),
        (Hard(share=100, power=0, cap=8), [1, 1, 1, 1]),
        (Hard(share=0, power=1, cap=8), [1, 1, 1, 1]),
        (Hard(share=100, power=0.5, cap=100), [0, 0, 4 / (1 + 7**0.5), 4 * 7**0.5 / (1 + 7**0.5)]),
    ],
)
def test_images_are_due_their_share_of_the_draws(hard: Hard, expected: list[float]) -> None:
    found = due(np.array([0.0, 0.0, 0.1, 0.7]), hard)
    np.testing.assert_allclose(found, expected, atol=6e-3)
    assert found.mean() == pytest.approx(1)


def test_images_are_drawn_as_often_as_they_are_due_to_within_one() -> None:
    doubts = np.random.default_rng(0).random(500) ** 4
    hard = Hard(share=90, power=1)
    plain = Draws.of(3, 5, 500, RECIPE)
    drawn = plain.by_doubt(doubts, hard)
    counts, expected = np.bincount(drawn.order, minlength=500), due(doubts, hard)
    assert counts.sum() == 500
    assert (counts >= np.floor(expected)).all()
    assert (counts <= np.ceil(expected)).all()
    assert counts.max() > 3
    assert drawn.changes is plain.changes
    assert drawn.key == plain.key
    np.testing.assert_array_equal(drawn.order, plain.by_doubt(doubts, hard).order)
    assert (drawn.order != Draws.of(3, 6, 500, RECIPE).by_doubt(doubts, hard).order).any()
    assert (np.diff(drawn.order) == 0).mean() < 0.1  # the same image does not come in a row
    several = [Draws.of(seed, 0, 500, RECIPE).by_doubt(doubts, hard).order for seed in range(400)]
    mean = np.bincount(np.concatenate(several), minlength=500) / 400
    np.testing.assert_allclose(mean, expected, atol=0.12)


def test_where_all_are_doubted_alike_each_is_drawn_once() -> None:
    for value in (0.25, 0.0, 1.0):
        drawn = Draws.of(0, 1, 300, RECIPE).by_doubt(np.full(300, value), Hard())
        assert sorted(drawn.order) == list(range(300))


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
