from __future__ import annotations

from itertools import pairwise

from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.native.layout import Layout, Scratch, lay_out
from smallprint.training.native.plan import plan

IMAGE, MAP = 18 * 18, 4 * 18 * 18  # vectors


def _layout(text: str) -> Layout:
    return lay_out(plan(trace(Network.parse(text), (1, 18, 18))))


def test_tensors_stand_one_behind_the_other() -> None:
    layout = _layout("every conv3: pad=1; conv3-4 conv3-4 gap")
    assert layout.tensors == (0, IMAGE, IMAGE + MAP, IMAGE + 2 * MAP, IMAGE + 2 * MAP + 4)
    assert layout.stored == layout.tensors[-1]


def test_memory_of_a_gradient_that_has_been_read_is_taken_again() -> None:
    layout = _layout("every conv3: pad=1; conv3-4 conv3-4 conv3-4 conv3-4 gap")
    assert layout.stored == IMAGE + 4 * MAP + 4
    assert layout.returned == 2 * MAP + 4
    assert all(abs(one - other) >= MAP for one, other in pairwise(layout.gradients[1:5]))


def test_the_gradient_that_a_skip_adds_to_stays_until_it_has_been_read() -> None:
    layout = _layout("every conv3: pad=1; conv3-4 conv3-4,skip,times=3 gap")
    assert layout.returned == 3 * MAP + 4


def test_what_is_kept_and_recorded_stands_behind_all_tensors() -> None:
    layout = _layout("conv3-4,pad=1 relu maxpool conv3-6,pad=1 relu avgpool2,stride=1 avgpool2 conv3-2 gap")
    (record,), quarter = layout.records.values(), 4 * 9 * 9
    assert record.values == layout.tensors[-1]
    assert layout.stored == layout.tensors[-1] + quarter
    kept = _layout("conv3-4,pad=1 relu avgpool2 conv3-6,pad=1 gap")
    assert kept.kept == {1: kept.tensors[-1]}
    assert kept.stored == kept.tensors[-1] + quarter


def test_scratch_memory_is_given_out_piece_by_piece_and_its_most_is_remembered() -> None:
    scratch = Scratch()
    assert scratch.room("first", 5) == "V *restrict first = g->scratch + 0;"
    declared, held = scratch.held("second", (4, 6, 7), 3, "P")
    assert declared == "P *restrict second = (P *)g->scratch + 5;"
    assert (held.name, held.rows, scratch.taken) == ("second", 3, 5 + 4 * 7 * 3)
    scratch.begin()
    assert scratch.held("whole", (1, 2, 3), None)[0] == "V *restrict whole = g->scratch + 0;"
    assert (scratch.taken, scratch.most) == (6, 89)
