from __future__ import annotations

import pytest

from smallprint.spec.errors import NotationError
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Trace, trace
from smallprint.training.teacher import Teacher, check_teacher

PLAIN = Recipe.parse({"optimiser": "adam lr=0.01"})
DISTILLED = Recipe.parse({"optimiser": "adam lr=0.01", "loss": "distilled wide"})


def _traced(outputs: int) -> Trace:
    return trace(Network.parse(f"conv3-4 gap conv1-{outputs}"), (1, 8, 8))


def test_a_teacher_must_be_there_be_wanted_and_fit() -> None:
    teacher = Teacher(trace=_traced(12), weights={})
    check_teacher(_traced(10), PLAIN, None)
    check_teacher(_traced(12), DISTILLED, teacher)
    with pytest.raises(NotationError, match="distilled from 'wide': say what that is with teacher="):
        check_teacher(_traced(12), DISTILLED, None)
    with pytest.raises(NotationError, match="but the loss does not ask for one"):
        check_teacher(_traced(12), PLAIN, teacher)
    with pytest.raises(NotationError, match="answers with 12 values, the network with 10"):
        check_teacher(_traced(10), DISTILLED, teacher)
