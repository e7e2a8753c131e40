"""Certifying real networks on the real digits: a few tiny trainings, an easy promise and one that nobody keeps."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from smallprint.certify import CertifyEnded, CertifyEvent, CertifyStarted, NeverKept, SeedCounted, certify, never_kept
from smallprint.climb import climb
from smallprint.jobs.job import RunEnded, RunLeft, RunStarted
from smallprint.results.certification import plan_path
from smallprint.results.holding import HeldError, Hold
from smallprint.results.runs import Run, read_run, read_runs
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import LadderError, RunError
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder
from smallprint.sweep import SweepStarted
from smallprint.training.data import Dataset
from smallprint.views.documents import record_document, record_text

EASY, IMPOSSIBLE = ">= 1%", ">= 100%"
SURE = "60% of seeds, 80% confidence"  # four clean seeds certify, three broken ones refute


def ladder_of(tiny_text: str, accuracy: str = EASY, certainty: str = SURE) -> Ladder:
    said = f'">= 20%"\ncertainty   = "{certainty}"'
    return parse_ladder(tiny_text.replace('">= 20%"', said).replace(">= 20%", accuracy), name="tiny")


@pytest.fixture
def easy(tiny_text: str) -> Ladder:
    return ladder_of(tiny_text)


@pytest.fixture
def impossible(tiny_text: str) -> Ladder:
    return ladder_of(tiny_text, IMPOSSIBLE)


def run_of(events: Sequence[CertifyEvent]) -> CertifyEnded:
    assert isinstance(events[0], CertifyStarted)
    assert isinstance(events[-1], CertifyEnded)
    return events[-1]


def all_of(ladder: Ladder, root: Path, digits: Dataset, **options: int) -> list[CertifyEvent]:
    return list(certify(ladder, "base", runs=root, dataset=digits, threads=1, **options))  # type: ignore[arg-type]


def counted(events: Sequence[CertifyEvent]) -> list[int]:
    return [event.run.seed for event in events if isinstance(event, SeedCounted)]


def trained(events: Sequence[CertifyEvent]) -> list[int]:
    return [event.job.seed for event in events if isinstance(event, RunStarted)]


def summary(ended: CertifyEnded) -> tuple[str, int, int]:
    return ended.certificate.outcome, ended.certificate.passed, ended.certificate.of


def with_two_counted(ladder: Ladder, root: Path, digits: Dataset) -> Generator[CertifyEvent, None, None]:
    """A certification that has just counted its second seed, 1001."""
    events = certify(ladder, "base", runs=root, dataset=digits, threads=1)
    for event in events:
        if isinstance(event, SeedCounted) and event.run.seed == 1001:
            break
    return events


def test_clean_seeds_certify_and_no_more_are_trained_than_that_takes(
    easy: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    events = all_of(easy, tmp_path, digits)
    ended = run_of(events)
    assert summary(ended) == ("certified", 4, 4)
    assert counted(events) == trained(events) == [1000, 1001, 1002, 1003]
    assert [event.certificate.of for event in events if isinstance(event, SeedCounted)] == [1, 2, 3, 4]
    assert ended.stuck == ""
    assert ended.result.certificate == ended.certificate
    assert [run.seed for run in ended.result.runs] == [1000, 1001, 1002, 1003]
    assert ended.result.verdict
    assert (ended.result.verdict.outcome, ended.result.verdict.certificate) == ("kept", "certified")


def test_broken_seeds_refute_and_training_ends_there(impossible: Ladder, tmp_path: Path, digits: Dataset) -> None:
    events = all_of(impossible, tmp_path, digits)
    assert summary(run_of(events)) == ("refuted", 0, 3)
    assert counted(events) == trained(events) == [1000, 1001, 1002]
    assert [run.seed for run in read_runs(tmp_path, "tiny", "base")] == [1000, 1001, 1002]


def test_the_plan_is_written_before_anything_is_trained(easy: Ladder, tmp_path: Path, digits: Dataset) -> None:
    events = certify(easy, "base", runs=tmp_path, dataset=digits, threads=1)
    assert isinstance(next(events), CertifyStarted)
    assert plan_path(tmp_path, "tiny", "base").exists()
    assert read_runs(tmp_path, "tiny", "base") == ()
    events.close()


def test_what_is_stored_is_counted_again_and_not_trained_again(easy: Ladder, tmp_path: Path, digits: Dataset) -> None:
    first = run_of(all_of(easy, tmp_path, digits))
    events = all_of(easy, tmp_path, digits)
    assert trained(events) == []
    assert counted(events) == [1000, 1001, 1002, 1003]
    assert run_of(events) == first


def test_an_interrupted_certification_goes_on_behind_its_last_epoch(
    easy: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    events = with_two_counted(easy, tmp_path, digits)
    assert isinstance(next(events), RunStarted)  # of seed 1002
    next(events)  # its first epoch
    events.close()
    again = all_of(easy, tmp_path, digits)
    starts = {event.job.seed: len(event.stored) for event in again if isinstance(event, RunStarted)}
    assert starts == {1002: 1, 1003: 0}
    assert summary(run_of(again)) == ("certified", 4, 4)
    whole = tmp_path / "whole"
    all_of(easy, whole, digits)
    for seed in range(1000, 1004):
        weights = [root / "tiny" / "base" / f"seed-{seed}" / "weights.safetensors" for root in (tmp_path, whole)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_certification_that_is_stopped_ends_with_what_it_has_counted(
    easy: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    events = with_two_counted(easy, tmp_path, digits)
    assert isinstance(next(events), RunStarted)  # of seed 1002
    ended = events.throw(KeyboardInterrupt)
    assert isinstance(ended, CertifyEnded)
    assert (ended.stopped, summary(ended)) == (True, ("undecided", 2, 2))
    assert ended.result.certificate == ended.certificate
    assert [run.status for run in ended.result.runs] == ["finished", "finished", "training"]
    with pytest.raises(KeyboardInterrupt):
        next(events)


def test_with_a_limit_it_stays_undecided_and_goes_on_when_there_are_more(
    easy: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    assert summary(run_of(all_of(easy, tmp_path, digits, at_most=2))) == ("undecided", 2, 2)
    assert len(read_runs(tmp_path, "tiny", "base")) == 2
    more = all_of(easy, tmp_path, digits, at_most=3)
    assert (trained(more), summary(run_of(more))) == ([1002], ("undecided", 3, 3))
    fewer = all_of(easy, tmp_path, digits, at_most=1)
    assert (trained(fewer), summary(run_of(fewer))) == ([], ("undecided", 3, 3))  # what is known stays known


def test_side_by_side_seeds_are_counted_in_their_order_whichever_ends_first(
    impossible: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    events = all_of(impossible, tmp_path, digits, workers=2)
    ended = run_of(events)
    assert summary(ended) == ("refuted", 0, 3)
    assert counted(events) == [1000, 1001, 1002]
    finished = {run.seed for run in ended.result.runs if run.ended}
    assert {1000, 1001, 1002} <= finished <= {1000, 1001, 1002, 1003}  # one may have been trained ahead
    assert summary(run_of(all_of(impossible, tmp_path, digits))) == ("refuted", 0, 3)


def test_seeds_of_a_climb_never_count(easy: Ladder, tmp_path: Path, digits: Dataset) -> None:
    for _ in climb(easy, rungs=["base"], seeds=2, runs=tmp_path, dataset=digits, threads=1):
        pass
    ended = run_of(all_of(easy, tmp_path, digits))
    assert ended.certificate.first_seed == 1000
    assert [run.seed for run in ended.result.runs] == [1000, 1001, 1002, 1003]
    assert len(read_runs(tmp_path, "tiny", "base")) == 6


def test_another_contract_is_certified_by_other_seeds(easy: Ladder, tmp_path: Path, digits: Dataset) -> None:
    all_of(easy, tmp_path, digits)
    other = replace(easy, contract=easy.contract.amend("accuracy >= 2%"))
    events = all_of(other, tmp_path, digits)
    assert trained(events) == [2000, 2001, 2002, 2003]
    assert [run.seed for run in run_of(events).result.runs] == [2000, 2001, 2002, 2003]


@pytest.mark.parametrize(
    ("clause", "text"),
    [
        ("parameters < 700", "parameters broken: 728 (< 700), 29 too many"),
        ("macs <= 13000", "macs broken: 13,904 (<= 13000), 904 too many"),
        ("epochs < 2, last_epochs = 1", "epochs broken: 2 (< 2), 1 too many"),
    ],
)
def test_what_counting_refutes_is_never_trained(
    easy: Ladder, tmp_path: Path, digits: Dataset, clause: str, text: str
) -> None:
    ladder = replace(easy, contract=easy.contract.amend(clause))
    (never,) = all_of(ladder, tmp_path, digits)
    assert isinstance(never, NeverKept)
    assert [str(clause) for clause in never.clauses] == [text]
    assert list(tmp_path.iterdir()) == []
    assert never_kept(easy, easy.rungs[0]) is None


def test_a_seed_that_diverges_has_broken_the_contract(tiny_text: str, tmp_path: Path, digits: Dataset) -> None:
    wild = ladder_of(tiny_text.replace("lr=0.05", "lr=1e30"))
    events = all_of(wild, tmp_path, digits)
    assert [event.run.status for event in events if isinstance(event, SeedCounted)] == 3 * ["diverged"]
    assert summary(run_of(events)) == ("refuted", 0, 3)


def test_a_taught_rung_is_certified_with_its_teacher_trained_once(
    tiny_text: str, tmp_path: Path, digits: Dataset
) -> None:
    taught = tiny_text + '[rung.recipe]\nloss = "distilled base temperature=2 share=50%"\n'
    events = list(certify(ladder_of(taught), "batchnorm", runs=tmp_path, dataset=digits, threads=1))
    assert summary(run_of(events)) == ("certified", 4, 4)
    starts = [(event.job.rung.name, event.job.seed) for event in events if isinstance(event, RunStarted)]
    assert starts == [("base", 0), *(("batchnorm", seed) for seed in range(1000, 1004))]


def failing(monkeypatch: pytest.MonkeyPatch, seed: int, times: int) -> None:
    """Let the training of a seed fail so often."""
    from smallprint.training.trainer import Trainer

    begin, left = Trainer.__init__, [times]

    def begun(self: Trainer, *words: object, **more: object) -> None:
        if seed in words and left[0]:
            left[0] -= 1
            raise ValueError("it broke down")
        begin(self, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "__init__", begun)


def test_a_seed_that_fails_is_tried_again_and_counts_in_its_place(
    easy: Ladder, tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, 1001, times=1)
    events = all_of(easy, tmp_path, digits)
    assert summary(run_of(events)) == ("certified", 4, 4)
    assert counted(events) == [1000, 1001, 1002, 1003]
    statuses = [event.run.status for event in events if isinstance(event, RunEnded) and event.job.seed == 1001]
    assert statuses == ["failed", "finished"]


def test_a_seed_that_fails_twice_is_not_passed_over(
    easy: Ladder, tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, 1001, times=2)
    events = all_of(easy, tmp_path, digits)
    ended = run_of(events)
    assert summary(ended) == ("undecided", 1, 1)
    assert ended.stuck.startswith("seed 1001: failed twice: ValueError: it broke down")
    assert sorted(set(trained(events))) == [1000, 1002, 1003]
    monkeypatch.undo()
    again = all_of(easy, tmp_path, digits)
    assert (trained(again), summary(run_of(again))) == ([1001], ("certified", 4, 4))


def test_a_seed_that_another_process_trains_is_waited_for_and_not_passed_over(
    easy: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    all_of(easy, tmp_path, digits, at_most=1)
    with RunWriter(tmp_path / "tiny" / "base" / "seed-1001", holder=1):
        events = all_of(easy, tmp_path, digits)
    ended = run_of(events)
    assert summary(ended) == ("undecided", 1, 1)
    assert ended.stuck.startswith("seed 1001: ")
    assert "held by process 1" in ended.stuck
    assert [event.job.seed for event in events if isinstance(event, RunLeft)] == [1001]
    assert summary(run_of(all_of(easy, tmp_path, digits))) == ("certified", 4, 4)


def test_two_cannot_certify_the_same_rung_at_once(easy: Ladder, tmp_path: Path, digits: Dataset) -> None:
    path = plan_path(tmp_path, "tiny", "base")
    with Hold(path, holder=1), pytest.raises(HeldError, match=r"certificate\.json: held by process 1; start again"):
        all_of(easy, tmp_path, digits)
    assert not path.exists()
    first = certify(easy, "base", runs=tmp_path, dataset=digits, threads=1)
    next(first)
    with pytest.raises(HeldError):
        all_of(easy, tmp_path, digits)
    first.close()
    assert summary(run_of(all_of(easy, tmp_path, digits))) == ("certified", 4, 4)


def test_wrong_input_trains_nothing(easy: Ladder, tmp_path: Path, digits: Dataset) -> None:
    with pytest.raises(LadderError, match="tiny has no rung 'bse'; it has base, batchnorm; did you mean 'base'"):
        next(certify(easy, "bse", runs=tmp_path, dataset=digits))
    path = plan_path(tmp_path, "tiny", "base")
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(RunError, match=r"certificate\.json: damaged; move it away"):
        all_of(easy, tmp_path, digits)
    assert read_runs(tmp_path, "tiny", "base") == ()


def test_a_damaged_run_is_said_before_anything_is_trained(easy: Ladder, tmp_path: Path, digits: Dataset) -> None:
    all_of(easy, tmp_path, digits, at_most=1)
    folder = tmp_path / "tiny" / "base" / "seed-1000"
    run: Run = read_run(folder)
    (folder / "run.json").write_text("{")
    events = certify(easy, "base", runs=tmp_path, dataset=digits, threads=1)
    with pytest.raises(RunError, match=r"seed-1000/run\.json: damaged"):
        next(events)
    assert run.ended
    assert len(list(folder.parent.glob("seed-*"))) == 1


def test_a_contract_without_certainty_is_certified_for_the_usual_one(
    tiny: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    events = certify(tiny, "base", runs=tmp_path, dataset=digits, threads=1)
    started, swept = next(events), next(events)
    assert isinstance(started, CertifyStarted)
    assert isinstance(swept, SweepStarted)
    assert str(started.plan.certainty) == "95% of seeds, 95% confidence"
    assert len(swept.jobs) == 66  # so many clean seeds would do
    events.close()


def recorded(ladder: Ladder, root: Path, digits: Dataset, seeds: int) -> Path:
    """The record of a certification that ended after so many seeds, its runs gone."""
    ended = run_of(all_of(ladder, root, digits, at_most=seeds))
    path = root / "record.json"
    path.write_text(record_text(record_document(ladder, [ended.result], "smallprint certify tiny:base")))
    shutil.rmtree(root / "tiny")
    return path


def test_a_certification_goes_on_from_its_record_where_its_runs_are_gone(
    easy: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    record = recorded(easy, tmp_path, digits, 2)
    events = list(certify(easy, "base", runs=tmp_path, dataset=digits, threads=1, record=record))
    assert isinstance(events[0], CertifyStarted)
    assert (events[0].before.passed, events[0].before.of) == (2, 2)
    assert counted(events) == trained(events) == [1002, 1003]
    ended = run_of(events)
    assert summary(ended) == ("certified", 4, 4)
    assert [run.seed for run in ended.result.runs] == [1000, 1001, 1002, 1003]
    record.write_text(record_text(record_document(easy, [ended.result], "smallprint certify tiny:base")))
    again = list(certify(easy, "base", runs=tmp_path / "elsewhere", dataset=digits, threads=1, record=record))
    assert trained(again) == []
    assert summary(run_of(again)) == ("certified", 4, 4)


def test_a_record_that_is_not_there_yet_changes_nothing(easy: Ladder, tmp_path: Path, digits: Dataset) -> None:
    events = list(certify(easy, "base", runs=tmp_path, dataset=digits, threads=1, record=tmp_path / "record.json"))
    assert summary(run_of(events)) == ("certified", 4, 4)


def test_a_record_of_something_else_is_refused_before_anything_is_trained(
    easy: Ladder, impossible: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    record = recorded(easy, tmp_path, digits, 2)
    rung = replace(easy.rungs[0], recipe=replace(easy.rungs[0].recipe, epochs=3))
    for other in (impossible, replace(easy, rungs=(rung, *easy.rungs[1:]))):
        with pytest.raises(RunError, match="a record of another rung, recipe, teacher or contract"):
            list(certify(other, "base", runs=tmp_path, dataset=digits, threads=1, record=record))
    assert not (tmp_path / "tiny").exists()


def test_a_record_of_a_pupil_of_another_teacher_is_refused(tiny_text: str, tmp_path: Path, digits: Dataset) -> None:
    said = f'">= 20%"\ncertainty   = "{SURE}"'
    text = tiny_text.replace('">= 20%"', said).replace(">= 20%", EASY)
    text += '\n[[rung]]\nname = "pupil"\nnetwork = "conv3-4 gap conv1-10"\n[rung.recipe]\nloss = "distilled base"\n'
    ladder = parse_ladder(text, name="tiny")
    ended = run_of(list(certify(ladder, "pupil", runs=tmp_path, dataset=digits, threads=1, at_most=1)))
    path = tmp_path / "record.json"
    path.write_text(record_text(record_document(ladder, [ended.result], "smallprint certify tiny:pupil")))
    assert trained(
        list(certify(ladder, "pupil", runs=tmp_path / "a", dataset=digits, threads=1, at_most=2, record=path))
    )
    teacher = replace(ladder.rungs[0], recipe=replace(ladder.rungs[0].recipe, epochs=3))
    other = replace(ladder, rungs=(teacher, *ladder.rungs[1:]))
    with pytest.raises(RunError, match="a record of another rung, recipe, teacher or contract"):
        list(certify(other, "pupil", runs=tmp_path / "b", dataset=digits, threads=1, record=path))


def test_a_record_and_a_plan_that_count_other_seeds_do_not_go_together(
    easy: Ladder, tmp_path: Path, digits: Dataset
) -> None:
    record = recorded(easy, tmp_path, digits, 2)
    with RunWriter(tmp_path / "tiny" / "base" / "seed-1500"):
        pass
    (tmp_path / "tiny" / "base" / "seed-1500").mkdir(exist_ok=True)
    next(certify(easy, "base", runs=tmp_path, dataset=digits, threads=1))
    with pytest.raises(RunError, match="counts seeds from 2000 on, the record from 1000 on"):
        list(certify(easy, "base", runs=tmp_path, dataset=digits, threads=1, record=record))
