from __future__ import annotations

import hashlib
import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from smallprint.results.runs import Epoch
from smallprint.spec.errors import DataError, NotationError, RunError
from smallprint.training import trainer
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.draws import Draws, doubt
from smallprint.training.eager import PyTorchStep
from smallprint.training.native import NativeError
from smallprint.training.native.compiler import find_compiler
from smallprint.training.step import Way
from smallprint.training.trainer import Trainer, answers, train

Words = dict[str, str | int]
NETWORK = "every conv3: pad=1; after conv3: batchnorm relu dropout=5%; conv3-8 maxpool conv3-8 gap conv1-10"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def _train(
    dataset: Dataset, network: str = NETWORK, recipe: Words | None = None, *, seed: int = 0, way: Way = "auto"
) -> Trainer:
    said = {"optimiser": "sgd lr=0.05 momentum=0.9", "batch": 64, "epochs": 3, **(recipe or {})}
    return train(network, said, dataset, seed, threads=1, way=way)


def _pytorch(trained: Trainer) -> PyTorchStep:
    assert isinstance(trained.step, PyTorchStep)
    return trained.step


def _numbers(epochs: list[Epoch]) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in epochs]


def _fingerprint(trained: Trainer) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(trained.weights().items()):
        digest.update(name.encode() + value.tobytes())
    return digest.hexdigest()


RECIPES: list[Words] = [
    {"optimiser": "sgd lr=0.05 momentum=0.9 nesterov weight_decay=1e-4", "schedule": "onecycle"},
    {"optimiser": "adam lr=0.01", "schedule": "step every=1 times=0.5", "average": "ema 0.98"},
    {"optimiser": "adamw lr=0.01", "schedule": "cosine warmup=20% tail=20%", "augment": "rotate=10deg shift=1px"},
    {"optimiser": "muon lr=0.01 weight_decay=0.1 sgd_lr=0.05 sgd_weight_decay=1e-4", "schedule": "onecycle"},
    {"sampling": "hard share=80%", "average": "ema 0.98", "augment": "shift=1px"},
    {"schedule": "plateau patience=0", "loss": "cross-entropy smoothing=0.1", "augment": "brightness=20%"},
]


@pytest.mark.parametrize("way", ["native", "pytorch"])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: " ".join(map(str, recipe.values())))
def test_a_seed_gives_the_same_bits_twice_and_resuming_changes_none(digits: Dataset, recipe: Words, way: Way) -> None:
    whole, again = _train(digits, recipe=recipe, way=way), _train(digits, recipe=recipe, way=way)
    assert _numbers(list(whole)) == _numbers(list(again))
    assert _fingerprint(whole) == _fingerprint(again)
    begun = _train(digits, recipe=recipe, way=way)
    next(iter(begun))
    resumed = _train(digits, recipe=recipe, way=way)
    resumed.restore(begun.checkpoint())
    assert len(list(resumed)) == 2
    assert _numbers(resumed.epochs) == _numbers(whole.epochs)
    assert _fingerprint(resumed) == _fingerprint(whole)


def test_another_seed_gives_other_numbers(digits: Dataset) -> None:
    assert _numbers(list(_train(digits, seed=0))) != _numbers(list(_train(digits, seed=1)))


def test_what_others_draw_or_do_changes_nothing(digits: Dataset) -> None:
    undisturbed = _train(digits)
    list(undisturbed)
    disturbed = _train(digits)
    for _ in disturbed:
        torch.manual_seed(0)
        torch.randn(100)
        list(_train(digits, recipe={"epochs": 1}, seed=9))
    assert _fingerprint(disturbed) == _fingerprint(undisturbed)


