"""NativeStep: a network's step as C written for it alone; the door of this room."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smallprint.results.runs import Precision
from smallprint.spec.recipe import Recipe
from smallprint.spec.schedule import Rates
from smallprint.training import machine
from smallprint.training.data import Dataset
from smallprint.training.draws import Draws
from smallprint.training.native.compiler import NativeError
from smallprint.training.native.engine import Engine, EpochImages
from smallprint.training.native.initial import initial_state
from smallprint.training.native.plan import Plan
from smallprint.training.native.plan import plan as planned
from smallprint.training.native.state import State
from smallprint.training.teacher import Teacher

__all__ = ["NativeError", "NativeStep"]

_TRIAL = 12  # steps with every number of threads that is tried


class NativeStep:
    """One network in training; starts from the same weights as PyTorch's step. `Step` says what its methods do.

    Without a number of threads, the first steps are timed with all cores and with one, and the faster stays:
    no result depends on it.

    Raises:
        NativeError: the step cannot be compiled here.
    """

    def __init__(
        self,
        plan: Plan,
        recipe: Recipe,
        dataset: Dataset,
        seed: int,
        *,
        threads: int | None,
        precision: Precision = "float32",
        teacher: Teacher | None = None,
    ) -> None:
        self.plan, self.recipe = plan, recipe
        self._images = np.ascontiguousarray(dataset.train_images_NCHW)
        self._labels = np.ascontiguousarray(dataset.train_labels_N, np.int64)
        assert 0 <= self._labels.min() <= self._labels.max() < plan.outputs
        self._state, self._averaged = initial_state(plan, seed), False
        batch = min(recipe.batch, len(self._labels))

        def engine(plan: Plan, precision: Precision = "float32") -> Engine:
            cores = threads or machine.cores()
            return Engine(plan, recipe, *dataset.mean_and_deviation, batch=batch, threads=cores, precision=precision)

        self._engine = engine(plan, precision)
        self._teacher: tuple[Engine, State] | None = None
        if teacher:
            taught = planned(teacher.trace)
            self._teacher = engine(taught), State.holding(teacher.weights, taught)
        self._trial: dict[int, list[float]] = {} if threads or machine.cores() == 1 else {machine.cores(): []}

    @property
    def threads(self) -> int:
        """In use by the compiled step."""
        return self._engine.threads

    def try_threads(self, threads: int) -> None:
        """Time the next steps with so many, against one; the faster stays."""
        self._trial = {threads: []} if threads > 1 else {}
        self._use_threads(threads)

    def begin(self, draws: Draws) -> None:
        """Start an epoch: its images are gathered batch by batch, in this order."""
        self._epoch = EpochImages(self._images, self._labels, draws.order, draws.changes, draws.key)
        self._loss, self._correct = 0.0, 0

    def train(self, first: int, count: int, rates: Rates, taken: int) -> None:
        """One compiled step; a teacher's answer to the same images comes first."""
        started = perf_counter()
        taught = None
        if self._teacher:
            engine, state = self._teacher
            taught = engine.answer(state, self._epoch, first, count)
        loss, correct = self._engine.train(self._state, self._epoch, first, count, rates, taken, taught)
        self._loss += loss
        self._correct += correct
        self._averaged = self.recipe.average is not None
        if self._trial:
            self._note(perf_counter() - started)

    def totals(self) -> tuple[float, int]:
        """Since `begin`: the sum of the images' losses, and how many were correct."""
        return self._loss, self._correct

    def logits(self, images_NCHW: NDArray[Any]) -> NDArray[np.float32]:
        """What the averaged weights, or else the last ones, say of images, (N, outputs)."""
        judged = self._state.averaged() if self._averaged else self._state
        return self._engine.predict(judged, np.ascontiguousarray(images_NCHW))

    def state(self) -> State:
        """All numbers of the training; a copy."""
        return State.like(self._state.arrays(), self.plan)

    def restore(self, state: State, taken: int) -> None:
        """Go on from those numbers, after `taken` steps."""
        self._state = State.like(state.arrays(), self.plan)
        self._averaged = self.recipe.average is not None and taken > 0

    def _note(self, seconds: float) -> None:
        """Take the time of a step of the trial into account."""
        times = self._trial[self.threads]
        times.append(seconds)
        if len(times) < _TRIAL:
            return
        if 1 not in self._trial:
            self._trial[1] = []
            self._use_threads(1)
            return
        fastest = min(self._trial, key=lambda threads: median(self._trial[threads]))
        self._trial = {}
        self._use_threads(fastest)

    def _use_threads(self, threads: int) -> None:
        """So many from now on; where they cannot be had, no others are tried."""
        try:
            self._engine.use_threads(threads)
            if self._teacher:
                self._teacher[0].use_threads(threads)
        except NativeError:
            self._trial = {}
