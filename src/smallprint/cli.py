"""The terminal: one command per verb; the only module that prints."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from smallprint.spec.errors import DataError, NotationError, SmallprintError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from smallprint.spec.ladder import Ladder, Rung
    from smallprint.training.data import Dataset
    from smallprint.views.plots import Pictures

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

LadderName = Annotated[str, typer.Argument(metavar="LADDER", help="A shipped ladder's name, or a ladder file.")]
Place = Annotated[str, typer.Argument(metavar="LADDER[:RUNG]", help="A ladder, or one of its rungs.")]
Runs = Annotated[Path, typer.Option(help="Folder of the stored runs.")]
Data = Annotated[Path | None, typer.Option(help="Folder that holds the data set; looked into first.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]


def main() -> NoReturn:
    """Run the command line; a user's mistake becomes one message and status 2."""
    try:
        app()
    except SmallprintError as fault:
        _say_fault(str(fault))
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
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
        str | None, typer.Argument(metavar="[LADDER]", help="A shipped ladder's name, a ladder file, or LADDER:RUNG.")
    ] = None,
    rung: Annotated[list[str] | None, typer.Option(help="Only this rung; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Train each rung with this many random seeds.")] = 1,
    runs: Runs = Path("runs"),
    data: Data = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of the training; default: all cores.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or cuda:N.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Train the rungs of a ladder in order, judge each, and write the report.

    Without a ladder: 'progressive' on MNIST, or the embedded 'digits' where MNIST cannot be had.
    """
    from smallprint.spec.ladder import read_ladder

    if ladder is None:
        chosen, dataset = _first_ladder(data)
        names = list(rung or ())
    else:
        where, one = _split_place(ladder)
        chosen, names = read_ladder(where), list(rung or ()) + ([one] if one else [])
        for name in names:
            chosen.rung(name)
        dataset = _load(chosen, data)
    _check_device(device)
    from smallprint.climb import climb as start
    from smallprint.watch import Watch

    events = start(chosen, rungs=names, seeds=seeds, runs=runs, dataset=dataset, device=device, threads=threads)
    try:
        results = Watch(chosen, names, seeds, _console(stderr=as_json)).show(events)
    except KeyboardInterrupt:
        typer.echo("\nstopped. Finished epochs are kept; the same command goes on behind them.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    html, markdown = _write_report(chosen, runs, runs / chosen.name, dataset)
    if as_json:
        from smallprint.views.documents import ladder_document

        _print_json({**ladder_document(chosen, results), "report": [str(html), str(markdown)]})
    else:
        typer.echo(f"report: {html}\n        {markdown}")


@app.command()
def show(
    place: Annotated[
        str | None, typer.Argument(metavar="[LADDER[:RUNG]]", help="A ladder, or one of its rungs.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="A network as text instead: 'conv3-8 ... gap conv1-10'.")] = None,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="CxHxW", help="Input shape of --network, such as 1x28x28.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a network layer by layer: output shape, parameters, multiply-adds, receptive field."""
    from smallprint.spec.network import Network
    from smallprint.spec.trace import trace
    from smallprint.views import terminal
    from smallprint.views.documents import network_document

    if (place is None) == (network is None):
        raise NotationError("show takes a LADDER[:RUNG], or a --network with its --input")
    if network is not None:
        parsed = Network.parse(network)
        traced = trace(parsed, _input_shape(input_shape))
        if as_json:
            _print_json(network_document(parsed, traced))
        else:
            _print(terminal.layer_table(traced))
        return
    ladder, rungs = _rungs_at(place or "")
    if as_json:
        documents = [{"name": rung.name, **network_document(rung.network, ladder.trace(rung))} for rung in rungs]
        one = _split_place(place or "")[1] is not None
        _print_json(documents[0] if one else {"ladder": ladder.name, "rungs": documents})
        return
    for rung in rungs:
        number = ladder.rungs.index(rung) + 1
        _print(terminal.rung_heading(rung, number, len(ladder.rungs), ladder.trace(rung)), "")
        _print(terminal.layer_table(ladder.trace(rung)))


