"""Many trainings: how many at once, what is looked at before, and the same results either way."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from smallprint.jobs.job import EpochEnded, Job, RunEnded, RunLeft
from smallprint.jobs.placement import Placement, Workers
from smallprint.results.runs import Run, read_run
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder
from smallprint.sweep import SweepEvent, SweepStarted, sweep
from smallprint.training import machine
from smallprint.training.data import Dataset


def jobs_of(ladder: Ladder, seeds: int) -> list[Job]:
    return [Job(ladder=ladder, rung=rung, seed=seed) for rung in ladder.rungs for seed in range(seeds)]


def until_first_epoch(events: Generator[SweepEvent, None, None]) -> EpochEnded:
    return next(event for event in events if isinstance(event, EpochEnded))


def numbers(run: Run) -> Run:
    """A run without what differs from one training of it to the next."""
    epochs = tuple(replace(epoch, seconds=0.0) for epoch in run.epochs)
    return replace(run, epochs=epochs, environment=replace(run.environment, threads=0))


def test_seeds_differ_and_each_repeats_itself(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    def losses(folder: str) -> list[float]:
        events = sweep(jobs_of(tiny, 2)[:2], digits, tmp_path / folder, threads=1)
        return [event.run.epochs[-1].train_loss for event in events if isinstance(event, RunEnded)]

    first = losses("first")
    assert first[0] != first[1]
    assert losses("second") == first


def test_side_by_side_gives_what_one_after_the_other_gives(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    def runs(workers: Workers) -> dict[tuple[str, int], Run]:
        events = sweep(jobs_of(tiny, 1), digits, tmp_path / str(workers), threads=1, workers=workers)
        ended = [event.run for event in events if isinstance(event, RunEnded)]
        return {(run.rung, run.seed): numbers(run) for run in ended}

    assert runs(2) == runs(1)
    for name in ("weights.safetensors", "answers.safetensors", "rung.toml"):
        one, two = (tmp_path / workers / "tiny" / "batchnorm" / "seed-0" / name for workers in ("1", "2"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("workers", "jobs", "cores", "chosen"),
    [(1, 4, 8, 1), (3, 4, 8, 3), (64, 4, 8, 4), ("auto", 4, 3, 3), ("auto", 4, 8, 4), ("auto", 4, 1, 1),
     ("auto", 1, 8, 1), (5, 1, 8, 1), (2, 0, 8, 1)],
)  # fmt: skip
def test_there_are_never_more_processes_than_jobs_that_are_left(
    tiny: Ladder, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    workers: Workers, jobs: int, cores: int, chosen: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(machine, "cores", lambda: cores)
    events = sweep(jobs_of(tiny, 2)[:jobs], digits, tmp_path, workers=workers)
    begun = next(events)
    assert isinstance(begun, SweepStarted)
    assert (len(begun.left), begun.placement.at_once) == (jobs, chosen)
    events.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_stored_is_not_left_and_what_failed_is(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    jobs = jobs_of(tiny, 1)
    list(sweep(jobs, digits, tmp_path, threads=1))
    with RunWriter(jobs[1].folder(tmp_path)) as writer:
        writer.keep(replace(read_run(writer.folder), status="failed", reason="RuntimeError: out of memory"))
    begun, reused, *_ = sweep(jobs, digits, tmp_path, threads=1, workers=2)
    assert begun == SweepStarted(
        jobs=tuple(jobs), left=(jobs[1],), placement=Placement(device="cpu", at_once=1, threads=1)
    )
    assert isinstance(reused, RunEnded)
    assert (reused.job, reused.reused) == (jobs[0], True)
    assert read_run(jobs[1].folder(tmp_path)).status == "finished"


def test_a_damaged_run_is_said_before_anything_is_trained(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    *_, last = jobs = jobs_of(tiny, 2)
    list(sweep([last], digits, tmp_path, threads=1))
    (last.folder(tmp_path) / "run.json").write_text("{}")
    with pytest.raises(RunError, match=r"batchnorm/seed-1/run\.json: damaged"):
        next(sweep(jobs, digits, tmp_path, threads=1))
    assert not jobs[0].folder(tmp_path).exists()


def test_a_sweep_that_is_left_lets_go_of_its_folder(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    job = jobs_of(tiny, 1)[0]
    events = sweep([job], digits, tmp_path, threads=1)
    until_first_epoch(events)
    with pytest.raises(RunError, match="held by process"), RunWriter(job.folder(tmp_path)):
        pass
    events.close()
    with RunWriter(job.folder(tmp_path)) as writer:
        stored = writer.stored()
    assert stored
    assert (stored.status, len(stored.epochs)) == ("training", 1)


def test_a_job_that_is_held_is_tried_again_behind_the_others_then_left(
    tiny: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    first, second = jobs_of(tiny, 1)
    with RunWriter(first.folder(tmp_path), holder=1):
        *events, left = sweep([first, second], digits, tmp_path, threads=1)
    assert [event.job for event in events if not isinstance(event, SweepStarted)] == [second] * 4
    assert isinstance(left, RunLeft)
    assert (left.job, left.holder) == (first, 1)


def test_a_teacher_is_trained_before_its_pupils_however_they_are_trained(
    tiny_text: str, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = '\n[[rung]]\nname = "taught"\nnetwork = "conv3-4 gap conv1-10"\n[rung.recipe]\nloss = "distilled base"\n'
    ladder = parse_ladder(tiny_text + rung, name="tiny")
    pupils = [Job(ladder=ladder, rung=ladder.rung("taught"), seed=seed) for seed in range(3)]
    found: dict[str, list[float]] = {}
    for name, placement in {
        "alone": Placement(device="cpu", at_once=1),
        "side by side": Placement(device="cpu", at_once=2),
        "together": Placement(device="cpu", at_once=2, together=True),  # as on a GPU
    }.items():
        monkeypatch.setattr("smallprint.sweep.place", lambda *_, chosen=placement, **__: chosen)
        events = list(sweep(pupils, digits, tmp_path / name, threads=1))
        runs = [event.run for event in events if isinstance(event, RunEnded)]
        assert [run.status for run in runs] == ["finished"] * 4
        assert runs[0].rung == "base"
        found[name] = [run.epochs[-1].train_loss for run in sorted(runs[1:], key=lambda run: run.seed)]
    assert found["side by side"] == found["alone"]
    assert found["together"] == pytest.approx(found["alone"], rel=1e-3)
