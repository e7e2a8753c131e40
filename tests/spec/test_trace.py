from __future__ import annotations

from math import gcd
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from smallprint.spec.network import After, Every, Layer, Network, Operation, Options
from smallprint.spec.trace import Shape, trace

torch.set_num_threads(1)  # tiny tensors, and other work beside them

# --- a plain reference: the notation's words, one by one, as PyTorch modules ------------------------------------------


def settled(network: Network, layer: Layer) -> Options:
    """A layer's options with those of `every`, looked up word by word."""
    said = {header.target: header.options for header in network.every}
    general = said.get(layer.kind, Options())
    special = said.get(f"{layer.kind}{layer.kernel}", Options())

    def first(name: str) -> Any:
        values: list[Any] = [getattr(options, name) for options in (layer.options, special, general)]
        return next((value for value in values if value is not None), None)

    own = layer.options
    return Options(
        pad=first("pad"), stride=first("stride"), groups=first("groups"), bias=first("bias"),
        bare=own.bare, skip=own.skip, times=own.times,
    )  # fmt: skip


def following(network: Network, layer: Layer) -> tuple[Operation, ...]:
    said = {header.target: header.operations for header in network.after}
    if layer.options.bare:
        return ()
    return said.get(f"{layer.kind}{layer.kernel}", said.get(layer.kind, ()))


class Operations(nn.Sequential):
    def __init__(self, operations: tuple[Operation, ...], shape: Shape) -> None:
        flat = len(shape) == 1
        made: list[nn.Module] = []
        for operation in operations:
            amount = operation.amount or 0.0
            kinds: dict[str, nn.Module] = {
                "batchnorm": nn.BatchNorm1d(shape[0]) if flat else nn.BatchNorm2d(shape[0]),
                "relu": nn.ReLU(),
                "leakyrelu": nn.LeakyReLU(amount),
                "silu": nn.SiLU(),
                "hardswish": nn.Hardswish(),
                "gelu": nn.GELU(),
                "tanh": nn.Tanh(),
                "dropout": nn.Dropout(amount / 100),
                "dropout2d": nn.Dropout2d(amount / 100),
            }
            made.append(kinds[operation.kind])
            if not operation.scaled:
                made[-1].register_parameter("weight", None)
        super().__init__(*made)


class Weighted(nn.Module):
    """A layer with weights: applied N times, each time with its own operations; skip adds the input."""

    def __init__(self, layer: nn.Module, operations: list[Operations], *, skip: bool) -> None:
        super().__init__()
        self.layer, self.operations, self.skip = layer, nn.ModuleList(operations), skip

    def forward(self, x: Tensor) -> Tensor:
        for operations in self.operations:
            x = x + operations(self.layer(x)) if self.skip else operations(self.layer(x))
        return x


def reference_layer(network: Network, layer: Layer | Operation, shape: Shape) -> nn.Module:
    """One layer for an input of `shape`."""
    if isinstance(layer, Operation):
        return Operations((layer,), shape)
    options, kernel, width = settled(network, layer), layer.kernel or 0, layer.width or 0
    stride, bias = options.stride or 1, bool(options.bias)
    match layer.kind:
        case "gap":
            return nn.AdaptiveAvgPool2d(1)
        case "flatten":
            return nn.Flatten()
        case "maxpool":
            return nn.MaxPool2d(kernel, options.stride, int(options.pad or 0))
        case "avgpool":
            return nn.AvgPool2d(kernel, options.stride, int(options.pad or 0))
    if layer.kind == "linear":
        features = shape[0]
        made: nn.Module = nn.Linear(features, width, bias=bias)
        out: Shape = (width,)
    else:
        groups = shape[0] if layer.kind == "depthwise" else options.groups or 1
        width = shape[0] if layer.kind == "depthwise" else width
        pad: int | str = options.pad if isinstance(options.pad, int) else (kernel - 1) // 2 if options.pad else 0
        made = nn.Conv2d(shape[0], width, kernel, stride, pad, groups=groups, bias=bias)
        out = (width, 1, 1)
    after = [Operations(following(network, layer), out) for _ in range(options.times)]
    block = Weighted(made, after, skip=options.skip)
    return nn.Sequential(nn.Flatten(), block) if layer.kind == "linear" and len(shape) == 3 else block


def reference(network: Network, shape: Shape) -> tuple[nn.Sequential, list[Shape]]:
    """The whole network, and the shape behind each layer."""
    modules, shapes = [], []
    image = torch.zeros(1, *shape)
    for layer in network.layers:
        modules.append(reference_layer(network, layer, tuple(image.shape[1:])).eval())
        with torch.no_grad():
            image = modules[-1](image)
        shapes.append(tuple(image.shape[1:]))
    return nn.Sequential(*modules), shapes


