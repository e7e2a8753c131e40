"""Race: the candidates of a search at their levels; what is trained next, and who has come out first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, exp, log
from random import Random
from statistics import median

from smallprint.jobs.job import Job, JobEvent, RunEnded, RunLeft, RunStopped, Threshold
from smallprint.results.runs import Run
from smallprint.searching.candidate import START, Candidate, Level, Shown, levels, numbered, shortened, worst_error
from smallprint.searching.halving import Outlook
from smallprint.searching.margin import Margin
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.recipe import Distilled

CANDIDATES = "candidates"  # name of the ladder that they are
ENOUGH_SEEDS = 3  # fewer say too little about a network to call it found
_SPREAD = 0.15  # standard deviation of the logarithm of the amounts that are drawn around the best one
_GUIDES = 3  # candidates whose worth says where to look
_PARENTS = 4  # of the best, from which others descend
_ANEW = 0.3  # share of candidates that descend from none


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A candidate has been through a level."""

    candidate: Candidate
    level: Level
    goes_on: bool  # to the next one
    lost: bool  # it has not: a training failed, and is tried again at the next start
    left: tuple[Job, ...]  # of this level, that need not be trained any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search has come to."""

    best: Candidate | None  # the smallest that keeps what held-out images must show, or else what came nearest
    keeps: bool
    margin: Margin
    front: tuple[Candidate, ...]  # none is both smaller and better; from small to large
    candidates: tuple[Candidate, ...]  # all


@dataclass(slots=True)
class _Lap:
    """One candidate at one level, while it is trained."""

    level: Level
    errors: dict[int, float]  # by seed
    jobs: tuple[Job, ...] = ()
    stopped: bool = False
    diverged: bool = False
    lost: bool = False  # a training failed or could not be kept


