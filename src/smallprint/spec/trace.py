"""Shapes, parameters, MACs and receptive field, by arithmetic alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod

from smallprint.spec.errors import NotationError
from smallprint.spec.network import Layer, LayerKind, Network, Operation

Shape = tuple[int, ...]  # (channels, height, width), or (features,) once flat


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One layer in its place: everything about it is settled.

    Its operations follow each of its `times` applications, and `skip` adds the application's input
    to what the operations leave. A step made of operations alone has the kind "operation".
    """

    text: str  # as it is written in the canonical network
    kind: LayerKind | str
    kernel: int = field(default=1)  # pixels along one side
    stride: int = field(default=1)  # pixels
    pad: int = field(default=0)  # pixels on each side
    groups: int = field(default=1)  # count
    bias: bool = field(default=False)
    skip: bool = field(default=False)
    times: int = field(default=1)  # applications of the same weights
    operations: tuple[Operation, ...] = field(default=())
    input_shape: Shape
    output_shape: Shape
    parameters: int = field(default=0)  # trainable values
    macs: int = field(default=0)  # multiply-adds of one image
    receptive_field: int = field(default=1)  # pixels of the image along one side
    jump: int = field(default=1)  # pixels of the image between neighbours in the output

    @property
    def identity(self) -> str:
        """All that decides what this step computes, whatever words said it."""
        operations = " ".join(map(str, self.operations))
        return (
            f"{self.kind} k{self.kernel} s{self.stride} p{self.pad} g{self.groups} b{self.bias:d} "
            f"skip{self.skip:d} x{self.times} {self.input_shape}>{self.output_shape} [{operations}]"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a network does to one input shape, step by step."""

    steps: tuple[Step, ...]
    input_shape: Shape

    @property
    def output_shape(self) -> Shape:
        return self.steps[-1].output_shape

    @property
    def outputs(self) -> int:
        """Values that the last layer leaves for one image."""
        return prod(self.output_shape)

    @property
    def parameters(self) -> int:
        """Trainable parameters; equals PyTorch's `sum(p.numel())`."""
        return sum(step.parameters for step in self.steps)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers, one image; `torch.utils.flop_counter` / 2."""
        return sum(step.macs for step in self.steps)

    @property
    def receptive_field(self) -> int:
        """Pixels of the image, along one side, that one output value sees."""
        return self.steps[-1].receptive_field


@lru_cache(maxsize=256)  # every seed of a rung asks for the same
def trace(network: Network, input_shape: Shape, classes: int | None = None) -> Trace:
    """Follow one image of `input_shape` (channels, height, width) through a network.

    With `classes`, the end is checked too: one value per class, or more.

    Raises:
        NotationError: a layer that does not fit what reaches it, with its line and a caret.
    """
    place = _Place(shape=input_shape)
    steps: list[Step] = []
    for layer in network.layers:
        step, place = _operation(layer, place) if isinstance(layer, Operation) else _layer(network, layer, place)
        steps.append(step)
    traced = Trace(steps=tuple(steps), input_shape=input_shape)
    if classes is not None:
        _check_end(network, traced, classes)
    return traced


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the image has got to."""

    shape: Shape
    receptive_field: int = field(default=1)
    jump: int = field(default=1)
    window: int = field(default=1)  # side of the map that a flattening laid flat

    def see(self, kernel: int, stride: int = 1, *, times: int = 1) -> _Place:
        seen = self.receptive_field + times * (kernel - 1) * self.jump
        return replace(self, receptive_field=seen, jump=self.jump * stride)


def _operation(operation: Operation, place: _Place) -> tuple[Step, _Place]:
    return Step(
        text=str(operation),
        kind="operation",
        operations=(operation,),
        input_shape=place.shape,
        output_shape=place.shape,
        parameters=_normalisation((operation,), place.shape),
        receptive_field=place.receptive_field,
        jump=place.jump,
    ), place


def _layer(network: Network, layer: Layer, place: _Place) -> tuple[Step, _Place]:
    if layer.kind not in ("linear", "flatten") and len(place.shape) == 1:
        raise _fault(layer, f"{layer.kind} needs an image, but what reaches it is flat: {_shown(place.shape)}")
    return _RULES[layer.kind](network, layer, place)


def _convolution(network: Network, layer: Layer, place: _Place) -> tuple[Step, _Place]:
    options, kernel = network.options_of(layer), layer.kernel or 1
    channels = place.shape[0]
    width = channels if layer.kind == "depthwise" else layer.width or 1
    groups = channels if layer.kind == "depthwise" else options.groups or 1
    if channels % groups or width % groups:
        raise _fault(
            layer,
            f"groups={groups} must divide both the {channels} channels that come in and the {width} that go out",
        )
    if options.pad == "same" and kernel % 2 == 0:
        raise _fault(
            layer, f"pad=same needs an odd kernel, not {kernel}; say pad={kernel // 2} or pad={kernel // 2 - 1}"
        )
    pad = kernel // 2 if options.pad == "same" else options.pad or 0
    stride = options.stride or 1
    step = Step(
        text=str(layer),
        kind=layer.kind,
        kernel=kernel,
        stride=stride,
        pad=pad,
        groups=groups,
        bias=bool(options.bias),
        skip=options.skip,
        times=options.times,
        operations=network.operations_after(layer),
        input_shape=place.shape,
        output_shape=(width, *_sides(layer, place.shape[1:], kernel, stride, pad)),
    )
    return _applied(layer, step, place, weights=kernel * kernel * (channels // groups) * width)


def _linear(network: Network, layer: Layer, place: _Place) -> tuple[Step, _Place]:
    options = network.options_of(layer)
    if len(place.shape) > 1 and prod(place.shape[1:]) > 1:
        raise _fault(
            layer, f"linear needs a flat input, but {_shown(place.shape)} reaches it; put flatten or gap before it"
        )
    features, width = place.shape[0], layer.width or 1
    step = Step(
        text=str(layer),
        kind="linear",
        bias=bool(options.bias),
        skip=options.skip,
        times=options.times,
        operations=network.operations_after(layer),
        input_shape=(features,),
        output_shape=(width,),
    )
    # The first linear layer behind a flattening sees the whole map that was laid flat.
    return _applied(layer, step, replace(place.see(place.window), window=1), weights=features * width)


def _applied(layer: Layer, step: Step, place: _Place, *, weights: int) -> tuple[Step, _Place]:
    """Finish a step that has weights: count it `times` times, check that its shapes allow that."""
    if step.times > 1 and step.input_shape != step.output_shape:
        raise _fault(layer, f"times={step.times} {_unequal(step)}")
    if step.times > 1 and step.stride > 1:
        raise _fault(layer, f"times={step.times} needs stride=1, not stride={step.stride}")
    if step.skip and step.input_shape != step.output_shape:
        raise _fault(layer, f"skip {_unequal(step)}")
    after = place.see(step.kernel, step.stride, times=step.times)
    biases = step.output_shape[0] if step.bias else 0
    return replace(
        step,
        parameters=weights + biases + step.times * _normalisation(step.operations, step.output_shape),
        macs=step.times * weights * prod(step.output_shape[1:]),
        receptive_field=after.receptive_field,
        jump=after.jump,
    ), replace(after, shape=step.output_shape)


def _pooling(network: Network, layer: Layer, place: _Place) -> tuple[Step, _Place]:
    kernel = layer.kernel or 2
    pad, stride = layer.options.pad or 0, layer.options.stride or kernel
    if pad == "same" or pad > kernel // 2:
        raise _fault(layer, f"a pooling's pad is at most half its size: 0 to {kernel // 2}, not {pad}")
    return _window(layer, place, kernel=kernel, stride=stride, pad=pad)


def _window(layer: Layer, place: _Place, *, kernel: int, stride: int, pad: int) -> tuple[Step, _Place]:
    after = place.see(kernel, stride)
    shape = (place.shape[0], *_sides(layer, place.shape[1:], kernel, stride, pad))
    return Step(
        text=str(layer), kind=layer.kind, kernel=kernel, stride=stride, pad=pad,
        input_shape=place.shape, output_shape=shape,
        receptive_field=after.receptive_field, jump=after.jump,
    ), replace(after, shape=shape)  # fmt: skip


def _gap(network: Network, layer: Layer, place: _Place) -> tuple[Step, _Place]:
    # The window is the whole map; of a map that is not square, the longer side counts.
    after = place.see(max(place.shape[1:]))
    return Step(
        text=str(layer), kind="gap", input_shape=place.shape, output_shape=(place.shape[0], 1, 1),
        receptive_field=after.receptive_field, jump=after.jump,
    ), replace(after, shape=(place.shape[0], 1, 1))  # fmt: skip


def _flatten(network: Network, layer: Layer, place: _Place) -> tuple[Step, _Place]:
    flat = replace(place, shape=(prod(place.shape),), window=max(place.shape[1:], default=place.window))
    return Step(
        text=str(layer), kind="flatten", input_shape=place.shape, output_shape=flat.shape,
        receptive_field=place.receptive_field, jump=place.jump,
    ), flat  # fmt: skip


_RULES: dict[str, Callable[[Network, Layer, _Place], tuple[Step, _Place]]] = {
    "conv": _convolution,
    "depthwise": _convolution,
    "linear": _linear,
    "maxpool": _pooling,
    "avgpool": _pooling,
    "gap": _gap,
    "flatten": _flatten,
}


def _sides(layer: Layer, sides: Shape, kernel: int, stride: int, pad: int) -> Shape:
    after = tuple((side + 2 * pad - kernel) // stride + 1 for side in sides)
    if min(side + 2 * pad - kernel for side in sides) < 0:
        seen = " x ".join(map(str, sides))
        raise _fault(
            layer,
            f"{layer.kind}{kernel} does not fit into the {seen} that reach it: the shape would shrink below 1; "
            "pool less, pad more, or take a smaller kernel",
        )
    return after


def _normalisation(operations: tuple[Operation, ...], shape: Shape) -> int:
    """Trainable parameters of the batch norms among operations: a shift per channel, and a scale where it has one."""
    for operation in operations:
        if operation.kind == "dropout2d" and len(shape) == 1:
            raise _fault(
                operation, f"dropout2d drops whole channels, but what reaches it is flat: {_shown(shape)}; say dropout"
            )
    return sum((1 + operation.scaled) * shape[0] for operation in operations if operation.kind == "batchnorm")


def _check_end(network: Network, traced: Trace, classes: int) -> None:
    last = network.layers[-1]
    shape = traced.output_shape
    if len(shape) > 1 and prod(shape[1:]) > 1:
        raise _fault(
            last, f"the network ends with {_shown(shape)}; it must leave one value per class: end with gap or flatten"
        )
    if traced.outputs < classes:
        raise _fault(
            last, f"the last layer leaves {traced.outputs} values for {classes} classes; it needs at least {classes}"
        )


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _unequal(step: Step) -> str:
    return f"needs an output shaped like its input, but {_shown(step.input_shape)} becomes {_shown(step.output_shape)}"


def _fault(layer: Layer | Operation, message: str) -> NotationError:
    return layer.word.fault(message) if layer.word else NotationError(f"{layer}: {message}")
