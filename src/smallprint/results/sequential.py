"""A test of the pass rate, seed by seed, that stays valid however often one looks.

The test is a bet. A gambler doubts that the rate is at most p. He starts with one unit and bets, seed by seed, that the
next one keeps the contract, at odds that would be fair if the rate were p: staking the share u of what he has, he has
1 + u (1 - p) / p times as much after a seed that kept it, and 1 - u times as much after one that broke it. If the rate
is p or less, his wealth does not grow on average, and the chance that it *ever* reaches 1 / doubt is at most `doubt`
(J. Ville, "Étude critique de la notion de collectif", 1939). So whoever certifies as soon as it does is wrong with
probability `doubt` at most, however often he looked: H. Robbins, "Statistical methods related to the law of the
iterated logarithm", Annals of Mathematical Statistics 41 (1970), 1397-1409; A. Ramdas, P. Grünwald, V. Vovk and
G. Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38 (2023), 576-601. That
a rate is too low is tested by the same bet on the seeds that break the contract.

Nobody knows the best stake beforehand, so the unit is split over several stakes that never change (a mixture). Wealth
falls as p grows; so the rates that are refuted are, at any time, all those below a bound, and the bound holds at all
times at once: I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", Journal of the
Royal Statistical Society B 86 (2024), 1-27.

Why these stakes, for 95% of seeds with 95% confidence: with 59 clean seeds, and not one fewer, a test whose number of
seeds is fixed beforehand certifies. So would a bet of everything on every seed (u = 1), which one broken seed ends for
good. With half on that and half on two smaller stakes 66 clean seeds certify, 137 with one broken among them, 174 with
two; of rungs whose rate is 99%, 80% are certified within 200 seeds, and 43% of those whose rate is 98%. Spread evenly
over all stakes it is 78% and 39%, and 88 clean seeds. The tests work these numbers out exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from smallprint.spec.contract import Certainty

METHOD = (
    "sequential test by betting, a mixture of fixed stakes (Ville 1939; Robbins 1970; Waudby-Smith and Ramdas 2024); "
    "valid however often one looks"
)
MOST_SEEDS = 100_000  # a certificate that needs more is out of reach
_KEEPS = ((1.0, 0.5), (0.8, 0.25), (0.6, 0.25))  # stake on a seed that keeps, 0 to 1, and its share of the unit
_BREAKS = ((1.0, 0.2), (1 / 2, 0.2), (1 / 4, 0.2), (1 / 8, 0.2), (1 / 16, 0.2))  # the same on one that breaks
_HALVINGS = 60  # of an interval: beyond the digits of a float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What seeds that were named beforehand say about the pass rate, counted in their order up to a decision."""

    certainty: Certainty
    first_seed: int
    passed: int  # seeds that kept the contract
    of: int  # seeds counted: first_seed and those behind it; the state was looked at after each
    method: str = METHOD

    @property
    def outcome(self) -> str:
        """Certified | refuted | undecided."""
        return outcome(self.passed, self.of - self.passed, self.certainty)

    @property
    def rate_at_least(self) -> float:
        """Lower bound of the pass rate, 0 to 1, at the promised confidence."""
        return rate_at_least(self.passed, self.of - self.passed, float(1 - self.certainty.confidence))

    @property
    def rate_at_most(self) -> float:
        """Upper bound of the pass rate, 0 to 1, at the promised confidence."""
        return rate_at_most(self.passed, self.of - self.passed, float(1 - self.certainty.confidence))

    @property
    def interval(self) -> tuple[float, float]:
        """Both bounds at once, at the promised confidence."""
        broken, doubt = self.of - self.passed, float(1 - self.certainty.confidence) / 2
        return rate_at_least(self.passed, broken, doubt), rate_at_most(self.passed, broken, doubt)

    @property
    def more_clean_seeds(self) -> int | None:
        """Seeds, all keeping the contract, that would certify it; None: out of reach."""
        broken = self.of - self.passed
        return fewest(lambda more: outcome(self.passed + more, broken, self.certainty) == "certified")

    def counts(self, seed: int) -> bool:
        """Whether a seed is one of those that are counted."""
        return self.first_seed <= seed < self.first_seed + self.of

    @property
    def text(self) -> str:
        """What it says in a sentence."""
        if not self.of:
            return f"no fresh seed has ended; {self._still_needed}"
        confidence = f"{float(100 * self.certainty.confidence):g}%"
        bound = (
            f"at most {math.ceil(1000 * self.rate_at_most) / 10:.1f}%"
            if self.outcome == "refuted"
            else f"at least {math.floor(1000 * self.rate_at_least) / 10:.1f}%"
        )
        kept = f"{self.passed} of {self.of} fresh {'seed' if self.of == 1 else 'seeds'} kept the contract"
        found = f"{kept} (pass rate {bound} with {confidence} confidence, however often one looks)"
        if self.outcome == "undecided":
            return f"{found}; {self._still_needed}"
        return f"{self.outcome} for {self.certainty}: {found}"

    @property
    def _still_needed(self) -> str:
        more = self.more_clean_seeds
        if more is None:
            return f"{self.certainty} is out of reach"
        return f"{more:,}{' more' * bool(self.of)} clean seed{'s' * (more != 1)} would certify {self.certainty}"


def outcome(passed: int, broken: int, certainty: Certainty) -> str:
    """Certified | refuted | undecided, by so many seeds that kept and broke the contract.

    Each of the first two is wrong with probability 1 - confidence at most, if counting stops at the first of them.
    """
    enough = -math.log(1 - certainty.confidence)
    if _log_wealth(_KEEPS, passed, broken, float(certainty.rate)) >= enough:
        return "certified"
    if _log_wealth(_BREAKS, broken, passed, float(1 - certainty.rate)) >= enough:
        return "refuted"
    return "undecided"


def rate_at_least(passed: int, broken: int, doubt: float) -> float:
    """The rate below which every one is refuted; above the true rate, at any time, with probability `doubt` at most."""
    return _bound(_KEEPS, passed, broken, doubt)


def rate_at_most(passed: int, broken: int, doubt: float) -> float:
    """The rate above which every one is refuted; below the true rate, at any time, with probability `doubt` at most."""
    return 1 - _bound(_BREAKS, broken, passed, doubt)


def fewest(enough: Callable[[int], bool]) -> int | None:
    """The smallest number that is enough, where every larger one is too; None beyond MOST_SEEDS."""
    if enough(0):
        return 0
    high = 1
    while not enough(high):
        high *= 2
        if high > MOST_SEEDS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _log_wealth(stakes: tuple[tuple[float, float], ...], won: int, lost: int, rate: float) -> float:
    """Natural logarithm of what one unit has become, at odds that are fair if a seed wins with probability `rate`."""
    gain = (1 - rate) / rate
    logs = [
        math.log(share) + won * math.log1p(stake * gain) + (lost * math.log1p(-stake) if lost else 0.0)
        for stake, share in stakes
        if stake < 1 or not lost
    ]
    highest = max(logs)
    return highest + math.log(sum(math.exp(log - highest) for log in logs))


def _bound(stakes: tuple[tuple[float, float], ...], won: int, lost: int, doubt: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _log_wealth(stakes, won, lost, middle) >= -math.log(doubt):
            low = middle
        else:
            high = middle
    return low
