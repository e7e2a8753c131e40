"""A climb as it is watched: plain lines in a log; in a terminal the same lines, and a live bar below them."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from smallprint.climb import ClimbEvent, RungJudged, RungStarted, climb
from smallprint.jobs.job import EpochEnded, Job, RunEnded, RunLeft, RunSetAside, RunStarted
from smallprint.jobs.placement import Placement
from smallprint.results.assessment import RungResult, assess
from smallprint.results.runs import Run, read_runs
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.ladder_file import parse_ladder
from smallprint.sweep import SweepStarted
from smallprint.training.native import NativeError
from smallprint.views.terminal import EPOCH_HEADER
from smallprint.watching.climb import ClimbWatch

LADDER = r"""
title   = "[red]x[/red] [bold :smile: \\["
dataset = "digits"

[contract]
accuracy    = ">= 20%"
last_epochs = 2

[recipe]
optimiser = "adam lr=0.01"
batch     = 64
epochs    = 2

[[rung]]
name    = "base"
target  = "Find [bold size [/nope]"
network = "conv3-8 batchnorm relu gap conv1-10"

[[rung]]
name    = "long"
target  = "Never ends."
network = "conv3-8 batchnorm relu gap conv1-10"
[rung.recipe]
epochs = 999
"""
EPOCH = re.compile(r" +[12]/2 +0\.01 +[0-9]+\.[0-9]{2} +[0-9]+\.[0-9]{2} +[-+][0-9]+\.[0-9]{2} +[0-9]+\.[0-9] +[0-9]+s")


@pytest.fixture
def ladder() -> Ladder:
    return parse_ladder(LADDER, name="tiny")


def watched(ladder: Ladder, runs: Path, seeds: int = 1) -> tuple[list[str], list[RungResult]]:
    """The lines that a climb of the first rung leaves in a log that is 40 characters wide."""
    console = Console(file=io.StringIO(), width=40, highlight=False)
    events = climb(ladder, rungs=["base"], seeds=seeds, runs=runs, threads=1)
    results = ClimbWatch(ladder, ladder.rungs[:1], console).show(events)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines(), results


def test_a_log_holds_one_plain_line_per_epoch(ladder: Ladder, tmp_path: Path) -> None:
    lines, results = watched(ladder, tmp_path)
    assert lines[:7] == [
        "[red]x[/red] [bold :smile: \\[",
        "promise: at least 20% test accuracy in each of the last 2 epochs",
        "",
        "1/1 base  168 parameters, 2,672 multiply-adds",
        "Find [bold size [/nope]",
        "seed 0",
        EPOCH_HEADER,
    ]
    assert all(EPOCH.fullmatch(line) for line in lines[7:9])
    assert lines[9:11] == ["", "Result"]
    assert not any("\x1b" in line or "\r" in line for line in lines)
    assert [result.rung.name for result in results] == ["base"]


def test_what_was_trained_before_is_said_in_a_line(ladder: Ladder, tmp_path: Path) -> None:
    _, first = watched(ladder, tmp_path)
    lines, again = watched(ladder, tmp_path, seeds=2)
    assert lines[5:8] == ["seed 0: trained before, finished", "seed 1", EPOCH_HEADER]
    assert again[0].runs[0] == first[0].runs[0]


def test_a_missing_compiler_is_said_once_and_stays_on_record(
    ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise NativeError("no C compiler was found")

    monkeypatch.setattr("smallprint.training.trainer.NativeStep", missing)
    lines, results = watched(ladder, tmp_path, seeds=2)
    slow = "trained with PyTorch, many times slower: no C compiler was found"
    assert lines[5:8] == [slow, "seed 0", EPOCH_HEADER]
    assert lines.count(slow) == 1
    assert {run.environment.way for run in results[0].runs} == {"pytorch"}


def test_a_run_that_goes_on_shows_its_stored_epochs_first(ladder: Ladder, tmp_path: Path) -> None:
    stream = climb(ladder, rungs=["base"], runs=tmp_path, threads=1)
    while not isinstance(next(stream), EpochEnded):
        pass
    stream.close()
    lines, _ = watched(ladder, tmp_path)
    assert lines[5:7] == ["seed 0, going on behind epoch 1", EPOCH_HEADER]
    assert lines[7].split()[0] == "1/2"
    assert lines[7].split()[-1] == "?"
    assert EPOCH.fullmatch(lines[8])


def test_a_run_that_is_set_aside_is_said_with_where_it_is_kept(ladder: Ladder, tmp_path: Path) -> None:
    watched(ladder, tmp_path)
    lines, _ = watched(parse_ladder(LADDER.replace("lr=0.01", "lr=0.010001"), name="tiny"), tmp_path)
    kept = next(path for path in (tmp_path / "tiny" / "base").iterdir() if path.name != "seed-0")
    assert lines[5] == f"seed 0: the network, recipe or data has changed; the earlier run is kept in {kept}"


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    text = LADDER.replace("conv3-8", "conv1-999999 conv99-999999,pad=49")  # 39 petabytes of weights
    lines, _ = watched(parse_ladder(text, name="tiny"), tmp_path)
    assert re.match("seed 0: failed: (Memory|Runtime)Error: ", lines[5])
    assert "Analysis" not in lines


IN_A_TERMINAL = """
import fcntl, termios
from smallprint.cli import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal's keys are for this process
main()
"""


def in_a_terminal(folder: Path, text: str, *words: str, until: Sequence[str]) -> list[str]:
    """All lines that a climb ever shows there, stopped with Ctrl-C when it has shown all of `until`."""
    (folder / "tiny.toml").write_text(text)
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, "climb", "tiny.toml", "--threads", "1", *words],
        cwd=folder, stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )  # fmt: skip
    os.close(inside)
    seen = b""
    try:
        while not all(re.search(word.encode(), seen) for word in until):
            seen += os.read(outside, 65536)
        os.write(outside, b"\x03")  # what the key sends
        while True:
            seen += os.read(outside, 65536)
    except OSError:  # Linux says so at the end of a terminal
        pass
    finally:
        process.kill()
        os.close(outside)
    assert process.wait() == 130
    text = seen.decode()
    hidden, shown = "\x1b[?25l", "\x1b[?25h"  # the cursor
    assert text.count(hidden) == text.count(shown)
    assert text.rfind(hidden) < text.rfind(shown)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.rstrip() for line in plain.split("\n")]
    assert lines[-2:] == ["stopped. Finished epochs are kept; the same command goes on behind them.", ""]
    return lines


def test_a_terminal_keeps_the_same_lines_under_a_live_bar_and_ctrl_c_leaves_it_tidy(tmp_path: Path) -> None:
    lines = in_a_terminal(tmp_path, LADDER, "--workers", "1", until=[" 3/999"])
    assert "[red]x[/red] [bold :smile: \\[" in lines
    assert EPOCH_HEADER in lines
    assert [line.split()[0] for line in lines if line.split()[1:2] == ["0.01"]][:3] == ["1/2", "2/2", "1/999"]
    assert any("tiny:long" in line and "━" in line and line.endswith(" left") for line in lines)


def test_a_terminal_has_a_line_per_running_training_above_the_bar_and_verdicts_above_those(tmp_path: Path) -> None:
    until = ["Analysis", r"long +0 +[1-9][0-9]*/999.*\n.*long +1 +[1-9][0-9]*/999.*\n.* left"]
    lines = in_a_terminal(tmp_path, LADDER, "--workers", "2", "--seeds", "2", until=until)
    assert "4 trainings, 2 at a time" in lines
    row = r"long +{} +[0-9]+/999( +[0-9]+\.[0-9]{{2}}){{2}} +[0-9]+\.[0-9]"
    screens = [lines[number : number + 4] for number in range(len(lines) - 3)]
    header, bar = next(
        (screen[0], screen[3])
        for screen in screens
        if re.fullmatch(row.format(0), screen[1]) and re.fullmatch(row.format(1), screen[2])
    )
    assert header.split("  ")[-2:] == ["worst of last 2 %", "seconds"]
    assert re.search(r"tiny: 2 of 4 trained [━╸╺]+ [0-9:s]+ left", bar)
    heading = next(number for number, line in enumerate(lines) if line.startswith("1/2 base "))
    assert heading < lines.index("Result")
    assert not any(EPOCH_HEADER in line for line in lines)


# Side by side


def test_a_log_of_trainings_side_by_side_says_on_every_line_whose_epoch_it_is(ladder: Ladder, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=40, highlight=False)
    short = replace(ladder, rungs=(ladder.rungs[0], replace(ladder.rungs[0], name="as-short")))
    events = climb(short, seeds=2, runs=tmp_path, threads=1, workers=2)
    results = ClimbWatch(short, short.rungs, console).show(events)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[2] == "4 trainings, 2 at a time"
    assert lines[4] == "rung       seed " + EPOCH_HEADER
    rows = [line for line in lines if EPOCH.fullmatch(line[16:])]
    assert sorted(line[:23].split() for line in rows) == sorted(
        [name, seed, epoch] for name in ("as-short", "base") for seed in "01" for epoch in ("1/2", "2/2")
    )
    assert all(len(line) == len(lines[4]) for line in rows)
    assert lines.count("Result") == 2
    assert [result.rung.name for result in results] == ["base", "as-short"]
    assert lines[-2].split()[0] == "base"  # the summary


def fabricated(ladder: Ladder, tmp_path: Path) -> tuple[Job, Run]:
    """A finished run of seed 0, and its job."""
    watched(ladder, tmp_path)
    job = Job(ladder=ladder, rung=ladder.rungs[0], seed=0)
    (run,) = read_runs(tmp_path, "tiny", "base")
    return job, run


def told(ladder: Ladder, *events: ClimbEvent, workers: int = 2) -> tuple[list[str], ClimbWatch]:
    """What a log says of events, behind title and promise."""
    console = Console(file=io.StringIO(), width=40, highlight=False)
    watch = ClimbWatch(ladder, ladder.rungs, console)
    jobs = tuple(Job(ladder=ladder, rung=rung, seed=seed) for rung in ladder.rungs for seed in (0, 1))
    started = SweepStarted(jobs=jobs, left=(), placement=Placement(device="cpu", at_once=workers))
    watch.show([started, *events])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()[2:], watch


def test_what_happens_to_a_run_beside_others_is_said_with_its_name(ladder: Ladder, tmp_path: Path) -> None:
    job, run = fabricated(ladder, tmp_path)
    failed = replace(run, status="failed", reason="its process was ended by SIGSEGV")
    lines, watch = told(
        ladder,
        RunEnded(job=job, run=run, reused=True),
        RunSetAside(job=job, folder=Path("kept")),
        RunStarted(job=job, stored=run.epochs[:1]),
        EpochEnded(job=job, epoch=run.epochs[1]),
        RunEnded(job=job, run=failed, reused=False),
        RunLeft(job=job, reason="runs/x: held by process 7", held=True, holder=7),
    )
    assert lines[:4] == [
        "0 trainings, 2 at a time",
        "base seed 0: trained before, finished",
        "base seed 0: the network, recipe or data has changed; the earlier run is kept in kept",
        "base seed 0, going on behind epoch 1",
    ]
    assert lines[4:6] == ["", "rung   seed " + EPOCH_HEADER]
    assert lines[6].startswith("base      0     2/2 ")
    assert lines[7:] == [
        "base seed 0: failed: its process was ended by SIGSEGV",
        "base seed 0: left out: runs/x: held by process 7",
    ]
    assert [event.holder for event in watch.left_out] == [7]


def test_what_is_left_is_counted_by_who_holds_it(ladder: Ladder) -> None:
    base, long = ladder.rungs

    def left(rung: Rung, seed: int, *, holder: int | None = None, held: bool = True) -> RunLeft:
        job = Job(ladder=ladder, rung=rung, seed=seed)
        return RunLeft(job=job, reason="resume.npz: damaged", held=held, holder=holder)

    _, watch = told(ladder)
    assert watch.why_left_out() == ""
    _, watch = told(ladder, left(long, 0, holder=7), left(base, 1), left(base, 0, holder=7), left(long, 1, held=False))
    assert watch.why_left_out().splitlines() == [
        "resume.npz: damaged",
        "held by process 7: 2 runs (base seed 0, long seed 0); start again when it has ended",
        "held by another process: 1 run (base seed 1); start again when it has ended",
    ]


def test_a_rung_that_is_judged_late_has_its_heading_again(ladder: Ladder, tmp_path: Path) -> None:
    job, run = fabricated(ladder, tmp_path)
    base, long = ladder.rungs
    other = replace(job, rung=long)
    result = assess(ladder, base, [run])
    lines, _ = told(
        ladder,
        RungStarted(rung=base), RunLeft(job=job, reason="held", held=True),
        RungStarted(rung=long), RunEnded(job=other, run=run, reused=True),
        RungJudged(result=result),
        workers=1,
    )  # fmt: skip
    headings = [line.split("  ")[0] for line in lines if re.match(r"\d/\d ", line)]
    assert headings == ["1/2 base", "2/2 long", "1/2 base"]
