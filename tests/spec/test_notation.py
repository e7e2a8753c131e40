from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.spec.errors import NotationError
from smallprint.spec.notation import LARGEST, Word, count, number, plain, quantity, statements


def said(text: str) -> list[list[str]]:
    return [[word.text for word in words] for words in statements(text)]


def test_statements_end_at_newlines_and_semicolons_and_comments_are_dropped() -> None:
    assert said("a b; c # d; e\n\n ; \n#\nf") == [["a", "b"], ["c"], ["f"]]


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_every_word_knows_where_it_stands(text: str) -> None:
    lines = text.split("\n")
    for words in statements(text):
        for word in words:
            assert word.source == lines[word.line - 1]
            assert word.source[word.column : word.column + len(word.text)] == word.text


def test_the_caret_stands_under_the_word_even_behind_a_tab() -> None:
    (words,) = statements("\tone two")
    assert str(words[1].fault("no")) == "line 1: no\n     one two\n         ^^^"
    assert str(words[1].part("o", 2).fault("no")) == "line 1: no\n     one two\n           ^"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, LARGEST), st.integers(0, 5))
def test_counts_read_exactly_within_their_range(value: int, least: int) -> None:
    if value >= least:
        assert count(Word(text=str(value)), "it", least=least) == value
    else:
        with pytest.raises(NotationError):
            count(Word(text=str(value)), "it", least=least)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1", "it is a whole number, not '-1'"),
        ("1.0", "it is a whole number, not '1.0'"),
        ("²", "it is a whole number, not '²'"),
        ("٣", "it is a whole number, not '٣'"),
        ("1000000", "it goes from 1 to 999,999, not 1000000"),
        ("0", "it goes from 1 to 999,999, not 0"),
    ],
)
def test_what_is_no_count_says_so(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        count(Word(text=text, source=text), "it")
    assert caught.value.message == message


@settings(max_examples=300, deadline=None)
@given(st.floats(min_value=0, allow_infinity=False))
def test_a_number_survives_print_and_read_bit_for_bit(value: float) -> None:
    assert number(Word(text=plain(value)), "it") == value


@pytest.mark.parametrize(("value", "text"), [(5.0, "5"), (0.1, "0.1"), (1e-5, "1e-05"), (1e22, "1e+22"), (0.0, "0")])
def test_numbers_are_written_as_short_as_they_can_be(value: float, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-0.1", "it is a number such as 0.01 or 1e-4, not '-0.1'"),
        ("nan", "it is a number such as 0.01 or 1e-4, not 'nan'"),
        (".5", "it is a number such as 0.01 or 1e-4, not '.5'"),
        ("1e999", "it is too large: 1e999"),
    ],
)
def test_what_is_no_number_says_so(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        number(Word(text=text, source=text), "it")
    assert caught.value.message == message


def test_a_quantity_carries_its_unit() -> None:
    assert quantity(Word(text="7deg"), "rotate", "deg") == 7
    assert math.isclose(quantity(Word(text="0.5%"), "dropout", "%"), 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("30", "warmup needs its unit, as in 30%; found '30'"),
        ("0.3", "warmup needs its unit, as in 30%, or 0.3% if less than one percent is meant; found '0.3'"),
        ("", "warmup needs its unit, as in 5%; found ''"),
        ("3deg", "warmup needs its unit, as in 5%; found '3deg'"),
        ("%", "warmup is a number such as 0.01 or 1e-4, not ''"),
    ],
)
def test_a_quantity_without_its_unit_says_how_it_is_written(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        quantity(Word(text=text, source=text), "warmup", "%")
    assert caught.value.message == message
