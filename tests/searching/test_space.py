from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.searching.goal import GOALS, Goal
from smallprint.searching.space import VERSION, Drawn, Space
from smallprint.spec.errors import SearchError
from smallprint.spec.ladder import Rung
from smallprint.spec.ladder_file import read_ladder, shipped
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Shape, trace
from smallprint.training.data import load_dataset
from smallprint.training.native.plan import plan
from smallprint.training.trainer import train
from tests.searching.spaces import COLOURS, DIGITS, MNIST, ODD, SIZES, START, Answers, Dice, ladder

STARTS = (
    START,
    "conv5-6,stride=2,pad=2 conv3-4,pad=1 relu gap conv1-{}",
    "after conv: relu; conv3-8,groups=1 depthwise3 conv1-12 maxpool flatten linear-{}",
    "after conv3: batchnorm silu; conv3-12 conv3-12,pad=1,skip,times=2 maxpool conv3-24,groups=2 gap conv1-16 conv1-{}",
)
BOUNDS: tuple[dict[str, object], ...] = (
    {}, {"parameters": "< 3000"}, {"macs": "<= 200000"}, {"parameters": "<= 900", "macs": "< 90000", "epochs": "<= 6"},
)  # fmt: skip


def check(space: Space, drawn: Drawn) -> None:
    """All that is promised of whatever a trial answers."""
    contract, facts = space.ladder.contract, space.ladder.facts
    rung = Rung(name="drawn", target="", network=drawn.network, recipe=drawn.recipe)
    traced = space.ladder.trace(rung)  # one value per class, or more
    amount = space.goal.amount(traced, drawn.recipe, train=facts.train)
    assert drawn.amount == amount
    assert space.floor <= amount <= space.ceiling
    for bound, count in (
        (contract.parameters, traced.parameters), (contract.macs, traced.macs), (contract.epochs, drawn.recipe.epochs),
    ):  # fmt: skip
        assert bound is None or bound.allows(count)
    assert drawn.recipe.epochs >= min(contract.last_epochs, space.rung.recipe.epochs)
    assert Network.parse(str(drawn.network)) == drawn.network
    assert Recipe.parse(drawn.recipe.sentences()) == drawn.recipe
    assert plan(traced).parameters == traced.parameters
    if drawn.recipe.teacher:
        assert space.ladder.trace(space.ladder.rung(drawn.recipe.teacher)).outputs == traced.outputs


@settings(max_examples=120, deadline=None)
@given(
    st.data(),
    st.sampled_from(SIZES) | st.tuples(st.tuples(st.integers(1, 3), *[st.integers(8, 40)] * 2), st.integers(2, 60)),
    st.sampled_from(STARTS),
    st.sampled_from(BOUNDS),
    st.sampled_from(GOALS),
)  # fmt: skip
def test_every_combination_of_genes_is_right_in_size_and_keeps_the_contract_s_bounds(
    data: st.DataObject, size: tuple[Shape, int], start: str, bounds: dict[str, object], goal: str
) -> None:
    said = ladder(*size, start, START.replace("-16", "-40"), contract=bounds)
    ceiling = data.draw(st.none() | st.floats(10, 1e5), label="ceiling")
    floor = None if ceiling is None else data.draw(st.none() | st.floats(0.01, 0.99).map(lambda s: s * ceiling))
    try:
        space = Space(said, said.rungs[0], Goal(name=goal), floor=floor, ceiling=ceiling)
    except SearchError as fault:
        assert ceiling is not None, fault
        return
    for _ in range(2):
        check(space, space.suggest(Answers(data)))


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("size", [MNIST, DIGITS, COLOURS, ODD])
def test_a_sampler_of_optuna_finds_its_way_about_every_space(size: tuple[Shape, int], goal: str) -> None:
    said = ladder(*size, START, START.replace("-16", "-40"), contract={"epochs": "<= 12"})
    space = Space(said, said.rungs[0], Goal(name=goal))
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=8)
    study = optuna.create_study(sampler=sampler)
    for _ in range(16):
        trial = study.ask()
        drawn = space.suggest(trial)
        check(space, drawn)
        assert trial.params == drawn.genes
        study.tell(trial, drawn.amount)
    assert study.best_value < 0.75 * space.ceiling


@pytest.mark.parametrize("name", shipped())
def test_around_every_shipped_rung_there_is_a_space(name: str) -> None:
    said = read_ladder(name)
    for rung in said.rungs:
        space = Space(said, rung, Goal())
        for seed in range(3):
            check(space, space.suggest(Dice(seed)))