@pytest.mark.parametrize("way", ["native", "pytorch"])
def test_training_equals_a_plain_pytorch_loop(digits: Dataset, way: Way) -> None:
    """Same data order, same start: plain modules, PyTorch's own optimiser, schedule and loss."""
    network = "conv3-6,bias tanh avgpool2 gap linear-10,bias"
    recipe: Words = {"schedule": "step every=1 times=0.5", "loss": "cross-entropy smoothing=0.1"}
    ours = _train(digits, network, recipe, way=way)
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3), torch.nn.Tanh(), torch.nn.AvgPool2d(2), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(6, 10),
    ).double()  # fmt: skip
    with torch.no_grad():
        for theirs, mine in zip(plain.parameters(), ours.weights().values(), strict=True):
            theirs.copy_(torch.from_numpy(mine))
    optimiser = torch.optim.SGD(plain.parameters(), 0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.5)
    images = torch.from_numpy(digits.train_images_NCHW).double() / 255
    labels = torch.from_numpy(digits.train_labels_N)
    images = (images - images.mean()) / images.std(correction=0)
    for done, epoch in enumerate(ours):
        order = torch.from_numpy(Draws.of(0, done, len(labels), ours.recipe).order)
        loss_sum, correct = 0.0, 0
        for chosen in order.split(64):
            logits = plain(images[chosen])
            loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss_sum += loss.item() * len(chosen)
            correct += int((logits.argmax(1) == labels[chosen]).sum())
        assert epoch.learning_rate == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        assert epoch.train_loss == pytest.approx(loss_sum / len(labels), rel=1e-4)
        assert abs(epoch.train_correct - correct) <= 1  # a tie may fall either way in float32
        schedule.step()
    for theirs, mine in zip(plain.parameters(), ours.weights().values(), strict=True):
        np.testing.assert_allclose(mine, theirs.detach().numpy(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("way", ["native", "pytorch"])
def test_hard_images_are_drawn_by_what_the_network_said_before_the_epoch(digits: Dataset, way: Way) -> None:
    """Until the epochs it holds for are over; each epoch is told apart by the images that its step was given."""
    said: Words = {"optimiser": "sgd lr=0.2 momentum=0.9", "sampling": "hard share=80% power=1 until=75%", "epochs": 4}
    trained = _train(digits, recipe=said, way=way)
    given: list[Draws] = []
    begin = trained.step.begin

    def noted(draws: Draws) -> None:
        given.append(draws)
        begin(draws)

    trained.step.begin = noted  # type: ignore[method-assign]
    labels, seen = digits.train_labels_N, []
    for epoch in trained:
        seen.append(answers(trained.step.logits(digits.train_images_NCHW), labels))
        if epoch.epoch in (2, 3):  # of every image, by the judged weights; in the others of those that it was given
            assert epoch.train_loss == pytest.approx(seen[-1]["loss"].mean(dtype=np.float64), rel=1e-12)
            assert epoch.train_correct == (seen[-1]["predicted"] == labels).sum()
        else:
            assert epoch.train_loss != pytest.approx(seen[-1]["loss"].mean(dtype=np.float64), rel=1e-3)
    for done in (0, 3):
        np.testing.assert_array_equal(given[done].order, Draws.of(0, done, len(labels), trained.recipe).order)
    for done in (1, 2):
        hard = trained.recipe.hard(done)
        assert hard
        expected = Draws.of(0, done, len(labels), trained.recipe).by_doubt(doubt(seen[done - 1]["loss"]), hard)
        np.testing.assert_array_equal(given[done].order, expected.order)
        assert len(np.unique(given[done].order)) < len(labels)


def test_the_average_is_that_of_pytorch_and_is_what_is_judged(digits: Dataset) -> None:
    averaged, plain = _train(digits, recipe={"average": "ema 0.9"}, way="pytorch"), _train(digits, way="pytorch")
    model, (optimiser,) = _pytorch(plain).model, _pytorch(plain).optimisers
    reference = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    step = optimiser.step

    def step_and_average() -> None:
        step()
        reference.update_parameters(model)

    optimiser.step = step_and_average  # type: ignore[method-assign, assignment]
    assert [e.train_loss for e in averaged] == [e.train_loss for e in plain]
    for name, value in averaged.weights().items():
        expected = reference.module.state_dict()[name].numpy()
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6, err_msg=name)
    assert [e.test_loss for e in averaged.epochs] != [e.test_loss for e in plain.epochs]


def test_momentum_and_first_beta_follow_the_one_cycle(digits: Dataset) -> None:
    for said, key in (("sgd lr=0.1 momentum=0.9", "momentum"), ("adam lr=0.01", "betas")):
        recipe: Words = {"optimiser": said, "schedule": "onecycle", "epochs": 1}
        trained = _train(digits, recipe=recipe, way="pytorch")
        list(trained)
        held = _pytorch(trained).optimisers[0].param_groups[0][key]
        assert (held[0] if key == "betas" else held) == pytest.approx(0.95)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: " ".join(map(str, recipe.values())))
def test_both_ways_train_alike_from_the_same_draws(digits: Dataset, recipe: Words) -> None:
    """Rounding grows from step to step, so one epoch is compared."""
    network = "every conv3: pad=1; after conv3: batchnorm tanh dropout=5%; conv3-8 avgpool2 conv3-8 gap conv1-10,bias"
    native, pytorch = (_train(digits, network, {**recipe, "epochs": 1}, way=way) for way in ("native", "pytorch"))
    mine, theirs = next(iter(native)), next(iter(pytorch))
    assert (native.way, pytorch.way) == ("native", "pytorch")
    assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-3)
    assert mine.test_loss == pytest.approx(theirs.test_loss, rel=2e-3)
    assert abs(mine.train_correct - theirs.train_correct) <= 5


