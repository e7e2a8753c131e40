"""One training in its folder: stored, reused, resumed, failed, held."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import smallprint
from smallprint.jobs.alone import train
from smallprint.jobs.job import (
    EpochEnded,
    Job,
    RunEnded,
    RunLeft,
    RunSetAside,
    RunStarted,
    RunStopped,
    Terms,
    Threshold,
    stored_whole,
)
from smallprint.results.runs import read_run
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder
from smallprint.training import machine
from smallprint.training.data import Dataset
from smallprint.training.native import NativeStep
from smallprint.training.trainer import Trainer
from tests.jobs.trainings import interrupted, trained


def test_every_epoch_is_stored_before_it_is_reported(job: Job, digits: Dataset, terms: Terms) -> None:
    for event in train(job, digits, terms):
        if isinstance(event, EpochEnded):
            stored = read_run(job.folder(terms.root))
            assert stored.epochs[-1] == event.epoch
            assert stored.status == "training"
    assert read_run(job.folder(terms.root)).status == "finished"


def test_a_run_says_where_it_was_trained(job: Job, digits: Dataset, terms: Terms) -> None:
    run = trained(job, digits, terms).run
    assert run == read_run(job.folder(terms.root))
    assert run.data == digits.fingerprint
    assert run.identity == job.ladder.identity(job.rung)
    assert run.hash == job.hash(digits.fingerprint)
    environment = run.environment
    assert (environment.smallprint, environment.device, environment.threads) == (smallprint.__version__, "cpu", 1)


def test_a_run_says_in_which_precision_its_products_were_taken(job: Job, digits: Dataset, terms: Terms) -> None:
    interrupted(job, digits, terms)
    run = trained(job, digits, replace(terms, precision="bfloat16")).run
    assert run == read_run(job.folder(terms.root))
    assert [(stretch.until, stretch.environment.precision) for stretch in run.earlier] == [(1, "float32")]
    assert run.environment.precision == "bfloat16"


def test_without_a_number_of_threads_the_run_says_how_many_the_training_chose(
    job: Job, digits: Dataset, terms: Terms
) -> None:
    run = trained(job, digits, replace(terms, threads=None)).run
    assert run.environment.threads in {1, machine.cores()}
    assert [replace(epoch, seconds=0.0) for epoch in run.epochs] == [
        replace(epoch, seconds=0.0)
        for epoch in trained(job, digits, replace(terms, root=terms.root / "other")).run.epochs
    ]


def test_a_run_that_is_stored_whole_is_reused_though_its_folder_is_held(
    job: Job, digits: Dataset, terms: Terms
) -> None:
    assert stored_whole(job, digits.fingerprint, terms.root) is None
    first = trained(job, digits, terms)
    assert stored_whole(job, digits.fingerprint, terms.root) == first.run
    assert stored_whole(job, "0" * 64, terms.root) is None
    with RunWriter(job.folder(terms.root)):
        assert list(train(job, digits, terms)) == [RunEnded(job=job, run=first.run, reused=True)]


def test_other_data_sets_a_run_aside_though_network_and_recipe_are_the_same(
    job: Job, digits: Dataset, terms: Terms
) -> None:
    trained(job, digits, terms)
    fewer = replace(
        digits, train_images_NCHW=digits.train_images_NCHW[:700], train_labels_N=digits.train_labels_N[:700]
    )
    aside, begun, *_, ended = train(job, fewer, terms)
    assert isinstance(aside, RunSetAside)
    assert isinstance(begun, RunStarted)
    assert isinstance(ended, RunEnded)
    assert begun.stored == ()
    assert [epoch.train_total for epoch in ended.run.epochs] == [700, 700]
    assert read_run(aside.folder).data == digits.fingerprint


def test_a_checkpoint_that_is_missing_starts_the_run_anew(job: Job, digits: Dataset, terms: Terms) -> None:
    first = interrupted(job, digits, terms)
    (job.folder(terms.root) / "resume.npz").unlink()
    begun, again, *_ = train(job, digits, terms)
    assert isinstance(begun, RunStarted)
    assert isinstance(again, EpochEnded)
    assert begun.stored == ()
    assert replace(again.epoch, seconds=0.0) == replace(first.epoch, seconds=0.0)


def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(job: Job, digits: Dataset, terms: Terms) -> None:
    interrupted(job, digits, terms)
    path = job.folder(terms.root) / "resume.npz"
    path.write_bytes(path.read_bytes()[:1000])
    epochs = (path.parent / "epochs.csv").read_bytes()
    assert list(train(job, digits, terms)) == [
        RunLeft(
            job=job,
            reason=f"{path}: damaged, or of another network; remove it and climb again: "
            "that run is trained from its first epoch",
            held=False,
        )
    ]
    assert (path.parent / "epochs.csv").read_bytes() == epochs
    assert read_run(path.parent).status == "training"


def test_a_run_that_cannot_even_begin_again_keeps_its_epochs(job: Job, digits: Dataset, terms: Terms) -> None:
    first = interrupted(job, digits, terms)
    failed = trained(job, digits, replace(terms, device="vulkan")).run  # which torch is not built for
    assert (failed.status, failed.epochs) == ("failed", (first.epoch,))
    assert failed.reason
    begun, *_, ended = train(job, digits, terms)
    assert isinstance(begun, RunStarted)
    assert isinstance(ended, RunEnded)
    assert (len(begun.stored), ended.run.status, ended.run.reason) == (1, "finished", "")


def test_a_mistake_of_ours_fails_the_run_and_says_where_it_was_made(
    job: Job, digits: Dataset, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(_: Trainer) -> Iterator[None]:
        raise KeyError("no such thing")

    monkeypatch.setattr(Trainer, "__iter__", mistaken)
    run = trained(job, digits, terms).run
    assert run.status == "failed"
    assert run.reason.startswith("KeyError: 'no such thing' (test_alone.py, line ")


def test_what_a_killed_process_was_about_to_write_is_swept_away(job: Job, digits: Dataset, terms: Terms) -> None:
    interrupted(job, digits, terms)
    (job.folder(terms.root) / ".resume.npz.x1y2z3").write_bytes(b"half a checkpoint")
    trained(job, digits, terms)
    names = {path.name for path in job.folder(terms.root).iterdir()}
    assert names == {"answers.safetensors", "epochs.csv", "run.json", "rung.toml", "weights.safetensors"}


# What each epoch was trained with


def test_a_run_that_goes_on_says_what_each_of_its_epochs_was_trained_with(
    long: Ladder, digits: Dataset, terms: Terms
) -> None:
    job = Job(ladder=long, rung=long.rungs[0], seed=0)
    interrupted(job, digits, terms)
    events = train(job, digits, replace(terms, threads=2))
    told = [next(event for event in events if isinstance(event, EpochEnded)) for _ in range(2)]
    assert [event.epoch.epoch for event in told] == [2, 3]
    events.close()  # type: ignore[attr-defined]
    stored = read_run(job.folder(terms.root))
    assert [(stretch.until, stretch.environment.threads) for stretch in stored.earlier] == [(1, 1)]
    assert stored.environment.threads == 2
    interrupted(job, digits, replace(terms, threads=2))
    assert read_run(job.folder(terms.root)).earlier == stored.earlier
    run = trained(job, digits, terms).run
    assert [(stretch.until, stretch.environment.threads) for stretch in run.earlier] == [(1, 1), (4, 2)]
    assert run == read_run(job.folder(terms.root))


def test_an_epoch_that_was_stored_and_not_told_belongs_to_the_process_that_trained_it(
    job: Job, digits: Dataset, terms: Terms
) -> None:
    """Killed behind the checkpoint of the first epoch that a second process trained."""
    interrupted(job, digits, terms)
    folder = job.folder(terms.root)
    other = replace(terms, threads=2)
    events = train(job, digits, other)
    assert isinstance(next(iter(events)), RunStarted)
    begun = {name: (folder / name).read_bytes() for name in ("run.json", "epochs.csv")}
    next(event for event in events if isinstance(event, EpochEnded))
    events.close()  # type: ignore[attr-defined]
    for name, content in begun.items():
        (folder / name).write_bytes(content)
    run = trained(job, digits, terms).run  # trains nothing more
    assert [epoch.epoch for epoch in run.epochs] == [1, 2]
    assert [(stretch.until, stretch.environment.threads) for stretch in run.earlier] == [(1, 1), (2, 2)]


def test_an_epoch_that_only_the_checkpoint_has_is_not_trained_again(job: Job, digits: Dataset, terms: Terms) -> None:
    """Killed behind the very first checkpoint: the table is still empty."""
    begun = train(job, digits, terms)
    assert isinstance(next(iter(begun)), RunStarted)
    folder = job.folder(terms.root)
    table = (folder / "epochs.csv").read_bytes()
    first = next(event for event in begun if isinstance(event, EpochEnded))
    begun.close()  # type: ignore[attr-defined]
    (folder / "epochs.csv").write_bytes(table)
    again, *rest = train(job, digits, terms)
    assert isinstance(again, RunStarted)
    assert again.stored == (first.epoch,)
    assert [event.epoch.epoch for event in rest if isinstance(event, EpochEnded)] == [2]


def test_a_run_that_cannot_go_on_keeps_what_its_epochs_were_trained_with(
    job: Job, digits: Dataset, terms: Terms
) -> None:
    interrupted(job, digits, terms)
    before = read_run(job.folder(terms.root)).environment
    failed = trained(job, digits, replace(terms, device="vulkan", threads=2)).run
    assert (failed.status, failed.environment, failed.earlier) == ("failed", before, ())
    run = trained(job, digits, terms).run
    assert (run.status, run.environment, run.earlier) == ("finished", before, ())


# A clock that is set back


def test_a_clock_that_runs_backwards_changes_nothing(
    job: Job, digits: Dataset, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = trained(job, digits, replace(terms, root=terms.root / "steady")).run
    hours = iter(range(10**6, 0, -1))
    monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))
    monkeypatch.setattr(time, "time_ns", lambda: 3600 * 10**9 * next(hours))
    first = interrupted(job, digits, terms)
    os.utime(job.folder(terms.root) / "resume.npz", (0, 0))
    begun, *_, ended = train(job, digits, terms)
    assert isinstance(begun, RunStarted)
    assert isinstance(ended, RunEnded)
    assert begun.stored == (first.epoch,)
    assert all(0 < epoch.seconds < 60 for epoch in ended.run.epochs)
    assert [replace(epoch, seconds=0.0) for epoch in ended.run.epochs] == [
        replace(epoch, seconds=0.0) for epoch in steady.epochs
    ]


# A folder that is taken away, or closed


def test_a_folder_that_is_taken_away_leaves_its_run_and_is_made_anew_at_the_next_start_only(
    job: Job, digits: Dataset, terms: Terms
) -> None:
    folder = job.folder(terms.root)
    for event in train(job, digits, terms):
        last = event
        if isinstance(event, EpochEnded):
            shutil.rmtree(folder)
    reason = f"{folder}: was taken away while it was written; start again to train that run"
    assert last == RunLeft(job=job, reason=reason, held=False)
    assert not folder.exists()
    assert trained(job, digits, terms).run.status == "finished"


def test_a_folder_that_cannot_be_written_is_an_error(job: Job, digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    terms = Terms(root=tmp_path / "file", device="cpu", threads=1, holder=1)
    with pytest.raises(RunError, match="cannot be written: Not a directory"):
        list(train(job, digits, terms))


def test_a_training_that_misses_its_threshold_stops_there_and_can_go_on_later(
    long: Ladder, digits: Dataset, terms: Terms
) -> None:
    job = Job(ladder=long, rung=long.rungs[0], seed=0)
    bound = replace(job, threshold=Threshold(since=2, correct=digits.facts.test + 1))
    *before, stopped = train(bound, digits, terms)
    assert isinstance(stopped, RunStopped)
    assert [epoch.epoch for epoch in stopped.epochs] == [1, 2]
    assert sum(isinstance(event, EpochEnded) for event in before) == 2
    again = list(train(bound, digits, terms))
    assert again == [stopped]  # nothing is trained to find out the same
    *_, ended = train(job, digits, terms)
    assert isinstance(ended, RunEnded)
    assert not ended.reused
    assert len(ended.run.epochs) == job.rung.recipe.epochs
    alone = trained(job, digits, replace(terms, root=terms.root / "alone")).run
    assert [e.test_correct for e in ended.run.epochs] == [e.test_correct for e in alone.epochs]


def test_a_threshold_that_is_kept_changes_nothing(job: Job, digits: Dataset, terms: Terms) -> None:
    kept = trained(replace(job, threshold=Threshold(since=1, correct=0)), digits, terms).run
    assert kept.status == "finished"


def test_threads_that_become_free_are_tried_and_change_no_bit(
    long: Ladder, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NativeStep, "_note", lambda *_: None)  # what is tried stays
    job = Job(ladder=long, rung=long.rungs[0], seed=0)
    terms = [Terms(root=tmp_path / name, device="cpu", threads=1, holder=os.getpid()) for name in ("alone", "grown")]
    said = iter([None, None, 2])
    list(train(job, digits, terms[0]))
    seen = set()
    for event in train(job, digits, terms[1], lambda: next(said, None)):
        if isinstance(event, EpochEnded) and event.epoch.epoch in (3, 4):
            seen.add((event.epoch.epoch, read_run(job.folder(terms[1].root)).environment.threads))
    assert seen == {(3, 1), (4, 2)}
    one, other = (job.folder(t.root) / "weights.safetensors" for t in terms)
    assert one.read_bytes() == other.read_bytes()
