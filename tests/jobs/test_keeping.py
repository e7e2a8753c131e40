"""A run that is given up in place of the process that trained it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from smallprint.jobs.alone import train
from smallprint.jobs.job import (
    EpochEnded,
    Job,
    RunEnded,
    RunLeft,
    RunSetAside,
    RunStarted,
    Terms,
)
from smallprint.jobs.keeping import give_up
from smallprint.results.runs import read_run
from smallprint.spec.errors import RunError
from smallprint.training.data import Dataset
from tests.jobs.trainings import interrupted, trained


def test_what_is_wrong_with_one_folder_leaves_its_run_and_what_is_wrong_with_all_is_an_error(
    job: Job, digits: Dataset, terms: Terms
) -> None:
    folder = job.folder(terms.root)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where a folder should be")
    advice = "what is stored stays as it is; put that right and start again"
    (left,) = train(job, digits, terms)
    assert left == RunLeft(job=job, reason=f"{folder}: cannot be written: File exists; {advice}", held=False)
    assert list(give_up(job, digits.fingerprint, terms, "gone")) == [left]
    shutil.rmtree(terms.root / "tiny")
    (terms.root / "tiny").write_text("a file where all folders should be")
    for events in (train(job, digits, terms), give_up(job, digits.fingerprint, terms, "gone")):
        with pytest.raises(RunError, match="cannot be written: Not a directory"):
            list(events)


def test_a_run_that_is_damaged_on_the_way_is_left_and_stays_as_it_is(job: Job, digits: Dataset, terms: Terms) -> None:
    trained(job, digits, terms)
    path = job.folder(terms.root) / "run.json"
    path.write_text("{")
    (left,) = train(job, digits, terms)
    assert isinstance(left, RunLeft)
    assert left.reason.startswith(f"{path}: damaged; ")
    assert list(give_up(job, digits.fingerprint, terms, "gone")) == [left]
    assert path.read_text() == "{"


# Held by another process

HOLD = """
import sys
from pathlib import Path
from smallprint.results.writer import RunWriter
with RunWriter(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_process_holds_is_left_and_taken_over_when_that_is_killed(
    job: Job, digits: Dataset, terms: Terms
) -> None:
    folder = job.folder(terms.root)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        reason = f"{folder}: held by process {other.pid}; start again when it has ended, or choose another --runs"
        left = RunLeft(job=job, reason=reason, held=True, holder=other.pid)
        assert list(train(job, digits, terms)) == [left]
        assert list(give_up(job, digits.fingerprint, terms, "gone")) == [left]
        other.kill()
    assert trained(job, digits, terms).run.status == "finished"


def test_a_run_that_is_given_up_keeps_its_epochs_and_goes_on_from_them(job: Job, digits: Dataset, terms: Terms) -> None:
    first = interrupted(job, digits, terms)
    (ended,) = give_up(job, digits.fingerprint, terms, "its process was ended by SIGKILL")
    assert isinstance(ended, RunEnded)
    assert (ended.run.status, ended.run.epochs) == ("failed", (first.epoch,))
    assert read_run(job.folder(terms.root)) == ended.run
    begun, *_ = events = list(train(job, digits, terms))
    assert isinstance(begun, RunStarted)
    assert begun.stored == (first.epoch,)
    assert [event.epoch.epoch for event in events if isinstance(event, EpochEnded)] == [2]


def test_a_run_that_was_complete_when_its_process_went_is_not_given_up(job: Job, digits: Dataset, terms: Terms) -> None:
    run = trained(job, digits, terms).run
    assert list(give_up(job, digits.fingerprint, terms, "gone")) == [RunEnded(job=job, run=run, reused=False)]


def test_a_run_that_was_never_begun_has_its_reason_on_record_and_sets_an_earlier_one_aside(
    job: Job, digits: Dataset, terms: Terms
) -> None:
    trained(job, digits, terms)
    other = replace(job, rung=job.ladder.rungs[1])
    other = replace(other, rung=replace(other.rung, name="base"))
    other = replace(other, ladder=replace(job.ladder, rungs=(other.rung,)))
    aside, ended = give_up(other, digits.fingerprint, terms, "its process ended with status 1 before the run did")
    assert isinstance(aside, RunSetAside)
    assert isinstance(ended, RunEnded)
    stored = read_run(job.folder(terms.root))
    assert (stored.status, stored.reason, stored.epochs) == ("failed", ended.run.reason, ())
    assert stored.hash == other.hash(digits.fingerprint)
    assert stored.environment.torch.split("+")[0] == read_run(aside.folder).environment.torch.split("+")[0]
    assert trained(other, digits, terms).run.status == "finished"
