"""The terminal: one command per verb; the only module that prints."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

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
    precision_named,
    rungs_at,
    split_place,
    worker_count,
)
from smallprint.spec.dataset import DATASETS, DataPlace, DatasetFacts
from smallprint.spec.errors import DataError, NotationError, RunError, SmallprintError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from smallprint.results.assessment import RungResult
    from smallprint.spec.ladder import Ladder
    from smallprint.spec.ladder_file import FactsOf
    from smallprint.training.data import Dataset
    from smallprint.views.gallery import Pictures

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
        _say_fault(str(fault))
        sys.exit(BAD_INPUT)
    except OSError as fault:  # a file or folder that no room answers for
        _say_fault(f"{fault.filename}: {fault.strerror}" if fault.filename else str(fault))
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
        chosen, dataset = _first_ladder(data)
        rungs = choose(chosen, rung or ())
    else:
        chosen, rungs = rungs_at(ladder, rung or (), _facts_of(data))
        dataset = _load(chosen.data, data)
        chosen.check(dataset.facts)
    from smallprint.climb import climb as start
    from smallprint.watch import Watch

    names = [one.name for one in rungs]
    events = start(
        chosen, rungs=names, seeds=seeds, runs=runs, dataset=dataset, device=device, threads=threads, workers=crew,
        precision=products,
    )  # fmt: skip
    watch = Watch(chosen, chosen.with_teachers(rungs), _console(stderr=as_json))
    try:
        with _heeding_sigterm(), closing(events):
            results = watch.show(events)
            stored = _assess(chosen, runs, dataset)
            html, markdown = _write_report(chosen, stored, runs / chosen.name, dataset)
    except KeyboardInterrupt:
        typer.echo("\nstopped. Finished epochs are kept; the same command goes on behind them.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        from smallprint.views.documents import ladder_document

        _print_json({**ladder_document(chosen, results), "report": [str(html), str(markdown)]})
    else:
        typer.echo(f"\nreport: {html}\n        {markdown}")
    _say_not_counted(chosen, stored)
    if why := watch.why_left_out():
        raise RunError(why)


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
            _print_json(network_document(parsed, traced))
        else:
            _print(terminal.layer_table(traced))
        return
    ladder, rungs = rungs_at(place or "", facts_of=_facts_of())
    if as_json:
        documents = [{"name": rung.name, **network_document(rung.network, ladder.trace(rung))} for rung in rungs]
        one = split_place(place or "")[1] is not None
        _print_json(documents[0] if one else {"ladder": ladder.name, "rungs": documents})
        return
    for rung in rungs:
        number = ladder.rungs.index(rung) + 1
        _print(terminal.rung_heading(rung, number, len(ladder.rungs), ladder.trace(rung)), "")
        _print(terminal.layer_table(ladder.trace(rung)))


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

    ladder, rungs = rungs_at(first, facts_of=_facts_of())
    if second is not None:
        beside = second if ":" in second else f"{split_place(first)[0]}:{second}"
        other, others = rungs_at(beside, facts_of=_facts_of())
        if len(rungs) != 1 or len(others) != 1 or other.dataset != ladder.dataset:
            raise NotationError("diff compares two rungs of the same data set: diff LADDER:RUNG LADDER:RUNG")
        pairs = [(rungs[0], others[0])]
    elif len(rungs) == 1 and len(ladder.rungs) > 1:
        place = ladder.rungs.index(rungs[0])
        pairs = [(ladder.rungs[place - 1], rungs[0])] if place else []
    else:
        pairs = list(pairwise(rungs))
    if as_json:
        _print_json([{"from": a.name, "to": b.name, **diff_document(diff(ladder, a, b))} for a, b in pairs])
        return
    for number, (before, after) in enumerate(pairs):
        heading = _bold(f"{before.name} -> {after.name}")
        _print(*[""][:number], heading, terminal.diff_text(diff(ladder, before, after)))
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

    ladder, rungs = rungs_at(place, facts_of=_facts_of(runs=runs))
    if contract is not None:
        ladder = replace(ladder, contract=ladder.contract.amend(contract))
    results = [result for result in _assess(ladder, runs) if result.rung in rungs]
    if as_json:
        _print_json(ladder_document(ladder, results))
    else:
        _print(f"promise: {ladder.contract}")
        for result in results:
            said = terminal.verdict_text(result.verdict, result.runs) if result.verdict else "not measured"
            _print("", _bold(result.rung.name), said)
        if any(result.verdict is None for result in results):
            why = "".join(f"{line}\n" for line in [why_not_measured(ladder, results, runs)] if line)
            typer.echo(f"\n{why}'smallprint climb {shlex.quote(place)}' measures what is missing")
    _say_not_counted(ladder, results)
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
    from smallprint.views.documents import climb_commands, ladder_document, record_document, record_text

    read = ladder_at(ladder, _facts_of(data, runs))
    dataset = _load_if_here(read.data, data)
    results = _assess(read, runs, dataset)
    html, markdown = _write_report(read, results, out or runs / read.name, dataset, mistakes=mistakes)
    written = [str(html), str(markdown)]
    if record:
        document = record_document(read, results, climb_commands(ladder, read, results))
        write_whole(record, record_text(document).encode())
        written.append(str(record))
    if as_json:
        _print_json({**ladder_document(read, results), "written": written})
    else:
        typer.echo("\n".join(written))
    _say_not_counted(read, results)


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

    dataset = _load(data_at(what, split, _facts_of(data)), data)
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

        write_whole(sheet, sample_sheet(_pictures(dataset), per_class=10))
        document["sheet"] = str(sheet)
    if as_json:
        _print_json(document)
    else:
        _print(terminal.dataset_text(document))


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

    with _busy(f"reading {data}"):
        path, ladder = new(name, data, split, force=force)
    if as_json:
        _print_json({"written": str(path), **outline_document(ladder)})
    else:
        _print(
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
        _print_json([outline_document(one) for one in read])
        return
    for number, one in enumerate(read):
        _print(*[""][:number], terminal.outline_text(one))


@app.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Say what smallprint finds here, and how it would train.

    Versions, processors, compiler, GPU, data sets, shipped ladders.
    """
    import torch

    from smallprint import __version__
    from smallprint.spec.ladder_file import shipped
    from smallprint.training import machine
    from smallprint.training.data import cache_folder, find_dataset

    findings: dict[str, Any] = {
        "smallprint": __version__,
        **machine.describe(),
        "step": _step_here(),
        "trainings": _placement_of(64),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "mnist": str(place) if (place := find_dataset("mnist", data)) else None,
        "cache": str(cache_folder()),
        "ladders": list(shipped()),
    }
    if as_json:
        _print_json(findings)
        return
    for key, value in findings.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        typer.echo(f"{key:>12}: {'none' if shown is None else shown}")
    if findings["mnist"] is None:
        typer.echo("\nMNIST is not here yet: 'smallprint data mnist' fetches it, or say --data FOLDER.")


