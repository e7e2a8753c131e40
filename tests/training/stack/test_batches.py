from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from smallprint.spec.recipe import Recipe
from smallprint.training import philox
from smallprint.training.augment import augment
from smallprint.training.data import Dataset
from smallprint.training.draws import Draws
from smallprint.training.stack.batches import Batches, Images

AUGMENTS = ["none", "rotate=9deg shift=1px fill=0.5", "brightness=30% contrast=20%; shear=5deg interpolation=nearest"]


def _recipes(augment: str) -> list[Recipe]:
    """Two that differ in the strength of their augmentation."""
    stronger = augment.replace("9deg", "30deg").replace("20%", "60%")
    return [Recipe.parse({"optimiser": "sgd lr=0.1", "augment": words}) for words in (augment, stronger)]


@pytest.mark.parametrize("augmentation", AUGMENTS)
@pytest.mark.parametrize("floats", [False, True])
def test_each_training_sees_its_own_order_and_changes(digits: Dataset, augmentation: str, floats: bool) -> None:
    if floats:
        digits = replace(digits, train_images_NCHW=(digits.train_images_NCHW / 255).astype(np.float32))
    recipes = _recipes(augmentation)
    draws = [Draws.of(seed, 2, 1438, recipe) for seed, recipe in enumerate(recipes)]
    batches = Batches(Images(digits, torch.device("cpu")), recipes)
    batches.begin([Draws.of(9, 9, 1438, recipe) for recipe in recipes])  # what an epoch before it left plays no part
    batches.begin(draws)
    images, labels = batches.at(torch.arange(30, 47))
    assert images.shape == (17, 2, 8, 8)
    mean, deviation = (float(value[0]) for value in digits.mean_and_deviation)
    for index, drawn in enumerate(draws):
        chosen = drawn.order[30:47]
        greys = torch.from_numpy(digits.train_images_NCHW[chosen]).float() / (1 if floats else 255)
        expected = (augment(greys, drawn.changes, 30) - mean) / deviation
        torch.testing.assert_close(images[:, index : index + 1], expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_array_equal(labels[:, index].numpy(), digits.train_labels_N[chosen])
    low, high = batches.key
    assert [(int(a), int(b)) for a, b in zip(low, high, strict=True)] == [philox.halves_of(d.key) for d in draws]


def test_the_tensors_of_an_epoch_stay_where_they_are(digits: Dataset) -> None:
    recipes = _recipes(AUGMENTS[1])
    batches = Batches(Images(digits, torch.device("cpu")), recipes)
    key = batches.key[0]
    batches.begin([Draws.of(seed, 0, 1438, recipe) for seed, recipe in enumerate(recipes)])
    assert key.any()
