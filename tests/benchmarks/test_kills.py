"""The benchmark that kills: a few kills in earnest, and whether it would see what it looks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.kills import LADDER, Found, Stored, compare, reported, results
from smallprint.jobs.alone import train
from smallprint.jobs.job import Job, Terms
from smallprint.results.runs import read_run
from smallprint.results.writer import RunWriter
from smallprint.spec.ladder_file import parse_ladder
from smallprint.training.data import Dataset

ROOT = Path(__file__).parent.parent.parent
Spoil = Callable[[Path], object]


def test_a_climb_that_is_killed_again_and_again_loses_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "kills", "--kills", "2", "--seeds", "1", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert sum(document["kills"].values()) == 2
    assert document["runs_compared"] == 4 * document["rounds"] > 0
    assert document["epochs_reported"] > 0
    faults = ("damaged_folders", "lost_epochs", "different_results", "unexpected")
    assert [document[name] for name in faults] == [[], [], [], []]


@pytest.fixture
def climbed(tmp_path: Path, digits: Dataset) -> Path:
    """A finished run and one that was interrupted, both of two epochs; the same again under `other`."""
    ladder = parse_ladder(LADDER.replace("epochs    = 12", "epochs    = 3"), name="killed")
    for name in ("runs", "other"):
        terms = Terms(root=tmp_path / name, device="cpu", threads=1, holder=os.getpid())
        list(train(Job(ladder=ladder, rung=ladder.rungs[0], seed=0), digits, terms))
        events = train(Job(ladder=ladder, rung=ladder.rungs[0], seed=1), digits, terms)
        assert [type(next(iter(events))).__name__ for _ in range(3)] == ["RunStarted", "EpochEnded", "EpochEnded"]
        events.close()  # type: ignore[attr-defined]
    return tmp_path / "runs"


def found(root: Path, spoil: Spoil) -> Found:
    """What is found when something happens between two looks."""
    stored = Stored(root, Found())
    stored.look()
    assert len(stored.epochs) == 5
    assert not stored.found.faults
    spoil(root / "killed" / "onecycle")
    stored.look()
    return stored.found


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def trained_again(folder: Path) -> None:
    run = read_run(folder)
    with RunWriter(folder) as writer:
        writer.keep(replace(run, epochs=(replace(run.epochs[0], seconds=1.0), *run.epochs[1:])))


@pytest.mark.parametrize(
    "name", ["seed-0/weights.safetensors", "seed-0/run.json", "seed-1/epochs.csv", "seed-1/resume.npz"]
)
def test_half_a_file_is_a_damaged_folder(climbed: Path, name: str) -> None:
    (fault,) = found(climbed, lambda rung: cut(rung / name)).damaged
    assert name in fault


def test_a_checkpoint_that_is_behind_its_table_is_damage(climbed: Path) -> None:
    (fault,) = found(climbed, lambda rung: (rung / "seed-1" / "resume.npz").unlink()).damaged
    assert fault.endswith("seed-1: 0 epochs in its checkpoint, 2 in its table")


def test_an_epoch_that_is_trained_again_or_gone_is_lost(climbed: Path) -> None:
    again = found(climbed, lambda rung: trained_again(rung / "seed-0"))
    assert (again.lost, again.damaged) == (["onecycle seed 0: epoch 1 was trained again"], [])
    gone = found(climbed, lambda rung: (rung / "seed-1").rename(rung / "away"))
    assert gone.lost == [f"onecycle seed 1: epoch {number} is missing" for number in (1, 2)]


def test_an_epoch_that_was_told_and_is_not_stored_is_lost(climbed: Path) -> None:
    stored = Stored(climbed, Found())
    stored.look()
    stored.check({("onecycle", 1, 2), ("onecycle", 1, 3)})
    assert stored.found.lost == ["onecycle seed 1: epoch 3 was reported and is not stored"]
    assert stored.found.reported == 2


def test_other_bits_a_run_that_is_not_finished_and_one_that_is_missing_are_different(climbed: Path) -> None:
    expected, same, other = results(climbed.parent / "other"), Found(), Found()
    compare(climbed, {"killed/onecycle/seed-0": expected["killed/onecycle/seed-0"]}, same)
    assert same.different == ["other folders: killed/onecycle/seed-1"]
    weights = climbed / "killed" / "onecycle" / "seed-0" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    (climbed / "killed" / "onecycle" / "seed-0" / ".run.json.x1y2").write_bytes(b"")
    compare(climbed, expected, other)
    assert other.different == [
        "killed/onecycle/seed-0: .run.json.x1y2 is not the same",
        "killed/onecycle/seed-0: weights.safetensors is not the same",
        "killed/onecycle/seed-1: not finished, or another run",
    ]
    assert other.compared == 2


BESIDE = """
rung   seed   epoch      rate   train %   test %
base      1    2/30      0.05     10.71     9.00
wide     10   12/30     5e-05     10.71     9.0"""
ALONE = """
1/4 base  1,304 parameters, 50,768 multiply-adds
Why 1/2 not
seed 0, going on behind epoch 1
  epoch      rate   train %   test %
   1/30      0.05     10.71     9.00
   2/30      0.05     10.71     9.00

2/4 wide  1,304 parameters, 50,768 multiply-adds
seed 3
   1/30      0.05      9.90     9.00
"""


def test_what_a_climb_tells_is_read_in_both_of_its_forms() -> None:
    assert reported(BESIDE) == {("base", 1, 2)}  # the last line is cut off
    assert reported(ALONE) == {("base", 0, 1), ("base", 0, 2), ("wide", 3, 1)}