class Race:
    """The candidates of a search at their levels.

    It hears what happens to the jobs that it gave out and says what becomes of each candidate. Jobs are those of a
    ladder of its own, called `candidates`, whose rungs are the candidates and what teaches them.
    """

    def __init__(self, ladder: Ladder, start: Rung, amount: float, images: int, margin: Margin) -> None:
        """From a starting rung of such an amount; `images` is the number of held-out images."""
        self._ladder = ladder
        self._images = images
        self.margin = margin  # as known so far
        self.candidates: dict[int, Candidate] = {}
        self.start_runs: dict[int, Run] = {}  # by seed: the starting rung at full length, on held-out images
        self._laps: dict[int, _Lap] = {}  # by candidate's number
        self._whose: dict[tuple[str, int], int] = {}  # rung and seed of a job -> candidate's number
        start = replace(start, name="start")
        self.candidates[START] = Candidate(number=START, rung=start, amount=amount)

    def levels(self, candidate: Candidate) -> tuple[Level, ...]:
        """Those that a candidate goes through; the starting rung, whatever the others do, all but the last."""
        every = levels(candidate.rung.recipe.epochs, self._ladder.contract.last_epochs)
        return every[:-1] if candidate.number == START else every

    def enter(self, candidate: Candidate) -> list[Job]:
        """Take a candidate in, or up again; the jobs of its next level, if it is still in the race."""
        self.candidates[candidate.number] = candidate
        return self.go_on(candidate) if candidate.fate == "racing" else []

    def twin(self, candidate: Candidate) -> Candidate | None:
        """One that has been drawn before and is the same network and recipe."""
        drawn = candidate.rung.network, candidate.rung.recipe
        return next((one for one in self.candidates.values() if (one.rung.network, one.rung.recipe) == drawn), None)

    def whose(self, job: Job) -> int | None:
        """The number of the candidate that a job trains; None where it trains a teacher, or is no job of this race."""
        return self._whose.get(job.name)

    def hear(self, event: JobEvent) -> Judged | None:
        """Note what happened to a job; what it means for its candidate, if a level is through."""
        number = self.whose(event.job)
        lap = self._laps.get(number) if number is not None else None
        if number is None or lap is None or not isinstance(event, RunEnded | RunStopped | RunLeft):
            return None
        self._note(lap, event, number)
        if len(lap.errors) < lap.level.seeds and not (lap.lost or lap.stopped or lap.diverged):
            return None
        del self._laps[number]
        return self._judged(self.candidates[number], lap)

    def go_on(self, candidate: Candidate) -> list[Job]:
        """The jobs of a candidate's next level."""
        through = candidate.shown[-1].level if candidate.shown else -1
        level = next(level for level in self.levels(candidate) if level.number > through)
        lap = _Lap(level=level, errors={})
        if level.seeds_before:
            lap.errors.update(enumerate(candidate.shown[-1].errors))
        self._laps[candidate.number] = lap
        rung = candidate.rung
        if not level.full:
            name = f"{rung.name}-{level.epochs}-epochs"
            rung = replace(rung, name=name, recipe=shortened(rung.recipe, level.epochs))
        threshold = None
        if level.full and level.seeds == 1 and candidate.number != START and not self.margin.guessed:
            correct = ceil(self.margin.line * self._images - 1e-9)
            threshold = Threshold(since=level.epochs - level.last + 1, correct=correct)
        ladder, rung = as_raced(self._ladder, rung)
        jobs = [
            Job(ladder=ladder, rung=rung, seed=seed, threshold=threshold)
            for seed in range(level.seeds)
            if seed not in lap.errors
        ]
        lap.jobs = tuple(jobs)
        self._whose.update({job.name: candidate.number for job in jobs})
        return jobs

    @property
    def outlook(self) -> Outlook:
        """What the candidates so far say of each other."""
        allowed = 1 - self.margin.needed
        return Outlook(list(self.candidates.values()), self.levels(self.candidates[START]), allowed)

    def keeps(self, candidate: Candidate) -> bool:
        """Whether a candidate has shown what held-out images must show, over enough seeds at full length."""
        shown = candidate.best_known
        return bool(
            shown
            and len(shown.errors) >= ENOUGH_SEEDS
            and not (shown.stopped or shown.diverged)
            and 1 - shown.error >= self.margin.needed
        )

    def target(self, draw: Random, floor: float, ceiling: float) -> float | None:
        """An amount to look at next: about where the best so far would just keep the contract; None: anywhere."""
        full = [one for one in self._measured() if one.number != START]
        if len(full) < _GUIDES or draw.random() < 0.5:
            return None
        outlook = self.outlook
        best = sorted(max(outlook.worth(one), floor) for one in full)[:_GUIDES]
        around = exp(draw.gauss(log(median(best)), _SPREAD))
        return min(max(around, floor), ceiling)

    def parent(self, draw: Random) -> Candidate | None:
        """A good one, for the next to be like it in most genes; None: the next is drawn as a whole."""
        grown = [one for one in self._originals if one.number != START and len(one.shown) > 1]
        if len(grown) < _GUIDES or draw.random() < _ANEW:
            return None
        outlook = self.outlook
        return draw.choice(sorted(grown, key=outlook.worth)[:_PARENTS])

    def found(self) -> Found:
        """What the search has come to so far."""
        rivals = [one for one in self.candidates.values() if one.number != START]
        keepers = [one for one in rivals if self.keeps(one)]
        measured = [one for one in self._measured() if one.number != START]
        best = None
        if keepers:
            best = min(keepers, key=lambda one: (one.amount, one.shown[-1].error))
        elif measured:
            best = min(measured, key=lambda one: (not _seasoned(one), one.shown[-1].error, one.amount))
        return Found(
            best=best,
            keeps=bool(keepers),
            margin=self.margin,
            front=self.front(),
            candidates=tuple(self.candidates.values()),
        )

    def front(self) -> tuple[Candidate, ...]:
        """Those measured at full length of which none other is both smaller and better; from small to large."""
        front: list[Candidate] = []
        for one in sorted(self._measured(), key=lambda one: (one.amount, one.shown[-1].error)):
            if not front or one.shown[-1].error < front[-1].shown[-1].error:
                front.append(one)
        return tuple(front)

    @property
    def _originals(self) -> list[Candidate]:
        """All but twins, which have shown what another has."""
        return [one for one in self.candidates.values() if one.twin_of is None]

    def _measured(self) -> list[Candidate]:
        """Those whose trainings went through their full length."""
        return [
            one
            for one in self._originals
            if (shown := one.best_known)
            and numbered(self.levels(one), shown.level).full
            and not (shown.stopped or shown.diverged)
        ]

    def _note(self, lap: _Lap, event: RunEnded | RunStopped | RunLeft, number: int) -> None:
        seed = event.job.seed
        match event:
            case RunStopped(epochs=epochs):
                lap.stopped = True
                lap.errors[seed] = worst_error(epochs, max(1, len(epochs) - (lap.level.epochs - lap.level.last)))
            case RunEnded(run=run) if run.status == "finished":
                lap.errors[seed] = worst_error(run.epochs, lap.level.last)
                if number == START and lap.level.full:
                    self.start_runs[seed] = run
            case RunEnded(run=run) if run.status == "diverged":
                lap.diverged, lap.errors[seed] = True, 1.0
            case _:
                lap.lost = True

    def _judged(self, candidate: Candidate, lap: _Lap) -> Judged:
        goes_on, why, fate = False, "a training failed", candidate.fate
        if not lap.lost:
            shown = Shown(
                level=lap.level.number, errors=tuple(lap.errors[seed] for seed in sorted(lap.errors)),
                stopped=lap.stopped, diverged=lap.diverged,
            )  # fmt: skip
            candidate = candidate.having(shown)
            self.candidates[candidate.number] = candidate
            through = lap.level == self.levels(candidate)[-1]
            goes_on, why = (not through, "") if candidate.number == START else self.outlook.goes_on(candidate)
            if lap.level.seeds >= ENOUGH_SEEDS and goes_on and not self.keeps(candidate):
                goes_on, why = False, "its seeds do not show what they must"
            goes_on = goes_on and not through
            fate = "racing" if goes_on else "tested" if through and not why else "dropped"
        candidate = replace(candidate, fate=fate, why="" if goes_on else why)
        self.candidates[candidate.number] = candidate
        left = tuple(job for job in lap.jobs if job.seed not in lap.errors)
        return Judged(candidate=candidate, level=lap.level, goes_on=goes_on, lost=lap.lost, left=left)


def as_raced(ladder: Ladder, rung: Rung) -> tuple[Ladder, Rung]:
    """A ladder of a rung alone, behind what teaches it, which has a name there that no candidate has; and the rung."""
    teacher = ladder.teacher(rung)
    if teacher is None:
        return replace(ladder, name=CANDIDATES, rungs=(rung,)), rung
    assert isinstance(rung.recipe.loss, Distilled)
    teacher = replace(teacher, name=f"teacher-{teacher.name}")
    rung = replace(rung, recipe=replace(rung.recipe, loss=replace(rung.recipe.loss, teacher=teacher.name)))
    return replace(ladder, name=CANDIDATES, rungs=(teacher, rung)), rung


def _seasoned(candidate: Candidate) -> bool:
    return len(candidate.shown[-1].errors) >= ENOUGH_SEEDS
