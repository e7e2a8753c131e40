from __future__ import annotations

from math import prod

import pytest
import torch
from torch import Tensor

from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import trace
from smallprint.training.data import Dataset
from smallprint.training.native.plan import plan
from smallprint.training.native.state import State
from smallprint.training.stack import networks
from smallprint.training.stack.batches import Images
from smallprint.training.stack.engine import Engine
from smallprint.training.stack.memory import bytes_needed, traffic

NETWORKS = [
    "after conv3: batchnorm relu dropout=5%; conv3-8,pad=1 conv3-16,pad=1 maxpool conv1-8 relu conv3-12 gap conv1-10",
    "conv3-8,pad=1 silu avgpool2 depthwise3,pad=1,skip,times=2 tanh dropout2d=10% flatten linear-10,bias",
]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kernel", ["grouped", "unfolded"])
def test_what_a_step_keeps_for_its_way_back_fits_into_the_estimate(
    digits: Dataset, network: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "fastest", lambda *_: kernel)
    traced = trace(Network.parse(network), (1, 8, 8), 10)
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1", "batch": 32})
    engine = Engine(
        traced, plan(traced), [recipe] * 3, Images(digits, torch.device("cpu")), [State.of(plan(traced))] * 3, 0,
        precision=torch.float32,
    )  # fmt: skip
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        engine.train(32)
    estimate = bytes_needed(traced, 32, 3, images=0)
    assert sum(kept.values()) < estimate < 6 * sum(kept.values())


def test_twice_as_many_networks_or_images_take_twice_as_much() -> None:
    traced = trace(Network.parse(NETWORKS[0]), (1, 28, 28), 10)
    assert bytes_needed(traced, 128, 64) == 2 * bytes_needed(traced, 128, 32)
    one, two = (bytes_needed(traced, batch, 1, images=0) - 20 * traced.parameters for batch in (64, 128))
    assert two == 2 * one
    assert bytes_needed(traced, 128, 1, value=2) < bytes_needed(traced, 128, 1)


def test_the_least_traffic_of_a_small_network_counted_by_hand() -> None:
    traced = trace(Network.parse("after conv3: relu; conv3-2 maxpool flatten linear-3"), (1, 6, 6), 3)
    image, map_, pooled = prod((1, 6, 6)), prod((2, 4, 4)), prod((2, 2, 2))
    forward = (image + map_) + (map_ + pooled) + (pooled + 3)
    back = (image + map_) + (map_ + pooled + map_) + (pooled + 3 + pooled)
    assert traffic(traced) == 4 * (forward + back)
