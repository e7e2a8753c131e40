"""Pieces of C, compiled beside runtime.c and called on arrays."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smallprint.spec.trace import Shape
from smallprint.training.native.compiler import find_compiler, load_library
from smallprint.training.native.kernels import Geometry
from smallprint.training.native.plan import Convolution

_HEAD = """#include "runtime.h"
INLINE int min(int a, int b) { return a < b ? a : b; }
INLINE int max(int a, int b) { return a > b ? a : b; }
"""
_NO_NETWORK = "const struct network network = {0};\nconst int lanes_of_a_vector = LANES;\n"
Floats = NDArray[np.float32]


def geometry(
    kernel: int, stride: int, pad: int, groups: int, source: Shape, outputs: int, *, back: bool = False
) -> Geometry:
    """Of a convolution of so many output channels."""
    target = (outputs, *((side + 2 * pad - kernel) // stride + 1 for side in source[1:]))
    conv = Convolution(kernel=kernel, stride=stride, pad=pad, groups=groups, weight=0, bias=None, first=True)
    return Geometry(convolution=conv, source=target if back else source, target=source if back else target, back=back)


def bfloat16(values: Tensor) -> Tensor:
    """Rounded as PyTorch rounds, with 64 bits again."""
    return values.float().bfloat16().double()


def compiled(text: str) -> ctypes.CDLL:
    """The library of some C that needs no network."""
    return load_library(find_compiler(), f"{_HEAD}{text}\n{_NO_NETWORK}")


def lanes(library: ctypes.CDLL) -> int:
    return ctypes.c_int.in_dll(library, "lanes_of_a_vector").value


def vectors(values: NDArray[Any], lanes: int) -> Floats:
    """A tensor (lanes, C, H, W) as vectors: (H, C, W, lanes), aligned to their size."""
    return aligned(values.astype(np.float32).transpose(2, 1, 3, 0))


def tensor(vectors: Floats) -> Floats:
    """Vectors (H, C, W, lanes) as a tensor again."""
    return vectors.transpose(3, 1, 0, 2)


def aligned(values: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins at a multiple of 64 bytes."""
    room = np.empty(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def call(library: ctypes.CDLL, name: str, *arguments: NDArray[Any] | int | float) -> None:
    """Call a function of pointers, whole numbers and floats."""
    given = [
        ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray)
        else ctypes.c_float(a) if isinstance(a, float) else ctypes.c_int(a)
        for a in arguments
    ]  # fmt: skip
    getattr(library, name)(*given)
