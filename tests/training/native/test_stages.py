from __future__ import annotations

from itertools import accumulate
from math import prod

from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.native.plan import Plan, plan
from smallprint.training.native.stages import Layout, StageWriter


def _writers(text: str) -> list[StageWriter]:
    planned: Plan = plan(trace(Network.parse(text), (1, 9, 9)))
    layout = Layout(
        tensors=(0, *accumulate(map(prod, planned.shapes))),
        rows={norm.weight: 0 for norm in planned.norms},
        sums={norm.weight: 0 for norm in planned.norms},
        registers=24,
    )
    return [StageWriter(planned, layout, index, 0) for index in range(len(planned.stages))]


def test_nothing_goes_back_to_the_images_themselves() -> None:
    first, second, _ = _writers("conv3-8 conv3-10 gap")
    assert "return_0" not in "\n".join(first.lines())
    assert "return_1(" in "\n".join(second.lines())
    assert first.packed == 8 * 9
    assert second.packed == 2 * 8 * 10 * 9  # the weights in both orders


def test_a_stage_that_only_copies_has_no_weights() -> None:
    copy, _, _ = _writers("batchnorm conv3-10 gap")
    text = "\n".join(copy.lines())
    assert copy.packed == 0
    assert "weigh_0" not in text
    assert "static void forward_0(struct group *g)" in text


def test_scratch_memory_is_counted_as_it_is_taken() -> None:
    _, second, _ = _writers("conv3-8 relu conv3-10 gap")
    second.lines()
    staged, kept = 8 * 7 * 7, 8 * 7 * 7
    assert second.scratch >= staged
    assert second.scratch <= staged + kept + 10 * 5 * 5 + 8 * 7 * 7
