"""C text of one stage's convolution: its functions, its packed weights, and the calls there and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from smallprint.training.native import pairs
from smallprint.training.native.bands import Band
from smallprint.training.native.kernels import Geometry, Lines, block, convolution, pack, place, weight_gradient
from smallprint.training.native.layout import Scratch
from smallprint.training.native.passes import Held, Rows
from smallprint.training.native.plan import Convolution, Stage

Store = Callable[[int, int], Lines]  # see `kernels.convolution`
Parts = tuple[Lines, Lines, Lines]  # C before, in and after the bands


class ConvolutionWriter:
    """Writes what a stage calls for its convolution.

    With `paired`, training takes products of bfloat16 pairs where that pays; predictions never do.
    """

    def __init__(
        self, index: int, stage: Stage, conv: Convolution, ahead: Band, behind: Band,
        *, store: Store, store_back: Store | None, packed: int, registers: int, paired: bool,
    ) -> None:  # fmt: skip
        """Of the stage of that index; `packed` floats of weights stand before its own, tiles take `registers`.

        Finished tiles are left to `store`, and on the way back, if anything needs it, to `store_back`.
        """
        self.index, self.stage, self.conv, self.behind = index, stage, conv, behind
        self.registers, self.offset = registers, packed
        self.functions: Lines = []
        self.packing: Lines = []
        self.packed = 0  # floats so far
        self.ahead = Geometry(
            convolution=conv, source=stage.staged_shape, target=stage.output_shape, source_rows=ahead.staged
        )
        self.around = replace(self.ahead, source_rows=behind.staged, target_rows=behind.stored)
        self.back = Geometry(
            convolution=conv, source=stage.output_shape, target=stage.staged_shape, back=True,
            source_rows=behind.stored,
        )  # fmt: skip
        self.paired_ahead = paired and pairs.convolution_pays(self.ahead)
        self.paired_around = paired and pairs.gradient_pays(self.around)
        self.paired_back = paired and pairs.convolution_pays(self.back)
        extras = ["const float *restrict bias"] if conv.bias is not None else []
        extras += ["V *restrict sums"] if stage.norm else []
        self._predict = self._function("convolve", self.ahead, store, *extras)
        if self.paired_ahead:
            self._train = self._function("convolve_pairs", self.ahead, store, *extras, paired=True)
        sign = None if behind.parts else "=" if conv.first else "+="
        around = pairs.by_column(self.around) if self.paired_around else self.around
        self.functions += weight_gradient(f"weigh_{index}", around, registers, sign)
        if store_back:
            self._return = self._function("return", self.back, store_back, paired=self.paired_back)

    def _function(self, word: str, geometry: Geometry, store: Store, *extras: str, paired: bool = False) -> str:
        """Write one function and the packing of its weights; C that calls it, up to those, open for what it reads."""
        name, at = f"{word}_{self.index}", self.offset + self.packed
        read = pairs.by_channel(geometry) if paired else geometry
        self.functions += convolution(name, read, self.registers, store, *extras)
        self.packing += pack(geometry, at, self.registers, paired=paired)
        self.packed += self.conv.kernel**2 * read.inputs * geometry.target[0]
        return f"{name}({{}}, g->packed + {at}"

    def forward(self, read: str, scratch: Scratch) -> tuple[Lines, Lines]:
        """C before and in the bands: from what stands at `read` to `y`."""
        bias = "" if self.conv.bias is None else f", g->parameters + {self.conv.bias}"
        rest = f", y, from, end{bias}{', sums' if self.stage.norm else ''});"
        predict = f"{self._predict.format(read)}{rest}"
        if not self.paired_ahead:
            return [], [predict]
        shape, rows = self.stage.staged_shape, self.ahead.source_rows
        room, paired = scratch.held("pairs", pairs.by_channel(self.ahead).source, rows, "P")
        laid = pairs.of_channels(Held(name=read, rows=rows), shape, paired, Rows(first="staged", last="wanted"))
        train = [*laid, f"{self._train.format(paired.name)}{rest}"]
        return [room], [*block("if (g->training)", train), *block("else", [predict])]

    def weights_back(self, read: str, scratch: Scratch) -> Parts:
        """The gradient of weights and biases, from what the convolution read and the gradient `d` of what it made."""
        stage, conv = self.stage, self.conv
        channels, _, width = stage.output_shape
        sum_up = "write_sums" if conv.first else "add_sums"
        weights, gradient = conv.kernel**2 * self.ahead.inputs * channels, f"g->partial + {conv.weight}"
        begin, body, both = self._around(read, scratch)
        end: Lines = []
        if self.behind.parts:
            begin += [scratch.room("parts", weights), f"memset(parts, 0, {weights} * sizeof *parts);"]
            body += [f"weigh_{self.index}({both}, parts, from, end);"]
            end = [f"{sum_up}(g->valid, parts, {weights}, {gradient});"]
        else:
            body += [f"weigh_{self.index}({both}, {gradient}, from, end, g->valid);"]
        if conv.bias is not None:
            begin += [scratch.room("biases", channels), f"memset(biases, 0, {channels} * sizeof *biases);"]
            row = f"d + {place('r', self.behind.stored)} * {channels * width}"
            columns = [f"const V *restrict at = {row} + ch * {width};", "V total = {0};"]
            columns += [f"for (int c = 0; c < {width}; c++) total += at[c];", "biases[ch] += total;"]
            looped = block(f"for (int ch = 0; ch < {channels}; ch++)", columns)
            body += block("for (int r = from; r < end; r++)", looped)
            end.append(f"{sum_up}(g->valid, biases, {channels}, g->partial + {conv.bias});")
        return begin, body, end

    def _around(self, read: str, scratch: Scratch) -> tuple[Lines, Lines, str]:
        """What the weight gradient reads, in C: laid out in pairs, if it takes them, by C before and in the bands."""
        if not self.paired_around:
            return [], [], f"{read}, d"
        stage, paired = self.stage, pairs.by_column(self.around)
        of_x, neighbours = scratch.held("neighbours", paired.source, self.behind.staged, "P")
        of_d, columns = scratch.held("columns", paired.target, self.behind.stored, "P")
        x, d = Held(name=read, rows=self.behind.staged), Held(name="d", rows=self.behind.stored)
        body = pairs.of_neighbours(x, stage.staged_shape, neighbours, Rows(first="staged", last="wanted"))
        body += pairs.of_columns(d, stage.output_shape, columns, Rows(first="from", last="end"))
        return [of_x, of_d], body, f"{neighbours.name}, {columns.name}"

    def source_back(self, target: str, scratch: Scratch) -> tuple[Lines, Lines]:
        """C before and in the bands: the gradient of what the convolution read, at `target`, from `d`."""
        rest = f", {target}, returned, ready);"
        if not self.paired_back:
            return [], [f"{self._return.format('d')}{rest}"]
        room, paired = scratch.held("back", pairs.by_channel(self.back).source, self.behind.stored, "P")
        d = Held(name="d", rows=self.behind.stored)
        laid = pairs.of_channels(d, self.stage.output_shape, paired, Rows(first="from", last="end"))
        return [room], [*laid, f"{self._return.format(paired.name)}{rest}"]
