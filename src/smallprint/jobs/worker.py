"""A worker: a process that trains one job after the other for its parent."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread

from smallprint.jobs.alone import train
from smallprint.jobs.job import Job, JobEvent, Terms
from smallprint.jobs.keeping import reason_of
from smallprint.jobs.shared import SharedDataset
from smallprint.spec.errors import RunError


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What keeps a worker from its job, other than the training itself."""

    reason: str
    for_all: bool  # no other job could be kept either


Message = JobEvent | Trouble


def work(line: Connection, shared: SharedDataset, terms: Terms) -> None:
    """Train the jobs that come down the line, telling it every event; ends when the line is cut, in mid-epoch too.

    Whatever is written in that moment is whole or not there at all, so nothing has to be tidied up.
    """
    orders = _Orders()
    Thread(target=_listen, args=(line, orders), daemon=True).start()
    dataset = shared.open()
    with suppress(OSError):  # nobody listens any more
        while True:
            try:
                for event in train(orders.jobs.get(), dataset, terms, orders.take_threads):
                    line.send(event)
            except RunError as fault:
                line.send(Trouble(reason=str(fault), for_all=True))
            except ConnectionError:
                raise
            except Exception as fault:
                line.send(Trouble(reason=reason_of(fault), for_all=False))
    os._exit(0)


class _Orders:
    """What the parent has said: jobs to train, and how many threads the present one may have."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self.threads: int | None = None

    def take_threads(self) -> int | None:
        """How many the parent has said, once."""
        said, self.threads = self.threads, None
        return said


def _listen(line: Connection, orders: _Orders) -> None:
    try:
        while True:
            said: Job | int = line.recv()
            if isinstance(said, int):
                orders.threads = said
            else:
                orders.jobs.put(said)
    finally:
        os._exit(0)  # the parent is gone, or has no more to do
