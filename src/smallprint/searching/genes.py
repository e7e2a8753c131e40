"""Genes: what is asked of a trial of Optuna, and what it answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

Gene = str | int | float
Answer = TypeVar("Answer", str, int, float)


class Trial(Protocol):
    """What a space needs of a trial; `optuna.trial.Trial` has it."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any: ...  # noqa: ANN401
    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int: ...
    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float: ...


class Asked:
    """A trial, and the genes that it was asked for."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.genes: dict[str, Gene] = {}  # name -> answer, in the order of the questions

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of several words."""
        return self._kept(name, str(self._trial.suggest_categorical(name, choices)))

    def number(self, name: str, choices: Sequence[int]) -> int:
        """One of several numbers between which there is nothing."""
        return self._kept(name, int(self._trial.suggest_categorical(name, choices)))

    def whole(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """A whole number from `low` to `high`, both included."""
        return self._kept(name, self._trial.suggest_int(name, low, high, step=step))

    def even(self, name: str, low: float, high: float) -> float:
        """A number from `low` to `high`, even on a line."""
        return self._kept(name, self._trial.suggest_float(name, low, high))

    def log_even(self, name: str, low: float, high: float) -> float:
        """A number from `low` to `high`, even on a scale of ratios."""
        return self._kept(name, self._trial.suggest_float(name, low, high, log=True))

    def _kept(self, name: str, answer: Answer) -> Answer:
        self.genes[name] = answer
        return answer
