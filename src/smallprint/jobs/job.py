"""Job: one rung to train with one seed; what can happen to it, and in which order jobs are done."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smallprint.results.runs import Epoch, Precision, Run, run_folder, run_hash, stored_run
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.recipe import Distilled


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What every epoch from some epoch on must reach; the first that does not is the training's last."""

    since: int  # epoch, counted from 1
    correct: int  # test images

    def missed_by(self, epoch: Epoch) -> bool:
        """Whether there is no point in going on behind an epoch."""
        return epoch.epoch >= self.since and epoch.test_correct < self.correct


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One rung to train with one seed."""

    ladder: Ladder
    rung: Rung
    seed: int
    threshold: Threshold | None = field(default=None)  # below which it is not trained to its end

    @property
    def name(self) -> tuple[str, int]:
        """What tells it from the other jobs of its ladder: rung and seed."""
        return self.rung.name, self.seed

    @property
    def teacher(self) -> Job | None:
        """The job whose network teaches this one's."""
        loss, rung = self.rung.recipe.loss, self.ladder.teacher(self.rung)
        if rung is None or not isinstance(loss, Distilled):
            return None
        return Job(ladder=self.ladder, rung=rung, seed=self.seed if loss.each else 0)

    def folder(self, root: Path) -> Path:
        """Where its run is kept."""
        return run_folder(root, self.ladder.name, self.rung.name, self.seed)

    def hash(self, data: str) -> str:
        """SHA-256 of all that decides its numbers; `data` is the data set's fingerprint."""
        return run_hash(self.ladder.identity(self.rung), data, self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How jobs are trained, and for whom."""

    root: Path  # of the run folders
    device: str  # cpu, cuda or cuda:N
    threads: int | None  # of each training; None: as its size needs
    holder: int  # process that others are told to wait for
    grows: bool = False  # the last training may have the cores of those that have ended
    precision: Precision = "float32"  # of products


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSetAside:
    """An earlier run of another network, recipe or data makes room."""

    job: Job
    folder: Path  # where it is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A training begins, or goes on behind its stored epochs."""

    job: Job
    stored: tuple[Epoch, ...]  # epochs that were trained before
    slow: str = ""  # why it is trained with PyTorch and not by the native step, where that was to be


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded:
    """One more epoch is trained and stored."""

    job: Job
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A run is complete, or failed: then it is tried again, behind its last whole epoch, at the next start."""

    job: Job
    run: Run
    reused: bool  # it was complete before


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped:
    """An epoch missed the job's threshold: the rest is not trained, but could be, behind what is stored."""

    job: Job
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLeft:
    """A job is not trained now: its folder is held by another process, or must be put right by a person."""

    job: Job
    reason: str
    held: bool
    holder: int | None = None  # the process that holds it, if it is known


JobEvent = RunSetAside | RunStarted | EpochEnded | RunEnded | RunStopped | RunLeft
LAST = (RunEnded, RunStopped, RunLeft)  # behind one of these comes nothing more of a job


def stored_whole(job: Job, data: str, root: Path) -> Run | None:
    """The run of a job that needs no more training, if it is stored.

    Raises:
        RunError: its folder is damaged.
    """
    run = stored_run(job.folder(root))
    return run if run and run.ended and run.hash == job.hash(data) else None


def with_teachers(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The jobs, of one ladder, and those that they need done before: each right before the first that needs it."""
    named = {job.name for job in jobs}
    found: dict[tuple[str, int], Job] = {}
    for job in jobs:
        if (teacher := job.teacher) and teacher.name not in named:
            found.setdefault(teacher.name, teacher)
        first = found.setdefault(job.name, job)
        assert first == job, "jobs of two ladders are not told apart"
    return tuple(found.values())


class Backlog:
    """Jobs to do, first come, first served; but a teacher before its pupils, and a held one again at the end, once.

    More may be added while they are done.
    """

    def __init__(self, jobs: Sequence[Job] = ()) -> None:
        self._jobs: deque[Job] = deque()
        self._named: set[tuple[str, int]] = set()  # that were ever here
        self._open: set[tuple[str, int]] = set()  # of those, that have not ended
        self._again: list[Job] = []
        self.add(jobs)

    def add(self, jobs: Sequence[Job]) -> None:
        """More jobs, behind the others, with the teachers that they need; what has been here is not done again."""
        for job in with_teachers(jobs):
            if job.name not in self._named:
                self._named.add(job.name)
                self._open.add(job.name)
                self._jobs.append(job)

    def __len__(self) -> int:
        return len(self._jobs)

    def take(self) -> Job | None:
        """The next job; None if all of them wait for a teacher that is being trained."""
        for job in self._jobs:
            if not self._waits(job):
                self._jobs.remove(job)
                return job
        return None

    def take_alike(self, most: int) -> list[Job]:
        """The next job, and more of its rung, up to so many in all; none if all wait for a teacher in training."""
        first = self.take()
        taken = [first] if first else []
        for job in list(self._jobs):
            if len(taken) < most and taken and job.rung == taken[0].rung and not self._waits(job):
                self._jobs.remove(job)
                taken.append(job)
        return taken

    def withdraw(self, jobs: Sequence[Job]) -> None:
        """Those of these jobs that are still here are not done."""
        for job in jobs:
            if job in self._jobs:
                self._jobs.remove(job)
                self._open.discard(job.name)

    def put_back(self, job: Job) -> None:
        """A job that was taken and not begun is the next one again."""
        self._jobs.appendleft(job)

    def takes_back(self, event: JobEvent) -> bool:
        """Note what happened; whether the event's job comes again, so that the event need not be told."""
        if isinstance(event, RunLeft) and event.held and event.job not in self._again:
            self._again.append(event.job)
            self._jobs.append(event.job)
            return True
        if isinstance(event, LAST):
            self._open.discard(event.job.name)
        return False

    def _waits(self, job: Job) -> bool:
        return job.teacher is not None and job.teacher.name in self._open
