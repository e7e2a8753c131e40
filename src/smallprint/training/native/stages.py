"""C text of one stage: from the tensor it reads to the one it stores, and the gradient's way back."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from smallprint.spec.trace import Shape
from smallprint.training.native import passes, pointwise
from smallprint.training.native.bands import Band, ahead, behind
from smallprint.training.native.convolutions import ConvolutionWriter, Parts
from smallprint.training.native.kernels import Lines, block
from smallprint.training.native.layout import Layout, Scratch
from smallprint.training.native.passes import Held, Record, Rows
from smallprint.training.native.plan import Activation, Add, Convolution, Copy, Dropout, Norm, Pass, Plan, Pointwise

_CLOSED = ("s[1] += total; s[2] += squares;",)


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _word(operation: Pointwise) -> str:
    match operation:
        case Activation(kind=kind):
            return kind
        case Norm(scale=scale):
            return "batchnorm" if scale is not None else "batchnorm,noscale"
        case Dropout(rate=rate, channels=channels):
            return f"dropout{'2d' if channels else ''} {rate:.1%}"
        case Add(tensor=tensor):
            return f"+ tensor {tensor}"


class StageWriter:
    """Writes `forward_<index>` and `backward_<index>`, and the functions they call."""

    def __init__(
        self, plan: Plan, layout: Layout, index: int, packed: int, registers: int, *, paired: bool = False
    ) -> None:
        """Of the stage of that index; for the others see `ConvolutionWriter`."""
        self.plan, self.layout, self.index = plan, layout, index
        self.stage = stage = plan.stages[index]
        self.scratch = Scratch()
        added = frozenset[int]().union(*(other.added for other in plan.stages)) - {0}
        self.wanted = {tensor: layout.gradients[tensor] for tensor in added}  # what a skip gives a gradient to
        self.needs_gradient = stage.source > 0
        self.kernel = stage.kernel
        self.reader = plan.stages[index + 1] if self.kernel is not None else None
        self.ahead, self.behind = ahead(stage), behind(stage, self.reader)
        self.convolution: ConvolutionWriter | None = None
        if isinstance(self.kernel, Convolution):
            self.convolution = ConvolutionWriter(
                index, stage, self.kernel, self.ahead, self.behind, packed=packed, registers=registers, paired=paired,
                store=self._store_summed, store_back=self._store_back if self.needs_gradient else None,
            )  # fmt: skip

    @property
    def packed(self) -> int:
        """Floats of packed weights."""
        return self.convolution.packed if self.convolution else 0

    @property
    def packing(self) -> Lines:
        """C that lays them out."""
        return self.convolution.packing if self.convolution else []

    def lines(self) -> Lines:
        """Both functions, and those they call first."""
        self.scratch.begin()
        forward = [*pointwise.draws(self.stage.passes), *self._forward()]
        self.scratch.begin()
        backward = self._backward() or ["(void)g;"]
        return [
            self._caption(),
            *(self._seen() if self.stage.norm else []),
            *(self.convolution.functions if self.convolution else []),
            *block(f"static void forward_{self.index}(struct group *g)", forward),
            "",
            *block(f"static void backward_{self.index}(struct group *g)", backward),
            "",
        ]

    def _caption(self) -> str:
        words = [f"// Stage {self.index}: {_shown(self.stage.input_shape)}"]
        for part in self.stage.passes:
            words += [_word(operation) for operation in part.operations]
            words += [f"{part.pool.kind} {part.pool.height} x {part.pool.width}"] if part.pool else []
        match self.kernel:
            case Convolution(kernel=kernel):
                words.append(f"conv {kernel} x {kernel}")
            case Copy(flat=flat):
                words.append("laid flat" if flat else "as it is")
            case None:
                words.append("the loss")
        return ", ".join([*words, f"stored as {_shown(self.stage.output_shape)}"])

    def _kept(self) -> str:
        """C that declares where what the kernel reads is kept from forward to backward."""
        return f"V *restrict p0 = g->tensors + {self.layout.kept[self.index]};"

    # --- rows ---

    def _bands(self, band: Band, body: Lines) -> Lines:
        """C loops over the rows of what the kernel stores, a band at a time.

        In the body: `from` and `end`, rows of the band; `staged` and `wanted`, rows of what the kernel reads that are
        there already and that are there once this band has what it reads; `returned` and `ready`, rows of it whose
        gradient is there already and whose gradient needs no later band.
        """
        height, staged = self.stage.output_shape[1], self.stage.staged_shape[1]
        wanted = ready = str(staged)
        if band.rows < height:
            assert isinstance(self.kernel, Convolution)
            kernel, stride, pad = self.kernel.kernel, self.kernel.stride, self.kernel.pad
            wanted = f"max(0, min({staged}, (end - 1) * {stride} + {kernel - pad}))"
            ready = f"end == {height} ? {staged} : max(0, min({staged}, end * {stride} - {pad}))"
        steps = [
            f"const int end = min(from + {band.rows}, {height});",
            f"const int wanted = {wanted}, ready = {ready};",
            *body,
            "staged = wanted, returned = ready;",
        ]
        return [
            "int staged = 0, returned = 0;",
            *block(f"for (int from = 0; from < {height}; from += {band.rows})", steps),
        ]

    def _staging(
        self, band: Band, parts: Sequence[Pass], record: Record | None = None, derivatives: Held | None = None
    ) -> tuple[Lines, Lines, list[str]]:
        """C that declares the memory of what passes make; that does the passes, for the rows that a band wants.

        And the names of what each of them reads, then of what the kernel reads. A `record` is kept of the first pass,
        `derivatives` of the last.
        """
        lines: Lines = []
        declared: Lines = []
        reads = ["x"]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if self.stage.kept:
                room, target = self._kept(), Held(name="p0")
            else:
                room, target = self.scratch.held(f"p{number}", part.output_shape, band.staged if last else None)
            declared.append(room)
            rows = Rows(first="staged", last="wanted") if last else Rows.all(part.output_shape)
            lines += passes.forward(
                part, self.layout.tensors, reads[-1], target, rows,
                record=None if number else record, derivatives=derivatives if last else None,
            )  # fmt: skip
            reads.append(target.name)
        return declared, lines, reads

    # --- forward ---

    def _store_summed(self, outputs: int, columns: int) -> Lines:
        """Store a tile of the kernel's output and add it to the norm's sums."""
        width, norm = self.stage.output_shape[2], self.stage.norm
        lines = [f"at[{o * width + c}] = a{o}_{c};" for o in range(outputs) for c in range(columns)]
        if norm is None:
            return lines
        for o in range(outputs):
            body = self._opened(f"channel + {o}", "start", f"a{o}_0")
            for c in range(columns):
                body += block("", self._summed(f"a{o}_{c}"))
            lines += block("", [*body, *_CLOSED])
        return lines

    def _seen(self) -> Lines:
        """`seen_<index>`: a stored value as its norm sees it."""
        values = pointwise.values_of(len(self.stage.before_norm))
        body = [*pointwise.apply(self.stage.before_norm, self.layout.tensors, values), f"return {values[-1]};"]
        return block(f"INLINE V seen_{self.index}(V v0)", body)

    # Sums for a variance are taken about the first value of each image and channel: squares of values far from zero
    # would leave it few digits. Three vectors per channel: that value, the sum and the sum of squares about it.

    def _opened(self, channel: str, start: str, value: str) -> Lines:
        """C before some values of a channel are summed up; `start` tells whether `value` is its first."""
        return [
            f"V *restrict s = sums + 3 * ({channel});",
            f"if ({start}) s[0] = seen_{self.index}({value});",
            "const V about = s[0];",
            "V total = {0}, squares = {0};",
        ]

    def _summed(self, value: str) -> Lines:
        return [f"const V off = seen_{self.index}({value}) - about;", "total += off; squares += off * off;"]

    def _store_back(self, outputs: int, columns: int) -> Lines:
        width = self.stage.staged_shape[2]
        sign = "+=" if self.stage.source in self.wanted else "="
        return [f"at[{o * width + c}] {sign} a{o}_{c};" for o in range(outputs) for c in range(columns)]

    def _forward(self) -> Lines:
        stage, norm = self.stage, self.stage.norm
        declared, staging, reads = self._staging(self.ahead, stage.passes, self.layout.records.get(self.index))
        lines = [
            f"const V *restrict x = g->tensors + {self.layout.tensors[stage.source]};",
            *declared,
            f"V *restrict y = g->tensors + {self.layout.tensors[self.index + 1]};",
        ]
        channels = stage.output_shape[0]
        if norm:
            lines += [
                self.scratch.room("sums", 3 * channels),
                f"for (int i = 0; i < {3 * channels}; i++) sums[i] = (V){{0}};",
            ]
        if self.convolution:
            begin, body = self.convolution.forward(reads[-1], self.scratch)
            lines += [*begin, *self._bands(self.ahead, [*staging, *body])]
        else:
            every = Rows.all(stage.staged_shape)
            copy = passes.each(stage.staged_shape, every, [], [f"y[{self._place()}] = {reads[-1]}[at];"])
            lines += self._bands(self.ahead, [*staging, *copy])
            if norm:
                opened = self._opened("ch", "r == 0", f"y[ch * {stage.output_shape[2]}]")
                lines += passes.each(
                    stage.output_shape, Rows.all(stage.output_shape), opened, self._summed("y[at]"), _CLOSED
                )
        if norm:
            lines.append(f"sum_up(g, sums, {channels}, {norm.pixels}, g->sums + NORM_SUMS * {norm.first});")
        if self.kernel is None:
            gradient = f"g->gradients + {self.layout.gradients[self.index + 1]}"
            lines.append(f"if (g->training) cross_entropy(g, y, {gradient}, {self.plan.outputs});")
        return lines

    def _place(self) -> str:
        """C for where a copy puts the vector at (r, ch, c)."""
        if not (isinstance(self.kernel, Copy) and self.kernel.flat):
            return "at"
        _, height, width = self.stage.staged_shape
        return f"(ch * {height} + r) * {width} + c"

    # --- backward ---

    def _backward(self) -> Lines:
        """From the gradient of what comes after the stage to that of what came before; empty if there is nothing to do.

        `g->gradients` holds, for every stored tensor, the gradient of what its reader's first pass made of it
        (see `passes.undo_each`), or of what the batch norm in it made (see `passes.left`), so that the rest of the way
        back through that pass, which the norm holds up, is left to the stage that stored it.
        """
        if not (self.convolution or self.needs_gradient):
            return []
        # Of a pooling with a record, the winners are what there is to go through once more.
        stage, record, passed = self.stage, self.layout.records.get(self.index), self.stage.passes
        source = record.values if record else self.layout.tensors[stage.source]
        self.passed = (record.won, *passed[1:]) if record else passed
        noted, derivatives = self._derivatives()
        if stage.kept:
            declared, staging, reads = [self._kept()], Lines(), ["x", "p0"]
        else:
            declared, staging, reads = self._staging(self.behind, self.passed, derivatives=derivatives)
        declared = [f"const V *restrict x = g->tensors + {source};", *noted, *declared]
        begin, body = self._incoming()
        body += staging
        end: Lines = []
        if self.convolution:
            parts = self.convolution.weights_back(reads[-1], self.scratch)
            begin, body, end = begin + parts[0], body + parts[1], end + parts[2]
        if self.needs_gradient:
            parts = self._source_back(reads, derivatives)
            begin, body, end = begin + parts[0], body + parts[1], end + parts[2]
        return [*declared, *begin, *self._bands(self.behind, body), *end]

    def _derivatives(self) -> tuple[Lines, Held | None]:
        """C that declares the memory of what the way back to the first pass's norm needs; nothing if it needs none."""
        if not (self.needs_gradient and len(self.passed) == 1):
            return [], None
        if passes.smooth_behind_norm(self.passed[0]) is None:
            return [], None
        if not (isinstance(self.kernel, Convolution) and self.kernel.reads_all(self.stage.staged_shape[1])):
            return [], None
        room, held = self.scratch.held("derivatives", self.stage.staged_shape, self.behind.staged)
        return [room], held

    def _source_back(self, reads: list[str], derivatives: Held | None) -> Parts:
        """C before, in and after the bands: the gradient of what the stage reads."""
        passed, plain = self.passed, all(map(self.stage.plain, range(len(self.passed))))
        alone = "" if self.stage.source in self.wanted else "restrict "  # a skip's share comes there by another way
        begin = [f"V *{alone}to = g->gradients + {self.layout.gradients[self.stage.source]};"]
        direct = plain and len(passed) <= 1
        if not direct:
            begin.append(self.scratch.room("s", prod(self.stage.staged_shape)))
        target = "to" if direct else "s"
        if self.convolution:
            opened, body = self.convolution.source_back(target, self.scratch)
            begin += opened
        else:
            every = Rows.all(self.stage.staged_shape)  # what a skip adds is read by a convolution, never copied
            body = passes.each(self.stage.staged_shape, every, [], [f"{target}[at] = d[{self._place()}];"])
        body += self._later_passes_back(reads)
        if not passed:
            return begin, body, []
        ready = Rows(first="returned", last="ready") if direct else Rows.all(passed[0].input_shape)
        if direct and passed[0].pool:
            ready = ready.times(passed[0].pool.height)
        opened, summed, closed = passes.norm_gradients(passed[0], self.layout.tensors, "x", "to", ready, derivatives)
        channels = self.stage.input_shape[0] if summed else 0
        begin += [self.scratch.room(name, channels) for name in ("levels", "slopes") if summed]
        return begin + opened, body + summed, closed

    def _later_passes_back(self, reads: list[str]) -> Lines:
        """From the gradient at `s`, of what the kernel read, to that of what the first pass made, at `to`."""
        lines: Lines = []
        tensors = self.layout.tensors
        gradient = "s"
        for number in reversed(range(len(self.stage.passes))):
            part, read = self.passed[number], reads[number]
            if not self.stage.plain(number):
                target = "to" if number == 0 else f"s{number}"
                if number:
                    lines.append(self.scratch.room(target, prod(part.input_shape)))
                lines += passes.scatter(part, tensors, read, gradient, target)
                gradient = target
            if number:
                ends = number == 1 and self.stage.plain(0)
                target = "to" if ends else f"t{number}"
                if not ends:
                    lines.append(self.scratch.room(target, prod(part.input_shape)))
                every = Rows.all(part.input_shape)
                lines += passes.backward(part, tensors, read, gradient, Held(name=target), every, self.wanted)
                gradient = target
        return lines

    def _incoming(self) -> tuple[Lines, Lines]:
        """C before and in the bands: the gradient `d` of what the kernel stored."""
        at = self.layout.tensors[self.index + 1]
        given = f"g->gradients + {self.layout.gradients[self.index + 1]}"
        if self.reader is None or not self.reader.passes:
            return [f"const V *restrict d = {given};"], []
        room, d = self.scratch.held("d", self.stage.output_shape, self.behind.stored)
        declared = [f"const V *restrict stored = g->tensors + {at}, *restrict given = {given};", room]
        record = self.layout.records.get(self.index + 1)
        return declared, passes.backward(
            self.reader.passes[0], self.layout.tensors, "stored", "given", d,
            Rows(first="from", last="end"), self.wanted, record,
        )  # fmt: skip
