from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.stack import convolution
from smallprint.training.stack.convolution import KERNELS, Convolution, fastest

CPU = torch.device("cpu")
LAYERS = {
    "3x3": Convolution(networks=3, inputs=4, outputs=5, height=7, width=6, kernel=3),
    "one network": Convolution(networks=1, inputs=4, outputs=5, height=7, width=6, kernel=3),
    "pad": Convolution(networks=3, inputs=4, outputs=5, height=7, width=6, kernel=3, pad=2),
    "stride": Convolution(networks=2, inputs=3, outputs=4, height=9, width=8, kernel=3, stride=2, pad=1),
    "1x1": Convolution(networks=3, inputs=4, outputs=6, height=5, width=5),
    "1x1 with stride": Convolution(networks=3, inputs=4, outputs=6, height=5, width=5, stride=2),
    "bias": Convolution(networks=3, inputs=4, outputs=6, height=5, width=5, kernel=2, bias=True),
    "groups": Convolution(networks=2, inputs=6, outputs=4, height=5, width=5, kernel=3, groups=2, bias=True),
    "depthwise": Convolution(networks=3, inputs=4, outputs=4, height=6, width=6, kernel=3, groups=4, pad=1),
    "linear": Convolution(networks=3, inputs=20, outputs=10, height=1, width=1, bias=True),
}


def _noise(layer: Convolution, images: int) -> tuple[Tensor, Tensor, Tensor | None]:
    torch.manual_seed(0)
    x = torch.randn(images, layer.networks * layer.inputs, layer.height, layer.width, dtype=torch.double)
    bias = torch.randn(layer.networks, layer.outputs, dtype=torch.double) if layer.bias else None
    weight = torch.randn(layer.weight_shape, dtype=torch.double)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_() if bias is not None else None


def _one_by_one(layer: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    parts = [
        F.conv2d(part, weight[k], None if bias is None else bias[k], layer.stride, layer.pad, groups=layer.groups)
        for k, part in enumerate(x.chunk(layer.networks, 1))
    ]
    return torch.cat(parts, 1)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_every_kernel_is_pytorchs_convolution_of_each_network_forward_and_back(
    layer: Convolution, kernel: str, images: int
) -> None:
    tensors = _noise(layer, images)
    wanted = [tensor for tensor in tensors if tensor is not None]
    mine, expected = KERNELS[kernel](layer, *tensors), _one_by_one(layer, *tensors)
    torch.testing.assert_close(mine, expected)
    direction = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(mine, wanted, direction), torch.autograd.grad(expected, wanted, direction), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_takes_no_images_too(kernel: str) -> None:
    layer = LAYERS["bias"]
    assert KERNELS[kernel](layer, *_noise(layer, 0)).shape == (0, 18, 4, 4)


def test_a_layer_is_read_from_its_step() -> None:
    steps = trace(Network.parse("conv3-6 conv3-4,groups=2,stride=2,pad=1,bias flatten linear-7"), (2, 9, 8)).steps
    assert Convolution.of(steps[1], 3) == Convolution(
        networks=3, inputs=6, outputs=4, height=7, width=6, kernel=3, stride=2, pad=1, groups=2, bias=True
    )
    assert Convolution.of(steps[3], 3) == Convolution(networks=3, inputs=48, outputs=7, height=1, width=1)


def test_the_probe_takes_the_kernel_with_the_shortest_time_and_remembers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def seconds(kernel: object, *_: object) -> float:
        asked.append(kernel)
        return {convolution.grouped: 2.0, convolution.unfolded: 1.0}[kernel]  # type: ignore[index]

    monkeypatch.setattr(convolution, "_seconds", seconds)
    layer = Convolution(networks=2, inputs=1, outputs=1, height=2, width=2)
    try:
        assert [fastest(layer, 4, CPU, torch.float32) for _ in range(3)] == ["unfolded"] * 3
        assert asked == [convolution.grouped, convolution.unfolded]
    finally:
        fastest.cache_clear()


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_the_probe_finds_a_kernel_for_every_layer(layer: Convolution) -> None:
    assert fastest(layer, 4, CPU, torch.float32) in KERNELS
    for kernel in KERNELS.values():
        assert 0 < convolution._seconds(kernel, layer, 4, CPU, torch.float32) < 10


def test_the_probe_passes_over_what_spoils_a_neighbour_or_finds_no_memory() -> None:
    def leaking(layer: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolution.grouped(layer, x, weight, bias) + 0 * x.sum()

    def huge(layer: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise torch.OutOfMemoryError

    for kernel in (leaking, huge):
        assert convolution._seconds(kernel, LAYERS["3x3"], 4, CPU, torch.float32) == float("inf")


def test_convolutions_keep_all_their_bits_and_the_switch_is_set_back() -> None:
    library = torch.backends.cudnn
    before = library.allow_tf32
    with convolution.all_bits():
        assert not library.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert library.allow_tf32 == before
