"""A worker at the end of its line: what it tells, and when it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from smallprint.jobs.job import EpochEnded, Job, RunEnded, Terms
from smallprint.jobs.shared import SharedDataset
from smallprint.jobs.worker import Message, Trouble, work
from smallprint.results.runs import read_run
from smallprint.spec.ladder import Ladder
from smallprint.training.data import Dataset

_SPAWN = get_context("spawn")


@contextmanager
def worker(digits: Dataset, root: Path) -> Iterator[tuple[Connection, SpawnProcess]]:
    line, theirs = _SPAWN.Pipe()
    terms = Terms(root=root, device="cpu", threads=1, holder=os.getpid())
    process = _SPAWN.Process(target=work, args=(theirs, SharedDataset.of(digits), terms))
    process.start()
    theirs.close()
    try:
        yield line, process
    finally:
        process.kill()
        process.join()


def told(line: Connection) -> list[Message]:
    """What it says of one job."""
    messages: list[Message] = []
    while not messages or not isinstance(messages[-1], RunEnded | Trouble):
        messages.append(line.recv())
    return messages


def test_a_worker_tells_every_event_takes_the_next_job_and_ends_when_its_line_is_cut(
    tiny: Ladder, long: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    jobs = [Job(ladder=tiny, rung=tiny.rungs[0], seed=seed) for seed in range(2)]
    endless = Job(ladder=long, rung=long.rungs[1], seed=0)
    with worker(digits, tmp_path) as (line, process):
        for job in jobs:
            line.send(job)
            messages = told(line)
            assert [type(message).__name__ for message in messages] == [
                "RunStarted", "EpochEnded", "EpochEnded", "RunEnded",
            ]  # fmt: skip
            assert messages[-1] == RunEnded(job=job, run=read_run(job.folder(tmp_path)), reused=False)
        line.send(endless)
        while not isinstance(line.recv(), EpochEnded):
            pass
        line.close()
        process.join(10)
        assert process.exitcode == 0
    stored = read_run(endless.folder(tmp_path))
    assert (stored.status, 1 <= len(stored.epochs) < 30) == ("training", True)


def test_trouble_that_is_everybodys_is_told_as_such(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with worker(digits, tmp_path / "file") as (line, _):
        line.send(Job(ladder=tiny, rung=tiny.rungs[0], seed=0))
        (trouble,) = told(line)
        assert isinstance(trouble, Trouble)
        assert trouble.for_all
        assert "cannot be written: Not a directory" in trouble.reason


def test_trouble_of_one_job_leaves_the_worker_to_the_next(
    tiny: Ladder, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "statistics.py").write_text("raise OSError('cannot be mapped')\n")  # the trainer needs it
    monkeypatch.syspath_prepend(tmp_path / "path")  # which a spawned process takes over
    job = Job(ladder=tiny, rung=tiny.rungs[0], seed=0)
    with worker(digits, tmp_path / "runs") as (line, _):
        for _ in range(2):
            line.send(job)
            assert told(line) == [Trouble(reason="OSError: cannot be mapped (statistics.py, line 1)", for_all=False)]
