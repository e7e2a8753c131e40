from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from smallprint.searching.goal import GOALS, Goal
from smallprint.spec.errors import SearchError
from smallprint.spec.ladder_file import read_ladder
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Shape, trace
from smallprint.training.model import build
from tests.spec.test_trace import a_fitting_network

RECIPE = Recipe.parse({"optimiser": "sgd lr=0.1", "epochs": 7})


def amount(name: str, network: str, shape: Shape = (1, 8, 8), **rate: float) -> float:
    return Goal(name=name, **rate).amount(trace(Network.parse(network), shape), RECIPE, train=1_000)


def test_parameters_and_multiply_adds_are_those_of_the_published_network() -> None:
    ladder = read_ladder("progressive")
    traced = ladder.trace(ladder.rung("steplr-adam"))
    assert Goal(name="parameters").amount(traced, RECIPE, train=1) == 7_864
    assert Goal(name="macs").amount(traced, RECIPE, train=1) == 1_045_312


def test_flash_is_a_byte_per_weight_and_eight_per_channel_that_is_rescaled() -> None:
    weights = 9 * 4 + 9 * 4 * 4 + 4 * 10
    channels = 4 + 2 * 4 + 10  # shared weights are kept once, what follows each of their applications twice
    network = "after conv3: batchnorm relu; conv3-4 conv3-4,pad=1,skip,times=2 gap conv1-10"
    assert amount("flash", network) == weights + 8 * channels
    assert amount("flash", "conv3-4 batchnorm relu gap") == 9 * 4 + 8 * (4 + 4)
    assert amount("flash", "depthwise3 gap flatten linear-10,bias") == 9 + 8 + 10 + 8 * 10


@settings(max_examples=60, deadline=None)
@given(a_fitting_network())
def test_flash_is_what_pytorch_s_kernels_hold_and_how_often_they_are_applied(fitting: tuple[Network, Shape]) -> None:
    network, shape = fitting
    traced = trace(network, shape)
    module = build(traced, 0).eval()
    channels = sum(8 * step.output_shape[0] for step in traced.steps if step.text.startswith("batchnorm"))
    weights = 0

    def applied(kernel: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal channels
        channels += 8 * output.shape[1]

    for kernel in module.modules():
        if isinstance(kernel, (nn.Conv2d, nn.Linear)):
            weights += kernel.weight.numel()
            kernel.register_forward_hook(applied)
    with torch.no_grad():
        module(torch.zeros(1, *shape))
    assert Goal(name="flash").amount(traced, RECIPE, train=1) == weights + channels


def test_the_work_of_a_training_is_what_pytorch_counts_for_all_its_images_and_a_share_for_every_value() -> None:
    network = Network.parse(
        "after conv3: batchnorm silu; conv3-4 conv3-4,pad=1,skip,times=2 maxpool conv3-6 gap conv1-10"
    )
    traced = trace(network, (1, 8, 8))
    images = torch.zeros(5, 1, 8, 8, requires_grad=True)  # so that the first layer has both of its products
    module, values, smooth = build(traced, 0), 0, 0

    def left(kernel: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal values, smooth
        values += output.numel() if isinstance(kernel, nn.Conv2d) else 0
        smooth += output.numel() if isinstance(kernel, nn.SiLU) else 0

    for kernel in module.modules():
        kernel.register_forward_hook(left)
    with FlopCounterMode(display=False) as counter:
        module(images).sum().backward()
    per_image = (counter.get_total_flops() / 2 + 72 * values + 82 * smooth) / 5
    assert Goal(name="seconds").amount(traced, RECIPE, train=1_000) == per_image * 7 * 1_000


def test_a_rate_makes_seconds_of_work() -> None:
    network = "conv3-4 gap conv1-10"
    work = amount("seconds", network)
    assert amount("seconds", network, rate=1e6) == work / 1e6
    assert Goal(name="seconds").said(work) == f"{work:,.0f} multiply-adds of training"
    assert Goal(name="seconds", rate=1e6).said(12.345) == "12.3 seconds"


def test_amounts_are_said_with_their_unit() -> None:
    said = [Goal(name=name).said(2866.0) for name in GOALS[:3]]
    assert said == ["2,866 parameters", "2,866 multiply-adds", "2,866 bytes of flash"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"name": "parms"},
         "no goal is called 'parms'; known: parameters, macs, flash, seconds; did you mean 'parameters'?"),
        ({"name": "seconds", "rate": 0.0}, "the rate of training is above 0 multiply-adds per second, not 0.0"),
        ({"name": "seconds", "rate": float("nan")},
         "the rate of training is above 0 multiply-adds per second, not nan"),
    ],
)  # fmt: skip
def test_a_goal_that_is_none_says_which_there_are(said: dict[str, float], message: str) -> None:
    with pytest.raises(SearchError) as fault:
        Goal(**said)  # type: ignore[arg-type]
    assert str(fault.value) == message
