"""Verdict: kept or broken clause by clause, and how surely over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from smallprint.results.runs import Epoch, Run
from smallprint.results.sequential import Certificate, fewest
from smallprint.spec.contract import Certainty, Contract

_COUNTED = ("parameters", "epochs", "macs")  # clauses that no training changes
_FIXED = "the number of seeds fixed beforehand"  # what makes the exact bounds a certificate
_ROUNDING = 1e-12  # of a bound; one as near as this to the promised rate is at it


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One clause of the contract, judged for one seed."""

    name: str  # the contract's key
    kept: bool
    margin: float  # to spare (positive or zero) or short (negative), in the clause's own unit
    text: str  # "epoch 11 had 9,934 of 10,000, 6 short"

    @property
    def counted(self) -> bool:
        """Whether it judges what is counted, and no training changes."""
        return self.name in _COUNTED

    def __str__(self) -> str:
        return f"{self.name} {'kept' if self.kept else 'broken'}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedVerdict:
    """What one seed's run says about the contract."""

    seed: int
    clauses: tuple[Clause, ...]  # empty while the run has not ended

    @property
    def kept(self) -> bool | None:
        """None while the run has not ended."""
        return all(clause.kept for clause in self.clauses) if self.clauses else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What all seeds of a rung together say about the contract."""

    contract: Contract
    seeds: tuple[SeedVerdict, ...]
    passed: int  # seeds that count and kept every clause
    of: int  # seeds that count
    interval: tuple[float, float]  # of the pass rate of those, 0 to 1, two-sided
    certificate: str  # certified | refuted | undecided, for the contract's certainty or 95% / 95%
    more_clean_seeds: int | None = field(default=None)  # that a certificate still needs; None: out of reach
    fresh: Certificate | None = field(default=None)  # what fresh seeds said, if the rung was to be certified

    @property
    def outcome(self) -> str:
        """Kept | broken | undecided. With a certainty in the contract, only a certificate decides."""
        if self.of == 0:
            return "undecided"
        if self.contract.certainty:
            return {"certified": "kept", "refuted": "broken", "undecided": "undecided"}[self.certificate]
        return "kept" if self.passed == self.of else "broken"

    @property
    def text(self) -> str:
        """The verdict over seeds in a sentence."""
        if self.fresh and self.contract.certainty:
            return f"{self.outcome}{':' if self.outcome == 'undecided' else ','} {self.fresh.text}"
        if self.of == 0:
            return "undecided: no run has ended"
        low, high = (f"{100 * bound:.1f}%" for bound in self.interval)
        certainty = self.contract.certainty or Certainty()
        confidence = f"{float(100 * certainty.confidence):g}%"
        text = (
            f"{self.outcome}: {self.passed} of {_counted(self.of, 'seed')} kept the contract "
            f"(pass rate {low} to {high} at {confidence})"
        )
        if self.fresh:
            return f"{text}; {self.fresh.text}"
        if self.excess:
            return f"{text}; broken whatever a seed does"
        if self.certificate == "undecided" and self.more_clean_seeds:
            more = _counted(self.more_clean_seeds, "more clean seed")
            return f"{text}; with {_FIXED}, {more} would certify {certainty}"
        if self.certificate == "certified":
            return f"{text}; certified for {certainty}, with {_FIXED}"
        return f"{text}; refuted for {certainty}" if self.certificate == "refuted" else text

    @property
    def excess(self) -> tuple[Clause, ...]:
        """What is counted and breaks the contract already, so that no seed can keep it."""
        counted = {clause.name: clause for seed in self.seeds for clause in seed.clauses if clause.counted}
        return tuple(clause for clause in counted.values() if not clause.kept)

    def counts(self, seed: SeedVerdict) -> bool:
        """Whether a seed is one of `of`: it has ended, and is fresh where the contract asks for fresh ones."""
        return seed.kept is not None and _counts(self.contract, self.fresh, seed.seed)


def judge(contract: Contract, runs: Sequence[Run], fresh: Certificate | None = None) -> Verdict:
    """Judge the runs of one rung.

    The interval is the exact one of C. Clopper and E. Pearson, "The use of confidence or fiducial limits
    illustrated in the case of the binomial", Biometrika 26 (1934), page 404. The certificate uses its one-sided
    bounds and is valid for a number of seeds fixed beforehand. Where `fresh` seeds were counted one by one instead, the
    certificate is theirs; and if the contract asks for a certainty, only they count, and the interval is theirs too.
    """
    seeds = tuple(judge_seed(contract, run) for run in runs)
    counted = [seed for seed in seeds if seed.kept is not None and _counts(contract, fresh, seed.seed)]
    of, passed = len(counted), sum(seed.kept is True for seed in counted)
    certainty = contract.certainty or Certainty()
    doubt = float(1 - certainty.confidence)
    interval = (_lower(passed, of, doubt / 2), _upper(passed, of, doubt / 2))
    if fresh:
        return Verdict(
            contract=contract, seeds=seeds, passed=passed, of=of,
            interval=fresh.interval if contract.certainty else interval, certificate=fresh.outcome,
            more_clean_seeds=fresh.more_clean_seeds, fresh=fresh,
        )  # fmt: skip
    certificate = "undecided"
    if of and _certifies(passed, of, certainty):
        certificate = "certified"
    elif of and _upper(passed, of, doubt) < certainty.rate - _ROUNDING:
        certificate = "refuted"
    return Verdict(
        contract=contract, seeds=seeds, passed=passed, of=of, interval=interval, certificate=certificate,
        more_clean_seeds=_more_clean_seeds(passed, of, certainty),
    )  # fmt: skip


def judge_seed(contract: Contract, run: Run) -> SeedVerdict:
    """Judge one seed's run."""
    return SeedVerdict(seed=run.seed, clauses=_clauses(contract, run))