# --- networks that fit an image ---------------------------------------------------------------------------------------

PLAIN = ("batchnorm", "relu", "silu", "hardswish", "gelu", "tanh")


@st.composite
def an_operation(draw: st.DrawFn, *, flat: bool) -> Operation:
    kind = draw(st.sampled_from((*PLAIN, "leakyrelu", "dropout", *(() if flat else ("dropout2d",)))))
    scaled = kind != "batchnorm" or draw(st.booleans())
    return Operation(kind=kind, amount=None if kind in PLAIN else float(draw(st.integers(0, 50))), scaled=scaled)


def side(size: int, kernel: int, stride: int, pad: int) -> int:
    return (size + 2 * pad - kernel) // stride + 1 if size + 2 * pad >= kernel else 0


@st.composite
def a_fitting_layer(draw: st.DrawFn, network: Network, shape: Shape) -> tuple[Layer, Shape] | None:
    """A layer that `shape` goes through, and what it leaves; None if what was drawn does not fit."""
    flat = len(shape) == 1
    single = not flat and shape[1:] == (1, 1)
    kinds = ("conv", "conv", "conv", "depthwise", "depthwise", "maxpool", "avgpool", "gap", "flatten")
    kind: Any = draw(st.sampled_from(("linear", "flatten") if flat else (*kinds, "linear") if single else kinds))
    said = {"bias": st.booleans(), "bare": st.just(True)} if kind in ("conv", "depthwise", "linear") else {}
    chosen: dict[str, Any] = {name: draw(value) for name, value in said.items() if draw(st.booleans())}
    if kind == "linear":
        features: int = draw(st.integers(1, 8) | st.just(shape[0]))
        if features == shape[0]:
            chosen |= {"skip": draw(st.booleans()), "times": draw(st.integers(1, 3))}
        return Layer(kind="linear", width=features, options=Options(**chosen)), (features,)
    if kind in ("gap", "flatten"):
        left: Shape = (shape[0], 1, 1) if kind == "gap" else (int(torch.tensor(shape).prod()),)
        return Layer(kind=kind), left
    kernel = draw(st.integers(1, 5))
    if kind in ("maxpool", "avgpool"):
        options = Options(pad=draw(st.none() | st.integers(0, kernel // 2)), stride=draw(st.none() | st.integers(1, 3)))
        sides = tuple(side(s, kernel, options.stride or kernel, int(options.pad or 0)) for s in shape[1:])
        return (Layer(kind=kind, kernel=kernel, options=options), (shape[0], *sides)) if all(sides) else None
    width = draw(st.integers(1, 6) | st.just(shape[0])) if kind == "conv" else None
    if draw(st.booleans()):  # the same shape again, which skip and times want
        width = shape[0] if kind == "conv" else None
        kernel = draw(st.sampled_from((1, 3, 5)))
        chosen |= {"pad": "same", "stride": 1, "skip": draw(st.booleans()), "times": draw(st.integers(1, 3))}
    else:
        chosen |= {
            name: draw(value)
            for name, value in {"pad": st.integers(0, 2) | st.just("same"), "stride": st.integers(1, 3)}.items()
            if draw(st.booleans())
        }
    if kind == "conv" and draw(st.booleans()):
        shared = gcd(shape[0], width or 1)
        chosen["groups"] = draw(st.sampled_from([n for n in range(1, shared + 1) if shared % n == 0]))
    layer = Layer(kind=kind, kernel=kernel, width=width, options=Options(**chosen))
    options = settled(network, layer)
    groups = options.groups or 1
    if options.pad == "same" and kernel % 2 == 0:
        return None
    if kind == "conv" and (shape[0] % groups or (width or 1) % groups):
        return None
    pad = options.pad if isinstance(options.pad, int) else kernel // 2 if options.pad else 0
    out = (width or shape[0], *(side(s, kernel, options.stride or 1, pad) for s in shape[1:]))
    if (options.skip or options.times > 1) and out != shape:
        return None
    return (layer, out) if all(out) else None


@st.composite
def a_fitting_network(draw: st.DrawFn) -> tuple[Network, Shape]:
    """A network of the whole vocabulary, and an image shape that it takes."""
    targets = ("conv", "conv3", "conv1", "conv4", "depthwise", "depthwise3")
    pads: st.SearchStrategy[Any] = st.sampled_from((0, 1, "same"))
    every, after = [], []
    for target in draw(st.lists(st.sampled_from((*targets, "linear")), unique=True, max_size=3)):
        options = Options(bias=draw(st.booleans())) if target == "linear" else Options(
            pad=draw(pads), stride=draw(st.sampled_from((None, None, 1, 2))),
            groups=draw(st.sampled_from((None, None, None, 1, 2))) if target.startswith("conv") else None,
        )  # fmt: skip
        every.append(Every(target=target, options=options))
    for target in draw(st.lists(st.sampled_from((*targets, "linear")), unique=True, max_size=4)):
        listed = draw(st.lists(an_operation(flat=target == "linear"), max_size=3))
        after.append(After(target=target, operations=tuple(listed)))
    shape: Shape = (draw(st.integers(1, 4)), draw(st.integers(3, 12)), draw(st.integers(3, 12)))
    network, place = Network(layers=(), every=tuple(every), after=tuple(after)), shape
    layers: list[Layer | Operation] = []
    for _ in range(draw(st.integers(1, 8))):
        if draw(st.integers(0, 4)) == 0:
            layers.append(draw(an_operation(flat=len(place) == 1)))
        elif fitting := draw(a_fitting_layer(network, place)):
            layers.append(fitting[0])
            place = fitting[1]
    layers = layers or [Layer(kind="gap")]
    return Network(layers=tuple(layers), every=tuple(every), after=tuple(after)), shape


@settings(max_examples=150, deadline=None)
@given(a_fitting_network())
def test_parameters_macs_and_every_shape_are_those_of_pytorch(fitting: tuple[Network, Shape]) -> None:
    network, shape = fitting
    module, shapes = reference(network, shape)
    for read in (network, Network.parse(str(network))):
        traced = trace(read, shape)
        assert [step.output_shape for step in traced.steps] == shapes
        assert [step.parameters for step in traced.steps] == [sum(p.numel() for p in m.parameters()) for m in module]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.zeros(1, *shape))
        assert traced.macs == counter.get_total_flops() / 2
        assert traced.outputs == torch.tensor(shapes[-1]).prod()


# --- the receptive field, measured ----------------------------------------------------------------------------------


def seen(network: Network, shape: Shape) -> tuple[int, int]:
    """Height and width of the pixels that move the middle output: where its gradient is not zero."""
    module, _ = reference(network, shape)
    for name, parameter in module.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    module = module.double()
    image = torch.ones(1, *shape, dtype=torch.double, requires_grad=True)
    out = module(image)
    out[0, 0, *(size // 2 for size in out.shape[2:])].backward()
    assert image.grad is not None
    rows, columns = image.grad.abs().sum((0, 1)).nonzero(as_tuple=True)
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("conv3-2", 20),
        ("conv3-2 conv3-2 avgpool2 conv3-2 conv1-4 conv3-2", 40),
        ("every conv: pad=same; conv5-2 conv3-2,stride=2 conv3-2,skip avgpool3,stride=2,pad=1 conv3-3", 64),
        ("every depthwise: pad=1; depthwise3 conv3-4,stride=3 depthwise3,times=3 avgpool2 conv2-1", 96),
        ("conv3-2,pad=1,stride=2 conv3-2,pad=1,times=4,skip avgpool3 conv3-2", 64),
        ("conv7-2 avgpool2 avgpool2 avgpool2 conv3-1", 80),
        ("conv3-2 avgpool2 conv3-2 gap", 12),
        ("conv3-2 avgpool2 conv3-2 gap linear-3", 12),
        ("conv3-2 avgpool2 conv3-2 flatten linear-3 linear-3,times=2", 12),
        ("conv3-2 avgpool2 conv3-2 conv4-10", 14),
    ],
)
def test_the_receptive_field_is_where_the_gradient_reaches(text: str, size: int) -> None:
    network = Network.parse(text)
    for last in range(1, len(network.layers) + 1):
        part = Network(layers=network.layers[:last], every=network.every, after=network.after)
        shape = (1, size, size)
        output = trace(part, shape).output_shape
        if len(output) == 1 and isinstance(part.layers[-1], Layer) and part.layers[-1].kind == "flatten":
            continue  # one of its values is one value of the map before it
        assert seen(part, shape) == (trace(part, shape).receptive_field,) * 2, part.line


def test_a_flattened_map_is_seen_whole_by_the_first_linear_layer_only() -> None:
    steps = trace(Network.parse("conv3-2 flatten relu linear-6 linear-6,times=3 linear-2"), (1, 9, 9)).steps
    assert [step.receptive_field for step in steps] == [3, 3, 3, 9, 9, 9]


def test_of_a_map_that_is_not_square_gap_counts_the_longer_side() -> None:
    assert trace(Network.parse("conv3-2 gap"), (1, 9, 12)).receptive_field == 12
