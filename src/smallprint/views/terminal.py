"""Tables and lines for the terminal; builds them, prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from smallprint.results.assessment import RungResult
from smallprint.results.diagnosis import Finding
from smallprint.results.runs import Epoch, Run
from smallprint.results.verdict import Verdict
from smallprint.spec.ladder import Ladder, Rung, RungDiff
from smallprint.spec.trace import Trace

EPOCH_HEADER = f"{'epoch':>7} {'rate':>9} {'train %':>9} {'test %':>8} {'gap':>7} {'seconds':>8} {'left':>7}"
_COLOURS = {"kept": "green", "broken": "red", "undecided": "yellow"}


def printable(text: str) -> str:
    """A text of somebody else's with nothing in it that moves a cursor or changes a colour."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)


def epoch_line(epoch: Epoch, planned: int, seconds_left: float | None) -> str:
    """One row under EPOCH_HEADER; plain text, the same in a terminal and in a log."""
    return (
        f"{f'{epoch.epoch}/{planned}':>7} {epoch.learning_rate:>9.3g} {100 * epoch.train_accuracy:>9.2f} "
        f"{100 * epoch.test_accuracy:>8.2f} {epoch.gap:>+7.2f} {epoch.seconds:>8.1f} {duration(seconds_left):>7}"
    )


def running_table(running: Sequence[tuple[str, int, int, Sequence[Epoch]]], last: int, most: int) -> Text:
    """A line per running training, from its rung, seed, planned epochs and those that have ended; at most so many."""
    rows = []
    for rung, seed, planned, epochs in running[: max(1, most)]:
        shown = [f"{100 * epochs[-1].test_accuracy:.2f}", f"{100 * min(e.test_accuracy for e in epochs[-last:]):.2f}",
                 f"{epochs[-1].seconds:.1f}"] if epochs else ["", "", ""]  # fmt: skip
        rows.append((rung, str(seed), f"{len(epochs)}/{planned}", *shown))
    table = aligned(rows, left=(0,), header=("rung", "seed", "epoch", "test %", f"worst of last {last} %", "seconds"))
    if len(running) > len(rows):
        table.append(f"\n... and {len(running) - len(rows)} more", "dim")
    table.no_wrap, table.overflow = True, "ellipsis"
    return table


def duration(seconds: float | None) -> str:
    """Time as a person says it: 48s, 3:07, 1:02:30, 12 days."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours // 24:,} days"
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"


def outline_text(ladder: Ladder) -> Text:
    """A ladder at a glance: title, promise, rungs."""
    counts = [(rung.name, f"{ladder.trace(rung).parameters:,}") for rung in ladder.rungs]
    lines = [
        Text(ladder.name, "bold").append(f"  {printable(ladder.title)} ({ladder.dataset})", "not bold"),
        Text(f"  promise: {ladder.contract}"),
        *(Text("  ").append_text(line) for line in aligned(counts, left=(0,)).split("\n")),
    ]
    return Text("\n").join(lines)


def dataset_text(document: Mapping[str, Any]) -> Text:
    """What `documents.dataset_document` says, for a person."""
    train, test = document["train"], document["test"]
    values = [f"{name} {', '.join(f'{value:.4f}' for value in document[name])}" for name in ("mean", "deviation")]
    counts = [(name, f"{train[name]:,}", f"{test[name]:,}") for name in train]
    totals = (Text(f"{sum(half.values()):,}", "bold") for half in (train, test))
    head = Text(
        f"{document['title']}\n"
        f"found in {document['found']}; SHA-256 of images and labels {document['fingerprint'][:16]}...\n"
        f"images of {' x '.join(map(str, document['input_shape']))}; training images: {', '.join(values)}\n"
    )
    samples = [Text(f"samples: {document['sheet']}")] if "sheet" in document else []
    return Text("\n").join(
        [head, aligned([*counts, ("", *totals)], left=(0,), header=("class", "train", "test")), *samples]
    )


def rung_heading(rung: Rung, place: int, of: int, trace: Trace) -> RenderableType:
    """A rung's name, size and target."""
    head = Text.assemble(
        (f"{place}/{of} {rung.name}", "bold"), f"  {trace.parameters:,} parameters, {trace.macs:,} multiply-adds"
    )
    return Group(Text(""), head, Text(printable(rung.target), style="italic"))


def layer_table(trace: Trace) -> Text:
    """Every layer with what follows it, its output shape, parameters, multiply-adds and receptive field."""
    rows: list[Sequence[str | Text]] = []
    for step in trace.steps:
        follows = "" if step.kind == "operation" else " ".join(map(str, step.operations))
        shape = " x ".join(map(str, step.output_shape))
        rows.append((step.text, follows, shape, f"{step.parameters:,}", f"{step.macs:,}", f"{step.receptive_field:,}"))
    totals = (Text(f"{number:,}", "bold") for number in (trace.parameters, trace.macs))
    header = ("layer", "followed by", "output", "parameters", "multiply-adds", "sees")
    return aligned([*rows, ("", "", "", *totals, "")], left=(0, 1), header=header)


