"""What held-out images must show."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from statistics import NormalDist

import pytest

from smallprint.results.runs import Environment, Epoch, Run
from smallprint.searching.margin import margin, telling
from smallprint.spec.contract import Contract

CONTRACT = Contract.parse({"accuracy": ">= 99%", "last_epochs": 2, "certainty": "90% of seeds, 95% confidence"})
HERE = Environment(smallprint="0", python="3", torch="2", numpy="2", platform="any", device="cpu", threads=1)
IMAGES = 10_000


def runs(*worst: int, status: str = "finished") -> list[Run]:
    """A run for every count of right images in the worse of the last two epochs."""
    return [
        Run(
            ladder="l", rung="r", seed=seed, status=status, identity="", data="", parameters=1, macs=1, planned=3,
            environment=HERE,
            epochs=tuple(
                Epoch(epoch=number, learning_rate=0.1, train_loss=1, train_correct=1, train_total=1, test_loss=1,
                      test_correct=correct, test_total=IMAGES, seconds=1)
                for number, correct in enumerate((100, right + 30, right), start=1)
            ),
        )
        for seed, right in enumerate(worst)
    ]  # fmt: skip


def test_with_nothing_stored_held_out_images_stand_for_test_images_and_the_noise_is_assumed() -> None:
    found = margin(CONTRACT, {}, {"start": []}, IMAGES)
    coin = sqrt(0.99 * 0.01 / IMAGES)
    assert (found.promised, found.offset, found.line) == (0.99, 0, 0.99)
    assert found.noise == pytest.approx(0.6 * coin)
    assert found.offset_noise == pytest.approx(0.6 * coin * sqrt(2))
    assert found.needed == pytest.approx(0.99 + NormalDist().inv_cdf(0.95) * 0.6 * coin * sqrt(3))
    assert "taken as equal, as no rung has been judged by both yet" in found.text
    assert found.guessed


def test_a_rung_that_both_have_judged_gives_the_offset() -> None:
    found = margin(CONTRACT, {"start": runs(9920, 9930)}, {"start": runs(9900, 9910)}, IMAGES)
    assert found.offset == pytest.approx(0.002)
    assert found.line == pytest.approx(0.988)
    assert (found.rungs, found.seeds) == (1, 2)
    assert "test minus held-out was +0.20 points over 1 rung" in found.text


def test_the_offset_is_a_guess_until_a_rung_that_test_images_have_judged_is_judged_by_held_out_ones() -> None:
    tested = {"start": runs(9920, 9930)}
    assert margin(CONTRACT, tested, {"start": []}, IMAGES).guessed
    assert not margin(CONTRACT, tested, {"start": runs(9900)}, IMAGES).guessed


def test_three_rungs_say_how_much_the_offset_varies() -> None:
    tested = {"a": runs(9920), "b": runs(9930), "c": runs(9940)}
    held = {"a": runs(9910), "b": runs(9910), "c": runs(9910)}
    found = margin(CONTRACT, tested, held, IMAGES)
    assert found.offset == pytest.approx(0.002)
    assumed = 0.36 * 0.99 * 0.01 / IMAGES
    assert found.offset_noise == pytest.approx(sqrt((2 * assumed + 2 * 0.001**2) / 4) * sqrt(4 / 3))


def test_what_is_known_of_more_rungs_never_asks_for_more_while_they_agree() -> None:
    asked = []
    for rungs in range(6):
        tested = {str(rung): runs(9920) for rung in range(rungs)}
        held = {str(rung): runs(9900) for rung in range(rungs)}
        found = margin(CONTRACT, tested, held, IMAGES)
        asked.append(found.needed - found.line)
    assert asked[0] == asked[1]
    assert asked[1:] == sorted(asked[1:], reverse=True)
    assert asked[5] > NormalDist().inv_cdf(0.95) * found.noise


def test_the_noise_of_seeds_is_pooled_with_a_prior_and_only_near_the_promise() -> None:
    near, far = runs(9900, 9920, 9910), runs(9000, 9700)
    found = margin(CONTRACT, {"near": near, "far": far}, {"near": []}, IMAGES)
    assumed = 0.36 * 0.99 * 0.01 / IMAGES
    assert found.noise == pytest.approx(sqrt((2 * assumed + 2 * 0.001**2) / 4))
    assert found.seeds == 2


def test_runs_that_have_not_finished_say_nothing() -> None:
    assert margin(CONTRACT, {"a": runs(9950, status="failed")}, {"a": runs(9900)}, IMAGES).rungs == 0


def test_more_noise_asks_for_more() -> None:
    quiet = margin(CONTRACT, {}, {"a": runs(*[9905, 9906] * 5)}, IMAGES)
    loud = margin(CONTRACT, {}, {"a": runs(*[9880, 9930] * 5)}, IMAGES)
    assert loud.needed > quiet.needed > quiet.line
    assert replace(loud, rate=0.5).needed < loud.needed


def test_nothing_asks_for_more_than_every_image() -> None:
    strict = Contract.parse({"accuracy": ">= 100%", "last_epochs": 1})
    assert margin(strict, {}, {}, 10).needed == 1


def test_the_rungs_that_tell_of_the_margin_are_those_nearest_the_promise_with_two_seeds() -> None:
    stored = {
        "far": runs(9000, 9000), "near": runs(9895, 9890), "once": runs(9900), "nearest": runs(9899, 9900),
        "above": runs(9980, 9980),
    }  # fmt: skip
    assert telling(CONTRACT, stored) == ["nearest", "near", "above"]
