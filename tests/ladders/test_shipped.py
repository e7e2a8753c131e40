"""The shipped ladders say what their sources did: sizes, layers, recipes, curves.

`layers.csv` holds the facts of the sources' notebooks: of each rung its parameters and, layer by layer, the output's
shape, the parameters (batch norm's included) and the receptive field.
"""

from __future__ import annotations

import csv
import json
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from smallprint.results.assessment import assess
from smallprint.spec.dataset import DATASETS
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.ladder_file import read_ladder, shipped
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.schedule import Clock, Watched
from smallprint.spec.trace import Trace
from smallprint.training.data import Dataset
from smallprint.training.model import build
from smallprint.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
CURVES = ROOT.parent / "shared" / "published" / "published_runs.csv"
WITHOUT_LOG = "three-steps:no-batchnorm"


class Fact(NamedTuple):
    """What a source's notebook says of one of its networks."""

    place: str  # ladder:rung
    parameters: int
    layers: list[tuple[str, int, int]]  # output shape, parameters, receptive field

    @property
    def ladder(self) -> Ladder:
        return read_ladder(self.place.split(":")[0])

    @property
    def rung(self) -> Rung:
        return self.ladder.rung(self.place.split(":")[1])

    @property
    def trace(self) -> Trace:
        return self.ladder.trace(self.rung)


def _facts() -> list[Fact]:
    with (Path(__file__).parent / "layers.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row, [layer.split("/") for layer in row["layers"].split()]) for row in csv.DictReader(file)]
    return [
        Fact(
            place=f"{row['ladder']}:{row['rung']}",
            parameters=int(row["parameters"]),
            layers=[(shape, int(parameters), int(sees)) for shape, parameters, sees in layers],
        )
        for row, layers in rows
    ]


FACTS = _facts()
every_rung = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.place)


def test_every_rung_of_the_five_sources_is_shipped_in_its_order() -> None:
    sources = [name for name in shipped() if read_ladder(name).rungs[0].published]
    found = [f"{name}:{rung.name}" for name in sources for rung in read_ladder(name).rungs]
    assert found == sorted((fact.place for fact in FACTS), key=lambda place: place.split(":")[0])
    for name in sources:
        assert (read_ladder(name).dataset, str(read_ladder(name).contract)) == (
            "mnist",
            "at least 99.4% test accuracy in each of the last 5 epochs, fewer than 8,000 parameters, at most 15 epochs",
        )


@every_rung
def test_a_rung_has_exactly_the_parameters_of_its_source_and_so_has_its_module(fact: Fact) -> None:
    assert fact.rung.published
    assert fact.trace.parameters == fact.rung.published.parameters == fact.parameters
    assert sum(parameter.numel() for parameter in build(fact.trace, seed=0).parameters()) == fact.parameters
    assert fact.trace.outputs == (16 if fact.parameters == 10_616 else 10)


@every_rung
def test_every_layer_has_the_shape_parameters_and_receptive_field_of_its_source(fact: Fact) -> None:
    found: list[tuple[str, int, int]] = []
    for step in fact.trace.steps:
        parameters = step.parameters + (found.pop()[1] if step.kind == "operation" else 0)
        found.append(("x".join(map(str, step.output_shape)), parameters, step.receptive_field))
    assert found == fact.layers


def test_the_small_networks_have_their_published_multiply_adds() -> None:
    ladder = read_ladder("progressive")
    assert {ladder.trace(rung).macs for rung in ladder.rungs} == {1_045_312}


# --- recipes ----------------------------------------------------------------------------------------------------------

TURNED = "rotate={}deg interpolation=nearest fill=1/255"
SHAKEN = "brightness=40% contrast=40%; rotate=7deg shift=2.8px scale=20% shear=10deg interpolation=nearest; "
PLAIN = {"optimiser": "sgd lr=0.01 momentum=0.9", "schedule": "constant", "batch": 128, "epochs": 15, "augment": "none"}
STEP_6, STEP_8 = {"schedule": "step every=6 times=0.1"}, {"schedule": "step every=8 times=0.1"}
LARGE_STEPS: dict[str, str | int] = {
    "optimiser": "sgd lr=0.19 momentum=0.9",
    "batch": 64,
    "augment": TURNED.format(7),
    **STEP_6,
}
RECIPES: dict[str, dict[str, str | int]] = {
    "six-models:dropout": {"augment": TURNED.format(7), "schedule": "plateau watch=test-accuracy patience=10"},
    "six-models:augmentation": {"augment": SHAKEN + TURNED.format(7), **STEP_8},
    "six-models:augmentation-7120": {"augment": SHAKEN + TURNED.format(7), **STEP_8},
    "skeleton-first:setup": {"epochs": 16},
    "skeleton-first:skeleton": {"epochs": 16},
    "skeleton-first:light": {"epochs": 16},
    "skeleton-first:final": {"epochs": 16, "augment": TURNED.format(6), **STEP_8},
    "onecycle:dropout-augmentation": {"augment": TURNED.format(6)},
    "onecycle:deeper": {"augment": TURNED.format(15)},
    "onecycle:onecycle": {"augment": TURNED.format(15), "schedule": "onecycle peak=0.1", "batch": 64},
    "onecycle:bonus": {"augment": TURNED.format(15), "schedule": "onecycle peak=0.1"},
    "progressive:augmentation": {"augment": TURNED.format(7)},
    "progressive:steplr-sgd": {"augment": TURNED.format(7), **STEP_6},
    "progressive:steplr-adam": {"optimiser": "adam lr=0.01", "augment": TURNED.format(7), **STEP_6},
    "progressive:steplr-adam-light-dropout": {"optimiser": "adam lr=0.01", "augment": TURNED.format(7), **STEP_6},
    "three-steps:vanilla": {"epochs": 20},
    "three-steps:rotation": {"augment": TURNED.format(7), "batch": 64, **STEP_6},
    "three-steps:rotation-lr-0.19": LARGE_STEPS,
    "three-steps:rotation-lr-0.19-7836": LARGE_STEPS,
}


