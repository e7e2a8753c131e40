"""Traits: a network as a search draws it, stage by stage from a large map to a small one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import log2
from typing import NamedTuple

from smallprint.searching.genes import Asked
from smallprint.spec.network import After, Layer, LayerKind, Network, Operation, Options
from smallprint.spec.trace import Shape

STEMS = ("conv3", "conv5", "conv3 halved", "conv5 halved")  # the first convolution; halved: of stride 2
HALVINGS = ("maxpool", "avgpool", "stride", "squeeze")  # squeeze: maxpool, then a 1x1 convolution to half the width
BLOCKS = ("dense", "skip", "shared", "separable")  # skip, shared: behind the first halving, where maps are small
# alternate: the first convolution of each stage; late: all but the last of each stage behind the first halving
PADS = ("alternate", "late", "same", "none")
HEADS = ("gap", "weighed", "maps")  # weighed: a depthwise convolution of the whole map; maps: one map per class
ACTIVATIONS = ("relu", "leakyrelu", "silu", "hardswish", "gelu")
NORMS = ("before", "after")  # the activation
SCALES = ("own", "none")  # of a norm: each channel has its own, or none has
DROPOUTS = (0, 1, 3)  # percent

_LAST_SIDE = 6  # pixels: halvings lead to maps of about this side
_LEAST_SIDE = 3  # pixels: a convolution without padding leaves so many; the last one may leave one
_WEIGHED_SIDE = 7  # pixels: a larger map is too many weights for a head
_MOST_TIMES = 3  # applications of shared weights
_WIDTH = 64  # channels of a reference width; only proportions count
_SLOPE = 0.1  # of leakyrelu below zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What decides a network but for its size."""

    stem: str = field(default="conv3")  # one of STEMS
    halvings: int = field(default=1)  # times that the map's side is halved, if it stays large enough
    first: int = field(default=1)  # convolutions before the first halving
    middle: int = field(default=1)  # convolutions between two halvings; where there is one halving, behind it
    last: int = field(default=1)  # convolutions behind the last halving
    halve: str = field(default="maxpool")  # one of HALVINGS
    block: str = field(default="dense")  # one of BLOCKS
    pad: str = field(default="alternate")  # one of PADS
    widen: float = field(default=1.0)  # last width over first
    bulge: float = field(default=1.0)  # width halfway over the geometric mean of first and last
    head: str = field(default="gap")  # one of HEADS
    activation: str = field(default="relu")  # one of ACTIVATIONS
    norm: str = field(default="before")  # one of NORMS
    scale: str = field(default="own")  # one of SCALES
    dropout: int = field(default=0)  # percent

    @staticmethod
    def asked(trial: Asked, block: str, input_shape: Shape) -> Traits:
        """The traits that a trial answers with; its network is made of blocks of that kind."""
        usual = usual_halvings(input_shape)
        return Traits(
            stem=trial.choice("stem", STEMS),
            halvings=trial.whole("halvings", max(1, usual - 1), usual + 1),
            first=trial.whole("first", 1, 3),
            middle=trial.whole("middle", 1, 4),
            last=trial.whole("last", 1, 3),
            halve=trial.choice("halve", HALVINGS),
            block=block,
            pad=trial.choice("pad", PADS),
            widen=trial.log_even("widen", 0.5, 4.0),
            bulge=trial.log_even("bulge", 0.6, 1.8),
            head=trial.choice("head", HEADS),
            activation=trial.choice("activation", ACTIVATIONS),
            norm=trial.choice("norm", NORMS),
            scale=trial.choice("scale", SCALES),
            dropout=trial.number("dropout", DROPOUTS),
        )

    def network(self, input_shape: Shape, classes: int) -> Network:
        """The network, with widths whose proportions alone count; it fits any image of 3 pixels a side or more."""
        return _Builder(self, input_shape, classes).network()

    def plainer(self) -> Iterator[Traits]:
        """Traits like these that need less and less, for sizes that these cannot have."""
        yield (fewer := replace(self, middle=1, last=1, head="gap"))
        yield (dense := replace(fewer, first=1, block="dense", halve="maxpool"))
        yield replace(dense, halvings=1, pad="same")


# A convolution, global pooling and a value per class: nothing that a search draws is smaller.
SMALLEST = Traits(stem="conv3 halved", middle=0, last=0, pad="none")


def usual_halvings(input_shape: Shape) -> int:
    """How often an image of this shape (channels, height, width) is halved."""
    return max(1, round(log2(min(input_shape[1:]) / _LAST_SIDE)))


class _Stage(NamedTuple):
    """Convolutions on maps of one size."""

    convolutions: int
    block: str
    halved: bool  # whether a halving leads to it


