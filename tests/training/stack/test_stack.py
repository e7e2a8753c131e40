from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from smallprint.results.runs import Epoch
from smallprint.spec.errors import RunError
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import trace
from smallprint.training.data import Dataset
from smallprint.training.stack import Stack, shared
from smallprint.training.trainer import Trainer

NETWORK = (
    "every conv3: pad=1; after conv3: batchnorm tanh dropout=5%;"
    " conv3-6 avgpool2 conv3-6 dropout2d=5% gap conv1-10,bias"
)
SAID: dict[str, str | int] = {"optimiser": "sgd lr=0.05 momentum=0.9", "batch": 64, "epochs": 3}
ROUNDING = 2e-4  # relative, of a loss after some sixty steps


@pytest.fixture(scope="module")
def few(digits: Dataset) -> Dataset:
    return replace(digits, train_images_NCHW=digits.train_images_NCHW[:500], train_labels_N=digits.train_labels_N[:500])


def _recipe(**said: str | int) -> Recipe:
    return Recipe.parse(SAID | said)


def _stack(dataset: Dataset, recipes: Sequence[Recipe], network: str = NETWORK) -> Stack:
    traced = trace(Network.parse(network), dataset.facts.input_shape, 10)
    return Stack(traced, recipes, dataset, range(len(recipes)), device="cpu")


def _alone(dataset: Dataset, recipe: Recipe, seed: int, network: str = NETWORK) -> Trainer:
    traced = trace(Network.parse(network), dataset.facts.input_shape, 10)
    return Trainer(traced, recipe, dataset, seed, threads=1, way="pytorch")


def _assert_same(ours: Sequence[Epoch | None], theirs: Sequence[Epoch]) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine is not None
        assert mine.train_loss == pytest.approx(other.train_loss, rel=ROUNDING)
        assert mine.test_loss == pytest.approx(other.test_loss, rel=ROUNDING)
        assert (mine.epoch, mine.train_total, mine.test_total) == (other.epoch, other.train_total, other.test_total)
        assert mine.learning_rate == pytest.approx(other.learning_rate, rel=1e-12)
        assert abs(mine.train_correct - other.train_correct) <= 1
        assert abs(mine.test_correct - other.test_correct) <= 1


MEMBERS: dict[str, list[Recipe]] = {
    "rates": [
        _recipe(schedule="onecycle"),
        _recipe(optimiser="sgd lr=0.1 momentum=0.5 weight_decay=0.01", schedule="step every=1 times=0.5"),
        _recipe(schedule="plateau patience=0 threshold=0.9"),
        _recipe(optimiser="sgd lr=0.02 momentum=0.9", schedule="plateau patience=0 threshold=0.001"),
    ],
    "average and augmentation": [
        _recipe(optimiser=rule, average=f"ema {decay}", augment=f"rotate={turn}deg", loss=f"cross-entropy {loss}")
        for rule, decay, turn, loss in (
            ("adam lr=0.01", 0.9, 5, "smoothing=0"),
            ("adam lr=0.003 weight_decay=0.01", 0.95, 10, "smoothing=0.1"),
        )
    ],
    "hard images": [
        _recipe(sampling="hard share=80% until=70%", average="ema 0.9", optimiser=f"sgd lr={lr} momentum=0.9")
        for lr in (0.05, 0.02)
    ],
    "muon": [_recipe(optimiser="muon lr=0.01 sgd_lr=0.05"), _recipe(optimiser="muon lr=0.02 sgd_lr=0.1")],
    "adamw": [_recipe(optimiser="adamw lr=0.01", schedule="cosine warmup=20%"), _recipe(optimiser="adamw lr=0.002")],
}


@pytest.mark.parametrize("recipes", MEMBERS.values(), ids=MEMBERS.keys())
def test_a_member_trains_as_it_does_alone(few: Dataset, recipes: list[Recipe]) -> None:
    stack = _stack(few, recipes)
    assert len(list(stack)) == 3
    for member, recipe in enumerate(recipes):
        alone = _alone(few, recipe, member)
        _assert_same(stack.epochs[member], list(alone))
        for name, value in alone.weights().items():
            np.testing.assert_allclose(stack.weights(member)[name], value, atol=2e-3 * max(1, np.abs(value).max()))
        mine, theirs = stack.answers(member), alone.answers()
        assert (mine["predicted"] != theirs["predicted"]).sum() <= 1
        np.testing.assert_allclose(mine["loss"], theirs["loss"], atol=2e-3)


