"""Errors that teach: where, what is wrong, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 80  # characters of a found value that a message repeats


class SmallprintError(ValueError):
    """Anything a user can put right; the command line prints it and ends with status 2.

    SmallprintError
    ├── NotationError   a network, a recipe word or a contract clause that does not read
    ├── LadderError     a ladder file, with every fault it has
    ├── DataError       a data set that is missing, damaged or not what its name promises
    ├── RunError        a run folder that cannot be used as it is
    └── SearchError     a search that cannot be made as it is asked for
    """


class NotationError(SmallprintError):
    """A text in one of our notations that does not read."""

    def __init__(self, message: str, line: int | None = None, picture: str = "") -> None:
        self.message = message
        self.line = line  # in the text that was read, counted from 1
        self.picture = picture  # that line and a caret under the word, each behind a newline
        super().__init__(f"line {line}: {message}{picture}" if line else message + picture)


class LadderError(SmallprintError):
    """A ladder file with faults; the message lists all of them."""


class DataError(SmallprintError):
    """A data set that is missing, damaged or not what its name promises."""


class RunError(SmallprintError):
    """A run folder that cannot be used as it is."""


class SearchError(SmallprintError):
    """A search that cannot be made as it is asked for."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The clause "; did you mean 'maxpool'?", or nothing when no known word is near."""
    close = difflib.get_close_matches(word[:40].lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """A value as it was found, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python does not spell out a number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def listing(known: Iterable[str]) -> str:
    """Known words as an enumeration: 'a, b, c'."""
    return ", ".join(known)
