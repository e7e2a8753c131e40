"""Job: one rung to train with one seed, kept in its folder; what happens on the way."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING

import smallprint
from smallprint.results.runs import DiskError, Environment, Epoch, Run, run_folder, run_hash, stored_run
from smallprint.results.writer import HeldError, RunWriter
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder, Rung
from smallprint.training.data import Dataset

if TYPE_CHECKING:
    from smallprint.training.trainer import Trainer

# Whatever needs torch is imported where training begins: a process that only looks on does without.


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One rung to train with one seed."""

    ladder: Ladder
    rung: Rung
    seed: int

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
class RunLeft:
    """A job is not trained now: its folder is held by another process, or must be put right by a person."""

    job: Job
    reason: str
    held: bool
    holder: int | None = None  # the process that holds it, if it is known


JobEvent = RunSetAside | RunStarted | EpochEnded | RunEnded | RunLeft


def stored_whole(job: Job, data: str, root: Path) -> Run | None:
    """The run of a job that needs no more training, if it is stored.

    Raises:
        RunError: its folder is damaged.
    """
    run = stored_run(job.folder(root))
    return run if run and run.ended and run.hash == job.hash(data) else None


def train(job: Job, dataset: Dataset, terms: Terms) -> Iterator[JobEvent]:
    """Train a job in this process; every finished epoch is stored before it is reported.

    A run that is stored is reused; one that was interrupted, or failed, goes on behind its last whole epoch. One
    that fails on the way ends as `failed`, with its reason; one whose folder is held, damaged, taken away or closed
    to us is left.

    Raises:
        RunError: no run can be stored: the disk is full, or the folder of them all cannot be written.
    """
    return _in_its_folder(job, terms, _reuse_or_train(job, dataset, terms))


def _in_its_folder(job: Job, terms: Terms, events: Iterator[JobEvent]) -> Iterator[JobEvent]:
    """What happens to a job; what is wrong with its own folder leaves that job, what concerns all is raised."""
    try:
        yield from events
    except HeldError as fault:
        yield RunLeft(job=job, reason=str(fault), held=True, holder=fault.holder)
    except RunError as fault:
        if isinstance(fault, DiskError) or not _takes_runs(terms.root / job.ladder.name):
            raise
        yield RunLeft(job=job, reason=str(fault), held=False)


def _takes_runs(home: Path) -> bool:
    """Whether a ladder's folder can be written, or made."""
    nearest = next(folder for folder in (home, *home.absolute().parents) if os.path.lexists(folder))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _reuse_or_train(job: Job, dataset: Dataset, terms: Terms) -> Iterator[JobEvent]:
    if whole := stored_whole(job, dataset.fingerprint, terms.root):
        yield RunEnded(job=job, run=whole, reused=True)
        return
    with RunWriter(job.folder(terms.root), terms.holder) as writer:
        yield from _train(job, dataset, terms, writer)


def _train(job: Job, dataset: Dataset, terms: Terms, writer: RunWriter) -> Iterator[JobEvent]:
    from smallprint.training import machine
    from smallprint.training.trainer import Trainer

    stored = writer.stored()
    if stored and stored.hash != job.hash(dataset.fingerprint):
        yield RunSetAside(job=job, folder=writer.set_aside(stored))
        stored = None
    if stored and stored.ended:  # by another process, since we looked
        yield RunEnded(job=job, run=stored, reused=True)
        return
    trace, recipe = job.ladder.trace(job.rung), job.rung.recipe
    run = stored or _new_run(job, dataset.fingerprint, _environment_of_nothing(terms), writer.folder)
    writer.begin(replace(run, status="training", reason=""), job.ladder.only(job.rung))
    try:
        threads = terms.threads or machine.threads_for(trace.macs * recipe.batch)
        environment = machine.environment(smallprint.__version__, terms.device, threads)
        begun = run = run if stored else replace(run, environment=environment)
        trainer = Trainer(trace, recipe, dataset, job.seed, device=terms.device, threads=terms.threads)
        checkpoint = writer.stored_checkpoint() if stored else None
        if checkpoint and not _restored(trainer, checkpoint):
            yield RunLeft(job=job, reason=_DAMAGED.format(writer.folder / "resume.pt"), held=False)
            return
        behind = tuple(trainer.epochs)
        run = begun.going_on(behind, replace(environment, threads=trainer.threads, way=trainer.way))
        writer.keep(run)  # before an epoch is trained: whose it is, is known even if it is stored and not told
        yield RunStarted(job=job, stored=behind, slow=trainer.reason)
        for epoch in trainer:
            # Only now the trainer has found out how many threads serve it best.
            environment = replace(environment, threads=trainer.threads, way=trainer.way)
            run = replace(begun.going_on(behind, environment), epochs=tuple(trainer.epochs))
            writer.checkpoint(trainer.checkpoint())
            writer.keep(run)
            yield EpochEnded(job=job, epoch=epoch)
        diverged = run.epochs[-1].diverged
        reason = f"the loss was no longer a number in epoch {len(run.epochs)}" if diverged else ""
        run = replace(run, status="diverged" if diverged else "finished", reason=reason)
        writer.finish(run, trainer.weights(), trainer.answers())
    except RunError:  # its folder cannot be used: there is no place for a reason
        raise
    except Exception as fault:
        run = replace(run, status="failed", reason=reason_of(fault))
        writer.keep(run)
    yield RunEnded(job=job, run=run, reused=False)


