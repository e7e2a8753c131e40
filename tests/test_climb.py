"""A climb on the real digits: what is stored is reused, what is interrupted goes on, what fails does not stop it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from smallprint.climb import Pace, RungJudged, RungStarted, climb
from smallprint.jobs.job import EpochEnded, Job, RunEnded, RunLeft, RunStarted
from smallprint.jobs.placement import Placement
from smallprint.results.runs import Epoch, read_run
from smallprint.spec.errors import LadderError
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.ladder_file import parse_ladder, read_ladder
from smallprint.sweep import SweepStarted
from tests.climbs import (
    LADDER,
    QUICK,
    kinds,
    read_until,
    rung,
    started,
    train,
)
from tests.typed import Say, speaker


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command line in the test's folder; its status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    return speaker(monkeypatch, capsys)


# What is stored


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def test_what_is_stored_is_reused_and_not_a_byte_of_it_written_again(tmp_path: Path) -> None:
    first = train(QUICK, tmp_path, seeds=2)
    assert kinds(first) == ["RungStarted", *(["RunStarted", "EpochEnded", "EpochEnded", "RunEnded"] * 2), "RungJudged"]
    before = state(tmp_path)
    again = train(QUICK, tmp_path, seeds=2)
    assert state(tmp_path) == before
    assert kinds(again) == ["RungStarted", "RunEnded", "RunEnded", "RungJudged"]
    assert [event.reused for event in again if isinstance(event, RunEnded)] == [True, True]
    assert isinstance(first[-1], RungJudged)
    assert isinstance(again[-1], RungJudged)
    assert again[-1].result == first[-1].result


def test_more_seeds_train_only_those_that_are_missing(tmp_path: Path) -> None:
    train(QUICK, tmp_path)
    events = train(QUICK, tmp_path, seeds=2)
    assert [(event.run.seed, event.reused) for event in events if isinstance(event, RunEnded)] == [
        (0, True),
        (1, False),
    ]


def test_seeds_of_a_range_are_trained_without_those_before_it(tmp_path: Path) -> None:
    events = train(QUICK, tmp_path, seeds=range(3, 5))
    judged = events[-1]
    assert isinstance(judged, RungJudged)
    assert [run.seed for run in judged.result.runs] == [3, 4]


def test_another_recipe_sets_the_earlier_run_aside_and_loses_nothing(tmp_path: Path) -> None:
    train(QUICK, tmp_path)
    folder = tmp_path / "tiny" / "base" / "seed-0"
    before = {name: content for name, (content, _) in state(folder).items()}
    events = train(QUICK.replace("lr=0.01", "lr=0.02"), tmp_path)
    assert kinds(events)[:3] == ["RungStarted", "RunSetAside", "RunStarted"]
    kept = tmp_path / "tiny" / "base" / f"seed-0.{json.loads(before['run.json'])['hash'][:8]}"
    assert getattr(events[1], "folder", None) == kept
    assert {name: content for name, (content, _) in state(kept).items()} == before
    assert read_run(folder).hash != read_run(kept).hash


def test_other_words_for_the_same_rung_train_nothing(tmp_path: Path) -> None:
    train(QUICK, tmp_path)
    other = QUICK.replace("Start.", "Begin.").replace("conv3-8 maxpool", "conv3-8  # eight\n\nmaxpool")
    assert "RunStarted" not in kinds(train(other, tmp_path))


# What is interrupted


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[str]]:
    root = tmp_path_factory.mktemp("uninterrupted")
    train(LADDER, root)
    return bits(root / "tiny" / "base" / "seed-0")


def bits(folder: Path) -> tuple[bytes, list[str]]:
    """The weights, and the epochs without their seconds."""
    rows = [line.rpartition(",")[0] for line in (folder / "epochs.csv").read_text().splitlines()]
    return (folder / "weights.safetensors").read_bytes(), rows


def test_ctrl_c_says_how_to_go_on_and_going_on_gives_the_same_bits(
    tmp_path: Path, uninterrupted: tuple[bytes, list[str]]
) -> None:
    with started(tmp_path) as process:
        seen = read_until(process, "1/5")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "\nstopped. Finished epochs are kept; the same command goes on behind them.\n"
    assert "\x1b" not in seen
    folder = tmp_path / "runs" / "tiny" / "base" / "seed-0"
    done = len(read_run(folder).epochs)
    assert (read_run(folder).status, 1 <= done < 5) == ("training", True)
    assert not (tmp_path / "runs" / "tiny" / "report.html").exists()
    _, begun, *rest = train(LADDER, tmp_path / "runs")
    assert isinstance(begun, RunStarted)
    assert [epoch.epoch for epoch in begun.stored] == [1, 2, 3, 4, 5][:done]
    assert [event.epoch.epoch for event in rest if isinstance(event, EpochEnded)] == [1, 2, 3, 4, 5][done:]
    assert bits(folder) == uninterrupted


def test_a_climb_that_is_killed_goes_on_to_the_same_bits(
    tmp_path: Path, uninterrupted: tuple[bytes, list[str]]
) -> None:
    with started(tmp_path) as process:
        read_until(process, "2/5")
        process.kill()
        process.wait()
    folder = tmp_path / "runs" / "tiny" / "base" / "seed-0"
    done = len(read_run(folder).epochs)
    assert (read_run(folder).status, 2 <= done < 5) == ("training", True)
    events = train(LADDER, tmp_path / "runs")
    trained = [event.epoch.epoch for event in events if isinstance(event, EpochEnded)]
    assert trained in ([1, 2, 3, 4, 5][done:], [1, 2, 3, 4, 5][done + 1 :])  # killed between its two files
    assert bits(folder) == uninterrupted


WITHOUT_ROOM = """
import resource, signal
from smallprint.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # a write that the system refuses half-way
main()
"""


def test_a_disk_that_fills_up_keeps_the_finished_epochs_and_the_climb_goes_on_later(
    tmp_path: Path, uninterrupted: tuple[bytes, list[str]]
) -> None:
    folder = tmp_path / "runs" / "tiny" / "base" / "seed-0"
    stream = climb(parse_ladder(LADDER, name="tiny"), runs=tmp_path / "runs", threads=1)
    while not isinstance(next(stream), EpochEnded):
        pass
    stream.close()
    before = {name: content for name, (content, _) in state(folder).items()}
    (tmp_path / "tiny.toml").write_text(LADDER)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROOM, "climb", "tiny.toml", "--threads", "1"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2,
        "smallprint: runs/tiny/base/seed-0/resume.npz: cannot be written: File too large; "
        "what is stored stays as it is; put that right and start again\n",
    )
    after = {name: content for name, (content, _) in state(folder).items()}
    assert after.pop("run.json") and before.pop("run.json")  # the environment of the process that went on
    assert after == before
    assert len(read_run(folder).epochs) == 1
    events = train(LADDER, tmp_path / "runs")
    assert [event.epoch.epoch for event in events if isinstance(event, EpochEnded)] == [2, 3, 4, 5]
    assert bits(folder) == uninterrupted


def test_a_checkpoint_that_is_an_epoch_ahead_of_the_table_is_believed(
    tmp_path: Path, uninterrupted: tuple[bytes, list[str]]
) -> None:
    stream = climb(parse_ladder(LADDER, name="tiny"), runs=tmp_path, threads=1)
    ended = (event for event in stream if isinstance(event, EpochEnded))
    folder = tmp_path / "tiny" / "base" / "seed-0"
    next(ended)
    table = (folder / "epochs.csv").read_bytes()
    next(ended)
    stream.close()
    (folder / "epochs.csv").write_bytes(table)  # as if it had been killed between the two files
    _, begun, *rest = train(LADDER, tmp_path)
    assert isinstance(begun, RunStarted)
    assert [epoch.epoch for epoch in begun.stored] == [1, 2]
    assert len([event for event in rest if isinstance(event, EpochEnded)]) == 3
    assert bits(folder) == uninterrupted


def test_the_same_climb_twice_at_once_trains_once(
    tmp_path: Path, uninterrupted: tuple[bytes, list[str]], say: Say
) -> None:
    folder = "runs/tiny/base/seed-0"
    with started(tmp_path) as process:
        read_until(process, "1/5")
        process.send_signal(signal.SIGSTOP)
        before = state(tmp_path / folder)
        status, out, err = say("climb", "tiny.toml", "--threads", "1")
        assert state(tmp_path / folder) == before
        process.send_signal(signal.SIGCONT)
        _, nothing = process.communicate(timeout=60)
    held = f"held by process {process.pid}"
    assert (status, err) == (2, f"smallprint: {held}: 1 run (base seed 0); start again when it has ended\n")
    assert f"seed 0: left out: {folder}: {held}; start again when it has ended, or choose another --runs\n" in out
    assert out.count("not measured") == 1
    assert (process.returncode, nothing) == (0, "")
    assert bits(tmp_path / folder) == uninterrupted


# What fails

WILD = rung("wild", "conv3-8 conv3-8 conv3-8 gap conv1-10", "sgd lr=1000000000")
HUGE = rung("huge", "conv1-999999 conv99-999999,pad=49 gap conv1-10")  # 39 petabytes of weights
LAST = rung("last", "conv3-8 batchnorm relu gap conv1-10")


def test_a_rung_that_diverges_is_broken_and_the_next_one_is_climbed(tmp_path: Path) -> None:
    events = train(QUICK + WILD + LAST, tmp_path, rungs=("wild", "last"))
    wild, last = (event.result for event in events if isinstance(event, RungJudged))
    assert (wild.runs[0].status, wild.runs[0].reason) == ("diverged", "the loss was no longer a number in epoch 1")
    assert wild.verdict
    assert wild.verdict.outcome == "broken"
    assert wild.findings[0].name == "diverged"
    assert last.runs[0].status == "finished"
    again = train(QUICK + WILD + LAST, tmp_path, rungs=("wild",))
    assert "RunStarted" not in kinds(again)  # it would diverge again


def test_a_rung_whose_memory_cannot_be_had_fails_with_its_reason_and_the_next_one_is_climbed(tmp_path: Path) -> None:
    events = train(QUICK + HUGE + LAST, tmp_path, rungs=("huge", "last"))
    huge, last = (event.result for event in events if isinstance(event, RungJudged))
    assert huge.runs[0].status == "failed"
    assert re.match("(Memory|Runtime)Error: ", huge.runs[0].reason)
    assert huge.verdict
    assert huge.verdict.outcome == "undecided"
    assert last.runs[0].status == "finished"
    stored = read_run(tmp_path / "tiny" / "huge" / "seed-0")
    assert (stored.status, stored.reason) == ("failed", huge.runs[0].reason)
    assert "conv99-999999" in (tmp_path / "tiny" / "huge" / "seed-0" / "rung.toml").read_text()


def test_a_climb_in_which_rungs_fail_ends_with_its_report(tmp_path: Path, say: Say) -> None:
    (tmp_path / "tiny.toml").write_text(QUICK + WILD + HUGE + LAST)
    status, out, err = say("climb", "tiny.toml", "--threads", "1", "--workers", "2")
    assert (status, err) == (0, "")
    assert "seed 0: diverged: the loss was no longer a number in epoch 1\n" in out
    assert re.search("huge seed 0: failed: (Memory|Runtime)Error: ", out)
    summary = [line.split() for line in out.split("verdict\n")[1].splitlines()[:4]]
    assert [(line[0], line[-1]) for line in summary if line[0] in ("wild", "huge")] == [
        ("wild", "broken"),
        ("huge", "undecided"),
    ]
    assert (tmp_path / "runs" / "tiny" / "report.html").is_file()


WITHOUT_MEMORY = """
import pathlib, resource, sys
import smallprint
small, wide = (smallprint.parse_ladder(text, name="tiny") for text in sys.argv[1:])
digits = smallprint.load_dataset("digits")
list(smallprint.climb(small, runs="before", dataset=digits, threads=1))  # everything is loaded
used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), used + (1 << 20)))
list(smallprint.climb(wide, runs="runs", dataset=digits, threads=1))
"""


def test_a_run_that_fails_half_way_keeps_its_epochs(tmp_path: Path) -> None:
    wide = QUICK.replace("conv3-8", "conv3-512 conv1-8")  # PyTorch needs 65 MB after the first layer
    stream = climb(parse_ladder(wide, name="tiny"), runs=tmp_path / "runs", threads=1)
    while not isinstance(next(stream), EpochEnded):
        pass
    stream.close()
    no_compiler = {**os.environ, "CC": "none"}
    subprocess.run([sys.executable, "-c", WITHOUT_MEMORY, QUICK, wide], cwd=tmp_path, check=True, env=no_compiler)
    stored = read_run(tmp_path / "runs" / "tiny" / "base" / "seed-0")
    assert (stored.status, len(stored.epochs)) == ("failed", 1)
    assert stored.reason
    events = train(wide, tmp_path / "runs")
    assert [event.epoch.epoch for event in events if isinstance(event, EpochEnded)] == [2]


# What is asked


def test_a_rung_that_is_not_there_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(LadderError, match="tiny has no rung 'bass'; it has base; did you mean 'base'"):
        train(QUICK, tmp_path, rungs=("bass",))
    assert not list(tmp_path.iterdir())


def test_a_ladder_may_be_named_and_its_rungs_keep_its_order(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(QUICK + WILD + LAST)
    events = climb(path, rungs=["last", "base", "last"], runs=tmp_path / "runs", threads=1)
    assert [event.rung.name for event in events if isinstance(event, RungStarted)] == ["base", "last"]


# How long it will take: multiply-adds that are left, on every worker, at the pace so far


def epoch(number: int, seconds: float) -> Epoch:
    return Epoch(
        epoch=number, learning_rate=0.1, train_loss=1.0, train_correct=1, train_total=2, test_loss=1.0,
        test_correct=1, test_total=2, seconds=seconds,
    )  # fmt: skip


@pytest.fixture
def digits() -> Ladder:
    return read_ladder("digits")


def _pace(ladder: Ladder, rungs: Sequence[Rung], seeds: int, *, stored: int = 0, at_once: int = 1) -> Pace:
    """At the start of a climb, of whose last seeds some are stored."""
    jobs = tuple(Job(ladder=ladder, rung=rung, seed=seed) for rung in rungs for seed in range(seeds))
    pace = Pace()
    placement = Placement(device="cpu", at_once=at_once)
    pace.note(SweepStarted(jobs=jobs, left=jobs[: len(jobs) - stored], placement=placement))
    return pace


def test_the_time_that_is_left_follows_from_the_epochs_and_their_multiply_adds(digits: Ladder) -> None:
    base = digits.rungs[0]
    pace = _pace(digits, [base], 2)
    job = Job(ladder=digits, rung=base, seed=0)
    assert (pace.share_done, pace.seconds_left) == (0.0, None)
    pace.note(RunStarted(job=job, stored=(epoch(1, 9.0),)))
    planned = 2 * base.recipe.epochs
    assert pace.share_done == pytest.approx(1 / planned)
    assert pace.seconds_left is None  # no epoch of today has ended yet
    pace.note(EpochEnded(job=job, epoch=epoch(2, 2.0)))
    pace.note(EpochEnded(job=job, epoch=epoch(3, 4.0)))
    assert pace.share_done == pytest.approx(3 / planned)
    assert pace.seconds_left == pytest.approx((planned - 3) * 3.0)


def test_a_run_that_is_reused_leaves_its_epochs_out_of_the_time_that_is_left(tmp_path: Path) -> None:
    first = train(QUICK, tmp_path)[-2]
    assert isinstance(first, RunEnded)
    ladder = first.job.ladder
    pace = _pace(ladder, ladder.rungs, 2)
    pace.note(first)
    assert pace.share_done == 0.5
    pace.note(EpochEnded(job=Job(ladder=ladder, rung=ladder.rungs[0], seed=1), epoch=epoch(1, 7.0)))
    assert pace.seconds_left == pytest.approx(7.0)


def test_workers_share_the_time_that_is_left_but_not_one_training(digits: Ladder) -> None:
    base = digits.rungs[0]
    planned = base.recipe.epochs
    jobs = [Job(ladder=digits, rung=base, seed=seed) for seed in range(3)]
    pace = _pace(digits, [base], 4, stored=1, at_once=2)
    assert pace.share_done == pytest.approx(1 / 4)
    pace.note(RunStarted(job=jobs[0], stored=()))
    pace.note(RunStarted(job=jobs[2], stored=tuple(epoch(n + 1, 1.0) for n in range(planned - 5))))
    pace.note(EpochEnded(job=jobs[0], epoch=epoch(1, 2.0)))
    # one worker goes on with seed 0; the other one ends seed 2 in 5 epochs and takes seed 1
    assert pace.seconds_left == pytest.approx(2.0 * (5 + planned))
    pace.note(RunLeft(job=jobs[1], reason="held", held=True))
    assert pace.seconds_left == pytest.approx(2.0 * (planned - 1))
