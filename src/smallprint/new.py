"""new: a starter ladder for a data set, ready to climb."""

from __future__ import annotations

import os
from contextlib import suppress
from math import ceil
from pathlib import Path, PurePath

import tomli_w

from smallprint.results.runs import write_whole
from smallprint.spec.dataset import DATASETS, DataPlace, DatasetFacts, Split
from smallprint.spec.errors import LadderError
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import ladder_name, parse_ladder, shipped
from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.facts import read_facts

_HALVED = 8  # pixels: a side at least this long is halved once more
_LARGE = 48  # pixels: a side at least this long is halved by the first layer, and has one convolution per size
_SPLIT = Split(percent=20.0, seed=0)  # where nobody says another
_TEXT = """\
# A first ladder for {called}: {images}, {kind}, {size} pixels,
# {classes} classes. 'smallprint climb {name}.toml' climbs it as it is; every line is yours to change.
title   = {title}
dataset = {dataset}{split}

[contract]                 # the promise, written down before anything is trained
accuracy    = ">= 90%"     # {promised} test images: a first guess; ask for what you need
last_epochs = 3            # in each of them, so that no lucky epoch counts
parameters  = {bound}# trainable ones; the rungs below have up to {parameters}
epochs      = "<= {epochs}"

[recipe]                   # what the rungs share; a rung's own recipe overrides single keys
optimiser = "sgd lr=0.03 momentum=0.9"
batch     = {batch}
epochs    = {epochs}

[[rung]]
name    = "base"
target  = "Find the size: 3x3 convolutions in steps of half the size, until one layer sees most of an image."
network = '''
{network}'''

[[rung]]
name    = "batchnorm"
target  = "Wake it up: normalise after every 3x3 convolution."
network = '''
{normalised}'''

[[rung]]
name    = "augment"
target  = "Show it images it has not seen, and end quietly: small changes of every image, and a falling learning rate."
network = '''
{normalised}'''
[rung.recipe]
schedule = "cosine warmup=10% tail=15%"
augment  = "{augment}"   # fill=1 where the images have a white ground
"""


def new(name: str, data: str, split: str | None = None, *, force: bool = False) -> tuple[Path, Ladder]:
    """Write the starter ladder `name`.toml for data that is known by name, or your own at a path.

    Class folders without train/ and test/ are split by `split`, or as '20% test, seed 0'. In the file, the path
    starts at the file.

    Raises:
        LadderError: the file is there and `force` is not said, its folder is not, or the name is none for a ladder.
        DataError: something is wrong with the data.
        NotationError: a split that does not read.
        RunError: the file cannot be written.
    """
    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    if ladder_name(path) in shipped():
        raise LadderError(f"a ladder called {ladder_name(path)} is shipped; choose another name")
    if path.exists() and not force:
        raise LadderError(f"{path} is there already; choose another name, or say --force to write over it")
    if not path.parent.is_dir():
        raise LadderError(f"{path}: there is no folder {path.parent} for it")
    place = _place(data, path.parent, None if split is None else Split.parse(split))
    text, ladder = starter(ladder_name(path), place, read_facts(place))
    write_whole(path, text.encode())
    return path, ladder


def _place(data: str, folder: Path, split: Split | None) -> DataPlace:
    """The data as a ladder in `folder` names it."""
    if data in DATASETS:
        return DataPlace(said=data, split=split)
    from smallprint.training.data import needs_split

    if split is None and needs_split(DataPlace(said=data)):
        split = _SPLIT
    said = data
    with suppress(ValueError):  # on another drive there is no way that starts at the file
        said = Path(os.path.relpath(Path(data).resolve(), folder.resolve())).as_posix()
    return DataPlace(said=f"./{said}" if said in DATASETS else said, split=split, folder=folder)


def starter(name: str, data: DataPlace, facts: DatasetFacts) -> tuple[str, Ladder]:
    """A first ladder for a data set: a contract, and three rungs of one idea each that fit under its bound.

    Returns the text of its file, which says why, and the ladder it reads as.
    """
    network = _network(facts)
    normalised = network.replace("after conv3: relu", "after conv3: batchnorm relu")
    parameters = trace(Network.parse(normalised), facts.input_shape, len(facts.classes)).parameters
    channels, height, width = facts.input_shape
    called = PurePath(data.name).name or data.name
    batch, epochs = _pace(facts.train)
    text = _TEXT.format(
        name=name,
        called="".join(sign if sign.isprintable() else "?" for sign in called),
        images=f"{facts.train:,} training and {facts.test:,} test images",
        kind={1: "grey", 3: "colour"}.get(channels, f"{channels}-channel"),
        size=f"{width} x {height}",
        classes=len(facts.classes),
        title=_quoted(f"A first ladder for {called}"),
        dataset=_quoted(data.said),
        split=f"\nsplit   = {_quoted(str(data.split))}   # of each class, the same every time" if data.split else "",
        promised=f"{ceil(0.9 * facts.test):,} of the {facts.test:,}",
        bound=_quoted(f"< {_round_up(parameters + 1)}").ljust(13),
        parameters=f"{parameters:,}",
        batch=batch,
        epochs=epochs,
        network=network,
        normalised=normalised,
        augment=_augment(facts),
    )
    return text, parse_ladder(text, name=name, folder=data.folder, facts_of=lambda _: facts)


def _network(facts: DatasetFacts) -> str:
    """3x3 convolutions that widen as the image is halved, a global pool, one value per class."""
    _, height, width = facts.input_shape
    side, classes = min(height, width), len(facts.classes)
    widest = 16 if classes <= 10 else 24 if classes <= 26 else 32 if classes <= 64 else 48
    lines = ["every conv3: pad=1", "after conv3: relu", ""]
    large = side >= _LARGE
    if large:
        lines.append(_line("conv3-8,stride=2", side, "and halved at once"))
        side = (side + 1) // 2
    widths = [8]
    while side >= _HALVED:
        layers = " ".join(f"conv3-{widths[-1]}" for _ in range(1 if large else 2))
        lines.append(_line(f"{layers} maxpool", side))
        side //= 2
        widths.append(min(widths[-1] + 8, widest))
    lines.append(_line(f"conv3-{widest} conv3-{widest}", side))
    lines.append(f"gap conv1-{classes}")
    return "\n".join(lines) + "\n"


def _line(layers: str, side: int, more: str = "") -> str:
    return f"{layers:<28}# {side} pixels{f', {more}' if more else ''}"


def _pace(images: int) -> tuple[int, int]:
    """Batch and epochs: some hundreds of steps at least, and an evening at most."""
    for most, batch, epochs in ((500, 16, 40), (3_000, 32, 30), (20_000, 64, 20)):
        if images <= most:
            return batch, epochs
    return 128, 12


def _augment(facts: DatasetFacts) -> str:
    channels, height, width = facts.input_shape
    shift = max(0.5, round(min(height, width) * 0.06))
    colours = " brightness=20% contrast=20%" if channels == 3 else ""
    return f"rotate=7deg shift={shift:g}px scale=7%{colours}"


def _round_up(count: int) -> int:
    """The next number of two digits and zeros."""
    zeros = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // zeros) * zeros


def _quoted(text: str) -> str:
    """A text as TOML writes it."""
    return tomli_w.dumps({"text": text}).removeprefix("text = ").rstrip()
