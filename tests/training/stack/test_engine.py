from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.schedule import Clock, Rates
from smallprint.spec.trace import trace
from smallprint.training.data import Dataset
from smallprint.training.draws import Draws
from smallprint.training.eager import PyTorchStep
from smallprint.training.native.plan import plan
from smallprint.training.stack.batches import Images
from smallprint.training.stack.engine import Engine
from smallprint.training.stack.update import Update

NETWORK = (
    "after conv3: batchnorm tanh dropout=25%; conv3-6,pad=1 avgpool2 conv3-6,pad=1,skip,times=2 depthwise3,pad=1 silu"
    " conv1-8,bias,groups=2 hardswish gelu dropout2d=25% flatten linear-12,bias"
)
# What two members train with; a third trains as the first.
RECIPES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "sgd": ({"optimiser": "sgd lr=0.1"}, {"optimiser": "sgd lr=0.03"}),
    "momentum and decay": (
        {"optimiser": "sgd lr=0.05 momentum=0.9"},
        {"optimiser": "sgd lr=0.02 momentum=0.5 weight_decay=0.01"},
    ),
    "nesterov": (
        {"optimiser": "sgd lr=0.05 momentum=0.9 nesterov"},
        {"optimiser": "sgd lr=0.02 momentum=0.5 nesterov weight_decay=0.1"},
    ),
    "adam": (
        {"optimiser": "adam lr=0.01"},
        {"optimiser": "adam lr=0.003 beta1=0.8 beta2=0.95 eps=1e-3 weight_decay=0.01"},
    ),
    "muon": (
        {"optimiser": "muon lr=0.01 sgd_lr=0.05"},
        {"optimiser": "muon lr=0.02 momentum=0.8 weight_decay=0.1 sgd_lr=0.1 sgd_momentum=0.7 sgd_weight_decay=0.01"},
    ),
    "adamw": ({"optimiser": "adamw lr=0.01"}, {"optimiser": "adamw lr=0.003 weight_decay=0.3"}),
    "label smoothing": (
        {"optimiser": "sgd lr=0.05", "loss": "cross-entropy smoothing=0.1"},
        {"optimiser": "sgd lr=0.05", "loss": "cross-entropy"},
    ),
    "average": (
        {"optimiser": "sgd lr=0.05 momentum=0.9", "average": "ema 0.8"},
        {"optimiser": "sgd lr=0.05 momentum=0.9", "average": "ema 0.6"},
    ),
    "augmentation": (
        {"optimiser": "sgd lr=0.05", "augment": "rotate=10deg shift=1px fill=0.5; brightness=20%"},
        {"optimiser": "sgd lr=0.05", "augment": "shear=5deg fill=0.5; contrast=40%"},
    ),
}


@pytest.mark.parametrize("said", RECIPES.values(), ids=RECIPES.keys())
def test_every_step_of_every_member_is_that_of_the_member_alone(
    digits: Dataset, said: tuple[dict[str, str], dict[str, str]]
) -> None:
    """Dropout, order and changes included; an epoch of 8 steps, the last on fewer images."""
    few = replace(digits, train_images_NCHW=digits.train_images_NCHW[:155], train_labels_N=digits.train_labels_N[:155])
    recipes = [Recipe.parse({"batch": 20, **one}) for one in (said[0], said[1], said[0])]
    traced = trace(Network.parse(NETWORK), digits.facts.input_shape, 10)
    planned, seeds = plan(traced), (3, 4, 5)
    alone = [
        PyTorchStep(traced, planned, recipe, few, seed, device="cpu", threads=1)
        for seed, recipe in zip(seeds, recipes, strict=True)
    ]
    images = Images(few, torch.device("cpu"))
    engine = Engine(traced, planned, recipes, images, [one.state() for one in alone], 0, precision=torch.float32)
    np.testing.assert_allclose(
        engine.logits(images.test_NCHW).numpy(),
        np.stack([one.logits(few.test_images_NCHW) for one in alone]),
        atol=1e-5,
    )
    draws = [Draws.of(seed, 0, 155, recipe) for seed, recipe in zip(seeds, recipes, strict=True)]
    rates = [
        [
            Rates(recipe.optimiser.rates.lr / (1 + step % 3), recipe.optimiser.rates.momentum * (1 - 0.02 * step))
            for step in range(8)
        ]
        for recipe in recipes
    ]
    numbers = np.array(
        [[Update.numbers(recipe, own[step], Clock(step, 8, 1)) for recipe, own in zip(recipes, rates, strict=True)]
         for step in range(8)]
    )  # fmt: skip
    engine.begin(draws, numbers.transpose(0, 2, 1))
    for one, drawn in zip(alone, draws, strict=True):
        one.begin(drawn)
    for step in range(8):
        count = min(20, 155 - 20 * step)
        engine.train(count)
        for one, own, state in zip(alone, rates, engine.states(), strict=True):
            one.train(20 * step, count, own[step], step)
            for name, vector in one.state().arrays().items():
                if name == "first" and one.recipe.optimiser.rates.momentum == 0:
                    continue  # PyTorch keeps none
                np.testing.assert_allclose(
                    state.arrays()[name], vector, rtol=0, atol=1e-5 * max(1, np.abs(vector).max()), err_msg=name
                )
    losses, correct = engine.totals()
    np.testing.assert_allclose(losses, [one.totals()[0] for one in alone], rtol=1e-5)
    np.testing.assert_array_equal(correct, [one.totals()[1] for one in alone])
    expected = np.stack([one.logits(few.test_images_NCHW) for one in alone])
    np.testing.assert_allclose(engine.logits(images.test_NCHW).numpy(), expected, atol=1e-4)


def test_what_the_logits_come_to_is_that_of_pytorch(digits: Dataset) -> None:
    traced = trace(Network.parse("gap conv1-10,bias"), (1, 8, 8), 10)
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1"})
    step = PyTorchStep(traced, plan(traced), recipe, digits, 0, device="cpu", threads=1)
    images = Images(digits, torch.device("cpu"))
    engine = Engine(traced, plan(traced), [recipe] * 2, images, [step.state()] * 2, 0, precision=torch.float32)
    logits, labels = torch.randn(2, 40, 12) * 10, torch.arange(40) % 10
    loss, correct = engine.judged(logits, labels)
    for k in range(2):
        expected = torch.nn.functional.cross_entropy(logits[k].double(), labels, reduction="sum").item()
        assert loss[k] == pytest.approx(expected, rel=1e-12)
        assert correct[k] == int((logits[k].argmax(1) == labels).sum())
