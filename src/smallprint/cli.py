"""The terminal: one command per verb."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from smallprint.arguments import (
    Clauses,
    Data,
    Device,
    Json,
    LadderName,
    Place,
    PrecisionText,
    RungNames,
    Runs,
    Seeds,
    SplitText,
    Threads,
    WorkerCount,
    check_device,
    choose,
    data_at,
    input_shape,
    ladder_at,
    one_rung_at,
    precision_named,
    rungs_at,
    seconds,
    split_place,
    worker_count,
)
from smallprint.console import bold, busy, console, say_fault, write, write_json
from smallprint.sources import (
    assess_here,
    facts_of_data,
    first_ladder,
    load,
    load_if_here,
    pictures_of,
    say_not_counted,
)
from smallprint.spec.errors import NotationError, RunError, SmallprintError

if TYPE_CHECKING:
    from smallprint.results.assessment import RungResult
    from smallprint.spec.ladder import Ladder
    from smallprint.training.data import Dataset

# Heavy imports stand inside the commands: --help answers at once, and only what trains imports torch.

DONE, BROKEN, BAD_INPUT, UNDECIDED, INTERRUPTED = 0, 1, 2, 3, 130  # exit status

app = typer.Typer(
    name="smallprint",
    help="Builds the smallest network that keeps its promise.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> NoReturn:
    """Run the command line; a user's mistake becomes one message and status 2."""
    try:
        app(prog_name="smallprint")
    except SmallprintError as fault:
        say_fault(str(fault))
        sys.exit(BAD_INPUT)
    except OSError as fault:  # a file or folder that no room answers for
        say_fault(f"{fault.filename}: {fault.strerror}" if fault.filename else str(fault))
        sys.exit(BAD_INPUT)
    sys.exit(DONE)


def _version(asked: bool) -> None:
    if asked:
        from smallprint import __version__

        typer.echo(f"smallprint {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def climb(
    ladder: Annotated[
        str | None, typer.Argument(metavar="LADDER", help="A shipped ladder's name, a ladder file, or LADDER:RUNG.")
    ] = None,
    rung: RungNames = None,
    seeds: Seeds = 1,
    runs: Runs = Path("runs"),
    data: Data = None,
    workers: WorkerCount = "auto",
    threads: Threads = None,
    device: Device = "auto",
    precision: PrecisionText = "float32",
    as_json: Json = False,
) -> None:
    """Train the rungs in order, judge each, write the report.

    Without a ladder: 'progressive' on MNIST, or the embedded 'digits' where MNIST cannot be had.
    """
    crew = worker_count(workers)
    products = precision_named(precision)
    check_device(device)
    if ladder is None:
        chosen, dataset = first_ladder(data)
        rungs = choose(chosen, rung or ())
    else:
        chosen, rungs = rungs_at(ladder, rung or (), facts_of_data(data))
        dataset = load(chosen.data, data)
        chosen.check(dataset.facts)
    from smallprint.climb import climb as start
    from smallprint.watching.climb import ClimbWatch

    names = [one.name for one in rungs]
    events = start(
        chosen, rungs=names, seeds=seeds, runs=runs, dataset=dataset, device=device, threads=threads, workers=crew,
        precision=products,
    )  # fmt: skip
    watch = ClimbWatch(chosen, chosen.with_teachers(rungs), console(stderr=as_json))
    with _stopping_tidily(), closing(events):
        results = watch.show(events)
        stored = assess_here(chosen, runs, dataset)
        html, markdown = _write_report(chosen, stored, runs / chosen.name, dataset)
    if as_json:
        from smallprint.views.documents import ladder_document

        write_json({**ladder_document(chosen, results), "report": [str(html), str(markdown)]})
    else:
        typer.echo(f"\nreport: {html}\n        {markdown}")
    say_not_counted(chosen, stored)
    if why := watch.why_left_out():
        raise RunError(why)


