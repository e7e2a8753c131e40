from __future__ import annotations

import warnings
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from smallprint.spec.schedule import Clock, Constant, Cosine, OneCycle, Plateau, Rates, Schedule, Step, Watched


def optimiser(kind: str, lr: float) -> torch.optim.Optimizer:
    weights = [torch.nn.Parameter(torch.zeros(1))]
    return torch.optim.SGD(weights, lr=lr, momentum=0.9) if kind == "sgd" else torch.optim.Adam(weights, lr=lr)


def now(optimiser: torch.optim.Optimizer) -> Rates:
    group = optimiser.param_groups[0]
    return Rates(lr=group["lr"], momentum=group["momentum"] if "momentum" in group else group["betas"][0])


def pytorch(optimiser: torch.optim.Optimizer, scheduler: Any, steps: int, every: int = 1) -> Iterator[Rates]:
    """What PyTorch sets for each step; the scheduler steps after every `every` of them."""
    for step in range(steps):
        yield now(optimiser)
        optimiser.step()
        if (step + 1) % every == 0 and step + 1 < steps:
            scheduler.step()


def ours(schedule: Schedule, base: Rates, steps_per_epoch: int, epochs: int) -> Iterator[Rates]:
    for step in range(steps_per_epoch * epochs):
        yield schedule.at(Clock(step=step, steps_per_epoch=steps_per_epoch, epochs=epochs), base, ())


def assert_same(found: Iterator[Rates], expected: Iterator[Rates]) -> None:
    pairs = list(zip(found, expected, strict=True))
    assert pairs
    for number, (one, other) in enumerate(pairs):
        assert one.lr == pytest.approx(other.lr, rel=1e-9, abs=1e-15), f"step {number}"
        assert one.momentum == pytest.approx(other.momentum, rel=1e-9), f"step {number}"


def test_the_clock_counts_whole_epochs() -> None:
    assert [Clock(step=step, steps_per_epoch=3, epochs=2).epoch for step in range(6)] == [0, 0, 0, 1, 1, 1]
    assert Clock(step=0, steps_per_epoch=469, epochs=15).steps == 7_035


def test_a_step_that_grows_beyond_all_numbers_ends_at_infinity() -> None:
    assert Step(every=1, times=1e300).at(Clock(2, 1, 5), Rates(0.1, 0.9), []).lr == float("inf")


def test_constant_is_the_optimisers_own_rate_at_every_step() -> None:
    base = Rates(lr=0.01, momentum=0.9)
    assert set(ours(Constant(), base, 5, 4)) == {base}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.floats(0.01, 2), st.integers(1, 4), st.integers(1, 20))
def test_step_is_pytorchs_step_lr(every: int, times: float, steps_per_epoch: int, epochs: int) -> None:
    sgd = optimiser("sgd", 0.01)
    scheduler = lr_scheduler.StepLR(sgd, every, times)
    expected = pytorch(sgd, scheduler, steps_per_epoch * epochs, every=steps_per_epoch)
    assert_same(ours(Step(every=every, times=times), Rates(lr=0.01, momentum=0.9), steps_per_epoch, epochs), expected)


@settings(max_examples=80, deadline=None)
@example("sgd", 0.1, 30.0, 25.0, 1e4, (0.85, 0.95), 469, 15)
@example("adam", 0.02, 0.0, 10.0, 100.0, (0.8, 0.9), 4, 5)
@example("sgd", 0.1, 100.0, 25.0, 1e4, (0.85, 0.95), 4, 5)
@given(
    st.sampled_from(("sgd", "adam")),
    st.floats(1e-4, 1),
    st.floats(0, 100),
    st.floats(0.5, 1000),
    st.floats(0.5, 1e5),
    st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)).map(sorted).map(tuple),
    st.integers(2, 6),
    st.integers(1, 12),
)
def test_onecycle_is_pytorchs_one_cycle_momentum_included(
    kind: str, peak: float, warmup: float, div: float, final_div: float, momenta: tuple[float, float],
    steps_per_epoch: int, epochs: int,
) -> None:  # fmt: skip
    steps = steps_per_epoch * epochs
    if warmup / 100 * steps - 1 == 0:
        return  # PyTorch divides by zero here
    low, high = momenta
    taught = optimiser(kind, 0.01)
    scheduler = lr_scheduler.OneCycleLR(
        taught, max_lr=peak, total_steps=steps, pct_start=warmup / 100, div_factor=div, final_div_factor=final_div,
        base_momentum=low, max_momentum=high,
    )  # fmt: skip
    schedule = OneCycle(peak=peak, warmup=warmup, div=div, final_div=final_div, low_momentum=low, high_momentum=high)
    assert_same(
        ours(schedule, Rates(lr=0.01, momentum=0.9), steps_per_epoch, epochs), pytorch(taught, scheduler, steps)
    )


