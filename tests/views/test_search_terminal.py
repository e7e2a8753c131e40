"""A search's lines stand in columns, and tables show no more rows than they are given room for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from smallprint.searching.candidate import Candidate
from smallprint.searching.goal import Goal
from smallprint.views.search_terminal import (
    CandidateLines,
    Running,
    counts_text,
    front_table,
    result_text,
    running_table,
)
from tests.searches import drawn, epoch, raced, result, some
from tests.searching.candidates import LEVELS

LINES = CandidateLines(Goal(), 1_352)


def line(one: Candidate, level: int, *, goes_on: bool = False, lost: bool = False) -> str:
    return LINES.line(one, LEVELS[level], goes_on=goes_on, lost=lost).plain


def test_every_line_has_its_columns_under_their_names() -> None:
    one = drawn(12, 1_188, (0.3,), (0.2,), (0.0263,), why="2 of 4 did better")
    assert LINES.header == "candidate  parameters      trained for  held-out %"
    assert line(one, 0, goes_on=True) == "#12             1,188   3 of 15 epochs       70.00  goes on"
    assert line(one, 2) == "#12             1,188           1 seed       97.37  dropped: 2 of 4 did better"


def test_a_candidate_that_came_through_all_levels_is_tested() -> None:
    assert line(some()[1], 4).endswith("8 seeds       94.12  tested to its end")


def test_a_figure_that_means_nothing_is_not_shown() -> None:
    diverged = some()[4]
    shown = tuple(replace(shown, diverged=True) for shown in diverged.shown)
    assert " ".join(line(replace(diverged, shown=shown), 0).split()) == "#3 640 3 of 15 epochs dropped: it diverged"
    lost = line(drawn(6, 300), 0, lost=True)
    assert lost.endswith("not judged: a training failed; it is tried again at the next start")
    assert "%" not in lost


def test_the_front_says_which_keeps_what_is_needed_and_which_is_the_start(tmp_path: Path) -> None:
    picture = result(tmp_path, raced(*some()).found()).picture
    assert front_table(picture).plain.splitlines() == [
        "front  parameters  held-out %  seeds  needed: 90.64 over 3",
        "#1            300       88.00      1",
        "#0            500       94.12      8  found, keeps what is needed",
        "start         760       95.00      3  the start, keeps what is needed",
    ]


def test_a_short_screen_shows_the_rows_nearest_to_what_is_needed(tmp_path: Path) -> None:
    picture = result(tmp_path, raced(*some()).found()).picture
    rows = front_table(picture, 2).plain.splitlines()
    assert [row.split()[0] for row in rows] == ["front", "#1", "#0", "..."]
    assert rows[-1] == "... and 1 more"


def test_running_trainings_show_how_far_they_are() -> None:
    running = [
        Running(name="#3", amount=640, seed=0, planned=15, epochs=(epoch(1, 800), epoch(2, 912))),
        Running(name="related-base", amount=None, seed=1, planned=15, epochs=()),
    ]
    assert running_table(running, "parameters", 5).plain.splitlines() == [
        "running       parameters  seed  epoch  held-out %",
        "#3                   640     0   2/15       91.20",
        "related-base                 1   0/15",
    ]
    assert running_table(running, "parameters", 1).plain.endswith("... and 1 more")


def test_counts_leave_the_start_out() -> None:
    assert counts_text(some()) == "6 drawn, 4 dropped, 1 tested, 1 racing"
    assert counts_text(()) == "0 drawn"


def test_the_end_has_the_verdict_the_front_the_diff_the_rung_and_what_to_do(tmp_path: Path) -> None:
    said = result(tmp_path, raced(*some()).found())
    assert said.diff
    text = result_text(said).plain
    for part in (said.verdict, front_table(said.picture).plain, said.text.strip(), *map(str, said.next_steps)):
        assert part in text
    assert "\n- conv3-8" in text and "\n+ conv3-4" in text


def test_the_end_of_a_search_without_a_front_is_short(tmp_path: Path) -> None:
    said = result(tmp_path, raced(drawn(0, 500, (1.0,), why="it diverged")).found())
    assert result_text(said).plain.splitlines() == [said.verdict, "", f"next: {said.next_steps[0]}"]
