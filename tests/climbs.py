"""Climbs of a tiny ladder on the digits, in this process and in one of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from smallprint.climb import ClimbEvent, climb
from smallprint.spec.ladder_file import parse_ladder
from smallprint.sweep import SweepStarted

LADDER = '''
title   = "Tiny"
dataset = "digits"

[contract]
accuracy    = ">= 20%"
last_epochs = 2

[recipe]
optimiser = "adam lr=0.01"
schedule  = "onecycle"
augment   = "shift=0.5px"
average   = "ema 0.9"
batch     = 64
epochs    = 5

[[rung]]
name    = "base"
target  = "Start."
network = """
every conv3: pad=1
after conv3: batchnorm relu dropout=5%
conv3-16 conv3-64 conv3-16 maxpool gap conv1-10
"""
'''
QUICK = LADDER.replace("conv3-16 conv3-64 conv3-16", "conv3-8").replace("epochs    = 5", "epochs    = 2")


def rung(name: str, network: str, optimiser: str = "adam lr=0.01") -> str:
    return f'\n[[rung]]\nname = "{name}"\nnetwork = "{network}"\n[rung.recipe]\noptimiser = "{optimiser}"\n'


def train(text: str, runs: Path, *, rungs: tuple[str, ...] = (), seeds: int | range = 1) -> list[ClimbEvent]:
    ladder = parse_ladder(text, name="tiny")
    begun, *events = climb(ladder, rungs=rungs, seeds=seeds, runs=runs, threads=1)
    assert isinstance(begun, SweepStarted)
    return events


def kinds(events: list[ClimbEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


@contextlib.contextmanager
def started(folder: Path, *words: str, text: str = LADDER) -> Iterator[subprocess.Popen[str]]:
    """A climb in a session of its own, stopped at the latest when the test ends."""
    (folder / "tiny.toml").write_text(text)
    command = [sys.executable, "-m", "smallprint", "climb", "tiny.toml", "--threads", "1", *words]
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], start: str) -> str:
    """Its output up to the line that begins so."""
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if line.strip().startswith(start):
            return seen
    raise AssertionError(f"no line {start!r}: {seen}")