def _step_here() -> str:
    """How a step would be computed on the processor, and why."""
    from smallprint.training.native.compiler import NativeError, find_compiler

    try:
        return f"native, compiled by {find_compiler()}"
    except NativeError as fault:
        return f"PyTorch's, many times slower: {fault}"


def _placement_of(seeds: int) -> str:
    """Where a climb would train so many seeds of a small rung, and why."""
    from smallprint.jobs.job import Job
    from smallprint.jobs.placement import place
    from smallprint.spec.ladder_file import read_ladder
    from smallprint.training.data import load_dataset

    ladder = read_ladder("digits")
    jobs = [Job(ladder=ladder, rung=ladder.rungs[-1], seed=seed) for seed in range(seeds)]
    return str(place(jobs, load_dataset(ladder.data)))


@contextmanager
def _heeding_sigterm() -> Iterator[None]:
    """Let SIGTERM end what is under way as Ctrl-C does: tidily."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_ladder(data: Path | None) -> tuple[Ladder, Dataset]:
    """The ladder that is climbed when none is named, with its data."""
    from smallprint.spec.ladder_file import read_ladder

    ladder = read_ladder("progressive")
    try:
        return ladder, _load(ladder.data, data)
    except DataError as fault:
        if data is not None:
            raise
        reason = str(fault).split(" (http", 1)[0]
        typer.echo(f"{reason}: climbing the embedded 'digits' instead ('smallprint data mnist' says more).", err=True)
        return read_ladder("digits"), _load(DataPlace(said="digits"), None)


def _facts_of(data: Path | None = None, runs: Path | None = None) -> FactsOf:
    """How a ladder learns shape and classes of your own data; of data that is gone, from the runs that are stored."""

    def facts_of(place: DataPlace) -> DatasetFacts:
        from smallprint.training.facts import read_facts

        try:
            with nullcontext() if place.known else _busy(f"reading {place.name}"):
                return read_facts(place, data)
        except DataError:
            from smallprint.results.kept import kept_data

            if runs and not place.known and (kept := kept_data(runs, place)):
                return kept.facts
            raise

    return facts_of


def _load(place: DataPlace, data: Path | None) -> Dataset:
    from smallprint.training.data import find_dataset, load_dataset

    here = not place.known or not DATASETS[place.said].origin or find_dataset(place.said, data)
    with _busy(f"{'reading' if here else 'fetching'} {place.name}"):
        return load_dataset(place, data)


def _load_if_here(place: DataPlace, data: Path | None) -> Dataset | None:
    """A data set for a report's pictures; without it there are none, and nothing is downloaded for them."""
    from smallprint.training.data import find_dataset, load_dataset

    name = place.name
    try:
        if data is None and place.known and DATASETS[name].origin and not find_dataset(name):
            raise DataError(f"{name} is not on this machine ('smallprint data {name}' fetches it)")
        return load_dataset(place, data)
    except DataError as fault:
        _say_fault(f"the report is written without pictures of the images: {fault}")
        return None


