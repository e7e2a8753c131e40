from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from smallprint.spec.errors import NotationError
from smallprint.spec.sentence import read_sentence, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Cup:
    size: float = field(default=0.0, metadata={"unit": "number", "required": True, "direct": True})
    sugar: int = field(default=2, metadata={"unit": "count"})
    milk: float = field(default=0.0, metadata={"unit": "%"})
    grey: float = field(default=0.0, metadata={"unit": "fraction"})
    kind: str = field(default="black", metadata={"unit": ("black", "green")})
    hot: bool = field(default=False, metadata={"unit": "flag"})
    seen: int = 0  # no key: it has no unit

    def __post_init__(self) -> None:
        if self.milk > 50:
            raise ValueError("that is no longer tea")


def read(text: str) -> Cup:
    return read_sentence(text, {"tea": Cup}, "drink")


@pytest.mark.parametrize(
    ("text", "cup"),
    [
        ("tea 0.2", Cup(size=0.2)),
        ("tea 0.2 hot sugar=0", Cup(size=0.2, hot=True, sugar=0)),
        ("tea 0.2 milk=12.5% kind=green", Cup(size=0.2, milk=12.5, kind="green")),
        ("tea 0.2 grey=1/255", Cup(size=0.2, grey=1 / 255)),
        ("tea 0", Cup(size=0)),
    ],
)
def test_a_sentence_reads_and_prints_the_same(text: str, cup: Cup) -> None:
    assert read(text) == cup
    assert read(sentence("tea", cup)) == cup


def test_keys_are_printed_in_the_order_of_their_fields_and_defaults_are_left_out() -> None:
    cup = Cup(size=1, hot=True, kind="green", sugar=2, milk=5)
    assert sentence("tea", cup) == "tea 1 milk=5% kind=green hot"


def test_a_key_may_be_said_by_its_name_where_it_needs_none() -> None:
    assert read("tea size=0.2") == Cup(size=0.2)


KEYS = "tea has no {}; it takes 0.1, sugar=6, milk=5%, grey=1/255, kind=black|green, hot"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "drink is empty; known: tea"),
        ("taa 0.2", "no drink is called 'taa'; known: tea; did you mean 'tea'?"),
        ("tea", "tea needs 0.1"),
        ("tea 0.2 0.3", KEYS.format("'0.3'")),
        ("tea 0.2 suger=1", KEYS.format("'suger'") + "; did you mean 'sugar'?"),
        ("tea 0.2 seen=1", KEYS.format("'seen'")),
        ("tea 0.2 sugar=1 sugar=1", "'sugar' is said twice"),
        ("tea 0.2 sugar", "'sugar' needs a value: sugar=6"),
        ("tea 0.2 hot=yes", "'hot' stands alone, without '='"),
        ("tea 0.2 milk=5", "milk needs its unit, as in 5%; found '5'"),
        ("tea 0.2 milk=60%", "that is no longer tea"),
        ("tea 0.2 sugar=1.5", "sugar is a whole number, not '1.5'"),
        ("tea 0.2 kind=gren", "kind is one of black, green, not 'gren'; did you mean 'green'?"),
        ("tea 0.2 grey=1/0", "grey goes from 1 to 999,999, not 0"),
        ("tea a", "size is a number such as 0.01 or 1e-4, not 'a'"),
    ],
)
def test_a_sentence_that_does_not_read_says_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        read(text)
    assert caught.value.message == message


def test_the_caret_points_at_the_value_within_its_word() -> None:
    with pytest.raises(NotationError) as caught:
        read("tea 0.2 milk=5")
    assert str(caught.value) == (
        "line 1: milk needs its unit, as in 5%; found '5'\n    tea 0.2 milk=5\n                 ^"
    )