def test_before_the_first_epoch_members_are_what_is_built(few: Dataset) -> None:
    stack = _stack(few, [_recipe()] * 2)
    for member in range(2):
        alone = _alone(few, _recipe(), member)
        for name, value in alone.weights().items():
            np.testing.assert_array_equal(stack.weights(member)[name], value)
        np.testing.assert_allclose(stack.answers(member)["loss"], alone.answers()["loss"], atol=1e-5)


def test_the_time_of_an_epoch_is_shared_out(few: Dataset) -> None:
    (first, second, *_), *_ = list(_stack(few, [_recipe(epochs=1)] * 2))
    assert first is not None
    assert second is not None
    assert first.seconds == second.seconds > 0


AVERAGED = _recipe(optimiser="adam lr=0.01", average="ema 0.9", schedule="onecycle", sampling="hard")


def test_a_stack_goes_on_from_the_checkpoints_of_trainers_and_trainers_from_those_of_a_stack(few: Dataset) -> None:
    whole, begun = _stack(few, [AVERAGED] * 2), _stack(few, [AVERAGED] * 2)
    list(whole)
    next(iter(begun))
    alone = [_alone(few, AVERAGED, seed) for seed in range(2)]
    for one in alone:
        next(iter(one))
    for source in ([begun.checkpoint(member) for member in range(2)], [one.checkpoint() for one in alone]):
        resumed = _stack(few, [AVERAGED] * 2)
        resumed.restore(source)
        np.testing.assert_allclose(resumed.answers(1)["loss"], begun.answers(1)["loss"], atol=1e-4)
        assert len(list(resumed)) == 2
        trainer = _alone(few, AVERAGED, 1)
        trainer.restore(source[1])
        for epochs in (resumed.epochs[1], [*trainer.epochs, *trainer]):
            _assert_same(epochs, [epoch for epoch in whole.epochs[1] if epoch])


def test_a_stack_can_be_left_after_an_epoch_and_taken_up_again(few: Dataset) -> None:
    whole, parted = _stack(few, [_recipe()] * 2), _stack(few, [_recipe()] * 2)
    list(whole)
    for _ in range(3):
        next(iter(parted))
    assert next(iter(parted), None) is None
    _assert_same(parted.epochs[0], whole.epochs[0])


def test_checkpoints_of_different_epochs_or_networks_are_errors(few: Dataset) -> None:
    stack = _stack(few, [_recipe()] * 2)
    fresh = stack.checkpoint(0)
    next(iter(stack))
    with pytest.raises(RunError, match="taken after epochs 0, 1"):
        stack.restore([fresh, stack.checkpoint(1)])
    with pytest.raises(RunError, match="damaged"):
        stack.restore([b"", stack.checkpoint(1)])
    assert stack.done == 1
    with pytest.raises(RunError, match="another network"):
        _stack(few, [_recipe()] * 2, "conv3-7 gap conv1-10").restore([fresh, fresh])


KINKED = "conv3-6 relu gap conv1-10"


def test_a_member_that_diverges_leaves_and_disturbs_nobody(few: Dataset) -> None:
    recipes = [_recipe(), _recipe(optimiser="sgd lr=1e30 momentum=0.9"), _recipe(optimiser="sgd lr=0.02 momentum=0.9")]
    stack = _stack(few, recipes, KINKED)
    yielded = list(stack)
    assert yielded[0][1] is not None
    assert yielded[0][1].diverged
    assert [epochs[1] for epochs in yielded[1:]] == [None, None]
    assert stack.members == (0, 2)
    for member in (0, 2):
        _assert_same(stack.epochs[member], list(_alone(few, recipes[member], member, KINKED)))
    assert not np.isfinite(stack.weights(1)["0.layer.weight"]).all()
    assert len(stack.answers(1)["predicted"]) == len(few.test_labels_N)
    resumed = _stack(few, recipes, KINKED)
    resumed.restore([stack.checkpoint(member) for member in range(3)])
    assert resumed.members == (0, 2)
    assert list(resumed) == []


def test_a_stack_whose_members_have_all_diverged_ends(few: Dataset) -> None:
    stack = _stack(few, [_recipe(optimiser="sgd lr=1e30")] * 2, KINKED)
    assert len(list(stack)) == 1
    assert stack.members == ()
    resumed = _stack(few, [_recipe(optimiser="sgd lr=1e30")] * 2, KINKED)
    resumed.restore([stack.checkpoint(member) for member in range(2)])
    assert list(resumed) == []