@every_rung
def test_a_rung_is_trained_as_its_source_trained_it(fact: Fact) -> None:
    assert fact.rung.recipe == Recipe.parse({**PLAIN, **RECIPES.get(fact.place, {})})
    published = fact.rung.published
    assert published
    assert fact.place == WITHOUT_LOG or len(published.test) == len(published.train) == fact.rung.recipe.epochs


@pytest.mark.parametrize(
    ("place", "rates"),
    [
        ("skeleton-first:final", 8 * [0.01] + 8 * [0.001]),
        ("progressive:steplr-sgd", 6 * [0.01] + 6 * [0.001] + 3 * [0.0001]),
        ("onecycle:onecycle", [0.004, 0.015235, 0.043681, 0.076021, 0.097116, 0.099439, 0.095042, 0.086642]),
        ("onecycle:bonus", [0.004, 0.015240, 0.043696, 0.076041, 0.097127, 0.099437, 0.095035, 0.086631]),
    ],
)
def test_the_learning_rate_at_the_start_of_each_epoch_is_what_its_notebook_printed(
    place: str, rates: list[float]
) -> None:
    recipe = next(fact for fact in FACTS if fact.place == place).rung.recipe
    steps = -(-DATASETS["mnist"].train // recipe.batch)
    clocks = [Clock(steps * epoch, steps, recipe.epochs) for epoch in range(recipe.epochs)]
    found = [recipe.schedule.at(clock, recipe.optimiser.rates, []).lr for clock in clocks]
    assert found[: len(rates)] == pytest.approx(rates, rel=1e-4)


def test_replayed_over_its_published_curve_the_plateau_schedule_never_fires() -> None:
    rung = read_ladder("six-models").rung("dropout")
    assert rung.published
    history = [Watched(0.0, 0.0, percent / 100) for percent in rung.published.test]
    assert rung.recipe.schedule.at(Clock(0, 469, 15), rung.recipe.optimiser.rates, history).lr == 0.01


# --- what was published -----------------------------------------------------------------------------------------------


@every_rung
def test_the_best_of_a_published_curve_is_the_published_best(fact: Fact) -> None:
    published = fact.rung.published
    assert published
    if fact.place != WITHOUT_LOG:
        assert (published.best_train, published.best_test) == (max(published.train), max(published.test))


@pytest.mark.skipif(not CURVES.exists(), reason=f"the logs of the sources are not at {CURVES}")
def test_the_curves_are_the_logs_of_the_sources() -> None:
    logged: dict[str, list[tuple[float, float]]] = {}
    with CURVES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            epochs = logged.setdefault(f"{row['ladder']}:{row['rung']}", [])
            assert int(row["epoch"]) == len(epochs)
            epochs.append((float(row["train_accuracy"]), float(row["test_accuracy"])))
    shown = {
        fact.place: list(zip(published.train, published.test, strict=True))
        for fact in FACTS
        if (published := fact.rung.published)
    }
    assert shown.pop(WITHOUT_LOG) == []
    assert shown == logged


def test_three_published_runs_keep_the_contract_and_no_other() -> None:
    verdicts = {fact.place: assess(fact.ladder, fact.rung, []).published for fact in FACTS}
    assert {place: verdict.kept for place, verdict in verdicts.items() if verdict} == {
        fact.place: fact.place
        in ("six-models:augmentation-7120", "progressive:steplr-adam", "progressive:steplr-adam-light-dropout")
        for fact in FACTS
    }


def test_a_record_of_a_shipped_ladder_is_of_the_networks_and_recipes_that_are_shipped() -> None:
    recorded = [name for name in shipped() if (ROOT / "records" / f"{name}.json").exists()]
    assert "progressive" in recorded
    for name in recorded:
        said = json.loads((ROOT / "records" / f"{name}.json").read_text(encoding="utf-8"))
        for entry in said["rungs"]:
            rung = read_ladder(name).rung(entry["name"])
            assert (Network.parse(entry["network"]), Recipe.parse(entry["recipe"])) == (rung.network, rung.recipe)


# --- training ---------------------------------------------------------------------------------------------------------


@every_rung
def test_a_step_of_training_changes_the_weights_and_leaves_numbers(fact: Fact) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, size=(12, 1, 28, 28), dtype=np.uint8)
    labels = np.arange(12, dtype=np.int64) % 10
    few = Dataset(
        facts=fact.ladder.facts,
        train_images_NCHW=images[:8], train_labels_N=labels[:8], test_images_NCHW=images[8:], test_labels_N=labels[8:],
    )  # fmt: skip
    trainer = Trainer(fact.trace, fact.rung.recipe, few, seed=0, threads=1)
    before = trainer.weights()
    epoch = next(iter(trainer))
    assert (epoch.train_total, epoch.test_total) == (8, 4)
    assert isfinite(epoch.train_loss)
    assert isfinite(epoch.test_loss)
    assert any(not np.array_equal(before[name], after) for name, after in trainer.weights().items())
