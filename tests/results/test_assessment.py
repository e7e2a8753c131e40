"""All that is known of a rung together, from runs in hand and from runs that are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from smallprint.results.assessment import assess, assess_stored, why_not_counted, why_not_measured
from smallprint.results.certification import make_plan
from smallprint.results.runs import Run, run_folder
from smallprint.results.writer import RunWriter
from smallprint.spec.contract import Contract
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import read_ladder

MakeRun = Callable[..., Run]


@pytest.fixture
def ladder() -> Ladder:
    return read_ladder("progressive")


def store(root: Path, ladder: Ladder, run: Run) -> None:
    with RunWriter(run_folder(root, ladder.name, run.rung, run.seed)) as writer:
        writer.begin(replace(run, ladder=ladder.name), "")


def test_a_rung_without_runs_is_not_measured_and_not_judged(ladder: Ladder) -> None:
    result = assess(ladder, ladder.rungs[0], ())
    assert (result.verdict, result.findings, result.diff) == (None, (), None)
    assert result.trace.parameters == 7704


def test_a_rung_is_compared_with_the_one_before_it(ladder: Ladder) -> None:
    result = assess(ladder, ladder.rungs[1], ())
    assert result.diff
    assert result.diff.parameters == (7704, 7864)


def test_the_verdict_and_the_findings_speak_of_the_same_runs(ladder: Ladder, make_run: MakeRun) -> None:
    runs = [make_run([99.5] * 15, seed=seed, parameters=7704) for seed in range(2)]
    result = assess(ladder, ladder.rungs[0], runs)
    assert result.verdict
    assert (result.verdict.passed, result.verdict.of) == (2, 2)
    assert [finding.name for finding in result.findings] == ["room to shrink"]


def test_what_fresh_seeds_certified_is_found_where_it_was_certified_for_this_contract_and_data(
    tmp_path: Path, ladder: Ladder, make_run: MakeRun
) -> None:
    rung = ladder.rungs[0]
    make_plan(tmp_path, ladder, rung, "d" * 64)
    for seed in (0, 1000, 1001):
        run = make_run([99.0] * 15, seed=seed, rung=rung.name, identity=ladder.identity(rung))
        store(tmp_path, ladder, replace(run, status="finished"))
    first, second, *_ = assess_stored(ladder, tmp_path)
    assert first.certificate
    assert (first.certificate.outcome, first.certificate.of) == ("refuted", 2)
    assert first.verdict
    assert first.verdict.fresh == first.certificate
    assert second.certificate is None
    other = Contract.parse({"accuracy": ">= 99%"})
    assert assess_stored(ladder, tmp_path, other)[0].certificate is None
    assert assess_stored(ladder, tmp_path, data="d" * 64)[0].certificate == first.certificate
    assert assess_stored(ladder, tmp_path, data="e" * 64)[0].certificate is None


def test_another_contract_is_judged_in_place_of_the_ladders(ladder: Ladder, make_run: MakeRun) -> None:
    strict = Contract.parse({"accuracy": ">= 99.9%"})
    run = make_run([99.5] * 15, parameters=7704)
    kept, broken = (assess(ladder, ladder.rungs[0], [run], contract).verdict for contract in (None, strict))
    assert kept
    assert broken
    assert (kept.outcome, broken.outcome, broken.contract) == ("kept", "broken", strict)


def test_only_runs_of_exactly_this_network_and_recipe_count(ladder: Ladder, make_run: MakeRun, tmp_path: Path) -> None:
    first, second, third = ladder.rungs[:3]
    store(tmp_path, ladder, make_run([99.0] * 15, rung=first.name, identity=ladder.identity(first)))
    store(tmp_path, ladder, make_run([99.0] * 15, rung=second.name, identity="b" * 64))
    results = assess_stored(ladder, tmp_path)
    assert [result.rung.name for result in results] == [rung.name for rung in ladder.rungs]
    assert [len(result.runs) for result in results[:3]] == [1, 0, 0]
    assert why_not_measured(ladder, results[:1], tmp_path) == ""
    assert why_not_measured(ladder, results[:3], tmp_path) == (
        f"the runs of {second.name} under {tmp_path / 'progressive'} are of another network or recipe"
    )
    assert why_not_measured(ladder, results[2:3], tmp_path) == (
        f"no run of {third.name} is stored under {tmp_path / 'progressive'}"
    )


def test_runs_of_other_data_do_not_count_and_are_told(ladder: Ladder, make_run: MakeRun, tmp_path: Path) -> None:
    first, second, third = ladder.rungs[:3]
    for rung, seed, data in ((first, 0, "now"), (first, 1, "before"), (first, 2, "before"), (second, 0, "before")):
        run = make_run([99.0] * 15, rung=rung.name, seed=seed, identity=ladder.identity(rung))
        store(tmp_path, ladder, replace(run, data=data))
    results = assess_stored(ladder, tmp_path, data="now")[:3]
    assert [[run.seed for run in result.runs] for result in results] == [[0], [], []]
    assert [result.other_data for result in results] == [(1, 2), (0,), ()]
    runs = f"{first.name} seed 1, {first.name} seed 2, {second.name} seed 0"
    assert why_not_counted(ladder, results) == (
        f"3 stored runs do not count ({runs}): mnist was not the same when they were trained"
    )
    assert why_not_counted(ladder, results[1:]) == (
        f"1 stored run does not count ({second.name} seed 0): mnist was not the same when it was trained"
    )
    assert why_not_counted(ladder, results[2:]) == ""
    assert why_not_measured(ladder, results, tmp_path) == (
        f"no run of {third.name} is stored under {tmp_path / 'progressive'}"
    )
    counted = assess_stored(ladder, tmp_path)[:3]
    assert [len(result.runs) for result in counted] == [3, 1, 0]
    assert why_not_counted(ladder, counted) == ""


def test_a_folder_that_is_not_there_holds_no_runs(ladder: Ladder, tmp_path: Path) -> None:
    assert all(result.verdict is None for result in assess_stored(ladder, tmp_path / "nowhere"))


def test_a_damaged_run_is_not_passed_over(ladder: Ladder, make_run: MakeRun, tmp_path: Path) -> None:
    first = ladder.rungs[0]
    store(tmp_path, ladder, make_run([99.0] * 15, rung=first.name, identity=ladder.identity(first)))
    (tmp_path / "progressive" / first.name / "seed-0" / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json: damaged"):
        assess_stored(ladder, tmp_path)
