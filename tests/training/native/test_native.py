from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.schedule import Rates
from smallprint.spec.trace import Shape, trace
from smallprint.training import machine
from smallprint.training.data import Dataset
from smallprint.training.draws import Draws
from smallprint.training.eager import PyTorchStep
from smallprint.training.native import NativeStep, bands, compiler
from smallprint.training.native.compiler import Compiler, find_compiler
from smallprint.training.native.initial import initial_state
from smallprint.training.native.plan import plan
from smallprint.training.native.state import named
from smallprint.training.teacher import Teacher
from tests.spec.test_trace import a_fitting_network
from tests.training.native.networks import ALONE, KINKED, SHAPE, WHOLE_WINDOWS
from tests.training.native.oracle import (
    assert_same,
    case,
    case_without_ties,
    native,
    pytorch,
    smoothed,
)


@pytest.mark.parametrize("network", ALONE.values(), ids=ALONE.keys())
def test_a_step_is_that_of_pytorch_with_64_bits(network: str) -> None:
    found = case(network, SHAPE)
    assert_same(native(found), pytorch(found))


@pytest.mark.parametrize("network", KINKED.values(), ids=KINKED.keys())
def test_a_step_away_from_ties_is_that_of_pytorch_with_64_bits(network: str) -> None:
    found = case_without_ties(network, SHAPE)
    assert_same(native(found), pytorch(found))


@pytest.mark.parametrize("network", WHOLE_WINDOWS.values(), ids=WHOLE_WINDOWS.keys())
def test_a_maxpool_of_whole_windows_is_that_of_pytorch(network: str) -> None:
    found = case_without_ties(network, (2, 8, 8))
    assert_same(native(found), pytorch(found))


@pytest.mark.parametrize(
    "network",
    [
        "conv3-4 tanh conv3-5,pad=1 silu conv3-3 gap",
        "conv3-4 batchnorm tanh dropout=25% conv3-5,bias batchnorm silu conv5-3,pad=4,stride=2 tanh conv1-4 gap",
        "conv3-4,pad=1 batchnorm tanh avgpool2 conv2-6,stride=2,bias tanh batchnorm conv1-4 gap",
        "conv3-4 tanh conv3-4,pad=1,skip,times=2 tanh conv1-3 gap",
        "conv3-6 tanh depthwise3,pad=1 conv3-4,groups=2 gelu conv1-3 gap",
        "conv2-3 tanh conv3-4,stride=2 tanh conv1-3 gap",  # the last row is read by none
        "conv2-3 tanh conv2-4,stride=5 tanh conv1-3 gap",
        "conv1-4 tanh conv1-4,stride=2,pad=6,skip tanh conv1-3 gap",  # a row's gradient comes from bands far apart
        "conv1-4 batchnorm silu conv1-4,stride=2,pad=6,skip batchnorm gelu conv1-3,stride=2 gap",
    ],
)
def test_a_step_some_rows_at_a_time_is_that_of_pytorch(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_CACHE", 150)
    found = case(network, (1, 13, 12))
    assert_same(native(found), pytorch(found))


def test_a_maxpool_some_rows_at_a_time_is_that_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_CACHE", 150)
    found = case_without_ties(
        "conv3-4,pad=1 relu batchnorm dropout=25% dropout2d=25% maxpool conv3-5,pad=1 maxpool3 conv2-3,pad=1",
        (1, 12, 12),
    )
    assert_same(native(found), pytorch(found))


def test_weights_beyond_number_have_their_gradient_added_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_WEIGHTS", 10)
    found = case("conv3-3 tanh conv3-3,pad=1,times=2,bias silu gap linear-12,bias", SHAPE)
    assert_same(native(found), pytorch(found))


def test_of_equal_values_in_a_window_the_first_takes_all() -> None:
    for network in ("conv1-4 maxpool conv1-3", "conv1-4 maxpool3,stride=2 conv1-3"):
        for shape in (SHAPE, (2, 8, 8)):
            flat = case(network, shape)
            flat = replace(flat, images=flat.images // 128 * 128)  # two greys: nearly every window holds equal values
            assert_same(native(flat), pytorch(flat))


@pytest.mark.parametrize("size", [17, 20])
def test_a_kernel_larger_than_a_register_tile_is_that_of_pytorch(size: int) -> None:
    found = case(f"conv3-2,pad=1 conv{size}-3,pad=2 conv1-4", (1, 20, 20))
    assert_same(native(found), pytorch(found))


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 40])
def test_any_number_of_images_makes_a_batch(count: int) -> None:
    found = case("conv3-5 batchnorm tanh avgpool2 dropout=25% flatten linear-12,bias", SHAPE, count)
    for threads in (1, 3):
        assert_same(native(found, threads=threads), pytorch(found))