def test_onecycle_may_take_its_peak_from_the_optimiser_and_leave_the_momentum_alone() -> None:
    base = Rates(lr=0.2, momentum=0.9)
    steady = list(ours(OneCycle(steady_momentum=True), base, 10, 3))
    cycled = list(ours(OneCycle(peak=0.2), Rates(lr=1.0, momentum=0.5), 10, 3))
    assert [rates.lr for rates in steady] == [rates.lr for rates in cycled]
    assert {rates.momentum for rates in steady} == {0.9}


def test_onecycle_of_a_single_step_divides_by_nothing() -> None:
    for warmup in (0.0, 30.0, 100.0):
        (rates,) = ours(OneCycle(peak=0.1, warmup=warmup), Rates(lr=0.1, momentum=0.9), 1, 1)
        assert 0 < rates.lr <= 0.1


# The learning rates that two published notebooks printed at the end of each of their fifteen epochs, after the
# scheduler had stepped: each is that of the next batch, the last one step beyond the end.
PRINTED = {
    938: "0.015235 0.043681 0.076021 0.097116 0.099439 0.095042 0.086642 0.074986 "
         "0.061111 0.046248 0.031718 0.018813 0.0086794 0.0022171 4.0254e-07",
    469: "0.015240 0.043696 0.076041 0.097127 0.099437 0.095035 0.086631 0.074972 "
         "0.061095 0.046232 0.031704 0.018801 0.0086705 0.0022124 4.1017e-07",
}  # fmt: skip


@pytest.mark.parametrize("steps_per_epoch", PRINTED)
def test_published_one_cycle_rates_are_reproduced_to_every_printed_digit(steps_per_epoch: int) -> None:
    for epoch, printed in enumerate(map(Decimal, PRINTED[steps_per_epoch].split()), start=1):
        clock = Clock(step=steps_per_epoch * epoch, steps_per_epoch=steps_per_epoch, epochs=15)
        rate = OneCycle(peak=0.1).at(clock, Rates(lr=0.01, momentum=0.9), ()).lr
        assert Decimal(rate).quantize(printed) == printed, f"epoch {epoch}"


@settings(max_examples=60, deadline=None)
@example(20.0, 20.0, 0.0, 10, 10)
@given(st.floats(0, 60), st.floats(0, 40), st.floats(0, 100), st.integers(1, 8), st.integers(1, 12))
def test_cosine_is_pytorchs_linear_warm_up_then_its_cosine_then_quiet(
    warmup: float, tail: float, final: float, steps_per_epoch: int, epochs: int
) -> None:
    steps = steps_per_epoch * epochs
    warm, quiet = round(warmup / 100 * steps), round(tail / 100 * steps)
    falling = steps - warm - quiet
    base = Rates(lr=0.3, momentum=0.9)
    expected: list[Rates] = []
    if warm > 1:
        sgd = optimiser("sgd", base.lr)
        expected += pytorch(sgd, lr_scheduler.LinearLR(sgd, 1 / warm, total_iters=warm - 1), warm)
    else:
        expected += [base] * warm
    sgd = optimiser("sgd", base.lr)
    end = base.lr * final / 100
    expected += pytorch(sgd, lr_scheduler.CosineAnnealingLR(sgd, max(1, falling), eta_min=end), max(0, falling))
    expected += [base._replace(lr=end)] * (steps - len(expected))
    found = ours(Cosine(warmup=warmup, tail=tail, final=final), base, steps_per_epoch, epochs)
    assert_same(found, iter(expected))


