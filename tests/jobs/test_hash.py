"""A run's hash covers all that can change its numbers, and nothing else; no field is named by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smallprint.jobs.job import Job
from smallprint.results.runs import Environment, Run, Stretch
from smallprint.spec.contract import Contract
from smallprint.spec.dataset import DataPlace, DatasetFacts, Origin
from smallprint.spec.ladder import Ladder, Published, Rung
from smallprint.spec.network import After, Every, Layer, Network, Operation, Options
from smallprint.spec.recipe import (
    LOSSES,
    OPTIMISERS,
    SAMPLINGS,
    Adam,
    AdamW,
    Augment,
    CrossEntropy,
    Distilled,
    Ema,
    Even,
    Hard,
    Muon,
    Recipe,
    Sgd,
)
from smallprint.spec.schedule import SCHEDULES, Constant, Cosine, OneCycle, Plateau, Step
from smallprint.training.data import Dataset

NETWORK = """
every conv3: pad=1
after conv3: batchnorm leakyrelu=0.1 dropout=5%
conv3-8 maxpool conv3-8,groups=2 gap conv1-10
"""
RECIPE = Recipe.parse({"optimiser": "sgd lr=0.1", "schedule": "step every=2", "augment": "rotate=5deg"})
FACTS = DatasetFacts(name="x", title="X", input_shape=(1, 8, 8), classes=tuple("0123456789"), train=9, test=9)


def job(network: str | Network = NETWORK, recipe: Recipe = RECIPE, facts: DatasetFacts = FACTS, seed: int = 0) -> Job:
    network = Network.parse(network) if isinstance(network, str) else network
    rung = Rung(name="rung", target="", network=network, recipe=recipe)
    teacher = Rung(name="teacher", target="", network=Network.parse("conv3-9 gap conv1-10"), recipe=RECIPE)
    other = replace(teacher, name="other", recipe=replace(RECIPE, batch=9))
    contract = Contract.parse({"accuracy": ">= 20%"})
    place = DataPlace(said=facts.name)
    return Job(
        ladder=Ladder(name="l", title="L", data=place, facts=facts, contract=contract, rungs=(rung, teacher, other)),
        rung=rung,
        seed=seed,
    )


def hashed(*what: Any, data: str = "d" * 64, **named: Any) -> str:
    return job(*what, **named).hash(data)


def compared(kind: Any) -> Iterator[Field[Any]]:
    """The fields by which two values of a dataclass are equal or not."""
    return (item for item in fields(kind) if item.compare)


def changed(one: Any, other: Any) -> set[str]:
    """Every field, on the way down to the values that differ."""
    if is_dataclass(one) and type(one) is type(other):
        found = set()
        for item in compared(one):
            if getattr(one, item.name) != getattr(other, item.name):
                inside = changed(getattr(one, item.name), getattr(other, item.name))
                found |= {f"{type(one).__name__}.{item.name}", *inside}
        return found
    if isinstance(one, tuple) and len(one) == len(other):
        return set().union(*(changed(a, b) for a, b in zip(one, other, strict=True)))
    return set()


# All that can change its numbers

NETWORKS = [  # two of each differ in one value
    ("gap conv1-10", "gap conv1-10 relu"),
    ("conv3-8 gap conv1-10", "every conv3: pad=1; conv3-8 gap conv1-10"),
    ("conv3-8 gap conv1-10", "after conv3: relu; conv3-8 gap conv1-10"),
    ("maxpool gap conv1-10", "avgpool2 gap conv1-10"),
    ("conv3-8 gap conv1-10", "conv5-8 gap conv1-10"),
    ("conv3-8 gap conv1-10", "conv3-9 gap conv1-10"),
    ("conv3-8 relu gap conv1-10", "conv3-8 silu gap conv1-10"),
    ("conv3-8 dropout=5% gap conv1-10", "conv3-8 dropout=6% gap conv1-10"),
    ("conv3-8 batchnorm gap conv1-10", "conv3-8 batchnorm,noscale gap conv1-10"),
    ("every conv3: pad=1; conv3-8 conv1-8 gap linear-10", "every conv: pad=1; conv3-8 conv1-8 gap linear-10"),
    ("every conv3: pad=1; conv3-8 gap conv1-10", "every conv3: pad=2; conv3-8 gap conv1-10"),
    ("after conv3: relu; conv3-8 conv1-8 gap linear-10", "after conv: relu; conv3-8 conv1-8 gap linear-10"),
    ("after conv3: relu; conv3-8 gap conv1-10", "after conv3: gelu; conv3-8 gap conv1-10"),
    ("conv3-8 gap conv1-10", "conv3-8,pad=1 gap conv1-10"),
    ("conv3-8 gap conv1-10", "conv3-8,stride=2 gap conv1-10"),
    ("conv3-8 conv3-8 gap conv1-10", "conv3-8 conv3-8,groups=2 gap conv1-10"),
    ("conv3-8 gap conv1-10", "conv3-8,bias gap conv1-10"),
    ("after conv3: relu; conv3-8 gap conv1-10", "after conv3: relu; conv3-8,bare gap conv1-10"),
    ("conv3-8 conv1-8 gap conv1-10", "conv3-8 conv1-8,skip gap conv1-10"),
    ("conv3-8 conv1-8 gap conv1-10", "conv3-8 conv1-8,times=2 gap conv1-10"),
]
PARTS = (  # of a recipe; from every value of each, another one is made
    Sgd(lr=0.1, momentum=0.5), Adam(lr=0.1), AdamW(lr=0.1), Muon(lr=0.1, momentum=0.4, sgd_lr=0.1, sgd_momentum=0.4),
    Constant(), Step(every=3), OneCycle(peak=0.2), Cosine(warmup=10.0, tail=10.0), Plateau(),
    Augment(rotate=10.0, fill=0.5), Ema(decay=0.9), CrossEntropy(smoothing=0.1),
    Distilled(teacher="teacher", share=50.0), Even(), Hard(),
)  # fmt: skip


def another(value: Any, item: Field[Any]) -> Any:
    """A different value that the field may have."""
    unit = item.metadata["unit"]
    if unit == "rung":
        return "other"
    if isinstance(unit, tuple):
        return next(choice for choice in unit if choice != value)
    if isinstance(value, bool | int):
        return not value if isinstance(value, bool) else value + 1
    return value / 2 if value else 0.25


def recipe_of(part: Any) -> Recipe:
    """A recipe with this part in its place."""
    kinds = {
        "optimiser": OPTIMISERS.values(),
        "schedule": SCHEDULES.values(),
        "loss": LOSSES.values(),
        "sampling": SAMPLINGS.values(),
        "average": [Ema],
    }
    place = next((place for place, known in kinds.items() if type(part) in known), "augment")
    said: dict[str, Any] = {place: (part,) if place == "augment" else part}
    return replace(RECIPE, **said)


def test_every_field_of_the_network_changes_the_hash() -> None:
    touched: set[str] = set()
    for one, other in NETWORKS:
        touched |= changed(Network.parse(one), Network.parse(other))
        assert hashed(one) != hashed(other), (one, other)
    kinds = (Network, Every, After, Layer, Options, Operation)
    known = {f"{kind.__name__}.{item.name}" for kind in kinds for item in compared(kind)}
    assert touched == known, f"no pair of networks differs in {sorted(known - touched)}"


def test_every_field_of_the_recipe_changes_the_hash() -> None:
    named = (*OPTIMISERS.values(), *SCHEDULES.values(), *LOSSES.values(), *SAMPLINGS.values())
    assert {type(part) for part in PARTS} == {*named, Augment, Ema}
    hashes = {hashed(NETWORK, recipe_of(part)) for part in PARTS}
    assert len(hashes) == len(PARTS)
    for part in PARTS:
        for item in compared(part):
            other = replace(part, **{item.name: another(getattr(part, item.name), item)})
            assert hashed(NETWORK, recipe_of(other)) != hashed(NETWORK, recipe_of(part)), (part, item.name)
    others: dict[str, Any] = {
        "optimiser": Sgd(lr=0.2), "schedule": Constant(), "batch": 127, "epochs": 16, "sampling": Hard(), "augment": (),
        "average": Ema(decay=0.5), "loss": CrossEntropy(smoothing=0.5),
    }  # fmt: skip
    assert others.keys() == {item.name for item in compared(Recipe)}
    assert len({hashed(NETWORK, replace(RECIPE, **{name: value})) for name, value in others.items()}) == len(others)


def test_every_image_label_and_seed_changes_the_hash(digits: Dataset) -> None:
    arrays = {item.name for item in fields(Dataset)} - {"facts", "found"}
    hashes = {hashed(data=digits.fingerprint), hashed(data=digits.fingerprint, seed=1)}
    for name in arrays:
        array = getattr(digits, name)
        other = array.copy()
        other.flat[-1] = (other.flat[-1] + 1) % 10
        turned = np.concatenate([array[1:], array[:1]])  # the same in another order
        for value in (other, turned, array.astype(np.int32), array[:-1]):
            changed_data: dict[str, Any] = {name: value}
            hashes.add(hashed(data=replace(digits, **changed_data).fingerprint))
    assert len(hashes) == 2 + 4 * len(arrays)
    assert hashed(facts=replace(FACTS, input_shape=(1, 9, 9))) != hashed()


# And nothing else


@pytest.mark.parametrize(
    "text",
    [
        NETWORK.replace("\n", "   # a comment\n"),
        "every conv3:   pad=1 ;after conv3: batchnorm leakyrelu=0.10 dropout=5.0%\nconv3-8\n\n\tmaxpool2 "
        "conv3-8,groups=2 gap\nconv1-10",
        "after conv3: batchnorm leakyrelu=0.1 dropout=5%; conv3-8,pad=same maxpool conv3-8,pad=1,groups=2,nobias gap "
        "conv1-10,stride=1,bare",
    ],
)
def test_other_words_for_the_same_network_have_the_same_hash(text: str) -> None:
    assert hashed(text) == hashed()


def test_no_other_field_of_rung_ladder_and_data_changes_the_hash(digits: Dataset) -> None:
    mine = job()
    rungs: dict[str, Any] = {"name": "other", "target": "Why not.", "published": Published(parameters=7)}
    assert rungs.keys() | {"network", "recipe"} == {item.name for item in fields(Rung)}
    for name, value in rungs.items():
        rung = replace(mine.rung, **{name: value})
        assert replace(mine, rung=rung, ladder=replace(mine.ladder, rungs=(rung,))).hash("d" * 64) == hashed()
    facts: dict[str, Any] = {
        "name": "y", "title": "Y", "classes": tuple("abcdefghij"), "train": 8, "test": 8,
        "origin": Origin(files={}, mirrors=()),
    }  # fmt: skip
    assert facts.keys() | {"input_shape"} == {item.name for item in fields(DatasetFacts)}
    second = replace(mine.rung, name="second", recipe=replace(RECIPE, epochs=99))
    ladders: dict[str, Any] = {
        "name": "other", "title": "Other", "data": DataPlace(said="elsewhere", folder=Path("there")),
        "facts": replace(FACTS, **facts), "contract": Contract.parse({"accuracy": ">= 99%", "parameters": "< 9"}),
        "rungs": (second, mine.rung),
    }  # fmt: skip
    assert ladders.keys() == {item.name for item in fields(Ladder)}
    for name, value in ladders.items():
        assert replace(mine, ladder=replace(mine.ladder, **{name: value})).hash("d" * 64) == hashed()
    moved = replace(digits, found="elsewhere", facts=replace(digits.facts, title="moved"))
    assert moved.fingerprint == digits.fingerprint


def test_a_stored_run_has_its_hash_from_network_recipe_data_and_seed_alone() -> None:
    """Not from its folder, machine, device or threads, nor from what came of it."""
    here = Environment(smallprint="0", python="3", torch="2", numpy="1", platform="x", device="cpu", threads=1)
    run = Run(
        ladder="l", rung="r", seed=0, identity="a", data="d", parameters=1, macs=1, planned=1, environment=here
    )  # fmt: skip
    there = replace(here, device="cuda", threads=8, way="pytorch")
    others: dict[str, Any] = {
        "ladder": "other", "rung": "other", "seed": 1, "status": "failed", "reason": "x", "identity": "b", "data": "e",
        "parameters": 2, "macs": 2, "planned": 2, "environment": there, "epochs": (), "folder": Path("elsewhere"),
        "earlier": (Stretch(until=1, environment=there),),
    }  # fmt: skip
    assert others.keys() == {item.name for item in fields(Run)}
    assert {name for name, value in others.items() if replace(run, **{name: value}).hash != run.hash} == {
        "seed", "identity", "data",
    }  # fmt: skip
