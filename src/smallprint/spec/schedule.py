"""The learning rate and momentum of every step, as PyTorch's schedulers mean them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, inf, pi
from typing import NamedTuple


class Rates(NamedTuple):
    """What a schedule sets for one step."""

    lr: float  # learning rate
    momentum: float  # SGD's momentum, or Adam's first beta


class Clock(NamedTuple):
    """Where training stands."""

    step: int  # steps taken so far
    steps_per_epoch: int  # count, the last partial batch included
    epochs: int  # planned

    @property
    def epoch(self) -> int:
        """Epochs completed so far."""
        return self.step // self.steps_per_epoch

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.epochs


class Watched(NamedTuple):
    """What one finished epoch measured, for a schedule that reacts to it."""

    train_loss: float
    train_accuracy: float  # 0 to 1
    test_accuracy: float  # 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The optimiser's own learning rate, from first to last."""

    def at(self, clock: Clock, base: Rates, history: Sequence[Watched]) -> Rates:
        """The base rates at every step."""
        return base


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`torch.optim.lr_scheduler.StepLR`: times `times` after every `every` epochs."""

    every: int = field(default=0, metadata={"unit": "count", "required": True})  # epochs
    times: float = field(default=0.1, metadata={"unit": "number"})  # factor

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError("step needs every=1 or more epochs")

    def at(self, clock: Clock, base: Rates, history: Sequence[Watched]) -> Rates:
        """The base learning rate times a factor for every `every` epochs completed."""
        try:
            factor = self.times ** (clock.epoch // self.every)
        except OverflowError:
            factor = inf  # the training diverges and says so
        return base._replace(lr=base.lr * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneCycle:
    """`torch.optim.lr_scheduler.OneCycleLR`, stepped per batch, cosine annealing.

    Source: L. Smith and N. Topin, "Super-convergence" (2018), arXiv 1708.07120, section 3; the two-phase form
    is PyTorch's.
    """

    peak: float = field(default=0.0, metadata={"unit": "number"})  # learning rate; 0: the optimiser's
    warmup: float = field(default=30.0, metadata={"unit": "%"})  # percent of all steps
    div: float = field(default=25.0, metadata={"unit": "number"})  # peak / first learning rate
    final_div: float = field(default=1e4, metadata={"unit": "number"})  # first / last learning rate
    low_momentum: float = field(default=0.85, metadata={"unit": "number"})  # at the peak
    high_momentum: float = field(default=0.95, metadata={"unit": "number"})  # at both ends
    steady_momentum: bool = field(default=False, metadata={"unit": "flag"})  # leave the optimiser's

    def __post_init__(self) -> None:
        if self.warmup > 100:
            raise ValueError("onecycle's warmup is at most 100%")
        if self.div == 0 or self.final_div == 0:
            raise ValueError("onecycle divides by div and final_div; neither can be 0")
        if self.low_momentum >= 1 or self.high_momentum >= 1:
            raise ValueError("onecycle's low_momentum and high_momentum are below 1")

    def at(self, clock: Clock, base: Rates, history: Sequence[Watched]) -> Rates:
        """Up to the peak in `warmup` of the steps, down to nearly nothing in the rest; momentum the other way round."""
        top = self.peak or base.lr
        first = top / self.div
        turn, end = self.warmup / 100 * clock.steps - 1, clock.steps - 1
        if clock.step <= turn:
            share = clock.step / turn if turn else 1.0
            lr, momentum = _cosine(first, top, share), _cosine(self.high_momentum, self.low_momentum, share)
        else:
            share = (clock.step - turn) / (end - turn)
            lr, momentum = (
                _cosine(top, first / self.final_div, share),
                _cosine(self.low_momentum, self.high_momentum, share),
            )
        return Rates(lr=lr, momentum=base.momentum if self.steady_momentum else momentum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine:
    """Linear warm-up, `CosineAnnealingLR` per batch, then a quiet tail at the final learning rate.

    Source: I. Loshchilov and F. Hutter, "SGDR" (2017), arXiv 1608.03983, equation 5, without restarts.
    """

    warmup: float = field(default=0.0, metadata={"unit": "%"})  # percent of all steps
    tail: float = field(default=0.0, metadata={"unit": "%"})  # percent of all steps
    final: float = field(default=0.0, metadata={"unit": "%"})  # percent of the learning rate

    def __post_init__(self) -> None:
        if self.warmup + self.tail > 100:
            raise ValueError("cosine's warmup and tail are at most 100% together")

    def at(self, clock: Clock, base: Rates, history: Sequence[Watched]) -> Rates:
        """Up in a line, down along half a cosine wave, then level."""
        warm, quiet = (round(share / 100 * clock.steps) for share in (self.warmup, self.tail))
        if clock.step < warm:
            return base._replace(lr=base.lr * (clock.step + 1) / warm)
        falling = clock.steps - warm - quiet
        share = min(1.0, (clock.step - warm) / falling) if falling > 0 else 1.0
        return base._replace(lr=_cosine(base.lr, base.lr * self.final / 100, share))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plateau:
    """`torch.optim.lr_scheduler.ReduceLROnPlateau` with a relative threshold, stepped per epoch.

    Watching the test accuracy chooses on the test set; two published recipes do it, so it can be said.
    """

    watch: str = field(default="train-loss", metadata={"unit": ("train-loss", "train-accuracy", "test-accuracy")})
    times: float = field(default=0.1, metadata={"unit": "number"})  # factor
    patience: int = field(default=10, metadata={"unit": "count"})  # epochs without a gain that are borne
    threshold: float = field(default=1e-4, metadata={"unit": "number"})  # relative gain that counts

    def __post_init__(self) -> None:
        if self.times >= 1:
            raise ValueError("plateau lowers the learning rate: times is below 1")

    def at(self, clock: Clock, base: Rates, history: Sequence[Watched]) -> Rates:
        """The base learning rate, lowered once for every plateau in the history."""
        falls = self.watch == "train-loss"
        lr, best, borne = base.lr, inf if falls else -inf, 0
        for epoch in history:
            value: float = getattr(epoch, self.watch.replace("-", "_"))
            better = value < best * (1 - self.threshold) if falls else value > best * (1 + self.threshold)
            best, borne = (value, 0) if better else (best, borne + 1)
            if borne > self.patience:
                lowered, borne = lr * self.times, 0
                lr = lowered if lr - lowered > 1e-8 else lr  # PyTorch's `eps`
        return base._replace(lr=lr)


Schedule = Constant | Step | OneCycle | Cosine | Plateau
SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "onecycle": OneCycle,
    "cosine": Cosine,
    "plateau": Plateau,
}


def _cosine(start: float, end: float, share: float) -> float:
    """Half a cosine wave from `start` (share 0) to `end` (share 1)."""
    return end + (start - end) / 2 * (1 + cos(pi * share))
