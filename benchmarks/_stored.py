"""Runs that nobody trained, written as trained ones are, to measure what reading many of them costs."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from smallprint.results.runs import Environment, Epoch, Run, run_folder
from smallprint.results.writer import RunWriter
from smallprint.spec.ladder import Ladder

_TRAIN, _TEST = 60_000, 10_000  # images
_NOWHERE = Environment(
    smallprint="0", python="3", torch="2", numpy="2", platform="nowhere", device="cpu", threads=1, way="native"
)


class Shelf:
    """Finished runs of a ladder, dealt to its rungs in turn; any number of the first of them as a folder of runs.

    Each is written once, by RunWriter, with every file that a finished run has but its tensors. The folders link to
    it. All is gone when the process ends.
    """

    def __init__(self, ladder: Ladder, data: str) -> None:
        self._ladder, self._data = ladder, data
        self._root = Path(tempfile.mkdtemp(prefix="smallprint-stored-"))
        self._written = 0
        atexit.register(shutil.rmtree, self._root, ignore_errors=True)

    def first(self, count: int, stack: ExitStack) -> Path:
        """A folder of so many runs; gone when the stack is closed."""
        for number in range(self._written, count):
            self._write(number)
        self._written = max(self._written, count)
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smallprint-runs-")))
        for number in range(count):
            shutil.copytree(self._place(self._root, number), self._place(root, number), copy_function=os.link)
        return root

    def _place(self, root: Path, number: int) -> Path:
        rungs = self._ladder.rungs
        return run_folder(root, self._ladder.name, rungs[number % len(rungs)].name, number // len(rungs))

    def _write(self, number: int) -> None:
        ladder, rungs = self._ladder, self._ladder.rungs
        rung, seed = rungs[number % len(rungs)], number // len(rungs)
        trace = ladder.trace(rung)
        run = Run(
            ladder=ladder.name, rung=rung.name, seed=seed, status="finished", identity=ladder.identity(rung),
            data=self._data, parameters=trace.parameters, macs=trace.macs, planned=rung.recipe.epochs,
            environment=_NOWHERE, epochs=_epochs(rung.recipe.epochs, seed),
        )  # fmt: skip
        with RunWriter(self._place(self._root, number)) as writer:
            writer.begin(run, ladder.only(rung))


def _epochs(count: int, seed: int) -> tuple[Epoch, ...]:
    """A curve as they are: better from epoch to epoch, and a little different for every seed."""
    chance = np.random.default_rng(seed)
    errors = 0.006 + 0.02 / np.arange(1, count + 1) + 0.001 * chance.standard_normal((2, count)).clip(-3, 3)
    return tuple(
        Epoch(
            epoch=index + 1,
            learning_rate=0.01,
            train_loss=float(4 * train),
            train_correct=round(_TRAIN * (1 - train)),
            train_total=_TRAIN,
            test_loss=float(4 * test),
            test_correct=round(_TEST * (1 - test)),
            test_total=_TEST,
            seconds=8.0,
        )
        for index, (train, test) in enumerate(errors.T)
    )
