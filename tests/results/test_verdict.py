from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import comb
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from smallprint.results.runs import Run
from smallprint.results.sequential import Certificate
from smallprint.results.verdict import Verdict, counted_clauses, judge, worst_of_last
from smallprint.spec.contract import Certainty, Contract

MakeRun = Callable[..., Run]
SAID: dict[str, Any] = {"accuracy": ">= 99.4%", "last_epochs": 3, "parameters": "< 8000", "epochs": "<= 15"}
PLAIN = Contract.parse(SAID)
SURE = Contract.parse({**SAID, "certainty": "95% of seeds, 95% confidence"})
GOOD, BAD = [99.0, 99.41, 99.40, 99.45], [99.0, 99.41, 99.34, 99.39]


def verdict_of(make_run: MakeRun, passed: int, of: int, contract: Contract = PLAIN) -> Verdict:
    return judge(contract, [make_run(GOOD if seed < passed else BAD, seed=seed) for seed in range(of)])


def clause(make_run: MakeRun, name: str, contract: Contract = PLAIN, **run: Any) -> tuple[bool, float, str]:
    (seed,) = judge(contract, [make_run(run.pop("test", GOOD), **run)]).seeds
    (found,) = [clause for clause in seed.clauses if clause.name == name]
    assert str(found) == f"{name} {'kept' if found.kept else 'broken'}: {found.text}"
    return found.kept, found.margin, found.text


def test_each_clause_says_what_it_found_and_how_far_it_is_from_its_limit(make_run: MakeRun) -> None:
    assert clause(make_run, "accuracy") == (True, 0, "epoch 3 had 9,940 of 10,000, 0 to spare")
    assert clause(make_run, "accuracy", test=BAD) == (
        False, -6, "epoch 3 had 9,934 of 10,000, 6 short (2 of the last 3 epochs short)",
    )  # fmt: skip
    assert clause(make_run, "parameters") == (True, 135, "7,864 (< 8000), 135 to spare")
    assert clause(make_run, "parameters", parameters=8_172) == (False, -173, "8,172 (< 8000), 173 too many")
    assert clause(make_run, "parameters", parameters=8_000)[:2] == (False, -1)
    assert clause(make_run, "parameters", parameters=7_999)[:2] == (True, 0)
    assert clause(make_run, "epochs") == (True, 11, "4 (<= 15), 11 to spare")
    assert clause(make_run, "epochs", test=GOOD * 4) == (False, -1, "16 (<= 15), 1 too many")


def test_with_one_epoch_to_judge_the_clause_says_only_that_one(make_run: MakeRun) -> None:
    contract = PLAIN.amend("last_epochs = 1")
    assert clause(make_run, "accuracy", contract, test=BAD) == (False, -1, "epoch 4 had 9,939 of 10,000, 1 short")


def test_optional_clauses_are_judged_when_they_are_promised(make_run: MakeRun) -> None:
    assert [found.name for found in judge(PLAIN, [make_run(GOOD)]).seeds[0].clauses] == [
        "accuracy", "parameters", "epochs",
    ]  # fmt: skip
    contract = PLAIN.amend("macs <= 1000000, gap <= 0.5 points")
    assert clause(make_run, "macs", contract) == (False, -45_312, "1,045,312 (<= 1000000), 45,312 too many")
    kept, margin, text = clause(make_run, "gap", contract, train=[99.9, 99.5, 99.9, 99.5])
    assert (kept, text) == (True, "in epoch 3 train minus test was +0.50 points (<= 0.5 points)")
    assert margin == 0
    assert not clause(make_run, "gap", contract, train=[99.0, 99.5, 99.91, 99.5])[0]
    kept, margin, text = clause(make_run, "gap", contract, train=[99.9, 98.4, 98.4, 98.4])
    assert (kept, margin, text) == (True, 1.5, "in epoch 3 train minus test was -1.00 points (<= 0.5 points)")


