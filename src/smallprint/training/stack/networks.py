"""K networks of one trace as one: the forward pass of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from smallprint.spec.network import Operation
from smallprint.spec.trace import Step, Trace
from smallprint.training import philox
from smallprint.training.draws import dropout_factor
from smallprint.training.layers import BatchNorm
from smallprint.training.native.plan import Plan
from smallprint.training.stack.convolution import KERNELS, Convolution, fastest

# Shapes: K networks, N images, C channels, H rows, W columns, O outputs. The channels of all networks stand in one
# dimension, K*C, network by network: batch norm, poolings and activations are then those of one wide network. What is
# flat is an image of one pixel, (N, K*features, 1, 1).


@dataclass(frozen=True, slots=True)
class Chance:
    """What dropout draws from in one step."""

    key: philox.Key  # (K, 1, 1) each
    positions_N: Tensor  # of the images in their epoch


class Networks:
    """The function of K networks; their numbers belong to the caller."""

    def __init__(
        self, trace: Trace, plan: Plan, count: int, *, images: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.trace, self.plan, self.count = trace, plan, count
        self.layers = {
            index: Convolution.of(step, count)
            for index, step in enumerate(trace.steps)
            if step.kind in ("conv", "depthwise", "linear")
        }
        self.kernels = {index: fastest(layer, images, device, dtype) for index, layer in self.layers.items()}

    def named(self, parameters_KP: Tensor) -> dict[str, Tensor]:
        """The parameters by name, each (K, *shape)."""
        entries = [entry for entry in self.plan.entries if entry.trainable]
        parts = torch.split(parameters_KP, [entry.size for entry in entries], 1)
        return {entry.name: part.reshape(-1, *entry.shape) for entry, part in zip(entries, parts, strict=True)}

    def logits(self, x: Tensor, values: Mapping[str, Tensor], chance: Chance | None = None) -> Tensor:
        """What the networks say of images.

        Args:
            x: (N, K*C, H, W).
            values: parameters and running statistics by name, each (K, *shape).
            chance: of a step of training, which also moves the running statistics; None in a test.

        Returns:
            (N, K, O).
        """
        dropped = 0
        for index, step in enumerate(self.trace.steps):
            for application in range(step.times):
                before, x = x, self._layer(index, step, x, values)
                for place, operation in enumerate(step.operations):
                    if operation.kind.startswith("dropout"):
                        x = self._dropout(x, operation, chance, dropped)
                        dropped += bool(operation.amount)
                    elif operation.kind == "batchnorm":
                        x = _normalised(x, values, f"{index}.after.{application}.{place}", training=chance is not None)
                    else:
                        x = _activated(x, operation)
                x = before + x if step.skip else x
        return torch.unflatten(x.flatten(1), 1, (self.count, -1))

    def _layer(self, index: int, step: Step, x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        match step.kind:
            case "conv" | "depthwise" | "linear":
                layer = self.layers[index]
                weight = values[f"{index}.layer.weight"].reshape(layer.weight_shape)
                return KERNELS[self.kernels[index]](layer, x, weight, values.get(f"{index}.layer.bias"))
            case "maxpool":
                return F.max_pool2d(x, step.kernel, step.stride, step.pad)
            case "avgpool":
                return F.avg_pool2d(x, step.kernel, step.stride, step.pad)
            case "gap":
                return x.mean((2, 3), keepdim=True)
            case "flatten":
                return x.flatten(1)[:, :, None, None]
            case "operation":
                return x
        raise AssertionError(f"no layer for {step.kind}")

    def _dropout(self, x: Tensor, operation: Operation, chance: Chance | None, index: int) -> Tensor:
        rate = (operation.amount or 0.0) / 100
        if chance is None or rate == 0:
            return x
        apart = torch.unflatten(x, 1, (self.count, -1))  # (N, K, C, H, W)
        channels = operation.kind == "dropout2d"
        shape = tuple(apart.shape[2:])
        kept = philox.kept(shape, rate, chance.key, chance.positions_N, index, channels=channels)
        return (apart * kept.transpose(0, 1) * dropout_factor(rate)).flatten(1, 2)


def _normalised(x: Tensor, values: Mapping[str, Tensor], name: str, *, training: bool) -> Tensor:
    """Batch norm, of every network's own channels; see `layers.BatchNorm`."""
    parts = {part: values.get(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")}
    weight, bias, mean, variance = (value if value is None else value.reshape(-1) for value in parts.values())
    training = training and x.numel() > x.shape[1]
    return F.batch_norm(x, mean, variance, weight, bias, training, BatchNorm.MOMENTUM, BatchNorm.EPS)


def _activated(x: Tensor, operation: Operation) -> Tensor:
    match operation.kind:
        case "relu":
            return F.relu(x)
        case "leakyrelu":
            return F.leaky_relu(x, operation.amount or 0.0)
        case "silu":
            return F.silu(x)
        case "hardswish":
            return F.hardswish(x)
        case "gelu":
            return F.gelu(x)
        case "tanh":
            return F.tanh(x)
    raise AssertionError(f"no activation for {operation.kind}")
