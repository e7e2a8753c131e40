"""sweep(jobs): trainings, one by one, side by side or together; what is stored is not trained twice."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from smallprint.jobs.alone import train
from smallprint.jobs.crew import side_by_side
from smallprint.jobs.job import Backlog, Job, JobEvent, Terms, stored_whole, with_teachers
from smallprint.jobs.placement import Placement, Workers, place
from smallprint.jobs.together import train_together
from smallprint.results.runs import PrecisionAsked
from smallprint.training.data import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStarted:
    """What is stored has been looked through: so much is left to train."""

    jobs: tuple[Job, ...]  # all of them, with the teachers that they need
    left: tuple[Job, ...]  # whose runs are not stored whole
    placement: Placement


SweepEvent = SweepStarted | JobEvent


def sweep(
    jobs: Sequence[Job],
    dataset: Dataset,
    root: Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    workers: Workers = 1,
    precision: PrecisionAsked = "float32",
) -> Generator[SweepEvent, None, None]:
    """Train jobs of one ladder in their order, a teacher before its pupils; what happens, as it happens.

    Every finished epoch is stored before it is reported. A job whose run is stored is reused; one that was
    interrupted, or failed, goes on behind its last whole epoch. Nothing that happens to one run ends another:
    one that fails, or whose process dies, ends as `failed`; one that another process holds is tried again behind
    all others, then left (`RunLeft`); so is one whose folder is taken away, damaged or closed to us on the way.

    On the processor, `workers` is how many trainings run side by side, each in a process of its own with one thread,
    or `threads`; a single one runs in this process, with as many threads as its size needs. "auto" is one per core
    where more than one job is left. A script that asks for more than one begins below `if __name__ == "__main__":`,
    as multiprocessing wants it: every process imports the script. On a GPU, `workers` seeds of a rung at a time are
    one computation; "auto" is as many as its memory takes. `device="auto"` chooses by a short timing (`place`).

    Raises:
        RunError: a run folder that is damaged, said before anything is trained; or no run can be stored any more: the
            disk is full, or the folder of them all cannot be written.
        NotationError: a precision that the device does not have.
    """
    jobs = with_teachers(jobs)
    left = tuple(job for job in jobs if not stored_whole(job, dataset.fingerprint, root))
    placement = place(left, dataset, device=device, threads=threads, workers=workers, precision=precision)
    yield SweepStarted(jobs=jobs, left=left, placement=placement)
    terms = placement.terms(root, grows=True)
    with closing(trainings(Backlog(jobs), dataset, terms, placement)) as events:
        yield from events


def trainings(
    backlog: Backlog, dataset: Dataset, terms: Terms, placement: Placement
) -> Generator[JobEvent, None, None]:
    """Train what is in a backlog, and what is added to it while an event is told, until nothing is left in it.

    Raises:
        RunError: no run can be stored: the disk is full, or the folder of them all cannot be written.
    """
    if placement.side_by_side:
        with closing(side_by_side(backlog, dataset, terms, placement.at_once)) as events:
            yield from events
        return
    while backlog:
        if placement.together:
            told = train_together(backlog.take_alike(placement.at_once), dataset, terms)
        else:
            job = backlog.take()
            assert job, "nothing is in training that could be waited for"
            told = train(job, dataset, terms)
        for event in told:
            if not backlog.takes_back(event):
                yield event
