"""Step: what the trainer's loop asks of the two ways to train, and the choice between them."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from smallprint.spec.schedule import Rates
from smallprint.training.draws import Draws
from smallprint.training.native.state import State

Way = Literal["auto", "native", "pytorch"]


class Step(Protocol):
    """A network in training, one batch at a time."""

    @property
    def threads(self) -> int:
        """In use."""

    def try_threads(self, threads: int) -> None:
        """Use so many from now on, if that is faster and changes no result."""

    def begin(self, draws: Draws) -> None:
        """Start an epoch."""

    def train(self, first: int, count: int, rates: Rates, taken: int) -> None:
        """One step on the `count` images of the epoch's order from `first` on; `taken` steps came before."""

    def totals(self) -> tuple[float, int]:
        """Since `begin`: the sum of the images' losses, and how many were correct."""

    def logits(self, images_NCHW: NDArray[Any]) -> NDArray[np.float32]:
        """What the judged weights say of images, (N, outputs)."""

    def state(self) -> State:
        """All numbers of the training; a copy."""

    def restore(self, state: State, taken: int) -> None:
        """Go on from those numbers, after `taken` steps."""
