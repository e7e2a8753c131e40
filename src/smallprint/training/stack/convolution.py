"""One convolution of K networks at once: two ways to compute it, and the faster of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from time import perf_counter
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from smallprint.spec.trace import Step

# Shapes: K networks, N images, C input channels, O output channels, H rows, W columns, k the kernel's side. The
# channels of all networks stand in one dimension, K*C, network by network.


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """What one layer of every network does; a linear layer is a convolution of 1 x 1 on 1 x 1."""

    networks: int
    inputs: int  # channels of one network
    outputs: int  # channels of one network
    height: int  # pixels
    width: int  # pixels
    kernel: int = field(default=1)  # pixels along one side
    stride: int = field(default=1)  # pixels
    pad: int = field(default=0)  # pixels on each side
    groups: int = field(default=1)  # of one network
    bias: bool = field(default=False)

    @staticmethod
    def of(step: Step, networks: int) -> Convolution:
        """The layer of a trace's step."""
        height, width = step.input_shape[1:] or (1, 1)
        return Convolution(
            networks=networks, inputs=step.input_shape[0], outputs=step.output_shape[0], height=height, width=width,
            kernel=step.kernel, stride=step.stride, pad=step.pad, groups=step.groups, bias=step.bias,
        )  # fmt: skip

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(K, O, C / groups, k, k)."""
        return self.networks, self.outputs, self.inputs // self.groups, self.kernel, self.kernel


Kernel = Callable[[Convolution, Tensor, Tensor, Tensor | None], Tensor]


def grouped(layer: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """K networks as the groups of one convolution: (N, K*C, H, W) to (N, K*O, H', W')."""
    return F.conv2d(
        x,
        weight.reshape(-1, *weight.shape[2:]),
        None if bias is None else bias.reshape(-1),
        stride=layer.stride,
        padding=layer.pad,
        groups=layer.networks * layer.groups,
    )


def unfolded(layer: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same as a batch of matrix products, one for each network and group, of weights with unfolded windows."""
    x = F.pad(x, (layer.pad,) * 4) if layer.pad else x
    windows = x.unfold(2, layer.kernel, layer.stride).unfold(3, layer.kernel, layer.stride)  # (N, K*C, H', W', k, k)
    parts = layer.networks * layer.groups
    columns = torch.unflatten(windows, 1, (parts, -1)).permute(1, 2, 5, 6, 0, 3, 4)
    images, height, width = columns.shape[4:]
    rows = weight.reshape(parts, layer.outputs // layer.groups, -1)
    columns = columns.reshape(parts, rows.shape[2], images * height * width)
    product = torch.bmm(rows, columns) if bias is None else torch.baddbmm(bias.reshape(parts, -1, 1), rows, columns)
    return torch.unflatten(product, 2, (images, height, width)).permute(2, 0, 1, 3, 4).flatten(1, 2)


KERNELS: Mapping[str, Kernel] = MappingProxyType({"grouped": grouped, "unfolded": unfolded})
_ROUNDS = 3  # timings of each kernel; the shortest counts


@cache
def fastest(layer: Convolution, images: int, device: torch.device, dtype: torch.dtype) -> str:
    """The kernel that takes the least time for a batch, forward and back, on this device; found by trying.

    A kernel is passed over where memory does not suffice for it, or where a network whose values are no longer numbers
    would spoil its neighbours'.
    """
    with all_bits():
        seconds = {name: _seconds(kernel, layer, images, device, dtype) for name, kernel in KERNELS.items()}
    found = min(seconds, key=lambda name: seconds[name])
    return found if seconds[found] < float("inf") else "grouped"  # which needs the least memory


@contextmanager
def all_bits() -> Iterator[None]:
    """Where 32 bits are 32 bits: a GPU would else round the factors of convolutions to 10 (TF32)."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    try:
        convolutions.allow_tf32 = products.allow_tf32 = False
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def _seconds(kernel: Kernel, layer: Convolution, images: int, device: torch.device, dtype: torch.dtype) -> float:
    """The shortest time of a few; infinite where a kernel cannot be taken."""
    try:
        inputs = _noise(layer, images, device, dtype)
        if layer.networks > 1 and not _keeps_apart(kernel, layer, *inputs):
            return float("inf")
        _there_and_back(kernel, layer, *inputs)  # finds its algorithms
        return min(_timed(lambda: _there_and_back(kernel, layer, *inputs), device) for _ in range(_ROUNDS))
    except torch.OutOfMemoryError:
        return float("inf")


def _noise(
    layer: Convolution, images: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None]:
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=dtype).requires_grad_()

    x = normal(images, layer.networks * layer.inputs, layer.height, layer.width)
    return x, normal(*layer.weight_shape), normal(layer.networks, layer.outputs) if layer.bias else None


def _there_and_back(
    kernel: Kernel, layer: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, ...]:
    wanted = (x, weight) if bias is None else (x, weight, bias)
    y = kernel(layer, x, weight, bias)
    return y, *torch.autograd.grad(y, wanted, y.detach())


def _keeps_apart(kernel: Kernel, layer: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether a first network full of NaN leaves all others finite, forward and back."""
    spoiled, lost = x.detach().clone(), weight.detach().clone()
    spoiled[:, : layer.inputs] = torch.nan
    lost[0] = torch.nan
    y, to_input, *to_weights = _there_and_back(kernel, layer, spoiled.requires_grad_(), lost.requires_grad_(), bias)
    others = [y[:, layer.outputs :], to_input[:, layer.inputs :], *(gradient[1:] for gradient in to_weights)]
    return all(bool(other.isfinite().all()) for other in others)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of some work, on the device itself."""
    if device.type != "cuda":
        started = perf_counter()
        work()
        return perf_counter() - started
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000  # from milliseconds