def test_a_batch_of_one_value_per_channel_is_normalised_as_in_a_test() -> None:
    found = case("conv3-5 gap batchnorm tanh linear-4", SHAPE, count=1)
    assert_same(native(found), pytorch(found))


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_label_smoothing_is_that_of_pytorch(smoothing: float) -> None:
    found = case("conv3-5 tanh gap linear-12,bias", SHAPE, smoothing=smoothing)
    assert_same(native(found), pytorch(found))


@pytest.mark.parametrize("flag", ["-mno-avx512f", "-mno-avx"])
def test_narrower_vectors_compute_the_same(flag: str) -> None:
    try:
        narrow = Compiler.of(find_compiler().command, flag)
    except compiler.NativeError:
        pytest.skip(f"the compiler of this machine does not know {flag}")
    network = (
        "after conv3: batchnorm tanh dropout=25%; conv3-5,pad=1 conv3-5,pad=1,skip,times=2 gelu avgpool3,stride=2"
        " silu depthwise3,pad=1,stride=2,bias conv1-9,bias dropout2d=25% gap linear-12,bias"
    )
    found = case(network, SHAPE, count=21)
    exact = pytorch(found)
    for threads in (1, 2):
        assert_same(native(found, compiler=narrow, threads=threads), exact)
    kinked = case_without_ties("conv3-4 batchnorm relu maxpool conv1-4 leakyrelu=0.1 maxpool3,stride=1,pad=1 conv1-3")
    assert_same(native(kinked, compiler=narrow), pytorch(kinked))


@settings(max_examples=10, deadline=None)
@given(a_fitting_network(), st.integers(1, 40), st.integers(0, 9), st.integers(1, 3))
def test_a_step_of_any_network_is_that_of_pytorch(
    fleeting: Path, fitting: tuple[Network, Shape], count: int, seed: int, threads: int
) -> None:
    network, shape = fitting
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compiler, "user_cache_path", lambda name: fleeting)
        found = case(smoothed(network), shape, count, seed)
        assert_same(native(found, threads=threads), pytorch(found), pytorch(found, torch.float32))


# --- many steps: NativeStep beside PyTorchStep, from the same draws --------------------------------------------------

NETWORK = (
    "after conv3: batchnorm tanh dropout=25%; conv3-6,pad=1 avgpool2 conv3-6 conv1-8,bias dropout2d=25% gap linear-12"
)


def _both(
    digits: Dataset, recipe: Recipe, network: str = NETWORK, threads: int | None = 2
) -> tuple[NativeStep, PyTorchStep]:
    """Both steps, with the same weights."""
    traced = trace(Network.parse(network), digits.facts.input_shape, 10)
    teacher = _teacher(digits, traced.outputs) if recipe.teacher else None
    ours = NativeStep(plan(traced), recipe, digits, 0, threads=threads, teacher=teacher)
    theirs = PyTorchStep(traced, plan(traced), recipe, digits, 0, device="cpu", threads=1, teacher=teacher)
    return ours, theirs


def _teacher(digits: Dataset, outputs: int) -> Teacher:
    """One that has not learned anything, but is sure of it."""
    traced = trace(Network.parse(f"conv3-5 batchnorm relu gap conv1-{outputs},bias"), digits.facts.input_shape, 10)
    planned = plan(traced)
    state = initial_state(planned, 4)
    state.parameters[:] *= 5
    state.running[:] += np.linspace(0, 1, planned.running)
    return Teacher(trace=traced, weights=named(planned, state.parameters, state.running))


def _train(steps: tuple[NativeStep, PyTorchStep], recipe: Recipe, count: int, rates: Callable[[int], Rates]) -> None:
    """So many steps of one epoch, the last of them on fewer images."""
    total = len(steps[1].labels_N)
    draws = Draws.of(0, 0, total, recipe)
    for step in steps:
        step.begin(draws)
    for taken in range(count):
        for step in steps:
            step.train(taken * recipe.batch, recipe.batch - 5 * (taken == count - 1), rates(taken), taken)


