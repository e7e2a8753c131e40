from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smallprint.spec.contract import Bound, Certainty, Contract
from smallprint.spec.errors import NotationError, SmallprintError
from smallprint.spec.notation import LARGEST

SAID: dict[str, object] = {
    "accuracy": ">= 99.4%", "last_epochs": 5, "parameters": "< 8000", "epochs": "<= 15",
    "certainty": "95% of seeds, 95% confidence",
}  # fmt: skip


def decimals(digits: int, places: int) -> st.SearchStrategy[Fraction]:
    return st.builds(
        lambda whole, place: Fraction(whole, 10**place), st.integers(1, 10**digits), st.integers(0, places)
    )


def upper(values: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Bound]:
    return st.builds(Bound, relation=st.sampled_from(("<", "<=")), value=values)


SHARES = st.integers(1, 10**14 - 1).map(lambda part: Fraction(part, 10**14))
CONTRACTS = st.builds(
    Contract,
    accuracy=st.builds(Bound, relation=st.sampled_from((">", ">=")), value=SHARES.map(lambda share: share * 100)),
    last_epochs=st.integers(1, 20),
    parameters=st.none() | upper(decimals(25, 0).map(lambda count: count + 1)),
    epochs=st.none() | upper(st.integers(21, LARGEST).map(Fraction)),
    macs=st.none() | upper(decimals(20, 10).map(lambda count: count + 1)),
    gap=st.none() | upper(decimals(3, 12)),
    certainty=st.none() | st.builds(Certainty, rate=SHARES, confidence=SHARES),
)


@settings(max_examples=300, deadline=None)
@given(CONTRACTS)
def test_clauses_survive_being_written_and_read_exactly(contract: Contract) -> None:
    clauses = contract.clauses()
    assert set(clauses) <= set(Contract.KEYS)
    assert Contract.parse(clauses) == contract
    assert Contract.parse(clauses).clauses() == clauses


@pytest.mark.parametrize(
    ("accuracy", "total", "needed"),
    [
        (">= 99.4%", 10_000, 9_940),
        ("> 99.4%", 10_000, 9_941),
        (">= 99.4%", 359, 357),
        (">= 100%", 10_000, 10_000),
        (">= 0%", 10_000, 0),
        ("> 0%", 10_000, 1),
        (">= 99.995%", 10_000, 10_000),
        (">= 99.99%", 10_000, 9_999),
        (">= 33.3333333333333333333333%", 3, 1),
        (">= 33.3333333333333333333334%", 3, 2),
    ],
)
def test_how_many_images_must_be_right_is_exact(accuracy: str, total: int, needed: int) -> None:
    assert Contract.parse({"accuracy": accuracy}).correct_needed(total) == needed


@settings(max_examples=200, deadline=None)
@given(st.sampled_from((">", ">=")), st.integers(0, 100_000), st.integers(1, 100_000))
def test_the_needed_number_is_the_first_that_keeps_the_clause(relation: str, thousandths: int, total: int) -> None:
    if relation == ">" and thousandths == 100_000:
        return  # nobody can keep it
    bound = Bound(relation=relation, value=Fraction(thousandths, 1000))
    needed = Contract(accuracy=bound).correct_needed(total)
    assert bound.allows(Fraction(100 * needed, total))
    assert not bound.allows(Fraction(100 * (needed - 1), total))


@pytest.mark.parametrize(
    ("relation", "below", "at", "above", "whole", "half"),
    [
        (">=", False, True, True, 8_000, 8_001),
        (">", False, False, True, 8_001, 8_001),
        ("<=", True, True, False, 8_000, 8_000),
        ("<", True, False, False, 7_999, 8_000),
    ],
)
def test_the_limits_of_each_relation(relation: str, below: bool, at: bool, above: bool, whole: int, half: int) -> None:
    bound = Bound(relation=relation, value=Fraction(8_000))
    assert (bound.allows(7_999), bound.allows(8_000), bound.allows(8_001)) == (below, at, above)
    assert bound.nearest_whole() == whole
    assert Bound(relation=relation, value=Fraction(16_001, 2)).nearest_whole() == half


def test_a_contract_reads_as_a_sentence() -> None:
    assert str(Contract.parse(SAID)) == (
        "at least 99.4% test accuracy in each of the last 5 epochs, fewer than 8,000 parameters, at most 15 epochs, "
        "for 95% of seeds, 95% confidence"
    )
    said = {"accuracy": "> 90%", "last_epochs": 1, "macs": "<= 1_000_000", "gap": "< 0.5 points"}
    assert str(Contract.parse(said)) == (
        "more than 90% test accuracy in the last epoch, at most 1,000,000 multiply-adds, "
        "train less than 0.5 points above test"
    )


