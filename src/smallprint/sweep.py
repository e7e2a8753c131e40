"""sweep(jobs): trainings, in this process or side by side; what is stored is not trained twice."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smallprint.jobs.crew import side_by_side
from smallprint.jobs.job import Backlog, Job, JobEvent, Terms, stored_whole, train
from smallprint.training.data import Dataset

Workers = int | Literal["auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStarted:
    """What is stored has been looked through: so much is left to train."""

    left: tuple[Job, ...]  # jobs whose runs are not stored whole
    workers: int  # trainings that run side by side


SweepEvent = SweepStarted | JobEvent


def sweep(
    jobs: Sequence[Job],
    dataset: Dataset,
    root: Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    workers: Workers = 1,
) -> Generator[SweepEvent, None, None]:
    """Train jobs in their order, in this process or in `workers` processes at once; what happens, as it happens.

    Every finished epoch is stored before it is reported. A job whose run is stored is reused; one that was
    interrupted, or failed, goes on behind its last whole epoch. Nothing that happens to one run ends another:
    one that fails, or whose process dies, ends as `failed`; one that another process holds is tried again behind
    all others, then left (`RunLeft`).

    Side by side, each training has one thread, or `threads`; alone, as many as its size needs, or `threads`.
    "auto" is one process per core where more than one job is left. A script that asks for more than one begins
    below `if __name__ == "__main__":`, as multiprocessing wants it: every process imports the script.

    A run whose folder is taken away, damaged or closed to us on the way is left (`RunLeft`), the others go on.

    Raises:
        RunError: a run folder that is damaged, said before anything is trained; or no run can be stored any more: the
            disk is full, or the folder of them all cannot be written.
    """
    left = tuple(job for job in jobs if not stored_whole(job, dataset.fingerprint, root))
    wanted = workers if workers != "auto" else auto_workers(device, threads) if len(left) > 1 else 1
    processes = max(1, min(wanted, len(left)))
    yield SweepStarted(left=left, workers=processes)
    if processes == 1:
        yield from _alone(jobs, dataset, Terms(root=root, device=device, threads=threads, holder=os.getpid()))
        return
    terms = Terms(root=root, device=device, threads=threads or 1, holder=os.getpid())
    with closing(side_by_side(jobs, dataset, terms, processes)) as events:
        yield from events


def auto_workers(device: str = "cpu", threads: int | None = None) -> int:
    """Trainings that run side by side where nobody says how many: one per core, or per `threads` cores.

    Trainings of one thread each share no step, so that none ever waits for another. A GPU is given one at a time.
    """
    from smallprint.training.machine import cores

    return max(1, cores() // (threads or 1)) if device == "cpu" else 1


def _alone(jobs: Sequence[Job], dataset: Dataset, terms: Terms) -> Iterator[JobEvent]:
    backlog = Backlog(jobs)
    while backlog:
        for event in train(backlog.take(), dataset, terms):
            if not backlog.takes_back(event):
                yield event