def test_cosine_with_warm_up_is_pytorchs_sequential_lr() -> None:
    sgd = optimiser("sgd", 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR steps its schedulers in a way that PyTorch warns of
        stages = [lr_scheduler.LinearLR(sgd, 1 / 6, total_iters=5), lr_scheduler.CosineAnnealingLR(sgd, 24)]
        expected = list(pytorch(sgd, lr_scheduler.SequentialLR(sgd, stages, milestones=[6]), 30))
    assert_same(ours(Cosine(warmup=20), Rates(lr=0.3, momentum=0.9), 10, 3), iter(expected))


def test_the_cosines_tail_is_constant_at_its_final_rate() -> None:
    rates = [rates.lr for rates in ours(Cosine(tail=25, final=1), Rates(lr=0.5, momentum=0.9), 10, 4)]
    assert rates[30:] == pytest.approx([0.005] * 10, rel=1e-12)
    assert rates[29] > 0.005


LOSSES = st.lists(st.floats(0, 10) | st.integers(0, 20).map(lambda tenth: tenth / 10), max_size=40)
ACCURACIES = st.lists(st.integers(0, 10_000).map(lambda correct: correct / 10_000) | st.floats(0, 1), max_size=40)


@settings(max_examples=150, deadline=None)
@example([1.0, 0.5, 0.25, 0.25], 0, 0.5, 0.1)
@given(LOSSES, st.integers(0, 4), st.sampled_from((0.0, 1e-4, 0.1, 0.5, 1.0, 2.0)), st.floats(0, 0.99))
def test_plateau_on_the_loss_is_pytorchs_reduce_on_plateau_downwards(
    losses: list[float], patience: int, threshold: float, times: float
) -> None:
    sgd = optimiser("sgd", 0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(sgd, "min", times, patience, threshold, threshold_mode="rel")
    schedule = Plateau(watch="train-loss", times=times, patience=patience, threshold=threshold)
    watched: list[Watched] = []
    for loss in losses:
        scheduler.step(loss)
        watched.append(Watched(train_loss=loss, train_accuracy=0.5, test_accuracy=0.5))
        clock = Clock(step=len(watched), steps_per_epoch=1, epochs=100)
        assert schedule.at(clock, Rates(lr=0.1, momentum=0.9), watched) == pytest.approx(now(sgd), rel=1e-9)


@settings(max_examples=150, deadline=None)
@example("test-accuracy", [0.9, 0.99, 0.99, 0.98], 1, 1e-4, 0.1)
@given(
    st.sampled_from(("train-accuracy", "test-accuracy")),
    ACCURACIES, st.integers(0, 4), st.sampled_from((0.0, 1e-4, 0.1, 1.0)), st.floats(0, 0.99),
)  # fmt: skip
def test_plateau_on_an_accuracy_is_pytorchs_reduce_on_plateau_upwards(
    watch: str, accuracies: list[float], patience: int, threshold: float, times: float
) -> None:
    sgd = optimiser("sgd", 0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(sgd, "max", times, patience, threshold, threshold_mode="rel")
    schedule = Plateau(watch=watch, times=times, patience=patience, threshold=threshold)
    watched: list[Watched] = []
    for accuracy in accuracies:
        scheduler.step(accuracy)
        train, test = (accuracy, 0.5) if watch == "train-accuracy" else (0.5, accuracy)
        watched.append(Watched(train_loss=1.0, train_accuracy=train, test_accuracy=test))
        clock = Clock(step=len(watched), steps_per_epoch=1, epochs=100)
        assert schedule.at(clock, Rates(lr=0.1, momentum=0.9), watched) == pytest.approx(now(sgd), rel=1e-9)


def test_plateau_on_a_published_history_never_lowers_the_rate() -> None:
    # The test accuracies of a published run; its scheduler (patience 10, factor 0.1) never fired.
    percent = (96.65, 98.12, 98.55, 98.76, 99.22, 99.02, 98.75, 99.11, 99.12, 99.17, 99.22, 99.23, 99.16, 99.24, 99.22)
    watched = [Watched(train_loss=0.1, train_accuracy=0.9, test_accuracy=value / 100) for value in percent]
    base = Rates(lr=0.01, momentum=0.9)
    for epoch in range(15):
        clock = Clock(step=epoch, steps_per_epoch=1, epochs=15)
        assert Plateau(watch="test-accuracy").at(clock, base, watched[:epoch]) == base
    assert Plateau(watch="test-accuracy", patience=2).at(clock, base, watched) != base


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(every=0), "step needs every=1 or more epochs"),
        (lambda: OneCycle(warmup=101), "onecycle's warmup is at most 100%"),
        (lambda: OneCycle(div=0), "onecycle divides by div and final_div; neither can be 0"),
        (lambda: OneCycle(final_div=0), "onecycle divides by div and final_div; neither can be 0"),
        (lambda: OneCycle(high_momentum=1), "onecycle's low_momentum and high_momentum are below 1"),
        (lambda: Cosine(warmup=60, tail=41), "cosine's warmup and tail are at most 100% together"),
        (lambda: Plateau(times=1), "plateau lowers the learning rate: times is below 1"),
    ],
)
def test_a_schedule_that_makes_no_sense_says_why(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
