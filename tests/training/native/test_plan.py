from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.spec.ladder_file import read_ladder, shipped
from smallprint.spec.network import Network
from smallprint.spec.trace import Shape, trace
from smallprint.training.model import build
from smallprint.training.native.plan import (
    Activation,
    Add,
    Convolution,
    Copy,
    Dropout,
    Matrix,
    Norm,
    Plan,
    Pool,
    plan,
)
from tests.spec.test_trace import a_fitting_network
from tests.training.native.oracle import dropouts


def _plan(text: str, shape: Shape = (1, 12, 12)) -> Plan:
    return plan(trace(Network.parse(text), shape))


def _assert_names_are_those_of_pytorch(planned: Plan, network: Network, shape: Shape) -> None:
    model = build(trace(network, shape), 0)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert {entry.name: entry.shape for entry in planned.entries} == expected
    assert {entry.name for entry in planned.entries if entry.trainable} == {n for n, _ in model.named_parameters()}
    for trainable, size in ((True, planned.parameters), (False, planned.running)):
        places = sorted(
            (entry.offset, entry.offset + entry.size) for entry in planned.entries if entry.trainable == trainable
        )
        ends = [0, *(end for _, end in places)]
        assert [start for start, _ in places] == ends[:-1]  # one behind the other, none twice
        assert ends[-1] == size


@settings(max_examples=100, deadline=None)
@given(a_fitting_network())
def test_names_and_shapes_are_those_of_pytorch_and_fill_the_vectors(fitting: tuple[Network, Shape]) -> None:
    network, shape = fitting
    planned = plan(trace(network, shape))
    _assert_names_are_those_of_pytorch(planned, network, shape)
    assert planned.outputs == trace(network, shape).outputs


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_rung_has_a_plan(name: str) -> None:
    ladder = read_ladder(name)
    for rung in ladder.rungs:
        traced = ladder.trace(rung)
        planned = plan(traced)
        assert planned.parameters == traced.parameters
        assert planned.shapes[0] == traced.input_shape
        assert planned.shapes[-1] == (traced.outputs, 1, 1)


@settings(max_examples=100, deadline=None)
@given(a_fitting_network())
def test_every_stage_reads_what_the_one_before_stored_and_fits_its_kernel(fitting: tuple[Network, Shape]) -> None:
    planned = plan(trace(*fitting))
    for index, stage in enumerate(planned.stages):
        assert stage.source == index
        assert stage.input_shape == planned.shapes[index]
        shape = stage.input_shape
        for number, part in enumerate(stage.passes):
            assert part.input_shape == shape
            assert part.pool or number == len(stage.passes) - 1
            shape = part.output_shape
            norms = [operation for operation in part.operations if isinstance(operation, Norm)]
            assert len(norms) <= (number == 0)  # a norm needs sums over what was stored
        assert stage.staged_shape == shape
        assert (stage.kernel is None) == (index == len(planned.stages) - 1)
        if isinstance(stage.kernel, Copy | None):
            assert sorted(stage.output_shape) == sorted(shape) or stage.kernel == Copy(flat=True)
        norm = next((o for p in stage.passes[:1] for o in p.operations if isinstance(o, Norm)), None)
        assert norm == (planned.stages[index - 1].norm if index else None)


def test_what_stands_between_two_convolutions_is_one_stage() -> None:
    planned = _plan("conv3-4 batchnorm relu maxpool dropout=10% conv1-3 gap")
    first, second, last = planned.stages
    assert first.passes == ()
    assert first.norm is not None
    assert (first.norm.scale, first.norm.shift, first.norm.channels, first.norm.pixels) == (36, 40, 4, 100)
    assert first.before_norm == ()
    kinds = [[type(operation) for operation in part.operations] for part in second.passes]
    assert kinds == [[Norm, Activation], [Dropout]]
    assert second.passes[0].pool is not None
    assert isinstance(second.kernel, Convolution)
    assert last.kernel is None
    assert last.passes[0].pool is not None
    assert last.passes[0].pool.share == 1 / 25


def test_an_activation_before_a_norm_is_summed_up_on_the_way() -> None:
    planned = _plan("conv3-4 relu batchnorm conv1-3")
    assert [operation.kind for operation in planned.stages[0].before_norm] == ["relu"]
    assert [type(o) for o in planned.stages[1].passes[0].operations] == [Activation, Norm]


