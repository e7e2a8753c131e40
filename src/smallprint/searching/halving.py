"""Successive halving: who goes on to a more thorough level, judged by the size at which each would just do."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, log
from statistics import median

from smallprint.searching.candidate import Candidate, Level, Shown

REDUCTION = 3  # one in so many goes on
_AHEAD = 2  # better ones that it takes to drop one, however few there are: who is first then says little
_SLOPE, _SLOPE_WEIGHT = 0.75, 30  # error falls with the amount to this power; as if seen in so many candidates
_LEAST_SLOPE, _MOST_SLOPE = 0.3, 1.5
_LENGTH, _LENGTH_WEIGHT = 0.5, 3  # error falls with the epochs to this power; as if seen in so many candidates
_LEAST_ERROR = 1e-6  # so that it has a logarithm


class Outlook:
    """What the candidates so far say of each other.

    Candidates of many sizes race together. A large one that errs less is no better than a small one that errs more:
    what counts is the `worth`, the amount at which a network as good as this one would just keep the contract, if the
    error falls with a power of the amount. Two regularities are learnt on the way, each from a prior: that power, and
    how much of a short training's error is left at full length.

    Asynchronous successive halving is L. Li and others, "A system for massively parallel hyperparameter tuning",
    MLSys 2020, arXiv 1810.05934, algorithm 2; here who has once stayed behind is not called back.
    """

    def __init__(self, candidates: Sequence[Candidate], ladder: Sequence[Level], allowed: float) -> None:
        """`ladder` has the levels; `allowed` is the share of the held-out images that may be wrong."""
        self._allowed = max(allowed, _LEAST_ERROR)
        self._candidates = [one for one in candidates if one.shown and one.twin_of is None]
        self._full = next(level.number for level in ladder if level.full)
        self._left = {level.number: self._share_left(level) for level in ladder if not level.full}
        self.slope = self._fitted_slope()

    def error(self, shown: Shown) -> float:
        """The error that a candidate would have at full length."""
        return max(_LEAST_ERROR, shown.error * self._left.get(shown.level, 1.0))

    def excess(self, shown: Shown) -> float:
        """How many times what is allowed it would get wrong at full length."""
        return self.error(shown) / self._allowed

    def worth(self, one: Candidate, shown: Shown | None = None) -> float:
        """The amount at which a network as good as this one would just keep the contract; small is good."""
        shown = shown or one.best_known
        assert shown, "nothing is known of it"
        return float(one.amount * (self.error(shown) / self._allowed) ** (1 / self.slope))

    def rank(self, one: Candidate, level: int) -> tuple[int, int]:
        """How many are better among those that have been through a level, and how many those are."""
        rivals = [
            self.worth(other, seen)
            for other in self._candidates
            if other.number != one.number and (seen := other.at(level))
        ]
        mine = one.at(level)
        assert mine, "it has not been through that level"
        worth = self.worth(one, mine)
        return sum(rival < worth for rival in rivals), len(rivals) + 1

    def goes_on(self, one: Candidate) -> tuple[bool, str]:
        """Whether a candidate goes on to the next level, and why not."""
        shown = one.best_known
        assert shown, "nothing is known of it"
        if shown.diverged:
            return False, "it diverged"
        if shown.stopped:
            return False, "it could no longer keep the contract"
        better, of = self.rank(one, shown.level)
        if better >= max(_AHEAD, ceil(of / REDUCTION)):
            return False, f"{better} of {of} did better at this level"
        return True, ""

    def _share_left(self, level: Level) -> float:
        prior = _LENGTH * log(level.epochs / level.of)
        seen = []
        for one in self._candidates:
            early, late = one.at(level.number), one.at(self._full)
            if early and late and not (late.stopped or late.diverged or early.diverged):
                seen.append(log(max(late.error, _LEAST_ERROR) / max(early.error, _LEAST_ERROR)))
        return exp(median([*[prior] * _LENGTH_WEIGHT, *seen]))

    def _fitted_slope(self) -> float:
        points = [
            (log(one.amount), log(self.error(shown)))
            for one in self._candidates
            if (shown := one.best_known) and not shown.diverged
        ]
        x_mean = sum(x for x, _ in points) / max(1, len(points))
        y_mean = sum(y for _, y in points) / max(1, len(points))
        spread = sum((x - x_mean) ** 2 for x, _ in points)
        if not spread:
            return _SLOPE
        fitted = -sum((x - x_mean) * (y - y_mean) for x, y in points) / spread
        blended = (_SLOPE * _SLOPE_WEIGHT + fitted * len(points)) / (_SLOPE_WEIGHT + len(points))
        return min(max(blended, _LEAST_SLOPE), _MOST_SLOPE)
