"""What stands on the command line, read: ladders, rungs, shapes, devices."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import typer

from smallprint.spec.errors import NotationError, listing, nearest, shown

if TYPE_CHECKING:
    from smallprint.results.runs import PrecisionAsked
    from smallprint.spec.dataset import DataPlace
    from smallprint.spec.ladder import Ladder, Rung
    from smallprint.spec.ladder_file import FactsOf

# What commands share, or what is long to say.
LadderName = Annotated[str, typer.Argument(metavar="LADDER", help="A shipped ladder's name, or a ladder file.")]
Place = Annotated[str, typer.Argument(metavar="LADDER[:RUNG]", help="A ladder, or one of its rungs.")]
Runs = Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the stored runs.")]
Data = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder that holds the data set; looked into first.")]
RungNames = Annotated[list[str] | None, typer.Option(metavar="RUNG", help="Only this rung; may be repeated.")]
SeedsText = Annotated[
    str,
    typer.Option(
        "--seeds", metavar="N|FIRST-LAST", help="Train each rung with this many random seeds, or with these: 5-9."
    ),
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=1024, help="Threads of each training; default: as its size needs.")
]
WorkerCount = Annotated[
    str, typer.Option("--workers", metavar="N|auto", help="Trainings side by side, a process each; auto: one per core.")
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="cpu, cuda or cuda:N; auto: the GPU, if there is one and it is faster.")
]
PrecisionText = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="PRECISION",
        help="Of products in training: float32, bfloat16, or auto, the faster one here.",
    ),
]
SplitText = Annotated[
    str | None,
    typer.Option("--split", metavar="SPLIT", help="Of class folders without train/ and test/: '20% test, seed 0'."),
]
Clauses = Annotated[
    str | None, typer.Option(metavar="CLAUSES", help="Other clauses: 'accuracy >= 99.3%, last_epochs = 3'.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]


def rungs_at(place: str, more: Sequence[str] = (), facts_of: FactsOf | None = None) -> tuple[Ladder, list[Rung]]:
    """A ladder and those of its rungs that LADDER:RUNG and `more` name, in the ladder's order; all, if none is named.

    Raises:
        LadderError: no such ladder or rung, or a ladder with faults.
    """
    where, name = split_place(place)
    ladder = ladder_at(where, facts_of)
    return ladder, choose(ladder, [*more, *([] if name is None else [name])])


def one_rung_at(place: str, facts_of: FactsOf | None = None) -> tuple[Ladder, Rung]:
    """A ladder and the rung that LADDER:RUNG names; the only one of a ladder need not be named.

    Raises:
        LadderError: no such ladder or rung, or a ladder with faults.
        NotationError: more than one rung.
    """
    ladder, rungs = rungs_at(place, facts_of=facts_of)
    if len(rungs) != 1:
        names = listing(rung.name for rung in rungs)
        raise NotationError(f"say which rung, as in {place}:{rungs[-1].name}; {ladder.name} has {names}")
    return ladder, rungs[0]


def ladder_at(where: str, facts_of: FactsOf | None = None) -> Ladder:
    """A shipped ladder, or a ladder file with the facts of its data as `facts_of` gives them.

    Raises:
        LadderError: no such ladder, or one with faults.
    """
    from smallprint.spec.ladder_file import read_ladder
    from smallprint.training.facts import read_facts

    return read_ladder(where, facts_of=facts_of or read_facts)


def data_at(what: str, split: str | None = None, facts_of: FactsOf | None = None) -> DataPlace:
    """The data that a name, a path of your own, or a ladder stands for.

    Raises:
        LadderError: a ladder with faults.
        NotationError: a split that does not read, or of a ladder, which says it itself.
    """
    from smallprint.spec.dataset import DATASETS, DataPlace, Split
    from smallprint.spec.ladder_file import shipped

    if what in DATASETS or not (what.endswith(".toml") or what in shipped()):
        return DataPlace(said=what, split=None if split is None else Split.parse(split))
    if split is not None:
        raise NotationError("a ladder says its split itself: leave --split out")
    return ladder_at(what, facts_of).data


def choose(ladder: Ladder, names: Sequence[str]) -> list[Rung]:
    """The rungs of these names, in the ladder's order; all, if none is named."""
    chosen = [ladder.rung(name) for name in names]
    return [rung for rung in ladder.rungs if not chosen or rung in chosen]


