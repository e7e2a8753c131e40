"""Commands that train: climb, certify, search."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from smallprint.arguments import (
    Data,
    Device,
    Json,
    PrecisionText,
    RungNames,
    Runs,
    SeedsText,
    Threads,
    WorkerCount,
    choose,
    means,
    one_rung_at,
    rungs_at,
    seconds,
    seeds_named,
    split_place,
)
from smallprint.console import BROKEN, DONE, INTERRUPTED, UNDECIDED, console, write_json
from smallprint.results.runs import prepare_to_write
from smallprint.sources import (
    assess_here,
    facts_of_data,
    first_ladder,
    load,
    report_here,
    say_not_counted,
)
from smallprint.spec.errors import RunError

# Heavy imports stand inside the commands: --help answers at once, and only what trains imports torch.


def climb(
    ladder: Annotated[
        str | None, typer.Argument(metavar="LADDER", help="A shipped ladder's name, a ladder file, or LADDER:RUNG.")
    ] = None,
    rung: RungNames = None,
    seeds: SeedsText = "1",
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
    how, named = means(workers, threads, device, precision), seeds_named(seeds)
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
    events = start(chosen, rungs=names, seeds=named, runs=runs, dataset=dataset, **how)
    watch = ClimbWatch(chosen, chosen.with_teachers(rungs), console(stderr=as_json))
    with _stopping_tidily(), closing(events):
        results = watch.show(events)
        stored = assess_here(chosen, runs, dataset)
        html, markdown = report_here(chosen, stored, runs / chosen.name, dataset)
    if as_json:
        from smallprint.views.documents import ladder_document

        write_json({**ladder_document(chosen, results), "report": [str(html), str(markdown)]})
    else:
        typer.echo(f"\nreport: {html}\n        {markdown}")
    say_not_counted(chosen, stored)
    if why := watch.why_left_out():
        raise RunError(why)


def certify(
    place: Annotated[str, typer.Argument(metavar="LADDER:RUNG", help="The rung to certify.")],
    seeds_at_most: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="Train no more than so many fresh seeds.")
    ] = 200,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the record to this file, and go on from what it has counted; default: record.json among the "
            "rung's runs.",
        ),
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
    how = means(workers, threads, device, precision)
    ladder, rung = one_rung_at(place, facts_of_data(data))
    from smallprint.certify import CertifyEnded, never_kept
    from smallprint.certify import certify as start
    from smallprint.watching.certification import CertifyWatch, write_outcome

    trained = not never_kept(ladder, rung)
    if record and trained:
        prepare_to_write(record)
    dataset = load(ladder.data, data) if trained else None
    events = start(ladder, rung.name, runs=runs, dataset=dataset, at_most=seeds_at_most, record=record, **how)
    with _stopping_tidily(), closing(events):
        ended = CertifyWatch(ladder, rung, console(stderr=as_json)).show(events)
    outcome = write_outcome(ladder, ended, place, runs, record, as_json=as_json)
    if isinstance(ended, CertifyEnded) and ended.stopped:
        _say_stopped()
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit({"certified": DONE, "refuted": BROKEN, "undecided": UNDECIDED}[outcome])


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
    record: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A record of the ladder, from which is learnt how held-out and test images relate; may be repeated.",
        ),
    ] = None,
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
    must show, 3: none yet. The same command goes on where it stopped, with more time where its --budget is larger;
    Ctrl-C ends it with what it has found by then.
    """
    time, how = seconds(budget), means(workers, threads, device, precision)
    ladder, rung = one_rung_at(place, facts_of_data(data))
    from smallprint.search import search as start
    from smallprint.views.search_documents import search_document
    from smallprint.views.search_report import write_search_report
    from smallprint.watching.search import SearchWatch

    events = start(
        ladder, rung.name, goal=goal, budget=time, candidates=candidates, floor=floor, ceiling=ceiling,
        teachers=teacher or (), seed=seed, runs=runs, records=record or (), dataset=load(ladder.data, data), **how,
    )  # fmt: skip
    command = shlex.join(["smallprint", *sys.argv[1:]])
    there = ["--runs", str(runs), *(["--data", str(data)] if data else [])]
    climb = shlex.join(["smallprint", "climb", split_place(place)[0], "--rung", rung.name, "--seeds", "3", *there])
    watch = SearchWatch(ladder, rung, console(stderr=as_json), command=command, climb=climb, seed=seed)
    with _stopping_tidily(), closing(events):
        result = watch.show(events)
    html, markdown = write_search_report(result)
    if as_json:
        write_json(search_document(result))
    else:
        typer.echo(f"\nreport: {html}\n        {markdown}")
    if result.stopped:
        _say_stopped()
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(DONE if result.found.keeps else UNDECIDED)


@contextmanager
def _stopping_tidily() -> Iterator[None]:
    """Let Ctrl-C, and SIGTERM like it, end what is under way with a word on how it goes on."""
    before, hook = signal.signal(signal.SIGTERM, signal.default_int_handler), sys.unraisablehook
    sys.unraisablehook = _once_more
    try:
        yield
    except KeyboardInterrupt:
        _say_stopped()
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = hook


def _once_more(dropped: sys.UnraisableHookArgs) -> None:
    """Ctrl-C that falls into a finalizer, where Python drops every exception, comes again a little later."""
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return

    def come() -> None:
        if sys.platform == "win32":
            interrupt_main()
        else:  # which wakes it from what it waits for
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    again = threading.Timer(0.05, come)
    again.daemon = True
    again.start()


def _say_stopped() -> None:
    typer.echo("\nstopped. Finished epochs are kept; the same command goes on behind them.", err=True)