def counted_clauses(contract: Contract, *, parameters: int, macs: int, epochs: int) -> tuple[Clause, ...]:
    """The clauses on what is counted and not measured: they are kept or broken before anything is trained."""
    clauses = []
    for name, value in zip(_COUNTED, (parameters, epochs, macs), strict=True):
        bound = getattr(contract, name)
        if bound is not None:
            spare = bound.nearest_whole() - value
            text = f"{value:,} ({bound}), " + (f"{spare:,} to spare" if spare >= 0 else f"{-spare:,} too many")
            clauses.append(Clause(name=name, kept=spare >= 0, margin=spare, text=text))
    return tuple(clauses)


def worst_of_last(run: Run, last: int) -> tuple[int, int, int] | None:
    """Epoch number, correct and total of the worst test result in the last epochs; None before they are there."""
    if len(run.epochs) < last:
        return None
    worst = min(run.epochs[-last:], key=lambda epoch: (Fraction(epoch.test_correct, epoch.test_total), epoch.epoch))
    return worst.epoch, worst.test_correct, worst.test_total


def _counts(contract: Contract, fresh: Certificate | None, seed: int) -> bool:
    return contract.certainty is None or fresh is None or fresh.counts(seed)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _clauses(contract: Contract, run: Run) -> tuple[Clause, ...]:
    if not run.ended:
        return ()
    counted = counted_clauses(contract, parameters=run.parameters, macs=run.macs, epochs=run.planned)
    clauses = [_accuracy(contract, run), *counted]
    if contract.gap is not None and run.status == "finished" and run.epochs:
        widest = max(run.epochs[-contract.last_epochs :], key=_exact_gap)
        gap = _exact_gap(widest)
        text = f"in epoch {widest.epoch} train minus test was {float(gap):+.2f} points ({contract.gap} points)"
        margin = float(contract.gap.value - gap)
        clauses.append(Clause(name="gap", kept=contract.gap.allows(gap), margin=margin, text=text))
    return tuple(clauses)


def _exact_gap(epoch: Epoch) -> Fraction:
    """Points by which the train accuracy exceeds the test accuracy."""
    train, test = Fraction(epoch.train_correct, epoch.train_total), Fraction(epoch.test_correct, epoch.test_total)
    return 100 * (train - test)


def _accuracy(contract: Contract, run: Run) -> Clause:
    if run.status == "diverged":
        text = f"the loss was no longer a number in epoch {len(run.epochs)}"
        return Clause(name="accuracy", kept=False, margin=float("-inf"), text=text)
    worst = worst_of_last(run, contract.last_epochs)
    if worst is None:
        text = f"it must hold in each of the last {contract.last_epochs} epochs, and there are {len(run.epochs)}"
        return Clause(name="accuracy", kept=False, margin=float("-inf"), text=text)
    epoch, correct, total = worst
    spare = correct - contract.correct_needed(total)
    short = sum(e.test_correct < contract.correct_needed(e.test_total) for e in run.epochs[-contract.last_epochs :])
    text = f"epoch {epoch} had {correct:,} of {total:,}, " + (
        f"{-spare:,} short" if spare < 0 else f"{spare:,} to spare"
    )
    if spare < 0 and contract.last_epochs > 1:
        text += f" ({short} of the last {contract.last_epochs} epochs short)"
    return Clause(name="accuracy", kept=spare >= 0, margin=spare, text=text)


def _lower(passed: int, of: int, doubt: float) -> float:
    """The pass rate below which `passed` or more of `of` would happen with probability `doubt` at most."""
    from scipy.special import betaincinv  # 0.3 s to import: only where a verdict is asked for

    return float(betaincinv(passed, of - passed + 1, doubt)) if passed else 0.0


def _upper(passed: int, of: int, doubt: float) -> float:
    """The pass rate above which `passed` or fewer of `of` would happen with probability `doubt` at most."""
    from scipy.special import betaincinv

    return float(betaincinv(passed + 1, of - passed, 1 - doubt)) if passed < of else 1.0


def _certifies(passed: int, of: int, certainty: Certainty) -> bool:
    return _lower(passed, of, float(1 - certainty.confidence)) >= certainty.rate - _ROUNDING


def _more_clean_seeds(passed: int, of: int, certainty: Certainty) -> int | None:
    """How many further seeds, all keeping the contract, would certify; None if out of reach."""
    return fewest(lambda more: _certifies(passed + more, of + more, certainty))
