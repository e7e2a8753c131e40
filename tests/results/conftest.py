from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smallprint.results.runs import Environment, Epoch, Run, read_run, run_folder
from smallprint.results.writer import RunWriter

ENVIRONMENT = Environment(
    smallprint="0.1.0", python="3.11.7", torch="2.13.0", numpy="2.3.0", platform="Linux x86_64", device="cpu", threads=1
)
MakeRun = Callable[..., Run]


def _run(
    test: Sequence[float],
    train: Sequence[float] | None = None,
    *,
    rates: Sequence[float] | None = None,
    seed: int = 0,
    status: str = "finished",
    parameters: int = 7_864,
    macs: int = 1_045_312,
    rung: str = "small",
    identity: str = "a" * 64,
    folder: Path | None = None,
    test_total: int = 10_000,
) -> Run:
    """A run of MNIST size from its accuracies in percent, epoch by epoch."""
    train = test if train is None else train
    rates = [0.01] * len(test) if rates is None else rates
    epochs = tuple(
        Epoch(
            epoch=number, learning_rate=rate, train_loss=0.05, train_correct=round(600 * in_train), train_total=60_000,
            test_loss=0.03, test_correct=round(test_total / 100 * in_test), test_total=test_total, seconds=7.5,
        )
        for number, (in_test, in_train, rate) in enumerate(zip(test, train, rates, strict=True), start=1)
    )  # fmt: skip
    return Run(
        ladder="fable", rung=rung, seed=seed, status=status, identity=identity, data="d" * 64, parameters=parameters,
        macs=macs, planned=max(1, len(test)), environment=ENVIRONMENT, epochs=epochs, folder=folder,
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    return _run


@pytest.fixture
def stored(tmp_path: Path) -> Run:
    """A finished run in its folder."""
    run = _run([98.5, 99.1, 99.25], seed=3)
    with RunWriter(run_folder(tmp_path, "fable", "small", 3)) as writer:
        writer.begin(replace(run, status="training", epochs=()), "title = 'x'\n")
        writer.checkpoint(b"half way")
        weights = {"0.layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T}
        answers = {"predicted": np.array([1, 2]), "confidence": np.array([0.5, 1.0]), "loss": np.array([0.7, 0.0])}
        writer.finish(run, weights, answers)
    return read_run(writer.folder)
