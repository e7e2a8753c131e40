"""Margin: what held-out images must show, so that the test images will keep the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean, variance

from smallprint.results.runs import Run
from smallprint.results.verdict import worst_of_last
from smallprint.spec.contract import Certainty, Contract

# Two networks err on much the same images: from seed to seed a result moves less than if every image were a coin of its
# own. Over the fourteen rungs in records/ whose worst of the last five epochs is above 99.3% it was 0.61 of that at
# 99.4%, pooled over 374 further seeds; of the twelve rungs with ten seeds and more, 0.42 to 0.79.
_OF_BINOMIAL = 0.6
_PRIOR = 2  # seeds, and rungs, that the assumed noise counts for: a lucky pair is not taken for silence
_NEAR = 2.0  # runs that err at most so many times as often as the contract allows tell of the noise there


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """What held-out images must show, so that the test images will keep the contract.

    The statistic is always the worst of the last epochs, as a share of the images that are right, 0 to 1.
    """

    promised: float  # of the test images
    offset: float  # test minus held-out, of one rung; what is tested has also learnt from what was held out
    offset_noise: float  # standard deviation from rung to rung, about that
    noise: float  # standard deviation from seed to seed
    rate: float  # share of seeds that are to keep the contract
    rungs: int  # that the offset was measured with
    seeds: int  # that the noise was measured with, beyond the first of each rung

    @property
    def guessed(self) -> bool:
        """Whether the offset is a guess: no rung has been judged by both yet."""
        return not self.rungs

    @property
    def line(self) -> float:
        """The promise as held-out images show it."""
        return min(1.0, self.promised - self.offset)

    @property
    def needed(self) -> float:
        """What the mean over seeds must reach on held-out images, so that half as many seeds fail as may."""
        spread = sqrt(self.noise**2 + self.offset_noise**2)
        return min(1.0, self.line + NormalDist().inv_cdf((1 + self.rate) / 2) * spread)

    @property
    def text(self) -> str:
        """How it was found, in a sentence."""
        related = (
            f"test minus held-out was {100 * self.offset:+.2f} points over {_counted(self.rungs, 'rung')}"
            if self.rungs
            else "taken as equal, as no rung has been judged by both yet"
        )
        measured = f"over {_counted(self.seeds, 'further seed')}" if self.seeds else "assumed"
        return (
            f"{100 * self.needed:.2f}% of the held-out images for {100 * self.promised:.2f}% of the test images: "
            f"{related}, give or take {100 * self.offset_noise:.2f}; "
            f"seeds differ by {100 * self.noise:.2f} points ({measured})"
        )


def margin(
    contract: Contract, tested: Mapping[str, Sequence[Run]], held_out: Mapping[str, Sequence[Run]], images: int
) -> Margin:
    """Learn from runs of the same rungs, by name, on the test images and on `images` held-out ones.

    The model is a normal one: a rung's result on the test images is that on the held-out ones plus an offset, which
    varies from rung to rung, plus noise, which varies from seed to seed. Both are pooled with what is assumed before
    anything is measured: 0.6 times the noise of so many images judged one by one.
    """
    certainty = contract.certainty or Certainty()
    promised = contract.correct_needed(images) / images
    assumed = _OF_BINOMIAL * sqrt(max(promised * (1 - promised), 1 / images) / images)
    on_test = {name: _worst(runs, contract.last_epochs) for name, runs in tested.items()}
    on_held_out = {name: _worst(runs, contract.last_epochs) for name, runs in held_out.items()}
    offsets = [fmean(on_test[name]) - fmean(held) for name, held in on_held_out.items() if held and on_test.get(name)]
    near = 1 - _NEAR * (1 - promised)
    groups = [group for group in (*on_test.values(), *on_held_out.values()) if len(group) > 1 and fmean(group) >= near]
    seeds = sum(len(group) - 1 for group in groups)
    of_seeds = sum(variance(group) * (len(group) - 1) for group in groups)
    offset = fmean(offsets) if offsets else 0.0
    of_rungs = sum((one - offset) ** 2 for one in offsets)
    return Margin(
        promised=promised,
        offset=offset,
        # One more rung has an offset of its own, and the mean of the others is known only so well.
        offset_noise=_pooled(of_rungs, max(0, len(offsets) - 1), assumed) * sqrt(1 + 1 / max(1, len(offsets))),
        noise=_pooled(of_seeds, seeds, assumed),
        rate=float(certainty.rate),
        rungs=len(offsets),
        seeds=seeds,
    )


def telling(contract: Contract, tested: Mapping[str, Sequence[Run]]) -> list[str]:
    """The rungs, by name, that have been near the promise over two seeds or more; the nearest first."""
    promised = float(contract.accuracy.value) / 100
    results = {name: _worst(runs, contract.last_epochs) for name, runs in tested.items()}
    short = {name: promised - fmean(group) for name, group in results.items() if len(group) > 1}
    return sorted((name for name in short if short[name] <= (_NEAR - 1) * (1 - promised)), key=lambda n: abs(short[n]))


def _pooled(squares: float, freedom: int, assumed: float) -> float:
    """A standard deviation from a sum of squares with so many degrees of freedom, and from what is assumed of it."""
    return sqrt((_PRIOR * assumed**2 + squares) / (_PRIOR + freedom))


def _worst(runs: Iterable[Run], last: int) -> list[float]:
    found = (worst_of_last(run, last) for run in runs if run.status == "finished")
    return [worst[1] / worst[2] for worst in found if worst]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
