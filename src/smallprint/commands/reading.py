"""Commands that read what is there: show, diff, judge, report, ladders."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from smallprint.arguments import (
    Clauses,
    Data,
    Json,
    LadderName,
    Place,
    Runs,
    input_shape,
    ladder_at,
    rungs_at,
    split_place,
)
from smallprint.console import BROKEN, DONE, UNDECIDED, bold, say_fault, write, write_json
from smallprint.sources import (
    assess_here,
    facts_of_data,
    load_if_here,
    report_here,
    say_not_counted,
)
from smallprint.spec.errors import NotationError, RunError

# Heavy imports stand inside the commands: --help answers at once, and only what trains imports torch.


def show(
    place: Annotated[str | None, typer.Argument(metavar="LADDER[:RUNG]", help="A ladder, or one of its rungs.")] = None,
    network: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A network as text instead: 'conv3-8 ... gap conv1-10'.")
    ] = None,
    shape: Annotated[
        str | None, typer.Option("--input", metavar="CxHxW", help="Input shape of --network, such as 1x28x28.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a network layer by layer.

    Of each layer: its output shape, parameters, multiply-adds, and how many pixels along a side it sees.
    """
    from smallprint.spec.network import Network
    from smallprint.spec.trace import trace
    from smallprint.views import terminal
    from smallprint.views.documents import network_document

    if (place is None) == (network is None) or (place and shape):
        raise NotationError("show takes a LADDER[:RUNG], or a --network with its --input")
    if network is not None:
        parsed = Network.parse(network)
        traced = trace(parsed, input_shape(shape))
        if as_json:
            write_json(network_document(parsed, traced))
        else:
            write(terminal.layer_table(traced))
        return
    ladder, rungs = rungs_at(place or "", facts_of=facts_of_data())
    if as_json:
        documents = [{"name": rung.name, **network_document(rung.network, ladder.trace(rung))} for rung in rungs]
        one = split_place(place or "")[1] is not None
        write_json(documents[0] if one else {"ladder": ladder.name, "rungs": documents})
        return
    for rung in rungs:
        number = ladder.rungs.index(rung) + 1
        write(terminal.rung_heading(rung, number, len(ladder.rungs), ladder.trace(rung)), "")
        write(terminal.layer_table(ladder.trace(rung)))


def diff_rungs(
    first: Annotated[str, typer.Argument(metavar="LADDER[:RUNG]", help="A ladder for all its steps, or a rung.")],
    second: Annotated[str | None, typer.Argument(metavar="[LADDER:]RUNG", help="The rung to compare with.")] = None,
    as_json: Json = False,
) -> None:
    """Show what changed from rung to rung.

    Lines of the network, keys of the recipe, counts. A single rung is compared with the one before it.
    """
    from smallprint.spec.ladder import diff
    from smallprint.views import terminal
    from smallprint.views.documents import diff_document

    ladder, rungs = rungs_at(first, facts_of=facts_of_data())
    if second is not None:
        beside = second if ":" in second else f"{split_place(first)[0]}:{second}"
        other, others = rungs_at(beside, facts_of=facts_of_data())
        if len(rungs) != 1 or len(others) != 1:
            many = first if len(rungs) != 1 else second
            raise NotationError(f"diff compares two rungs, and {many} is more than one: diff LADDER:RUNG LADDER:RUNG")
        if other.dataset != ladder.dataset:
            raise NotationError(f"diff compares rungs of the same data set, not {ladder.dataset} and {other.dataset}")
        pairs = [(rungs[0], others[0])]
    elif len(rungs) == 1 and len(ladder.rungs) > 1:
        place = ladder.rungs.index(rungs[0])
        pairs = [(ladder.rungs[place - 1], rungs[0])] if place else []
    else:
        pairs = list(pairwise(rungs))
    if as_json:
        write_json([{"from": a.name, "to": b.name, **diff_document(diff(ladder, a, b))} for a, b in pairs])
        return
    for number, (before, after) in enumerate(pairs):
        heading = bold(f"{before.name} -> {after.name}")
        write(*[""][:number], heading, terminal.diff_text(diff(ladder, before, after)))
    if not pairs:
        typer.echo(f"nothing to compare: {rungs[0].name} is the first rung")