def test_most_networks_come_within_two_percent_below_the_size_that_was_drawn() -> None:
    said = read_ladder("progressive")
    space = Space(said, said.rungs[-1], Goal(), floor=2_500)
    near = []
    for seed in range(150):
        drawn = space.suggest(Dice(seed))
        near.append(0.98 * drawn.genes["size"] <= drawn.amount <= drawn.genes["size"])  # type: ignore[operator]
    assert sum(near) >= 0.95 * len(near)


def test_most_networks_for_mnist_are_cheaper_than_the_published_one() -> None:
    said = read_ladder("progressive")
    space = Space(said, said.rungs[-1], Goal(), floor=2_500)
    macs = sorted(trace(space.suggest(Dice(seed)).network, (1, 28, 28)).macs for seed in range(200))
    assert macs[len(macs) // 4] < 1_045_312 / 2
    assert macs[3 * len(macs) // 4] < 1_045_312


def test_the_same_answers_are_the_same_network_and_recipe() -> None:
    said = ladder(*MNIST)
    first, again = (Space(said, said.rungs[0], Goal()) for _ in range(2))
    for seed in range(20):
        assert first.suggest(Dice(seed)) == again.suggest(Dice(seed))


def test_the_version_changes_with_what_genes_mean() -> None:
    texts = []
    for size in (MNIST, DIGITS, COLOURS):
        said = ladder(*size, START, START.replace("-16", "-40"))
        space = Space(said, said.rungs[0], Goal())
        for seed in range(60):
            dice = Dice(seed)
            drawn = space.suggest(dice)
            texts.append(f"{drawn.network.line} {drawn.recipe.sentences()} {dice.asked}")
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    assert (VERSION, digest) == ("13", "abcee242c15183ee"), (
        "stored studies mean something else now: give space.py another VERSION"
    )


def test_the_starting_rung_scaled_keeps_its_recipe_and_proportions() -> None:
    said = read_ladder("progressive")
    rung = said.rung("steplr-adam")
    space = Space(said, rung, Goal())
    assert space.scaled(space.ceiling).network == rung.network
    half = space.scaled(3_932)
    assert half.recipe == rung.recipe
    assert half.amount <= 3_932
    assert half.network.line == (
        "after conv3: relu batchnorm dropout=1%; conv3-6 conv3-12 maxpool conv1-6 relu "
        "conv3-8 conv3-8 conv3-11 conv3-11,pad=1 gap conv1-10"
    )
    check(space, half)
    assert space.suggest(Dice(0, **half.genes)) == half


def test_without_bounds_of_its_own_a_search_looks_below_the_start_and_the_contract() -> None:
    said = ladder(*MNIST, contract={"parameters": "< 3000"})
    space = Space(said, said.rungs[0], Goal())
    assert (space.ceiling, space.floor) == (2_999, 2_999 / 3)
    unbound = ladder(*MNIST)
    own = unbound.trace(unbound.rungs[0])
    assert Space(unbound, unbound.rungs[0], Goal()).ceiling == own.parameters
    macs = Space(unbound, unbound.rungs[0], Goal(name="macs"))
    assert (macs.ceiling, macs.floor) == (own.macs, own.macs / 8)


def test_epochs_are_a_gene_only_where_seconds_count() -> None:
    said = ladder(*MNIST, contract={"epochs": "<= 12", "last_epochs": 4})

    def epochs(goal: str) -> set[int]:
        space = Space(said, said.rungs[0], Goal(name=goal))
        return {space.suggest(Dice(seed, recipe="sgd")).recipe.epochs for seed in range(40)}

    assert epochs("parameters") == {12}
    assert epochs("seconds") >= {5, 8, 11}
    assert min(epochs("seconds")) >= 4
    unsaid = ladder(*MNIST, recipes=[{"epochs": 7}])
    assert Space(unsaid, unsaid.rungs[0], Goal()).suggest(Dice(0, recipe="adamw")).recipe.epochs == 7


# --- teachers ---------------------------------------------------------------------------------------------------------


LARGE, HUGE = START.replace("-16", "-32"), START.replace("-16", "-64")


def test_larger_rungs_teach_unless_they_are_taught_or_answer_otherwise() -> None:
    said = ladder(*MNIST, START, LARGE, HUGE.replace("{}", "16"), HUGE, recipes=[{}, {}, {}, {"loss": "distilled two"}])
    assert Space(said, said.rungs[0], Goal()).teachers == ("two",)
    assert Space(said, said.rungs[1], Goal()).teachers == ()
    assert Space(said, said.rungs[0], Goal(), teachers=()).teachers == ()
    assert Space(said, said.rungs[1], Goal(), teachers=["one"]).teachers == ("one",)
    assert Space(said, said.rungs[0], Goal(name="seconds")).teachers == ()


def test_a_start_that_is_taught_keeps_its_teacher_or_learns_from_the_labels() -> None:
    said = ladder(*MNIST, START, LARGE, recipes=[{"loss": "distilled two share=90% smoothing=0.1"}])
    start = said.rungs[0]
    assert Space(said, start, Goal()).scaled(1_000).recipe.loss == start.recipe.loss
    plain = Space(said, start, Goal(), teachers=()).scaled(1_000).recipe
    assert plain.sentences()["loss"] == "cross-entropy smoothing=0.1"


def test_a_rung_that_cannot_teach_is_named_with_those_that_can() -> None:
    said = ladder(*MNIST, START, LARGE)
    with pytest.raises(SearchError) as fault:
        Space(said, said.rungs[0], Goal(), teachers=["twoo"])
    assert str(fault.value) == "'twoo' cannot teach one; those that can: two; did you mean 'two'?"


# --- what cannot be searched ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "goal", "said", "message"),
    [
        ({}, "parameters", {"ceiling": 20},
         "no network is as small as the ceiling, 20 parameters: the smallest that is drawn here has 21 parameters "
         "(after conv: batchnorm relu; conv3-1,stride=2 gap conv1-10,bare)"),
        ({}, "macs", {"ceiling": 1_000},
         "no network is as small as the ceiling, 1,000 multiply-adds: the smallest that is drawn here has 1,531 "
         "multiply-adds (after conv: batchnorm relu; conv3-1,stride=2 gap conv1-10,bare)"),
        ({}, "parameters", {"ceiling": 0},
         "no network is as small as the ceiling, 0 parameters: the smallest that is drawn here has 21 parameters "
         "(after conv: batchnorm relu; conv3-1,stride=2 gap conv1-10,bare)"),
        ({}, "parameters", {"ceiling": float("nan")}, "the ceiling is a number of parameters, not nan"),
        ({}, "parameters", {"floor": 900, "ceiling": 900},
         "the floor lies between 0 and the ceiling, 900 parameters; not 900 parameters"),
        ({}, "parameters", {"floor": -1},
         "the floor lies between 0 and the ceiling, 5,232 parameters; not -1 parameters"),
        ({"parameters": "< 3000"}, "parameters", {"ceiling": 4_000},
         "the ceiling 4,000 parameters is above what the contract allows: 2,999 parameters"),
        ({"parameters": "< 100"}, "macs", {"floor": 900_000, "ceiling": 1_000_000},
         "no network has from 900,000 multiply-adds to 1,000,000 multiply-adds and keeps the contract's bounds; the "
         "nearest has 31,402 multiply-adds: lower the floor"),
        ({"parameters": "< 20"}, "macs", {},
         "no network is as small as the contract asks for: at least 90% test accuracy in each of the last 5 epochs, "
         "fewer than 20 parameters"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_says_what_can(
    bounds: dict[str, object], goal: str, said: dict[str, Any], message: str
) -> None:
    mine = ladder(*MNIST, contract=bounds)
    with pytest.raises(SearchError) as fault:
        Space(mine, mine.rungs[0], Goal(name=goal), **said)
    assert str(fault.value) == message


def test_the_smallest_network_that_an_error_names_is_in_the_space() -> None:
    said = ladder(*MNIST)
    space = Space(said, said.rungs[0], Goal(), ceiling=21)
    assert {space.suggest(Dice(seed)).amount for seed in range(10)} == {21}


def test_a_start_cannot_be_scaled_below_its_least() -> None:
    said = ladder(*MNIST)
    with pytest.raises(SearchError, match="one cannot be scaled to 30 parameters: its least is 54 parameters"):
        Space(said, said.rungs[0], Goal()).scaled(30)


# --- on this machine --------------------------------------------------------------------------------------------------


def test_what_is_drawn_learns() -> None:
    said = read_ladder("digits")
    space = Space(said, said.rungs[-1], Goal(), floor=1_000, ceiling=1_499)
    dataset = load_dataset("digits")
    for block, optimiser in (("skip", "sgd"), ("separable", "adamw")):
        genes = {"pace": 1.0, "augment": 0.5, "average": 0.3, "dropout": 0}
        drawn = space.suggest(Dice(2, network=block, recipe=optimiser, **genes))
        recipe = Recipe.parse({**drawn.recipe.sentences(), "epochs": 4})
        *_, last = train(drawn.network, recipe, dataset, threads=1)
        assert last.test_correct / last.test_total > 0.5, f"{drawn.network.line} {drawn.recipe.sentences()}"


def test_a_space_needs_neither_torch_nor_optuna() -> None:
    program = """
import sys
from smallprint.searching.goal import Goal
from smallprint.searching.space import Space
from smallprint.spec.ladder_file import read_ladder
ladder = read_ladder("digits")
Space(ladder, ladder.rungs[0], Goal()).scaled(500)
print(sorted({"torch", "optuna", "scipy"} & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert told.stdout == "[]\n"
