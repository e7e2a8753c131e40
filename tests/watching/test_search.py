"""A search as it is watched: plain lines in a log; in a terminal the same lines, and the front below them."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import pytest
from rich.console import Console

from smallprint.jobs.job import EpochEnded, Job, RunEnded, RunLeft, RunSetAside, RunStarted
from smallprint.results.runs import Run
from smallprint.search import MarginLearnt, SearchEnded, SearchEvent, SearchStarted, search
from smallprint.searching.race import Judged
from smallprint.spec.ladder_file import parse_ladder, read_ladder
from smallprint.views.search_report import write_search_report
from smallprint.views.search_result import SearchResult
from smallprint.watching.search import SearchWatch
from tests.searches import CLIMB, COMMAND, HERE, IMAGES, MARGIN, drawn, events
from tests.searching.candidates import LADDER, ladder

CANDIDATES = 4  # of the one search that really runs
QUICK = LADDER.replace("epochs = 15", "epochs = 6").replace('"<= 15"', '"<= 6"').replace(">= 90%", ">= 10%")
JUDGED = re.compile(
    r"(start|#\d+) +[\d,]+ +(\d+ of \d+ epochs|\d seeds?) +(\d+\.\d\d +)?"
    r"(goes on|tested to its end|dropped: .+|not judged: .+)"
)


def watched(
    happening: Iterable[SearchEvent],
    *,
    width: int = 200,
    terminal: bool = False,
    height: int = 40,
    file: io.StringIO | None = None,
) -> tuple[str, SearchResult]:
    """What a search leaves on a console, and what it has come to."""
    file = file or io.StringIO()
    console = Console(
        file=file, width=width, height=height, highlight=False, force_terminal=terminal,
        color_system=None if not terminal else "standard", _environ={},
    )  # fmt: skip
    said = happening if isinstance(happening, Generator) else (event for event in happening)
    result = SearchWatch(ladder(), ladder().rungs[0], console, command=COMMAND, climb=CLIMB, seed=7).show(said)
    return file.getvalue(), result


def some(folder: Path) -> Iterator[SearchEvent]:
    """A candidate that keeps what is needed, and one that is dropped early."""
    good, bad = drawn(0, 500, fate="racing"), drawn(1, 300, fate="racing")
    return events(folder, [(good, [850, 900, 940, 935, 936]), (bad, [400])])


def with_these(folder: Path, *more: SearchEvent) -> list[SearchEvent]:
    """The same, with something else that happens in its middle."""
    happening = list(some(folder))
    return [*happening[:4], *more, *happening[4:]]


def a_job(folder: Path) -> Job:
    return next(event.job for event in some(folder) if isinstance(event, RunStarted))


def is_epoch_of(event: SearchEvent, rung: str) -> bool:
    return isinstance(event, EpochEnded) and event.job.rung.name == rung


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[SearchEvent]:
    """A search on the digits, with enough candidates that one of them goes through."""
    of, runs = parse_ladder(QUICK, name="small"), tmp_path_factory.mktemp("runs")
    return list(search(of, "start", budget=3_600, candidates=CANDIDATES, runs=runs, workers=2, threads=1, seed=7))


def test_a_search_leaves_a_line_for_every_candidate_that_was_judged_and_a_rung_that_reads(
    real: list[SearchEvent],
) -> None:
    text, result = watched(real)
    judged = [event for event in real if isinstance(event, Judged)]
    rows = [line for line in text.splitlines() if JUDGED.fullmatch(line)]
    assert len(rows) == len(judged) > 0
    assert [row.split()[0] for row in rows] == [event.candidate.name for event in judged]
    assert "\x1b" not in text
    ended = real[-1]
    assert isinstance(ended, SearchEnded)
    assert result.found is ended.found
    assert result.images == 1_438 // 6
    assert result.rung
    assert parse_ladder(f"{QUICK}\n{result.text}", name="small").rungs[-1] == result.rung
    write_search_report(result)
    assert read_ladder(result.folder / "found.toml").rungs == (result.rung,)


def test_what_a_search_has_come_to_can_be_kept(real: list[SearchEvent]) -> None:
    result = watched(real)[1]
    assert pickle.loads(pickle.dumps(result)) == result


def test_a_log_begins_with_what_is_looked_for_and_how(tmp_path: Path) -> None:
    text, _ = watched(some(tmp_path), width=40)
    assert text.splitlines()[:9] == [
        "Small",
        f"promise: {ladder().contract}",
        "search: fewer parameters than start, which has 760; from 200 to 760",
        f"needed: {MARGIN.text}",
        f"trainings: 2 at a time on cpu; kept in {tmp_path}",
        "time: 10:00",
        "",
        "candidate  parameters      trained for  held-out %",
        "start             760   3 of 15 epochs       85.00  goes on",
    ]


def test_each_judged_candidate_is_one_line_in_its_columns(tmp_path: Path) -> None:
    lines = watched(some(tmp_path))[0].splitlines()
    rows = [line for line in lines if JUDGED.fullmatch(line)]
    assert rows[4:] == [
        "#0                500   3 of 15 epochs       85.00  goes on",
        "#0                500   7 of 15 epochs       90.00  goes on",
        "#0                500           1 seed       94.00  goes on",
        "#0                500          3 seeds       93.67  goes on",
        "#0                500          8 seeds       93.62  tested to its end",
        "#1                300   3 of 15 epochs       40.00  dropped: 2 of 3 did better at this level",
    ]
    assert sum(line.startswith("candidate ") for line in lines) == 1


def test_the_end_says_what_was_found_as_the_ladder_writes_it(tmp_path: Path) -> None:
    text, result = watched(some(tmp_path))
    assert "found: 500 parameters, 93.62% of held-out images over 8 seeds, where 90.64% are needed" in text
    assert result.text.strip() in text
    assert f"smallprint certify {tmp_path}/found.toml:start-500" in text


def test_a_terminal_shows_the_front_what_runs_and_the_time_left_below_the_lines(tmp_path: Path) -> None:
    happening, screen = list(some(tmp_path)), io.StringIO()
    amid = 2 + next(n for n, event in enumerate(happening) if is_epoch_of(event, "candidate-0"))

    def at_leisure() -> Iterator[SearchEvent]:
        """Wait in the middle until the screen, which is drawn ten times a second, shows what runs."""
        for number, event in enumerate(happening):
            yield event
            deadline = monotonic() + 20
            while number == amid and "3/15" not in screen.getvalue() and monotonic() < deadline:
                sleep(0.01)

    text, _ = watched(at_leisure(), width=110, terminal=True, file=screen)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"running +parameters +seed +epoch +held-out %", plain)
    assert re.search(r"#0 +500 +0 +3/15 +94.00", plain)
    assert re.search(r"front +parameters +held-out % +seeds", plain)
    assert re.search(r"1 drawn, 1 racing .* \d+:\d\d left", plain)
    assert "\x1b[2K" in text  # what was below the lines is wiped away
    log = watched(happening, width=110)[0]
    assert [line for line in plain.splitlines() if JUDGED.fullmatch(line)] == [
        line for line in log.splitlines() if JUDGED.fullmatch(line)
    ]


def test_a_search_that_goes_on_says_what_an_earlier_part_had(tmp_path: Path) -> None:
    earlier = [drawn(0, 500, (0.3,), (0.2,), (0.1,), (0.1, 0.1, 0.1), why="it diverged"), drawn(1, 300, fate="racing")]
    text, result = watched(events(tmp_path, [], earlier=earlier))
    assert "an earlier part took 1:00: 2 drawn, 1 dropped, 1 racing; time left: 9:00" in text
    assert {one.number for one in result.found.candidates} == {-1, 0, 1}
    assert 60 <= result.spent < 70


def test_a_search_whose_trainings_were_all_stored_knows_how_many_images_are_held_out(tmp_path: Path) -> None:
    stored = [event for event in some(tmp_path) if not isinstance(event, RunStarted | EpochEnded)]
    assert watched(stored)[1].images == IMAGES


def test_a_margin_is_said_when_it_changes_and_only_then(tmp_path: Path) -> None:
    learnt = replace(MARGIN, seeds=9)
    more = [MarginLearnt(margin=MARGIN), MarginLearnt(margin=learnt), MarginLearnt(margin=learnt)]
    lines = watched(with_these(tmp_path, *more))[0].splitlines()
    assert [line for line in lines if line.startswith("needed: ")] == [
        f"needed: {MARGIN.text}", f"needed: {learnt.text}",
    ]  # fmt: skip


def test_what_goes_wrong_with_a_training_is_a_line(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    run = Run(
        ladder="candidates", rung=job.rung.name, seed=0, status="failed", identity="", data="", parameters=1, macs=1,
        planned=3, environment=HERE, epochs=(), reason="the worker was killed\x1b[2J",
    )  # fmt: skip
    teacher = replace(job, rung=replace(job.rung, name="large"))
    text, _ = watched(
        with_these(
            tmp_path,
            RunEnded(job=job, run=run, reused=False),
            RunLeft(job=teacher, reason="held by process 12", held=True),
            RunSetAside(job=job, folder=tmp_path / "aside"),
            RunStarted(job=job, stored=(), slow="trained with PyTorch"),
            RunStarted(job=job, stored=(), slow="trained with PyTorch"),
        )
    )
    lines = text.splitlines()
    assert "start seed 0: failed: the worker was killed?[2J" in lines
    assert "large seed 0: left out: held by process 12" in lines
    assert f"start seed 0: another run stood there, of an earlier search; it is kept in {tmp_path / 'aside'}" in lines
    assert lines.count("trained with PyTorch") == 1


def stopped_after(folder: Path, count: int) -> Generator[SearchEvent, None, None]:
    """A search that is stopped, by itself or by who hears it, once so much has happened."""
    *before, ended = some(folder)
    assert isinstance(ended, SearchEnded)
    try:
        yield from before[:count]
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        yield replace(ended, stopped=True)
        raise


def test_ctrl_c_leaves_what_was_found_by_then_and_a_next_step(tmp_path: Path) -> None:
    text, result = watched(stopped_after(tmp_path, 20))
    assert result.stopped
    assert "To paste into the ladder file" in text
    assert "next: to go on, give the same command\n" in text


def test_ctrl_c_while_a_line_is_written_ends_the_search_and_leaves_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as writing:
        writing.setattr(SearchWatch, "_tell", interrupted)
        _, result = watched(stopped_after(tmp_path, 20))
    assert result.stopped
    assert result.found.keeps


def test_what_ends_a_search_without_a_result_goes_through_and_leaves_a_tidy_terminal(tmp_path: Path) -> None:
    def stopped() -> Generator[SearchEvent, None, None]:
        begun = next(some(tmp_path))
        assert isinstance(begun, SearchStarted)
        yield begun
        raise KeyboardInterrupt

    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with pytest.raises(KeyboardInterrupt):
        SearchWatch(ladder(), ladder().rungs[0], console, command=COMMAND, climb=CLIMB).show(stopped())
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in console.file.getvalue()  # the cursor is back
