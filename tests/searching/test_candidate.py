"""The levels of a candidate, and what short trainings are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallprint.results.runs import Epoch
from smallprint.searching.candidate import levels, shortened, worst_error
from smallprint.spec.recipe import Recipe


def test_the_levels_of_fifteen_epochs_go_from_three_to_all_then_to_more_seeds() -> None:
    assert [(level.epochs, level.seeds, level.last) for level in levels(15, 5)] == [
        (3, 1, 1), (7, 1, 2), (15, 1, 5), (15, 3, 5), (15, 8, 5),
    ]  # fmt: skip


@given(st.integers(1, 200), st.integers(1, 20))
def test_every_level_is_dearer_than_the_one_before_and_the_last_ones_are_whole(epochs: int, last: int) -> None:
    ladder = levels(epochs, min(last, epochs))
    assert [level.number for level in ladder] == list(range(5 - len(ladder), 5))
    assert [level.number for level in ladder if level.full] == [2, 3, 4]
    work = [level.epochs * level.seeds for level in ladder]
    assert work == sorted(set(work))
    assert [level.seeds for level in ladder if level.full] == [1, 3, 8]
    assert all(1 <= level.last <= level.epochs <= epochs for level in ladder)
    assert [level.last for level in ladder if level.full] == [min(last, epochs)] * 3


@given(st.integers(1, 200))
def test_a_level_trains_only_the_seeds_that_the_one_before_has_not(epochs: int) -> None:
    ladder = levels(epochs, 1)
    for before, level in pairwise(ladder):
        assert level.seeds_before == (before.seeds if before.epochs == level.epochs else 0)


def test_a_shortened_recipe_keeps_the_shape_of_its_schedule() -> None:
    stepped = Recipe.parse({"optimiser": "sgd lr=0.1", "schedule": "step every=6", "epochs": 15})
    assert shortened(stepped, 5).sentences()["schedule"] == "step every=2"
    assert shortened(stepped, 2).sentences()["schedule"] == "step every=1"
    cosine = Recipe.parse({"optimiser": "sgd lr=0.1", "schedule": "cosine warmup=20% tail=15%", "epochs": 15})
    assert shortened(cosine, 5).schedule == cosine.schedule
    assert shortened(cosine, 5).epochs == 5


def test_a_shortened_average_reaches_back_over_the_same_share_of_the_training() -> None:
    averaged = Recipe.parse({"optimiser": "sgd lr=0.1", "average": "ema 0.998", "epochs": 15})
    short = shortened(averaged, 3).average
    assert short
    assert short.decay == pytest.approx(0.99)
    brief = Recipe.parse({"optimiser": "sgd lr=0.1", "average": "ema 0.5", "epochs": 15})
    assert shortened(brief, 3).average is None


def test_the_worst_of_the_last_epochs_counts() -> None:
    epochs = [
        Epoch(epoch=number, learning_rate=0.1, train_loss=1, train_correct=1, train_total=1, test_loss=1,
              test_correct=correct, test_total=100, seconds=1)
        for number, correct in enumerate((50, 97, 95, 98), start=1)
    ]  # fmt: skip
    assert worst_error(epochs, 3) == pytest.approx(0.05)
    assert worst_error(epochs, 1) == pytest.approx(0.02)
