"""Trainings side by side: the same bits as one after the other, and each process can die alone."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from smallprint.jobs.crew import side_by_side
from smallprint.jobs.job import EpochEnded, Job, JobEvent, RunEnded, RunLeft, RunStarted, Terms, train
from smallprint.results.runs import read_run
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder, parse_ladder
from smallprint.training.data import Dataset

HUGE = '\n[[rung]]\nname = "huge"\nnetwork = "conv1-999999 conv99-999999,pad=49 gap conv1-10"\n'  # 39 petabytes


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """No test leaves a process behind."""
    yield
    assert multiprocessing.active_children() == []


def jobs_of(ladder: Ladder, seeds: int) -> list[Job]:
    return [Job(ladder=ladder, rung=rung, seed=seed) for rung in ladder.rungs for seed in range(seeds)]


def terms(root: Path) -> Terms:
    return Terms(root=root, device="cpu", threads=1, holder=os.getpid())


def files(root: Path) -> dict[str, bytes]:
    """All that is stored, but the seconds and the locks."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.*") if path.is_file()}
    for name, content in found.items():
        if name.endswith("epochs.csv"):
            found[name] = b"\n".join(line.rpartition(b",")[0] for line in content.splitlines())
    return found


def ended(events: Sequence[JobEvent]) -> dict[tuple[str, int], RunEnded]:
    return {(event.run.rung, event.run.seed): event for event in events if isinstance(event, RunEnded)}


