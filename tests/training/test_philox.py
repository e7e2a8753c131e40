from __future__ import annotations

import numpy as np
import pytest
import torch

from smallprint.spec.trace import Shape
from smallprint.training import philox
from smallprint.training.data import Dataset
from smallprint.training.draws import dropout_factor, dropout_threshold
from smallprint.training.native.plan import Dropout
from smallprint.training.trainer import train
from tests.training.native import oracle

KEY = 0x1234_5678_9ABC_DEF0


def _kept(shape: Shape, rate: float, *, key: int = KEY, first: int = 0, count: int = 4, index: int = 0) -> torch.Tensor:
    return philox.kept(shape, rate, philox.halves_of(key), torch.arange(first, first + count), index)


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("shape", [(5, 3, 4), (8, 1, 1), (1, 1, 1), (11, 6, 5)])
@pytest.mark.parametrize("rate", [0.01, 0.5, 0.999999])
def test_masks_are_those_of_the_generator_in_plain_python(shape: Shape, channels: bool, rate: float) -> None:
    planned = Dropout(rate=rate, channels=channels, mask=0, index=3, shape=shape)
    expected = oracle.kept(planned, range(7, 12), KEY)
    mine = philox.kept(shape, rate, philox.halves_of(KEY), torch.arange(7, 12), 3, channels=channels)
    np.testing.assert_array_equal(mine.numpy(), expected)


def test_a_flat_tensor_is_an_image_of_one_pixel() -> None:
    assert torch.equal(_kept((20,), 0.3), _kept((20, 1, 1), 0.3).flatten(1))


def test_words_use_all_bits_of_the_key_and_of_the_place() -> None:
    for key, first in ((0xFFFF_FFFF_FFFF_FFFF, 0), (1 << 63, 2**32 - 9), (0xFFFF_FFFF, 2**31)):
        planned = Dropout(rate=0.5, channels=False, mask=0, index=2, shape=(4, 3, 3))
        expected = oracle.kept(planned, range(first, first + 4), key)
        np.testing.assert_array_equal(_kept((4, 3, 3), 0.5, key=key, first=first, index=2).numpy(), expected)


def test_the_keys_of_many_trainings_draw_at_once_what_each_draws_alone() -> None:
    keys = [KEY, 0, 0xFFFF_FFFF_0000_0001]
    low, high = (torch.tensor(half).view(-1, 1, 1) for half in zip(*map(philox.halves_of, keys), strict=True))
    places = torch.arange(50, 56)
    for channels in (False, True):
        together = philox.kept((6, 5, 5), 0.4, (low, high), places, 1, channels=channels)
        alone = [philox.kept((6, 5, 5), 0.4, philox.halves_of(key), places, 1, channels=channels) for key in keys]
        assert torch.equal(together, torch.stack(alone))


def test_an_image_is_masked_alike_in_any_batch_and_otherwise_by_any_other_dropout_epoch_or_place() -> None:
    whole = _kept((8, 6, 6), 0.5, first=10, count=6)
    assert torch.equal(_kept((8, 6, 6), 0.5, first=13, count=2), whole[3:5])
    others = (
        _kept((8, 6, 6), 0.5, first=10, count=6, index=1),
        _kept((8, 6, 6), 0.5, first=10, count=6, key=KEY + 1),
        _kept((8, 6, 6), 0.5, first=11, count=6),
    )
    for other in others:
        assert 0.4 < (other == whole).double().mean().item() < 0.6


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.5, 0.9, 1.0])
def test_the_mean_of_what_is_kept_is_that_of_what_came(rate: float) -> None:
    dropped = dropout_threshold(rate) / 65536
    assert dropped == pytest.approx(rate, abs=2**-16)
    assert dropped < 1  # something is left to make up for the rest
    assert (1 - dropped) * dropout_factor(rate) == pytest.approx(1)


NETWORKS = {
    "dropout": "after conv3: batchnorm tanh dropout=1%; conv3-6,pad=1 avgpool2 conv3-6,pad=1,times=2 gap linear-10",
    "dropout2d": "after conv3: batchnorm tanh dropout2d=30%; conv3-6,pad=1 avgpool2 conv3-9 dropout=7% gap linear-10",
    "flat dropout": "conv3-6 tanh dropout=0% flatten dropout=20% linear-9 tanh dropout=3% linear-10,bias",
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_both_ways_of_training_drop_alike(digits: Dataset, network: str) -> None:
    """From the same seed: order, augmentation and dropout; an epoch of 36 steps, the last of them partial."""
    said = {"optimiser": "sgd lr=0.05 momentum=0.9", "batch": 40, "epochs": 1, "augment": "rotate=5deg shift=1px"}
    native, pytorch = (train(network, said, digits, seed=5, threads=1, way=way) for way in ("native", "pytorch"))  # type: ignore[arg-type]
    ours, theirs = next(iter(native)), next(iter(pytorch))
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
    assert abs(ours.train_correct - theirs.train_correct) <= 2
    mine, expected = native.step.state().arrays(), pytorch.step.state().arrays()
    for name, vector in expected.items():
        np.testing.assert_allclose(mine[name], vector, rtol=0, atol=2e-4 * np.abs(vector).max(initial=0), err_msg=name)
