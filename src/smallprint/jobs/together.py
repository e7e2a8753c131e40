"""train_together(jobs): seeds of one network as one computation, on a GPU; each is kept as it would be alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
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
        members: list[_Member] = []
        for job in jobs:
            told: list[JobEvent] = []
            with leaving(job, terms, told):
                if whole := stored_whole(job, dataset.fingerprint, terms.root):
                    told.append(RunEnded(job=job, run=whole, reused=True))
                else:
                    keeping = Keeping(job, held.enter_context(RunWriter(job.folder(terms.root), terms.holder)))
                    told.extend(keeping.open(dataset.fingerprint, terms))
                    if keeping.missed:
                        told.append(keeping.stopped())
                    elif not keeping.ended:
                        members.append(_Member.of(keeping, teacher_of(job, dataset, terms)))
            yield from told
        for behind, standing in groupby(sorted(members, key=lambda member: member.behind), lambda m: m.behind):
            if behind < 0:
                yield from (member.keeping.damaged() for member in standing)
            else:
                yield from _Together(list(standing), dataset, terms).train()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One job, and what it goes on with."""

    keeping: Keeping
    teacher: Teacher | None
    checkpoint: bytes | None
    behind: int  # whole epochs that are trained, which the checkpoint alone may have; -1 if it is damaged

    @staticmethod
    def of(keeping: Keeping, teacher: Teacher | None) -> _Member:
        """Read what a run goes on with, once."""
        from smallprint.training.checkpoint import unpack
        from smallprint.training.native.plan import plan

        checkpoint, behind = keeping.checkpoint(), 0
        if checkpoint:
            try:
                behind = len(unpack(checkpoint, plan(keeping.job.ladder.trace(keeping.job.rung)))[0])
            except RunError:
                behind = -1
        return _Member(keeping=keeping, teacher=teacher, checkpoint=checkpoint, behind=behind)


class _Together:
    """Jobs that stand at the same epoch, in one stack."""

    def __init__(self, members: Sequence[_Member], dataset: Dataset, terms: Terms) -> None:
        self.members, self.dataset, self.terms = members, dataset, terms
        self.going = set(range(len(members)))  # in training

    def train(self) -> Iterator[JobEvent]:
        """All of their epochs."""
        try:
            stack, environment = self._stack()
            for number, keeping in self._still():
                yield self._kept(number, partial(keeping.started, tuple(stack.epochs[number]), environment))
            self._drop_left(stack)
            for _ in stack:
                for number, keeping in self._still():
                    epochs = tuple(stack.epochs[number])
                    yield self._kept(number, partial(keeping.epoch, epochs, environment, stack.checkpoint(number)))
                for number, keeping in self._still():
                    if stack.epochs[number][-1].diverged:
                        yield self._finished(stack, number)
                    elif keeping.missed:
                        self.going.discard(number)
                        yield keeping.stopped()
                self._drop_left(stack)
            for number, _ in self._still():
                yield self._finished(stack, number)
        except RunError:
            raise
        except Exception as fault:
            for number, keeping in self._still():
                yield self._kept(number, partial(keeping.failed, reason_of(fault)))

    def _still(self) -> list[tuple[int, Keeping]]:
        """Those that are in training, with their numbers."""
        return [(number, self.members[number].keeping) for number in sorted(self.going)]

    def _stack(self) -> tuple[Stack, Environment]:
        from smallprint.training import machine
        from smallprint.training.stack import Stack

        jobs, terms = [member.keeping.job for member in self.members], self.terms
        stack = Stack(
            jobs[0].ladder.trace(jobs[0].rung), [job.rung.recipe for job in jobs], self.dataset,
            [job.seed for job in jobs], device=terms.device, precision=terms.precision,
            teachers=[member.teacher for member in self.members if member.teacher],
        )  # fmt: skip
        if checkpoints := [member.checkpoint for member in self.members if member.checkpoint]:
            stack.restore(checkpoints)
        environment = machine.environment(smallprint.__version__, terms.device, machine.cores())
        return stack, replace(environment, way="stack", precision=terms.precision)

    def _finished(self, stack: Stack, number: int) -> JobEvent:
        keeping = self.members[number].keeping
        event = self._kept(number, partial(keeping.finished, stack.weights(number), stack.answers(number)))
        self.going.discard(number)
        return event

    def _kept(self, number: int, write: Callable[[], JobEvent]) -> JobEvent:
        """What was written; or that the job is left, since its folder cannot be used."""
        told: list[JobEvent] = []
        with leaving(self.members[number].keeping.job, self.terms, told):
            told.append(write())
        if isinstance(told[-1], RunLeft):
            self.going.discard(number)
        return told[-1]

    def _drop_left(self, stack: Stack) -> None:
        stack.drop(*(number for number in stack.members if number not in self.going))
