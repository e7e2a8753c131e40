"""How long a step takes here, found by taking some: on one core, or for many seeds at once on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from smallprint.results.runs import Precision
from smallprint.spec.recipe import CrossEntropy, Distilled, Recipe
from smallprint.spec.trace import Trace
from smallprint.training.data import Dataset
from smallprint.training.trainer import Trainer

_STEPS = 8  # of an epoch that is timed, where there are images for so many
_ROUNDS = 5  # epochs on the processor, of which the fastest counts: what else runs there only adds


def step_alone(trace: Trace, recipe: Recipe, dataset: Dataset, precision: Precision = "float32") -> float:
    """Seconds of a step on one core."""
    plain = _plain(recipe, epochs=1 + _ROUNDS)
    few, steps = _few(dataset, recipe)
    _ready, *timed = Trainer(trace, plain, few, seed=0, threads=1, precision=precision)
    return min(epoch.seconds for epoch in timed) / steps


def step_together(
    trace: Trace, recipes: Sequence[Recipe], dataset: Dataset, device: str, precision: Precision = "float32"
) -> float:
    """Seconds of a step for as many seeds at once as there are recipes."""
    from smallprint.training.stack import Stack

    few, steps = _few(dataset, recipes[0])
    plain = [_plain(recipe, epochs=2) for recipe in recipes]
    stack = Stack(trace, plain, few, range(len(recipes)), device=device, precision=precision)
    epochs = iter(stack)
    next(epochs)
    started = perf_counter()
    next(epochs)
    return (perf_counter() - started) / steps


def _few(dataset: Dataset, recipe: Recipe) -> tuple[Dataset, int]:
    """Images of a few whole batches, and a single one to test; and how many batches."""
    images = len(dataset.train_labels_N)
    batch = min(recipe.batch, images)
    steps = min(_STEPS, images // batch)
    few = replace(
        dataset,
        train_images_NCHW=dataset.train_images_NCHW[: batch * steps],
        train_labels_N=dataset.train_labels_N[: batch * steps],
        test_images_NCHW=dataset.test_images_NCHW[:1],
        test_labels_N=dataset.test_labels_N[:1],
    )
    return few, steps


def _plain(recipe: Recipe, *, epochs: int) -> Recipe:
    """The same steps for so many epochs, without a teacher."""
    loss = CrossEntropy(smoothing=recipe.loss.smoothing) if isinstance(recipe.loss, Distilled) else recipe.loss
    return replace(recipe, loss=loss, epochs=epochs)