def test_side_by_side_stores_the_same_bits_as_one_after_the_other(
    tiny: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    jobs = jobs_of(tiny, 2)
    for job in jobs:
        list(train(job, digits, terms(tmp_path / "one")))
    events = list(side_by_side(jobs, digits, terms(tmp_path / "two"), 2))
    assert files(tmp_path / "two") == files(tmp_path / "one")
    for job in jobs:
        told = [type(event).__name__ for event in events if event.job == job]
        assert told == ["RunStarted", "EpochEnded", "EpochEnded", "RunEnded"]
    again = list(side_by_side(jobs, digits, terms(tmp_path / "two"), 2))
    assert [(event.job, event.reused) for event in again if isinstance(event, RunEnded)] == [
        (job, True) for job in jobs
    ]


def test_a_worker_that_is_killed_fails_its_run_alone_and_the_run_goes_on_at_the_next_start(
    long: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    jobs = jobs_of(replace(long, rungs=long.rungs[:1]), 4)
    events: list[JobEvent] = []
    half_way: set[int] = set()  # seeds; a process may be through with its first one before the other has begun
    killed = False
    for event in side_by_side(jobs, digits, terms(tmp_path), 2):
        events.append(event)
        if isinstance(event, EpochEnded):
            half_way.add(event.job.seed)
        elif isinstance(event, RunEnded):
            half_way.discard(event.job.seed)
        if not killed and len(half_way) == 2:
            killed = True
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    runs = {seed: event.run for (_, seed), event in ended(events).items()}
    assert sorted(run.status for run in runs.values()) == ["failed", "finished", "finished", "finished"]
    failed = next(run for run in runs.values() if run.status == "failed")
    assert failed.reason == "its process was ended by SIGKILL; the system does so when memory runs out"
    assert 0 < len(failed.epochs) < 30
    job = jobs[failed.seed]
    assert read_run(job.folder(tmp_path)) == failed
    begun, *_, last = train(job, digits, terms(tmp_path))
    assert isinstance(begun, RunStarted)
    assert isinstance(last, RunEnded)
    assert begun.stored[: len(failed.epochs)] == failed.epochs
    assert last.run.status == "finished"
    list(train(job, digits, terms(tmp_path / "whole")))
    name = f"tiny/base/seed-{failed.seed}"
    assert files(tmp_path / name) == files(tmp_path / "whole" / name)


FIRST_IMPORT_DIES = """
import os, sys
from pathlib import Path
here = Path(__file__).parent.parent
try:
    (here / "once").unlink()
except FileNotFoundError:
    sys.path.remove(str(here))
    del sys.modules["torch"]
    import torch  # the real one
else:
    os._exit(7)
"""


def test_a_worker_that_dies_before_it_can_begin_fails_its_run_alone(
    tiny: Ladder, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "path" / "torch").mkdir(parents=True)
    (tmp_path / "path" / "torch" / "__init__.py").write_text(dedent(FIRST_IMPORT_DIES))
    (tmp_path / "path" / "once").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "path")  # which a spawned process takes over
    jobs = jobs_of(replace(tiny, rungs=tiny.rungs[:1]), 3)
    runs = [event.run for event in ended(list(side_by_side(jobs, digits, terms(tmp_path / "runs"), 2))).values()]
    assert sorted(run.status for run in runs) == ["failed", "finished", "finished"]
    failed = next(run for run in runs if run.status == "failed")
    assert failed.reason == "its process ended with status 7 before the run did"
    assert read_run(jobs[failed.seed].folder(tmp_path / "runs")) == failed
    assert not (tmp_path / "path" / "once").exists()


def test_a_run_that_fails_leaves_its_process_to_the_next_one(tiny_text: str, digits: Dataset, tmp_path: Path) -> None:
    ladder = parse_ladder(tiny_text + HUGE, name="tiny")
    base, _, huge = ladder.rungs
    jobs = jobs_of(replace(ladder, rungs=(huge, base)), 2)
    runs = {name: event.run for name, event in ended(list(side_by_side(jobs, digits, terms(tmp_path), 2))).items()}
    assert {name: run.status for name, run in runs.items()} == {
        ("huge", 0): "failed", ("huge", 1): "failed", ("base", 0): "finished", ("base", 1): "finished",
    }  # fmt: skip
    assert re.match("(Memory|Runtime)Error: ", runs["huge", 1].reason)
    assert read_run(jobs[1].folder(tmp_path)) == runs["huge", 1]


def test_a_torch_that_cannot_be_imported_is_the_reason_on_record(
    tiny: Ladder, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "torch.py").write_text("raise ImportError('libtorch.so: wrong ELF class')\n")
    monkeypatch.syspath_prepend(tmp_path / "path")
    jobs = jobs_of(tiny, 1)
    runs = [event.run for event in ended(list(side_by_side(jobs, digits, terms(tmp_path / "runs"), 2))).values()]
    assert [run.status for run in runs] == ["failed", "failed"]
    assert runs[0].reason == "ImportError: libtorch.so: wrong ELF class (torch.py, line 1)"


def test_who_leaves_takes_all_processes_along_and_keeps_the_finished_epochs(
    long: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    jobs = jobs_of(long, 1)
    stream = side_by_side(jobs, digits, terms(tmp_path), 2)
    seen: set[str] = set()
    for event in stream:
        if isinstance(event, EpochEnded):
            seen.add(event.job.rung.name)
        if len(seen) == 2:
            break
    stream.close()
    assert multiprocessing.active_children() == []
    for job in jobs:
        stored = read_run(job.folder(tmp_path))
        assert (stored.status, 0 < len(stored.epochs) < 30) == ("training", True)
        with RunWriter(job.folder(tmp_path)):
            pass


def test_a_folder_that_is_held_is_tried_again_behind_all_others(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    jobs = jobs_of(tiny, 2)
    events: list[JobEvent] = []
    for_good, for_now = (RunWriter(job.folder(tmp_path), holder=1) for job in jobs[:2])
    with for_good:
        with for_now:
            stream = side_by_side(jobs, digits, terms(tmp_path), 2)
            while not isinstance(events[-1] if events else None, EpochEnded):
                events.append(next(stream))
        events.extend(stream)
    assert [(event.job, event.holder) for event in events if isinstance(event, RunLeft)] == [(jobs[0], 1)]
    assert {event.run.status for event in ended(events).values()} == {"finished"}
    assert len(ended(events)) == 3


def test_a_disk_that_takes_no_more_ends_all_with_one_message(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    jobs = jobs_of(tiny, 2)
    folder = jobs[1].folder(tmp_path)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where a folder should be")
    with pytest.raises(RunError, match=f"^{folder}: cannot be written: "):
        list(side_by_side(jobs, digits, terms(tmp_path), 2))


def test_a_worker_that_dies_between_two_jobs_is_replaced_and_nothing_fails(
    tiny: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    events: list[JobEvent] = []
    for event in side_by_side(jobs_of(tiny, 1), digits, terms(tmp_path), 1):
        events.append(event)
        if isinstance(event, RunEnded):
            (worker,) = multiprocessing.active_children()
            worker.kill()
            worker.join()
    assert [event.run.status for event in ended(events).values()] == ["finished", "finished"]
