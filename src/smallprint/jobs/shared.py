"""SharedDataset: one data set in memory, seen by many processes without a copy."""

from __future__ import annotations

import ctypes
import pickle
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from smallprint.training.data import Dataset

_WORTH_SHARING = 1024  # bytes of an array; smaller ones are copied
_ALIGNMENT = 64  # bytes; of the start of every array


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDataset:
    """A data set whose arrays lie in memory that child processes inherit.

    It is handed over as an argument of a new process. The memory has no name, so there is nothing to remove: it is
    gone with the last process that has it, however that one ends.
    """

    text: bytes  # the data set pickled, without its large arrays
    spans: tuple[tuple[int, int], ...]  # where each array lies: its first byte, and the one behind its last
    memory: Any  # a ctypes array of bytes

    @classmethod
    def of(cls, dataset: Dataset) -> SharedDataset:
        """Copy a data set into memory that can be shared."""
        buffers: list[pickle.PickleBuffer] = []

        def keep(buffer: pickle.PickleBuffer) -> bool:
            """Whether it stays in the text."""
            small = buffer.raw().nbytes < _WORTH_SHARING
            if not small:
                buffers.append(buffer)
            return small

        text = pickle.dumps(dataset, protocol=5, buffer_callback=keep)
        arrays = [buffer.raw() for buffer in buffers]
        spans, end = [], 0
        for array in arrays:
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = start + array.nbytes
            spans.append((start, end))
        memory = get_context("spawn").RawArray(ctypes.c_ubyte, max(1, end))
        for (first, behind), array in zip(spans, arrays, strict=True):
            memoryview(memory).cast("B")[first:behind] = array
        return cls(text=text, spans=tuple(spans), memory=memory)

    def open(self) -> Dataset:
        """The data set; its large arrays are this memory, and read-only."""
        whole = memoryview(self.memory).cast("B").toreadonly()
        dataset = pickle.loads(self.text, buffers=[whole[first:behind] for first, behind in self.spans])
        assert isinstance(dataset, Dataset)
        return dataset
