"""Keeping: what a training leaves in its run folder, epoch by epoch, however it is computed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from traceback import extract_tb
from typing import Any

from numpy.typing import NDArray

import smallprint
from smallprint.jobs.job import EpochEnded, Job, JobEvent, RunEnded, RunLeft, RunSetAside, RunStarted, RunStopped, Terms
from smallprint.results.holding import HeldError
from smallprint.results.runs import DiskError, Environment, Epoch, Run
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import RunError
from smallprint.training.machine import torch_version

# Whatever needs torch is imported where training begins: a process that only looks on does without.


class Keeping:
    """One job's run, kept while it is trained; every method writes before it tells.

    Raises:
        RunError: the folder is damaged, gone, or cannot be written; from every method.
    """

    def __init__(self, job: Job, writer: RunWriter) -> None:
        self.job, self._writer = job, writer
        self.run: Run  # as it is stored
        self._before: Run  # as it was when this process took it over
        self._behind: tuple[Epoch, ...] = ()  # epochs that were trained before

    def open(self, data: str, terms: Terms) -> Iterator[JobEvent]:
        """Take over what is stored, or begin; it needs no training if it turns out to have `ended`."""
        stored = self._writer.stored()
        if stored and stored.hash != self.job.hash(data):
            yield RunSetAside(job=self.job, folder=self._writer.set_aside(stored))
            stored = None
        if stored and stored.ended:  # by another process, since we looked
            self.run = stored
            yield RunEnded(job=self.job, run=stored, reused=True)
            return
        self.run = stored or _new_run(self.job, data, _environment_of_nothing(terms), self._writer)
        self._before, self._went_on = self.run, stored is not None
        self._writer.begin(replace(self.run, status="training", reason=""), self.job.ladder.only(self.job.rung))

    @property
    def ended(self) -> bool:
        """Whether it is a result."""
        return self.run.ended

    @property
    def missed(self) -> bool:
        """Whether it is no result yet, and its last epoch missed the job's threshold: there is no point in going on."""
        threshold, epochs = self.job.threshold, self.run.epochs
        if self.ended or threshold is None or not epochs or epochs[-1].diverged:
            return False
        return threshold.missed_by(epochs[-1])

    def checkpoint(self) -> bytes | None:
        """What training goes on from, if it does."""
        return self._writer.stored_checkpoint() if self._went_on else None

    def started(self, behind: tuple[Epoch, ...], environment: Environment, slow: str = "") -> RunStarted:
        """Training begins, or goes on behind those epochs."""
        if not self._went_on:
            self._before = replace(self._before, environment=environment)
        self._behind = behind
        self._keep(behind, environment)  # before an epoch is trained: whose it is, is known even if it is not told
        return RunStarted(job=self.job, stored=behind, slow=slow)

    def epoch(self, epochs: tuple[Epoch, ...], environment: Environment, checkpoint: bytes) -> EpochEnded:
        """One more epoch is trained: the last of these."""
        self._writer.checkpoint(checkpoint)
        self._keep(epochs, environment)
        return EpochEnded(job=self.job, epoch=epochs[-1])

    def finished(self, weights: Mapping[str, NDArray[Any]], answers: Mapping[str, NDArray[Any]]) -> RunEnded:
        """All epochs are trained, or the loss is no longer a number."""
        diverged = self.run.epochs[-1].diverged
        reason = f"the loss was no longer a number in epoch {len(self.run.epochs)}" if diverged else ""
        self.run = replace(self.run, status="diverged" if diverged else "finished", reason=reason)
        self._writer.finish(self.run, weights, answers)
        return RunEnded(job=self.job, run=self.run, reused=False)

    def stopped(self) -> RunStopped:
        """The rest is not trained."""
        return RunStopped(job=self.job, epochs=self.run.epochs)

    def failed(self, reason: str) -> RunEnded:
        """Something else went wrong; the next start tries again behind the last whole epoch."""
        self.run = replace(self.run, status="failed", reason=reason)
        self._writer.keep(self.run)
        return RunEnded(job=self.job, run=self.run, reused=False)

    def damaged(self) -> RunLeft:
        """Its checkpoint cannot be used."""
        path = self._writer.folder / "resume.npz"
        advice = "remove it and climb again: that run is trained from its first epoch"
        return RunLeft(job=self.job, reason=f"{path}: damaged, or of another network; {advice}", held=False)

    def _keep(self, epochs: tuple[Epoch, ...], environment: Environment) -> None:
        self.run = replace(self._before.going_on(self._behind, environment), epochs=epochs)
        self._writer.keep(self.run)


@contextmanager
def leaving(job: Job, terms: Terms, told: list[JobEvent]) -> Iterator[None]:
    """What is wrong with a job's own folder leaves that job, added to `told`; what concerns all is raised.

    Raises:
        RunError: no run can be stored: the disk is full, or the folder of them all cannot be written.
    """
    try:
        yield
    except HeldError as fault:
        told.append(RunLeft(job=job, reason=str(fault), held=True, holder=fault.holder))
    except RunError as fault:
        if isinstance(fault, DiskError) or not _takes_runs(terms, job):
            raise
        told.append(RunLeft(job=job, reason=str(fault), held=False))


def give_up(job: Job, data: str, terms: Terms, reason: str) -> Iterator[JobEvent]:
    """End a job's run as `failed` in place of the process that trained it and is no more.

    Raises:
        RunError: no run can be stored: the disk is full, or the folder of them all cannot be written.
    """
    told: list[JobEvent] = []
    with leaving(job, terms, told), RunWriter(job.folder(terms.root), terms.holder) as writer:
        keeping = Keeping(job, writer)
        told.extend(event for event in keeping.open(data, terms) if not isinstance(event, RunEnded))
        # It may have ended its run before it was ended itself.
        told.append(RunEnded(job=job, run=keeping.run, reused=False) if keeping.ended else keeping.failed(reason))
    yield from told


def reason_of(fault: Exception) -> str:
    """What went wrong, and where, unless torch or the system's memory says it all."""
    said = f"{type(fault).__name__}: {fault}"[:500]
    if isinstance(fault, (RuntimeError, MemoryError)) or not (frames := extract_tb(fault.__traceback__)):
        return said
    return f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _takes_runs(terms: Terms, job: Job) -> bool:
    """Whether a ladder's folder can be written, or made."""
    home = terms.root / job.ladder.name
    nearest = next(folder for folder in (home, *home.absolute().parents) if os.path.lexists(folder))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _new_run(job: Job, data: str, environment: Environment, writer: RunWriter) -> Run:
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
        folder=writer.folder,
    )


def _environment_of_nothing(terms: Terms) -> Environment:
    """Where a run would have been trained whose process died before it could say so; asks torch nothing."""
    return Environment(
        smallprint=smallprint.__version__,
        python=platform.python_version(),
        torch=torch_version(),
        numpy=version("numpy"),
        platform=f"{platform.system()} {platform.machine()}",
        device=terms.device,
        threads=terms.threads or 1,
    )
