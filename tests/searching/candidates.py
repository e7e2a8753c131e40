"""Candidates that have shown something, without a training."""

from __future__ import annotations

from smallprint.searching.candidate import Candidate, Shown, levels
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.ladder_file import parse_ladder

LADDER = """
title = "Small"
dataset = "digits"
[contract]
accuracy = ">= 90%"
last_epochs = 5
parameters = "< 2000"
epochs = "<= 15"
[recipe]
optimiser = "sgd lr=0.05 momentum=0.9"
epochs = 15
[[rung]]
name = "start"
network = "after conv: batchnorm relu; conv3-8 conv3-8 gap conv1-10,bare"
"""
LEVELS = levels(15, 5)


def ladder() -> Ladder:
    return parse_ladder(LADDER, name="small")


def candidate(number: int, amount: float, *errors: tuple[float, ...], rung: Rung | None = None) -> Candidate:
    """A candidate that has been through a level for every group of errors."""
    shown = tuple(Shown(level=level, errors=group) for level, group in enumerate(errors))
    return Candidate(number=number, rung=rung or ladder().rungs[0], amount=amount, shown=shown)