def split_place(place: str) -> tuple[str, str | None]:
    """LADDER:RUNG into its parts; neither a drive letter nor a file that is there is taken apart."""
    where, colon, name = place.rpartition(":")
    if not colon or len(where) < 2 or re.search(r"[/\\]", name) or os.path.lexists(place):
        return place, None
    return where, name


def input_shape(text: str | None) -> tuple[int, int, int]:
    """CxHxW as three sides.

    Raises:
        NotationError: anything else.
    """
    if text is None:
        raise NotationError("--network needs its --input, channels x height x width, as in 1x28x28")
    found = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text)
    if not found:
        raise NotationError(f"--input reads channels x height x width, as in 1x28x28, not {text!r}")
    channels, height, width = map(int, found.groups())
    return channels, height, width


def seconds(text: str) -> float:
    """A time such as 90s, 30m, 2h or 1h30m, in seconds.

    Raises:
        NotationError: anything else, or no time at all.
    """
    found = re.fullmatch(r"(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?", text)
    total = sum(unit * int(said or 0) for unit, said in zip((3600, 60, 1), found.groups(), strict=True)) if found else 0
    if not total:
        raise NotationError(f"a time reads 90s, 30m, 2h or 1h30m, not {shown(text)}")
    return float(total)


def seeds_named(text: str) -> range:
    """The random seeds that their number stands for, or the first and the last of them.

    Raises:
        NotationError: anything else, none at all, or seeds behind 9,999.
    """
    found = re.fullmatch(r"(?:([0-9]{1,5})-)?([0-9]{1,5})", text)
    first, last = (int(found[1] or 0), int(found[2]) - (found[1] is None)) if found else (0, -1)
    if not first <= last < 10_000:
        raise NotationError(
            f"--seeds is how many, from 1 to 10000, or the first and the last (9999 at most), as in 5-9, "
            f"not {shown(text)}"
        )
    return range(first, last + 1)


class Means(TypedDict):
    """Where trainings are made and how many at once, as the verbs take it."""

    workers: int | Literal["auto"]
    threads: int | None
    device: str
    precision: PrecisionAsked


def means(workers: str, threads: int | None, device: str, precision: str) -> Means:
    """What the options of a command that trains say, checked.

    Raises:
        NotationError: a word that does not read, or a device that is not there.
    """
    checked = Means(workers=worker_count(workers), threads=threads, device=device, precision=precision_named(precision))
    check_device(device)
    return checked


def worker_count(text: str) -> int | Literal["auto"]:
    """How many trainings run side by side.

    Raises:
        NotationError: neither auto nor a number from 1 to 1024.
    """
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 1024:
        raise NotationError(f"--workers is auto or a number from 1 to 1024, not {shown(text)}")
    return int(text)


def precision_named(text: str) -> PrecisionAsked:
    """The precision of products.

    Raises:
        NotationError: another word.
    """
    known: tuple[PrecisionAsked, ...] = ("float32", "bfloat16", "auto")
    for precision in known:
        if text == precision:
            return precision
    raise NotationError(f"--precision is float32, bfloat16 or auto, not {shown(text)}{nearest(text, known)}")


def check_device(device: str) -> None:
    """Refuse a device that training could not use.

    Raises:
        NotationError: another word, or a GPU that is not there.
    """
    found = re.fullmatch(r"auto|cpu|cuda(?::([0-9]{1,3}))?", device)
    if not found:
        raise NotationError(f"--device is auto, cpu, cuda or cuda:N, not {device!r}")
    if not device.startswith("cuda"):
        return
    from smallprint.training.machine import gpus, torch_version

    here = len(gpus())
    if not here:
        raise NotationError(f"--device {device}: this machine has no GPU that torch {torch_version()} can use; say cpu")
    if int(found[1] or 0) >= here:
        known = ", ".join(f"cuda:{number}" for number in range(here))
        raise NotationError(f"--device {device}: there is no such GPU; known: {known}")
