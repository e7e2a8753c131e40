"""State: a training's numbers as flat vectors, the same for every way of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smallprint.results.runs import Arrays
from smallprint.training.native.plan import Plan

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class State:
    """What training changes. Names and places in the vectors are the plan's."""

    parameters: Floats
    running: Floats  # means and variances of batch norms
    first: Floats  # SGD's momentum, or Adam's mean of gradients; like the parameters
    second: Floats  # Adam's mean of squares; like the parameters
    average: Floats  # moving average of parameters, then of running statistics

    @staticmethod
    def of(plan: Plan) -> State:
        """All zero."""
        p, r = plan.parameters, plan.running
        sizes = {"parameters": p, "running": r, "first": p, "second": p, "average": p + r}
        return State(**{name: np.zeros(size, np.float32) for name, size in sizes.items()})

    @staticmethod
    def like(arrays: Mapping[str, NDArray[Any]], plan: Plan) -> State:
        """Copies of stored vectors.

        Raises:
            ValueError: they are not those of this plan.
        """
        blank = State.of(plan)
        for item in fields(State):
            vector = getattr(blank, item.name)
            stored = arrays[item.name]
            if stored.shape != vector.shape or stored.dtype != vector.dtype:
                raise ValueError(f"{item.name} does not fit")
            vector[:] = stored
        return blank

    @staticmethod
    def holding(weights: Arrays, plan: Plan) -> State:
        """A training that has come to these weights and running statistics, by name."""
        state = State.of(plan)
        for name, view in named(plan, state.parameters, state.running).items():
            view[...] = weights[name]
        return state

    def arrays(self) -> Arrays:
        """The vectors by name."""
        return {item.name: getattr(self, item.name) for item in fields(State)}

    def averaged(self) -> State:
        """The same with the averaged values in the place of the latest ones."""
        split = len(self.parameters)
        return State(**{**self.arrays(), "parameters": self.average[:split], "running": self.average[split:]})


def judged(plan: Plan, state: State, *, averaged: bool) -> Arrays:
    """Copies of the weights and running statistics that are judged, by name: the averaged ones, or the latest."""
    chosen = state.averaged() if averaged else state
    return {name: value.copy() for name, value in named(plan, chosen.parameters, chosen.running).items()}


def named(plan: Plan, parameters: Floats, running: Floats) -> Arrays:
    """Views of flat vectors by the module's names for them, in its shapes."""
    views: Arrays = {}
    for entry in plan.entries:
        vector = parameters if entry.trainable else running
        views[entry.name] = vector[entry.offset : entry.offset + entry.size].reshape(entry.shape)
    return views
