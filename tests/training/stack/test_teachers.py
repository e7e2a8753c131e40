from __future__ import annotations

import numpy as np
import pytest

from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import trace
from smallprint.training.data import Dataset
from smallprint.training.draws import Draws
from smallprint.training.eager import PyTorchStep
from smallprint.training.model import build
from smallprint.training.native.plan import plan
from smallprint.training.stack import Stack, shared
from smallprint.training.teacher import Teacher

PUPIL = "conv3-4,pad=1 batchnorm tanh dropout=10% gap conv1-10,bias"
SAID = ("distilled wise share=70%", "distilled wise temperature=2 share=100% smoothing=0.1")
RECIPES = [
    Recipe.parse({"optimiser": "sgd lr=0.1 momentum=0.9", "batch": 100, "epochs": 1, "loss": said}) for said in SAID
]


def _teachers() -> list[Teacher]:
    traced = trace(Network.parse("conv3-8,pad=1 batchnorm tanh gap conv1-10,bias"), (1, 8, 8), 10)
    weights = [build(traced, seed).state_dict() for seed in (7, 8)]
    return [Teacher(trace=traced, weights={name: 3 * value.numpy() for name, value in one.items()}) for one in weights]


def test_each_member_learns_from_its_own_teacher_as_it_does_alone(digits: Dataset) -> None:
    traced = trace(Network.parse(PUPIL), (1, 8, 8), 10)
    stack = Stack(traced, RECIPES, digits, [0, 1], device="cpu", teachers=_teachers())
    ((*epochs,),) = list(stack)
    for seed, (recipe, teacher, epoch) in enumerate(zip(RECIPES, _teachers(), epochs, strict=True)):
        alone = PyTorchStep(traced, plan(traced), recipe, digits, seed, device="cpu", threads=1, teacher=teacher)
        alone.begin(Draws.of(seed, 0, 1438, recipe))
        for step in range(15):
            alone.train(100 * step, min(100, 1438 - 100 * step), recipe.optimiser.rates, step)
        assert epoch is not None
        assert epoch.train_loss == pytest.approx(alone.totals()[0] / 1438, rel=1e-5)
        mine = np.concatenate([stack.weights(seed)[name].ravel() for name, _ in alone.model.named_parameters()])
        np.testing.assert_allclose(mine, alone.state().parameters, atol=1e-4)


def test_a_member_that_leaves_takes_its_teacher_along(digits: Dataset) -> None:
    traced = trace(Network.parse(PUPIL), (1, 8, 8), 10)
    whole, parted = (Stack(traced, RECIPES, digits, [0, 1], device="cpu", teachers=_teachers()) for _ in range(2))
    list(whole)
    parted.drop(0)
    list(parted)
    np.testing.assert_allclose(
        parted.weights(1)["0.layer.weight"], whole.weights(1)["0.layer.weight"], atol=1e-5
    )  # fmt: skip


def test_pupils_of_other_teachers_share_no_stack() -> None:
    other = Recipe.parse({**RECIPES[0].sentences(), "loss": "distilled wiser"})
    assert shared(RECIPES[0]) == shared(RECIPES[1]) != shared(other)
