from __future__ import annotations

from math import gcd
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from smallprint.spec.errors import NotationError
from smallprint.spec.ladder import read_ladder
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
                "gelu": nn.GELU(),
                "tanh": nn.Tanh(),
                "dropout": nn.Dropout(amount / 100),
                "dropout2d": nn.Dropout2d(amount / 100),
            }
            made.append(kinds[operation.kind])
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

PLAIN = ("batchnorm", "relu", "silu", "gelu", "tanh")


@st.composite
def an_operation(draw: st.DrawFn, *, flat: bool) -> Operation:
    kind = draw(st.sampled_from((*PLAIN, "leakyrelu", "dropout", *(() if flat else ("dropout2d",)))))
    return Operation(kind=kind, amount=None if kind in PLAIN else float(draw(st.integers(0, 50))))


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


# --- published networks ---------------------------------------------------------------------------------------------

FIVE = "conv3-12 conv3-12 conv3-12 conv3-12 conv3-12"
SMALL = "conv3-8 conv3-16 maxpool conv1-8 relu conv3-12 conv3-12 conv3-16 conv3-16,pad=1 gap conv1-10"
WIDE = "every conv: bias pad=1; after conv: relu;"
FOURTEEN = "conv3-14 conv3-14 maxpool conv3-14 conv3-14 maxpool conv3-14,pad=0 conv3-10,pad=0,bare gap"
PUBLISHED = {
    "000 basic": (
        f"{WIDE} conv3-32 conv3-64 maxpool conv3-128 conv3-256 maxpool conv3-512,pad=0 conv3-1024,pad=0 "
        "conv3-10,pad=0,bare",
        6_379_786, 40,
    ),
    "000 skeleton": (
        "every conv: bias; after conv: relu; conv3-16 conv3-32 maxpool conv1-16 conv3-32 conv3-64 maxpool "
        "conv1-32 conv1-10 conv4-10,bare",
        32_484, 28,
    ),
    "000 progressive": (
        "every conv: bias; after conv: batchnorm relu; conv3-16 conv3-32 dropout=10% maxpool conv1-16 "
        "conv3-32 conv3-64 "
        "dropout=10% maxpool conv1-32 conv1-10 conv4-10,bare",
        32_888, 28,
    ),
    "000 skeleton, derived": (
        "every conv: bias; after conv: relu; conv3-16 conv3-16 maxpool conv1-8 conv3-16 conv3-16 maxpool "
        "conv1-32 conv1-10 conv4-10,bare",
        8_588, 28,
    ),
    "000 progressive, derived": (
        "every conv: bias; after conv: batchnorm relu; conv3-16 conv3-16 dropout=10% maxpool conv1-8 conv3-16 conv3-16 "
        "dropout=10% maxpool conv1-32 conv1-10 conv4-10,bare",
        8_816, 28,
    ),
    "000 gap": (
        "every conv: bias; after conv: batchnorm relu; conv3-16 conv3-16 dropout=10% maxpool conv1-8 conv3-16 conv3-16 "
        "dropout=10% maxpool conv1-10 gap",
        6_438, 28,
    ),
    "000 dropout after each": (
        "every conv: bias; after conv3: relu batchnorm dropout=5%; conv3-8 conv3-16 conv1-8 maxpool "
        "conv3-16 conv3-16 conv3-16 conv1-10 gap",
        7_506, 28,
    ),
    "000 augmentation": (
        "after conv3: relu batchnorm dropout=4%; conv3-8 conv3-16 conv1-8 maxpool conv3-16 conv3-16 "
        "conv3-16,bare relu batchnorm dropout=5% gap conv1-10",
        7_416, 28,
    ),
    "000 augmentation, later": (
        "after conv3: relu batchnorm dropout=4%; conv3-8 conv3-12 conv1-8 maxpool conv3-12 conv3-12 "
        "conv3-32,bare relu batchnorm dropout=5% gap conv1-10",
        7_120, 28,
    ),
    "001 first": (
        f"{WIDE} conv3-16 conv3-32 maxpool conv3-64 conv3-128 maxpool conv3-256,pad=0 conv3-512,pad=0 "
        f"conv3-10,pad=0,bare",
        1_618_570, 40,
    ),
    "001 skeleton": (
        "after conv: batchnorm relu; conv3-16 conv3-32 maxpool conv1-16 conv3-32 conv3-64 conv3-128 "
        "conv3-256 conv1-10 gap",
        400_612, 28,
    ),
    "001 light": (
        f"after conv3: batchnorm relu; conv3-10 conv3-12 maxpool conv1-10 {FIVE} conv1-10 gap",
        7_838, 28,
    ),
    "001 light, dropout": (
        f"after conv3: batchnorm relu dropout=5%; conv3-10 conv3-12 maxpool conv1-10 {FIVE} conv1-10 gap",
        7_838, 28,
    ),
    "002 step 1": (
        "after conv: relu; conv3-16 conv3-32 conv3-32 maxpool conv3-32 conv3-64 conv3-128 conv5-10,bare",
        147_344, 28,
    ),
    "002 step 2": (
        "after conv: batchnorm relu; conv3-8 conv3-16 maxpool conv3-16 conv3-16 conv3-16 conv3-16 gap",
        10_616, 28,
    ),
    "002 step 3": (
        "after conv: batchnorm relu dropout=1%; conv3-8 conv3-16 maxpool conv3-16 conv3-16 conv3-16 conv3-16 gap",
        10_616, 28,
    ),
    "002 steps 4 and 5": (
        f"after conv3: batchnorm relu dropout=5%; conv3-12,pad=1 conv3-12,pad=1 maxpool {FIVE} gap conv1-10",
        8_172, 32,
    ),
    "002 step 6": (
        "after conv3: batchnorm relu dropout=5%; conv3-10,pad=1 conv3-10,pad=1 maxpool "
        "conv3-10 conv3-10 conv3-10 conv3-10 conv3-20 gap conv1-10",
        6_750, 32,
    ),
    "003 base": (f"after conv3: relu; {SMALL}", 7_704, 32),
    "003 batch norm": (f"after conv3: relu batchnorm; {SMALL}", 7_864, 32),
    "003 dropout and what follows": (f"after conv3: relu batchnorm dropout=1%; {SMALL}", 7_864, 32),
    "004 step 1": (
        "every conv: bias pad=1; after conv: relu; conv3-32 conv3-32 maxpool conv3-32 conv3-32 maxpool "
        "conv3-32,pad=0 conv3-10,pad=0,bare gap",
        40_202, 40,
    ),
    "004 steps 2 and 3": (
        f"every conv: pad=1; after conv: relu batchnorm dropout2d=10%; {FOURTEEN}",
        8_582, 40,
    ),
    "004 without batch norm": (f"every conv: pad=1; after conv: relu; {FOURTEEN}", 8_442, 40),
    "004 narrower": (
        "every conv: pad=1; after conv: relu batchnorm dropout2d=10%; conv3-12 conv3-12 maxpool conv3-14 "
        "conv3-14 maxpool "
        "conv3-14,pad=0 conv3-10,pad=0,bare gap",
        7_836, 40,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "parameters", "receptive_field"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_networks_have_their_published_size(text: str, parameters: int, receptive_field: int) -> None:
    network = Network.parse(text)
    traced = trace(network, (1, 28, 28), 10)
    assert (traced.parameters, traced.receptive_field) == (parameters, receptive_field)
    assert traced.outputs == (16 if parameters == 10_616 else 10)
    module, shapes = reference(network, (1, 28, 28))
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert [step.output_shape for step in traced.steps] == shapes


def test_the_progressive_ladder_has_its_published_counts_and_multiply_adds() -> None:
    ladder = read_ladder("progressive")
    traces = [ladder.trace(rung) for rung in ladder.rungs]
    assert [traced.parameters for traced in traces] == [7_704] + 5 * [7_864]
    assert [traced.macs for traced in traces] == 6 * [1_045_312]
    fields = [step.receptive_field for step in traces[-1].steps]
    assert fields == [3, 5, 6, 6, 6, 10, 14, 18, 22, 32, 32]


# --- identity and faults --------------------------------------------------------------------------------------------


def identities(text: str) -> list[str]:
    return [step.identity for step in trace(Network.parse(text), (1, 28, 28)).steps]


def test_the_same_network_in_other_words_has_the_same_identity() -> None:
    assert identities("every conv3: pad=1; conv3-8 maxpool2 conv3-4,bare") == identities(
        "conv3-8,pad=same,stride=1,nobias maxpool conv3-4,pad=1,times=1"
    )


@pytest.mark.parametrize(
    "other",
    ["conv3-9", "conv5-8,pad=1", "conv3-8", "conv3-8,pad=1,bias", "conv3-8,pad=1,stride=2", "conv3-8,pad=1 relu"],
)
def test_another_network_has_another_identity(other: str) -> None:
    assert identities(other) != identities("conv3-8,pad=1")


def test_each_option_that_changes_what_is_computed_changes_the_identity() -> None:
    base = "conv3-8,pad=1 conv3-8,pad=1{}"
    found = {
        tuple(identities(base.format(option))) for option in ("", ",skip", ",times=2", ",groups=2", ",times=2,skip")
    }
    assert len(found) == 5
    assert identities("dropout=5%") != identities("dropout=6%")
    assert identities("avgpool2") != identities("maxpool2")


FAULTS = [
    (
        "conv3-8 maxpool maxpool\nmaxpool maxpool conv3-10",
        "line 2: conv3 does not fit into the 1 x 1 that reach it: the shape would shrink below 1; "
        "pool less, pad more, or take a smaller kernel\n    maxpool maxpool conv3-10\n                    ^^^^^^^^",
    ),
    (
        "conv3-8 conv3-16,pad=1,skip",
        "line 1: skip needs an output shaped like its input, but 8 x 26 x 26 becomes 16 x 26 x 26"
        "\n    conv3-8 conv3-16,pad=1,skip\n            ^^^^^^^^^^^^^^^^^^^",
    ),
    (
        "conv3-8 conv3-8,times=2",
        "line 1: times=2 needs an output shaped like its input, but 8 x 26 x 26 becomes 8 x 24 x 24"
        "\n    conv3-8 conv3-8,times=2\n            ^^^^^^^^^^^^^^^",
    ),
    (
        "gap conv1-1,times=2,stride=2",
        "line 1: times=2 needs stride=1, not stride=2\n    gap conv1-1,times=2,stride=2"
        "\n        ^^^^^^^^^^^^^^^^^^^^^^^^",
    ),
    (
        "conv3-8\ngap\nconv1-9",
        "line 3: the last layer leaves 9 values for 10 classes; it needs at least 10\n    conv1-9\n    ^^^^^^^",
    ),
    (
        "conv3-10",
        "line 1: the network ends with 10 x 26 x 26; it must leave one value per class: end with gap or flatten"
        "\n    conv3-10\n    ^^^^^^^^",
    ),
    (
        "conv3-8 conv3-12,groups=8",
        "line 1: groups=8 must divide both the 8 channels that come in and the 12 that go out"
        "\n    conv3-8 conv3-12,groups=8\n            ^^^^^^^^^^^^^^^^^",
    ),
    (
        "conv4-8,pad=same",
        "line 1: pad=same needs an odd kernel, not 4; say pad=2 or pad=1\n    conv4-8,pad=same\n    ^^^^^^^^^^^^^^^^",
    ),
    (
        "maxpool3,pad=2",
        "line 1: a pooling's pad is at most half its size: 0 to 1, not 2\n    maxpool3,pad=2\n    ^^^^^^^^^^^^^^",
    ),
    (
        "conv3-8 linear-10",
        "line 1: linear needs a flat input, but 8 x 26 x 26 reaches it; put flatten or gap before it"
        "\n    conv3-8 linear-10\n            ^^^^^^^^^",
    ),
    (
        "flatten conv3-10",
        "line 1: conv needs an image, but what reaches it is flat: 784\n    flatten conv3-10\n            ^^^^^^^^",
    ),
    (
        "after linear: dropout2d=5%; flatten linear-10",
        "line 1: dropout2d drops whole channels, but what reaches it is flat: 10; say dropout"
        "\n    after linear: dropout2d=5%; flatten linear-10\n                  ^^^^^^^^^^^^",
    ),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[text for text, _ in FAULTS])
def test_a_layer_that_does_not_fit_is_shown_with_what_reaches_it(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        trace(Network.parse(text), (1, 28, 28), 10)
    assert str(caught.value) == message


def test_a_network_that_was_never_text_is_named_by_its_layer() -> None:
    network = Network(layers=(Layer(kind="conv", kernel=3, width=9), Layer(kind="gap")))
    with pytest.raises(NotationError, match=r"^gap: the last layer leaves 9 values for 10 classes"):
        trace(network, (1, 28, 28), 10)


def test_as_many_values_as_classes_or_more_are_enough() -> None:
    assert trace(Network.parse("conv1-16 gap"), (1, 8, 8), 10).outputs == 16
    assert trace(Network.parse("conv1-10 gap flatten"), (1, 8, 8), 10).output_shape == (10,)
