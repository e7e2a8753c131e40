"""SearchResult: what a search has come to: the rung as text, what changed, what is missing, what to do next."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import tomli_w

from smallprint.searching.candidate import START, Candidate, Level
from smallprint.searching.goal import Goal
from smallprint.spec.ladder import Ladder, Rung, RungDiff, Taught, diff
from smallprint.views.front import FrontPicture, compact, front_picture, level_of

if TYPE_CHECKING:  # jobs stand behind it, which views know nothing of
    from smallprint.searching.race import Found

FILE = "found.toml"  # of the rung that was found, in the search's folder
_LONGEST_NAME = 70  # characters of the starting rung's name that a found one keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How many candidates were trained so thoroughly, and what became of them there."""

    said: str  # as in: 3 of 15 epochs; 3 seeds
    trained: int
    went_on: int
    dropped: Mapping[str, int]  # why -> how many

    @property
    def why(self) -> str:
        """Why some were dropped, the most frequent reason first."""
        return ", ".join(f"{count} {why}" for why, count in self.dropped.items())


class Step(NamedTuple):
    """Something that a person can do now."""

    said: str
    command: str = ""  # that does it

    def __str__(self) -> str:
        """Both in one line."""
        return f"{self.said}: {self.command}" if self.command else self.said


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A search that has ended, with all that is said of it."""

    ladder: Ladder
    start: Rung
    goal: Goal
    floor: float  # amounts that were looked at
    ceiling: float
    found: Found
    stopped: bool  # by Ctrl-C, before its end
    enough_seeds: int  # fewer say too little about a network to call it found
    images: int  # held out of the training images
    command: str  # that was given
    climb: str  # the command that trains the start for its own sake, from which the margin is learnt
    seed: int  # of what was drawn
    spent: float  # seconds, over all parts
    folder: Path  # what is kept

    @property
    def rung(self) -> Rung | None:
        """The one that was found, or came nearest, ready for the ladder; None if none was trained at full length."""
        best = self.found.best
        if best is None:
            return None
        return replace(best.rung, name=self._name(best), target=self._target(best))

    @property
    def text(self) -> str:
        """That rung as a ladder file says it; empty if there is none."""
        rung = self.rung
        return tomli_w.dumps({"rung": [rung.table()]}, multiline_strings=True) if rung else ""

    @property
    def file(self) -> str:
        """That rung, its teacher before it, as a whole ladder file that lies in the search's folder."""
        rung, data = self.rung, self.ladder.data
        assert rung, "there is nothing to write"
        if not data.known:  # its path starts at the file
            data = replace(data, said=Path(os.path.relpath(data.path, self.folder)).as_posix(), folder=self.folder)
        ladder = replace(self.ladder, data=data, rungs=(*self.ladder.rungs, rung))
        return ladder.only(rung)

    @property
    def diff(self) -> RungDiff | None:
        """What changed since the starting rung."""
        rung = self.rung
        return diff(replace(self.ladder, rungs=(*self.ladder.rungs, rung)), self.start, rung) if rung else None

    @property
    def taught(self) -> Taught | None:
        """What that rung leans on, if it is distilled."""
        rung = self.rung
        return self.ladder.taught(rung) if rung else None

    @property
    def picture(self) -> FrontPicture:
        """The front, and all that was trained at full length."""
        return front_picture(
            self.found.candidates, self.goal, self.found.margin, self.ladder.contract,
            images=self.images, enough_seeds=self.enough_seeds, best=self.found.best,
        )  # fmt: skip

    @property
    def verdict(self) -> str:
        """Whether something was found, or else by how much the nearest misses."""
        found, needed = self.found, f"{100 * self.found.margin.needed:.2f}%"
        over = f"over at least {self.enough_seeds} seeds"
        if found.best is None:
            return f"nothing found: {self._nobody}; held-out images must show {needed} {over}{self._start_said}"
        what, shown = self.goal.said(found.best.amount), found.best.shown[-1]
        accuracy, seeds = f"{100 * (1 - shown.error):.2f}%", _seeds(len(shown.errors))
        if found.keeps:
            return f"found: {what}, {accuracy} of held-out images over {seeds}, where {needed} are needed"
        short_by = 100 * (found.margin.needed - (1 - shown.error))
        few = f"; it was trained with {seeds} only" if len(shown.errors) < self.enough_seeds else ""
        points = f"{short_by:.2f}" if short_by >= 0.005 else "less than 0.01"
        missing = f"misses by {points} points{few}" if short_by > 0 else few.removeprefix("; ")
        return (
            f"nothing found: {needed} of held-out images {over} are needed; "
            f"nearest is {what}, {accuracy} over {seeds}: {missing}{self._start_said}"
        )

    @property
    def next_steps(self) -> tuple[Step, ...]:
        """What a person can do now."""
        longer = "" if self.stopped else " with a larger --budget; it counts the time of all parts"
        go_on = Step(f"to go on, give the same command{longer}")
        learn = Step(
            "how held-out and test images relate is a guess so far; the same search will know after this", self.climb
        )
        first = (learn,) if self.found.margin.guessed else ()
        rung = self.rung
        if rung is None:
            return (*first, go_on)
        certify = f"smallprint certify {shlex.quote(f'{self.folder / FILE}:{rung.name}')}"
        if self.found.keeps:
            judged = "to certify it, with fresh seeds and on the test images, which this search has not seen"
            paste = Step("or paste it into the ladder file and certify it there")
            return (Step(judged, certify), paste, go_on)
        anyway = Step("to judge the nearest one on the test images all the same", certify)
        return (*first, go_on, Step("a higher --ceiling lets larger networks in"), anyway)

    @property
    def drawn(self) -> tuple[Candidate, ...]:
        """The candidates, without the starting rung."""
        return tuple(one for one in self.found.candidates if one.number != START)

    @property
    def reached(self) -> tuple[Reached, ...]:
        """Level by level, how many candidates were trained and what became of them."""
        rows, trained = [], [one for one in self.drawn if one.twin_of is None]
        for number in sorted({shown.level for one in trained for shown in one.shown}):
            there = [one for one in trained if one.at(number)]
            levels = [level_of(one, shown, self.ladder.contract) for one in there if (shown := one.at(number))]
            last = [one for one in there if one.shown[-1].level == number]
            dropped = Counter(_reason(one.why) for one in last if one.fate == "dropped")
            rows.append(
                Reached(
                    said=_levels_said(levels),
                    trained=len(there),
                    went_on=len(there) - len(last),
                    dropped=dict(dropped.most_common()),
                )
            )
        return tuple(rows)

    @property
    def twins(self) -> int:
        """How many were drawn that had been drawn before; they are not trained again."""
        return sum(one.twin_of is not None for one in self.drawn)

    def _name(self, best: Candidate) -> str:
        """The starting rung's name and the amount, and a number behind it where the ladder has that name."""
        amount = re.sub(r"[^a-z0-9.]", "", compact(best.amount).lower())
        name = f"{self.start.name[:_LONGEST_NAME]}-{amount}"
        taken = {rung.name for rung in self.ladder.rungs}
        number = 1
        while (one := name if number == 1 else f"{name}-{number}") in taken:
            number += 1
        return one

    def _target(self, best: Candidate) -> str:
        """How it was found."""
        shown, total = best.shown[-1], len(self.drawn)
        what = "Found" if self.found.keeps else "Came nearest"
        return (
            f"{what} by `{self.command}`, the best of {total:,} candidate{'' if total == 1 else 's'} (drawn with seed "
            f"{self.seed}): {self.goal.said(best.amount)}, {100 * (1 - shown.error):.2f}% of {self.images:,} held-out "
            f"training images over {_seeds(len(shown.errors))}."
        )

    @property
    def _nobody(self) -> str:
        """Why there is not even a nearest one."""
        stopped = [point for point in self.picture.points if point.stopped and not point.is_start]
        if not stopped:
            return "no candidate was trained at full length"
        nearest = max(stopped, key=lambda point: point.mean)
        return (
            "every candidate that was trained at full length was stopped, as it could no longer keep the contract; "
            f"the best of them, {self.goal.said(nearest.amount)}, had {nearest.mean:.2f}%"
        )

    @property
    def _start_said(self) -> str:
        """What the starting rung shows, where it does not reach what is needed either."""
        point = next((point for point in self.picture.points if point.is_start), None)
        if point is None or point.mean >= self.picture.needed:
            return ""
        return f" (the start itself reached {point.mean:.2f}%)"


def level_said(level: Level) -> str:
    """How thoroughly a candidate was trained, for a person: 3 of 15 epochs; 1 seed."""
    return _seeds(level.seeds) if level.full else f"{level.epochs} of {level.of} epochs"


def _levels_said(levels: list[Level]) -> str:
    """The same level of candidates whose recipes may have different epochs."""
    if len({level_said(level) for level in levels}) == 1:
        return level_said(levels[0])
    spans = [(min(numbers), max(numbers)) for numbers in ([one.epochs for one in levels], [one.of for one in levels])]
    return " of ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in spans) + " epochs"


def _reason(why: str) -> str:
    """Why candidates were dropped, said of several: without the numbers of one."""
    return "behind others" if "did better" in why else why.removeprefix("it ")


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"