def _assess(ladder: Ladder, runs: Path, dataset: Dataset | None = None) -> tuple[RungResult, ...]:
    """All rungs from their stored runs; those that were trained on other data than is there now do not count."""
    from smallprint.results.assessment import assess_stored

    data = dataset.fingerprint if dataset else None
    if data is None and not ladder.data.known:
        from smallprint.results.kept import kept_data
        from smallprint.training.data.own import own_fingerprint

        try:
            data = own_fingerprint(ladder.data)
        except DataError:
            kept = kept_data(runs, ladder.data)
            data = kept.fingerprint if kept else None
    return assess_stored(ladder, runs, data=data)


def _say_not_counted(ladder: Ladder, results: Sequence[RungResult]) -> None:
    from smallprint.results.assessment import why_not_counted

    if why := why_not_counted(ladder, results):
        seeds = 1 + max(seed for result in results for seed in result.other_data)
        _say_fault(f"{why}; 'smallprint climb' with --seeds {seeds} trains what is missing")


def _write_report(
    ladder: Ladder, results: Sequence[RungResult], folder: Path, dataset: Dataset | None, *, mistakes: int = 24
) -> tuple[Path, Path]:
    from smallprint.views.report import write_report

    pictures = _pictures(dataset) if dataset else None
    return write_report(ladder, results, folder, pictures, mistakes=mistakes)


def _pictures(dataset: Dataset) -> Pictures:
    from smallprint.views.gallery import Pictures

    return Pictures(
        images_NCHW=dataset.test_pictures(), labels_N=dataset.test_labels_N, class_names=dataset.facts.classes
    )


@contextmanager
def _busy(doing: str) -> Iterator[None]:
    """Say what takes its time, where somebody watches."""
    from rich.text import Text

    console = _console(stderr=True)
    with console.status(Text(doing)) if console.is_terminal else nullcontext():
        yield


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _bold(text: str) -> Text:
    from rich.text import Text

    return Text(text, "bold")


def _print(*what: RenderableType) -> None:
    _console().print(*what, sep="\n", soft_wrap=True)


def _print_json(document: dict[str, Any] | list[dict[str, Any]]) -> None:
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


def _say_fault(message: str) -> None:
    typer.echo(f"smallprint: {message}", err=True)
