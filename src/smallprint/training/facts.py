"""Ladders read with the facts of your own data."""

from __future__ import annotations

from pathlib import Path

from smallprint.spec import ladder_file as ladders
from smallprint.spec.dataset import DataPlace, DatasetFacts, known_facts
from smallprint.spec.ladder import Ladder

# What is known by name needs no array: NumPy and the rest are imported when data of your own is looked at.


def read_facts(data: DataPlace, folder: Path | None = None) -> DatasetFacts:
    """Shape and classes of a data set; your own, at its path or in `folder`, is read once and then kept.

    Raises:
        DataError: an unknown name, or data of your own with something wrong.
    """
    if data.known:
        return known_facts(data)
    from smallprint.training.data.own import own_facts

    return own_facts(data, folder)


def read_ladder(where: str | Path) -> Ladder:
    """Read a shipped ladder by name, or a ladder file by path; a path to data starts at the ladder file.

    Raises:
        LadderError: no such ladder, or a file with faults; all of them are in the message.
    """
    return ladders.read_ladder(where, facts_of=read_facts)


def parse_ladder(text: str, *, name: str, source: str | None = None) -> Ladder:
    """Read a ladder from the text of its file; `source` is what messages call the file.

    Raises:
        LadderError: every fault of the text, each with its line, in one message.
    """
    return ladders.parse_ladder(text, name=name, source=source, facts_of=read_facts)
