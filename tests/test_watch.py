"""A climb as it is watched: plain lines in a log; in a terminal the same lines, and a live bar below them."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from smallprint.climb import climb
from smallprint.results.assessment import RungResult
from smallprint.spec.ladder import Ladder, parse_ladder
from smallprint.sweep import EpochEnded
from smallprint.views.terminal import EPOCH_HEADER
from smallprint.watch import Watch

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
    results = Watch(ladder, ladder.rungs[:1], seeds, console).show(events)
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


def test_a_run_that_goes_on_shows_its_stored_epochs_first(ladder: Ladder, tmp_path: Path) -> None:
    stream = climb(ladder, rungs=["base"], runs=tmp_path, threads=1)
    while not isinstance(next(stream), EpochEnded):
        pass
    stream.close()  # type: ignore[attr-defined]
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
    assert lines[5].startswith("seed 0: failed: RuntimeError: ")
    assert "Analysis" not in lines


IN_A_TERMINAL = """
import fcntl, termios
from smallprint.cli import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal's keys are for this process
main()
"""


def test_a_terminal_keeps_the_same_lines_under_a_live_bar_and_ctrl_c_leaves_it_tidy(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(LADDER)
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, "climb", "tiny.toml", "--threads", "1"],
        cwd=tmp_path, stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )  # fmt: skip
    os.close(inside)
    seen = b""
    try:
        while b"3/999" not in seen:
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
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.rstrip() for line in plain.split("\n")]
    assert "[red]x[/red] [bold :smile: \\[" in lines
    assert EPOCH_HEADER in lines
    assert [line.split()[0] for line in lines if line.split()[1:2] == ["0.01"]][:3] == ["1/2", "2/2", "1/999"]
    assert any("tiny:base" in line and "━" in line and line.endswith(" left") for line in lines)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is hidden and shown again
    assert lines[-2:] == ["stopped. Finished epochs are kept; the same command goes on behind them.", ""]