def judge(
    place: Place,
    runs: Runs = Path("runs"),
    contract: Clauses = None,
    as_json: Json = False,
) -> None:
    """Judge the stored runs again.

    Status 0: kept (of a whole ladder: by at least one rung), 1: broken, 3: undecided.
    """
    from smallprint.results.assessment import why_not_measured
    from smallprint.views import terminal
    from smallprint.views.documents import ladder_document

    ladder, rungs = rungs_at(place, facts_of=facts_of_data(runs=runs))
    if contract is not None:
        ladder = replace(ladder, contract=ladder.contract.amend(contract))
    results = [result for result in assess_here(ladder, runs) if result.rung in rungs]
    if as_json:
        write_json(ladder_document(ladder, results))
    else:
        write(f"promise: {ladder.contract}")
        for result in results:
            said = terminal.verdict_text(result.verdict, result.runs) if result.verdict else "not measured"
            write("", bold(result.rung.name), said)
        if any(result.verdict is None for result in results):
            why = "".join(f"{line}\n" for line in [why_not_measured(ladder, results, runs)] if line)
            typer.echo(f"\n{why}'smallprint climb {shlex.quote(place)}' measures what is missing")
    say_not_counted(ladder, results)
    outcomes = {result.verdict.outcome if result.verdict else "undecided" for result in results}
    status = DONE if "kept" in outcomes else UNDECIDED if "undecided" in outcomes else BROKEN
    raise typer.Exit(status)


def report(
    ladder: LadderName,
    runs: Runs = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder to write into; default: the ladder's folder of runs.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the numbers of all runs as a record, to this file; what it knows of other seeds stays.",
        ),
    ] = None,
    mistakes: Annotated[
        int, typer.Option(metavar="N", min=0, max=200, help="Show this many mistaken images of each rung.")
    ] = 24,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write report.html and report.md from the stored runs."""
    from smallprint.results.assessment import why_not_measured
    from smallprint.results.record import joined
    from smallprint.results.runs import write_whole
    from smallprint.spec.errors import listing
    from smallprint.views.documents import ladder_document, record_document, record_text, training_commands

    if split_place(ladder)[1] is not None:
        raise NotationError(f"a report is of a whole ladder: smallprint report {split_place(ladder)[0]}")
    read = ladder_at(ladder, facts_of_data(data, runs))
    dataset = load_if_here(read.data, data)
    results = assess_here(read, runs, dataset)
    if not (runs / read.name).is_dir():
        missing = why_not_measured(read, results, runs)
        raise RunError(f"{missing}: 'smallprint climb {shlex.quote(ladder)}' trains them, --runs says where they are")
    html, markdown = report_here(read, results, out or runs / read.name, dataset, mistakes=mistakes)
    written = [str(html), str(markdown)]
    if record:
        recorded, left_out = joined(record, read, results)
        document = record_document(read, recorded, training_commands(ladder, read, recorded))
        write_whole(record, record_text(document).encode())
        if left_out:
            say_fault(
                f"left out of {record}: what it knew of {listing(left_out)}, of another network or recipe than the "
                "ladder's now"
            )
        written.append(str(record))
    if as_json:
        write_json({**ladder_document(read, results), "written": written})
    else:
        typer.echo("\n".join(written))
    say_not_counted(read, results)


def ladders(as_json: Json = False) -> None:
    """List the ladders that come with smallprint."""
    from smallprint.spec.ladder_file import read_ladder, shipped
    from smallprint.views import terminal
    from smallprint.views.documents import outline_document

    read = [read_ladder(name) for name in shipped()]
    if as_json:
        write_json([outline_document(one) for one in read])
        return
    for number, one in enumerate(read):
        write(*[""][:number], terminal.outline_text(one))
