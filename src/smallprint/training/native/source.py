"""network.c: the C text of one network, made from its plan alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import prod

from smallprint.training.native.kernels import Lines, block
from smallprint.training.native.passes import Record
from smallprint.training.native.plan import Norm, Plan
from smallprint.training.native.stages import Layout, StageWriter

_ROWS = 6  # values per channel that runtime.h keeps of a batch norm


def write_source(plan: Plan, registers: int) -> str:
    """The C of a network, for a processor with that many vector registers."""
    tensors = (0, *accumulate(map(prod, plan.shapes)))
    records, stored, masks = _records(plan, tensors[-1])
    kept, stored = _kept(plan, stored)
    gradients, returned = _gradients(plan)
    layout = Layout(
        tensors=tensors,
        gradients=gradients,
        records=records,
        kept=kept,
        rows=_offsets(plan.norms, _ROWS),
        sums=_offsets(plan.norms, 2),
        registers=registers * 3 // 4,  # the compiler needs the rest
    )
    writers, packed = [], 0
    for index in range(len(plan.stages)):
        writers.append(StageWriter(plan, layout, index, packed))
        packed += writers[-1].packed
    lines = [
        "#include <string.h>",
        "",
        '#include "runtime.h"',
        "",
        "INLINE int min(int a, int b) { return a < b ? a : b; }",
        "INLINE int max(int a, int b) { return a > b ? a : b; }",
        "",
        *(line for writer in writers for line in writer.lines()),
        *block(
            "static void pack(const float *parameters, float *packed)",
            ["(void)parameters, (void)packed;", *(line for writer in writers for line in writer.packing)],
        ),
        "",
        *_network(
            plan,
            layout,
            {
                "stored": stored,
                "returned": returned,
                "masks": masks,
                "packed": packed,
                "scratch": max(prod(plan.input_shape) + 1, *(writer.scratch for writer in writers)),
            },
        ),
    ]
    return "\n".join(lines) + "\n"


def _offsets(norms: Sequence[Norm], values: int) -> dict[int, int]:
    """Where each norm's values per channel stand, by its weight's offset."""
    starts = accumulate((values * norm.channels for norm in norms), initial=0)
    return {norm.weight: start for norm, start in zip(norms, starts, strict=False)}


def _records(plan: Plan, stored: int) -> tuple[dict[int, Record], int, int]:
    """The records of all stages that keep one; and where they end in a group's tensors and masks."""
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
    """Where each stored tensor's gradient stands, and where the last of them ends.

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
    return tuple(places[tensor] for tensor in range(len(sizes))), max(
        place + sizes[tensor] for tensor, place in places.items()
    )


def _network(plan: Plan, layout: Layout, memory: Mapping[str, int]) -> Lines:
    """What runtime.c reads of the network."""
    index_of = {norm.weight: index for index, norm in enumerate(plan.norms)}
    on = [index_of[stage.norm.weight] if stage.norm else -1 for stage in plan.stages]
    before = [-1, *on[:-1]]
    channels = sum(norm.channels for norm in plan.norms)
    norms = [
        f"{{{norm.weight}, {norm.running}, {norm.channels}, {norm.pixels}, "
        f"{layout.rows[norm.weight]}, {layout.sums[norm.weight]}}},"
        for norm in plan.norms
    ]
    image = dict(zip(("channels", "height", "width"), plan.input_shape, strict=True))
    sizes = {
        "parameters": plan.parameters, "running": plan.running, "outputs": plan.outputs, "stages": len(plan.stages),
        "norms": len(plan.norms), "logits": layout.tensors[-2], **image, **memory,
        "sums": 2 * channels, "rows": _ROWS * channels,
    }  # fmt: skip
    stages = range(len(plan.stages))
    return [
        *block("static const struct norm norms[] =", norms or ["{0},"])[:-1],
        "};",
        f"static const int norm_on[] = {{{', '.join(map(str, on))}}};",
        f"static const int norm_before[] = {{{', '.join(map(str, before))}}};",
        f"static void (*const forward[])(struct group *) = {{{', '.join(f'forward_{s}' for s in stages)}}};",
        f"static void (*const backward[])(struct group *) = {{{', '.join(f'backward_{s}' for s in stages)}}};",
        "",
        "const struct network network = {",
        *(f"  .{name} = {size}," for name, size in sizes.items()),
        "  .norm = norms, .norm_before = norm_before, .norm_on = norm_on,",
        "  .forward = forward, .backward = backward, .pack = pack,",
        "};",
    ]
