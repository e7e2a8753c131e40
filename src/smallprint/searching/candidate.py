"""Candidate: a rung that a search tries, what it has shown so far, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from smallprint.results.runs import Epoch
from smallprint.spec.ladder import Rung
from smallprint.spec.recipe import Ema, Recipe
from smallprint.spec.schedule import Step

START = -1  # number of the rung that a search starts from
_SHARES = (Fraction(1, 5), Fraction(7, 15))  # of the epochs, before the full length
_SEEDS = (1, 3, 8)  # at full length
_SHORTEST = 2  # epochs: the first one alone says too little

Fate = Literal["racing", "dropped", "tested"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How thoroughly a candidate is trained; the next level costs about three times as much."""

    number: int  # the same means the same for every recipe: of what is as thorough
    epochs: int  # of each training; the schedule is drawn together to fit
    of: int  # epochs at full length
    seeds: int  # 0 to so many - 1
    seeds_before: int  # of these, those that the level before has trained at this length
    last: int  # so many of the last epochs count, at full length as many as the contract's

    @property
    def full(self) -> bool:
        """Whether trainings have their full length."""
        return self.epochs == self.of


def levels(epochs: int, last_epochs: int) -> tuple[Level, ...]:
    """The levels of a candidate whose recipe has so many epochs, from cheap to thorough.

    Few epochs leave no room for all of the short ones; then the first numbers are missing.
    """
    short = sorted({max(_SHORTEST, round(epochs * share)) for share in _SHARES})
    lengths = [(length, 1, 0) for length in short if length < epochs]
    lengths += [(epochs, seeds, before) for before, seeds in pairwise((0, *_SEEDS))]
    return tuple(
        Level(
            number=number,
            epochs=length,
            of=epochs,
            seeds=seeds,
            seeds_before=before,
            last=max(1, round(last_epochs * length / epochs)),
        )
        for number, (length, seeds, before) in enumerate(lengths, start=len(_SHARES) + len(_SEEDS) - len(lengths))
    )


def numbered(every: Sequence[Level], number: int) -> Level:
    """The level of that number."""
    return next(level for level in every if level.number == number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one level's trainings have shown."""

    level: int
    errors: tuple[float, ...]  # by seed: share of the held-out images that the worst of the last epochs got wrong
    stopped: bool = field(default=False)  # one was ended early: it could no longer keep the contract
    diverged: bool = field(default=False)

    @property
    def error(self) -> float:
        """Mean over the seeds."""
        return sum(self.errors) / len(self.errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A rung that a search tries, what it has shown so far, and what became of it."""

    number: int  # its trial's number; START for the rung that the search starts from
    rung: Rung  # at full length
    amount: float  # of what the search makes small
    shown: tuple[Shown, ...] = field(default=())  # from the first level on
    fate: Fate = field(default="racing")  # dropped: `why`; tested: it has been through every level
    why: str = field(default="")  # it was dropped
    twin_of: int | None = field(default=None)  # number of an earlier one that is the same, trained for both

    @property
    def name(self) -> str:
        """What tables call it."""
        return "start" if self.number == START else f"#{self.number}"

    @property
    def best_known(self) -> Shown | None:
        """What the most thorough level has shown."""
        return self.shown[-1] if self.shown else None

    def at(self, level: int) -> Shown | None:
        """What a level has shown, if it has been through it."""
        return next((shown for shown in self.shown if shown.level == level), None)

    def having(self, shown: Shown) -> Candidate:
        """The candidate, having shown more."""
        return replace(self, shown=(*self.shown, shown))


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """A recipe in fewer epochs, drawn together.

    Schedules that count in percent fit by themselves, those that count epochs are scaled; and so is an average, which
    would else still hold weights from the beginning.
    """
    share = epochs / recipe.epochs
    schedule, average = recipe.schedule, recipe.average
    if isinstance(schedule, Step):
        schedule = replace(schedule, every=max(1, round(schedule.every * share)))
    if average:
        decay = 1 - (1 - average.decay) / share
        average = Ema(decay=decay) if decay > 0 else None
    return replace(recipe, epochs=epochs, schedule=schedule, average=average)


def worst_error(epochs: Sequence[Epoch], last: int) -> float:
    """Share of the images that the worst of the last epochs got wrong."""
    return max(1 - epoch.test_correct / epoch.test_total for epoch in epochs[-last:])
