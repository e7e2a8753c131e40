"""Seeds trained as one computation, on the processor here, against the same seeds alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from smallprint.jobs.alone import train
from smallprint.jobs.job import EpochEnded, Job, JobEvent, RunEnded, RunLeft, RunStarted, RunStopped, Terms, Threshold
from smallprint.jobs.together import train_together
from smallprint.results.runs import read_run
from smallprint.results.writer import RunWriter
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder
from smallprint.training.data import Dataset
from smallprint.training.stack import Stack


def terms(root: Path) -> Terms:
    return Terms(root=root, device="cpu", threads=1, holder=os.getpid())


def jobs_of(ladder: Ladder, seeds: int) -> list[Job]:
    return [Job(ladder=ladder, rung=ladder.rungs[0], seed=seed) for seed in range(seeds)]


def ended(events: list[JobEvent]) -> dict[int, RunEnded]:
    return {event.job.seed: event for event in events if isinstance(event, RunEnded)}


def test_seeds_together_are_stored_as_each_would_be_alone(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    jobs = jobs_of(tiny, 3)
    events = list(train_together(jobs, digits, terms(tmp_path / "together")))
    for job in jobs:
        told = [type(event).__name__ for event in events if event.job == job]
        assert told == ["RunStarted", "EpochEnded", "EpochEnded", "RunEnded"]
        list(train(job, digits, terms(tmp_path / "alone")))
        mine, expected = (read_run(job.folder(tmp_path / name)) for name in ("together", "alone"))
        assert (mine.status, mine.environment.way, mine.hash) == ("finished", "stack", expected.hash)
        for epoch, other in zip(mine.epochs, expected.epochs, strict=True):
            assert epoch.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        names = [path.name for path in sorted(job.folder(tmp_path / "together").iterdir())]
        assert names == [path.name for path in sorted(job.folder(tmp_path / "alone").iterdir())]
    again = list(train_together(jobs, digits, terms(tmp_path / "together")))
    assert [(event.job, event.reused) for event in again if isinstance(event, RunEnded)] == [
        (job, True) for job in jobs
    ]


def test_each_goes_on_from_where_it_stands(long: Ladder, digits: Dataset, tmp_path: Path) -> None:
    jobs = jobs_of(long, 3)
    begun = train(jobs[1], digits, terms(tmp_path))
    while not isinstance(event := next(begun), EpochEnded) or event.epoch.epoch < 4:
        pass
    begun.close()  # type: ignore[attr-defined]
    events = train_together(jobs, digits, terms(tmp_path))
    behind: dict[int, int] = {}
    for event in events:
        if isinstance(event, RunStarted):
            behind[event.job.seed] = len(event.stored)
        if len(behind) == 3 and isinstance(event, EpochEnded):
            break
    events.close()  # type: ignore[attr-defined]
    assert behind == {0: 0, 1: 4, 2: 0}


def test_a_folder_that_is_held_and_one_that_is_taken_away_leave_their_jobs_alone(
    tiny: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    jobs = jobs_of(tiny, 3)
    events: list[JobEvent] = []
    with RunWriter(jobs[0].folder(tmp_path), holder=4711):
        for event in train_together(jobs, digits, terms(tmp_path)):
            events.append(event)
            if isinstance(event, EpochEnded) and event.job == jobs[1] and event.epoch.epoch == 1:
                folder = jobs[1].folder(tmp_path)
                folder.rename(folder.with_name("away"))
    left = [event for event in events if isinstance(event, RunLeft)]
    assert [(event.job, event.held) for event in left] == [(jobs[0], True), (jobs[1], False)]
    assert "was taken away" in left[1].reason
    assert {seed: event.run.status for seed, event in ended(events).items()} == {2: "finished"}


def test_a_loss_that_is_no_number_ends_its_run(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    wild = replace(tiny.rungs[0].recipe, optimiser=replace(tiny.rungs[0].recipe.optimiser, lr=1e30))
    ladder = replace(tiny, rungs=(replace(tiny.rungs[0], recipe=wild),))
    hopeless = Threshold(since=1, correct=digits.facts.test + 1)  # that it misses as well changes nothing
    jobs = [replace(job, threshold=hopeless) for job in jobs_of(ladder, 2)]
    together = ended(list(train_together(jobs, digits, terms(tmp_path / "together"))))
    alone = ended([event for job in jobs for event in train(job, digits, terms(tmp_path / "alone"))])
    assert {event.run.status for event in (*together.values(), *alone.values())} == {"diverged"}
    assert len(together) == len(alone) == 2
    assert all("no longer a number" in event.run.reason for event in together.values())


def test_one_that_misses_its_threshold_stops_there_alone_and_is_not_trained_further_at_the_next_start(
    tiny: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    hopeless = Threshold(since=1, correct=digits.facts.test + 1)
    first, second = jobs_of(tiny, 2)
    first = replace(first, threshold=hopeless)
    events = list(train_together([first, second], digits, terms(tmp_path)))
    stopped = [event for event in events if isinstance(event, RunStopped)]
    assert [(event.job, len(event.epochs)) for event in stopped] == [(first, 1)]
    assert list(ended(events)) == [1]
    again = list(train_together([first], digits, terms(tmp_path)))
    assert [type(event).__name__ for event in again] == ["RunStopped"]
    assert len(read_run(first.folder(tmp_path)).epochs) == 1


def test_what_goes_wrong_with_the_computation_is_on_record_with_every_run(
    tiny: Ladder, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(Stack, "_start", out_of_memory)
    events = list(train_together(jobs_of(tiny, 2), digits, terms(tmp_path)))
    assert [(event.run.status, event.run.reason) for event in ended(events).values()] == [
        ("failed", "RuntimeError: CUDA out of memory")
    ] * 2


def test_a_checkpoint_that_is_damaged_leaves_its_job(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    jobs = jobs_of(tiny, 2)
    begun = train(jobs[0], digits, terms(tmp_path))
    while not isinstance(next(begun), EpochEnded):
        pass
    begun.close()  # type: ignore[attr-defined]
    (jobs[0].folder(tmp_path) / "resume.npz").write_bytes(b"no checkpoint")
    events = list(train_together(jobs, digits, terms(tmp_path)))
    (left,) = (event for event in events if isinstance(event, RunLeft))
    assert (left.job, "resume.npz: damaged" in left.reason) == (jobs[0], True)
    assert ended(events)[1].run.status == "finished"


def test_pupils_together_have_the_teacher_that_each_asks_for(tiny_text: str, digits: Dataset, tmp_path: Path) -> None:
    rung = '\n[[rung]]\nname = "taught"\nnetwork = "conv3-4 gap conv1-10"\n[rung.recipe]\n'
    ladder = parse_ladder(f'{tiny_text}{rung}loss = "distilled base each"\n', name="tiny")
    pupils = [Job(ladder=ladder, rung=ladder.rung("taught"), seed=seed) for seed in range(2)]
    events = list(train_together(pupils, digits, terms(tmp_path)))
    assert [type(event) for event in events] == [RunLeft, RunLeft]
    assert "its teacher, base seed 0, is not trained to its end; climb that first" in events[0].reason  # type: ignore[union-attr]
    list(train_together(jobs_of(ladder, 2), digits, terms(tmp_path)))
    runs = ended(list(train_together(pupils, digits, terms(tmp_path))))
    assert {event.run.status for event in runs.values()} == {"finished"}
