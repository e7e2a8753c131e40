"""Who goes on, and what is learnt on the way."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from smallprint.searching.candidate import Shown
from smallprint.searching.halving import REDUCTION, Outlook
from tests.searching.candidates import LEVELS, candidate

ALLOWED = 0.01


def test_the_worth_of_one_that_just_keeps_the_contract_is_its_amount() -> None:
    one = candidate(1, 1000, (0.03,), (0.02,), (ALLOWED,))
    assert Outlook([one], LEVELS, ALLOWED).worth(one) == pytest.approx(1000)


def test_a_small_one_that_errs_more_may_be_worth_as_much_as_a_large_one_that_errs_less() -> None:
    half, slope = candidate(1, 500, (0.1,), (0.05,), (ALLOWED * 2**0.75,)), 0.75
    outlook = Outlook([half], LEVELS, ALLOWED)
    assert outlook.slope == slope
    assert outlook.worth(half) == pytest.approx(1000)


def test_one_in_three_goes_on_and_the_best_one_always() -> None:
    field = [candidate(number, 1000, (0.02 + 0.01 * number,)) for number in range(9)]
    outlook = Outlook(field, LEVELS, ALLOWED)
    assert [outlook.goes_on(one)[0] for one in field] == [True] * (9 // REDUCTION) + [False] * 6
    assert outlook.goes_on(field[8]) == (False, "8 of 9 did better at this level")


def test_while_there_are_few_the_second_goes_on_too() -> None:
    field = [candidate(number, 1000, (0.02 + 0.01 * number,)) for number in range(3)]
    outlook = Outlook(field, LEVELS, ALLOWED)
    assert [outlook.goes_on(one)[0] for one in field] == [True, True, False]


def test_rivals_are_those_that_have_been_through_the_same_level() -> None:
    veteran = candidate(0, 1000, (0.05,), (0.03,))
    novice = candidate(1, 1000, (0.04,))
    outlook = Outlook([veteran, novice], LEVELS, ALLOWED)
    assert outlook.rank(novice, 0) == (0, 2)
    assert outlook.rank(veteran, 1) == (0, 1)


def test_what_diverged_or_can_no_longer_keep_the_contract_is_out() -> None:
    stopped = candidate(0, 10, (0.001,), (0.001,))
    stopped = stopped.having(Shown(level=2, errors=(0.001,), stopped=True))
    diverged = replace(candidate(1, 10), shown=(Shown(level=0, errors=(0.0,), diverged=True),))
    outlook = Outlook([stopped, diverged], LEVELS, ALLOWED)
    assert outlook.goes_on(stopped) == (False, "it could no longer keep the contract")
    assert outlook.goes_on(diverged) == (False, "it diverged")


def test_what_a_short_training_leaves_is_learnt_from_those_that_went_on() -> None:
    early = Shown(level=0, errors=(0.08,))
    alone = candidate(0, 1000, (0.08,))
    assert Outlook([alone], LEVELS, ALLOWED).error(early) == pytest.approx(0.08 * math.sqrt(3 / 15))
    through = [candidate(number, 1000, (0.08,), (0.04,), (0.02,)) for number in range(1, 8)]
    outlook = Outlook([alone, *through], LEVELS, ALLOWED)
    assert outlook.error(early) == pytest.approx(0.02)
    assert outlook.error(Shown(level=1, errors=(0.04,))) == pytest.approx(0.02)
    assert outlook.excess(early) == pytest.approx(2)


def test_how_the_error_falls_with_the_size_is_learnt_from_many() -> None:
    def field(slope: float) -> list[float]:
        every = [
            candidate(number, 500 + 50 * number, (1,), (1,), (0.02 * (1000 / (500 + 50 * number)) ** slope,))
            for number in range(400)
        ]
        return [Outlook(every, LEVELS, ALLOWED).slope, Outlook(every[:1], LEVELS, ALLOWED).slope]

    assert field(0.5) == [pytest.approx(0.5, abs=0.03), 0.75]
    assert field(-2.0)[0] == 0.3  # larger ones erred more: no reason to believe it
    assert field(9.0)[0] == 1.5


def test_none_wrong_at_all_is_no_division_by_nothing() -> None:
    perfect = candidate(0, 1000, (0.0,), (0.0,), (0.0,))
    assert 0 < Outlook([perfect], LEVELS, 0.0).worth(perfect) <= 1000
