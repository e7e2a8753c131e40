from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from smallprint.searching.widths import Load, Scalable
from smallprint.spec.errors import NotationError
from smallprint.spec.ladder_file import read_ladder, shipped
from smallprint.spec.network import Layer, Network
from smallprint.spec.trace import Shape, trace
from tests.spec.test_trace import a_fitting_network


def parameters(shape: Shape, target: float) -> Load:
    return lambda network: trace(network, shape).parameters / target


def macs(shape: Shape, target: float) -> Load:
    return lambda network: trace(network, shape).macs / target


def one_wider(fitted: Network, network: Network, shape: Shape) -> Iterator[Network]:
    """What fits the image with a single width one more: not the last one, and none that others hang on."""
    own = [place for place, layer in enumerate(fitted.layers) if isinstance(layer, Layer) and layer.width]
    for place in own[:-1]:
        layer = fitted.layers[place]
        assert isinstance(layer, Layer)
        layers = list(fitted.layers)
        layers[place] = replace(layer, width=(layer.width or 0) + 1)
        wider = replace(fitted, layers=tuple(layers))
        with suppress(NotationError):
            if trace(wider, shape).outputs == trace(network, shape).outputs:
                yield wider


@settings(max_examples=200, deadline=None)
@given(a_fitting_network(), st.floats(1, 1e5), st.sampled_from((parameters, macs)))
@example(
    (Network.parse("conv3-6,groups=2 conv3-6,groups=3,pad=1,skip flatten linear-150,skip,times=2"), (2, 7, 7)),
    3e4,
    macs,
)
def test_any_network_grows_or_shrinks_to_just_below_a_target(
    fitting: tuple[Network, Shape], target: float, measure: Callable[[Shape, float], Load]
) -> None:
    network, shape = fitting
    traced = trace(network, shape)
    assume(len(traced.output_shape) == 1 or traced.output_shape[1:] == (1, 1))
    scalable = Scalable(network, shape, traced.outputs)
    load = measure(shape, target)
    fitted = scalable.fitted(load)
    if fitted is None:
        assert load(scalable.narrowest) > 1
        return
    assert trace(fitted, shape, traced.outputs).outputs == traced.outputs
    assert load(fitted) <= 1
    for wider in one_wider(fitted, network, shape):
        assert load(wider) > 1, "this would have fitted too"
    assert Network.parse(str(fitted)) == fitted


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_network_scaled_to_its_own_size_is_itself(name: str) -> None:
    ladder = read_ladder(name)
    shape = ladder.facts.input_shape
    for rung in ladder.rungs:
        own = ladder.trace(rung)
        assert Scalable(rung.network, shape, own.outputs).fitted(parameters(shape, own.parameters)) == rung.network


def scaled(text: str, target: int, shape: Shape = (1, 28, 28), classes: int = 10) -> str:
    fitted = Scalable(Network.parse(text), shape, classes).fitted(parameters(shape, target))
    assert fitted
    return fitted.line


def test_proportions_are_kept_and_the_last_width_is_the_number_of_classes() -> None:
    network = "conv3-100 conv3-200 gap conv1-10,bare"
    assert scaled(network, 1_000) == "conv3-6 conv3-14 gap conv1-10,bare"
    assert scaled(network, 100_000) == "conv3-73 conv3-148 gap conv1-10,bare"


def test_more_outputs_than_classes_become_as_many_as_there_are_classes() -> None:
    assert scaled("conv3-8 gap conv1-16", 19 * 4) == "conv3-4 gap conv1-10"
    assert scaled("conv3-8 gap flatten linear-16", 19 * 4) == "conv3-4 gap flatten linear-10"


def test_layers_that_are_added_up_have_one_width() -> None:
    line = scaled("conv3-20 conv3-20,pad=1,skip conv3-20,pad=1,times=2 gap conv1-10", 2_000)
    assert line == "conv3-10 conv3-10,pad=1,skip conv3-10,pad=1,times=2 gap conv1-10"


def test_groups_divide_what_they_group() -> None:
    line = scaled("conv3-20 conv3-30,groups=5 gap conv1-10", 520)
    assert line == "conv3-10 conv3-15,groups=5 gap conv1-10"


def test_a_network_without_free_widths_fits_or_does_not() -> None:
    network = Network.parse("gap conv1-10")
    assert Scalable(network, (1, 8, 8), 10).fitted(parameters((1, 8, 8), 10)) == network
    assert Scalable(network, (1, 8, 8), 10).fitted(parameters((1, 8, 8), 9)) is None


def test_no_width_goes_far_from_its_proportion() -> None:
    shape = (1, 28, 28)
    text = "after conv3: batchnorm relu; conv3-16 conv3-32 maxpool conv3-48 conv3-32 maxpool conv3-64 gap conv1-10"
    network = Network.parse(text)
    for target in range(300, 9_000, 150):
        fitted = Scalable(network, shape, 10).fitted(parameters(shape, target))
        assert fitted
        pairs = zip(network.layers, fitted.layers, strict=True)
        scales = [
            (now.width / before.width, 1 / before.width)
            for before, now in pairs
            if isinstance(now, Layer) and isinstance(before, Layer) and now.width and before.width and now.width > 3
        ]
        common = median(scale for scale, _ in scales[:-1]) if scales[:-1] else 1
        assert all(abs(scale - common) <= 2.01 * unit for scale, unit in scales[:-1]), fitted.line


def test_a_free_width_is_three_where_that_fits() -> None:
    network = "conv3-1 conv3-100 gap conv1-10"
    assert scaled(network, 700) == "conv3-3 conv3-18 gap conv1-10"
    assert scaled(network, 70) == "conv3-1 conv3-3 gap conv1-10"


def test_single_widths_fill_what_rounding_leaves() -> None:
    shape = (1, 28, 28)
    layers = "conv3-8,pad=1 conv3-10 maxpool conv3-12,pad=1 conv3-14 maxpool conv3-14 gap conv1-10"
    scalable = Scalable(Network.parse(f"after conv3: batchnorm relu; {layers}"), shape, 10)
    for target in range(1_500, 9_000, 250):
        fitted = scalable.fitted(parameters(shape, target))
        assert fitted
        assert 0.98 * target <= trace(fitted, shape).parameters <= target