@app.command("diff")
def diff_command(
    first: Annotated[str, typer.Argument(metavar="LADDER[:RUNG]", help="A ladder for all its steps, or a rung.")],
    second: Annotated[str | None, typer.Argument(metavar="[LADDER:RUNG]", help="The rung to compare with.")] = None,
    as_json: Json = False,
) -> None:
    """Show what changed from rung to rung: the network's lines, the recipe's keys, the counts."""
    from smallprint.spec.ladder import diff
    from smallprint.views import terminal
    from smallprint.views.documents import diff_document

    ladder, rungs = _rungs_at(first)
    if second is not None:
        other, others = _rungs_at(second if ":" in second else f"{_split_place(first)[0]}:{second}")
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
    for before, after in pairs:
        _print(_bold(f"{before.name} -> {after.name}"), terminal.diff_text(diff(ladder, before, after)), "")
    if not pairs:
        typer.echo("nothing to compare: this is the first rung")


@app.command()
def judge(
    place: Place,
    runs: Runs = Path("runs"),
    contract: Annotated[str | None, typer.Option(help="Other clauses: 'accuracy >= 99.3%, last_epochs = 3'.")] = None,
    as_json: Json = False,
) -> None:
    """Judge the stored runs again.

    Status 0: kept (of a whole ladder: by at least one rung), 1: broken, 3: undecided.
    """
    from smallprint.results.assessment import assess_stored
    from smallprint.views import terminal
    from smallprint.views.documents import ladder_document

    ladder, rungs = _rungs_at(place)
    if contract:
        ladder = replace(ladder, contract=ladder.contract.amend(contract))
    results = [result for result in assess_stored(ladder, runs) if result.rung in rungs]
    if as_json:
        _print_json(ladder_document(ladder, results))
    else:
        _print(_bold(str(ladder.contract)))
        for result in results:
            shown = terminal.verdict_text(result.verdict) if result.verdict else "not measured"
            _print("", _bold(result.rung.name), shown)
    outcomes = {result.verdict.outcome if result.verdict else "undecided" for result in results}
    status = DONE if "kept" in outcomes else UNDECIDED if "undecided" in outcomes else BROKEN
    raise typer.Exit(status)