def test_members_can_be_dropped_between_epochs(few: Dataset) -> None:
    whole, halved = _stack(few, [AVERAGED] * 4), _stack(few, [AVERAGED] * 4)
    list(whole)
    for done, epochs in enumerate(halved):
        assert [epoch is None for epoch in epochs] == [done > 0, False, done > 1, done > 0]
        if done == 0:
            kept = halved.weights(0), halved.answers(3)["loss"]
            halved.drop(0, 3)
        elif done == 1:
            halved.drop(2)
    assert halved.members == (1,)
    for member, count in enumerate((1, 3, 2, 1)):
        _assert_same(halved.epochs[member], whole.epochs[member][:count])
    np.testing.assert_array_equal(halved.weights(0)["0.layer.weight"], kept[0]["0.layer.weight"])
    np.testing.assert_array_equal(halved.answers(3)["loss"], kept[1])
    alone = _alone(few, AVERAGED, 2)
    alone.restore(halved.checkpoint(2))
    _assert_same([*alone.epochs, *alone], whole.epochs[2])


def test_without_test_images_an_epoch_counts_none(few: Dataset) -> None:
    untested = replace(few, test_images_NCHW=few.test_images_NCHW[:0], test_labels_N=few.test_labels_N[:0])
    stack = _stack(untested, [_recipe(epochs=1)] * 2)
    (epoch, _), *_ = stack
    assert epoch is not None
    assert (epoch.test_total, epoch.test_correct, epoch.test_loss) == (0, 0, 0.0)
    assert len(stack.answers(0)["predicted"]) == 0


def test_bfloat16_trains_to_about_the_same_loss(few: Dataset) -> None:
    traced = trace(Network.parse(NETWORK), (1, 8, 8), 10)
    half = Stack(traced, [_recipe()] * 2, few, [0, 1], device="cpu", precision="bfloat16")
    last = list(half)[-1][0]
    exact = list(_alone(few, _recipe(), 0))[-1]
    assert last is not None
    assert last.train_loss == pytest.approx(exact.train_loss, rel=0.05)
    assert last.train_loss != exact.train_loss
    assert half.weights(0)["0.layer.weight"].dtype == np.float32


def test_recipes_that_differ_in_numbers_share_a_stack_and_others_do_not() -> None:
    base = _recipe(augment="rotate=5deg", average="ema 0.9")
    alike: list[dict[str, str | int]] = [
        {"optimiser": "sgd lr=1 weight_decay=0.1"}, {"schedule": "onecycle"}, {"average": "ema 0.5"},
        {"loss": "cross-entropy smoothing=0.2"}, {"augment": "shift=2px scale=5%"},
    ]  # fmt: skip
    unlike: list[dict[str, str | int]] = [
        {"optimiser": "adam lr=0.1"}, {"optimiser": "sgd lr=0.05 momentum=0.9 nesterov"}, {"average": "none"},
        {"batch": 32}, {"epochs": 4}, {"augment": "none"}, {"augment": "rotate=5deg fill=1"},
        {"augment": "rotate=5deg interpolation=nearest"}, {"augment": "rotate=5deg; shift=1px"},
    ]  # fmt: skip
    words: dict[str, str | int] = {"augment": "rotate=5deg", "average": "ema 0.9"}
    for said in alike:
        assert shared(_recipe(**words | said)) == shared(base), said
    for said in unlike:
        assert shared(_recipe(**words | said)) != shared(base), said


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("recipes", MEMBERS.values(), ids=MEMBERS.keys())
def test_a_gpu_trains_every_member_as_the_processor_does_alone(few: Dataset, recipes: list[Recipe]) -> None:
    """CUDA graphs, their last partial batch, a member that leaves, and no wait for the device within an epoch."""
    traced = trace(Network.parse(NETWORK), (1, 8, 8), 10)
    stack = Stack(traced, recipes, few, range(len(recipes)), device="cuda")
    for done, _ in enumerate(stack):
        if done == 1:
            stack.drop(0)
    for member, recipe in enumerate(recipes):
        alone = list(_alone(few, recipe, member))
        _assert_same(stack.epochs[member], alone[: len(stack.epochs[member])])
    before = torch.cuda.get_sync_debug_mode()
    stack._engine.step.zero_()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(3):
            stack._engine.train(stack._engine.batch)
    finally:
        torch.cuda.set_sync_debug_mode(before)
