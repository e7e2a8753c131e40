from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from smallprint.training.native.passes import Held, Record, Rows, backward, forward, scatter
from smallprint.training.native.plan import Activation, Dropout, Pass, Pool
from tests.training.native.snippets import aligned, call, compiled, lanes, tensor, vectors

POOLS = [  # kind, size, stride, pad, (channels, rows, columns)
    ("maxpool", 2, 2, 0, (3, 6, 8)), ("maxpool", 2, 2, 0, (2, 7, 5)), ("maxpool", 3, 2, 1, (2, 7, 8)),
    ("maxpool", 3, 1, 1, (1, 4, 5)), ("maxpool", 5, 5, 0, (2, 5, 10)), ("maxpool", 2, 3, 1, (2, 6, 8)),
    ("avgpool", 2, 2, 0, (3, 6, 8)), ("avgpool", 3, 2, 1, (2, 7, 8)), ("avgpool", 4, 1, 2, (2, 5, 5)),
    ("avgpool", 6, 6, 0, (2, 6, 6)),
]  # fmt: skip


def _pool(kind: str, size: int, stride: int, pad: int, shape: tuple[int, int, int]) -> Pool:
    out = (shape[0], *((side + 2 * pad - size) // stride + 1 for side in shape[1:]))
    return Pool(kind=kind, height=size, width=size, stride=stride, pad=pad, input_shape=shape, output_shape=out)


def kind_of(pool: Pool) -> str:
    """How its gradient finds the way back."""
    if not pool.plain:
        return "scattered"
    return "recorded" if pool.kind == "maxpool" else "shared out"


def _memory(pool: Pool, count: int) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """For winners and masks."""
    size = int(np.prod(pool.output_shape))
    return aligned(np.zeros((size, count), np.float32)), np.zeros(size * pool.height * pool.width, np.uint16)


@cache
def _library() -> ctypes.CDLL:
    lines: list[str] = []
    for index, words in enumerate(POOLS):
        pool = _pool(*words)
        part = Pass(operations=(Activation(kind="tanh"),), pool=pool, input_shape=pool.input_shape)
        # A gradient takes the way that forward noted, or that windows without a common place leave no doubt about; any
        # other is scattered first.
        record = Record(part=part, values=0, hits=0) if kind_of(pool) == "recorded" else None
        group = "struct group group = {.training = 1, .tensors = winners, .masks = masks}, *g = &group; (void)g;"
        lines += [
            f"void pool_{index}(const V *x, V *y, V *winners, uint16_t *masks) {{ {group}",
            *forward(part, [], "x", Held(name="y"), Rows.all(pool.output_shape), record),
            "}",
            f"void unpool_{index}(const V *x, const V *d, V *between, V *dx, V *winners, uint16_t *masks) {{ {group}",
        ]
        given = "d"
        if kind_of(pool) == "scattered":
            lines += scatter(part, [], "x", "d", "between")
            given = "between"
        every = Rows.all(pool.input_shape)
        lines += [*backward(part, [], "x", given, Held(name="dx"), every, {}, record), "(void)between; }"]
    return compiled("\n".join(lines))


@pytest.mark.parametrize("index", range(len(POOLS)), ids=[" ".join(map(str, words)) for words in POOLS])
def test_a_pooling_and_its_way_back_are_those_of_pytorch(index: int) -> None:
    kind, size, stride, pad, shape = POOLS[index]
    library = _library()
    count, rng = lanes(library), np.random.default_rng(index)
    x = torch.from_numpy(
        rng.permutation(count * int(np.prod(shape))).reshape(count, *shape) / 1000 - 1
    ).requires_grad_()
    function = F.max_pool2d if kind == "maxpool" else F.avg_pool2d
    y = function(torch.tanh(x), size, stride, pad)
    d = torch.from_numpy(rng.normal(size=tuple(y.shape)))
    y.backward(d)
    assert x.grad is not None
    given, found = vectors(x.detach().numpy(), count), vectors(np.full(y.shape, np.nan), count)
    memory = _memory(_pool(*POOLS[index]), count)
    call(library, f"pool_{index}", given, found, *memory)
    np.testing.assert_allclose(tensor(found), y.detach().numpy(), atol=1e-6)
    back = vectors(np.zeros(x.shape), count)
    call(library, f"unpool_{index}", given, vectors(d.numpy(), count), aligned(back), back, *memory)
    np.testing.assert_allclose(tensor(back), x.grad.numpy(), atol=1e-5)


def test_the_largest_of_a_window_with_no_number_in_it_is_no_number() -> None:
    library = _library()
    count = lanes(library)
    for index, (kind, _, _, _, shape) in enumerate(POOLS):
        pool = _pool(*POOLS[index])
        for place in ((0, 0), (shape[1] - 1, shape[2] - 1)):
            x = np.zeros((count, *shape))
            x[:, :, place[0], place[1]] = np.nan
            found = vectors(np.zeros((count, *pool.output_shape)), count)
            call(library, f"pool_{index}", vectors(x, count), found, *_memory(pool, count))
            function = F.max_pool2d if kind == "maxpool" else F.avg_pool2d
            expected = function(torch.from_numpy(x), *POOLS[index][1:4]).numpy()
            np.testing.assert_array_equal(np.isnan(tensor(found)), np.isnan(expected))


def test_a_record_keeps_the_winners_and_what_dropouts_said_of_them() -> None:
    pool = _pool("maxpool", 2, 2, 0, (3, 4, 6))
    operations = (Dropout(rate=0.5, channels=False, mask=7, index=0, shape=(3, 4, 6)), Activation(kind="relu"))
    channels = Dropout(rate=0.5, channels=True, mask=2, index=1, shape=(3, 4, 6))
    part = Pass(operations=(*operations, channels), pool=pool, input_shape=(3, 4, 6))
    record = Record(part=part, values=0, hits=1000)
    assert record.vectors == 18
    assert record.words == 18 * 4 + 18
    first, _, last = record.won.operations
    assert isinstance(first, Dropout)
    assert (first.mask, first.shape) == (1000 + 18 * 4, (3, 2, 3))
    assert last == channels  # a channel is dropped whole
    assert record.won.pool is None