def give_up(job: Job, data: str, terms: Terms, reason: str) -> Iterator[JobEvent]:
    """End a job's run as `failed` in place of the process that trained it and is no more.

    Raises:
        RunError: no run can be stored: the disk is full, or the folder of them all cannot be written.
    """
    return _in_its_folder(job, terms, _give_up(job, data, terms, reason))


def _give_up(job: Job, data: str, terms: Terms, reason: str) -> Iterator[JobEvent]:
    with RunWriter(job.folder(terms.root), terms.holder) as writer:
        stored = writer.stored()
        if stored and stored.hash != job.hash(data):
            yield RunSetAside(job=job, folder=writer.set_aside(stored))
            stored = None
        if stored and not stored.ended:
            stored = replace(stored, status="failed", reason=reason)
            writer.keep(stored)
        elif not stored:
            stored = _new_run(job, data, _environment_of_nothing(terms), writer.folder)
            stored = replace(stored, status="failed", reason=reason)
            writer.begin(stored, job.ladder.only(job.rung))
        yield RunEnded(job=job, run=stored, reused=False)


def reason_of(fault: Exception) -> str:
    """What went wrong, and where, unless torch or the system's memory says it all."""
    said = f"{type(fault).__name__}: {fault}"[:500]
    if isinstance(fault, (RuntimeError, MemoryError)) or not (frames := extract_tb(fault.__traceback__)):
        return said
    return f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


class Backlog:
    """Jobs to do, first come, first served; one that another process holds comes again at the end, once."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = deque(jobs)
        self._again: list[Job] = []

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def take(self) -> Job:
        """The next job."""
        return self._jobs.popleft()

    def put_back(self, job: Job) -> None:
        """A job that was taken and not begun is the next one again."""
        self._jobs.appendleft(job)

    def takes_back(self, event: JobEvent) -> bool:
        """Whether the event's job comes again, so that the event need not be told."""
        if not (isinstance(event, RunLeft) and event.held) or event.job in self._again:
            return False
        self._again.append(event.job)
        self._jobs.append(event.job)
        return True


_DAMAGED = "{}: damaged, or of another network; remove it and climb again: that run is trained from its first epoch"


def _restored(trainer: Trainer, checkpoint: bytes) -> bool:
    try:
        trainer.restore(checkpoint)
    except RunError:
        return False
    return True


def _new_run(job: Job, data: str, environment: Environment, folder: Path) -> Run:
    trace = job.ladder.trace(job.rung)
    return Run(
        ladder=job.ladder.name,
        rung=job.rung.name,
        seed=job.seed,
        identity=job.ladder.identity(job.rung),
        data=data,
        parameters=trace.parameters,
        macs=trace.macs,
        planned=job.rung.recipe.epochs,
        environment=environment,
        folder=folder,
    )


def _environment_of_nothing(terms: Terms) -> Environment:
    """Where a run would have been trained whose process died before it could say so; asks torch nothing."""
    return Environment(
        smallprint=smallprint.__version__,
        python=platform.python_version(),
        torch=version("torch"),
        numpy=version("numpy"),
        platform=f"{platform.system()} {platform.machine()}",
        device=terms.device,
        threads=terms.threads or 1,
    )
