"""climb(ladder): train the rungs in order, judge each, say what holds it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from heapq import heapreplace
from pathlib import Path

from smallprint.jobs.job import EpochEnded, Job, RunEnded, RunLeft, RunStarted, with_teachers
from smallprint.jobs.placement import Workers
from smallprint.results.assessment import RungResult, assess
from smallprint.results.runs import PrecisionAsked, Run
from smallprint.spec.ladder import Ladder, Rung
from smallprint.sweep import SweepEvent, SweepStarted, sweep
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.facts import read_ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class RungStarted:
    """The first of a rung's seeds is about to be trained, or found trained."""

    rung: Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class RungJudged:
    """All seeds of a rung have ended, whatever others are still in training."""

    result: RungResult


ClimbEvent = RungStarted | SweepEvent | RungJudged


def climb(
    ladder: Ladder | str | Path,
    *,
    rungs: Sequence[str] = (),
    seeds: int | range = 1,
    runs: str | Path = "runs",
    dataset: Dataset | None = None,
    device: str = "cpu",
    threads: int | None = None,
    workers: Workers = 1,
    precision: PrecisionAsked = "float32",
) -> Generator[ClimbEvent, None, None]:
    """Train the rungs of a ladder with `seeds` each, judge each, and report on the way.

    `seeds` is how many, from 0 on, or which: `range(5, 10)`. `rungs` names the rungs to train (default: all). Runs
    are stored under `runs`; what is stored is not trained again. A rung that is taught brings its teacher along. With
    `workers` (a number, or "auto" for one per core) that many trainings run side by side, each in a process of its own;
    rungs then overlap, and each is judged when its last seed has ended. `smallprint.sweep.sweep` says more.

    Raises:
        LadderError: a ladder with faults, or a rung it does not have.
        DataError: its data set cannot be had.
        RunError: a run folder that is damaged, before anything is trained; or a full disk.
    """
    if not isinstance(ladder, Ladder):
        ladder = read_ladder(ladder)
    named = [ladder.rung(name) for name in rungs]
    chosen = [rung for rung in ladder.rungs if rung in named or not named]
    dataset = dataset or load_dataset(ladder.data)
    ladder.check(dataset.facts)
    numbers = range(seeds) if isinstance(seeds, int) else seeds
    jobs = with_teachers([Job(ladder=ladder, rung=rung, seed=seed) for rung in chosen for seed in numbers])
    to_come = Counter(job.rung.name for job in jobs)  # seeds that have not ended
    ended: dict[str, list[Run]] = {}  # by rung; it is there from the rung's first event on
    swept = sweep(jobs, dataset, Path(runs), device=device, threads=threads, workers=workers, precision=precision)
    with closing(swept) as events:
        for event in events:
            if isinstance(event, SweepStarted):
                yield event
                continue
            rung = event.job.rung
            if rung.name not in ended:
                ended[rung.name] = []
                yield RungStarted(rung=rung)
            yield event
            if isinstance(event, RunEnded):
                ended[rung.name].append(event.run)
            to_come[rung.name] -= isinstance(event, RunEnded | RunLeft)
            if not to_come[rung.name]:
                yield RungJudged(result=assess(ladder, rung, sorted(ended[rung.name], key=lambda run: run.seed)))


class Pace:
    """How long the rest of a climb will take, from the epochs it has trained so far.

    An epoch's cost is taken as proportional to the network's multiply-adds.
    """

    def __init__(self) -> None:
        self._left: dict[tuple[str, int], int] = {}  # epochs, by rung and seed
        self._macs: dict[str, int] = {}  # by rung
        self._all = 1  # epochs
        self._running: set[tuple[str, int]] = set()
        self._workers = 1
        self._seconds = 0.0
        self._work = 0.0  # multiply-adds of the epochs those seconds went into

    def note(self, event: ClimbEvent) -> None:
        """Take an event into account; the first is that of the start."""
        if isinstance(event, SweepStarted):
            left = {job.name for job in event.left}
            # Seeds that are trained together share out their seconds: they add up as if one came after the other.
            self._workers = 1 if event.placement.together else event.placement.at_once
            self._left = {job.name: job.rung.recipe.epochs if job.name in left else 0 for job in event.jobs}
            self._all = sum(job.rung.recipe.epochs for job in event.jobs)
            rungs = {job.rung.name: job for job in event.jobs}
            self._macs = {name: max(1, job.ladder.trace(job.rung).macs) for name, job in rungs.items()}
        elif isinstance(event, RunStarted | EpochEnded | RunEnded | RunLeft):
            self._note(event, event.job.name)

    def _note(self, event: RunStarted | EpochEnded | RunEnded | RunLeft, run: tuple[str, int]) -> None:
        if isinstance(event, RunStarted):
            self._running.add(run)
            self._left[run] -= len(event.stored)
        elif isinstance(event, EpochEnded):
            self._left[run] -= 1
            self._seconds += event.epoch.seconds
            self._work += self._macs[run[0]]
        else:
            self._running.discard(run)
            self._left[run] = 0

    @property
    def share_done(self) -> float:
        """Epochs that need no more training, 0 to 1."""
        return 1 - sum(self._left.values()) / max(1, self._all)

    @property
    def seconds_left(self) -> float | None:
        """Estimate for the whole climb; None before the first epoch has ended."""
        if not self._work:
            return None
        busy = [0.0] * self._workers  # multiply-adds that each worker still has to do
        for run in sorted(self._left, key=lambda run: run not in self._running):  # then in the order they are begun
            heapreplace(busy, busy[0] + self._left[run] * self._macs[run[0]])
        return max(busy) * self._seconds / self._work