def test_a_run_begun_one_way_goes_on_the_other(digits: Dataset) -> None:
    network = "conv3-8 batchnorm tanh gap conv1-10,bias"
    recipe: Words = {"optimiser": "adam lr=0.01", "average": "ema 0.98", "batch": 128}
    whole = list(_train(digits, network, recipe, way="native"))
    begun = _train(digits, network, recipe, way="pytorch")
    next(iter(begun))
    resumed = _train(digits, network, recipe, way="native")
    resumed.restore(begun.checkpoint())
    assert [epoch.epoch for epoch in resumed] == [2, 3]
    assert resumed.epochs[-1].train_loss == pytest.approx(whole[-1].train_loss, rel=2e-2)


def test_the_number_of_threads_changes_no_bit_of_the_native_way(digits: Dataset) -> None:
    said = {"optimiser": "sgd lr=0.05 momentum=0.9", "batch": 50, "epochs": 2, "augment": "rotate=5deg contrast=20%"}
    one, two = (train(NETWORK, said, digits, threads=threads, way="native") for threads in (1, 2))
    assert _numbers(list(one)) == _numbers(list(two))
    assert _fingerprint(one) == _fingerprint(two)


def test_products_of_bfloat16_train_as_well_and_resuming_changes_no_bit(digits: Dataset) -> None:
    said = {"optimiser": "sgd lr=0.05 momentum=0.9", "batch": 32, "epochs": 4, "average": "ema 0.98"}
    network = "after conv: batchnorm relu; conv3-8,pad=1 conv3-8 maxpool conv3-12 gap conv1-10,bare"
    exact = train(network, said, digits, way="native")
    whole, begun, resumed = (train(network, said, digits, precision="bfloat16", way="native") for _ in range(3))
    assert (exact.precision, whole.precision) == ("float32", "bfloat16")
    apart = [abs(one.train_loss - other.train_loss) for one, other in zip(exact, whole, strict=True)]
    assert 0 < max(apart) < 0.05
    assert whole.epochs[-1].test_accuracy > 0.95
    next(iter(begun))
    resumed.restore(begun.checkpoint())
    list(resumed)
    assert _numbers(resumed.epochs) == _numbers(whole.epochs)
    assert _fingerprint(resumed) == _fingerprint(whole)