class _Builder:
    """Lays one layer behind the other and follows the size of the map."""

    def __init__(self, traits: Traits, input_shape: Shape, classes: int) -> None:
        self._traits = traits
        self._sides = input_shape[1:]
        self._classes = classes
        self._layers: list[Layer | Operation] = []
        self._width = input_shape[0]
        self._stages = self._planned()
        self._depth = sum(stage.convolutions for stage in self._stages)
        self._left = self._depth  # convolutions to come

    def _planned(self) -> list[_Stage]:
        traits = self._traits
        strided = traits.stem.endswith("halved")
        counts = [traits.middle] * (traits.halvings - 1) + [traits.last]
        if traits.halvings == 1:
            counts = [traits.middle + traits.last]
        early = traits.block if traits.block == "separable" else "dense"
        return [
            _Stage(1 if strided else traits.first, early, halved=False),
            *(_Stage(count, traits.block, halved=number > 0 or not strided) for number, count in enumerate(counts)),
        ]

    def network(self) -> Network:
        for number, stage in enumerate(self._stages):
            self._lay_stage(stage, stem=number == 0)
        self._head()
        return Network(layers=tuple(self._layers), after=(After(target="conv", operations=self._operations()),))

    def _operations(self) -> tuple[Operation, ...]:
        traits = self._traits
        slope = _SLOPE if traits.activation == "leakyrelu" else None
        norm = Operation(kind="batchnorm", scaled=traits.scale == "own")
        both = [norm, Operation(kind=traits.activation, amount=slope)]
        dropout = [Operation(kind="dropout", amount=float(traits.dropout))] if traits.dropout else []
        return (*(both if traits.norm == "before" else reversed(both)), *dropout)

    def _lay_stage(self, stage: _Stage, *, stem: bool) -> None:
        stride = self._halve() if stage.halved else 1
        kernel = 5 if stem and self._traits.stem.startswith("conv5") else 3
        if stem and self._traits.stem.endswith("halved"):
            stride = 2
        for index in range(stage.convolutions):
            padded = self._padded(index, stage.convolutions, stem=stem)
            if index and stage.block == "skip":
                self._again(times=1)
            elif index and stage.block == "shared":
                if index == 1:
                    self._again(times=min(stage.convolutions, _MOST_TIMES))
            else:
                size, step = (kernel, stride) if index == 0 else (3, 1)
                separable = stage.block == "separable" and not (stem and index == 0)
                self._convolve(size, step, padded=padded, separable=separable)
            self._left -= 1

    def _padded(self, index: int, count: int, *, stem: bool) -> bool:
        """Whether a convolution keeps the map's size, by its place in a stage of so many."""
        match self._traits.pad:
            case "alternate":
                return index == 0
            case "late":
                return stem or index < count - 1
            case pad:
                return pad == "same"

    def _halve(self) -> int:
        """Halve the map before the next convolution, if it stays large enough; that convolution's stride."""
        if min(self._sides) < 4:
            return 1
        how = self._traits.halve
        if how == "stride" and self._left:
            return 2
        kind: LayerKind = "avgpool" if how == "avgpool" else "maxpool"
        self._layers.append(Layer(kind=kind, kernel=2))
        self._sides = tuple(side // 2 for side in self._sides)
        if how == "squeeze":
            self._widen("conv", 1, max(1, self._width // 2), Options())
        return 1

    def _convolve(self, kernel: int, stride: int, *, padded: bool, separable: bool) -> None:
        """A convolution of a width of its own."""
        width = self._next_width()
        least = 1 if self._left == 1 else _LEAST_SIDE
        after = min(self._sides) - kernel + 1
        pad = kernel // 2 if padded or after < least else 0
        options = Options(pad=pad or None, stride=stride if stride > 1 else None)
        self._sides = tuple((side + 2 * pad - kernel) // stride + 1 for side in self._sides)
        if separable:
            self._layers.append(Layer(kind="depthwise", kernel=kernel, options=options))
            self._widen("conv", 1, width, Options())
        else:
            self._widen("conv", kernel, width, options)

    def _again(self, times: int) -> None:
        """A convolution that adds to what reaches it."""
        self._widen("conv", 3, self._width, Options(pad=1, skip=True, times=times))

    def _widen(self, kind: LayerKind, kernel: int, width: int, options: Options) -> None:
        self._layers.append(Layer(kind=kind, kernel=kernel, width=width, options=options))
        self._width = width

    def _next_width(self) -> int:
        """The next width: on a parabola over the depth, on a scale of ratios."""
        place = (self._depth - self._left) / max(1, self._depth - 1)
        ratio = self._traits.widen**place * self._traits.bulge ** (4 * place * (1 - place))
        return int(_WIDTH * ratio)

    def _head(self) -> None:
        side = max(self._sides)
        bare = Options(bare=True)
        if self._traits.head == "maps":
            pad = 1 if min(self._sides) < 3 else None
            self._layers += [
                Layer(kind="conv", kernel=3, width=self._classes, options=replace(bare, pad=pad)),
                Layer(kind="gap"),
            ]
            return
        if self._traits.head == "weighed" and 1 < side == min(self._sides) <= _WEIGHED_SIDE:
            self._layers.append(Layer(kind="depthwise", kernel=side))
        else:
            self._layers.append(Layer(kind="gap"))
        self._layers.append(Layer(kind="conv", kernel=1, width=self._classes, options=bare))
