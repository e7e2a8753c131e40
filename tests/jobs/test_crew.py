"""Trainings side by side: the same bits as one after the other, and each process can die alone."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest

from smallprint.jobs import crew
from smallprint.jobs.alone import train
from smallprint.jobs.crew import side_by_side
from smallprint.jobs.job import Backlog, EpochEnded, Job, JobEvent, RunEnded, RunLeft, RunStarted, Terms
from smallprint.results.runs import read_run
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder
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
    paths = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    found = {str(path.relative_to(root)): path.read_bytes() for path in paths}
    for name, content in found.items():
        if name.endswith("epochs.csv"):
            found[name] = b"\n".join(line.rpartition(b",")[0] for line in content.splitlines())
    return found


def trained(jobs: Sequence[Job], digits: Dataset, terms: Terms) -> list[JobEvent]:
    return list(side_by_side(Backlog(jobs), digits, terms, 2))


def ended(events: Sequence[JobEvent]) -> dict[tuple[str, int], RunEnded]:
    return {(event.run.rung, event.run.seed): event for event in events if isinstance(event, RunEnded)}


def test_side_by_side_stores_the_same_bits_as_one_after_the_other(
    tiny: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    jobs = jobs_of(tiny, 2)
    for job in jobs:
        list(train(job, digits, terms(tmp_path / "one")))
    events = trained(jobs, digits, terms(tmp_path / "two"))
    assert files(tmp_path / "two") == files(tmp_path / "one")
    for job in jobs:
        told = [type(event).__name__ for event in events if event.job == job]
        assert told == ["RunStarted", "EpochEnded", "EpochEnded", "RunEnded"]
    again = trained(jobs, digits, terms(tmp_path / "two"))
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
    for event in side_by_side(Backlog(jobs), digits, terms(tmp_path), 2):
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
    again = list(train(job, digits, terms(tmp_path)))
    begun, last = again[0], again[-1]
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
    monkeypatch.setenv("CC", "no-such-compiler")  # so that training needs torch
    jobs = jobs_of(replace(tiny, rungs=tiny.rungs[:1]), 3)
    runs = [event.run for event in ended(trained(jobs, digits, terms(tmp_path / "runs"))).values()]
    assert sorted(run.status for run in runs) == ["failed", "finished", "finished"]
    failed = next(run for run in runs if run.status == "failed")
    assert failed.reason == "its process ended with status 7 before the run did"
    assert read_run(jobs[failed.seed].folder(tmp_path / "runs")) == failed
    assert not (tmp_path / "path" / "once").exists()


def test_a_run_that_fails_leaves_its_process_to_the_next_one(tiny_text: str, digits: Dataset, tmp_path: Path) -> None:
    ladder = parse_ladder(tiny_text + HUGE, name="tiny")
    base, _, huge = ladder.rungs
    jobs = jobs_of(replace(ladder, rungs=(huge, base)), 2)
    runs = {name: event.run for name, event in ended(trained(jobs, digits, terms(tmp_path))).items()}
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
    monkeypatch.setenv("CC", "no-such-compiler")
    jobs = jobs_of(tiny, 1)
    runs = [event.run for event in ended(trained(jobs, digits, terms(tmp_path / "runs"))).values()]
    assert [run.status for run in runs] == ["failed", "failed"]
    assert runs[0].reason == "ImportError: libtorch.so: wrong ELF class (torch.py, line 1)"


def test_who_leaves_takes_all_processes_along_and_keeps_the_finished_epochs(
    tiny_text: str, digits: Dataset, tmp_path: Path
) -> None:
    endless = parse_ladder(tiny_text.replace("epochs    = 2", "epochs    = 9000"), name="tiny")
    jobs = jobs_of(endless, 1)
    stream = side_by_side(Backlog(jobs), digits, terms(tmp_path), 2)
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
        assert (stored.status, 0 < len(stored.epochs) < 9000) == ("training", True)
        with RunWriter(job.folder(tmp_path)):
            pass


def test_a_folder_that_is_held_is_tried_again_behind_all_others(tiny: Ladder, digits: Dataset, tmp_path: Path) -> None:
    jobs = jobs_of(tiny, 2)
    events: list[JobEvent] = []
    for_good, for_now = (RunWriter(job.folder(tmp_path), holder=1) for job in jobs[:2])
    with for_good:
        with for_now:
            stream = side_by_side(Backlog(jobs), digits, terms(tmp_path), 2)
            while not isinstance(events[-1] if events else None, EpochEnded):
                events.append(next(stream))
        events.extend(stream)
    assert [(event.job, event.holder) for event in events if isinstance(event, RunLeft)] == [(jobs[0], 1)]
    assert {event.run.status for event in ended(events).values()} == {"finished"}
    assert len(ended(events)) == 3


def test_what_is_wrong_with_one_folder_leaves_that_run_and_the_others_are_trained(
    tiny: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    jobs = jobs_of(tiny, 2)
    folder = jobs[1].folder(tmp_path)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where a folder should be")
    events = trained(jobs, digits, terms(tmp_path))
    assert [(event.job, event.held) for event in events if isinstance(event, RunLeft)] == [(jobs[1], False)]
    assert [event.run.status for event in ended(events).values()] == ["finished"] * 3


def test_folders_that_are_taken_away_or_damaged_on_the_way_stop_no_other_run(
    long: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    rung = replace(long.rungs[0], recipe=replace(long.rungs[0].recipe, epochs=200))  # longer than it takes to step in
    jobs = jobs_of(replace(long, rungs=(rung,)), 4)
    taken, *_, damaged = jobs
    events: list[JobEvent] = []
    for event in side_by_side(Backlog(jobs), digits, terms(tmp_path), 2):
        if not events:  # two of the four are in training, none is through: the last has not begun
            damaged.folder(tmp_path).mkdir()
            (damaged.folder(tmp_path) / "run.json").write_text("{")
        events.append(event)
        if isinstance(event, EpochEnded) and event.job == taken and taken.folder(tmp_path).exists():
            taken.folder(tmp_path).rename(tmp_path / "elsewhere")  # removing it would race with who writes into it
    left = {event.job.seed: event.reason for event in events if isinstance(event, RunLeft)}
    assert left.keys() == {taken.seed, damaged.seed}
    assert left[taken.seed].endswith(": was taken away while it was written; start again to train that run")
    assert "run.json: damaged; " in left[damaged.seed]
    assert {name: event.run.status for name, event in ended(events).items()} == {
        ("base", 1): "finished", ("base", 2): "finished",
    }  # fmt: skip
    shutil.rmtree(damaged.folder(tmp_path))
    again = ended(trained(jobs, digits, terms(tmp_path)))
    assert {event.run.status for event in again.values()} == {"finished"}
    assert sum(event.reused for event in again.values()) == 2


CLOSED_ON_THE_WAY = """
import encodings.ascii, os
from pathlib import Path
from smallprint.jobs.job import EpochEnded, Job, RunEnded, RunLeft
from smallprint.spec.ladder_file import read_ladder
from smallprint.sweep import sweep
from smallprint.training.data import load_dataset

