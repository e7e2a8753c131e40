from __future__ import annotations

import pytest
import torch

from smallprint.spec.recipe import Recipe
from smallprint.spec.schedule import Clock, Rates
from smallprint.training.stack.update import Update

# Two trainings that differ in every number; PyTorch's optimiser beside each.
RULES = {
    "sgd": ("sgd lr=0.1", "sgd lr=0.02"),
    "momentum": ("sgd lr=0.1 momentum=0.9", "sgd lr=0.02 momentum=0.5 weight_decay=0.01"),
    "one without momentum": ("sgd lr=0.1", "sgd lr=0.02 momentum=0.5"),
    "nesterov": (
        "sgd lr=0.1 momentum=0.9 nesterov weight_decay=0.1",
        "sgd lr=0.05 momentum=0.8 nesterov weight_decay=0.2",
    ),
    "adam": ("adam lr=0.1", "adam lr=0.01 beta1=0.8 beta2=0.95 eps=1e-3 weight_decay=0.1"),
    "adamw": ("adamw lr=0.1", "adamw lr=0.01 beta1=0.8 beta2=0.95 eps=1e-3 weight_decay=0.3"),
}


def _reference(recipe: Recipe, parameter: torch.Tensor) -> torch.optim.Optimizer:
    said, word = recipe.optimiser, recipe.sentences()["optimiser"]
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[str(word).split()[0]]
    amounts = {"lr": said.lr, "weight_decay": said.weight_decay}
    if kind is torch.optim.SGD:
        amounts |= {"momentum": said.momentum, "nesterov": said.nesterov}  # type: ignore[union-attr]
    else:
        amounts |= {"betas": (said.beta1, said.beta2), "eps": said.eps}  # type: ignore[union-attr, dict-item]
    return kind([parameter], **amounts)  # type: ignore[no-any-return, arg-type]


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
def test_each_training_is_updated_as_pytorch_updates_it_alone(rules: tuple[str, str]) -> None:
    recipes = [Recipe.parse({"optimiser": rule, "average": "ema 0.9"}) for rule in rules]
    torch.manual_seed(0)
    parameters = torch.randn(2, 30)
    theirs = [row.clone().double().requires_grad_() for row in parameters]
    optimisers = [_reference(recipe, parameter) for recipe, parameter in zip(recipes, theirs, strict=True)]
    first, second = torch.zeros(2, 30), torch.zeros(2, 30)
    update = Update(recipes, (), torch.device("cpu"))
    for taken in range(12):
        gradient = torch.randn(2, 30)
        numbers = []
        for recipe, optimiser, parameter, own in zip(recipes, optimisers, theirs, gradient, strict=True):
            base = recipe.optimiser.rates
            rates = Rates(base.lr / (1 + taken % 3), base.momentum * (1 - 0.05 * (taken % 4)))
            group = optimiser.param_groups[0]
            group["lr"] = rates.lr
            if "momentum" in group:
                group["momentum"] = rates.momentum
            else:
                group["betas"] = (rates.momentum, group["betas"][1])
            parameter.grad = own.double()
            optimiser.step()
            numbers.append(Update.numbers(recipe, rates, Clock(taken, 4, 3)))
        update(parameters, gradient, first, second, torch.tensor(numbers).T)
        torch.testing.assert_close(parameters.double(), torch.stack([p.detach() for p in theirs]), atol=1e-5, rtol=1e-5)


def test_a_momentum_that_begins_late_is_that_of_pytorch() -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.05"})
    parameters, theirs = torch.ones(1, 5), torch.ones(5).requires_grad_()
    optimiser, update = torch.optim.SGD([theirs], 0.05), Update([recipe], (), torch.device("cpu"))
    first, second = torch.zeros(1, 5), torch.zeros(1, 5)
    for taken in range(6):
        momentum = 0.0 if taken in (0, 1, 4) else 0.9
        gradient = torch.randn(5)
        theirs.grad = gradient
        optimiser.param_groups[0]["momentum"] = momentum
        optimiser.step()
        numbers = Update.numbers(recipe, Rates(0.05, momentum), Clock(taken, 6, 1))
        update(parameters, gradient[None], first, second, torch.tensor([numbers]).T)
        torch.testing.assert_close(parameters[0], theirs.detach())


def test_an_average_begins_with_the_weights_of_the_first_step() -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.05", "average": "ema 0.9"})
    shares = [Update.numbers(recipe, Rates(0.05, 0.0), Clock(taken, 4, 1))[-1] for taken in range(3)]
    assert shares == pytest.approx([1.0, 0.1, 0.1])
