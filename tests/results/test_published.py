"""A published run is held against the contract like one of ours, as far as its source reported it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smallprint.results.published import PublishedVerdict, judge_published
from smallprint.results.runs import Run
from smallprint.results.verdict import judge
from smallprint.spec.contract import Contract
from smallprint.spec.ladder import Published
from smallprint.spec.ladder_file import read_ladder

MakeRun = Callable[..., Run]
LADDERS = {name: read_ladder(name) for name in ("progressive", "digits")}
CONTRACT = Contract.parse({"accuracy": ">= 99.4%", "last_epochs": 2, "parameters": "< 8000", "epochs": "<= 3"})


def verdict(published: Published | None, contract: Contract = CONTRACT, name: str = "progressive") -> PublishedVerdict:
    ladder = LADDERS[name]
    found = judge_published(contract, ladder, replace(ladder.rungs[0], published=published))
    assert found
    return found


@given(st.integers(0, 10_000))
@example(9_940)
def test_a_published_percentage_stands_for_whole_images(hundredths: int) -> None:
    percent = f"{hundredths // 100}.{hundredths % 100:02d}"
    contract = replace(CONTRACT, accuracy=Contract.parse({"accuracy": f">= {percent}%"}).accuracy)
    accuracy = verdict(Published(test=(float(percent),) * 2), contract).clauses[0]
    assert (accuracy.name, accuracy.kept, accuracy.margin) == ("accuracy", True, 0)


def test_the_images_are_those_of_the_ladders_data_set() -> None:
    found = verdict(Published(test=(96.1, 97.5)), name="digits")
    assert found.clauses[0].text == "epoch 1 had 345 of 359, 12 short (2 of the last 2 epochs short)"


@pytest.mark.parametrize("test", [(99.4, 99.4), (99.39, 99.4), (90.0, 99.4, 99.41), (99.4, 99.4, 99.4, 99.4), (99.9,)])
def test_a_curve_is_judged_like_a_run_of_ours_that_measured_it(test: tuple[float, ...], make_run: MakeRun) -> None:
    found = verdict(Published(parameters=7_900, test=test))
    ours = judge(CONTRACT, [make_run(test, parameters=7_900)]).seeds[0]
    assert (found.clauses, found.kept) == (ours.clauses, ours.kept)


def test_a_source_that_does_not_count_its_parameters_has_those_of_the_rung() -> None:
    assert verdict(Published(test=(99.4, 99.4))).clauses[1].text == "7,704 (< 8000), 295 to spare"
    assert verdict(Published(test=(99.4, 99.4), parameters=8_000)).outcome == "broken"


def test_without_its_curve_a_run_can_be_known_to_break_the_contract_but_not_to_keep_it() -> None:
    known = verdict(Published(parameters=7_000, best_test=99.9))
    assert ([clause.name for clause in known.clauses], known.kept, known.outcome) == (["parameters"], None, "not known")
    assert verdict(Published(parameters=9_000, best_test=99.9)).kept is False


def test_the_gap_needs_both_curves() -> None:
    contract = replace(CONTRACT, gap=Contract.parse({"accuracy": ">= 9%", "gap": "<= 0.1 points"}).gap)
    assert verdict(Published(test=(99.5, 99.5), train=(99.5, 99.6)), contract).kept is True
    assert verdict(Published(test=(99.5, 99.5), train=(99.5, 99.7)), contract).kept is False
    assert verdict(Published(test=(99.5, 99.5)), contract).kept is None
    assert verdict(Published(test=(99.5, 99.3)), contract).kept is False
    assert verdict(Published(test=(99.5, 99.5), train=(10.0,))).kept is True


def test_a_rung_without_a_source_has_no_published_verdict() -> None:
    ladder = LADDERS["digits"]
    assert judge_published(ladder.contract, ladder, ladder.rungs[0]) is None