@pytest.mark.parametrize(("train", "test"), [(99.0, 98.5), (98.3, 97.8), (99.9, 99.4), (90.1, 89.6)])
def test_a_gap_of_exactly_the_limit_is_kept_whatever_floats_make_of_it(
    make_run: MakeRun, train: float, test: float
) -> None:
    contract = Contract.parse({"accuracy": ">= 1%", "last_epochs": 1, "gap": "<= 0.5 points"})
    assert clause(make_run, "gap", contract, test=[test], train=[train])[:2] == (True, 0)
    assert not clause(make_run, "gap", contract.amend("gap < 0.5 points"), test=[test], train=[train])[0]


def test_accuracy_is_judged_on_whole_images_of_any_test_set(make_run: MakeRun) -> None:
    contract = PLAIN.amend("last_epochs = 1")
    run = make_run([99.0], test_total=359)
    for correct, kept, text in ((357, True, "0 to spare"), (356, False, "1 short")):
        last = replace(run.epochs[0], test_correct=correct)
        (seed,) = judge(contract, [replace(run, epochs=(last,))]).seeds
        assert (seed.kept, seed.clauses[0].text) == (kept, f"epoch 1 had {correct} of 359, {text}")


def test_of_equally_bad_epochs_the_first_is_named(make_run: MakeRun) -> None:
    assert worst_of_last(make_run([98.0, 99.2, 99.1, 99.1]), 3) == (3, 9_910, 10_000)
    assert worst_of_last(make_run([98.0]), 2) is None


def test_a_run_shorter_than_what_it_must_hold_in_breaks_the_contract(make_run: MakeRun) -> None:
    kept, margin, text = clause(make_run, "accuracy", test=[99.9, 99.9])
    assert (kept, margin, text) == (False, float("-inf"), "it must hold in each of the last 3 epochs, and there are 2")


def test_a_diverged_run_has_ended_and_broken_its_promise(make_run: MakeRun) -> None:
    verdict = judge(PLAIN.amend("gap < 1 points"), [make_run(GOOD), make_run(GOOD[:2], seed=1, status="diverged")])
    assert (verdict.passed, verdict.of, verdict.outcome) == (1, 2, "broken")
    assert verdict.seeds[1].kept is False
    assert verdict.seeds[1].clauses[0].text == "the loss was no longer a number in epoch 2"
    nothing = judge(PLAIN.amend("gap < 1 points"), [make_run([], status="diverged")])
    assert nothing.seeds[0].clauses[0].text == "the loss was no longer a number in epoch 0"


@pytest.mark.parametrize("status", ["training", "failed"])
def test_a_run_that_has_not_ended_does_not_count(make_run: MakeRun, status: str) -> None:
    verdict = judge(PLAIN, [make_run(GOOD), make_run(BAD, seed=1, status=status)])
    assert (verdict.passed, verdict.of, verdict.outcome) == (1, 1, "kept")
    assert [seed.kept for seed in verdict.seeds] == [True, None]
    nothing = judge(PLAIN, [make_run(BAD, status=status)])
    assert (nothing.of, nothing.outcome, nothing.text) == (0, "undecided", "undecided: no run has ended")
    assert (nothing.interval, nothing.certificate) == ((0.0, 1.0), "undecided")


# --- over seeds -----------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 80).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))), st.sampled_from((90, 95, 99)))
def test_the_interval_is_that_of_clopper_and_pearson(make_run: MakeRun, seeds: tuple[int, int], percent: int) -> None:
    passed, of = seeds
    contract = PLAIN.amend(f"certainty = 95% of seeds, {percent}% confidence")
    verdict = verdict_of(make_run, passed, of, contract)
    exact = binomtest(passed, of).proportion_ci(percent / 100, method="exact")
    assert verdict.interval == pytest.approx((exact.low, exact.high), abs=1e-9)


@settings(max_examples=80, deadline=None)
@example((0, 1), 95, 95)
@example((1, 1), 5, 95)
@example((59, 59), 95, 95)
@example((58, 58), 95, 95)
@given(
    st.integers(1, 80).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))),
    st.sampled_from((5, 50, 80, 95, 99)),
    st.sampled_from((90, 95, 99)),
)
def test_a_certificate_rests_on_the_exact_binomial_probability(
    make_run: MakeRun, seeds: tuple[int, int], rate: int, confidence: int
) -> None:
    (passed, of), share, doubt = seeds, Fraction(rate, 100), 1 - Fraction(confidence, 100)
    chance = [comb(of, count) * share**count * (1 - share) ** (of - count) for count in range(of + 1)]
    as_good, as_bad = sum(chance[passed:]), sum(chance[: passed + 1])
    expected = "certified" if as_good <= doubt else "refuted" if as_bad < doubt else "undecided"
    contract = PLAIN.amend(f"certainty = {rate}% of seeds, {confidence}% confidence")
    assert verdict_of(make_run, passed, of, contract).certificate == expected