def test_what_cannot_be_compiled_is_trained_with_pytorch_and_says_why(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise NativeError("no C compiler was found")

    monkeypatch.setattr(trainer, "NativeStep", missing)
    trained = train(NETWORK, {"optimiser": "sgd lr=0.1"}, digits, precision="bfloat16")
    assert (trained.way, trained.precision) == ("pytorch", "float32")
    assert trained.reason == "trained with PyTorch, many times slower: no C compiler was found"
    assert next(iter(trained)).train_total == 1438
    with pytest.raises(NativeError, match="no C compiler"):
        _train(digits, way="native")


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        ("/nonexistent/cc", "no C compiler called /nonexistent/cc was found"),
        ("false", "failed: no message"),
        ("echo", "cannot be kept or loaded: No such file or directory"),
    ],
)
def test_a_machine_whose_compiler_does_not_work_trains_and_says_so_in_one_line(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: str, said: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr("smallprint.training.native.compiler.user_cache_path", lambda name: tmp_path)
    find_compiler.cache_clear()
    try:
        trained = _train(digits)
        assert trained.way == "pytorch"
        assert said in trained.reason
        assert "\n" not in trained.reason
        assert next(iter(trained)).train_total == 1438
    finally:
        find_compiler.cache_clear()


def test_the_native_way_is_of_the_processor_alone(digits: Dataset) -> None:
    with pytest.raises(NativeError, match="runs on the processor, not on cuda"):
        train(NETWORK, {"optimiser": "sgd lr=0.1"}, digits, device="cuda", way="native")


def test_without_test_images_an_epoch_counts_none(digits: Dataset) -> None:
    untested = replace(digits, test_images_NCHW=digits.test_images_NCHW[:0], test_labels_N=digits.test_labels_N[:0])
    for way in ("native", "pytorch"):
        epoch = next(iter(_train(untested, way=way)))  # type: ignore[arg-type]
        assert (epoch.test_total, epoch.test_correct, epoch.test_loss) == (0, 0, 0.0)


def test_answers_are_those_of_pytorch() -> None:
    logits = torch.randn(50, 12, generator=torch.Generator().manual_seed(0)) * 20
    labels = torch.arange(50) % 10
    found = answers(logits.numpy(), labels.numpy())
    probabilities = logits.double().softmax(1).max(1)
    np.testing.assert_array_equal(found["predicted"], probabilities.indices.numpy())
    np.testing.assert_allclose(found["confidence"], probabilities.values.numpy(), rtol=1e-6)
    expected = F.cross_entropy(logits.double(), labels, reduction="none")
    np.testing.assert_allclose(found["loss"], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_an_epoch_counts_whole_images_and_the_answers_agree_with_it(digits: Dataset) -> None:
    trained = _train(digits)
    last = list(trained)[-1]
    assert (last.train_total, last.test_total) == (1438, 359)
    answers = trained.answers()
    assert int((answers["predicted"] == digits.test_labels_N).sum()) == last.test_correct
    assert float(answers["loss"].mean()) == pytest.approx(last.test_loss, rel=1e-5)
    assert ((answers["confidence"] > 0.05) & (answers["confidence"] <= 1)).all()


def test_training_learns(digits: Dataset) -> None:
    epochs = list(_train(digits, recipe={"epochs": 8, "schedule": "onecycle"}))
    assert epochs[-1].test_accuracy > 0.8
    assert epochs[-1].train_loss < epochs[0].train_loss / 2


def test_a_loss_that_is_no_number_ends_the_training_after_its_epoch(digits: Dataset) -> None:
    trained = _train(digits, "conv3-8 relu gap conv1-10", recipe={"optimiser": "sgd lr=1e30", "epochs": 5})
    epochs = list(trained)
    assert len(epochs) < 5
    assert epochs[-1].diverged
    assert not any(epoch.diverged for epoch in epochs[:-1])
    assert list(trained) == []


def test_more_outputs_than_classes_are_trained_as_classes_that_never_occur(digits: Dataset) -> None:
    trained = _train(
        digits, "every conv3: pad=1; after conv3: batchnorm relu; conv3-8 maxpool conv3-16 gap", recipe={"epochs": 8}
    )
    assert list(trained)[-1].test_accuracy > 0.7
    assert trained.answers()["predicted"].max() < 10


def test_a_damaged_checkpoint_is_an_error_and_not_a_crash(digits: Dataset) -> None:
    begun = _train(digits)
    next(iter(begun))
    checkpoint = begun.checkpoint()
    one_bit = bytearray(checkpoint)
    one_bit[len(checkpoint) // 2] ^= 1
    for damaged in (b"", checkpoint[:1000], b"garbage" * 100, bytes(one_bit)):
        with pytest.raises(RunError, match="the checkpoint is damaged"):
            _train(digits).restore(damaged)
    with pytest.raises(RunError, match="another network"):
        _train(digits, "conv3-9 gap conv1-10").restore(checkpoint)


def test_bad_input_to_train_is_an_error_of_ours(digits: Dataset) -> None:
    with pytest.raises(NotationError, match="did you mean 'maxpool'"):
        _train(digits, "conv3-8 maxpol gap conv1-10")
    with pytest.raises(NotationError, match="9 values for 10 classes"):
        _train(digits, "conv3-8 gap conv1-9")
    with pytest.raises(DataError, match="did you mean 'digits'"):
        train(NETWORK, {"optimiser": "sgd lr=0.1"}, "digit")


def test_the_loop_is_one_page() -> None:
    assert len(inspect.getsource(Trainer.__iter__).splitlines()) <= 60
    assert "print(" not in inspect.getsource(trainer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_to_the_same_accuracy_without_waiting_within_an_epoch(digits: Dataset) -> None:
    said = {"optimiser": "sgd lr=0.05 momentum=0.9", "batch": 64, "epochs": 6}
    assert list(train(NETWORK, said, digits, device="cuda"))[-1].test_accuracy > 0.9


DISTILLED = {"optimiser": "adam lr=0.01", "batch": 64, "epochs": 3, "loss": "distilled wide temperature=4 share=90%"}


def test_a_network_learns_from_a_teacher_alone(digits: Dataset) -> None:
    wide = train("conv3-12 batchnorm relu gap conv1-10", {"optimiser": "adam lr=0.02", "epochs": 6}, digits)
    taught = [epoch.test_accuracy for epoch in wide][-1]
    recipe = {**DISTILLED, "epochs": 12, "loss": "distilled wide"}
    shuffled = replace(digits, train_labels_N=np.zeros_like(digits.train_labels_N))  # no word of the labels
    student = train("conv3-12 batchnorm relu gap conv1-10", recipe, shuffled, teacher=wide)
    assert list(student)[-1].test_accuracy > 0.8 * taught > 0.4  # where guessing gives 0.1
