"""Plausible runs that nobody trained: smooth curves towards a level, a little noise, reproducible."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from smallprint.results.runs import Arrays, Environment, Epoch, Run
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.ladder_file import read_ladder
from smallprint.views.gallery import Pictures

ENVIRONMENT = Environment(
    smallprint="0.1", python="3.11", torch="2.6", numpy="2.0", platform="Linux x86_64", device="cpu", threads=2
)


def fabricate_run(
    ladder: Ladder, rung: Rung, seed: int, *, level: float = 99.41, status: str = "finished", epochs: int | None = None
) -> Run:
    """A run of `rung` whose test accuracy comes to rest near `level` percent."""
    random = np.random.default_rng([seed, len(rung.name), round(100 * level)])
    planned, done = rung.recipe.epochs, rung.recipe.epochs if epochs is None else epochs
    rows = []
    for number in range(1, done + 1):
        rest = 6 * math.exp(-number / 1.6)
        test = level - rest + random.normal(0, 0.03)
        train = level - 0.35 - 1.5 * rest + random.normal(0, 0.02)
        lost = status == "diverged" and number == done
        rows.append(
            Epoch(
                epoch=number,
                learning_rate=0.01 if number < 7 else 0.001,
                train_loss=math.nan if lost else 0.02 + rest / 20,
                train_correct=round(600 * train),
                train_total=60_000,
                test_loss=math.nan if lost else 0.018 + rest / 30 + abs(random.normal(0, 0.0008)),
                test_correct=980 if lost else round(100 * test),
                test_total=10_000,
                seconds=4.0 + 0.1 * seed,
            )
        )
    trace = ladder.trace(rung)
    return Run(
        ladder=ladder.name, rung=rung.name, seed=seed, status=status, identity=ladder.identity(rung), data="0" * 64,
        parameters=trace.parameters, macs=trace.macs, planned=planned, environment=ENVIRONMENT, epochs=tuple(rows),
    )  # fmt: skip


def keep_answers(run: Run, pictures: Pictures, folder: Path, *, wrong: int) -> Run:
    """The run with a folder that keeps answers, `wrong` of them mistaken."""
    random = np.random.default_rng(run.seed)
    total, classes = len(pictures.labels_N), len(pictures.class_names)
    predicted, confidence, loss = pictures.labels_N.copy(), np.full(total, 0.999), np.full(total, 0.001)
    mistaken = random.choice(total, size=wrong, replace=False)
    predicted[mistaken] = (predicted[mistaken] + random.integers(1, min(4, classes), size=wrong)) % classes
    confidence[mistaken] = random.uniform(0.4, 1.0, size=wrong)
    loss[mistaken] = -np.log(1.0001 - confidence[mistaken])
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {
        "predicted": predicted,
        "confidence": confidence.astype(np.float32),
        "loss": loss.astype(np.float32),
    }
    save_file(arrays, folder / "answers.safetensors")
    return replace(run, folder=folder)


@pytest.fixture
def ladder() -> Ladder:
    return read_ladder("progressive")


@pytest.fixture
def pictures() -> Pictures:
    random = np.random.default_rng(0)
    return Pictures(
        images_NCHW=random.integers(0, 256, size=(200, 1, 28, 28), dtype=np.uint8),
        labels_N=np.arange(200, dtype=np.int64) % 10,
        class_names=tuple("0123456789"),
    )


@pytest.fixture
def fabricate() -> Callable[..., Run]:
    return fabricate_run


@pytest.fixture
def answer() -> Callable[..., Run]:
    return keep_answers
