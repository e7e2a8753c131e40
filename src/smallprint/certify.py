"""certify(ladder, rung): train fresh seeds until they certify the contract, or refute it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from smallprint.jobs.job import Job, RunEnded, RunLeft
from smallprint.jobs.placement import Workers
from smallprint.results.assessment import RungResult, assess
from smallprint.results.certification import Plan, make_plan, plan_path
from smallprint.results.holding import Hold
from smallprint.results.record import counted
from smallprint.results.runs import PrecisionAsked, Run, read_runs
from smallprint.results.sequential import Certificate
from smallprint.results.verdict import Clause, SeedVerdict, counted_clauses, judge_seed
from smallprint.spec.ladder import Ladder, Rung
from smallprint.sweep import SweepEvent, sweep
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.facts import read_ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverKept:
    """Counting alone says that no seed will keep the contract; nothing is trained."""

    rung: Rung
    clauses: tuple[Clause, ...]  # those that are broken


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyStarted:
    """It is written down which seeds are going to count."""

    rung: Rung
    plan: Plan
    at_most: int  # seeds
    before: Certificate  # what the record has counted that this goes on from


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedCounted:
    """The next seed in order has ended, and this is what is known now."""

    run: Run
    verdict: SeedVerdict
    certificate: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyEnded:
    """It is decided, or no more seeds are to be trained; or it was stopped."""

    result: RungResult  # of the fresh seeds alone
    certificate: Certificate
    stuck: str  # why the next seed could not be counted; empty where it could
    stopped: bool = False  # by Ctrl-C; the next thing that the certification says is `KeyboardInterrupt`


CertifyEvent = NeverKept | CertifyStarted | SweepEvent | SeedCounted | CertifyEnded


def certify(
    ladder: Ladder | str | Path,
    rung: str,
    *,
    runs: str | Path = "runs",
    dataset: Dataset | None = None,
    device: str = "cpu",
    threads: int | None = None,
    workers: Workers = 1,
    precision: PrecisionAsked = "float32",
    at_most: int = 200,
    record: str | Path | None = None,
) -> Generator[CertifyEvent, None, None]:
    """Train fresh seeds of a rung, one after the other or side by side, until they certify its contract or refute it.

    Fresh are seeds from 1000 on, or from the first thousand behind all that were ever used. They are written down in
    `runs/<ladder>/<rung>/certificate.json` before the first is trained, and counted strictly in their order, whichever
    ends first: one that diverged has broken the contract, one that failed is tried again, once. What is stored is
    counted and not trained again; so the same call goes on where one was interrupted, with more seeds where it was
    undecided. A rung, contract or data set that has changed is certified by other seeds. No seed is trained beyond the
    first `at_most`. A contract without a certainty is certified for 95% of seeds with 95% confidence.

    Where a `record` lies that has counted seeds of this very rung, on data known by name, those count first, and the
    next is the one behind them: a certification goes on where its runs are stored no more, and no seed is tried twice.

    The first event is `NeverKept`, which is all, or `CertifyStarted`; the last is `CertifyEnded`.

    Raises:
        KeyboardInterrupt: Ctrl-C, after a `CertifyEnded` of the seeds that were counted by then.
        LadderError: a ladder with faults, or without that rung.
        DataError: its data set cannot be had.
        HeldError: another process certifies this rung.
        RunError: a plan, run folder or record that is damaged or of something else, before anything is trained; or a
            full disk.
    """
    if not isinstance(ladder, Ladder):
        ladder = read_ladder(ladder)
    chosen, root = ladder.rung(rung), Path(runs)
    if never := never_kept(ladder, chosen):
        yield never
        return
    dataset = dataset or load_dataset(ladder.data)
    ladder.check(dataset.facts)
    told = counted(Path(record), ladder, chosen) if record else ()
    with Hold(plan_path(root, ladder.name, chosen.name)):
        plan = make_plan(root, ladder, chosen, dataset.fingerprint, told[0].seed if told else None)
        earlier = [replace(run, identity=plan.identity, data=plan.data) for run in told]
        count = _Count(ladder, chosen, plan, earlier, root=root, at_most=at_most)
        yield CertifyStarted(rung=chosen, plan=plan, at_most=at_most, before=count.certificate)
        try:
            while jobs := count.to_train():
                swept = sweep(jobs, dataset, root, device=device, threads=threads, workers=workers, precision=precision)
                with closing(swept) as events:
                    for event in events:
                        yield event
                        yield from count.note(event)
                        if count.over:
                            break
        except KeyboardInterrupt:
            yield count.ended(stopped=True)
            raise
        yield count.ended()


def never_kept(ladder: Ladder, rung: Rung) -> NeverKept | None:
    """Whether no seed can keep the contract, by what is counted: parameters, multiply-adds, epochs."""
    trace = ladder.trace(rung)
    counted = counted_clauses(ladder.contract, parameters=trace.parameters, macs=trace.macs, epochs=rung.recipe.epochs)
    broken = tuple(clause for clause in counted if not clause.kept)
    return NeverKept(rung=rung, clauses=broken) if broken else None


class _Count:
    """Counts seeds in their order, whichever ends first."""

    def __init__(
        self, ladder: Ladder, rung: Rung, plan: Plan, earlier: Sequence[Run], *, root: Path, at_most: int
    ) -> None:
        """Count behind the `earlier` runs at most so many seeds, or as many as are stored under `root` already."""
        self.certificate = plan.certificate(earlier)
        self.stuck = ""
        self._ladder, self._rung, self._plan, self._root = ladder, rung, plan, root
        self._earlier, self._behind = earlier, plan.first_seed + self.certificate.of
        self._at_most = max(at_most, plan.certificate([*self._stored(), *earlier]).of)
        self._ended: dict[int, Run] = {}  # by seed, from the next to be counted on
        self._why: dict[int, str] = {}  # seeds that could not be trained
        self._again: set[int] = set()  # seeds that failed and were tried once more

    @property
    def over(self) -> bool:
        """Whether there is nothing more to count."""
        return self.certificate.outcome != "undecided" or self.certificate.of >= self._at_most

    def to_train(self) -> list[Job]:
        """The next seeds in order: as many as would decide if all of them kept the contract. None once it is over."""
        following = self._plan.first_seed + self.certificate.of
        if why := self._why.pop(following, ""):
            self.stuck = f"seed {following}: {why}"
        if self.over or self.stuck:
            return []
        left = self._at_most - self.certificate.of
        most = min(left, self.certificate.more_clean_seeds or left)
        seeds = range(following, following + most)
        return [Job(ladder=self._ladder, rung=self._rung, seed=seed) for seed in seeds]

    def note(self, event: SweepEvent) -> Generator[SeedCounted, None, None]:
        """Take an event into account; what can be counted then is."""
        if not isinstance(event, RunEnded | RunLeft) or event.job.rung != self._rung:
            return
        seed = event.job.seed
        if isinstance(event, RunLeft):
            self._why[seed] = event.reason
        elif event.run.ended:
            self._ended[seed] = event.run
        elif seed in self._again:
            self._why[seed] = f"failed twice: {event.run.reason}"
        else:
            self._again.add(seed)
        while not self.over and (run := self._ended.pop(self._plan.first_seed + self.certificate.of, None)):
            verdict = judge_seed(self._plan.contract, run)
            passed = self.certificate.passed + bool(verdict.kept)
            self.certificate = replace(self.certificate, passed=passed, of=self.certificate.of + 1)
            yield SeedCounted(run=run, verdict=verdict, certificate=self.certificate)

    def ended(self, *, stopped: bool = False) -> CertifyEnded:
        """What it has come to, with all that is stored of fresh seeds, counted or not.

        Raises:
            RunError: a run folder that is damaged.
        """
        runs = [run for run in self._stored() if run.seed >= self._behind and run.data == self._plan.data]
        result = assess(self._ladder, self._rung, [*self._earlier, *runs], certificate=self.certificate)
        return CertifyEnded(result=result, certificate=self.certificate, stuck=self.stuck, stopped=stopped)

    def _stored(self) -> tuple[Run, ...]:
        return read_runs(self._root, self._ladder.name, self._rung.name, self._plan.identity)