def test_fifty_nine_clean_seeds_certify_and_fifty_eight_do_not(make_run: MakeRun) -> None:
    enough, short = verdict_of(make_run, 59, 59, SURE), verdict_of(make_run, 58, 58, SURE)
    assert (enough.certificate, enough.outcome, enough.more_clean_seeds) == ("certified", "kept", 0)
    assert (short.certificate, short.outcome, short.more_clean_seeds) == ("undecided", "undecided", 1)
    assert enough.text == (
        "kept: 59 of 59 seeds kept the contract (pass rate 93.9% to 100.0% at 95%); "
        "certified for 95% of seeds, 95% confidence, with the number of seeds fixed beforehand"
    )
    assert short.text == (
        "undecided: 58 of 58 seeds kept the contract (pass rate 93.8% to 100.0% at 95%); "
        "with the number of seeds fixed beforehand, 1 more clean seed would certify 95% of seeds, 95% confidence"
    )


def test_one_broken_seed_asks_for_thirty_four_more_clean_ones(make_run: MakeRun) -> None:
    verdict = verdict_of(make_run, 58, 59, SURE)
    assert (verdict.certificate, verdict.more_clean_seeds) == ("undecided", 34)  # 93 seeds with one failure
    assert verdict_of(make_run, 92, 93, SURE).certificate == "certified"
    assert verdict_of(make_run, 91, 92, SURE).certificate == "undecided"


def test_enough_broken_seeds_refute(make_run: MakeRun) -> None:
    verdict = verdict_of(make_run, 1, 3, SURE)
    assert (verdict.certificate, verdict.outcome) == ("refuted", "broken")
    assert verdict.text == (
        "broken: 1 of 3 seeds kept the contract (pass rate 0.8% to 90.6% at 95%); "
        "refuted for 95% of seeds, 95% confidence"
    )
    assert verdict_of(make_run, 0, 2, SURE).certificate == "refuted"
    assert verdict_of(make_run, 0, 1, SURE).certificate == "undecided"  # one in twenty fails once in twenty times


def fresh(passed: int, of: int) -> Certificate:
    return Certificate(certainty=Certainty(), first_seed=1000, passed=passed, of=of)


def runs_of(make_run: MakeRun, tuned: int, passed: int, of: int) -> list[Run]:
    """So many seeds that were trained before, and fresh ones."""
    return [
        *(make_run(GOOD, seed=seed) for seed in range(tuned)),
        *(make_run(GOOD if number < passed else BAD, seed=1000 + number) for number in range(of)),
    ]


def test_where_a_certainty_is_asked_for_the_fresh_seeds_alone_count_and_decide(make_run: MakeRun) -> None:
    kept = judge(SURE, runs_of(make_run, 3, 66, 67), fresh(66, 66))
    assert (kept.outcome, kept.passed, kept.of, kept.more_clean_seeds) == ("kept", 66, 66, 0)
    assert kept.interval == fresh(66, 66).interval
    assert kept.text == f"kept, {fresh(66, 66).text}"
    assert [seed.seed for seed in kept.seeds if not kept.counts(seed)] == [0, 1, 2, 1066]  # one was trained ahead
    broken = judge(SURE, runs_of(make_run, 66, 0, 2), fresh(0, 2))
    assert (broken.outcome, broken.passed, broken.of) == ("broken", 0, 2)
    assert broken.text.startswith("broken, refuted for 95% of seeds, 95% confidence: 0 of 2 fresh seeds")
    undecided = judge(SURE, runs_of(make_run, 66, 1, 1), fresh(1, 1))
    assert (undecided.outcome, undecided.more_clean_seeds) == ("undecided", 65)
    assert undecided.text.startswith("undecided: 1 of 1 fresh seed kept the contract")
    begun = judge(SURE, runs_of(make_run, 66, 0, 0), fresh(0, 0))
    assert (begun.outcome, begun.of) == ("undecided", 0)
    assert begun.text.startswith("undecided: no fresh seed has ended; 66 clean seeds")


