"""train(job): one job in this process; every finished epoch is stored before it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import smallprint
from smallprint.jobs.job import Job, JobEvent, RunEnded, Terms, stored_whole
from smallprint.jobs.keeping import Keeping, leaving, reason_of
from smallprint.results.runs import read_tensors
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import RunError
from smallprint.training.data import Dataset

if TYPE_CHECKING:
    from smallprint.training.teacher import Teacher
    from smallprint.training.trainer import Trainer


def train(
    job: Job, dataset: Dataset, terms: Terms, spare: Callable[[], int | None] = lambda: None
) -> Iterator[JobEvent]:
    """Train a job in this process; every finished epoch is stored before it is reported.

    `spare` is asked after every epoch for a number of threads that would be free by now.

    A run that is stored is reused; one that was interrupted, or failed, goes on behind its last whole epoch. One
    that fails on the way ends as `failed`, with its reason; one whose folder is held, damaged, taken away or closed
    to us is left, and so is one whose teacher is not there.

    Raises:
        RunError: no run can be stored: the disk is full, or the folder of them all cannot be written.
    """
    told: list[JobEvent] = []
    with leaving(job, terms, told):
        if whole := stored_whole(job, dataset.fingerprint, terms.root):
            yield RunEnded(job=job, run=whole, reused=True)
            return
        with RunWriter(job.folder(terms.root), terms.holder) as writer:
            yield from _train(Keeping(job, writer), dataset, terms, spare)
    yield from told


def teacher_of(job: Job, dataset: Dataset, terms: Terms) -> Teacher | None:
    """The trained network that teaches a job's, from its run folder.

    Raises:
        RunError: it is not trained to its end, or damaged.
    """
    from smallprint.training.teacher import Teacher

    if (teacher := job.teacher) is None:
        return None
    run = stored_whole(teacher, dataset.fingerprint, terms.root)
    if run is None or run.status != "finished":
        name = f"{teacher.rung.name} seed {teacher.seed}"
        raise RunError(f"{job.folder(terms.root)}: its teacher, {name}, is not trained to its end; climb that first")
    weights = read_tensors(teacher.folder(terms.root) / "weights.safetensors")
    return Teacher(trace=teacher.ladder.trace(teacher.rung), weights=weights)


def _train(keeping: Keeping, dataset: Dataset, terms: Terms, spare: Callable[[], int | None]) -> Iterator[JobEvent]:
    from smallprint.training import machine
    from smallprint.training.trainer import Trainer

    job = keeping.job
    yield from keeping.open(dataset.fingerprint, terms)
    if keeping.ended:
        return
    if keeping.missed:
        yield keeping.stopped()
        return
    trace, recipe = job.ladder.trace(job.rung), job.rung.recipe
    try:
        threads = terms.threads or machine.threads_for(trace.macs * recipe.batch)
        environment = machine.environment(smallprint.__version__, terms.device, threads)
        teacher = teacher_of(job, dataset, terms)
        trainer = Trainer(
            trace, recipe, dataset, job.seed,
            device=terms.device, threads=terms.threads, precision=terms.precision, teacher=teacher,
        )  # fmt: skip
        checkpoint = keeping.checkpoint()
        if checkpoint and not _restored(trainer, checkpoint):
            yield keeping.damaged()
            return
        environment = replace(environment, threads=trainer.threads, way=trainer.way, precision=trainer.precision)
        yield keeping.started(tuple(trainer.epochs), environment, trainer.reason)
        for _ in trainer:
            # Only now the trainer has found out how many threads serve it best.
            environment = replace(environment, threads=trainer.threads)
            yield keeping.epoch(tuple(trainer.epochs), environment, trainer.checkpoint())
            if keeping.missed:
                yield keeping.stopped()
                return
            if free := spare():
                trainer.step.try_threads(free)
        ended = keeping.finished(trainer.weights(), trainer.answers())
    except RunError:  # its folder cannot be used: there is no place for a reason
        raise
    except Exception as fault:
        ended = keeping.failed(reason_of(fault))
    yield ended


def _restored(trainer: Trainer, checkpoint: bytes) -> bool:
    try:
        trainer.restore(checkpoint)
    except RunError:
        return False
    return True
