"""Which seeds certify a rung: named before they are trained, counted in their order, never used before."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.results.certification import Plan, make_plan, plan_path, stored_plan
from smallprint.results.runs import Run
from smallprint.spec.contract import Contract
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder

MakeRun = Callable[..., Run]
GOOD, BAD = [99.0, 99.5], [99.0, 99.1]
CONTRACT = Contract.parse(
    {"accuracy": ">= 99.4%", "last_epochs": 1, "certainty": "60% of seeds, 80% confidence"}
)  # four clean seeds certify, three broken ones refute
PLAN = Plan(identity="a" * 64, data="d" * 64, contract=CONTRACT, first_seed=1000)


def ended(make_run: MakeRun, kept: Sequence[bool], first: int = 1000) -> list[Run]:
    return [make_run(GOOD if keeps else BAD, seed=first + number) for number, keeps in enumerate(kept)]


def make(root: Path, ladder: Ladder, data: str = "d" * 64) -> Plan:
    return make_plan(root, ladder, ladder.rungs[0], data)


def counted(plan: Plan, runs: Sequence[Run]) -> tuple[str, int, int]:
    certificate = plan.certificate(runs)
    return certificate.outcome, certificate.passed, certificate.of


def test_seeds_are_counted_from_the_first_on_up_to_the_decision(make_run: MakeRun) -> None:
    clean = ended(make_run, [True] * 6)
    assert counted(PLAN, ()) == ("undecided", 0, 0)
    assert counted(PLAN, clean[:3]) == ("undecided", 3, 3)
    assert counted(PLAN, clean[:4]) == ("certified", 4, 4)
    assert counted(PLAN, clean) == ("certified", 4, 4)  # two were trained ahead of the decision
    assert counted(PLAN, ended(make_run, [False] * 4)) == ("refuted", 0, 3)


def test_no_seed_jumps_the_queue(make_run: MakeRun) -> None:
    runs = ended(make_run, [True] * 6)
    assert counted(PLAN, [*runs[:2], *runs[3:]]) == ("undecided", 2, 2)
    assert counted(PLAN, runs[1:]) == ("undecided", 0, 0)
    assert counted(PLAN, runs[::-1]) == ("certified", 4, 4)


def test_seeds_of_before_never_count(make_run: MakeRun) -> None:
    assert counted(PLAN, [*ended(make_run, [False] * 9, first=0), *ended(make_run, [True] * 4)]) == ("certified", 4, 4)


def test_a_run_that_diverged_breaks_the_contract_and_one_that_failed_has_not_ended(make_run: MakeRun) -> None:
    first, second, third = ended(make_run, [True] * 3)
    assert counted(PLAN, [first, replace(second, status="diverged"), third]) == ("undecided", 2, 3)
    for status in ("failed", "training"):
        assert counted(PLAN, [first, replace(second, status=status), third]) == ("undecided", 1, 1)


@pytest.mark.parametrize("other", [{"identity": "b" * 64}, {"data": "e" * 64}])
def test_a_run_of_another_network_or_other_data_does_not_count(make_run: MakeRun, other: dict[str, str]) -> None:
    first, second = ended(make_run, [True] * 2)
    assert counted(PLAN, [first, replace(second, **other)]) == ("undecided", 1, 1)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(kept=st.lists(st.booleans(), max_size=40))
def test_what_is_known_after_a_seed_does_not_depend_on_those_behind_it(make_run: MakeRun, kept: list[bool]) -> None:
    runs = ended(make_run, kept)
    last = PLAN.certificate(runs)
    for of in range(len(kept) + 1):
        certificate = PLAN.certificate(runs[:of])
        assert certificate.of == min(of, last.of)
        assert certificate.passed == sum(kept[: certificate.of])
        assert of >= last.of or certificate.outcome == "undecided"


def test_a_plan_is_written_once_and_found_again(tmp_path: Path, tiny: Ladder) -> None:
    assert stored_plan(tmp_path, tiny, tiny.rungs[0]) is None
    plan = make(tmp_path, tiny)
    before = plan_path(tmp_path, "tiny", "base").read_bytes()
    assert make(tmp_path, tiny) == plan == stored_plan(tmp_path, tiny, tiny.rungs[0])
    assert plan_path(tmp_path, "tiny", "base").read_bytes() == before
    assert (plan.first_seed, plan.identity) == (1000, tiny.identity(tiny.rungs[0]))
    assert stored_plan(tmp_path, tiny, tiny.rungs[1]) is None


def test_a_contract_without_a_certainty_is_certified_for_the_usual_one(tmp_path: Path, tiny: Ladder) -> None:
    assert tiny.contract.certainty is None
    plan = make(tmp_path, tiny)
    assert str(plan.certainty) == "95% of seeds, 95% confidence"
    said = replace(tiny, contract=tiny.contract.amend("certainty = 95% of seeds, 95% confidence"))
    assert make(tmp_path, said) == plan  # it says the same
    assert json.loads(plan_path(tmp_path, "tiny", "base").read_text())["contract"]["certainty"] == str(plan.certainty)


def test_what_changes_is_certified_by_fresh_seeds_and_the_earlier_plan_is_kept(tmp_path: Path, tiny: Ladder) -> None:
    first = make(tmp_path, tiny)
    (tmp_path / "tiny" / "base" / "seed-1003").mkdir()
    other = replace(tiny, contract=tiny.contract.amend("accuracy >= 30%"))
    assert stored_plan(tmp_path, other, other.rungs[0]) is None
    assert stored_plan(tmp_path, tiny, tiny.rungs[0], other.contract) is None
    second = make(tmp_path, other)
    assert second.first_seed == 2000
    third = make(tmp_path, other, data="e" * 64)
    assert third.first_seed == 3000
    changed = replace(other.rungs[0], recipe=replace(other.rungs[0].recipe, epochs=3))
    fourth = make(tmp_path, replace(other, rungs=(changed,)), data="e" * 64)
    assert fourth.first_seed == 4000
    kept = sorted(path.name for path in (tmp_path / "tiny" / "base").glob("certificate*"))
    assert kept == ["certificate.1000.json", "certificate.2000.json", "certificate.3000.json", "certificate.json"]
    assert json.loads((tmp_path / "tiny" / "base" / kept[0]).read_text())["identity"] == first.identity
    assert make(tmp_path, tiny).first_seed == 5000  # also the first one's seeds are fresh no more


@pytest.mark.parametrize(
    ("used", "first"),
    [
        (["seed-0", "seed-9"], 1000),
        (["seed-1000"], 2000),
        (["seed-999"], 1000),
        (["seed-2999.0a1b2c3d"], 3000),
        ([".seed-1500.lock"], 2000),
        (["certificate.7000.json"], 8000),
        (["seed-x", "notes.txt"], 1000),
    ],
)
def test_fresh_seeds_start_behind_all_that_were_ever_used(
    tmp_path: Path, tiny: Ladder, used: list[str], first: int
) -> None:
    for name in used:
        (tmp_path / "tiny" / "base" / name).mkdir(parents=True)
    assert make(tmp_path, tiny).first_seed == first


ADVICE = "move it away and certify again: fresh seeds are trained, behind all that were used"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:40],
        lambda _: "",
        lambda _: "[]",
        lambda _: "{}",
        lambda text: text.replace("1000", '"1000"'),
        lambda text: text.replace("1000", "true"),
        lambda text: text.replace(">= 20%", "20"),
        lambda text: text.replace(',\n  "certainty": "95% of seeds, 95% confidence"', ""),
        lambda text: text.replace('"version": 1,', ""),
        lambda _: "[" * 100_000,
        lambda _: "\udcff",
    ],
)
def test_a_damaged_plan_is_refused_with_what_to_do(tmp_path: Path, tiny: Ladder, damage: Callable[[str], str]) -> None:
    make(tmp_path, tiny)
    path = plan_path(tmp_path, "tiny", "base")
    before = path.read_text()
    path.write_bytes(damage(before).encode(errors="surrogateescape"))
    assert path.read_text(errors="replace") != before
    for ask in (lambda: make(tmp_path, tiny), lambda: stored_plan(tmp_path, tiny, tiny.rungs[0])):
        with pytest.raises(RunError) as caught:
            ask()
        assert str(caught.value) == f"{path}: damaged; {ADVICE}"


def test_a_plan_of_another_version_is_refused(tmp_path: Path, tiny: Ladder) -> None:
    make(tmp_path, tiny)
    path = plan_path(tmp_path, "tiny", "base")
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(RunError) as caught:
        make(tmp_path, tiny)
    assert str(caught.value) == f"{path}: of version 2, not 1; {ADVICE}"


def test_a_plan_that_cannot_be_read_says_why(tmp_path: Path, tiny: Ladder) -> None:
    path = plan_path(tmp_path, "tiny", "base")
    path.mkdir(parents=True)
    with pytest.raises(RunError, match="cannot be read: Is a directory"):
        make(tmp_path, tiny)
