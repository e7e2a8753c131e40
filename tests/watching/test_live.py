"""What moves at the bottom of a terminal."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from smallprint.jobs.job import EpochEnded, Job, RunLeft, RunStarted
from smallprint.results.runs import Epoch
from smallprint.spec.ladder_file import read_ladder
from smallprint.watching.live import LiveBar, Running

LADDER = read_ladder("digits")


def epoch(number: int, right: int) -> Epoch:
    return Epoch(
        epoch=number, learning_rate=0.1, train_loss=1, train_correct=1, train_total=1, test_loss=1, test_correct=right,
        test_total=100, seconds=1.5,
    )  # fmt: skip


@dataclass
class Half:
    share_done: float = 0.5
    seconds_left: float | None = 90.0


def test_running_trainings_stand_in_the_ladders_order_with_what_they_have_reached() -> None:
    second, first = (Job(ladder=LADDER, rung=LADDER.rungs[place], seed=3) for place in (1, 0))
    running = Running()
    assert running.table(LADDER, 40) is None
    running.note(RunStarted(job=second, stored=(epoch(1, 50),)))
    running.note(RunStarted(job=first, stored=()))
    running.note(EpochEnded(job=second, epoch=epoch(2, 97)))
    table = running.table(LADDER, 40)
    assert table
    _, above, below = str(table).split("\n")
    assert above.split()[:3] == [first.rung.name, "3", "0/30"]
    assert below.split() == [second.rung.name, "3", "2/30", "97.00", "50.00", "1.5"]


def test_what_has_ended_runs_no_more() -> None:
    job = Job(ladder=LADDER, rung=LADDER.rungs[0], seed=0)
    running = Running()
    running.note(RunStarted(job=job, stored=()))
    running.note(RunLeft(job=job, reason="gone", held=False))
    assert running.table(LADDER, 40) is None


def test_a_small_screen_says_how_many_more_there_are() -> None:
    running = Running()
    for seed in range(9):
        running.note(RunStarted(job=Job(ladder=LADDER, rung=LADDER.rungs[0], seed=seed), stored=()))
    assert "... and 7 more" in str(running.table(LADDER, 9))


def test_on_a_terminal_the_bar_tells_what_is_done_and_how_long_it_takes() -> None:
    screen = io.StringIO()
    with LiveBar(Console(file=screen, force_terminal=True, width=80), "begun") as bar:
        bar.show("half of it", Half(), Text("what runs"))
        bar.refresh()
    assert "what runs" in screen.getvalue()
    assert "half of it" in screen.getvalue()
    assert "1:30 left" in screen.getvalue()


def test_in_a_log_there_is_no_bar() -> None:
    log = io.StringIO()
    with LiveBar(Console(file=log), "begun") as bar:
        bar.show("half of it", Half(), Text("what runs"))
    assert log.getvalue().strip() == ""
