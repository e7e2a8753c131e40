"""Tables and lines for the terminal; builds them, prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from smallprint.results.assessment import RungResult
from smallprint.results.diagnosis import Finding
from smallprint.results.runs import Epoch
from smallprint.results.verdict import Verdict
from smallprint.spec.ladder import Ladder, Rung, RungDiff
from smallprint.spec.trace import Trace

EPOCH_HEADER = f"{'epoch':>7} {'rate':>9} {'train %':>9} {'test %':>8} {'gap':>7} {'seconds':>8} {'left':>7}"
_COLOURS = {"kept": "green", "broken": "red", "undecided": "yellow"}


def epoch_line(epoch: Epoch, planned: int, seconds_left: float | None) -> str:
    """One row under EPOCH_HEADER; plain text, the same in a terminal and in a log."""
    return (
        f"{f'{epoch.epoch}/{planned}':>7} {epoch.learning_rate:>9.3g} {100 * epoch.train_accuracy:>9.2f} "
        f"{100 * epoch.test_accuracy:>8.2f} {epoch.gap:>+7.2f} {epoch.seconds:>8.1f} {duration(seconds_left):>7}"
    )


def duration(seconds: float | None) -> str:
    """Time as a person says it: 48s, 3:07, 1:02:30."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def rung_heading(rung: Rung, place: int, of: int, trace: Trace) -> RenderableType:
    """A rung's name, size and target."""
    head = Text.assemble(
        (f"{place}/{of} {rung.name}", "bold"), f"  {trace.parameters:,} parameters, {trace.macs:,} multiply-adds"
    )
    return Group(Text(""), head, Text(rung.target, style="italic"))


def layer_table(trace: Trace) -> Table:
    """Every layer with its output shape, parameters, multiply-adds and receptive field."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("layer", no_wrap=True)
    for name in ("output", "parameters", "MACs", "sees"):
        table.add_column(name, justify="right", no_wrap=True)
    for step in trace.steps:
        table.add_row(
            Text(step.text),
            " x ".join(map(str, step.output_shape)),
            f"{step.parameters:,}",
            f"{step.macs:,}",
            str(step.receptive_field),
        )
    table.add_section()
    table.add_row("", "", f"[bold]{trace.parameters:,}", f"[bold]{trace.macs:,}", "")
    return table


def verdict_text(verdict: Verdict) -> Text:
    """The verdict: each seed clause by clause, then over seeds."""
    text = Text()
    for seed in verdict.seeds:
        mark, colour = {True: ("kept", "green"), False: ("broken", "red"), None: ("not ended", "yellow")}[seed.kept]
        text.append(f"seed {seed.seed} ").append(f"{mark}\n", colour)
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
        if line[0] != " ":
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
        parts += [Text("Result", "bold"), _indented(verdict_text(result.verdict))]
        parts += [Text("Analysis", "bold"), _indented(findings_text(result.findings))]
    else:
        parts += [Text("not measured", "dim")]
    if before and result.diff:
        parts += [Text(f"Changed since {before}", "bold"), _indented(diff_text(result.diff))]
    return Group(*parts)


def _indented(text: Text) -> Text:
    return Text("\n").join(Text("  ").append_text(line) for line in text.split("\n"))


def summary_table(ladder: Ladder, results: Sequence[RungResult]) -> Table:
    """One line per rung: size, best and worst of the last epochs, verdict."""
    last = ladder.contract.last_epochs
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("rung", no_wrap=True)
    for name in ("parameters", "published", "best test %", f"worst of last {last}", "seeds", "verdict"):
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    for result in results:
        published = result.rung.published
        ended = [run for run in result.runs if run.ended and run.epochs]
        best = sum(run.best_test for run in ended) / len(ended) if ended else None
        worst = [min(100 * e.test_accuracy for e in run.epochs[-last:]) for run in ended if len(run.epochs) >= last]
        outcome = result.verdict.outcome if result.verdict else "not measured"
        table.add_row(
            escape(result.rung.name),
            f"{result.trace.parameters:,}",
            f"{published.best_test:.2f}" if published and published.best_test is not None else "",
            "" if best is None else f"{best:.2f}",
            f"{min(worst):.2f}" if worst else "",
            f"{result.verdict.passed} of {result.verdict.of}" if result.verdict else "",
            Text(outcome, _COLOURS.get(outcome, "dim")),
        )
    return table
