from __future__ import annotations

import pytest

from smallprint.spec.errors import (
    DataError,
    LadderError,
    NotationError,
    RunError,
    SmallprintError,
    listing,
    nearest,
    shown,
)


@pytest.mark.parametrize("kind", [NotationError, LadderError, DataError, RunError])
def test_every_error_of_ours_is_one_that_the_user_can_put_right(kind: type[SmallprintError]) -> None:
    assert issubclass(kind, SmallprintError)
    assert str(kind("no such thing")) == "no such thing"


def test_a_notation_error_names_its_line_and_shows_its_picture() -> None:
    fault = NotationError("no layer is called 'x'", 3, "\n    x\n    ^")
    assert str(fault) == "line 3: no layer is called 'x'\n    x\n    ^"
    assert (fault.message, fault.line) == ("no layer is called 'x'", 3)


def test_the_nearest_guess_needs_a_near_word() -> None:
    assert nearest("maxpol", ("maxpool", "avgpool")) == "; did you mean 'maxpool'?"
    assert nearest("MaxPool", ("maxpool", "avgpool")) == "; did you mean 'maxpool'?"
    assert nearest("lstm", ("maxpool", "avgpool")) == ""
    assert nearest("x" * 1_000_000, ("x" * 40,)) == f"; did you mean {'x' * 40!r}?"


def test_a_listing_is_an_enumeration() -> None:
    assert listing(("a", "b", "c")) == "a, b, c"
    assert listing(()) == ""


def test_a_found_value_is_shown_whole_if_it_is_short_and_cut_if_it_is_long() -> None:
    assert shown("99.4%") == "'99.4%'"
    assert shown([1, 2]) == "[1, 2]"
    assert shown("x" * 78) == f"'{'x' * 78}'"
    assert shown("x" * 79) == f"'{'x' * 76}..."
    assert shown(16**5000) == "a number of thousands of digits"