@app.command()
def certify(
    place: Annotated[str, typer.Argument(metavar="LADDER:RUNG", help="The rung to certify.")],
    seeds_at_most: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="Train no more than so many fresh seeds.")
    ] = 200,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the record to this file; default: record.json among the rung's runs."),
    ] = None,
    runs: Runs = Path("runs"),
    data: Data = None,
    workers: WorkerCount = "auto",
    threads: Threads = None,
    device: Device = "auto",
    precision: PrecisionText = "float32",
    as_json: Json = False,
) -> None:
    """Train fresh seeds until they certify the contract, or refute it.

    A bound that stays valid however often one looks is printed after each seed. Status 0: certified, 1: refuted, or
    broken by the count of parameters, multiply-adds or epochs, 3: undecided.
    """
    crew, products = worker_count(workers), precision_named(precision)
    check_device(device)
    ladder, rung = one_rung_at(place, facts_of_data(data))
    from smallprint.certify import certify as start
    from smallprint.certify import never_kept
    from smallprint.watching.certification import CertifyWatch, write_outcome

    events = start(
        ladder, rung.name, runs=runs, dataset=None if never_kept(ladder, rung) else load(ladder.data, data),
        device=device, threads=threads, workers=crew, precision=products, at_most=seeds_at_most,
    )  # fmt: skip
    with _stopping_tidily(), closing(events):
        ended = CertifyWatch(ladder, rung, console(stderr=as_json)).show(events)
    outcome = write_outcome(ladder, ended, place, runs, record, as_json=as_json)
    raise typer.Exit({"certified": DONE, "refuted": BROKEN, "undecided": UNDECIDED}[outcome])