def verdict_text(verdict: Verdict, runs: Sequence[Run] = ()) -> Text:
    """The verdict: each seed clause by clause, then over seeds; `runs` say why one has not ended."""
    text = Text()
    failed = {run.seed: run.reason for run in runs if run.status == "failed"}
    for seed in verdict.seeds:
        mark, colour = {True: ("kept", "green"), False: ("broken", "red"), None: ("not ended", "yellow")}[seed.kept]
        text.append(f"seed {seed.seed} ")
        if seed.seed in failed:
            text.append("failed", "red").append(f": {printable(failed[seed.seed])}\n")
            continue
        ahead = "" if seed.kept is None or verdict.counts(seed) else ", not counted"
        text.append(mark, colour).append(f"{ahead}\n")
        for clause in seed.clauses:
            text.append(f"  {clause}\n", "" if clause.kept else "red")
    return text.append(verdict.text, f"bold {_COLOURS[verdict.outcome]}")


def findings_text(findings: Sequence[Finding]) -> Text:
    """Each finding with its evidence and what to try next."""
    text = Text("\n").join(
        Text.assemble((finding.name, "bold"), f": {finding.evidence}\n  -> {finding.advice}") for finding in findings
    )
    return text or Text("nothing stands out", "dim")


def diff_text(difference: RungDiff) -> Text:
    """Changed lines of the network, changed keys of the recipe, changed counts."""
    text = Text("\n").join(_diff_lines(difference))
    return text or Text("nothing changed", "dim")


def _diff_lines(difference: RungDiff) -> Iterator[Text]:
    for line in difference.network:
        if line[0] != " " and line[1:].strip():
            yield Text(f"{line[0]} {line[1:]}", "green" if line[0] == "+" else "red")
    for key, before, after in difference.recipe:
        yield Text.assemble(f"{key}: ", (before, "red"), " -> ", (after, "green"))
    for name, (was, now) in (("parameters", difference.parameters), ("multiply-adds", difference.macs)):
        if was != now:
            yield Text(f"{name}: {was:,} -> {now:,}")


def rung_judgement(result: RungResult, before: str | None) -> RenderableType:
    """What stands under a rung's epochs: verdict, diagnosis, diff to the rung before."""
    parts: list[RenderableType] = [Text("")]
    if result.verdict:
        parts += [Text("Result", "bold"), _indented(verdict_text(result.verdict, result.runs))]
        if result.verdict.of:
            parts += [Text("Analysis", "bold"), _indented(findings_text(result.findings))]
    else:
        parts += [Text("not measured", "dim")]
    if before and result.diff:
        parts += [Text(f"Changed since {before}", "bold"), _indented(diff_text(result.diff))]
    return Group(*parts)


def _indented(text: Text) -> Text:
    return Text("\n").join(Text("  ").append_text(line) for line in text.split("\n"))


def summary_table(ladder: Ladder, results: Sequence[RungResult]) -> Text:
    """One line per rung: size, best and worst of the last epochs, verdict."""
    last = ladder.contract.last_epochs
    rows = []
    for result in results:
        published = result.rung.published
        ended = [run for run in result.runs if run.ended and run.epochs]
        best = sum(run.best_test for run in ended) / len(ended) if ended else None
        worst = [min(100 * e.test_accuracy for e in run.epochs[-last:]) for run in ended if len(run.epochs) >= last]
        outcome = result.verdict.outcome if result.verdict else "not measured"
        rows.append((
            result.rung.name,
            f"{result.trace.parameters:,}",
            f"{published.best_test:.2f}" if published and published.best_test is not None else "",
            "" if best is None else f"{best:.2f}",
            f"{min(worst):.2f}" if worst else "",
            f"{result.verdict.passed} of {result.verdict.of}" if result.verdict else "",
            Text(outcome, _COLOURS.get(outcome, "dim")),
        ))  # fmt: skip
    header = ("rung", "parameters", "published %", "best test %", f"worst of last {last} %", "kept", "verdict")
    return aligned(rows, left=(0, 6), header=header)


def aligned(rows: Sequence[Sequence[str | Text]], *, left: Sequence[int], header: Sequence[str] = ()) -> Text:
    """Columns as wide as their longest cell, whatever the terminal; a column without a word is left out.

    The columns numbered in `left` stand at the left, the others at the right.
    """
    table = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    some = [any(cell.plain for cell in column) for column in zip(*table, strict=True)]
    if header:
        table.insert(0, [Text(name, "dim") for name in header])
    widths = [max(cell.cell_len for cell in column) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        for number, cell in enumerate(row):
            cell.align("left" if number in left else "right", widths[number])
        lines.append(Text("  ").join(cell for cell, shown in zip(row, some, strict=True) if shown))
        lines[-1].rstrip()
    return Text("\n").join(lines)
