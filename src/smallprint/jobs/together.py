"""train_together(jobs): seeds of one network as one computation, on a GPU; each is kept as it would be alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import smallprint
from smallprint.jobs.alone import teacher_of
from smallprint.jobs.job import Job, JobEvent, RunEnded, RunLeft, Terms, stored_whole
from smallprint.jobs.keeping import Keeping, leaving, reason_of
from smallprint.results.runs import Environment
from smallprint.results.writer import RunWriter
from smallprint.spec.errors import RunError
from smallprint.training.data import Dataset

if TYPE_CHECKING:
    from smallprint.training.stack import Stack
    from smallprint.training.teacher import Teacher


def train_together(jobs: Sequence[Job], dataset: Dataset, terms: Terms) -> Iterator[JobEvent]:
    """Train jobs of one rung as one computation; every finished epoch of each is stored before it is reported.

    They are stored, reused, resumed and left as `train` would do with each. What goes wrong with the computation
    fails all of them; what goes wrong with one folder leaves that job, and the others go on.

    Raises:
        RunError: no run can be stored: the disk is full, or the folder of them all cannot be written.
    """
    with ExitStack() as held:
        members: list[Keeping] = []
        teachers: dict[Keeping, Teacher] = {}
        for job in jobs:
            told: list[JobEvent] = []
            with leaving(job, terms, told):
                if whole := stored_whole(job, dataset.fingerprint, terms.root):
                    told.append(RunEnded(job=job, run=whole, reused=True))
                else:
                    keeping = Keeping(job, held.enter_context(RunWriter(job.folder(terms.root), terms.holder)))
                    told.extend(keeping.open(dataset.fingerprint, terms))
                    if not keeping.ended:
                        if teacher := teacher_of(job, dataset, terms):
                            teachers[keeping] = teacher
                        members.append(keeping)
            yield from told
        members.sort(key=_epochs_behind)
        for _, standing in groupby(members, _epochs_behind):
            yield from _Together(list(standing), teachers, dataset, terms).train()


def _epochs_behind(keeping: Keeping) -> int:
    """Whole epochs of a job that are trained; its checkpoint may be one ahead of what else is stored."""
    from smallprint.training.checkpoint import unpack
    from smallprint.training.native.plan import plan

    if not (checkpoint := keeping.checkpoint()):
        return 0
    try:
        return len(unpack(checkpoint, plan(keeping.job.ladder.trace(keeping.job.rung)))[0])
    except RunError:
        return -1


class _Together:
    """Jobs that stand at the same epoch, in one stack."""

    def __init__(
        self, members: Sequence[Keeping], teachers: Mapping[Keeping, Teacher], dataset: Dataset, terms: Terms
    ) -> None:
        self.members, self.dataset, self.terms = members, dataset, terms
        self.teachers = [teachers[member] for member in members if member in teachers]
        self.going = set(range(len(members)))  # in training

    def train(self) -> Iterator[JobEvent]:
        if _epochs_behind(self.members[0]) < 0:
            yield from (member.damaged() for member in self.members)
            return
        try:
            stack, environment = self._stack()
            for number in sorted(self.going):
                behind = tuple(stack.epochs[number])
                yield self._kept(number, lambda n=number, e=behind: self.members[n].started(e, environment))  # type: ignore[misc]
            self._drop_left(stack)
            for _ in stack:
                for number in sorted(self.going):
                    yield self._kept(number, lambda n=number: self._epoch(stack, n, environment))  # type: ignore[misc]
                for number in sorted(self.going):
                    if stack.epochs[number][-1].diverged:
                        yield self._finished(stack, number)
                self._drop_left(stack)
            for number in sorted(self.going):
                yield self._finished(stack, number)
        except RunError:
            raise
        except Exception as fault:
            for number in sorted(self.going):
                yield self._kept(number, lambda n=number, f=fault: self.members[n].failed(reason_of(f)))  # type: ignore[misc]

    def _stack(self) -> tuple[Stack, Environment]:
        from smallprint.training import machine
        from smallprint.training.stack import Stack

        jobs = [member.job for member in self.members]
        first, terms = jobs[0], self.terms
        stack = Stack(
            first.ladder.trace(first.rung), [job.rung.recipe for job in jobs], self.dataset,
            [job.seed for job in jobs], device=terms.device, precision=terms.precision, teachers=self.teachers,
        )  # fmt: skip
        checkpoints = [checkpoint for member in self.members if (checkpoint := member.checkpoint())]
        if checkpoints:
            stack.restore(checkpoints)
        environment = machine.environment(smallprint.__version__, terms.device, machine.cores())
        return stack, replace(environment, way="stack", precision=terms.precision)

    def _epoch(self, stack: Stack, number: int, environment: Environment) -> JobEvent:
        return self.members[number].epoch(tuple(stack.epochs[number]), environment, stack.checkpoint(number))

    def _finished(self, stack: Stack, number: int) -> JobEvent:
        event = self._kept(number, lambda: self.members[number].finished(stack.weights(number), stack.answers(number)))
        self.going.discard(number)
        return event

    def _kept(self, number: int, write: Callable[[], JobEvent]) -> JobEvent:
        """What was written; or that the job is left, since its folder cannot be used."""
        told: list[JobEvent] = []
        with leaving(self.members[number].job, self.terms, told):
            told.append(write())
        if isinstance(told[-1], RunLeft):
            self.going.discard(number)
        return told[-1]

    def _drop_left(self, stack: Stack) -> None:
        stack.drop(*(number for number in stack.members if number not in self.going))
