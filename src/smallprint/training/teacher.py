"""Teacher: a trained network that another one learns from."""

from __future__ import annotations

from dataclasses import dataclass

from smallprint.results.runs import Arrays
from smallprint.spec.errors import NotationError
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """What it is, and its judged weights and running statistics as `Trainer.weights` gives them."""

    trace: Trace
    weights: Arrays


def check_teacher(trace: Trace, recipe: Recipe, teacher: Teacher | None) -> None:
    """Make sure that a recipe has the teacher that it asks for.

    Raises:
        NotationError: there is none, or one that nobody asked for, or one that answers with other outputs.
    """
    if recipe.teacher and not teacher:
        raise NotationError(f"the loss is distilled from {recipe.teacher!r}: say what that is with teacher=")
    if teacher and not recipe.teacher:
        raise NotationError('there is a teacher, but the loss does not ask for one; as in: loss = "distilled NAME"')
    if teacher and teacher.trace.outputs != trace.outputs:
        answers = f"{teacher.trace.outputs} values, the network with {trace.outputs}"
        raise NotationError(f"the teacher answers with {answers}; both need the same number")
