"""Commands about data and the machine: data, new, doctor."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from smallprint.arguments import (
    Data,
    Json,
    SplitText,
    data_at,
)
from smallprint.console import busy, write, write_json
from smallprint.sources import (
    facts_of_data,
    load,
    pictures_of,
)
from smallprint.spec.errors import NotationError

# Heavy imports stand inside the commands: --help answers at once, and only what trains imports torch.


def read_data(
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

    if sheet and sheet.suffix.lower() != ".png":
        raise NotationError(f"--sheet is a PNG file, whose name ends with .png, not {sheet}")
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


def new_ladder(
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