@app.command()
def report(
    ladder: LadderName,
    runs: Runs = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into; default: the ladder's folder of runs.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Also write the numbers of all runs as a record, to this file.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write report.html and report.md from the stored runs."""
    from smallprint.results.assessment import assess_stored
    from smallprint.results.runs import write_whole
    from smallprint.spec.ladder import read_ladder
    from smallprint.views.documents import record_document

    read = read_ladder(ladder)
    try:
        dataset = _load(read, data)
    except DataError as fault:
        _say_fault(f"the report is written without pictures of the images: {fault}")
        dataset = None
    html, markdown = _write_report(read, runs, out or runs / read.name, dataset)
    written = [str(html), str(markdown)]
    if record:
        results = [result for result in assess_stored(read, runs) if result.runs]
        seeds = max((len(result.runs) for result in results), default=1)
        document = record_document(read, results, f"smallprint climb {shlex.quote(ladder)} --seeds {seeds}")
        write_whole(record, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
        written.append(str(record))
    if as_json:
        _print_json({"written": written})
    else:
        typer.echo("\n".join(written))


@app.command("data")
def data_command(
    name: Annotated[str, typer.Argument(help="A data set's name.")] = "mnist",
    data: Data = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a sheet of sample images to this PNG file.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a data set, check it, and say what is in it."""
    import numpy as np

    from smallprint.training.data import load_dataset

    dataset = load_dataset(name, data)
    mean, deviation = dataset.mean_and_deviation
    document: dict[str, Any] = {
        "name": name,
        "title": dataset.facts.title,
        "found": dataset.found,
        "fingerprint": dataset.fingerprint,
        "input_shape": list(dataset.facts.input_shape),
        "mean": [round(float(value), 6) for value in mean],
        "deviation": [round(float(value), 6) for value in deviation],
        "train": {c: int(n) for c, n in zip(dataset.facts.classes, np.bincount(dataset.train_labels_N), strict=True)},
        "test": {c: int(n) for c, n in zip(dataset.facts.classes, np.bincount(dataset.test_labels_N), strict=True)},
    }
    if sheet:
        from smallprint.results.runs import write_whole
        from smallprint.views.plots import sample_sheet

        write_whole(sheet, sample_sheet(_pictures(dataset), per_class=10))
        document["sheet"] = str(sheet)
    if as_json:
        _print_json(document)
        return
    train, test = dataset.facts.train, dataset.facts.test
    shape = " x ".join(map(str, dataset.facts.input_shape))
    typer.echo(f"{dataset.facts.title}\nfound in {dataset.found}; SHA-256 {dataset.fingerprint[:16]}...")
    typer.echo(f"{train:,} training and {test:,} test images of {shape}")
    typer.echo(f"mean {document['mean']}, deviation {document['deviation']}")
    for half in ("train", "test"):
        typer.echo(f"{half:>5}: " + "  ".join(f"{c} {n:,}" for c, n in document[half].items()))
    if sheet:
        typer.echo(f"samples: {sheet}")


@app.command()
def ladders(as_json: Json = False) -> None:
    """List the ladders that come with smallprint."""
    from smallprint.spec.ladder import read_ladder, shipped

    read = [read_ladder(name) for name in shipped()]
    if as_json:
        _print_json(
            [
                {
                    "name": one.name,
                    "title": one.title,
                    "dataset": one.dataset,
                    "contract": one.contract.clauses(),
                    "rungs": [{"name": rung.name, "parameters": one.trace(rung).parameters} for rung in one.rungs],
                }
                for one in read
            ]
        )
        return
    for one in read:
        _print(_bold(one.name))
        typer.echo(f"  {one.title}\n  promise: {one.contract} ({one.dataset})")
        typer.echo(
            "  rungs:   " + ", ".join(f"{rung.name} {one.trace(rung).parameters:,}" for rung in one.rungs) + "\n"
        )


@app.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Say what smallprint finds on this machine: versions, processors, data sets, shipped ladders."""
    import torch

    from smallprint import __version__
    from smallprint.spec.ladder import shipped
    from smallprint.training import machine
    from smallprint.training.data import cache_folder, find_dataset

    findings: dict[str, Any] = {
        "smallprint": __version__,
        **machine.describe(),
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


def _first_ladder(data: Path | None) -> tuple[Ladder, Dataset]:
    """The ladder that is climbed when none is named, with its data."""
    from smallprint.spec.ladder import read_ladder
    from smallprint.training.data import load_dataset

    ladder = read_ladder("progressive")
    try:
        return ladder, load_dataset(ladder.dataset, data)
    except DataError as fault:
        if data is not None:
            raise
        reason = str(fault).split(" (", 1)[0]
        typer.echo(f"{reason}: climbing the embedded 'digits' instead ('smallprint data mnist' says more).", err=True)
        return read_ladder("digits"), load_dataset("digits")


def _load(ladder: Ladder, data: Path | None) -> Dataset:
    from smallprint.training.data import load_dataset

    return load_dataset(ladder.dataset, data)


def _write_report(ladder: Ladder, runs: Path, folder: Path, dataset: Dataset | None) -> tuple[Path, Path]:
    from smallprint.results.assessment import assess_stored
    from smallprint.views.report import write_report

    return write_report(ladder, assess_stored(ladder, runs), folder, _pictures(dataset) if dataset else None)


def _pictures(dataset: Dataset) -> Pictures:
    from smallprint.views.plots import Pictures

    return Pictures(
        images_NCHW=dataset.test_images_NCHW, labels_N=dataset.test_labels_N, class_names=dataset.facts.classes
    )


def _split_place(place: str) -> tuple[str, str | None]:
    """LADDER:RUNG into its parts; a drive letter is no ladder."""
    found = re.fullmatch(r"(.{2,}):([a-z0-9][a-z0-9._-]*)", place, re.DOTALL)
    return (found[1], found[2]) if found and not Path(place).exists() else (place, None)


def _rungs_at(place: str) -> tuple[Ladder, list[Rung]]:
    from smallprint.spec.ladder import read_ladder

    where, name = _split_place(place)
    ladder = read_ladder(where)
    return ladder, [ladder.rung(name)] if name else list(ladder.rungs)


def _input_shape(text: str | None) -> tuple[int, int, int]:
    found = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})x([0-9]{1,6})", text or "")
    shape = tuple(int(side) for side in found.groups()) if found else (0, 0, 0)
    if 0 in shape:
        raise NotationError(f"--input reads channels x height x width, as in 1x28x28, not {text!r}")
    return shape[0], shape[1], shape[2]


def _check_device(device: str) -> None:
    import torch

    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", device):
        raise NotationError(f"--device is cpu, cuda or cuda:N, not {device!r}")
    if device != "cpu" and not torch.cuda.is_available():
        raise NotationError(
            f"--device {device}: this machine has no GPU that torch {torch.__version__} can use; say cpu"
        )


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
