"""search(ladder, rung): look for a smaller network that still keeps the contract, on training images alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from random import Random
from time import monotonic

from smallprint.jobs.borrowing import borrow
from smallprint.jobs.job import LAST, Backlog, EpochEnded, Job, JobEvent, RunEnded, Terms, stored_whole
from smallprint.jobs.placement import Placement, Workers, place
from smallprint.results.holding import Hold
from smallprint.results.record import recorded
from smallprint.results.runs import Epoch, PrecisionAsked, Run, read_runs
from smallprint.searching.candidate import START, Candidate
from smallprint.searching.goal import Goal
from smallprint.searching.margin import Margin, margin, telling
from smallprint.searching.race import Found, Judged, Race, as_raced
from smallprint.searching.space import VERSION, Space
from smallprint.searching.study import Study
from smallprint.spec.errors import RunError, SearchError
from smallprint.spec.ladder import Ladder, Rung
from smallprint.sweep import trainings
from smallprint.training.data import Dataset, held_out, load_dataset
from smallprint.training.facts import read_ladder

_MOST_AT_ONCE = 64  # trainings that a placement is made for
_MOST_TWINS = 30  # candidates in a row that are known already: then there is little else between floor and ceiling
_LONG = 1800.0  # seconds of a budget that leaves time to learn how held-out and test images relate
_RELATED, _RELATED_SEEDS = 3, 2  # rungs that are trained for that, beside the starting one
_MANY = 20  # seeds that test images have judged: so much is known of such a rung that its training pays in any search
_LAST_PART = 0.2  # of the budget: nothing new is begun in it, so that what is promising is trained to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStarted:
    """The search begins, or goes on."""

    goal: Goal
    floor: float  # amounts that are looked at
    ceiling: float
    margin: Margin  # as known so far
    placement: Placement
    candidates: tuple[Candidate, ...]  # of an earlier part of this search
    spent: float  # seconds, in earlier parts
    budget: float  # seconds in all
    folder: Path  # what is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateDrawn:
    """A new candidate is in the race."""

    candidate: Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginLearnt:
    """More is known of how held-out and test images relate."""

    margin: Margin


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEnded:
    """Time is up, or nothing is left to try; or it was stopped."""

    found: Found  # so far
    stopped: bool = False  # by Ctrl-C; the next thing that the search says is `KeyboardInterrupt`


SearchEvent = SearchStarted | JobEvent | CandidateDrawn | MarginLearnt | Judged | SearchEnded


def search(
    ladder: Ladder | str | Path,
    rung: str,
    *,
    goal: str = "parameters",
    budget: float = 3600.0,
    candidates: int | None = None,
    floor: float | None = None,
    ceiling: float | None = None,
    teachers: Sequence[str] = (),
    seed: int = 0,
    runs: str | Path = "runs",
    records: Sequence[str | Path] = (),
    dataset: Dataset | None = None,
    device: str = "cpu",
    threads: int | None = None,
    workers: Workers = "auto",
    precision: PrecisionAsked = "float32",
) -> Generator[SearchEvent, None, None]:
    """Look for a smaller network that still keeps a ladder's contract.

    For `budget` seconds in all, or until so many `candidates` have been drawn and are through.

    Networks and recipes are drawn around a rung, each right in size (`floor` to `ceiling`, in the goal's unit: seconds
    are those of a whole training on one core, by a short timing) before it is trained. They race: many are trained for
    few epochs, few at full length and over several seeds. All are judged on a sixth of the training images, which is
    held out for that; the test images are never looked at. What is asked of held-out images follows from runs of the
    ladder's rungs that test images have judged, those stored under `runs` and those of `records`: where they are many,
    or the budget is long, these rungs are trained for held-out images too. Rungs named by `teachers` may teach.

    The same search goes on where it stopped; its folder is `search_folder`.

    Raises:
        KeyboardInterrupt: Ctrl-C, after a `SearchEnded` that says what was found by then.
        LadderError: a ladder with faults, or a rung it does not have.
        DataError: its data set cannot be had.
        HeldError: another process runs this search.
        SearchError: nothing to search between floor and ceiling; a budget too small for one candidate; a study that is
            damaged, open in another program, or of another search.
        RunError: a run folder that is damaged, a record that is none of this ladder's, or a full disk.
    """
    if not isinstance(ladder, Ladder):
        ladder = read_ladder(ladder)
    dataset = dataset or load_dataset(ladder.data)
    ladder.check(dataset.facts)
    start, folder = ladder.rung(rung), search_folder(runs, ladder, rung, goal, floor, ceiling)
    parts, tested = held_out(dataset), tested_runs(ladder, Path(runs), dataset.fingerprint, records)
    identity = _identity(ladder, start, teachers, parts, floor, ceiling)
    jobs = [Job(ladder=ladder, rung=start, seed=seed) for seed in range(_MOST_AT_ONCE)]
    placement = place(jobs, parts, device=device, threads=threads, workers=workers, precision=precision)
    terms = placement.terms(folder)
    with Hold(folder / "study.db"):
        study = Study(folder / "study.db", identity)
        rate = study.fact("rate", lambda: _rate(ladder, start, parts)) if goal == "seconds" else 1.0
        space = Space(ladder, start, Goal(name=goal, rate=rate), floor=floor, ceiling=ceiling, teachers=teachers)
        study.begin(space, seed=seed)
        yield from _Search(space, study, parts, tested, terms, placement, budget, candidates, seed).events()


def search_folder(
    runs: str | Path, ladder: Ladder, rung: str, goal: str, floor: float | None, ceiling: float | None
) -> Path:
    """Where a search keeps its study, `study.db`, and the runs of its candidates."""
    spans = [f"{word}-{amount:g}" for word, amount in (("from", floor), ("to", ceiling)) if amount is not None]
    return Path(runs) / ladder.name / f"{rung}.search" / "-".join([goal, *spans])


def _identity(
    ladder: Ladder, start: Rung, teachers: Sequence[str], parts: Dataset, floor: float | None, ceiling: float | None
) -> dict[str, str]:
    """What a study is of: one of anything else is none of this search."""

    def said(amount: float | None) -> str:
        return "not said" if amount is None else f"{amount:.12g}"

    return {
        "contract": str(ladder.contract),
        "start": ladder.identity(start),
        "teachers": " ".join(ladder.identity(ladder.rung(name)) for name in teachers),
        "data": parts.fingerprint,
        "floor": said(floor),
        "ceiling": said(ceiling),
        "space": VERSION,
    }


def _rate(ladder: Ladder, rung: Rung, dataset: Dataset) -> float:
    """Multiply-adds of training per second, on one core."""
    from smallprint.training.timing import step_alone

    trace, recipe = ladder.trace(rung), rung.recipe
    batch = min(recipe.batch, dataset.facts.train)
    step = Goal(name="seconds").amount(trace, replace(recipe, epochs=1), train=batch)
    return step / step_alone(trace, recipe, dataset)


def tested_runs(ladder: Ladder, root: Path, data: str, records: Sequence[str | Path] = ()) -> dict[str, list[Run]]:
    """The runs of a ladder, by rung, that are whole: those of exactly this data stored under `root`, and recorded ones.

    Raises:
        RunError: a run folder that is damaged, or a record that is none of this ladder's.
    """
    known = [recorded(Path(record), ladder) for record in records]
    found = {}
    for rung in ladder.rungs:
        stored = read_runs(root, ladder.name, rung.name, ladder.identity(rung))
        here = [run for run in stored if run.data == data]
        there = [run for runs in known for run in runs.get(rung.name, ())]
        found[rung.name] = list({run.seed: run for run in (*there, *here) if run.ended}.values())
    return {name: whole for name, whole in found.items() if whole}


class _Search:
    """One search, from its start to its end or Ctrl-C."""

    def __init__(
        self, space: Space, study: Study, parts: Dataset, tested: Mapping[str, Sequence[Run]], terms: Terms,
        placement: Placement, budget: float, candidates: int | None, seed: int,
    ) -> None:  # fmt: skip
        self.space, self.study, self.parts, self.tested = space, study, parts, tested
        self.terms, self.placement, self.budget, self.most = terms, placement, budget, candidates
        self.backlog = Backlog()
        start, ladder = space.rung, space.ladder
        amount = space.goal.amount(ladder.trace(start), start.recipe, train=ladder.facts.train)
        self.measured: dict[str, list[Run]] = {start.name: []}  # by rung: runs that held-out images judged
        self.race = Race(ladder, start, amount, parts.facts.test, self._margin())
        self.related: dict[str, str] = {}  # rungs of trainings that only tell of the margin -> the ladder's rungs
        self.draw = Random(seed)
        self.before = study.spent
        self.began = monotonic()
        self.timed = False

    def events(self) -> Iterator[SearchEvent]:
        """All that happens."""
        earlier = self.study.candidates()
        known = list(self._added([*self.race.enter(self.race.candidates[START]), *self._related()]))
        for candidate in earlier:
            known += self._added(self.race.enter(candidate))
        yield SearchStarted(
            goal=self.space.goal, floor=self.space.floor, ceiling=self.space.ceiling, margin=self.race.margin,
            placement=self.placement, candidates=tuple(earlier), spent=self.before, budget=self.budget,
            folder=self.terms.root,
        )  # fmt: skip
        yield from (event for event in known if not isinstance(event, MarginLearnt))  # the start has told it
        try:
            yield from self._drawn(self.placement.at_once)
            with closing(trainings(self.backlog, self.parts, self.terms, self.placement)) as told:
                for event in told:
                    yield event
                    yield from self._heard(event)
                    if isinstance(event, LAST):
                        yield from self._drawn(1)
                    if self.left <= 0 and isinstance(event, EpochEnded | RunEnded):
                        break
        except KeyboardInterrupt:
            yield SearchEnded(found=self.race.found(), stopped=True)
            raise
        finally:
            with suppress(SearchError):  # what ended the search is what should be heard of
                self.study.spent = self.spent
        yield SearchEnded(found=self.race.found())

    @property
    def spent(self) -> float:
        """Seconds, in earlier parts of this search too."""
        return self.before + monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds."""
        return self.budget - self.spent

    def _heard(self, event: JobEvent) -> Iterator[SearchEvent]:
        if isinstance(event, EpochEnded):
            self._time(event.job, event.epoch)
        elif isinstance(event, RunEnded) and event.run.epochs and not self.before:  # it may have been borrowed
            self._time(event.job, event.run.epochs[-1])
        judged = self.race.hear(event)
        if judged:
            yield from self._judged(judged)
        elif isinstance(event, RunEnded) and event.job.rung.name in self.related:
            self.measured[self.related[event.job.rung.name]].append(event.run)
            yield self._learnt()

    def _judged(self, judged: Judged) -> Iterator[SearchEvent]:
        candidate, last_part = judged.candidate, self.left < _LAST_PART * self.budget
        self.study.spent = self.spent
        self.backlog.withdraw(judged.left)
        if candidate.number != START and not judged.lost:
            self._keep(candidate)
        yield judged
        if candidate.number == START and judged.level.full:
            self.measured[self.space.rung.name] = list(self.race.start_runs.values())
            yield self._learnt()
        if judged.goes_on and (judged.level.full or not last_part or candidate.number == START):
            yield from self._added(self.race.go_on(candidate))

    def _added(self, jobs: Sequence[Job]) -> Iterator[SearchEvent]:
        """Jobs to do; and what follows from those that an earlier part, or another search from this rung, has done."""
        studies = [study.parent for study in sorted(self.terms.root.parent.glob("*/study.db"))]
        borrow(jobs, self.parts.fingerprint, self.terms.root, studies)
        done: list[RunEnded] = []
        for job in jobs:
            run = None
            with suppress(RunError):  # whoever goes to train it says so
                run = stored_whole(job, self.parts.fingerprint, self.terms.root)
            if run:
                done.append(RunEnded(job=job, run=run, reused=True))
            else:
                self.backlog.add([job])
        for event in done:
            yield event
            yield from self._heard(event)

    def _keep(self, candidate: Candidate) -> None:
        outlook, shown = self.race.outlook, candidate.best_known
        if shown is None:  # nothing can be said of its worth
            self.study.tell(candidate)
        elif candidate.fate == "racing":
            self.study.keep(candidate, outlook.worth(candidate))
        else:
            self.study.tell(candidate, outlook.worth(candidate), outlook.excess(shown))

    def _related(self) -> list[Job]:
        """Trainings of other rungs of the ladder whose results on the test images are known."""
        ladder, jobs = self.space.ladder, []
        others = [name for name in telling(ladder.contract, self.tested) if name != self.space.rung.name]
        surest = [name for name in others if len(self.tested[name]) >= _MANY]
        others = [*surest, *(name for name in others if name not in surest and self.budget >= _LONG)]
        for name in others[:_RELATED]:
            own, rung = as_raced(ladder, replace(ladder.rung(name), name=f"related-{name}"))
            self.related[rung.name], self.measured[name] = name, []
            jobs += [Job(ladder=own, rung=rung, seed=seed) for seed in range(_RELATED_SEEDS)]
        return jobs

    def _learnt(self) -> MarginLearnt:
        self.race.margin = self._margin()
        return MarginLearnt(margin=self.race.margin)

    def _drawn(self, jobs: int) -> Iterator[SearchEvent]:
        """New candidates until so many jobs are to do, so that a worker that becomes free finds one."""
        twins = 0
        while len(self.backlog) < jobs and self.left > _LAST_PART * self.budget and twins < _MOST_TWINS:
            if self.most is not None and len(self.race.candidates) > self.most:  # the start is one of them
                return
            target = self.race.target(self.draw, self.space.floor, self.space.ceiling)
            candidate = self.study.ask(target, self.race.parent(self.draw))
            if twin := self.race.twin(candidate):
                candidate = replace(
                    candidate, shown=twin.shown, fate="dropped", why=f"the same as {twin.name}", twin_of=twin.number
                )
                self._keep(candidate)
                twins += 1
            yield CandidateDrawn(candidate=candidate)
            yield from self._added(self.race.enter(candidate))

    def _time(self, job: Job, epoch: Epoch) -> None:
        """Learn how long trainings take; refuse a budget that no candidate could be trained in."""
        if self.timed or self.race.whose(job) != START:
            return
        self.timed = True
        every = self.race.levels(self.race.candidates[START])
        lengths = sum(level.epochs * (level.seeds - level.seeds_before) for level in every)
        needed = 2 * lengths * epoch.seconds / self.placement.at_once
        if self.budget < needed:
            raise SearchError(
                f"a budget of {self.budget:.0f} s is too small: the starting rung, by which all are measured, and one "
                f"candidate take about {needed:.0f} s here; say --budget {ceil(needed / 20)}m or more"
            )

    def _margin(self) -> Margin:
        return margin(self.space.ladder.contract, self.tested, self.measured, self.parts.facts.test)
