"""Diagnosis: named findings, each with its evidence and what to try next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression, stdev

from smallprint.results.runs import Epoch, Run
from smallprint.results.verdict import Verdict
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.trace import Trace

# Thresholds are shares of the error that the contract allows (0.6 points for 99.4%), so that they
# mean the same for an easy data set as for a hard one.
_GAP = 0.25  # a train/test gap that matters
_BELOW = 0.5  # train this far below test: something makes training harder than it need be
_NOISE = 0.06  # standard deviation of the last epochs that costs margin
_FLAT = 0.02  # rise of the train accuracy per epoch that is no rise
_RISE = 0.10  # rise of the test accuracy over the last epochs that would have gone on
_LARGE_RATE = 0.2  # share of the highest learning rate that is still large at the end
_BEGUN = 0.25  # of the way from chance to the promise: below it hardly anything is learnt
_MOST = 0.5  # share of all parameters that is too much for one layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that holds a rung back, or lets it go further."""

    name: str
    evidence: str  # the numbers it rests on
    advice: str  # the next thing to try


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What the findings look at."""

    rung: Rung
    trace: Trace
    verdict: Verdict
    runs: tuple[Run, ...]  # finished, never empty
    promise: float  # percent
    last: int  # epochs that the promise covers
    chance: float  # percent that guessing gets right, were all classes as frequent

    @property
    def allowed(self) -> float:
        """Points of error that the contract allows; at least a tenth, so that shares of it mean something."""
        return max(0.1, 100 - self.promise)

    @property
    def last_epochs(self) -> str:
        """The last epochs in words."""
        return "the last epoch" if self.last == 1 else f"the last {self.last} epochs"

    @property
    def window(self) -> list[Epoch]:
        """The last epochs of all runs."""
        return [epoch for run in self.runs for epoch in run.epochs[-self.last :]]

    @property
    def train(self) -> float:
        """Mean train accuracy of the last epochs, in percent."""
        return 100 * fmean(epoch.train_accuracy for epoch in self.window)

    @property
    def test(self) -> float:
        """Mean test accuracy of the last epochs, in percent."""
        return 100 * fmean(epoch.test_accuracy for epoch in self.window)

    @property
    def kept(self) -> bool:
        return self.verdict.passed == self.verdict.of

    @property
    def learned(self) -> bool:
        """Whether every seed reached the accuracy and the gap that are promised, whatever the size."""
        clauses = [clause for seed in self.verdict.seeds for clause in seed.clauses]
        return all(clause.kept for clause in clauses if clause.name in ("accuracy", "gap"))

    @property
    def wider(self) -> str:
        """How the network can have more to learn with."""
        if any(clause.name != "epochs" for clause in self.verdict.excess):
            return "narrow the largest layer and widen those on small maps"
        return "widen the layers after the first pooling"

    def slope(self, value: Callable[[Epoch], float]) -> float:
        """Points per epoch over the last epochs, mean over runs."""
        slopes = []
        for run in self.runs:
            window = run.epochs[-max(self.last, 3) :]
            if len(window) > 1:
                slopes.append(linear_regression([e.epoch for e in window], [100 * value(e) for e in window]).slope)
        return fmean(slopes) if slopes else 0.0

    @property
    def noise(self) -> float:
        """Standard deviation of the test accuracy about its line over the last epochs, in points."""
        deviations = []
        for run in self.runs:
            window = run.epochs[-max(self.last, 3) :]
            if len(window) > 2:
                xs, ys = [float(e.epoch) for e in window], [100 * e.test_accuracy for e in window]
                line = linear_regression(xs, ys)
                deviations.append(stdev(y - line.slope * x - line.intercept for x, y in zip(xs, ys, strict=True)))
        return fmean(deviations) if deviations else 0.0

    @property
    def final_rate(self) -> float:
        """The last learning rate as a share of the highest."""
        run = self.runs[0]
        return run.epochs[-1].learning_rate / (max(epoch.learning_rate for epoch in run.epochs) or 1.0)


def diagnose(ladder: Ladder, rung: Rung, verdict: Verdict, runs: Sequence[Run]) -> tuple[Finding, ...]:
    """What the runs of a rung say about why it keeps or breaks the contract, most pressing first."""
    findings = list(_diverged(runs))
    finished = tuple(run for run in runs if run.status == "finished" and run.epochs)
    if finished:
        case = _Case(
            rung=rung, trace=ladder.trace(rung), verdict=verdict, runs=finished,
            promise=float(verdict.contract.accuracy.value), last=verdict.contract.last_epochs,
            chance=100 / len(ladder.facts.classes),
        )  # fmt: skip
        findings += [finding for look in _LOOKS for finding in look(case)]
    return tuple(findings)


def _diverged(runs: Sequence[Run]) -> Iterator[Finding]:
    for run in runs:
        if run.status == "diverged":
            rate = run.epochs[-1].learning_rate if run.epochs else 0.0
            yield Finding(
                name="diverged",
                evidence=(
                    f"seed {run.seed}: the loss was no longer a number in epoch {len(run.epochs)}, "
                    f"at learning rate {rate:g}"
                ),
                advice=f"lower the learning rate to {rate / 5:g}, warm it up, or put batchnorm after the convolutions",
            )


def _excess(case: _Case) -> Iterator[Finding]:
    advice = {
        "parameters": "narrow the layers that hold most of them",
        "macs": "pool earlier, or narrow what works on the large maps",
        "epochs": "train for fewer, with a schedule that ends with them",
    }
    if broken := case.verdict.excess:
        yield Finding(
            name="more than the contract allows",
            evidence="; ".join(f"{clause.name}: {clause.text}" for clause in broken),
            advice="; ".join(advice[clause.name] for clause in broken) + "; until then no seed can keep the contract",
        )


def _receptive_field(case: _Case) -> Iterator[Finding]:
    side = max(case.trace.input_shape[1:])
    if case.trace.receptive_field < side:
        yield Finding(
            name="receptive field smaller than the image",
            evidence=f"an output sees {case.trace.receptive_field} of {side} pixels along a side",
            advice="pool once more, add a 3x3 convolution, or use a larger kernel",
        )


def _top_heavy(case: _Case) -> Iterator[Finding]:
    weighted = [step for step in case.trace.steps if step.macs]
    largest = max(case.trace.steps, key=lambda step: step.parameters)
    share = largest.parameters / max(1, case.trace.parameters)
    if len(weighted) >= 3 and share > _MOST:
        yield Finding(
            name="most of the parameters in one layer",
            evidence=(
                f"{largest.text} holds {largest.parameters:,} of {case.trace.parameters:,} parameters ({share:.0%})"
            ),
            advice="narrow what goes into it, put a 1x1 convolution before it, or end with gap",
        )


def _fit(case: _Case) -> Iterator[Finding]:
    """Too small, too strongly regularised, learned by heart, or not learned at all: at most one of them."""
    if case.learned:
        return
    gap = case.train - case.test
    missing = case.promise - case.train
    numbers = f"train {case.train:.2f}%, test {case.test:.2f}% over {case.last_epochs}; promised {case.promise:g}%"
    rise = case.slope(lambda epoch: epoch.train_accuracy)
    held_back = bool(case.rung.recipe.augment) or any(
        operation.kind.startswith("dropout") for step in case.trace.steps for operation in step.operations
    )
    if case.train < case.chance + _BEGUN * (case.promise - case.chance):
        yield Finding(
            name="has hardly begun to learn",
            evidence=f"{numbers}; guessing gets {case.chance:.3g}% right",
            advice="raise the learning rate tenfold, put batchnorm after the convolutions, then train longer",
        )
    elif gap > max(_GAP * case.allowed, missing):
        yield Finding(
            name="over-fits",
            evidence=f"{numbers}; gap {gap:+.2f} points",
            advice=(
                "turn and shift the training images more, or add a little dropout"
                if case.rung.recipe.augment
                else "turn and shift the training images a little, or add a little dropout"
            ),
        )
    elif -gap > _BELOW * case.allowed and held_back and missing > 0:
        yield Finding(
            name="dropout or augmentation too strong for the size",
            evidence=f"{numbers}; train is {-gap:.2f} points below test",
            advice="halve the dropout first, then the augmentation; a small network needs little of either",
        )
    elif missing > 0 and rise < _FLAT * case.allowed:
        yield Finding(
            name="capacity reached",
            evidence=f"{numbers}; train rises by {rise:.3f} points per epoch",
            advice=f"{case.wider}, or add one; more epochs of this will not help",
        )
    elif missing > 0:
        yield Finding(
            name="under-fits",
            evidence=f"{numbers}; train still rises by {rise:.3f} points per epoch",
            advice=f"raise the learning rate or use onecycle; normalise if it does not yet; then {case.wider}",
        )


def _still_improving(case: _Case) -> Iterator[Finding]:
    epochs = max(case.last, 3) - 1
    rise = epochs * case.slope(lambda epoch: epoch.test_accuracy)
    if not case.learned and rise > _RISE * case.allowed and rise > 2 * case.noise:
        yield Finding(
            name="still improving when it stopped",
            evidence=(
                f"test accuracy rose by {rise:.2f} points over the last {epochs + 1} epochs, noise {case.noise:.3f}"
            ),
            advice=(
                "train longer if the contract allows, or reach the same point sooner: "
                "a higher learning rate that ends low"
            ),
        )


def _noisy_end(case: _Case) -> Iterator[Finding]:
    if case.learned or case.final_rate <= _LARGE_RATE:
        return
    margin = case.test - case.promise
    if case.noise > _NOISE * case.allowed or (margin >= 0 and case.noise > margin / 2):
        yield Finding(
            name="learning rate too high at the end",
            evidence=(
                f"the last {max(case.last, 3)} epochs move by {case.noise:.3f} points (standard deviation) "
                f"about {case.test:.2f}%, {margin:+.2f} from the promise; "
                f"the learning rate ends at {case.runs[0].epochs[-1].learning_rate:g}"
            ),
            advice=(
                'let it end low: schedule = "step every=6 times=0.1", onecycle, or cosine with a tail; '
                'or average = "ema 0.998"'
            ),
        )


def _unlucky_window(case: _Case) -> Iterator[Finding]:
    """Seeds whose end is good enough, but not all of the promised epochs: too early for the quiet end, or anywhere."""
    needed = case.verdict.contract.correct_needed
    short = {  # by seed: which of the last epochs
        run.seed: [n for n, e in enumerate(run.epochs[-case.last :]) if e.test_correct < needed(e.test_total)]
        for run in case.runs
    }
    missed = {seed: places for seed, places in short.items() if places}
    if not missed or case.test < case.promise or case.final_rate > _LARGE_RATE:
        return
    above = f"the mean of {case.last_epochs} is {case.test:.3f}%, above the promise, yet "
    if all(places == [*range(len(places))] and len(places) <= case.last // 2 for places in missed.values()):
        yield Finding(
            name="quiet only behind the first promised epochs",
            evidence=above
            + "; ".join(f"seed {seed} fell short in {_the_first(len(places))}" for seed, places in missed.items())
            + " and in none behind",
            advice=(
                "try a longer tail, and clean epochs that begin with it: it quiets those epochs too, and leaves less "
                "time to learn; or gain a little mean accuracy"
            ),
        )
        return
    yield Finding(
        name="good seeds but an unlucky window",
        evidence=above
        + "; ".join(f"seed {seed} fell short in {len(places)} of them" for seed, places in missed.items()),
        advice=(
            "gain a little mean accuracy or quiet the end (a lower last learning rate, an average); "
            "more seeds will not change the rate"
        ),
    )


def _the_first(count: int) -> str:
    return "the first of them" if count == 1 else f"the first {count} of them"


def _room_to_shrink(case: _Case) -> Iterator[Finding]:
    if not case.kept or not case.verdict.of:
        return
    counted = [seed for seed in case.verdict.seeds if case.verdict.counts(seed)]
    spare = min(clause.margin for seed in counted for clause in seed.clauses if clause.name == "accuracy")
    yield Finding(
        name="room to shrink" if spare > 0 else "kept by a hair",
        evidence=(
            f"the worst of {case.last_epochs} over all seeds has "
            f"{spare:,.0f} test image{'' if spare == 1 else 's'} to spare"
        ),
        advice=("narrow a layer or drop one, and climb again" if spare > 0 else "run more seeds before building on it"),
    )


_LOOKS = (
    _excess,
    _fit,
    _still_improving,
    _noisy_end,
    _unlucky_window,
    _receptive_field,
    _top_heavy,
    _room_to_shrink,
)
