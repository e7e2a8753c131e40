"""What stands on the command line, read: ladders, rungs, shapes, devices."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from smallprint.spec.errors import NotationError, shown

if TYPE_CHECKING:
    from smallprint.spec.ladder import Ladder, Rung

# What commands share, or what is long to say.
LadderName = Annotated[str, typer.Argument(metavar="LADDER", help="A shipped ladder's name, or a ladder file.")]
Place = Annotated[str, typer.Argument(metavar="LADDER[:RUNG]", help="A ladder, or one of its rungs.")]
Runs = Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the stored runs.")]
Data = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder that holds the data set; looked into first.")]
RungNames = Annotated[list[str] | None, typer.Option(metavar="RUNG", help="Only this rung; may be repeated.")]
Seeds = Annotated[
    int, typer.Option(metavar="N", min=1, max=10_000, help="Train each rung with this many random seeds.")
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=1024, help="Threads of each training; default: as its size needs.")
]
WorkerCount = Annotated[
    str, typer.Option("--workers", metavar="N|auto", help="Trainings side by side, a process each; auto: one per core.")
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, or cuda:N.")]
Clauses = Annotated[
    str | None, typer.Option(metavar="CLAUSES", help="Other clauses: 'accuracy >= 99.3%, last_epochs = 3'.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]


def rungs_at(place: str, more: Sequence[str] = ()) -> tuple[Ladder, list[Rung]]:
    """A ladder and those of its rungs that LADDER:RUNG and `more` name, in the ladder's order; all, if none is named.

    Raises:
        LadderError: no such ladder or rung, or a ladder with faults.
    """
    from smallprint.spec.ladder import read_ladder

    where, name = split_place(place)
    ladder = read_ladder(where)
    return ladder, choose(ladder, [*more, *([] if name is None else [name])])


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


def check_device(device: str) -> None:
    """Refuse a device that training could not use.

    Raises:
        NotationError: another word, or a GPU that is not there.
    """
    found = re.fullmatch(r"cpu|cuda(?::([0-9]{1,3}))?", device)
    if not found:
        raise NotationError(f"--device is cpu, cuda or cuda:N, not {device!r}")
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise NotationError(
            f"--device {device}: this machine has no GPU that torch {torch.__version__} can use; say cpu"
        )
    if int(found[1] or 0) >= torch.cuda.device_count():
        known = ", ".join(f"cuda:{number}" for number in range(torch.cuda.device_count()))
        raise NotationError(f"--device {device}: there is no such GPU; known: {known}")
