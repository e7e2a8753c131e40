"""Ladders on images of any shape, and trials that answer without Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from smallprint.spec.contract import Contract
from smallprint.spec.dataset import DataPlace, DatasetFacts
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Shape

MNIST: tuple[Shape, int] = ((1, 28, 28), 10)
DIGITS: tuple[Shape, int] = ((1, 8, 8), 10)
COLOURS: tuple[Shape, int] = ((3, 32, 32), 100)
ODD: tuple[Shape, int] = ((2, 9, 13), 3)
SIZES = (MNIST, DIGITS, COLOURS, ODD)

START = "after conv3: batchnorm relu; conv3-8,pad=1 conv3-12 maxpool conv3-16,pad=1 conv3-16,pad=1,skip gap conv1-{}"
RECIPE = "sgd lr=0.1 momentum=0.9"


def ladder(
    shape: Shape,
    classes: int,
    *networks: str,
    contract: dict[str, object] | None = None,
    recipes: Sequence[dict[str, object]] = (),
) -> Ladder:
    """A ladder on data of that shape, a rung per network: `one`, `two`, ...; without any, a plain one."""
    facts = DatasetFacts(
        name="photos", title="", input_shape=shape, classes=tuple(map(str, range(classes))), train=6_000, test=1_000
    )
    names = ("one", "two", "three", "four")
    said = [*recipes, *({} for _ in names)]
    rungs = tuple(
        Rung(
            name=names[place],
            target="",
            network=Network.parse(network.format(classes)),
            recipe=Recipe.parse({"optimiser": RECIPE, **said[place]}),
        )
        for place, network in enumerate(networks or (START,))
    )
    promise = {"accuracy": ">= 90%", **(contract or {})}
    return Ladder(
        name="mine", title="", data=DataPlace(said="photos"), facts=facts, contract=Contract.parse(promise), rungs=rungs
    )


class Answers:
    """A trial that hypothesis answers."""

    def __init__(self, data: st.DataObject, settled: dict[str, Any] | None = None) -> None:
        self._data, self._settled = data, settled or {}

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        return self._answer(name, st.sampled_from(choices))

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int:
        return int(self._answer(name, st.integers(0, (high - low) // step)) * step + low)

    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._answer(name, st.floats(low, high)))

    def _answer(self, name: str, answers: st.SearchStrategy[Any]) -> Any:
        return self._settled[name] if name in self._settled else self._data.draw(answers, label=name)


class Dice:
    """A trial that a seed answers, the same everywhere; `settled` genes are what they are said to be."""

    def __init__(self, seed: int, **settled: Any) -> None:
        self._random, self._settled = Random(seed), settled
        self.asked: dict[str, tuple[Any, ...]] = {}  # gene -> what it could have been

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        self.asked[name] = tuple(choices)
        return self._settled.get(name, choices[self._random.randrange(len(choices))])

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int:
        self.asked[name] = (low, high, step)
        return int(self._settled.get(name, low + step * self._random.randrange((high - low) // step + 1)))

    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked[name] = (low, high, log)
        share = self._random.random()
        drawn = low * (high / low) ** share if log else low + (high - low) * share
        return float(self._settled.get(name, min(max(drawn, low), high)))
