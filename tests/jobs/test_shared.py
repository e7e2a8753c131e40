"""A data set that several processes see without a copy."""

from __future__ import annotations

import tempfile
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from smallprint.jobs.shared import SharedDataset
from smallprint.training.data import Dataset

ARRAYS = ("train_images_NCHW", "train_labels_N", "test_images_NCHW", "test_labels_N")


def tell(line: Connection, shared: SharedDataset) -> None:
    """In a child: what it sees, before and after its parent has changed one byte."""
    dataset = shared.open()
    line.send((dataset.found, dataset.fingerprint, {name: getattr(dataset, name).sum() for name in ARRAYS}))
    line.recv()
    line.send(int(dataset.train_images_NCHW[0, 0, 0, 0]))


def test_a_child_sees_the_same_data_and_the_same_memory(digits: Dataset) -> None:
    shared = SharedDataset.of(digits)
    line, theirs = get_context("spawn").Pipe()
    child = get_context("spawn").Process(target=tell, args=(theirs, shared))
    child.start()
    sums = {name: getattr(digits, name).sum() for name in ARRAYS}
    assert line.recv() == (digits.found, digits.fingerprint, sums)
    first, _ = shared.spans[0]
    shared.memory[first] = 123
    line.send("look again")
    assert line.recv() == 123
    child.join()


def test_what_is_opened_is_the_memory_itself_and_cannot_be_written(digits: Dataset) -> None:
    opened = SharedDataset.of(digits).open()
    again = SharedDataset.of(opened).open()
    for name in ARRAYS:
        array, copy = getattr(opened, name), getattr(again, name)
        np.testing.assert_array_equal(copy, getattr(digits, name))
        assert copy.dtype == getattr(digits, name).dtype
        assert array.base is not None
        assert array.ctypes.data % 8 == 0
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_what_was_computed_of_the_data_comes_along_and_is_small_enough_to_be_ones_own(digits: Dataset) -> None:
    mean, _ = digits.mean_and_deviation
    shared = SharedDataset.of(digits)
    assert len(shared.spans) == len(ARRAYS)
    copy, _ = shared.open().__dict__["mean_and_deviation"]
    np.testing.assert_array_equal(copy, mean)
    copy += 1  # nobody else's
    np.testing.assert_array_equal(digits.mean_and_deviation[0], mean)


def test_the_memory_has_no_name_that_could_be_left_behind(digits: Dataset) -> None:
    def names() -> set[Path]:
        folders = [Path(tempfile.gettempdir()), Path("/dev/shm")]
        return {path for folder in folders if folder.is_dir() for path in folder.glob("py*")}

    before = names()
    shared = SharedDataset.of(digits)
    assert names() == before
    assert len(shared.memory) >= sum(getattr(digits, name).nbytes for name in ARRAYS)
