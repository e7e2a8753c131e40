"""sweep(jobs): trainings, each kept in its folder; what is stored is not trained twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import smallprint
from smallprint.results.runs import Epoch, Run, RunWriter, run_folder
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder, Rung
from smallprint.training import machine
from smallprint.training.data import Dataset
from smallprint.training.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One rung to train with one seed."""

    ladder: Ladder
    rung: Rung
    seed: int


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded:
    """One more epoch is trained and stored."""

    job: Job
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A run is complete."""

    job: Job
    run: Run
    reused: bool  # it was complete before


SweepEvent = RunSetAside | RunStarted | EpochEnded | RunEnded


def sweep(
    jobs: Sequence[Job], dataset: Dataset, root: Path, *, device: str = "cpu", threads: int | None = None
) -> Iterator[SweepEvent]:
    """Train jobs one after the other; every finished epoch is stored before it is reported.

    A job whose run is stored is reused; one that was interrupted goes on behind its last whole epoch. A run
    that fails for its own reasons (memory, a layer the device lacks) ends as `failed`, and the next one starts.

    Raises:
        RunError: a run folder that is held by another process, damaged or cannot be written.
    """
    for job in jobs:
        work = job.ladder.trace(job.rung).macs * job.rung.recipe.batch
        yield from _train(job, dataset, root, device, threads or machine.threads_for(work))


def _train(job: Job, dataset: Dataset, root: Path, device: str, threads: int) -> Iterator[SweepEvent]:
    with RunWriter(run_folder(root, job.ladder.name, job.rung.name, job.seed)) as writer:
        stored = writer.stored()
        run = replace(_new_run(job, dataset, device, threads), folder=writer.folder)
        if stored and stored.hash != run.hash:
            yield RunSetAside(job=job, folder=writer.set_aside(stored))
            stored = None
        if stored and stored.ended:
            yield RunEnded(job=job, run=stored, reused=True)
            return
        run = replace(run, epochs=stored.epochs if stored else ())
        writer.begin(run, job.ladder.only(job.rung))
        try:
            trainer = Trainer(
                job.ladder.trace(job.rung), job.rung.recipe, dataset, job.seed, device=device, threads=threads
            )
            if stored and (checkpoint := writer.stored_checkpoint()):
                _restore(trainer, checkpoint, writer.folder)
            run = replace(run, epochs=tuple(trainer.epochs))
            yield RunStarted(job=job, stored=run.epochs)
            for epoch in trainer:
                run = replace(run, epochs=(*run.epochs, epoch))
                writer.checkpoint(trainer.checkpoint())
                writer.keep(run)
                yield EpochEnded(job=job, epoch=epoch)
            diverged = run.epochs[-1].diverged
            reason = f"the loss was no longer a number in epoch {len(run.epochs)}" if diverged else ""
            run = replace(run, status="diverged" if diverged else "finished", reason=reason)
            writer.finish(run, trainer.weights(), trainer.answers())
        except (RuntimeError, MemoryError) as fault:
            run = replace(run, status="failed", reason=f"{type(fault).__name__}: {fault}"[:500])
            writer.keep(run)
        yield RunEnded(job=job, run=run, reused=False)


def _restore(trainer: Trainer, checkpoint: bytes, folder: Path) -> None:
    try:
        trainer.restore(checkpoint)
    except RunError:
        raise RunError(
            f"{folder / 'resume.pt'}: damaged, or of another network; remove it and climb again: "
            "that run is trained from its first epoch"
        ) from None


def _new_run(job: Job, dataset: Dataset, device: str, threads: int) -> Run:
    trace = job.ladder.trace(job.rung)
    return Run(
        ladder=job.ladder.name,
        rung=job.rung.name,
        seed=job.seed,
        identity=job.ladder.identity(job.rung),
        data=dataset.fingerprint,
        parameters=trace.parameters,
        macs=trace.macs,
        planned=job.rung.recipe.epochs,
        environment=machine.environment(smallprint.__version__, device, threads),
    )
