from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.searching.genes import Asked
from smallprint.searching.recipes import BATCHES, OPTIMISERS, Terms, asked_recipe
from smallprint.spec.recipe import AdamW, CrossEntropy, Distilled, Even, Hard, Muon, Recipe, Sgd
from smallprint.spec.schedule import Clock, Cosine
from tests.searching.spaces import Answers, Dice

TERMS = Terms(side=28, coloured=False, images=60_000, epochs=(15, 15), fill=0.0, teachers=())
USUAL = {
    "batch": 64, "pace": 1.0, "decay": 1e-4, "augment": 1.0, "shear": 0, "average": 0.5, "tail": 20, "warmup": 20,
    "hard": 0,
}  # fmt: skip


def made(optimiser: str = "sgd", terms: Terms = TERMS, **settled: Any) -> Recipe:
    return asked_recipe(Asked(Dice(0, **{**USUAL, **settled})), optimiser, terms)


@settings(max_examples=300, deadline=None)
@given(
    st.data(),
    st.sampled_from(OPTIMISERS),
    st.builds(
        Terms, side=st.integers(3, 300), coloured=st.booleans(), images=st.integers(1, 1_000_000),
        epochs=st.sampled_from(((15, 15), (5, 15), (1, 1))), fill=st.sampled_from((0.0, 1 / 255, 1.0)),
        teachers=st.sampled_from(((), ("large",), ("large", "larger"))),
    ),
)  # fmt: skip
def test_whatever_is_answered_is_a_recipe_that_reads_back(data: st.DataObject, optimiser: str, terms: Terms) -> None:
    recipe = asked_recipe(Asked(Answers(data)), optimiser, terms)
    assert Recipe.parse(recipe.sentences()) == recipe
    few, many = terms.epochs
    assert few <= recipe.epochs <= many
    assert recipe.teacher is None or recipe.teacher in terms.teachers
    assert isinstance(recipe.optimiser, {"sgd": Sgd, "adamw": AdamW, "muon": Muon}[optimiser])
    assert recipe.batch in BATCHES


def test_the_usual_recipe_is_the_one_that_has_worked() -> None:
    said = made(smoothing=0.0, fade=0, clean=0).sentences()
    assert said == {
        "optimiser": "sgd lr=0.1 momentum=0.9 nesterov weight_decay=0.0001",
        "schedule": "cosine warmup=20% tail=20% final=0.5%",
        "batch": 64,
        "epochs": 15,
        "augment": "rotate=7deg shift=1.51px scale=8%",
        "average": "ema 0.99787",
        "loss": "cross-entropy",
    }


def test_muon_leaves_to_sgd_what_sgd_alone_would_do_and_decays_its_matrices_in_proportion() -> None:
    said = made("muon", batch=32, decay=5e-4).sentences()["optimiser"]
    assert said == "muon lr=0.008 weight_decay=0.03 sgd_lr=0.0707 sgd_weight_decay=0.0005"


def test_rates_grow_with_the_square_root_of_the_batch_and_averages_keep_their_length() -> None:
    rates = {batch: made(batch=batch).optimiser.lr for batch in BATCHES}
    assert rates == {32: 0.0707, 64: 0.1, 128: 0.141}
    for batch in BATCHES:
        recipe = made(batch=batch)
        assert recipe.average
        assert 1 / (1 - recipe.average.decay) == pytest.approx(0.5 * 60_000 / batch, rel=0.01)


def test_an_average_over_less_than_two_steps_is_over_two() -> None:
    recipe = made(terms=replace(TERMS, images=20), average=0.05)
    assert recipe.average
    assert recipe.average.decay == 0.5


def test_augmentation_has_one_strength_and_fits_the_image() -> None:
    (weak,) = made(augment=0.5, fade=40, clean=20).augment
    assert (weak.rotate, weak.shift, weak.scale, weak.fade, weak.clean) == (3.5, 0.756, 4.0, 40.0, 20.0)
    assert made(augment=0.0).augment == ()
    (slanted,) = made(augment=0.5, shear=9).augment
    assert (slanted.rotate, slanted.shear) == (3.5, 9.0)
    (small,) = made(terms=replace(TERMS, side=8, fill=1.0)).augment
    assert (small.shift, small.fill, small.brightness) == (0.432, 1.0, 0.0)
    (coloured,) = made(terms=replace(TERMS, coloured=True)).augment
    assert coloured.brightness == coloured.contrast == 20.0


def test_hard_images_are_drawn_more_often_until_the_clean_epochs() -> None:
    recipe = made(clean=35, hard=60)
    assert recipe.sampling == Hard(share=60.0, power=1.0, until=65.0)
    (stage,) = recipe.augment
    for epoch in range(1, 15):
        assert bool(recipe.hard(epoch)) == (stage.strength(epoch, 15) > 0)
    assert made(clean=35).sampling == Even()


def test_the_rate_ends_low_for_as_long_as_the_tail_says() -> None:
    recipe = made(tail=35)
    assert isinstance(recipe.schedule, Cosine)
    base = recipe.optimiser.rates
    last = [recipe.schedule.at(Clock(step=step, steps_per_epoch=10, epochs=15), base, ()).lr for step in range(98, 150)]
    assert last == pytest.approx([0.0005] * 52)


def test_a_teacher_is_one_of_those_named_and_labels_that_do_not_count_are_not_smoothed() -> None:
    terms = replace(TERMS, teachers=("large", "larger"))
    taught = made(terms=terms, teacher="larger", temperature=4.0, share=100, smoothing=0.05)
    assert taught.loss == Distilled(teacher="larger", temperature=4.0, share=100.0)
    shared = made(terms=terms, teacher="large", temperature=2.0, share=90, smoothing=0.05)
    assert shared.loss == Distilled(teacher="large", temperature=2.0, share=90.0, smoothing=0.05)
    assert made(terms=terms, teacher="none", smoothing=0.05).loss == CrossEntropy(smoothing=0.05)


def test_no_gene_is_asked_for_where_there_is_no_choice() -> None:
    def genes(terms: Terms) -> set[str]:
        asked = Asked(Dice(0, teacher="large"))
        asked_recipe(asked, "sgd", terms)
        return set(asked.genes)

    assert genes(replace(TERMS, epochs=(5, 15))) - genes(TERMS) == {"epochs"}
    assert genes(replace(TERMS, teachers=("large",))) - genes(TERMS) == {"teacher", "temperature", "share"}
