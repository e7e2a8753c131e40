from __future__ import annotations

import warnings

import optuna
import pytest

from smallprint.searching.goal import GOALS, Goal
from smallprint.searching.space import Space
from smallprint.searching.starts import starting_genes
from smallprint.spec.trace import Shape
from tests.searching.spaces import SIZES, START, Dice, ladder

LARGER = START.replace("-16", "-32")


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize(("shape", "classes"), SIZES)
@pytest.mark.parametrize("taught", [False, True])
def test_every_start_says_each_gene_of_its_trial_within_its_range(
    shape: Shape, classes: int, goal: str, taught: bool
) -> None:
    said = ladder(shape, classes, START, *([LARGER] if taught else []), contract={"epochs": "<= 9"})
    space = Space(said, said.rungs[0], Goal(name=goal))
    for genes in space.starts():
        dice = Dice(0, **genes)
        drawn = space.suggest(dice)
        assert drawn.genes == genes
        for name, value in genes.items():
            allowed = dice.asked[name]
            if isinstance(value, str) or name in ("batch", "dropout"):
                assert value in allowed
            else:
                assert allowed[0] <= value <= allowed[1]


def test_optuna_takes_the_starts_as_they_are() -> None:
    said = ladder((1, 28, 28), 10, START, LARGER)
    space = Space(said, said.rungs[0], Goal())
    study = optuna.create_study()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for genes in space.starts():
            study.enqueue_trial(dict(genes))
        for genes in space.starts():
            trial = study.ask()
            space.suggest(trial)
            assert trial.params == genes


def test_usual_networks_come_first_and_two_of_three_are_taught_then_the_starting_rung_itself_at_three_sizes() -> None:
    genes = starting_genes(sizes=(100.0, 400.0), input_shape=(1, 28, 28), epochs=(15, 15), teachers=("large",))
    assert genes[-3:] == [
        {"size": size, "network": "start", "recipe": "start"} for size in (400.0, pytest.approx(200.0), 100.0)
    ]
    teachers = [each["teacher"] for each in genes[:-3]]
    assert [teacher == "none" for teacher in teachers] == [number % 3 == 2 for number in range(len(teachers))]
    assert all("epochs" not in each for each in genes)
