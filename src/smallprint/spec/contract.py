"""Contract: the promise, clause by clause, and its sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from fractions import Fraction
from typing import ClassVar

from smallprint.spec.errors import NotationError, listing, nearest, shown
from smallprint.spec.notation import LARGEST

_BOUND = re.compile(r"\s*(>=|<=|>|<)\s*([0-9][0-9,_]*(?:\.[0-9]+)?)\s*(%|points?)?\s*")
_CERTAINTY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)% of seeds,\s*([0-9]+(?:\.[0-9]+)?)% confidence\s*")
_AMENDMENT = re.compile(r"([a-z_]+)\s*(=|>=|<=|>|<)\s*(.+)", re.DOTALL)
_EXACT = Context(prec=60)  # digits; a clause is shorter than that


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A limit that a number stays within, kept exactly."""

    relation: str  # >=, >, <=, <
    value: Fraction  # in the clause's own unit

    def allows(self, number: Fraction | int) -> bool:
        """Whether `number` is on the right side of the limit."""
        return {
            ">=": number >= self.value,
            ">": number > self.value,
            "<=": number <= self.value,
            "<": number < self.value,
        }[self.relation]

    def nearest_whole(self) -> int:
        """The last whole number that is allowed: 7,999 for "< 8000"."""
        floor = self.value.numerator // self.value.denominator
        exact = floor == self.value
        return {
            ">=": floor if exact else floor + 1,
            ">": floor + 1,
            "<=": floor,
            "<": floor - 1 if exact else floor,
        }[self.relation]

    def __str__(self) -> str:
        return f"{self.relation} {_decimal(self.value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """How sure we want to be that the promise holds for the next seed."""

    rate: Fraction = field(default=Fraction(95, 100))  # share of seeds that keep the contract
    confidence: Fraction = field(default=Fraction(95, 100))  # of the one-sided bound on that share

    def __str__(self) -> str:
        return f"{_decimal(self.rate * 100)}% of seeds, {_decimal(self.confidence * 100)}% confidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The promise that a network makes: what it reaches, how small it stays, how fast it learns."""

    accuracy: Bound  # percent of the test images, in each of the last epochs
    last_epochs: int = field(default=5)  # count
    parameters: Bound | None = field(default=None)  # trainable values
    epochs: Bound | None = field(default=None)  # count
    macs: Bound | None = field(default=None)  # multiply-adds of one image
    gap: Bound | None = field(default=None)  # points by which train accuracy may exceed test accuracy
    certainty: Certainty | None = field(default=None)

    KEYS: ClassVar[tuple[str, ...]] = ("accuracy", "last_epochs", "parameters", "epochs", "macs", "gap", "certainty")

    @staticmethod
    def parse(said: Mapping[str, object]) -> Contract:
        """Read a contract from its clauses.

        Raises:
            NotationError: the first fault; `Contract.faults` gives all.
        """
        for _, fault in Contract.faults(said):
            raise fault
        return Contract(**{key: _READERS[key](value) for key, value in said.items()})  # type: ignore[arg-type]

    @staticmethod
    def faults(said: Mapping[str, object]) -> list[tuple[str, NotationError]]:
        """Every fault of a contract, with the clause it belongs to."""
        found: list[tuple[str, NotationError]] = []
        read: dict[str, object] = {}
        for key, value in said.items():
            try:
                if key not in _READERS:
                    raise NotationError(
                        f"no clause is called {key!r}; known: {listing(Contract.KEYS)}" + nearest(key, Contract.KEYS)
                    )
                read[key] = _READERS[key](value)
            except NotationError as fault:
                found.append((key, fault))
        if "accuracy" not in said:
            found.append(("", NotationError('a contract needs an accuracy, such as: accuracy = ">= 99.4%"')))
        epochs, last = read.get("epochs"), read.get("last_epochs", 5)
        if isinstance(epochs, Bound) and isinstance(last, int) and not epochs.allows(last):
            found.append(("last_epochs", NotationError(
                f"nobody can keep this: the last {last} epochs do not fit into epochs {epochs}"
            )))  # fmt: skip
        return found

    def amend(self, text: str) -> Contract:
        """The contract with other clauses: `accuracy >= 99.3%, last_epochs = 3`.

        Raises:
            NotationError: a clause that does not read.
        """
        said: dict[str, object] = dict(self.clauses())
        for clause in re.split(r",(?!\s*[0-9])", text):
            found = _AMENDMENT.fullmatch(clause.strip())
            if not found:
                raise NotationError(
                    f"a clause reads 'accuracy >= 99.3%' or 'last_epochs = 3', not {shown(clause.strip())}"
                )
            key, relation, value = found.groups()
            said[key] = (
                f"{relation} {value}"
                if relation != "="
                else int(value)
                if value.isdecimal() and len(value) < 7
                else value
            )
        return Contract.parse(said)

    def clauses(self) -> dict[str, str | int]:
        """Every clause as it is written; `Contract.parse(contract.clauses()) == contract`."""
        said: dict[str, str | int] = {"accuracy": f"{self.accuracy}%", "last_epochs": self.last_epochs}
        for name in ("parameters", "epochs", "macs"):
            if (bound := getattr(self, name)) is not None:
                said[name] = str(bound)
        if self.gap is not None:
            said["gap"] = f"{self.gap} points"
        if self.certainty is not None:
            said["certainty"] = str(self.certainty)
        return said

    def correct_needed(self, total: int) -> int:
        """How many of `total` test images must be right: 9,940 of 10,000 for 99.4%."""
        return replace(self.accuracy, value=self.accuracy.value / 100 * total).nearest_whole()

    def __str__(self) -> str:
        """The promise as a sentence."""
        over = "at least" if self.accuracy.relation == ">=" else "more than"
        epochs = "the last epoch" if self.last_epochs == 1 else f"each of the last {self.last_epochs} epochs"
        parts = [f"{over} {_decimal(self.accuracy.value)}% test accuracy in {epochs}"]
        parts += [_limit(self.parameters, "parameters")] if self.parameters else []
        parts += [_limit(self.epochs, "epochs")] if self.epochs else []
        parts += [_limit(self.macs, "multiply-adds")] if self.macs else []
        if self.gap:
            most = "at most" if self.gap.relation == "<=" else "less than"
            parts.append(f"train {most} {_decimal(self.gap.value)} points above test")
        parts += [f"for {self.certainty}"] if self.certainty else []
        return ", ".join(parts)