RECIPES = {
    "sgd": {"optimiser": "sgd lr=0.1"},
    "momentum": {"optimiser": "sgd lr=0.05 momentum=0.9"},
    "weight decay": {"optimiser": "sgd lr=0.05 momentum=0.9 weight_decay=0.01"},
    "nesterov": {"optimiser": "sgd lr=0.05 momentum=0.9 nesterov weight_decay=0.01"},
    "adam": {"optimiser": "adam lr=0.01"},
    "adam, every amount": {"optimiser": "adam lr=0.01 beta1=0.8 beta2=0.95 eps=1e-3 weight_decay=0.01"},
    "adamw": {"optimiser": "adamw lr=0.01 weight_decay=0.1"},
    "muon": {"optimiser": "muon lr=0.01 sgd_lr=0.05"},
    "muon, every amount": {
        "optimiser": "muon lr=0.02 momentum=0.9 weight_decay=0.1 sgd_lr=0.05 sgd_momentum=0.8 sgd_weight_decay=0.01"
    },
    "label smoothing": {"optimiser": "sgd lr=0.05 momentum=0.9", "loss": "cross-entropy smoothing=0.1"},
    "distilled": {"optimiser": "sgd lr=0.05", "loss": "distilled big temperature=3 share=60% smoothing=0.1"},
    "distilled alone": {"optimiser": "sgd lr=0.05", "loss": "distilled big", "augment": "rotate=10deg"},
    "moving average": {"optimiser": "sgd lr=0.05 momentum=0.9", "average": "ema 0.8"},
    "augmentation": {"optimiser": "sgd lr=0.05", "augment": "rotate=10deg shift=1px fill=0.5; brightness=20%"},
}


@pytest.mark.parametrize("said", RECIPES.values(), ids=RECIPES.keys())
def test_twenty_steps_are_those_of_pytorch(digits: Dataset, said: dict[str, object]) -> None:
    recipe = Recipe.parse({"batch": 40, **said})
    steps = ours, theirs = _both(digits, recipe)
    base = recipe.optimiser.rates
    _train(steps, recipe, 20, lambda taken: Rates(base.lr / (1 + taken % 3), base.momentum * (1 - 0.02 * (taken % 5))))
    np.testing.assert_allclose(ours.totals()[0], theirs.totals()[0], rtol=1e-5)
    assert abs(ours.totals()[1] - theirs.totals()[1]) <= 2
    mine, expected = ours.state().arrays(), theirs.state().arrays()
    for name, vector in expected.items():
        if name == "first" and base.momentum == 0:
            continue  # PyTorch keeps none
        np.testing.assert_allclose(mine[name], vector, rtol=0, atol=1e-5 * np.abs(vector).max(), err_msg=name)
    images = digits.test_images_NCHW
    np.testing.assert_allclose(ours.logits(images), theirs.logits(images), rtol=0, atol=1e-4)


def test_a_momentum_that_begins_late_is_that_of_pytorch(digits: Dataset) -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.05", "batch": 40})
    steps = ours, theirs = _both(digits, recipe)
    _train(steps, recipe, 6, lambda taken: Rates(0.05, 0.0 if taken in (0, 1, 4) else 0.9))
    np.testing.assert_allclose(ours.state().parameters, theirs.state().parameters, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.state().first, theirs.state().first, rtol=1e-3, atol=1e-5)


