"""Many trainings, each in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import smallprint
from smallprint.results.runs import RunWriter, read_run, run_folder
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder, parse_ladder
from smallprint.sweep import EpochEnded, Job, RunEnded, RunSetAside, RunStarted, SweepEvent, sweep
from smallprint.training.data import Dataset, load_dataset

LADDER = """
dataset = "digits"
[contract]
accuracy    = ">= 20%"
last_epochs = 1
[recipe]
optimiser = "sgd lr=0.1"
batch     = 128
epochs    = 2
[[rung]]
name    = "base"
network = "conv3-8 batchnorm relu gap conv1-10"
"""


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture
def ladder() -> Ladder:
    return parse_ladder(LADDER, name="tiny")


def jobs(ladder: Ladder, *seeds: int) -> list[Job]:
    return [Job(ladder=ladder, rung=ladder.rungs[0], seed=seed) for seed in seeds]


def until_first_epoch(events: Iterator[SweepEvent]) -> EpochEnded:
    return next(event for event in events if isinstance(event, EpochEnded))


def test_every_epoch_is_stored_before_it_is_reported(ladder: Ladder, digits: Dataset, tmp_path: Path) -> None:
    for event in sweep(jobs(ladder, 7), digits, tmp_path, threads=1):
        if isinstance(event, EpochEnded):
            stored = read_run(run_folder(tmp_path, "tiny", "base", 7))
            assert stored.epochs[-1] == event.epoch
            assert stored.status == "training"
    assert read_run(run_folder(tmp_path, "tiny", "base", 7)).status == "finished"


def test_seeds_differ_and_each_repeats_itself(ladder: Ladder, digits: Dataset, tmp_path: Path) -> None:
    def losses(folder: str) -> list[float]:
        events = sweep(jobs(ladder, 0, 1), digits, tmp_path / folder, threads=1)
        return [event.run.epochs[-1].train_loss for event in events if isinstance(event, RunEnded)]

    first = losses("first")
    assert first[0] != first[1]
    assert losses("second") == first


def test_a_run_says_where_it_was_trained(ladder: Ladder, digits: Dataset, tmp_path: Path) -> None:
    *_, ended = sweep(jobs(ladder, 0), digits, tmp_path, threads=1)
    assert isinstance(ended, RunEnded)
    assert ended.run == read_run(run_folder(tmp_path, "tiny", "base", 0))
    assert ended.run.data == digits.fingerprint
    assert ended.run.identity == ladder.identity(ladder.rungs[0])
    environment = ended.run.environment
    assert (environment.smallprint, environment.device, environment.threads) == (smallprint.__version__, "cpu", 1)


def test_without_a_number_of_threads_a_tiny_step_is_not_shared(ladder: Ladder, digits: Dataset, tmp_path: Path) -> None:
    *_, ended = sweep(jobs(ladder, 0), digits, tmp_path)
    assert isinstance(ended, RunEnded)
    assert ended.run.environment.threads == 1


def test_a_sweep_that_is_left_lets_go_of_its_folder(ladder: Ladder, digits: Dataset, tmp_path: Path) -> None:
    events = sweep(jobs(ladder, 0), digits, tmp_path, threads=1)
    until_first_epoch(events)
    with pytest.raises(RunError, match="another process"), RunWriter(run_folder(tmp_path, "tiny", "base", 0)):
        pass
    events.close()  # type: ignore[attr-defined]
    with RunWriter(run_folder(tmp_path, "tiny", "base", 0)) as writer:
        stored = writer.stored()
    assert stored
    assert (stored.status, len(stored.epochs)) == ("training", 1)


def test_other_data_sets_a_run_aside_though_network_and_recipe_are_the_same(
    ladder: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    list(sweep(jobs(ladder, 0), digits, tmp_path, threads=1))
    fewer = replace(
        digits, train_images_NCHW=digits.train_images_NCHW[:700], train_labels_N=digits.train_labels_N[:700]
    )
    aside, begun, *_, ended = sweep(jobs(ladder, 0), fewer, tmp_path, threads=1)
    assert isinstance(aside, RunSetAside)
    assert isinstance(begun, RunStarted)
    assert isinstance(ended, RunEnded)
    assert begun.stored == ()
    assert [epoch.train_total for epoch in ended.run.epochs] == [700, 700]
    assert read_run(aside.folder).data == digits.fingerprint


def test_a_checkpoint_that_is_missing_starts_the_run_anew(ladder: Ladder, digits: Dataset, tmp_path: Path) -> None:
    events = sweep(jobs(ladder, 0), digits, tmp_path, threads=1)
    first = until_first_epoch(events)
    events.close()  # type: ignore[attr-defined]
    folder = run_folder(tmp_path, "tiny", "base", 0)
    (folder / "resume.pt").unlink()
    begun, again, *_ = sweep(jobs(ladder, 0), digits, tmp_path, threads=1)
    assert isinstance(begun, RunStarted)
    assert isinstance(again, EpochEnded)
    assert begun.stored == ()
    assert replace(again.epoch, seconds=0.0) == replace(first.epoch, seconds=0.0)


def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(ladder: Ladder, digits: Dataset, tmp_path: Path) -> None:
    events = sweep(jobs(ladder, 0), digits, tmp_path, threads=1)
    until_first_epoch(events)
    events.close()  # type: ignore[attr-defined]
    folder = run_folder(tmp_path, "tiny", "base", 0)
    path = folder / "resume.pt"
    path.write_bytes(path.read_bytes()[:1000])
    epochs = (folder / "epochs.csv").read_bytes()
    with pytest.raises(RunError, match=r"resume\.pt: damaged, or of another network; remove it and climb again"):
        list(sweep(jobs(ladder, 0), digits, tmp_path, threads=1))
    assert (folder / "epochs.csv").read_bytes() == epochs
    assert read_run(folder).status == "training"


def test_a_run_that_cannot_even_begin_again_keeps_its_epochs(ladder: Ladder, digits: Dataset, tmp_path: Path) -> None:
    events = sweep(jobs(ladder, 0), digits, tmp_path, threads=1)
    first = until_first_epoch(events)
    events.close()  # type: ignore[attr-defined]
    *_, ended = sweep(jobs(ladder, 0), digits, tmp_path, device="vulkan", threads=1)  # which torch is not built for
    assert isinstance(ended, RunEnded)
    assert (ended.run.status, ended.run.epochs) == ("failed", (first.epoch,))
    assert ended.run.reason
    begun, *_, ended = sweep(jobs(ladder, 0), digits, tmp_path, threads=1)
    assert isinstance(begun, RunStarted)
    assert isinstance(ended, RunEnded)
    assert (len(begun.stored), ended.run.status) == (1, "finished")
