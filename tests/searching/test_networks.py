from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.searching.genes import Asked
from smallprint.searching.networks import ACTIVATIONS, BLOCKS, SMALLEST, Traits, usual_halvings
from smallprint.searching.widths import Scalable
from smallprint.spec.network import Layer, Network
from smallprint.spec.trace import Shape, trace
from smallprint.training.native.plan import plan
from tests.searching.spaces import DIGITS, MNIST, SIZES, Answers

SIDES = st.tuples(st.integers(1, 4), st.integers(3, 70), st.integers(3, 70))


def line(traits: Traits, size: tuple[Shape, int] = MNIST) -> str:
    """The layers of a network, widths left out."""
    network = traits.network(*size)
    assert trace(network, *size).outputs == size[1]
    return " ".join(str(layer).replace(f"-{getattr(layer, 'width', 0)}", "", 1) for layer in network.layers)


@settings(max_examples=300, deadline=None)
@given(st.data(), SIDES, st.integers(2, 100), st.sampled_from(BLOCKS))
def test_whatever_is_answered_is_a_network_that_fits_the_image_and_is_trained_natively(
    data: st.DataObject, shape: Shape, classes: int, block: str
) -> None:
    traits = Traits.asked(Asked(Answers(data)), block, shape)
    for each in (traits, *traits.plainer()):
        network = each.network(shape, classes)
        traced = trace(network, shape, classes)
        assert traced.outputs == classes
        assert Network.parse(str(network)) == network
        planned = plan(traced)
        assert planned.parameters == traced.parameters
        assert planned.outputs == classes


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(SIZES), st.sampled_from(BLOCKS))
def test_what_is_plainer_needs_fewer_parameters_at_its_least(
    data: st.DataObject, size: tuple[Shape, int], block: str
) -> None:
    def least(traits: Traits) -> int:
        return trace(Scalable(traits.network(*size), *size).narrowest, *size).parameters

    traits = Traits.asked(Asked(Answers(data)), block, size[0])
    _, dense, plainest = traits.plainer()
    assert least(SMALLEST) < least(plainest) <= least(dense) <= least(traits)


@pytest.mark.parametrize(
    ("traits", "layers"),
    [
        (Traits(), "conv3,pad=1 maxpool conv3,pad=1 conv3 gap conv1,bare"),
        (Traits(halvings=2, first=2, middle=2),
         "conv3,pad=1 conv3 maxpool conv3,pad=1 conv3 maxpool conv3,pad=1 gap conv1,bare"),
        (Traits(halve="avgpool", pad="same"), "conv3,pad=1 avgpool2 conv3,pad=1 conv3,pad=1 gap conv1,bare"),
        (Traits(halve="stride", pad="none"), "conv3 conv3,stride=2 conv3 gap conv1,bare"),
        (Traits(halve="squeeze", pad="none"), "conv3 maxpool conv1 conv3 conv3 gap conv1,bare"),
        (Traits(stem="conv5 halved", halvings=2),
         "conv5,pad=2,stride=2 conv3,pad=1 maxpool conv3,pad=1 gap conv1,bare"),
        (Traits(block="skip", last=2),
         "conv3,pad=1 maxpool conv3,pad=1 conv3,pad=1,skip conv3,pad=1,skip gap conv1,bare"),
        (Traits(block="shared", last=2), "conv3,pad=1 maxpool conv3,pad=1 conv3,pad=1,skip,times=3 gap conv1,bare"),
        (Traits(block="separable", first=2),
         "conv3,pad=1 depthwise3 conv1 maxpool depthwise3,pad=1 conv1 depthwise3 conv1 gap conv1,bare"),
        (Traits(head="maps"), "conv3,pad=1 maxpool conv3,pad=1 conv3 conv3,bare gap"),
        (Traits(halvings=2, head="weighed", pad="same"),
         "conv3,pad=1 maxpool conv3,pad=1 maxpool conv3,pad=1 depthwise7 conv1,bare"),
        # a weight for each of 14 x 14 places would be many
        (Traits(head="weighed", pad="same"), "conv3,pad=1 maxpool conv3,pad=1 conv3,pad=1 gap conv1,bare"),
        (SMALLEST, "conv3,stride=2 gap conv1,bare"),
    ],
)  # fmt: skip
def test_each_trait_is_seen_in_the_layers(traits: Traits, layers: str) -> None:
    assert line(traits) == layers


def test_on_a_small_map_convolutions_are_padded_and_halvings_left_out() -> None:
    deep = Traits(halvings=4, first=2, middle=2, last=2, pad="none", head="maps")
    assert line(deep, DIGITS) == (
        "conv3 conv3 maxpool conv3,pad=1 conv3,pad=1 conv3,pad=1 conv3,pad=1 conv3,pad=1 conv3,pad=1 conv3,pad=1 "
        "conv3,pad=1 conv3,pad=1,bare gap"
    )


def test_norm_activation_and_dropout_follow_every_convolution_but_the_last() -> None:
    def header(**said: object) -> str:
        return str(Traits(**said).network(*MNIST).after[0])  # type: ignore[arg-type]

    assert header() == "after conv: batchnorm relu"
    assert header(norm="after", activation="leakyrelu", dropout=3) == "after conv: leakyrelu=0.1 batchnorm dropout=3%"
    assert header(scale="none", activation="gelu") == "after conv: batchnorm,noscale gelu"
    assert {header(activation=kind).split()[-1].split("=")[0] for kind in ACTIVATIONS} == set(ACTIVATIONS)


def test_widths_follow_a_parabola_over_the_depth() -> None:
    def widths(**said: float) -> list[int]:
        traits = Traits(halvings=2, first=2, middle=2, last=1, **said)  # type: ignore[arg-type]
        return [
            layer.width or 0 for layer in traits.network(*MNIST).layers if isinstance(layer, Layer) and layer.width
        ][:-1]

    assert widths() == [64] * 5
    assert widths(widen=4.0) == [64, 90, 128, 181, 256]
    assert widths(bulge=0.5) == [64, 38, 32, 38, 64]


@pytest.mark.parametrize(("side", "halvings"), [(8, 1), (9, 1), (16, 1), (28, 2), (32, 2), (64, 3), (224, 5)])
def test_images_are_halved_to_maps_of_about_six_pixels(side: int, halvings: int) -> None:
    assert usual_halvings((1, side, side)) == usual_halvings((3, side, 2 * side)) == halvings


def test_an_early_halving_makes_most_networks_cheaper_than_a_late_one() -> None:
    def macs(**said: object) -> int:
        traits = Traits(halvings=2, middle=2, last=2, **said)  # type: ignore[arg-type]
        return trace(traits.network(*MNIST), *MNIST).macs

    for how in ("maxpool", "avgpool", "stride"):
        assert macs(stem="conv3 halved", halve=how) < macs(first=1, halve=how) < macs(first=2, halve=how)