def _limit(bound: Bound, what: str) -> str:
    amount = f"{int(bound.value):,}" if bound.value.denominator == 1 else _decimal(bound.value)
    return f"{'at most' if bound.relation == '<=' else 'fewer than'} {amount} {what}"


def _decimal(value: Fraction) -> str:
    """An exact decimal: every value was read from one."""
    text = f"{_EXACT.divide(Decimal(value.numerator), Decimal(value.denominator)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _bound(value: object, key: str, *, upper: bool, unit: str) -> Bound:
    form = {"%": '">= 99.4%"', "points": '"<= 0.5 points"', "": '"< 8000"'}[unit]
    found = _BOUND.fullmatch(value) if isinstance(value, str) and len(value) < 40 else None
    if not found:
        raise NotationError(f"{key} reads {form}, not {shown(value)}")
    relation, amount, said_unit = found.groups()
    if (relation in ("<", "<=")) != upper:
        raise NotationError(f"{key} is {'an upper' if upper else 'a lower'} limit and reads {form}, not {value!r}")
    if (said_unit or "").removesuffix("s") != unit.removesuffix("s"):
        raise NotationError(
            f"{key} needs its unit, as in {form}; found {value!r}"
            if unit
            else f"{key} is a plain count, as in {form}, not {value!r}"
        )
    return Bound(relation=relation, value=Fraction(amount.replace(",", "").replace("_", "")))


def _accuracy(value: object) -> Bound:
    bound = _bound(value, "accuracy", upper=False, unit="%")
    if not bound.allows(Fraction(100)):
        raise NotationError(f"nobody can keep this: accuracy ends at 100%, but {value!r} asks for more")
    return bound


def _at_most(key: str) -> Callable[[object], Bound]:
    def read(value: object) -> Bound:
        bound = _bound(value, key, upper=True, unit="")
        if not bound.allows(1):
            raise NotationError(f"nobody can keep this: {key} {value!r} leaves not even one")
        return bound

    return read


def _last_epochs(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
        raise NotationError(f"last_epochs is a whole number from 1 to {LARGEST:,}, not {shown(value)}")
    return value


def _certainty(value: object) -> Certainty:
    found = _CERTAINTY.fullmatch(value) if isinstance(value, str) and len(value) < 60 else None
    if not found:
        raise NotationError(f'certainty reads "95% of seeds, 95% confidence", not {shown(value)}')
    rate, confidence = (Fraction(percent) / 100 for percent in found.groups())
    if not (0 < rate < 1 and 0 < confidence < 1):
        raise NotationError(f"nobody can keep this: certainty lies between 0% and 100%, ends excluded, not {value!r}")
    return Certainty(rate=rate, confidence=confidence)


_READERS: dict[str, Callable[[object], object]] = {
    "accuracy": _accuracy,
    "last_epochs": _last_epochs,
    "parameters": _at_most("parameters"),
    "epochs": _at_most("epochs"),
    "macs": _at_most("macs"),
    "gap": lambda value: _bound(value, "gap", upper=True, unit="points"),
    "certainty": _certainty,
}
