"""Where everything stands that the stages of a network share: tensors, their gradients, records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from smallprint.spec.trace import Shape
from smallprint.training.native.passes import Held, Record
from smallprint.training.native.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Offsets in a group's memory, and how much of it there is."""

    tensors: tuple[int, ...]  # of each stored tensor, in vectors; then the end
    kept: Mapping[int, int]  # among the tensors: of what a stage's kernel reads, by stages that keep it
    records: Mapping[int, Record]  # of the stages that have one
    gradients: tuple[int, ...]  # of each stored tensor's gradient, in vectors
    stored: int  # vectors of all tensors
    returned: int  # and of their gradients
    masks: int  # words


class Scratch:
    """A thread's memory, from which a stage takes room for what it works out on its way."""

    def __init__(self) -> None:
        self.most = 0  # vectors, of any way so far
        self.taken = 0  # of this one

    def begin(self) -> None:
        """Another way: all of it is free again."""
        self.taken = 0

    def room(self, name: str, vectors: int, kind: str = "V") -> str:
        """C that declares so much of it."""
        at = self.taken
        self.taken += vectors
        self.most = max(self.most, self.taken)
        cast = "" if kind == "V" else f"({kind} *)"
        return f"{kind} *restrict {name} = {cast}g->scratch + {at};"

    def held(self, name: str, shape: Shape, rows: int | None, kind: str = "V") -> tuple[str, Held]:
        """The same for so many rows of a tensor at a time, or for all."""
        channels, height, width = shape
        return self.room(name, channels * width * (rows or height), kind), Held(name=name, rows=rows)


def lay_out(plan: Plan) -> Layout:
    """The layout of a network."""
    tensors = (0, *accumulate(map(prod, plan.shapes)))
    records, stored, masks = _records(plan, tensors[-1])
    kept, stored = _kept(plan, stored)
    gradients, returned = _gradients(plan)
    return Layout(
        tensors=tensors,
        kept=kept,
        records=records,
        gradients=gradients,
        stored=stored,
        returned=returned,
        masks=masks,
    )


def _records(plan: Plan, stored: int) -> tuple[dict[int, Record], int, int]:
    """The records of all stages that have one; and where they end in a group's tensors and masks."""
    records: dict[int, Record] = {}
    masks = plan.masks
    for index, stage in enumerate(plan.stages):
        if stage.recorded:
            records[index] = Record(part=stage.passes[0], values=stored, hits=masks)
            stored += records[index].vectors
            masks += records[index].words
    return records, stored, masks


def _kept(plan: Plan, stored: int) -> tuple[dict[int, int], int]:
    """Where stages keep what their kernels read, behind what is stored already; and where that ends."""
    places: dict[int, int] = {}
    for index, stage in enumerate(plan.stages):
        if stage.kept:
            places[index] = stored
            stored += prod(stage.staged_shape)
    return places, stored


def _gradients(plan: Plan) -> tuple[tuple[int, ...], int]:
    """Where each stored tensor's gradient stands, and how many vectors they take together.

    Memory whose gradient has been read is taken again, so that most of it stays in the cache.
    """
    sizes = tuple(map(prod, plan.shapes))
    begun = list(range(len(sizes)))  # the stage that first writes it on the way back: its reader, or one that adds it
    for index, stage in enumerate(plan.stages):
        for added in stage.added:
            begun[added] = max(begun[added], index)
    places: dict[int, int] = {}
    for tensor in reversed(range(len(sizes))):  # until stage tensor - 1 has read it
        living = [other for other in places if begun[tensor] >= other - 1 and begun[other] >= tensor - 1]
        place = 0
        for start, end in sorted((places[other], places[other] + sizes[other]) for other in living):
            if place + sizes[tensor] <= start:
                break
            place = max(place, end)
        places[tensor] = place
    total = max(place + sizes[tensor] for tensor, place in places.items())
    return tuple(places[tensor] for tensor in range(len(sizes))), total
