"""Goal: what a search makes small, counted before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, prod

from smallprint.spec.errors import SearchError, listing, nearest, shown
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Step, Trace

GOALS = ("parameters", "macs", "flash", "seconds")
_UNITS = {"parameters": "parameters", "macs": "multiply-adds", "flash": "bytes of flash", "seconds": "seconds"}
# How far below the start a search looks, where nobody says: by widths alone a third is left of what works at all; an
# early halving of the image saves multiply-adds that parameters do not show, and a training may also have fewer epochs.
_SPANS = {"parameters": 3.0, "macs": 8.0, "flash": 3.0, "seconds": 12.0}
# Where the time of a training goes, in multiply-adds (LOG.md: nine networks on one core, each within 13% of this).
_PASSES = 3  # forward, and two products of the same size backward: to the input and to the weights
_VALUE = 72  # what a layer leaves, there and back: normalised, pooled, written and read
_SMOOTH = 82  # more, where a smooth function is taken of it
_SMOOTH_ONES = ("silu", "gelu", "tanh")
_WEIGHED = ("conv", "depthwise", "linear")
_CHANNEL = 8  # bytes: a 32-bit bias and a 32-bit factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is made small.

    parameters: trainable values. macs: multiply-adds of one image. flash: bytes of the network in whole numbers of
    8 bits. seconds: the work of the whole training, counted in multiply-adds, divided by a rate.
    """

    name: str = field(default="parameters")  # one of GOALS
    rate: float = field(default=1.0)  # work per second; at 1 the unit is multiply-adds

    def __post_init__(self) -> None:
        if self.name not in GOALS:
            raise SearchError(
                f"no goal is called {shown(self.name)}; known: {listing(GOALS)}" + nearest(str(self.name), GOALS)
            )
        if not (isfinite(self.rate) and self.rate > 0):
            raise SearchError(f"the rate of training is above 0 multiply-adds per second, not {shown(self.rate)}")

    @property
    def unit(self) -> str:
        """What an amount counts."""
        return "multiply-adds of training" if self.name == "seconds" and self.rate == 1 else _UNITS[self.name]

    @property
    def span(self) -> float:
        """Ceiling over floor, where nobody says a floor."""
        return _SPANS[self.name]

    def amount(self, trace: Trace, recipe: Recipe, *, train: int) -> float:
        """What a network and its recipe take; `train` is the number of training images."""
        match self.name:
            case "parameters":
                return trace.parameters
            case "macs":
                return trace.macs
            case "flash":
                return sum(_flash(step) for step in trace.steps)
            case _:
                return recipe.epochs * train * sum(_work(step) for step in trace.steps) / self.rate

    def said(self, amount: float) -> str:
        """An amount with its unit: '2,866 parameters'."""
        seconds = self.name == "seconds" and self.rate != 1
        return f"{amount:,.1f} {self.unit}" if seconds else f"{amount:,.0f} {self.unit}"


def _work(step: Step) -> int:
    """What training one layer on one image takes, in multiply-adds."""
    values = prod(step.output_shape) * step.times if step.kind in _WEIGHED else 0
    smooth = prod(step.output_shape) * step.times * sum(operation.kind in _SMOOTH_ONES for operation in step.operations)
    return _PASSES * step.macs + _VALUE * values + _SMOOTH * smooth


def _flash(step: Step) -> int:
    """Bytes of one layer with weights of 8 bits.

    A channel's batch norm and bias are one bias and one factor, of 32 bits each; weights that are applied several times
    are kept once, and what follows each application once per application.
    """
    if step.kind == "operation":
        return _CHANNEL * step.output_shape[0] if any(o.kind == "batchnorm" for o in step.operations) else 0
    if step.kind not in _WEIGHED:
        return 0
    inputs, outputs = step.input_shape[0] // step.groups, step.output_shape[0]
    return step.kernel**2 * inputs * outputs + _CHANNEL * outputs * step.times
