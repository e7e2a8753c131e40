"""A crew of workers: jobs trained side by side, each in a process that can die alone."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import wait
from time import monotonic

from smallprint.jobs.job import LAST, Backlog, Job, JobEvent, RunEnded, Terms, stored_whole
from smallprint.jobs.keeping import give_up
from smallprint.jobs.shared import SharedDataset
from smallprint.jobs.worker import Message, Trouble, work
from smallprint.spec.errors import RunError
from smallprint.training.data import Dataset
from smallprint.training.machine import cores

_SPAWN = get_context("spawn")  # a fork would copy the locks of torch's threads, held or not
_PATIENCE = 5.0  # seconds for a worker to end by itself


def side_by_side(backlog: Backlog, dataset: Dataset, terms: Terms, workers: int) -> Generator[JobEvent, None, None]:
    """Train jobs in so many processes at once, begun in their order; what every process tells, as it comes.

    Jobs that are added to the backlog while an event is told are trained too.

    A process that dies ends its run as `failed`; another one takes its place. When the caller goes, by closing
    the generator or by an exception in it, so do all processes.

    Raises:
        RunError: no run can be stored: the disk is full, or the folder of them all cannot be written.
    """
    crew = _Crew(dataset, terms, workers)
    try:
        while backlog or crew.busy:
            while backlog and crew.has_room:
                job, whole = backlog.take(), None
                if job is None:
                    break
                with suppress(RunError):  # a damaged folder: the worker says so
                    whole = stored_whole(job, dataset.fingerprint, terms.root)
                if whole:
                    reused = RunEnded(job=job, run=whole, reused=True)
                    backlog.takes_back(reused)
                    yield reused
                elif not crew.start(job):
                    backlog.put_back(job)
            for event in crew.hear():
                if not backlog.takes_back(event):
                    yield event
            if not backlog:
                crew.give_spare_cores()
    finally:
        crew.dismiss()


class _Worker:
    """A worker as its parent sees it."""

    def __init__(self, shared: SharedDataset, terms: Terms) -> None:
        self.line, theirs = _SPAWN.Pipe()
        self.job: Job | None = None  # what it trains
        self.has_all_cores = False
        self.process = _SPAWN.Process(target=work, args=(theirs, shared, terms), daemon=True)
        with _deaf_to_keys():
            self.process.start()
        theirs.close()  # so that the line is cut when the worker's end is


class _Crew:
    """Workers with one training each."""

    def __init__(self, dataset: Dataset, terms: Terms, workers: int) -> None:
        self.shared = SharedDataset.of(dataset)
        self.data = dataset.fingerprint
        self.terms = terms
        self.most = workers
        self.workers: list[_Worker] = []

    @property
    def busy(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.job]

    @property
    def has_room(self) -> bool:
        return len(self.busy) < self.most

    def start(self, job: Job) -> bool:
        """Give a job to a worker that has none, or to a new one; False if that one has died meanwhile."""
        worker = next((worker for worker in self.workers if not worker.job), None)
        if worker is None:
            worker = _Worker(self.shared, self.terms)
            self.workers.append(worker)
        worker.job = job
        try:
            worker.line.send(job)
        except OSError:
            self._bury(worker)
            return False
        return True

    def give_spare_cores(self) -> None:
        """Let the last training have all cores, if it may."""
        if self.terms.grows and len(self.busy) == 1 and not self.busy[0].has_all_cores:
            self.busy[0].has_all_cores = True
            with suppress(OSError):  # it has died, as will be heard
                self.busy[0].line.send(cores())

    def hear(self) -> Iterator[JobEvent]:
        """What the workers have told, once one of them has told something."""
        lines = {worker.line: worker for worker in self.busy}
        for line in wait(list(lines)) if lines else ():
            yield from self._hear(lines[line])  # type: ignore[index]

    def _hear(self, worker: _Worker) -> Iterator[JobEvent]:
        job = worker.job
        assert job
        try:
            said: Message = worker.line.recv()
        except (EOFError, OSError):
            yield from give_up(job, self.data, self.terms, self._bury(worker))
            return
        if isinstance(said, Trouble):
            if said.for_all:
                raise RunError(said.reason)
            worker.job = None
            yield from give_up(job, self.data, self.terms, said.reason)
            return
        if isinstance(said, LAST):
            worker.job = None
        yield said

    def _bury(self, worker: _Worker) -> str:
        """Take out a worker that has died; how that was."""
        self.workers.remove(worker)
        worker.line.close()
        worker.process.join(_PATIENCE)
        worker.process.kill()  # in case it only let go of the line
        worker.process.join()
        status = worker.process.exitcode or 0
        if status >= 0:
            return f"its process ended with status {status} before the run did"
        why = "; the system does so when memory runs out" if -status == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-status).name}{why}"

    def dismiss(self) -> None:
        """End every worker, now."""
        for worker in self.workers:
            worker.line.close()
        latest = monotonic() + _PATIENCE
        try:
            for worker in self.workers:
                worker.process.join(max(0.0, latest - monotonic()))
        finally:
            for worker in self.workers:
                worker.process.kill()
                worker.process.join()


@contextmanager
def _deaf_to_keys() -> Iterator[None]:
    """Let a process that is started here never hear the terminal's Ctrl-C: its parent does, and decides."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it clears the mask when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
