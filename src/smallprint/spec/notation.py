"""Words with their places, and errors with a caret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from smallprint.spec.errors import NotationError

LARGEST = 999_999  # a count above this is a slip of the keyboard, not a tiny network
_COUNT = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a notation and where it stands."""

    text: str
    line: int = field(default=1)  # counted from 1
    column: int = field(default=0)  # characters before it
    source: str = field(default="")  # the whole line it stands in

    def part(self, text: str, offset: int) -> Word:
        """The piece `text` that starts `offset` characters into this word."""
        return Word(text=text, line=self.line, column=self.column + offset, source=self.source)

    def fault(self, message: str) -> NotationError:
        """The error that names this word's line and points at it with a caret."""
        shown = "".join(c if c.isprintable() else " " for c in self.source)
        caret = " " * self.column + "^" * max(1, len(self.text))
        return NotationError(message, self.line, f"\n    {shown}\n    {caret}")


def statements(text: str) -> Iterator[list[Word]]:
    """Words of each line, or of each part of a line that ends at ';'; comments dropped."""
    for number, source in enumerate(text.split("\n"), start=1):
        code = source.split("#", 1)[0]
        start = 0
        for part in code.split(";"):
            words = [
                Word(text=found.group(), line=number, column=start + found.start(), source=source)
                for found in re.finditer(r"\S+", part)
            ]
            if words:
                yield words
            start += len(part) + 1


def count(word: Word, name: str, *, least: int = 1) -> int:
    """A whole number from `least` to 999,999.

    Raises:
        NotationError: anything else, naming what was found.
    """
    if not _COUNT.fullmatch(word.text):
        raise word.fault(f"{name} is a whole number, not {word.text!r}")
    value = int(word.text) if len(word.text) <= len(str(LARGEST)) else LARGEST + 1
    if not least <= value <= LARGEST:
        raise word.fault(f"{name} goes from {least} to {LARGEST:,}, not {word.text}")
    return value


def number(word: Word, name: str) -> float:
    """A decimal number without a sign, such as 0.01 or 1e-4.

    Raises:
        NotationError: anything else, or a number too large to hold.
    """
    if not _NUMBER.fullmatch(word.text):
        raise word.fault(f"{name} is a number such as 0.01 or 1e-4, not {word.text!r}")
    value = float(word.text)
    if value == float("inf"):
        raise word.fault(f"{name} is too large: {word.text}")
    return value


def quantity(word: Word, name: str, unit: str) -> float:
    """A number that carries its unit: 5%, 7deg, 2px.

    Raises:
        NotationError: the unit is missing or another one.
    """
    bare = word.text.removesuffix(unit)
    if bare == word.text:
        example = f"{bare}{unit}" if _NUMBER.fullmatch(bare) else f"5{unit}"
        if unit == "%" and _NUMBER.fullmatch(bare) and 0 < float(bare) < 1:  # a share elsewhere
            example = f"{100 * float(bare):g}%, or {example} if less than one percent is meant"
        raise word.fault(f"{name} needs its unit, as in {example}; found {word.text!r}")
    return number(word.part(bare, 0), name)


def plain(value: float) -> str:
    """The shortest text that reads back as the same number: 5, 0.1, 1e-05."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
