"""Scalable: a network whose widths grow and shrink together, to fit a size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import lcm, prod

from smallprint.spec.network import Layer, Network
from smallprint.spec.notation import LARGEST
from smallprint.spec.trace import Shape, trace

Load = Callable[[Network], float]  # 1 where a network just fits; rises with every width

_HALVINGS = 40  # of the range of scales: then neighbouring scales round to the same widths
_LEAST = 3  # channels of a free width, where they fit: fewer let hardly anything through
_NEAR = 0.985  # a load that is near enough
_EXCHANGES = 3  # at most so many, to come near
_NARROWED = 7  # channels: what has fewer is not narrowed by one to make room for another


@dataclass(slots=True, kw_only=True)
class _Width:
    """A width that layers have in common, because what they leave is added up or is grouped alike."""

    reference: int  # channels
    unit: int = field(default=1)  # channels: what it is a multiple of
    fixed: int | None = field(default=None)  # channels


class Scalable:
    """A network with its free widths.

    The last width is settled by the classes. Layers with `skip` or `times` have the width of what reaches them, and
    groups divide what they group. All others are free; their proportions are the network's own.
    """

    def __init__(self, network: Network, input_shape: Shape, classes: int) -> None:
        """`network` fits `input_shape` (channels, height, width) and leaves a value per class, or more.

        Raises:
            NotationError: it does not.
        """
        self._network = network
        self._widths: list[_Width] = []
        self._owners: dict[int, tuple[int, int]] = {}  # layer -> its width, and how many times that
        end = self._read(input_shape, classes)
        if end:
            owner, times = end
            width = self._widths[owner]
            width.fixed = -(-classes // (times * width.unit)) * width.unit
        self._free = [place for place, width in enumerate(self._widths) if width.fixed is None]
        self._proportions = [self._widths[place].reference / self._widths[place].unit for place in self._free]

    def _read(self, input_shape: Shape, classes: int) -> tuple[int, int] | None:
        """Find the widths; the one that reaches the end, with how many times it does."""
        here: tuple[int, int] | None = None  # the width that reaches a layer; None: the input's own
        steps = trace(self._network, input_shape, classes).steps
        for place, (layer, step) in enumerate(zip(self._network.layers, steps, strict=True)):
            if isinstance(layer, Layer) and layer.width is not None:
                before = here
                if not (step.skip or step.times > 1):
                    self._widths.append(_Width(reference=layer.width))
                    here = (len(self._widths) - 1, 1)
                for owner, _ in {end for end in (before, here) if end and step.groups > 1}:
                    self._widths[owner].unit = lcm(self._widths[owner].unit, step.groups)
                if here:
                    self._owners[place] = here
            elif step.kind == "flatten" and here:
                here = (here[0], here[1] * prod(step.input_shape[1:]))
        return here

    def fitted(self, load: Load) -> Network | None:
        """The network, as wide as its load allows: no more than 1; None if even a width of 1 everywhere is too much."""
        if load(self.narrowest) > 1:
            return None
        if not self._free:
            return self._network
        counts = self._topped_up(load, self._widest_scale(load))
        narrowed: set[int] = set()
        for _ in range(_EXCHANGES):
            if load(self._with(counts)) >= _NEAR:
                break
            counts = self._topped_up(load, self._exchanged(load, counts, narrowed))
        return self._with(counts)

    @property
    def narrowest(self) -> Network:
        """The network with every free width at its least."""
        return self._with([1 for _ in self._free])

    def _with(self, counts: Sequence[int]) -> Network:
        """The network with its free widths at so many units each."""
        channels = [width.fixed or width.unit for width in self._widths]
        for place, units in zip(self._free, counts, strict=True):
            channels[place] = units * self._widths[place].unit
        layers = list(self._network.layers)
        for place, (owner, times) in self._owners.items():
            layer = layers[place]
            assert isinstance(layer, Layer)
            layers[place] = replace(layer, width=channels[owner] * times)
        return replace(self._network, layers=tuple(layers))

    def _scaled(self, scale: float, least: Sequence[int]) -> list[int]:
        most = LARGEST // max(self._widths[place].unit for place in self._free)
        counts = (round(scale * proportion) for proportion in self._proportions)
        return [min(max(fewest, count), most) for fewest, count in zip(least, counts, strict=True)]

    def _widest_scale(self, load: Load) -> list[int]:
        """The widths at the largest common scale that fits."""
        least = [-(-_LEAST // self._widths[place].unit) for place in self._free]
        if load(self._with(least)) > 1:
            least = [1 for _ in self._free]
        low, high = 0.0, 1.0
        while load(self._with(self._scaled(high, least))) <= 1 and max(self._scaled(high, least)) < LARGEST // 2:
            low, high = high, 2 * high
        for _ in range(_HALVINGS):
            if self._scaled(low, least) == self._scaled(high, least):
                break
            middle = (low + high) / 2
            if load(self._with(self._scaled(middle, least))) <= 1:
                low = middle
            else:
                high = middle
        return self._scaled(low, least)

    def _topped_up(self, load: Load, counts: list[int]) -> list[int]:
        """Single widths one unit wider, those that were rounded down most before others, while it still fits."""
        while True:
            behind = sorted(range(len(counts)), key=lambda index: counts[index] / self._proportions[index])
            wider = (_moved(counts, index, 1) for index in behind)
            fitting = next((moved for moved in wider if load(self._with(moved)) <= 1), None)
            if fitting is None:
                return counts
            counts = fitting

    def _exchanged(self, load: Load, counts: list[int], narrowed: set[int]) -> list[int]:
        """One width a unit wider and another a unit narrower, where that comes nearer; `narrowed` is kept up."""
        best, held, narrower = counts, load(self._with(counts)), None
        room = [index for index, count in enumerate(counts) if count >= _NARROWED and index not in narrowed]
        for less in room:
            for more in set(range(len(counts))) - narrowed - {less}:
                moved = _moved(_moved(counts, more, 1), less, -1)
                if held < (found := load(self._with(moved))) <= 1:
                    best, held, narrower = moved, found, less
        if narrower is not None:
            narrowed.add(narrower)
        return best


def _moved(counts: Sequence[int], index: int, by: int) -> list[int]:
    return [count + by * (place == index) for place, count in enumerate(counts)]
