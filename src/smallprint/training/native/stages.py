"""C text of one stage: from the tensor it reads to the one it stores, and the gradient's way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from smallprint.spec.trace import Shape
from smallprint.training.native import passes
from smallprint.training.native.kernels import Geometry, Lines, block, convolution, pack, weight_gradient
from smallprint.training.native.plan import Activation, Add, Convolution, Copy, Dropout, Norm, Plan, Pointwise

_CLOSED = ("s[1] += total; s[2] += squares;",)


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _word(operation: Pointwise) -> str:
    match operation:
        case Activation(kind=kind):
            return kind
        case Norm():
            return "batchnorm"
        case Dropout(rate=rate, channels=channels):
            return f"dropout{'2d' if channels else ''} {rate:.1%}"
        case Add(tensor=tensor):
            return f"+ tensor {tensor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything stands that stages share."""

    tensors: tuple[int, ...]  # offset of each stored tensor, in vectors; then the end
    rows: Mapping[int, int]  # of each norm, by its weight's offset: in group.norms
    sums: Mapping[int, int]  # and in group.sums
    registers: int  # of the processor's vector unit


class StageWriter:
    """Writes `forward_<index>` and `backward_<index>`, and the functions they call."""

    def __init__(self, plan: Plan, layout: Layout, index: int, packed: int) -> None:
        self.plan, self.layout, self.index = plan, layout, index
        self.stage = stage = plan.stages[index]
        self.scratch = 0  # vectors taken so far
        self.packed = 0  # floats of packed weights
        self.packing: Lines = []
        self.functions: Lines = []
        adds = {o.tensor for s in plan.stages for part in s.passes for o in part.operations if isinstance(o, Add)}
        self.wanted = frozenset(adds - {0})  # tensors that a skip gives a gradient to
        self.needs_gradient = stage.source > 0
        self.kernel = stage.kernel
        if stage.norm:
            self.functions += self._seen()
        if isinstance(self.kernel, Convolution):
            self._convolutions(self.kernel, packed)

    def lines(self) -> Lines:
        """Both functions, and those they call first."""
        staging, reads = self._staging()
        forward = [*passes.draws(self.stage.passes), *staging, *self._forward(reads[-1])]
        back = self._backward(reads)
        backward = [*staging, *back] if back else ["(void)g;"]
        return [
            self._caption(),
            *self.functions,
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

    def _room(self, name: str, vectors: int) -> str:
        """C that declares so much of the thread's scratch memory."""
        at = self.scratch
        self.scratch += vectors
        return f"V *restrict {name} = g->scratch + {at};"

    def _staging(self) -> tuple[Lines, list[str]]:
        """All passes; and the names of what each of them reads, then of what the kernel reads."""
        lines = [f"const V *restrict x = g->tensors + {self.layout.tensors[self.stage.source]};"]
        reads = ["x"]
        for number, part in enumerate(self.stage.passes):
            lines.append(self._room(f"p{number}", prod(part.output_shape)))
            lines += passes.forward(part, self.layout.tensors, self.layout.rows, reads[-1], f"p{number}")
            reads.append(f"p{number}")
        return lines, reads

    # --- forward ---

    def _convolutions(self, conv: Convolution, packed: int) -> None:
        stage, registers = self.stage, self.layout.registers
        ahead = Geometry(convolution=conv, source=stage.staged_shape, target=stage.output_shape)
        back = Geometry(convolution=conv, source=stage.output_shape, target=stage.staged_shape, back=True)
        extras = ["const float *restrict bias"] if conv.bias is not None else []
        extras += ["V *restrict sums"] if stage.norm else []
        self.functions += convolution(f"convolve_{self.index}", ahead, registers, self._store_summed, *extras)
        self.functions += weight_gradient(f"weigh_{self.index}", ahead, registers, add=not conv.first)
        weights = conv.kernel**2 * ahead.inputs * stage.output_shape[0]
        self.packing += pack(ahead, packed, registers)
        self.packs = (packed, packed + weights)
        self.packed = weights
        if self.needs_gradient:
            self.functions += convolution(f"return_{self.index}", back, registers, self._store_back)
            self.packing += pack(back, packed + weights, registers)
            self.packed += weights

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
        values = passes.values_of(len(self.stage.before_norm))
        body = [*passes.apply(self.stage.before_norm, self.layout.tensors, values), f"return {values[-1]};"]
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

    def _forward(self, read: str) -> Lines:
        stage, norm = self.stage, self.stage.norm
        lines = [f"V *restrict y = g->tensors + {self.layout.tensors[self.index + 1]};"]
        channels = stage.output_shape[0]
        if norm:
            lines += [
                self._room("sums", 3 * channels),
                f"for (int i = 0; i < {3 * channels}; i++) sums[i] = (V){{0}};",
            ]
        if isinstance(self.kernel, Convolution):
            bias = "" if self.kernel.bias is None else f", g->parameters + {self.kernel.bias}"
            sums = ", sums" if norm else ""
            lines.append(f"convolve_{self.index}({read}, g->packed + {self.packs[0]}, y{bias}{sums});")
        else:
            lines += passes.each(stage.staged_shape, [], [f"y[{self._place()}] = {read}[at];"])
            if norm:
                opened = self._opened("ch", "r == 0", f"y[ch * {stage.output_shape[2]}]")
                lines += passes.each(stage.output_shape, opened, self._summed("y[at]"), _CLOSED)
        if norm:
            at = f"g->sums + {self.layout.sums[norm.weight]}"
            lines.append(f"sum_up(g, sums, {channels}, {norm.pixels}, {at});")
        if self.kernel is None:
            gradient = f"g->gradients + {self.layout.tensors[self.index + 1]}"
            lines.append(f"if (g->training) cross_entropy(g, y, {gradient}, {self.plan.outputs});")
        return lines

    def _place(self) -> str:
        """C for where a copy puts the vector at (r, ch, c)."""
        if not (isinstance(self.kernel, Copy) and self.kernel.flat):
            return "at"
        _, height, width = self.stage.staged_shape
        return f"(ch * {height} + r) * {width} + c"

    # --- backward ---

    def _backward(self, reads: list[str]) -> Lines:
        """From the gradient of what comes after the stage to that of what came before; empty if there is nothing to do.

        `g->gradients` holds, for every stored tensor, the gradient of what its reader's first pass made of it
        (see `passes.undo_each`), so that the way back through that pass, which a batch norm can hold up, is left
        to the stage that stored it.
        """
        conv = self.kernel if isinstance(self.kernel, Convolution) else None
        if not (conv or self.needs_gradient):
            return []
        lines = self._incoming()
        if conv:
            lines.append(f"weigh_{self.index}({reads[-1]}, d, g->valid, g->partial + {conv.weight});")
            lines += self._bias_gradient(conv)
        if not self.needs_gradient:
            return lines
        passed = self.stage.passes
        lines.append(f"V *restrict to = g->gradients + {self.layout.tensors[self.stage.source]};")
        direct = not passed or (len(passed) == 1 and (passed[0].pool is None or passed[0].pool.plain))
        if not direct:
            lines.append(self._room("s", prod(self.stage.staged_shape)))
        target = "to" if direct else "s"
        if conv:
            lines.append(f"return_{self.index}(d, g->packed + {self.packs[1]}, {target});")
        else:
            sign = "+=" if direct and self.stage.source in self.wanted else "="
            lines += passes.each(self.stage.staged_shape, [], [f"{target}[at] {sign} d[{self._place()}];"])
        lines += self._later_passes_back(reads)
        if passed:
            summed = passes.norm_gradients(passed[0], self.layout.tensors, self.layout.rows, "x", "to")
            channels = self.stage.input_shape[0] if summed else 0
            lines += [self._room(name, channels) for name in ("levels", "slopes") if summed] + summed
        return lines

    def _later_passes_back(self, reads: list[str]) -> Lines:
        """From the gradient at `s`, of what the kernel read, to that of what the first pass made, at `to`."""
        lines: Lines = []
        tensors, rows = self.layout.tensors, self.layout.rows
        gradient = "s"
        for number in reversed(range(len(self.stage.passes))):
            part, read = self.stage.passes[number], reads[number]
            if part.pool and not part.pool.plain:
                target = "to" if number == 0 else f"s{number}"
                if number:
                    lines.append(self._room(target, prod(part.input_shape)))
                lines += passes.scatter(part, tensors, rows, read, gradient, target)
                gradient = target
            if number:
                onward = self.stage.passes[number - 1]
                ends = number == 1 and (onward.pool is None or onward.pool.plain)
                target = "to" if ends else f"t{number}"
                if not ends:
                    lines.append(self._room(target, prod(part.input_shape)))
                lines += passes.backward(part, tensors, rows, read, gradient, target, self.wanted)
                gradient = target
        return lines

    def _incoming(self) -> Lines:
        """The gradient `d` of what the kernel stored."""
        at = self.layout.tensors[self.index + 1]
        given = f"g->gradients + {at}"
        reader = self.plan.stages[self.index + 1] if self.kernel is not None else None
        if reader is None or not reader.passes:
            return [f"const V *restrict d = {given};"]
        first = reader.passes[0]
        return [
            f"const V *restrict stored = g->tensors + {at}, *restrict given = {given};",
            self._room("d", prod(self.stage.output_shape)),
            *passes.backward(first, self.layout.tensors, self.layout.rows, "stored", "given", "d", self.wanted),
        ]

    def _bias_gradient(self, conv: Convolution) -> Lines:
        if conv.bias is None:
            return []
        channels, height, width = self.stage.output_shape
        add = "=" if conv.first else "+="
        columns = f"for (int c = 0; c < {width}; c++) total += d[(r * {channels} + ch) * {width} + c];"
        body = [
            "V total = {0};",
            *block(f"for (int r = 0; r < {height}; r++)", [columns]),
            f"g->partial[{conv.bias} + ch] {add} sum(g->valid, total);",
        ]
        return block(f"for (int ch = 0; ch < {channels}; ch++)", body)
