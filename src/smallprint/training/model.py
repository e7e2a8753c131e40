"""build(trace): the network as a PyTorch module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smallprint.spec.network import Operation
from smallprint.spec.trace import Step, Trace
from smallprint.training import philox
from smallprint.training.layers import BatchNorm, Dropout


class Block(nn.Module):
    """One step of a trace: its layer, applied `times` times, each time with its own operations."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.layer = _layer(step)
        self.after = nn.ModuleList(_operations(step) for _ in range(step.times))
        self.skip = step.skip
        self.flat = step.kind == "linear"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), or (N, features) once flat."""
        x = x.flatten(1) if self.flat else x
        for operations in self.after:
            y = operations(self.layer(x))
            x = x + y if self.skip else y
        return x


class Model(nn.Sequential):
    """A network's blocks in a row; the output is flattened to (N, outputs)."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(*(Block(step) for step in trace.steps))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        x = images_NCHW
        for block in self:
            x = block(x)
        return x.flatten(1)

    def draw(self, key: int, first: int) -> None:
        """Let every dropout draw with an epoch's key for the images from `first` on."""
        dropouts = (module for module in self.modules() if isinstance(module, Dropout) and module.rate)
        for index, dropout in enumerate(dropouts):
            dropout.key, dropout.index, dropout.first = philox.halves_of(key), index, first


def build(trace: Trace, seed: int) -> Model:
    """A network with PyTorch's default initialisation, drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model(trace).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _layer(step: Step) -> nn.Module:
    match step.kind:
        case "conv" | "depthwise":
            return nn.Conv2d(
                step.input_shape[0],
                step.output_shape[0],
                step.kernel,
                stride=step.stride,
                padding=step.pad,
                groups=step.groups,
                bias=step.bias,
            )
        case "linear":
            return nn.Linear(step.input_shape[0], step.output_shape[0], bias=step.bias)
        case "maxpool":
            return nn.MaxPool2d(step.kernel, stride=step.stride, padding=step.pad)
        case "avgpool":
            return nn.AvgPool2d(step.kernel, stride=step.stride, padding=step.pad)
        case "gap":
            return nn.AdaptiveAvgPool2d(1)
        case "flatten":
            return nn.Flatten()
        case "operation":
            return nn.Identity()
    raise AssertionError(f"no module for {step.kind}")


def _operations(step: Step) -> nn.Sequential:
    # A ReLU may overwrite its input where the operation before does not need its own output to go back.
    before = step.kind
    modules = []
    for operation in step.operations:
        modules.append(_operation(operation, step.output_shape[0], in_place=before in ("conv", "linear", "batchnorm")))
        before = operation.kind
    return nn.Sequential(*modules)


def _operation(operation: Operation, channels: int, *, in_place: bool) -> nn.Module:
    amount = operation.amount or 0.0
    match operation.kind:
        case "batchnorm":
            return BatchNorm(channels, scaled=operation.scaled)
        case "relu":
            return nn.ReLU(inplace=in_place)
        case "leakyrelu":
            return nn.LeakyReLU(amount)
        case "silu":
            return nn.SiLU()
        case "hardswish":
            return nn.Hardswish()
        case "gelu":
            return nn.GELU()
        case "tanh":
            return nn.Tanh()
        case "dropout":
            return Dropout(amount / 100)
        case "dropout2d":
            return Dropout(amount / 100, channels=True)
    raise AssertionError(f"no module for {operation.kind}")