def test_a_moving_average_is_judged_only_once_it_has_begun(digits: Dataset) -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1", "average": "ema 0.9", "batch": 40})
    ours, theirs = _both(digits, recipe)
    images = digits.test_images_NCHW[:50]
    fresh = ours.logits(images)
    assert np.abs(fresh).max() > 0
    np.testing.assert_allclose(fresh, theirs.logits(images), rtol=1e-4, atol=1e-5)
    beginning = ours.state()
    _train((ours, theirs), recipe, 5, lambda taken: Rates(0.1, 0.0))
    np.testing.assert_allclose(ours.logits(images), theirs.logits(images), rtol=1e-3, atol=1e-4)
    judged = ours.logits(images)
    later = ours.state()
    for step in (ours, theirs):
        step.restore(beginning, 0)
        np.testing.assert_allclose(step.logits(images), fresh, rtol=1e-4, atol=1e-5)
        step.restore(later, 5)
        np.testing.assert_allclose(step.logits(images), judged, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch", [7, 16, 50, 1438])
def test_the_number_of_threads_changes_no_bit(digits: Dataset, batch: int) -> None:
    recipe = Recipe.parse({"optimiser": "adam lr=0.01", "batch": batch, "average": "ema 0.9", "augment": "shift=1px"})
    states = []
    for threads in (1, 2, 3):
        step, _ = _both(digits, recipe, threads=threads)
        step.begin(Draws.of(0, 0, 1438, recipe))
        for taken in range(min(8, -(-1438 // batch))):
            first = 1438 - (8 - taken) * batch if batch < 100 else 0
            step.train(first, min(batch, 1438 - first) - (taken == 7), Rates(0.01, 0.9), taken)
        states.append((step.totals(), step.state().arrays()))
    for totals, arrays in states[1:]:
        assert totals == states[0][0]
        for name, vector in arrays.items():
            np.testing.assert_array_equal(vector, states[0][1][name], err_msg=name)


def test_without_a_number_of_threads_the_first_steps_find_the_faster(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 3)
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1", "batch": 16})
    step, _ = _both(digits, recipe, threads=None)
    fixed, _ = _both(digits, recipe, threads=2)
    seen = set()
    for one in (step, fixed):
        one.begin(Draws.of(0, 0, 1438, recipe))
    for taken in range(40):
        seen.add(step.threads)
        for one in (step, fixed):
            one.train(taken * 16, 16, Rates(0.1, 0.0), taken)
    assert seen == {1, 3}
    assert fixed.threads == 2
    np.testing.assert_array_equal(step.state().parameters, fixed.state().parameters)


def test_more_threads_than_can_be_had_leave_a_step_as_it_is(digits: Dataset) -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1", "batch": 16})
    step, fixed = (_both(digits, recipe, threads=2)[0] for _ in range(2))
    for one in (step, fixed):
        one.begin(Draws.of(0, 0, 1438, recipe))
    for taken in range(4):
        step.try_threads(2**31 - 1)
        assert step.threads == 2
        for one in (step, fixed):
            one.train(taken * 16, 16, Rates(0.1, 0.0), taken)
    np.testing.assert_array_equal(step.state().parameters, fixed.state().parameters)


def test_a_diverging_training_says_so(digits: Dataset) -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=1e30", "batch": 40})
    for network in ("conv3-6 relu maxpool gap conv1-10", "conv3-6 leakyrelu=0.1 maxpool3,stride=2 gap conv1-10"):
        steps = _both(digits, recipe, network)
        _train(steps, recipe, 8, lambda taken: Rates(1e30, 0.0))
        assert [np.isfinite(step.totals()[0]) for step in steps] == [False, False], network


def test_what_is_no_number_reaches_the_loss_through_every_layer(digits: Dataset) -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1", "batch": 40})
    for network in ("conv3-2 maxpool gap conv1-10", "conv3-2 maxpool3,stride=2 relu gap conv1-10"):
        step, _ = _both(digits, recipe, network)
        state = step.state()
        state.parameters[4] = np.nan  # the middle of the first kernel
        step.restore(state, 0)
        assert np.isnan(step.logits(digits.test_images_NCHW[:20])).all()
        step.begin(Draws.of(0, 0, 1438, recipe))
        step.train(0, 40, Rates(0.1, 0.0), 0)
        assert np.isnan(step.totals()[0])


def test_images_need_not_lie_in_one_piece_and_may_be_floats(digits: Dataset) -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1", "batch": 40})
    images = digits.train_images_NCHW
    apart = np.asfortranarray(images)
    assert not apart.flags.c_contiguous
    floats = (apart / 255).astype(np.float32)
    losses = []
    for kept in (images, apart, floats):
        data = replace(digits, train_images_NCHW=kept)
        step, _ = _both(data, recipe)
        step.begin(Draws.of(0, 0, 1438, recipe))
        step.train(0, 40, Rates(0.1, 0.0), 0)
        losses.append(step.totals()[0])
        assert step.logits(np.asfortranarray(kept[:33])).shape == (33, 12)
    assert losses[0] == losses[1] == pytest.approx(losses[2], rel=1e-5)


def test_a_batch_larger_than_the_data_takes_no_more_memory_than_the_data(digits: Dataset) -> None:
    recipe = Recipe.parse({"optimiser": "sgd lr=0.1", "batch": 999_999})
    step, _ = _both(digits, recipe)
    step.begin(Draws.of(0, 0, 1438, recipe))
    step.train(0, 1438, Rates(0.1, 0.0), 0)
    assert 1438 * 2 < step.totals()[0] < 1438 * 4


def test_no_images_have_no_logits(digits: Dataset) -> None:
    step, _ = _both(digits, Recipe.parse({"optimiser": "sgd lr=0.1"}))
    assert step.logits(digits.test_images_NCHW[:0]).shape == (0, 12)


def test_it_starts_from_the_weights_of_pytorch(digits: Dataset) -> None:
    ours, theirs = _both(digits, Recipe.parse({"optimiser": "sgd lr=0.1"}))
    state = ours.state()
    views = named(ours.plan, state.parameters, state.running)
    for name, value in theirs.model.state_dict().items():
        np.testing.assert_array_equal(views[name], value.numpy(), err_msg=name)
