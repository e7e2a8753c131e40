"""The data that networks are trained on: by name, or your own."""

from __future__ import annotations

from pathlib import Path

from smallprint.spec.dataset import DataPlace, Split, known_facts
from smallprint.training.data.cache import cache_folder
from smallprint.training.data.held_out import held_out
from smallprint.training.data.in_memory import Dataset
from smallprint.training.data.known import find_dataset, load_known
from smallprint.training.data.own import load_own, needs_split

__all__ = ["Dataset", "cache_folder", "find_dataset", "held_out", "load_dataset", "needs_split"]


def load_dataset(data: DataPlace | str | Path, folder: Path | None = None, *, split: str | None = None) -> Dataset:
    """Load a data set: one known by name, or your own by its path.

    A known one is looked for in `folder`, `$SMALLPRINT_DATA/<name>`, the cache, and at its mirrors. Your own is a
    folder of class folders, a .npz file, or a folder of IDX files (see docs/data.md); `folder`, where it is given,
    stands in for its path. `split`, such as '20% test, seed 0', divides class folders without train/ and test/.

    Raises:
        DataError: no way to get it, or something is wrong with it.
        NotationError: a split that does not read.
    """
    if not isinstance(data, DataPlace):
        data = DataPlace(said=str(data), split=Split.parse(split) if split is not None else None)
    if data.known:
        return load_known(known_facts(data).name, folder)
    return load_own(data, folder)
