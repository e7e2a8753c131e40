"""Tables and lines as a person reads them, whatever the width and whatever a ladder's author wrote."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from smallprint.results.assessment import RungResult, assess
from smallprint.results.runs import Epoch, Run
from smallprint.spec.contract import Contract
from smallprint.spec.ladder import Ladder, diff
from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.views import terminal

Fabricate = Callable[..., Run]
HOSTILE = "[red]x[/red] [bold [/nope] :smile: \\["


def plain(*what: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(*what, sep="\n", soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"), (0.0, "0s"), (0.4, "0s"), (59.4, "59s"), (59.6, "1:00"), (187.0, "3:07"), (3599.6, "1:00:00"),
        (3750.0, "1:02:30"), (359_999.0, "99:59:59"), (360_000.0, "4 days"), (60_430_000_000.0, "699,421 days"),
    ],
)  # fmt: skip
def test_time_is_said_as_a_person_says_it(seconds: float | None, text: str) -> None:
    assert terminal.duration(seconds) == text


def test_an_epochs_numbers_stand_under_their_names() -> None:
    epoch = Epoch(
        epoch=15, learning_rate=0.00123456, train_loss=0.1, train_correct=59_400, train_total=60_000, test_loss=0.1,
        test_correct=9_951, test_total=10_000, seconds=7.25,
    )  # fmt: skip
    line = terminal.epoch_line(epoch, 15, 187.0)
    assert line.split() == ["15/15", "0.00123", "99.00", "99.51", "-0.51", "7.2", "3:07"]
    names = ("epoch", "rate", "train %", "test %", "gap", "seconds", "left")
    ends = [terminal.EPOCH_HEADER.index(name) + len(name) for name in names]
    assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for end in ends)
    assert len(line) == len(terminal.EPOCH_HEADER)


def test_a_running_training_is_a_line_with_its_last_and_its_worst_epoch(ladder: Ladder, fabricate: Fabricate) -> None:
    run = fabricate(ladder, ladder.rungs[0], 3, epochs=7)
    worst = min(100 * epoch.test_accuracy for epoch in run.epochs[-5:])
    rows = [("base", 3, 15, run.epochs), ("a-long-name", 12, 15, ())]
    assert plain(terminal.running_table(rows[1:], 5, 9)) == ["rung         seed  epoch", "a-long-name    12   0/15"]
    header, first, second = plain(terminal.running_table(rows, 5, 9))
    assert header.split() == ["rung", "seed", "epoch", "test", "%", "worst", "of", "last", "5", "%", "seconds"]
    assert first.split() == ["base", "3", "7/15", f"{100 * run.epochs[-1].test_accuracy:.2f}", f"{worst:.2f}", "4.3"]
    assert second.split() == ["a-long-name", "12", "0/15"]


def test_more_running_trainings_than_the_screen_has_lines_are_counted(ladder: Ladder) -> None:
    rows = [(rung.name, seed, 15, ()) for rung in ladder.rungs[:2] for seed in range(4)]
    lines = plain(terminal.running_table(rows, 5, 3))
    assert [line.split()[:2] for line in lines[1:4]] == [["base", "0"], ["base", "1"], ["base", "2"]]
    assert lines[4:] == ["... and 5 more"]
    assert len(plain(terminal.running_table(rows, 5, -2))) == 3


def test_every_layer_is_shown_with_what_follows_it_and_the_sums_below() -> None:
    network = Network.parse("every conv3: pad=1; after conv3: batchnorm relu; conv3-8 maxpool tanh gap conv1-10")
    assert plain(terminal.layer_table(trace(network, (1, 8, 8)))) == [
        "layer     followed by         output  parameters  multiply-adds  sees",
        "conv3-8   batchnorm relu   8 x 8 x 8          88          4,608     3",
        "maxpool                    8 x 4 x 4           0              0     4",
        "tanh                       8 x 4 x 4           0              0     4",
        "gap                        8 x 1 x 1           0              0    10",
        "conv1-10                  10 x 1 x 1          80             80    10",
        "                                             168          4,688",
    ]


def test_a_column_without_a_word_is_left_out() -> None:
    header = plain(terminal.layer_table(trace(Network.parse("conv3-8 gap conv1-10"), (1, 8, 8))))[0]
    assert header.split() == ["layer", "output", "parameters", "multiply-adds", "sees"]


@pytest.mark.parametrize("width", [20, 80, 500])
def test_no_table_is_cut_or_wrapped_by_the_screen(ladder: Ladder, fabricate: Fabricate, width: int) -> None:
    results = [assess(ladder, rung, [fabricate(ladder, rung, 0)]) for rung in ladder.rungs]
    table = plain(terminal.summary_table(ladder, results), width=width)
    assert len(table) == 1 + len(ladder.rungs)
    assert "worst of last 5 %" in table[0]
    assert not any("…" in line for line in table)
    long = replace(ladder.rungs[0], name="r" * 80)
    longer = plain(terminal.layer_table(ladder.trace(long)), width=width)
    assert len(longer) == 2 + len(ladder.trace(long).steps)


def test_the_summary_has_a_line_per_rung_and_leaves_out_what_nobody_measured(
    ladder: Ladder, fabricate: Fabricate
) -> None:
    first, second = ladder.rungs[:2]
    runs = [fabricate(ladder, first, seed) for seed in range(2)]
    header, measured, not_measured = plain(
        terminal.summary_table(ladder, [assess(ladder, first, runs), assess(ladder, second, [])])
    )
    best = sum(run.best_test for run in runs) / 2
    worst = min(100 * epoch.test_accuracy for run in runs for epoch in run.epochs[-5:])
    assert header.split("  ")[0] == "rung"
    assert measured.split()[:2] == ["base", "7,704"]
    assert f"{best:.2f}" in measured.split()
    assert f"{worst:.2f}" in measured.split()
    assert " of 2 " in measured
    assert not_measured.endswith("not measured")


def test_a_verdict_names_every_seed_and_why_one_does_not_count(ladder: Ladder, fabricate: Fabricate) -> None:
    rung = ladder.rungs[0]
    runs = [
        fabricate(ladder, rung, 0, level=99.8),
        fabricate(ladder, rung, 1, level=90.0),
        replace(fabricate(ladder, rung, 2, status="failed", epochs=3), reason=f"RuntimeError: {HOSTILE}"),
        fabricate(ladder, rung, 3, status="training", epochs=3),
    ]
    result = assess(ladder, rung, runs)
    assert result.verdict
    lines = plain(terminal.verdict_text(result.verdict, runs))
    assert "seed 0 kept" in lines
    assert "seed 1 broken" in lines
    assert f"seed 2 failed: RuntimeError: {HOSTILE}" in lines
    assert "seed 3 not ended" in lines
    assert lines[-1].startswith("broken: 1 of 2 seeds kept the contract")


def test_a_judgement_holds_result_analysis_and_what_changed(ladder: Ladder, fabricate: Fabricate) -> None:
    rung = ladder.rungs[1]
    lines = plain(terminal.rung_judgement(assess(ladder, rung, [fabricate(ladder, rung, 0)]), "base"))
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "Result", "Analysis", "Changed since base",
    ]  # fmt: skip
    assert "  parameters: 7,704 -> 7,864" in lines


def test_nothing_is_analysed_where_no_run_has_ended(ladder: Ladder, fabricate: Fabricate) -> None:
    failed = fabricate(ladder, ladder.rungs[0], 0, status="failed", epochs=0)
    lines = plain(terminal.rung_judgement(assess(ladder, ladder.rungs[0], [failed]), None))
    assert "Analysis" not in lines
    assert "not measured" in plain(terminal.rung_judgement(assess(ladder, ladder.rungs[0], []), None))


def test_a_diff_shows_changes_alone(ladder: Ladder) -> None:
    first, second = ladder.rungs[:2]
    lines = plain(terminal.diff_text(diff(ladder, first, second)))
    assert lines
    assert all(line[:2] in ("- ", "+ ") or " -> " in line for line in lines)
    assert not any(line.strip() in ("+", "-") for line in lines)
    assert plain(terminal.diff_text(diff(ladder, first, first))) == ["nothing changed"]


def test_nothing_an_author_writes_is_taken_for_markup(ladder: Ladder, fabricate: Fabricate) -> None:
    rung = replace(ladder.rungs[0], target=HOSTILE)
    hostile = replace(ladder, title=HOSTILE, rungs=(rung, *ladder.rungs[1:]))
    result = assess(hostile, rung, [fabricate(hostile, rung, 0)])
    assert HOSTILE in plain(terminal.rung_heading(rung, 1, 6, result.trace))
    assert HOSTILE in plain(terminal.outline_text(hostile))[0]


def test_nothing_an_author_writes_moves_the_cursor_or_colours_the_screen(ladder: Ladder, fabricate: Fabricate) -> None:
    hostile = "a\x1b[31mb\x07\x9b2J\rc\nd"
    rung = replace(ladder.rungs[0], target=hostile)
    changed = replace(ladder, title=hostile, rungs=(rung,))
    failed = replace(fabricate(changed, rung, 0, status="failed", epochs=0), reason=hostile)
    verdict = assess(changed, rung, [failed]).verdict
    assert verdict
    shown = [
        terminal.rung_heading(rung, 1, 1, changed.trace(rung)),
        terminal.outline_text(changed),
        terminal.verdict_text(verdict, [failed]),
    ]
    for lines in map(plain, shown):
        assert any("a?[31mb??2J?c" in line for line in lines)
        assert all(line.isprintable() for line in lines)


def test_an_outline_lists_the_rungs_with_their_parameters(ladder: Ladder) -> None:
    title, promise, *rungs = plain(terminal.outline_text(ladder))
    assert title == "progressive  One small network, one idea at a time (mnist)"
    assert promise == f"  promise: {ladder.contract}"
    assert [line.split() for line in rungs[:2]] == [["base", "7,704"], ["batchnorm", "7,864"]]
    assert len(rungs) == len(ladder.rungs)


def test_the_summary_speaks_of_the_contracts_own_window(ladder: Ladder) -> None:
    short = replace(ladder, contract=Contract.parse({"accuracy": ">= 99%", "last_epochs": 2}))
    results: list[RungResult] = [assess(short, short.rungs[0], [])]
    assert "verdict" in plain(terminal.summary_table(short, results))[0]