@pytest.mark.parametrize(
    ("text", "copies"),
    [
        ("conv3-4 relu conv1-3 gap", 0),
        ("batchnorm conv3-4 gap", 1),  # sums over the image itself
        ("conv3-4 maxpool batchnorm conv1-3 gap", 1),  # sums over what a pooling leaves
        ("conv3-4 dropout=5% batchnorm conv1-3 gap", 1),
        ("conv3-4 batchnorm batchnorm conv1-3 gap", 1),
        ("conv3-4 tanh conv3-4,pad=1,skip conv1-3 gap", 1),  # what is added later is stored
        ("conv3-4 conv3-4,pad=1,skip conv1-3 gap", 0),
        ("conv3-4 flatten linear-3", 1),
        ("conv3-4 gap flatten linear-3", 0),  # one pixel is flat already
        ("conv3-4", 1),  # an end of many pixels is laid flat, as PyTorch lays it
    ],
)
def test_a_copy_stands_only_where_something_must_be_stored(text: str, copies: int) -> None:
    assert sum(isinstance(stage.kernel, Copy) for stage in _plan(text).stages) == copies


def test_the_last_application_of_shared_weights_writes_their_gradient_and_the_others_add() -> None:
    kernels = [stage.kernel for stage in _plan("conv3-4 conv3-4,pad=1,times=3 conv1-3").stages]
    found = [(kernel.weight, kernel.first) for kernel in kernels if isinstance(kernel, Convolution)]
    assert found == [(0, True), (36, False), (36, False), (36, True), (180, True)]


def test_a_skip_adds_the_tensor_that_its_own_application_read() -> None:
    planned = _plan("after conv3: tanh; conv3-4 conv3-4,pad=1,skip,times=2 conv1-3")
    adds = [
        o.tensor for stage in planned.stages for part in stage.passes for o in part.operations if isinstance(o, Add)
    ]
    readers = [index for index, stage in enumerate(planned.stages) if isinstance(stage.kernel, Convolution)][1:3]
    assert adds == [planned.stages[reader].source for reader in readers]
    assert all(planned.stages[reader].passes == () for reader in readers)


def test_masks_stand_one_behind_the_other_and_a_rate_of_zero_has_none() -> None:
    planned = _plan("conv3-4 dropout=10% conv1-3 dropout2d=20% dropout=0% conv1-2 dropout=5%")
    assert [(d.rate, d.vectors, d.mask, d.index) for d in dropouts(planned)] == [
        (0.1, 400, 0, 0), (0.2, 3, 400, 1), (0.05, 200, 403, 2),
    ]  # fmt: skip
    assert planned.masks == 603


def _pool(kind: str, size: int, stride: int, side: int, pad: int = 0) -> Pool:
    out = (side + 2 * pad - size) // stride + 1
    return Pool(
        kind=kind, height=size, width=size, stride=stride, pad=pad,
        input_shape=(1, side, side), output_shape=(1, out, out),
    )  # fmt: skip


def test_a_pooling_is_plain_where_every_place_is_in_one_window() -> None:
    for pool in (_pool("maxpool", 2, 2, 8), _pool("avgpool", 4, 4, 8), _pool("avgpool", 8, 1, 8)):
        assert pool.plain
    for pool in (_pool("maxpool", 2, 2, 9), _pool("maxpool", 3, 2, 9), _pool("avgpool", 2, 3, 8)):
        assert not pool.plain
    assert not _pool("avgpool", 2, 2, 8, pad=1).plain
    assert not _pool("maxpool", 8, 8, 8).plain  # too large to be written out place by place


@given(kernel=st.integers(1, 5), stride=st.integers(1, 4), pad=st.integers(0, 2), rows=st.integers(5, 20))
def test_a_convolution_reads_all_rows_if_each_is_in_a_window(kernel: int, stride: int, pad: int, rows: int) -> None:
    convolution = Convolution(kernel=kernel, stride=stride, pad=pad, groups=1, weight=0, bias=None, first=True)
    windows = range(-pad, rows + pad - kernel + 1, stride)
    read = {row for window in windows for row in range(window, window + kernel)}
    assert convolution.reads_all(rows) == read.issuperset(range(rows))


def test_matrices_are_the_weights_between_the_first_and_the_last_layer_of_which_no_group_is_apart() -> None:
    planned = _plan(
        "conv3-4,bias conv3-6,times=1 depthwise3 conv1-5 conv3-5,pad=1,times=2 conv1-10,groups=5 gap linear-3"
    )
    offsets = {entry.name: entry.offset for entry in planned.entries}
    assert planned.matrices == tuple(
        Matrix(name=name, offset=offsets[name], rows=rows, columns=columns)
        for name, rows, columns in (
            ("1.layer.weight", 6, 36), ("3.layer.weight", 5, 6), ("4.layer.weight", 5, 45),
        )
    )  # fmt: skip
    for network in ("gap linear-3", "conv3-4 gap linear-3", "conv3-4 depthwise3 gap linear-3"):
        assert _plan(network).matrices == ()