ladder, root, digits = read_ladder(Path("tiny.toml")), Path("runs"), load_dataset("digits")
jobs = [Job(ladder=ladder, rung=ladder.rungs[0], seed=seed) for seed in range(3)]
list(sweep(jobs[:1], digits, Path("before"), threads=1))  # what is imported on the way may not be readable for others
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
os.environ["XDG_CACHE_HOME"] = str(root.absolute() / "cache")
for event in sweep(jobs, digits, root, threads=1):
    if isinstance(event, EpochEnded) and event.job.seed == 0:
        event.job.folder(root).chmod(0o555)
    if isinstance(event, RunLeft):
        print(event.job.seed, event.reason)
    if isinstance(event, RunEnded):
        print(event.job.seed, event.run.status, event.run.reason)
"""


def test_a_folder_that_is_closed_on_the_way_leaves_its_run_and_the_others_are_trained(tiny_text: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "tiny.toml").write_text(tiny_text)
        (home / "runs").mkdir()
        home.chmod(0o755)
        (home / "runs").chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", CLOSED_ON_THE_WAY], capture_output=True, text=True, check=False, cwd=home,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XDG_CACHE_HOME": str(home / "before")},
        )  # fmt: skip
        assert done.stderr == ""
        advice = "what is stored stays as it is; put that right and start again"
        assert done.stdout.splitlines() == [
            f"0 runs/tiny/base/seed-0/resume.npz: cannot be written: Permission denied; {advice}",
            "1 finished ",
            "2 finished ",
        ]
        runs = [read_run(home / "runs" / "tiny" / "base" / f"seed-{seed}") for seed in range(3)]
        assert [(run.status, len(run.epochs)) for run in runs] == [("training", 1), ("finished", 2), ("finished", 2)]
        runs[0].folder.chmod(0o755)  # type: ignore[union-attr]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 120 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a tiny disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_ends_all_with_one_message_every_folder_stays_readable_and_the_next_start_goes_on(
    tiny: Ladder, digits: Dataset, tmp_path: Path, tiny_disk: Path
) -> None:
    jobs = jobs_of(tiny, 4)
    told: list[JobEvent] = []
    with pytest.raises(RunError, match="cannot be written: No space left on device; what is stored stays as it is"):
        told.extend(side_by_side(Backlog(jobs), digits, terms(tiny_disk), 2))
    stored = {job: read_run(job.folder(tiny_disk)) for job in jobs if (job.folder(tiny_disk) / "run.json").exists()}
    finished = [job for job, run in stored.items() if run.status == "finished"]
    assert 0 < len(finished) < len(jobs)
    assert {run.status for run in stored.values()} <= {"finished", "training"}
    subprocess.run(["mount", "-o", "remount,size=4m", str(tiny_disk)], check=True)
    again = ended(trained(jobs, digits, terms(tiny_disk)))
    assert {event.run.status for event in again.values()} == {"finished"}
    assert [event.job for event in again.values() if event.reused] == finished
    for job in jobs:
        list(train(job, digits, terms(tmp_path / "roomy")))
    assert files(tiny_disk) == files(tmp_path / "roomy")


def test_a_worker_that_dies_between_two_jobs_is_replaced_and_nothing_fails(
    tiny: Ladder, digits: Dataset, tmp_path: Path
) -> None:
    events: list[JobEvent] = []
    for event in side_by_side(Backlog(jobs_of(tiny, 1)), digits, terms(tmp_path), 1):
        events.append(event)
        if isinstance(event, RunEnded):
            (worker,) = multiprocessing.active_children()
            worker.kill()
            worker.join()
    assert [event.run.status for event in ended(events).values()] == ["finished", "finished"]


def test_the_last_training_is_given_all_cores_once_if_it_may(
    tiny: Ladder, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "cores", lambda: 5)
    for grows, said in ((True, [5]), (False, [])):
        staff = crew._Crew(digits, replace(terms(tmp_path), grows=grows), 2)
        lines = []
        for job in jobs_of(tiny, 2)[:2]:
            near, far = multiprocessing.Pipe()
            staff.workers.append(SimpleNamespace(job=job, line=near, has_all_cores=False))  # type: ignore[arg-type]
            lines.append(far)
        staff.give_spare_cores()
        assert not lines[0].poll()  # two are busy
        staff.workers[0].job = None
        for _ in range(2):
            staff.give_spare_cores()
        assert [lines[1].recv() for _ in said] == said
        assert not lines[1].poll()
