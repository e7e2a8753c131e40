from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from smallprint.spec.recipe import Distilled
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.eager import PyTorchStep, distilled
from smallprint.training.trainer import Trainer, train

NETWORK = "conv3-8 batchnorm relu dropout=10% conv3-6 gap conv1-10,bias"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def _trained(digits: Dataset, optimiser: str) -> Trainer:
    recipe = {"optimiser": optimiser, "batch": 64, "epochs": 2, "average": "ema 0.9"}
    return train(NETWORK, recipe, digits, threads=1, way="pytorch")


@pytest.mark.parametrize(
    "optimiser",
    ["sgd lr=0.05", "sgd lr=0.05 momentum=0.9 nesterov", "adam lr=0.01", "adamw lr=0.01", "muon lr=0.01 sgd_lr=0.05"],
)
def test_its_state_is_all_that_it_needs_to_go_on(digits: Dataset, optimiser: str) -> None:
    whole, begun, resumed = (_trained(digits, optimiser) for _ in range(3))
    list(whole)
    next(iter(begun))
    resumed.restore(begun.checkpoint())
    list(resumed)
    for name, vector in resumed.step.state().arrays().items():
        np.testing.assert_array_equal(vector, whole.step.state().arrays()[name], err_msg=name)


def test_floats_from_0_to_1_train_as_the_bytes_they_are(digits: Dataset) -> None:
    greys = [(images / 255).astype(np.float32) for images in (digits.train_images_NCHW, digits.test_images_NCHW)]
    floats = replace(digits, train_images_NCHW=greys[0], test_images_NCHW=greys[1])
    first, second = next(iter(_trained(digits, "sgd lr=0.05"))), next(iter(_trained(floats, "sgd lr=0.05")))
    assert first.train_loss == pytest.approx(second.train_loss, rel=1e-5)


def test_it_says_nothing_of_no_images(digits: Dataset) -> None:
    step = _trained(digits, "sgd lr=0.05").step
    assert isinstance(step, PyTorchStep)
    assert step.logits(digits.test_images_NCHW[:0]).shape == (0, 10)


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 100.0), (4.0, 90.0), (0.5, 10.0)])
def test_a_distilled_loss_is_that_of_hinton_image_by_image(temperature: float, share: float) -> None:
    random = np.random.default_rng(0)
    logits_NK, taught_NK = random.normal(size=(2, 7, 4)) * 3
    expected = 0.0
    for said, taught in zip(logits_NK, taught_NK, strict=True):
        p, q = (np.exp(x / temperature) / np.exp(x / temperature).sum() for x in (taught, said))
        expected += temperature**2 * float((p * np.log(p / q)).sum()) / 7
    part = share / 100
    loss = Distilled(teacher="x", temperature=temperature, share=share)
    found = distilled(torch.tensor(2.5), torch.tensor(logits_NK), torch.tensor(taught_NK), loss)
    assert found.item() == pytest.approx((1 - part) * 2.5 + part * expected)
