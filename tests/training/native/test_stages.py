from __future__ import annotations

import re

import pytest

from smallprint.spec.network import Network
from smallprint.spec.trace import Shape, trace
from smallprint.training.native.layout import lay_out
from smallprint.training.native.plan import plan
from smallprint.training.native.source import write_source
from smallprint.training.native.stages import StageWriter


def _writers(text: str, shape: Shape = (1, 12, 12)) -> list[StageWriter]:
    planned = plan(trace(Network.parse(text), shape))
    layout = lay_out(planned)
    return [StageWriter(planned, layout, index, 0, 24) for index in range(len(planned.stages))]


def _body(writer: StageWriter, function: str) -> str:
    text = "\n".join(writer.lines())
    found = re.search(rf"static void {function}_{writer.index}\(.*?\n}}", text, re.DOTALL)
    assert found, function
    return found[0]


def test_every_stage_says_what_it_does() -> None:
    network = "conv3-4 batchnorm relu maxpool dropout=5% conv3-4,pad=1,skip flatten linear-3"
    assert [writer.lines()[0] for writer in _writers(network)] == [
        "// Stage 0: 1 x 12 x 12, conv 3 x 3, stored as 4 x 10 x 10",
        "// Stage 1: 4 x 10 x 10, batchnorm, relu, maxpool 2 x 2, dropout 5.0%, as it is, stored as 4 x 5 x 5",
        "// Stage 2: 4 x 5 x 5, conv 3 x 3, stored as 4 x 5 x 5",
        "// Stage 3: 4 x 5 x 5, + tensor 2, laid flat, stored as 100 x 1 x 1",
        "// Stage 4: 100 x 1 x 1, conv 1 x 1, stored as 3 x 1 x 1",
        "// Stage 5: 3 x 1 x 1, the loss, stored as 3 x 1 x 1",
    ]


def test_every_stage_has_both_ways() -> None:
    for writer in _writers("conv3-4 batchnorm relu maxpool conv1-3 dropout=5% gap"):
        assert "struct group *g" in _body(writer, "forward")
        assert "struct group *g" in _body(writer, "backward")


def test_the_image_gets_no_gradient() -> None:
    first, second, _ = _writers("conv3-4 relu conv1-3 gap")
    assert "return_0" not in "\n".join(first.lines())
    assert "weigh_0(" in _body(first, "backward")
    assert "return_1(" in _body(second, "backward")
    copied, _, _ = _writers("batchnorm conv1-3 gap")
    assert _body(copied, "backward").splitlines()[1:] == ["  (void)g;", "}"]


def test_a_norm_is_summed_up_where_its_input_is_stored() -> None:
    first, second, _ = _writers("conv3-4 relu batchnorm conv1-3 gap")
    assert "sum_up(g, sums, 4, 100," in _body(first, "forward")
    assert "sum_up" not in _body(second, "forward")
    assert "slopes[ch]" in _body(second, "backward")


def test_dropout_is_drawn_in_training_alone_and_once() -> None:
    _, second, _ = _writers("conv3-4 dropout=25% conv1-3 gap")
    assert _body(second, "forward").count("if (g->training) draw_mask(g, g->masks + 0, 400, 0, 16384);") == 1
    assert "draw_mask" not in _body(second, "backward")


def test_the_loss_stands_at_the_end_of_the_last_stage_in_training_alone() -> None:
    *others, last = _writers("conv3-4 relu conv1-3 gap")
    assert "if (g->training) cross_entropy(g, y, g->gradients" in _body(last, "forward")
    assert not any("cross_entropy" in _body(writer, "forward") for writer in others)


def test_the_gradient_of_what_a_skip_reads_is_added_to_its_share() -> None:
    _, skipping, _, _ = _writers("conv3-4 conv3-4,pad=1,skip conv1-3 gap")
    assert re.search(r"at\[\d+\] \+= a0_0", "\n".join(skipping.lines()))
    _, plain, _, _ = _writers("conv3-4 conv3-4,pad=1 conv1-3 gap")
    assert not re.search(r"at\[\d+\] \+= a0_0", "\n".join(plain.lines()))


@pytest.mark.parametrize("text", ["conv3-400 batchnorm gap", "flatten linear-4000 batchnorm linear-10"])
def test_memory_that_grows_with_the_network_is_not_on_the_stack(text: str) -> None:
    source = write_source(plan(trace(Network.parse(text), (1, 8, 8))), registers=16)
    assert not re.search(r"^\s*V \w+\[\d", source, re.MULTILINE)


def test_scratch_memory_holds_all_that_a_stage_stages() -> None:
    _, second, _ = _writers("conv3-4 tanh avgpool2 conv1-3 gap")
    second.lines()
    taken = [int(at) for at in re.findall(r"g->scratch \+ (\d+)", "\n".join(second.lines()))]
    assert taken
    assert second.scratch.most > max(taken)


def test_backward_goes_through_the_winners_of_a_maxpool_alone() -> None:
    first, second, _ = _writers("conv3-4 batchnorm relu maxpool conv1-3 gap")
    assert f"g->tensors[{second.layout.records[1].values} + into] = winner;" in _body(second, "forward")
    assert f"const V *restrict x = g->tensors + {second.layout.records[1].values};" in _body(second, "backward")
    assert "lanes(g->masks[0 + into * 4 + 3])" in _body(first, "backward")
    assert "better" not in _body(second, "backward")


def test_a_large_map_is_taken_some_rows_at_a_time() -> None:
    _, second, *_ = _writers("conv3-8 relu conv3-16 relu conv3-4 relu gap", (1, 28, 28))
    for function in ("forward", "backward"):
        assert re.search(r"for \(int from = 0; from < 24; from \+= \d+\)", _body(second, function))
        assert "V *restrict p0 = g->scratch + 0;" in _body(second, function)
    assert second.scratch.most < 26 * 26 * 8 + 24 * 24 * 16
    assert re.search(r"\(unsigned\)\(r \* 1 \+ ky - 0\) % \d+", "\n".join(second.lines()))


def test_the_derivative_of_a_smooth_activation_is_kept_for_the_norm_before_it() -> None:
    for activation, kept in (("silu", True), ("gelu", True), ("tanh", True), ("relu", False)):
        _, second, _ = _writers(f"conv3-4 batchnorm {activation} conv3-5 gap")
        assert ("derivatives[" in _body(second, "backward")) == kept, activation


def test_no_derivative_is_kept_of_rows_that_a_stride_leaves_out() -> None:
    _, second, _ = _writers("conv3-4 batchnorm silu conv3-5,stride=2 gap")  # 10 rows, of which it reads 9
    assert "derivatives[" not in _body(second, "backward")


def test_means_of_windows_are_kept_for_the_way_back_and_not_made_again() -> None:
    _, second, _ = _writers("conv3-4 batchnorm silu avgpool2 conv3-5 gap")
    assert all(f"p0 = g->tensors + {second.layout.kept[1]};" in _body(second, way) for way in ("forward", "backward"))
    made = "result +="
    assert made in _body(second, "forward")
    assert made not in _body(second, "backward")
