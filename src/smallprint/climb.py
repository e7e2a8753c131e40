"""climb(ladder): train the rungs in order, judge each, say what holds it back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from smallprint.results.assessment import RungResult, assess
from smallprint.results.runs import Run
from smallprint.spec.ladder import Ladder, Rung, read_ladder
from smallprint.sweep import EpochEnded, Job, RunEnded, RunStarted, SweepEvent, sweep
from smallprint.training.data import Dataset, load_dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class RungStarted:
    """A rung's seeds are about to be trained."""

    rung: Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class RungJudged:
    """All seeds of a rung have ended."""

    result: RungResult


ClimbEvent = RungStarted | SweepEvent | RungJudged


def climb(
    ladder: Ladder | str | Path,
    *,
    rungs: Sequence[str] = (),
    seeds: int = 1,
    runs: str | Path = "runs",
    dataset: Dataset | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Iterator[ClimbEvent]:
    """Train the rungs of a ladder with seeds 0 to `seeds` - 1 each, judge each, and report on the way.

    `rungs` names the rungs to train (default: all). Runs are stored under `runs`; what is stored is not trained again.

    Raises:
        LadderError: a ladder with faults, or a rung it does not have.
        DataError: its data set cannot be had.
        RunError: a run folder that is held by another process, damaged or cannot be written.
    """
    if not isinstance(ladder, Ladder):
        ladder = read_ladder(ladder)
    named = [ladder.rung(name) for name in rungs]
    chosen = [rung for rung in ladder.rungs if rung in named or not named]
    dataset = dataset or load_dataset(ladder.dataset)
    for rung in chosen:
        yield RungStarted(rung=rung)
        ended: list[Run] = []
        jobs = [Job(ladder=ladder, rung=rung, seed=seed) for seed in range(seeds)]
        for event in sweep(jobs, dataset, Path(runs), device=device, threads=threads):
            if isinstance(event, RunEnded):
                ended.append(event.run)
            yield event
        yield RungJudged(result=assess(ladder, rung, ended))


class Pace:
    """How long the rest of a climb will take, from the epochs it has trained so far.

    An epoch's cost is taken as proportional to the network's multiply-adds.
    """

    def __init__(self, ladder: Ladder, rungs: Sequence[Rung], seeds: int) -> None:
        self._macs = {rung.name: max(1, ladder.trace(rung).macs) for rung in rungs}
        self._left = {(rung.name, seed): rung.recipe.epochs for rung in rungs for seed in range(seeds)}
        self._all = sum(self._left.values())
        self._seconds = 0.0
        self._work = 0.0  # multiply-adds of the epochs those seconds went into

    def note(self, event: ClimbEvent) -> None:
        """Take an event into account."""
        if isinstance(event, RunStarted):
            self._left[event.job.rung.name, event.job.seed] -= len(event.stored)
        elif isinstance(event, EpochEnded):
            self._left[event.job.rung.name, event.job.seed] -= 1
            self._seconds += event.epoch.seconds
            self._work += self._macs[event.job.rung.name]
        elif isinstance(event, RunEnded):
            self._left[event.job.rung.name, event.job.seed] = 0

    @property
    def share_done(self) -> float:
        """Epochs that need no more training, 0 to 1."""
        return 1 - sum(self._left.values()) / max(1, self._all)

    @property
    def seconds_left(self) -> float | None:
        """Estimate for the whole climb; None before the first epoch has ended."""
        if not self._work:
            return None
        work = sum(epochs * self._macs[rung] for (rung, _), epochs in self._left.items())
        return work * self._seconds / self._work
