"""The front's numbers against the race's own, and drawings that are SVG whatever they are given."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.searching.candidate import START, Candidate, Shown
from smallprint.searching.goal import Goal
from smallprint.searching.race import ENOUGH_SEEDS
from smallprint.views.front import FrontPicture, FrontPoint, compact, draw_front, front_picture
from tests.searches import IMAGES, MARGIN, raced, result, some
from tests.searching.candidates import LEVELS, candidate, ladder

FULL = [level.number for level in LEVELS if level.full]


def texts(drawn: str) -> set[str]:
    return {text.strip() for text in ET.fromstring(drawn).itertext() if text.strip()}


def picture_of(*candidates: Candidate) -> FrontPicture:
    return front_picture(
        candidates, Goal(), MARGIN, ladder().contract, images=IMAGES, enough_seeds=ENOUGH_SEEDS
    )  # fmt: skip


@st.composite
def candidates_drawn(draw: st.DrawFn, number: int) -> Candidate:
    depth = draw(st.integers(0, len(LEVELS)))
    error = st.integers(0, 200).map(lambda wrong: wrong / IMAGES)
    shown = [
        Shown(level=level.number, errors=tuple(draw(error) for _ in range(level.seeds)))
        for level in LEVELS[: min(depth, len(LEVELS))]
    ]
    ending = draw(st.sampled_from(["", "", "", "stopped", "diverged"]))
    if shown:
        shown[-1] = replace(shown[-1], stopped=ending == "stopped", diverged=ending == "diverged")
    return replace(candidate(number, draw(st.integers(100, 140))), shown=tuple(shown))


@given(st.integers(0, 12).flatmap(lambda many: st.tuples(*[candidates_drawn(number) for number in range(many)])))
@settings(deadline=None, max_examples=60)
def test_the_front_and_who_keeps_what_is_needed_are_those_of_the_race(candidates: tuple[Candidate, ...]) -> None:
    race, picture = raced(*candidates), picture_of(*candidates)
    assert [point.number for point in picture.front] == [one.number for one in race.front()]
    assert {point.number for point in picture.points if point.keeps} == {
        one.number for one in candidates if race.keeps(one)
    }
    found = race.found()
    assert picture.best == (found.best.number if found.best and found.keeps else None)


def test_what_is_better_by_the_last_digit_alone_is_in_front_here_as_in_the_race() -> None:
    seeds = ((0.0, 0.0, 0.0, 0.0, 0.13, 0.2, 0.2, 0.2), (0.0, 0.0, 0.0, 0.0, 0.166, 0.2, 0.2, 0.164))
    both = [candidate(0, 101, (0.0,), (0.0,), (0.0,), (0.0,) * 3, seeds[0])]
    both.append(candidate(1, 100, (0.0,), (0.0,), (0.0,), (0.0,) * 3, seeds[1]))
    assert [point.number for point in picture_of(*both).front] == [one.number for one in raced(*both).front()]


def test_only_what_was_trained_at_full_length_is_a_point() -> None:
    picture = picture_of(
        candidate(0, 500, (0.3,), (0.2,)),
        candidate(1, 400, (0.3,), (0.2,), (0.1,)),
        replace(candidate(2, 300), shown=(Shown(level=FULL[0], errors=(1.0,), diverged=True),)),
        replace(candidate(3, 200), shown=(Shown(level=FULL[0], errors=(0.02,), stopped=True),)),
    )
    assert [(point.number, point.stopped, point.leads) for point in picture.points] == [
        (3, True, False),
        (1, False, True),
    ]
    assert picture.points[1].accuracies == pytest.approx([90.0])


def test_the_table_has_the_front_the_start_and_the_best_from_small_to_large(tmp_path: Path) -> None:
    picture = result(tmp_path, raced(*some()).found()).picture
    assert [point.number for point in picture.rows] == [1, 0, START]
    assert picture.best == 0


@pytest.mark.parametrize("width", [820, 360])
def test_the_picture_names_the_start_the_found_one_and_both_lines(tmp_path: Path, width: int) -> None:
    drawn = draw_front(result(tmp_path, raced(*some()).found()).picture, width=width)
    assert {"start", "found 500", "needed", "promised 90", "90.64", "parameters"} <= texts(drawn)
    assert f'width="{width}"' in drawn


def test_what_misses_is_called_nearest(tmp_path: Path) -> None:
    drawn = draw_front(result(tmp_path, raced(*some(keeps=False)).found()).picture)
    assert "nearest 500" in texts(drawn)
    assert not any(text.startswith("found") for text in texts(drawn))


def test_the_same_numbers_are_the_same_bytes(tmp_path: Path) -> None:
    picture = result(tmp_path, raced(*some()).found()).picture
    assert draw_front(picture) == draw_front(picture)


@given(
    points=st.lists(
        st.tuples(st.floats(1, 1e12), st.lists(st.floats(0, 100), min_size=1, max_size=3), st.booleans()), max_size=6
    ),
    needed=st.floats(1, 100),
)
@settings(deadline=None, max_examples=12)
def test_any_front_is_drawn_inside_its_frame(points: list[tuple[float, list[float], bool]], needed: float) -> None:
    made = [
        FrontPoint(
            number=number - 1, name=f"#{number}", amount=amount, accuracies=tuple(accuracies), stopped=False,
            leads=leads, keeps=leads,
        )
        for number, (amount, accuracies, leads) in enumerate(sorted(points))
    ]  # fmt: skip
    picture = FrontPicture(
        points=tuple(made), unit="parameters", needed=needed, enough_seeds=3, promise=needed, last=1, images=100, best=0
    )
    drawn = draw_front(picture, width=360)
    ET.fromstring(drawn)
    assert not re.search(r"\b(nan|inf)\b", drawn)


@pytest.mark.parametrize(
    ("amount", "said"),
    [(12, "12"), (2_866, "2,866"), (999_999, "999,999"), (1_045_312, "1.05M"), (34.2e9, "34.2G"), (5e13, "50,000G")],
)
def test_an_amount_is_short_in_ticks_and_names(amount: float, said: str) -> None:
    assert compact(amount) == said
