"""network.c: the C text of one network, made from its plan alone."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from smallprint.training.native.kernels import Lines, block
from smallprint.training.native.layout import Layout, lay_out
from smallprint.training.native.plan import Plan
from smallprint.training.native.stages import StageWriter


def write_source(plan: Plan, registers: int, *, paired: bool = False) -> str:
    """The C of a network, for a processor with that many vector registers; `paired`, with products of bfloat16."""
    layout = lay_out(plan)
    writers, packed = [], 0
    for index in range(len(plan.stages)):
        writers.append(StageWriter(plan, layout, index, packed, registers, paired=paired))
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
                "packed": packed,
                "scratch": max(prod(plan.input_shape) + 1, *(writer.scratch.most for writer in writers)),
            },
        ),
    ]
    return "\n".join(lines) + "\n"


def _network(plan: Plan, layout: Layout, memory: Mapping[str, int]) -> Lines:
    """What runtime.c reads of the network."""
    on = [plan.norms.index(stage.norm) if stage.norm else -1 for stage in plan.stages]
    before = [-1, *on[:-1]]
    norms = [
        f"{{{-1 if norm.scale is None else norm.scale}, {norm.shift}, {norm.first}, {norm.channels}, {norm.pixels}}},"
        for norm in plan.norms
    ]
    matrices = [f"{{{matrix.offset}, {matrix.rows}, {matrix.columns}}}," for matrix in plan.matrices]
    image = dict(zip(("channels", "height", "width"), plan.input_shape, strict=True))
    sizes = {
        "parameters": plan.parameters, "running": plan.running, "outputs": plan.outputs, "stages": len(plan.stages),
        "norms": len(plan.norms), "matrices": len(plan.matrices), "logits": layout.tensors[-2], **image, **memory,
        "stored": layout.stored, "returned": layout.returned, "masks": layout.masks,
        "normalised": sum(norm.channels for norm in plan.norms),
    }  # fmt: skip
    stages = range(len(plan.stages))
    return [
        *block("static const struct norm norms[] =", norms or ["{0},"])[:-1],
        "};",
        *block("static const struct matrix matrices[] =", matrices or ["{0},"])[:-1],
        "};",
        f"static const int norm_on[] = {{{', '.join(map(str, on))}}};",
        f"static const int norm_before[] = {{{', '.join(map(str, before))}}};",
        f"static void (*const forward[])(struct group *) = {{{', '.join(f'forward_{s}' for s in stages)}}};",
        f"static void (*const backward[])(struct group *) = {{{', '.join(f'backward_{s}' for s in stages)}}};",
        "",
        "const struct network network = {",
        *(f"  .{name} = {size}," for name, size in sizes.items()),
        "  .norm = norms, .matrix = matrices, .norm_before = norm_before, .norm_on = norm_on,",
        "  .forward = forward, .backward = backward, .pack = pack,",
        "};",
    ]