def test_an_amendment_changes_the_clauses_it_names_and_no_other() -> None:
    contract = Contract.parse(SAID)
    changed = contract.amend(" accuracy >= 99.3%,last_epochs=3 , parameters <= 7,000")
    assert changed.clauses() == {
        **contract.clauses(),
        "accuracy": ">= 99.3%",
        "last_epochs": 3,
        "parameters": "<= 7000",
    }
    changed = contract.amend("certainty = 90% of seeds, 99% confidence, epochs < 21")
    assert changed.certainty == Certainty(rate=Fraction(9, 10), confidence=Fraction(99, 100))
    assert str(changed.epochs) == "< 21"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a clause reads 'accuracy >= 99.3%' or 'last_epochs = 3', not ''"),
        ("accuracy", "a clause reads 'accuracy >= 99.3%' or 'last_epochs = 3', not 'accuracy'"),
        ("accuracy = 99.3%", "accuracy reads \">= 99.4%\", not '99.3%'"),
        ("acuracy >= 99.3%", "no clause is called 'acuracy'; known: accuracy, last_epochs, parameters, "
         "epochs, macs, gap, "
         "certainty; did you mean 'accuracy'?"),
        ("last_epochs = 1000000", "last_epochs is a whole number from 1 to 999,999, not '1000000'"),
        ("last_epochs = 16", "nobody can keep this: the last 16 epochs do not fit into epochs <= 15"),
    ],
)  # fmt: skip
def test_an_amendment_that_does_not_read_says_how_it_is_written(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        Contract.parse(SAID).amend(text)
    assert str(caught.value) == message


BAD: list[tuple[dict[str, object], str]] = [
    ({}, 'a contract needs an accuracy, such as: accuracy = ">= 99.4%"'),
    ({"accuracy": ">= 101%"}, "nobody can keep this: accuracy ends at 100%, but '>= 101%' asks for more"),
    ({"accuracy": "> 100%"}, "nobody can keep this: accuracy ends at 100%, but '> 100%' asks for more"),
    ({"accuracy": ">= 99.4"}, "accuracy needs its unit, as in \">= 99.4%\"; found '>= 99.4'"),
    ({"accuracy": "<= 99.4%"}, "accuracy is a lower limit and reads \">= 99.4%\", not '<= 99.4%'"),
    ({"accuracy": 99.4}, 'accuracy reads ">= 99.4%", not 99.4'),
    ({"accuracy": ">= 16%" + "0" * 100}, f"accuracy reads \">= 99.4%\", not '>= 16%{'0' * 70}..."),
    ({"accuracy": ">= 9%", "parameters": "> 8000"}, "parameters is an upper limit and reads \"< 8000\", not '> 8000'"),
    ({"accuracy": ">= 9%", "parameters": "< 8000%"}, "parameters is a plain count, as in \"< 8000\", not '< 8000%'"),
    ({"accuracy": ">= 9%", "parameters": "< 1"}, "nobody can keep this: parameters '< 1' leaves not even one"),
    ({"accuracy": ">= 9%", "gap": "<= 0.5"}, "gap needs its unit, as in \"<= 0.5 points\"; found '<= 0.5'"),
    ({"accuracy": ">= 9%", "last_epochs": 0}, "last_epochs is a whole number from 1 to 999,999, not 0"),
    ({"accuracy": ">= 9%", "last_epochs": True}, "last_epochs is a whole number from 1 to 999,999, not True"),
    ({"accuracy": ">= 9%", "epochs": "< 5"}, "nobody can keep this: the last 5 epochs do not fit into epochs < 5"),
    ({"accuracy": ">= 9%", "certainty": "95%"}, "certainty reads \"95% of seeds, 95% confidence\", not '95%'"),
    ({"accuracy": ">= 9%", "certainty": "100% of seeds, 95% confidence"}, "nobody can keep this: certainty "
     "lies between 0% "
     "and 100%, ends excluded, not '100% of seeds, 95% confidence'"),
    ({"accuracy": ">= 9%", "parametres": "< 8"}, "no clause is called 'parametres'; known: accuracy, "
     "last_epochs, parameters, "
     "epochs, macs, gap, certainty; did you mean 'parameters'?"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_a_contract_that_does_not_read_or_cannot_be_kept_says_so(said: dict[str, object], message: str) -> None:
    with pytest.raises(NotationError) as caught:
        Contract.parse(said)
    assert str(caught.value) == message


def test_all_faults_of_a_contract_are_found_at_once() -> None:
    faults = Contract.faults({"last_epochs": 9, "epochs": "<= 3", "gap": "1"})
    assert [key for key, _ in faults] == ["gap", "", "last_epochs"]


CLAUSES = st.lists(
    st.sampled_from((
        "accuracy", "last_epochs", "epochs", "gap", "certainty", ">=", "<", "=", "9", "99.4", "%", " points",
        ",", ", ", " ",
        "95% of seeds", "95% confidence", "9" * 39, "9" * 5000, "1e9", "٣", "²", "\n", "\x00",
    ))
).map("".join)  # fmt: skip
ANY = (
    st.text()
    | CLAUSES
    | st.integers()
    | st.floats()
    | st.none()
    | st.lists(st.text())
    | st.builds(pow, st.just(16), st.just(5000))
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(Contract.KEYS) | st.text(), ANY, max_size=4))
def test_no_value_makes_a_contract_fail_in_any_other_way_than_with_a_message(said: dict[str, Any]) -> None:
    try:
        contract = Contract.parse({"accuracy": ">= 9%", **said})
        assert Contract.parse(contract.clauses()) == contract
        assert str(contract)
    except SmallprintError as fault:
        assert str(fault)


@settings(max_examples=500, deadline=None)
@example("accuracy = 1" + " " * 100_000 + "x")
@example("accuracy = 1" + " \n" * 100_000 + "x")
@example("," * 100_000)
@example(", 9" * 50_000)
@given(st.text() | CLAUSES)
def test_no_text_makes_an_amendment_fail_in_any_other_way_than_with_a_message(text: str) -> None:
    try:
        Contract.parse(SAID).amend(text)
    except SmallprintError as fault:
        assert str(fault)