def test_without_a_certainty_fresh_seeds_are_seeds_like_others_and_what_they_certify_is_added(
    make_run: MakeRun,
) -> None:
    verdict = judge(PLAIN, runs_of(make_run, 3, 66, 67), fresh(66, 66))
    assert (verdict.outcome, verdict.passed, verdict.of, verdict.certificate) == ("broken", 69, 70, "certified")
    assert all(verdict.counts(seed) for seed in verdict.seeds)
    assert verdict.text.endswith(f"; {fresh(66, 66).text}")
    assert "would certify" not in verdict.text
    assert verdict.interval == judge(PLAIN, runs_of(make_run, 3, 66, 67)).interval
    begun = judge(PLAIN, runs_of(make_run, 3, 0, 0), fresh(0, 0))
    assert begun.interval[0] > 0.2
    assert begun.text.startswith("kept: 3 of 3 seeds kept the contract (pass rate 29.2% to 100.0% at 95%)")


def test_where_what_is_counted_breaks_the_contract_no_number_of_seeds_is_promised(make_run: MakeRun) -> None:
    verdict = verdict_of(make_run, 1, 1, PLAIN.amend("parameters < 7864"))
    assert [clause.name for clause in verdict.excess] == ["parameters"]
    assert verdict.text == (
        "broken: 0 of 1 seed kept the contract (pass rate 0.0% to 97.5% at 95%); broken whatever a seed does"
    )


def test_what_is_counted_is_judged_before_anything_is_trained(make_run: MakeRun) -> None:
    contract = PLAIN.amend("macs <= 1000000")
    clauses = counted_clauses(contract, parameters=7_864, macs=1_045_312, epochs=4)
    assert [(clause.name, clause.kept) for clause in clauses] == [
        ("parameters", True), ("epochs", True), ("macs", False),
    ]  # fmt: skip
    assert clauses == judge(contract, [make_run(GOOD)]).seeds[0].clauses[1:]
    assert counted_clauses(Contract.parse({"accuracy": ">= 99%"}), parameters=1, macs=1, epochs=1) == ()


def test_without_a_certainty_every_seed_decides(make_run: MakeRun) -> None:
    kept, broken = verdict_of(make_run, 2, 2), verdict_of(make_run, 19, 20)
    assert (kept.outcome, kept.certificate) == ("kept", "undecided")
    assert kept.text == (
        "kept: 2 of 2 seeds kept the contract (pass rate 15.8% to 100.0% at 95%); "
        "with the number of seeds fixed beforehand, 57 more clean seeds would certify 95% of seeds, 95% confidence"
    )
    assert (broken.outcome, broken.certificate) == ("broken", "undecided")
    one = verdict_of(make_run, 1, 1)
    assert one.text.startswith("kept: 1 of 1 seed kept the contract (pass rate 2.5% to 100.0% at 95%)")


def test_a_certainty_that_is_out_of_reach_promises_no_number_of_seeds(make_run: MakeRun) -> None:
    verdict = verdict_of(make_run, 1, 1, PLAIN.amend("certainty = 99.9999% of seeds, 99% confidence"))
    assert (verdict.outcome, verdict.more_clean_seeds) == ("undecided", None)
    assert verdict.text == "undecided: 1 of 1 seed kept the contract (pass rate 0.5% to 100.0% at 99%)"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(0, 4))
def test_the_number_of_further_clean_seeds_is_the_smallest_that_certifies(
    make_run: MakeRun, passed: int, broken: int
) -> None:
    contract = PLAIN.amend("certainty = 80% of seeds, 90% confidence")
    more = verdict_of(make_run, passed, passed + broken, contract).more_clean_seeds
    assert more is not None
    assert verdict_of(make_run, passed + more, passed + more + broken, contract).certificate == "certified"
    if more:
        fewer = passed + more - 1
        assert verdict_of(make_run, fewer, fewer + broken, contract).certificate != "certified"