@app.command()
def search(
    place: Annotated[str, typer.Argument(metavar="LADDER:RUNG", help="The rung to start from.")],
    goal: Annotated[
        str, typer.Option(metavar="GOAL", help="What to make small: parameters, macs, flash or seconds.")
    ] = "parameters",
    budget: Annotated[str, typer.Option(metavar="TIME", help="Of all parts of this search: 90s, 30m, 1h30m.")] = "1h",
    candidates: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="End when so many have been drawn and are through.")
    ] = None,
    floor: Annotated[float | None, typer.Option(metavar="N", help="Nothing smaller; default: a part of it.")] = None,
    ceiling: Annotated[float | None, typer.Option(metavar="N", help="Nothing larger; default: the rung's own.")] = None,
    teacher: Annotated[
        list[str] | None, typer.Option(metavar="RUNG", help="A rung that may teach; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=10**6, help="Of what is drawn.")] = 0,
    runs: Runs = Path("runs"),
    data: Data = None,
    workers: WorkerCount = "auto",
    threads: Threads = None,
    device: Device = "auto",
    precision: PrecisionText = "float32",
    as_json: Json = False,
) -> None:
    """Look for a smaller network that still keeps the contract.

    On training images alone: a sixth of them is held out to judge by. Status 0: one was found that keeps what they
    must show, 3: none yet. The same command goes on where it stopped, with more time where its --budget is larger.
    """
    crew, products, time = worker_count(workers), precision_named(precision), seconds(budget)
    check_device(device)
    ladder, rung = one_rung_at(place, facts_of_data(data))
    from smallprint.search import search as start
    from smallprint.views.search_documents import search_document
    from smallprint.views.search_report import write_search_report
    from smallprint.watching.search import SearchWatch

    events = start(
        ladder, rung.name, goal=goal, budget=time, candidates=candidates, floor=floor, ceiling=ceiling,
        teachers=teacher or (), seed=seed, runs=runs, dataset=load(ladder.data, data),
        device=device, threads=threads, workers=crew, precision=products,
    )  # fmt: skip
    command = shlex.join(["smallprint", *sys.argv[1:]])
    with _stopping_tidily(), closing(events):
        result = SearchWatch(ladder, rung, console(stderr=as_json), command=command, seed=seed).show(events)
    html, markdown = write_search_report(result)
    if as_json:
        write_json(search_document(result))
    else:
        typer.echo(f"\nreport: {html}\n        {markdown}")
    raise typer.Exit(DONE if result.found.keeps else UNDECIDED)


@app.command()
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


@app.command("diff")
def diff_command(
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
        if len(rungs) != 1 or len(others) != 1 or other.dataset != ladder.dataset:
            raise NotationError("diff compares two rungs of the same data set: diff LADDER:RUNG LADDER:RUNG")
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


@app.command()
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


@app.command()
def report(
    ladder: LadderName,
    runs: Runs = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder to write into; default: the ladder's folder of runs.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the numbers of all runs as a record, to this file.")
    ] = None,
    mistakes: Annotated[
        int, typer.Option(metavar="N", min=0, max=200, help="Show this many mistaken images of each rung.")
    ] = 24,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write report.html and report.md from the stored runs."""
    from smallprint.results.runs import write_whole
    from smallprint.views.documents import ladder_document, record_document, record_text, training_commands

    read = ladder_at(ladder, facts_of_data(data, runs))
    dataset = load_if_here(read.data, data)
    results = assess_here(read, runs, dataset)
    html, markdown = _write_report(read, results, out or runs / read.name, dataset, mistakes=mistakes)
    written = [str(html), str(markdown)]
    if record:
        document = record_document(read, results, training_commands(ladder, read, results))
        write_whole(record, record_text(document).encode())
        written.append(str(record))
    if as_json:
        write_json({**ladder_document(read, results), "written": written})
    else:
        typer.echo("\n".join(written))
    say_not_counted(read, results)


@app.command("data")
def data_command(
    what: Annotated[
        str, typer.Argument(metavar="[NAME|PATH|LADDER]", help="A data set's name, the path of your own, or a ladder.")
    ] = "mnist",
    data: Data = None,
    split: SplitText = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a sheet of sample images to this PNG file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch or read a data set, check it, and say what is in it."""
    from smallprint.views import terminal
    from smallprint.views.documents import dataset_document

    dataset = load(data_at(what, split, facts_of_data(data)), data)
    document = dataset_document(
        dataset.facts,
        found=dataset.found,
        fingerprint=dataset.fingerprint,
        mean_and_deviation=dataset.mean_and_deviation,
        labels=(dataset.train_labels_N, dataset.test_labels_N),
    )
    if sheet:
        from smallprint.results.runs import write_whole
        from smallprint.views.gallery import sample_sheet

        write_whole(sheet, sample_sheet(pictures_of(dataset), per_class=10))
        document["sheet"] = str(sheet)
    if as_json:
        write_json(document)
    else:
        write(terminal.dataset_text(document))


@app.command("new")
def new_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new ladder's name; NAME.toml is written.")],
    data: Annotated[str, typer.Option(metavar="PATH|NAME", help="Your own data, or a data set's name.")],
    split: SplitText = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a starter ladder for your own data.

    A contract and three rungs that fit the size of your images and the number of your classes.
    """
    from smallprint.new import new
    from smallprint.views import terminal
    from smallprint.views.documents import outline_document

    with busy(f"reading {data}"):
        path, ladder = new(name, data, split, force=force)
    if as_json:
        write_json({"written": str(path), **outline_document(ladder)})
    else:
        write(
            terminal.outline_text(ladder), "", f"written: {path}; 'smallprint climb {shlex.quote(str(path))}' climbs it"
        )


@app.command()
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


@app.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Say what smallprint finds here, and how it would train.

    Versions, processors, compiler, GPU, data sets, shipped ladders.
    """
    from smallprint.doctor import findings

    found = findings(data)
    if as_json:
        write_json(found)
        return
    for key, value in found.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        typer.echo(f"{key:>12}: {'none' if shown is None else shown}")
    if found["mnist"] is None:
        typer.echo("\nMNIST is not here yet: 'smallprint data mnist' fetches it, or say --data FOLDER.")


@contextmanager
def _stopping_tidily() -> Iterator[None]:
    """Let Ctrl-C, and SIGTERM like it, end what is under way with a word on how it goes on."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\nstopped. Finished epochs are kept; the same command goes on behind them.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _write_report(
    ladder: Ladder, results: Sequence[RungResult], folder: Path, dataset: Dataset | None, *, mistakes: int = 24
) -> tuple[Path, Path]:
    from smallprint.views.report import write_report

    pictures = pictures_of(dataset) if dataset else None
    return write_report(ladder, results, folder, pictures, mistakes=mistakes)
