"""The test of the pass rate, held against exact probabilities: every path of seeds is counted, none is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.results.sequential import Certificate, fewest, outcome, rate_at_least, rate_at_most
from smallprint.spec.contract import Certainty

USUAL = Certainty()
SOME = (
    USUAL,
    Certainty(rate=Fraction(60, 100), confidence=Fraction(80, 100)),
    Certainty(rate=Fraction(99, 100), confidence=Fraction(90, 100)),
    Certainty(rate=Fraction(5, 100), confidence=Fraction(95, 100)),
)


def certificate(passed: int, of: int, certainty: Certainty = USUAL) -> Certificate:
    return Certificate(certainty=certainty, first_seed=1000, passed=passed, of=of)


def states(rate: float, most: int, certainty: Certainty) -> Iterator[tuple[str, int, float]]:
    """Every way in which so many looks can end, with the number of looks and its probability: all paths, added up."""
    needs = [_clean_needed(broken, most, certainty) for broken in range(most + 1)]
    allows = [_broken_needed(passed, most, certainty) for passed in range(most + 1)]
    undecided = {0: 1.0}  # probability, by the number of seeds that broke the contract
    for of in range(1, most + 1):
        after: dict[int, float] = {}
        for broken, chance in undecided.items():
            after[broken] = after.get(broken, 0.0) + chance * rate
            after[broken + 1] = after.get(broken + 1, 0.0) + chance * (1 - rate)
        undecided = {}
        for broken, chance in after.items():
            if of - broken >= needs[broken]:
                yield "certified", of, chance
            elif broken >= allows[of - broken]:
                yield "refuted", of, chance
            elif chance > 1e-15:
                undecided[broken] = chance
    yield from (("undecided", most, chance) for chance in undecided.values())


def _clean_needed(broken: int, most: int, certainty: Certainty) -> float:
    """Seeds that must keep the contract beside so many that broke it."""
    if outcome(most, broken, certainty) != "certified":
        return inf
    found = fewest(lambda passed: outcome(passed, broken, certainty) == "certified")
    return inf if found is None else found


def _broken_needed(passed: int, most: int, certainty: Certainty) -> float:
    if outcome(passed, most, certainty) != "refuted":
        return inf
    found = fewest(lambda broken: outcome(passed, broken, certainty) == "refuted")
    return inf if found is None else found


def chance(wanted: str, rate: float, most: int, certainty: Certainty = USUAL) -> float:
    return sum(chance for said, _, chance in states(rate, most, certainty) if said == wanted)


@pytest.mark.parametrize("certainty", SOME, ids=str)
@pytest.mark.parametrize("wrong", ["certified", "refuted"])
def test_at_the_promised_rate_neither_is_said_too_often(certainty: Certainty, wrong: str) -> None:
    doubt = float(1 - certainty.confidence)
    found = chance(wrong, float(certainty.rate), 1_000, certainty)
    assert 0.1 * doubt < found <= doubt


def test_two_thousand_looks_are_as_safe_as_one() -> None:
    assert chance("certified", 0.95, 2_000) < 0.05


@settings(max_examples=15, deadline=None)
@given(st.floats(0.5, 0.95), st.floats(0.95, 0.999))
def test_below_and_above_the_promised_rate_it_is_wrong_even_less_often(below: float, above: float) -> None:
    assert chance("certified", below, 300) <= 0.05
    assert chance("refuted", above, 300) <= 0.05


def test_the_numbers_that_the_module_gives_for_its_stakes() -> None:
    needed = [broken + _clean_needed(broken, 400, USUAL) for broken in (0, 1, 2)]
    assert needed == [66, 137, 174]
    assert [round(100 * chance("certified", rate, 200)) for rate in (0.99, 0.98)] == [80, 43]


def test_a_rung_that_rarely_keeps_its_contract_is_refuted_within_a_few_seeds() -> None:
    assert outcome(0, 1, USUAL) == "undecided"  # one in twenty breaks once in twenty times
    assert outcome(0, 2, USUAL) == "refuted"
    looks = {rate: sum(of * chance for _, of, chance in states(rate, 200, USUAL)) for rate in (0.5, 0.8)}
    assert looks[0.5] < 6
    assert looks[0.8] < 30


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 120), st.integers(0, 20), st.sampled_from(SOME))
def test_it_is_certified_exactly_when_the_bound_has_reached_the_promised_rate(
    passed: int, broken: int, certainty: Certainty
) -> None:
    doubt, rate = float(1 - certainty.confidence), float(certainty.rate)
    low, high = rate_at_least(passed, broken, doubt), rate_at_most(passed, broken, doubt)
    assert 0 <= low <= 1
    assert 0 <= high <= 1
    if abs(low - rate) > 1e-9 < abs(high - rate):
        expected = "certified" if low > rate else "refuted" if high < rate else "undecided"
        assert outcome(passed, broken, certainty) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(0, 6), st.sampled_from((0.05, 0.2)))
def test_the_bounds_are_where_the_wealth_of_plain_bets_reaches_one_over_the_doubt(
    passed: int, broken: int, doubt: float
) -> None:
    def wealth(rate: float, stakes: dict[float, float], won: int, lost: int) -> float:
        """Bet after bet, as a gambler would."""
        purses = dict(stakes)
        for keeps in [True] * won + [False] * lost:
            purses = {u: has * (1 + u * (1 - rate) / rate if keeps else 1 - u) for u, has in purses.items()}
        return sum(purses.values())

    for found, stakes, won, lost in (
        (rate_at_least(passed, broken, doubt), {1.0: 0.5, 0.8: 0.25, 0.6: 0.25}, passed, broken),
        (1 - rate_at_most(passed, broken, doubt), {1 / 2**k: 0.2 for k in range(5)}, broken, passed),
    ):
        if 0.001 < found < 0.999:
            assert wealth(found - 1e-7, stakes, won, lost) > 1 / doubt > wealth(found + 1e-7, stakes, won, lost)
        else:
            assert wealth(0.01, stakes, won, lost) < 1 / doubt or wealth(0.99, stakes, won, lost) > 1 / doubt


@pytest.mark.parametrize("rate", [0.7, 0.95])
def test_the_bound_is_above_the_true_rate_at_any_time_no_more_often_than_the_doubt_allows(rate: float) -> None:
    most, over = 300, 0.0
    still = {0: 1.0}
    for of in range(1, most + 1):
        after: dict[int, float] = {}
        for broken, chance_of in still.items():
            after[broken] = after.get(broken, 0.0) + chance_of * rate
            after[broken + 1] = after.get(broken + 1, 0.0) + chance_of * (1 - rate)
        still = {}
        for broken, chance_of in after.items():
            if chance_of < 1e-13:
                continue
            if rate_at_least(of - broken, broken, 0.05) > rate:
                over += chance_of
            else:
                still[broken] = chance_of
    assert 0.005 < over <= 0.05


def test_very_many_seeds_are_counted_too() -> None:
    assert certificate(99_000, 100_000).outcome == "certified"
    assert certificate(1_000, 100_000).outcome == "refuted"
    low, high = certificate(9_000, 10_000).interval
    assert 0.84 < low < 0.9 < high < 0.95


def test_a_certificate_says_what_it_rests_on() -> None:
    usual = "95% of seeds, 95% confidence"
    assert certificate(0, 0).text == f"no fresh seed has ended; 66 clean seeds would certify {usual}"
    assert certificate(65, 65).text == (
        "65 of 65 fresh seeds kept the contract (pass rate at least 94.9% with 95% confidence, "
        f"however often one looks); 1 more clean seed would certify {usual}"
    )
    assert certificate(66, 66).text == (
        "certified for 95% of seeds, 95% confidence: 66 of 66 fresh seeds kept the contract "
        "(pass rate at least 95.0% with 95% confidence, however often one looks)"
    )
    assert certificate(0, 2).text == (
        "refuted for 95% of seeds, 95% confidence: 0 of 2 fresh seeds kept the contract "
        "(pass rate at most 87.7% with 95% confidence, however often one looks)"
    )
    hard = Certainty(rate=Fraction(999_999, 1_000_000), confidence=Fraction(99, 100))
    assert certificate(1, 1, hard).text.endswith("; 99.9999% of seeds, 99% confidence is out of reach")


def test_only_the_seeds_up_to_the_decision_count() -> None:
    assert [seed for seed in range(995, 1010) if certificate(2, 3).counts(seed)] == [1000, 1001, 1002]


@given(st.integers(0, 5_000))
def test_the_fewest_that_are_enough_are_found(needed: int) -> None:
    assert fewest(lambda number: number >= needed) == needed


def test_what_is_never_enough_is_given_up() -> None:
    assert fewest(lambda _: False) is None
