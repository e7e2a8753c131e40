from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smallprint.spec.errors import NotationError, SmallprintError
from smallprint.spec.notation import LARGEST
from smallprint.spec.recipe import Adam, AdamW, Augment, CrossEntropy, Distilled, Ema, Even, Hard, Muon, Recipe, Sgd
from smallprint.spec.schedule import Constant, Cosine, OneCycle, Plateau, Rates, Step

NUMBER = st.floats(min_value=0, allow_infinity=False)
BELOW_ONE = st.floats(0, 1, exclude_max=True)
BETWEEN = st.floats(0, 1, exclude_min=True, exclude_max=True)
PERCENT = st.floats(0, 50)
OPTIMISERS: st.SearchStrategy[Any] = st.one_of(
    st.builds(Sgd, lr=NUMBER, momentum=NUMBER, weight_decay=NUMBER),
    st.builds(Sgd, lr=NUMBER, momentum=st.floats(0.1, 1), nesterov=st.just(True)),
    *(
        st.builds(kind, lr=NUMBER, beta1=BELOW_ONE, beta2=BELOW_ONE, eps=NUMBER, weight_decay=NUMBER)
        for kind in (Adam, AdamW)
    ),
    st.builds(
        Muon,
        lr=NUMBER.filter(bool),
        momentum=BETWEEN,
        weight_decay=NUMBER,
        sgd_lr=NUMBER,
        sgd_momentum=BETWEEN,
        sgd_weight_decay=NUMBER,
    ),
)
SCHEDULES: st.SearchStrategy[Any] = st.one_of(
    st.just(Constant()),
    st.builds(Step, every=st.integers(1, LARGEST), times=NUMBER),
    st.builds(
        OneCycle, peak=NUMBER, warmup=PERCENT, div=st.floats(0.1, 1e9), final_div=st.floats(0.1, 1e9),
        low_momentum=BELOW_ONE, high_momentum=BELOW_ONE, steady_momentum=st.booleans(),
    ),
    st.builds(Cosine, warmup=PERCENT, tail=PERCENT, final=PERCENT),
    st.builds(
        Plateau, watch=st.sampled_from(("train-loss", "train-accuracy", "test-accuracy")), times=BELOW_ONE,
        patience=st.integers(0, LARGEST), threshold=NUMBER,
    ),
)  # fmt: skip
HALF = st.floats(0, 50)
GREYS = st.integers(0, 255).map(lambda grey: grey / 255) | st.floats(0, 1)
AUGMENTS = st.builds(
    Augment, rotate=PERCENT, shift=NUMBER, scale=PERCENT, shear=PERCENT, stretch=PERCENT, brightness=PERCENT,
    contrast=PERCENT, interpolation=st.sampled_from(("bilinear", "nearest")), fill=GREYS, fade=HALF, clean=HALF,
).filter(lambda stage: stage.warps or stage.recolours)  # fmt: skip
COUNTS = st.integers(1, LARGEST)
RECIPES = st.builds(
    Recipe, optimiser=OPTIMISERS, schedule=SCHEDULES, batch=COUNTS, epochs=COUNTS,
    sampling=st.just(Even())
    | st.builds(Hard, share=PERCENT, power=st.floats(0, 4), cap=st.floats(1, 1e6), until=PERCENT),
    augment=st.lists(AUGMENTS, max_size=3).map(tuple),
    average=st.none() | st.builds(Ema, decay=st.floats(0, 1, exclude_min=True, exclude_max=True)),
    loss=st.builds(CrossEntropy, smoothing=BELOW_ONE)
    | st.builds(
        Distilled, teacher=st.from_regex("[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True), each=st.booleans(),
        temperature=NUMBER.filter(bool), share=PERCENT.filter(bool), smoothing=BELOW_ONE,
    ),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(RECIPES)
def test_a_recipe_survives_being_written_and_read(recipe: Recipe) -> None:
    said = recipe.sentences()
    assert tuple(said) == tuple(key for key in Recipe.KEYS if key != "sampling" or recipe.sampling != Even())
    assert Recipe.parse(said) == recipe
    assert Recipe.parse(said).sentences() == said


def test_a_recipe_needs_nothing_but_its_optimiser() -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.01 momentum=0.9"})
    assert recipe == Recipe(optimiser=Sgd(lr=0.01, momentum=0.9))
    assert recipe.sentences() == {
        "optimiser": "sgd lr=0.01 momentum=0.9", "schedule": "constant", "batch": 128, "epochs": 15,
        "augment": "none", "average": "none", "loss": "cross-entropy",
    }  # fmt: skip


def test_every_sentence_of_a_full_recipe_is_understood() -> None:
    said = {
        "optimiser": "adam lr=0.01",
        "schedule": "step every=6 times=0.1",
        "batch": 64,
        "epochs": 20,
        "augment": "brightness=40% contrast=40%; rotate=7deg shift=2px scale=10% shear=10deg stretch=5% fill=1/255",
        "average": "ema 0.998",
        "loss": "cross-entropy smoothing=0.1",
    }
    recipe = Recipe.parse(said)
    assert recipe.optimiser.rates == Rates(lr=0.01, momentum=0.9)
    assert recipe.schedule == Step(every=6)
    assert recipe.augment == (
        Augment(brightness=40, contrast=40),
        Augment(rotate=7, shift=2, scale=10, shear=10, stretch=5, fill=1 / 255),
    )
    assert (recipe.average, recipe.loss) == (Ema(decay=0.998), CrossEntropy(smoothing=0.1))


def test_what_muon_leaves_to_sgd_follows_its_rate_and_keeps_a_momentum_of_its_own() -> None:
    muon = Recipe.parse({"optimiser": "muon lr=0.01 sgd_lr=0.2"}).optimiser
    assert isinstance(muon, Muon)
    assert muon.rates == Rates(lr=0.01, momentum=0.95)
    assert muon.sgd_rates(Rates(lr=0.005, momentum=0.8)) == Rates(lr=0.1, momentum=0.9)


def test_hard_images_are_drawn_more_often_from_the_second_epoch_on_until_it_ends() -> None:
    said = {"optimiser": "sgd lr=0.1", "sampling": "hard cap=4 until=80%", "epochs": 15}
    recipe = Recipe.parse(said)
    assert recipe.sampling == Hard(cap=4, until=80)
    assert [epoch for epoch in range(15) if recipe.hard(epoch)] == list(range(1, 12))
    even = Recipe.parse(said | {"sampling": "even"})
    assert not any(map(even.hard, range(15)))
    assert "sampling" not in even.sentences()
    assert even == Recipe.parse({"optimiser": "sgd lr=0.1", "epochs": 15})


@pytest.mark.parametrize("text", ["none", "", "rotate=0deg", "fill=1/255; rotate=0deg", "interpolation=nearest"])
def test_an_augmentation_that_changes_nothing_is_none(text: str) -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1", "augment": text})
    assert recipe.augment == ()
    assert recipe.sentences()["augment"] == "none"


BAD: list[tuple[str, Any, str]] = [
    ("optimiser", "sdg lr=0.1", "no optimiser is called 'sdg'; known: sgd, adam, adamw, muon; did you mean 'sgd'?"),
    ("optimiser", "sgd momentum=0.9", "sgd needs lr=0.1"),
    ("optimiser", "sgd lr=0.1 nesterov", "nesterov needs a momentum, as in momentum=0.9"),
    ("optimiser", "adam lr=0.1 beta1=1", "beta1 and beta2 are below 1"),
    ("optimiser", "muon lr=0.01", "muon needs sgd_lr=0.1"),
    ("optimiser", "muon lr=0 sgd_lr=0.1", "the learning rate of muon is above 0, as in lr=0.005"),
    ("optimiser", "muon lr=0.01 sgd_lr=0.1 momentum=1", "momentum and sgd_momentum are between 0 and 1"),
    ("optimiser", 0.1, "optimiser is a sentence in quotes, not 0.1"),
    ("schedule", "onecycle warmup=30", "warmup needs its unit, as in 30%; found '30'"),
    ("schedule", "step", "step needs every=6"),
    ("schedule", "step every=0", "step needs every=1 or more epochs"),
    ("schedule", "plateau watch=test-acuracy", "watch is one of train-loss, train-accuracy, test-accuracy, not "
     "'test-acuracy'; did you mean 'test-accuracy'?"),
    ("batch", "128", "batch is a whole number from 1 to 999,999, not '128'"),
    ("batch", True, "batch is a whole number from 1 to 999,999, not True"),
    ("epochs", 0, "epochs is a whole number from 1 to 999,999, not 0"),
    ("epochs", 16**5000, "epochs is a whole number from 1 to 999,999, not a number of thousands of digits"),
    ("augment", "rotate=7", "rotate needs its unit, as in 7deg; found '7'"),
    ("augment", "scale=100%", "scale and stretch are below 100%: nothing would be left of the image"),
    ("augment", "stretch=100%", "scale and stretch are below 100%: nothing would be left of the image"),
    ("augment", "shear=90deg", "rotate is at most 180deg and shear below 90deg"),
    ("augment", "contrast=101%", "brightness and contrast are at most 100%"),
    ("augment", "rotate=7deg fade=101%", "fade and clean are at most 100% of the epochs together"),
    ("augment", "rotate=7deg fade=60% clean=50%", "fade and clean are at most 100% of the epochs together"),
    ("augment", "fill=2", "fill is a grey from 0 (black) to 1 (white), as in fill=1/255"),
    ("sampling", "hard share=101%", "share and until are at most 100%"),
    ("sampling", "hard until=101%", "share and until are at most 100%"),
    ("sampling", "hard power=5", "power is at most 4; with 0 all images are alike"),
    ("sampling", "hard cap=0.5", "cap is 1 or more, as a multiple of what images are due on average"),
    ("sampling", "random", "no sampling is called 'random'; known: even, hard"),
    ("average", "ema 1", "the decay of ema is between 0 and 1, as in: ema 0.998"),
    ("average", "swa", "no average is called 'swa'; known: ema"),
    ("loss", "cross-entropy smoothing=1", "smoothing is below 1"),
    ("loss", "hinge", "no loss is called 'hinge'; known: cross-entropy, distilled"),
    ("loss", "distilled", "distilled needs NAME-OF-A-RUNG"),
    ("loss", "distilled big temperature=0", "the temperature is above 0"),
    ("loss", "distilled big share=101%", "share is above 0% and at most 100%"),
    ("loss", "distilled big smoothing=1", "smoothing is below 1"),
    ("epoch", 15, "no recipe key is called 'epoch'; known: optimiser, schedule, batch, epochs, sampling, augment, "
     "average, loss; did you mean 'epochs'?"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), BAD, ids=[f"{key}-{at}" for at, (key, _, _) in enumerate(BAD)])
def test_a_bad_value_says_what_is_allowed(key: str, value: object, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        Recipe.parse({"optimiser": "sgd lr=0.1", key: value})
    assert caught.value.message == message


def test_all_faults_of_a_recipe_are_found_at_once() -> None:
    faults = Recipe.faults({"batch": 0, "schedule": "stp", "loss": "cross-entropy", "epochs": -1})
    assert [key for key, _ in faults] == ["batch", "schedule", "epochs", ""]
    assert faults[-1][1].message == 'a recipe needs an optimiser, such as: optimiser = "sgd lr=0.01 momentum=0.9"'


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.text()
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.builds(pow, st.just(16), st.just(5000))
    | st.text("0123456789.%=e/ "),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
WORDS = st.sampled_from((
    "sgd", "adam", "onecycle", "step", "cosine", "plateau", "ema", "cross-entropy", "lr=", "every=", "times=0",
    "0.1", "%",
    "peak=1e308", "warmup=100%", "tail=", "watch=", "rotate=", "deg", "fill=1/", "999999999", ";", "#", "=",
    "\x00", "\n", " ",
))  # fmt: skip


@settings(max_examples=600, deadline=None)
@example("batch", date(2026, 1, 1))
@example("augment", "rotate=" + "9" * 100_000 + "deg")
@example("schedule", "step " + "every=1 " * 5_000)
@given(
    st.sampled_from(Recipe.KEYS) | st.text(), ANYTHING | st.lists(WORDS).map("".join) | st.lists(WORDS).map(" ".join)
)
def test_no_value_makes_a_recipe_fail_in_any_other_way_than_with_a_message(key: str, value: object) -> None:
    try:
        recipe = Recipe.parse({"optimiser": "sgd lr=0.1", key: value})
        assert Recipe.parse(recipe.sentences()) == recipe
    except SmallprintError as fault:
        assert str(fault)
