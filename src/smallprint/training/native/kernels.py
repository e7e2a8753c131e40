"""C text of the two kernels: convolution, forward or back to its input, and its weight gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, product

from smallprint.spec.trace import Shape
from smallprint.training.native.plan import Convolution
from smallprint.training.native.tiles import gradient_tiling, latency, parts, tiling

Lines = list[str]
_SLICE = 16384  # bytes


def block(head: str, body: Iterable[str]) -> Lines:
    """A C block with its body indented."""
    return [f"{head} {{", *(f"  {line}" for line in body), "}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a kernel multiplies, in C; it sums up in vectors of floats."""

    vector: str  # type
    spread: str  # function that takes a packed weight to all lanes
    product: str  # of {a} and {b}, added to {total}


FLOATS = Numbers(vector="V", spread="spread", product="{total} += {a} * {b};")
PAIRS = Numbers(vector="P", spread="spread_pair", product="{total} = dot({total}, {a}, {b});")


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """One convolution as a kernel sees it: forward, or with `back` from its output's gradient to its input's."""

    convolution: Convolution
    source: Shape
    target: Shape
    back: bool = False
    source_rows: int | None = None  # that memory holds at a time, if not all: row r stands where r % rows says
    target_rows: int | None = None  # read by the weight gradient; the convolution's own target is always whole
    numbers: Numbers = FLOATS
    across: tuple[int, int] | None = None  # stride and pad of columns, where they are not those of rows

    @property
    def inputs(self) -> int:
        """Channels that each output channel reads."""
        return self.source[0] // self.convolution.groups

    @property
    def outputs(self) -> int:
        """Channels of one group."""
        return self.target[0] // self.convolution.groups

    @property
    def columns(self) -> tuple[int, int]:
        """Stride and pad of columns."""
        return self.across or (self.convolution.stride, self.convolution.pad)

    def column(self, target: int, tap: int) -> int | None:
        """Where a kernel's tap reads for one target column; None outside."""
        stride, pad = self.columns
        if not self.back:
            found = target * stride + tap - pad
        else:
            found, rest = divmod(target + pad - tap, stride)
            if rest:
                return None
        return found if 0 <= found < self.source[2] else None

    def rows(self) -> Lines:
        """C that sets `first` and `last`, the kernel rows that lie inside the source for target row `r`."""
        conv, height = self.convolution, self.source[1]
        k, s, p = conv.kernel, conv.stride, conv.pad
        if not self.back:
            return [f"const int first = max(0, {p} - r * {s}), last = min({k}, {height + p} - r * {s});"]
        return [f"const int first = max(0, r + {p} - {(height - 1) * s}), last = min({k}, r + {p} + 1);"]

    @property
    def row(self) -> str:
        """C for the source row of kernel row `ky`; with `back` and a stride, only where `skipped` does not hold."""
        conv = self.convolution
        if not self.back:
            return f"r * {conv.stride} + ky - {conv.pad}"
        return f"(r + {conv.pad} - ky) / {conv.stride}"

    @property
    def skipped(self) -> str | None:
        """C that tells a kernel row which falls between source rows."""
        conv = self.convolution
        return f"(r + {conv.pad} - ky) % {conv.stride}" if self.back and conv.stride > 1 else None


def place(row: str, held: int | None) -> str:
    """C for where a row stands in memory that holds so many rows at a time; None: all of them."""
    return f"({row})" if held is None else f"(unsigned)({row}) % {held}"


def pack(geometry: Geometry, offset: int, registers: int, *, paired: bool = False) -> Lines:
    """C that lays the weights out in the order in which `convolution` reads them; `paired`, two inputs' at a time."""
    conv = geometry.convolution
    k, within = conv.kernel, conv.kernel * conv.kernel
    if geometry.back:  # output channel o of this kernel is an input channel of the layer
        weight = f"((group * {geometry.inputs} + {{i}}) * {geometry.outputs} + o) * {within}"
    else:
        weight = f"((group * {geometry.outputs} + o) * {geometry.inputs} + {{i}}) * {within}"
    weight = f"w[{weight} + ky * {k} + kx]"
    inputs, value = geometry.inputs, weight.format(i="i")
    if paired:
        first, second = weight.format(i="2 * i"), weight.format(i="(2 * i + 1)")
        inputs, value = -(-inputs // 2), f"packed_pair({first}, 2 * i + 1 < {inputs} ? {second} : 0.0f)"
    high, _ = tiling(geometry.outputs, geometry.target[2], registers)
    copies: Lines = []
    for size, blocks in groupby(parts(geometry.outputs, high), key=lambda part: part[1]):
        starts = [first for first, _ in blocks]
        copies += [
            f"for (int b = {starts[0]}; b < {starts[-1] + size}; b += {size})",
            f"  for (int ky = 0; ky < {k}; ky++)",
            f"    for (int i = 0; i < {inputs}; i++)",
            f"      for (int kx = 0; kx < {k}; kx++)",
            f"        for (int o = b; o < b + {size}; o++)",
            f"          *to++ = {value};",
        ]
    head = [f"const float *w = parameters + {conv.weight};", f"float *to = packed + {offset};"]
    return block("", [*head, *block(f"for (int group = 0; group < {conv.groups}; group++)", copies)])


def convolution(
    name: str, geometry: Geometry, registers: int, store: Callable[[int, int], Lines], *extras: str
) -> Lines:
    """A C function `name(x, w, y, from, to, ...)` for the target's rows `from` to `to`.

    `extras` are its further parameters; `bias` among them is added.

    `x` is of the geometry's numbers. `store(o, c)` is the C that takes a finished tile of values a<o>_<c> for output
    channels `channel` + o; `at` points to the tile's first value in y, and `start` tells whether it is these channels'
    first tile.
    """
    high, wide = tiling(geometry.outputs, geometry.target[2], registers)
    vector = geometry.numbers.vector
    body: Lines = []
    for run in _column_runs(geometry, wide):
        inner: Lines = [f"const {vector} *restrict xt = x + {run.source} + t * {run.source_step};"]
        for size, blocks in groupby(parts(geometry.outputs, high), key=lambda part: part[1]):
            starts = [first for first, _ in blocks]
            inner += _tile(geometry, run, size, starts, store, biased=any("bias" in extra for extra in extras))
        channels = geometry.inputs * geometry.source[2]
        group = [f"const {vector} *restrict xg = xt + group * {channels};", *inner[1:]]
        looped = block(f"for (int group = 0; group < {geometry.convolution.groups}; group++)", group)
        body += block(f"for (int t = 0; t < {run.count}; t++)", [inner[0], *looped])
    rows = block("for (int r = from; r < to; r++)", [*geometry.rows(), *body])
    read = [f"const {vector} *restrict x", "const float *restrict w"]
    parameters = [*read, "V *restrict y", "int from", "int to", *extras]
    return block(f"static void {name}({', '.join(parameters)})", rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Column tiles that differ only by where they start."""

    target: int  # first column of the first tile
    width: int
    count: int
    source: int  # column that offsets count from, of the first tile
    source_step: int
    taps: tuple[tuple[tuple[int, int], ...], ...]  # per column of the tile: (tap, offset from `source`)


def _column_runs(geometry: Geometry, wide: int) -> Iterator[_Run]:
    """Neighbouring column tiles, taken together where they read in the same pattern."""
    (stride, _), kernel = geometry.columns, geometry.convolution.kernel
    tiles = []
    for first, width in parts(geometry.target[2], wide):
        base = first // stride if geometry.back else first * stride
        taps = tuple(
            tuple((tap, found - base) for tap in range(kernel) if (found := geometry.column(column, tap)) is not None)
            for column in range(first, first + width)
        )
        tiles.append((first, base, taps))
    for taps, alike in groupby(tiles, key=lambda tile: tile[2]):
        run = list(alike)
        yield _Run(
            target=run[0][0],
            width=len(taps),
            count=len(run),
            source=run[0][1],
            source_step=run[1][1] - run[0][1] if len(run) > 1 else 0,
            taps=taps,
        )


def _tile(
    geometry: Geometry, run: _Run, size: int, starts: list[int], store: Callable[[int, int], Lines], *, biased: bool
) -> Lines:
    """All channel blocks of one size for one column tile."""
    kernel, inputs, width = geometry.convolution.kernel, geometry.inputs, geometry.source[2]
    numbers = geometry.numbers
    per_output = kernel * kernel * inputs  # packed weights
    taps: Lines = []
    for kx in range(kernel):
        columns = [(c, offset) for c, reads in enumerate(run.taps) for tap, offset in reads if tap == kx]
        taps += [f"const {numbers.vector} x{kx}_{c} = xr[{offset}];" for c, offset in columns]
        for o in range(size if columns else 0):
            weight = f"w{kx}_{o}"
            taps += [f"const {numbers.vector} {weight} = {numbers.spread}(q[{kx * size + o}]);"]
            taps += [numbers.product.format(total=f"a{o}_{c}", a=weight, b=f"x{kx}_{c}") for c, _ in columns]
    channel_loop = block(
        f"for (int i = 0; i < {inputs}; i++, xr += {width}, q += {kernel * size})",
        taps,
    )
    skipped = [f"if ({geometry.skipped}) continue;"] if geometry.skipped else []
    source_row = place(geometry.row, geometry.source_rows)
    row_loop = block(
        "for (int ky = first; ky < last; ky++)",
        [
            *skipped,
            f"const {numbers.vector} *restrict xr = xg + {source_row} * {geometry.source[0] * width};",
            f"const float *restrict q = wb + ky * {kernel * inputs * size};",
            *channel_loop,
        ],
    )
    start = "spread(bias[channel + {o}])" if biased else "{{0}}"
    accumulators = [f"V a{o}_{c} = {start.format(o=o)};" for o in range(size) for c in range(run.width)]
    target_width, target_channels = geometry.target[2], geometry.target[0]
    column = f"{run.target} + t * {run.width}"
    return block(
        f"for (int b = {starts[0]}; b < {starts[-1] + size}; b += {size})",
        [
            f"const int channel = group * {geometry.outputs} + b;",
            f"const float *restrict wb = w + channel * {per_output};",
            *accumulators,
            *row_loop,
            f"V *restrict at = y + (r * {target_channels} + channel) * {target_width} + {column};",
            f"const int start = {'0' if run.target else 'r == 0 && t == 0'};",
            *store(size, run.width),
        ],
    )


def weight_gradient(name: str, geometry: Geometry, registers: int, sign: str | None) -> Lines:
    """A C function `name(x, d, out, from, to)`: the weights' gradient from a layer's input and its output's gradient.

    What the target's rows `from` to `to` contribute is added to `out`, a vector for every weight. With a `sign`, `out`
    takes floats: the sums over the lanes of a last parameter, `valid`, are written (=) or added (+=) to it.
    """
    conv = geometry.convolution
    high, deep, taps = gradient_tiling(geometry.outputs, geometry.inputs, conv.kernel, registers)
    height, stride, pad = geometry.source[1], conv.stride, conv.pad
    rows = [
        f"const int top = {pad} - ky, first = max(slice, top > 0 ? (top + {stride - 1}) / {stride} : 0);",
        f"const int last = min(end, ({height - 1 + pad + stride} - ky) / {stride});",
    ]
    tiles: Lines = []
    for kx, taps_here in parts(conv.kernel, taps):
        for o_size, o_blocks in groupby(parts(geometry.outputs, high), key=lambda part: part[1]):
            o_starts = [first for first, _ in o_blocks]
            for i_size, i_blocks in groupby(parts(geometry.inputs, deep), key=lambda part: part[1]):
                i_starts = [first for first, _ in i_blocks]
                tile = _gradient_tile(geometry, (o_size, i_size), (kx, taps_here), latency(registers), sign)
                tiles += block(
                    f"for (int o = {o_starts[0]}; o < {o_starts[-1] + o_size}; o += {o_size})",
                    block(f"for (int i = {i_starts[0]}; i < {i_starts[-1] + i_size}; i += {i_size})", tile),
                )
    # So many rows at a time that the output's gradient of one tile stays in the first-level cache for all its inputs.
    held = "to - from" if sign else f"max(2, {_SLICE} / (int)sizeof(V) / {high * geometry.target[2]})"
    slices = [
        f"const int end = min(to, slice + {held});",
        *block(f"for (int ky = 0; ky < {conv.kernel}; ky++)", [*rows, *tiles]),
    ]
    looped = block(f"for (int slice = from; slice < to; slice += {held})", slices)
    out, valid = ("float *restrict out", ", I valid") if sign else ("V *restrict out", "")
    read = f"const {geometry.numbers.vector} *restrict"
    return block(
        f"static void {name}({read} x, {read} d, {out}, int from, int to{valid})",
        block(f"for (int group = 0; group < {conv.groups}; group++)", looped),
    )


def _gradient_tile(
    geometry: Geometry, size: tuple[int, int], taps: tuple[int, int], least: int, sign: str | None
) -> Lines:
    """One tile over the rows of a slice, with at least so many sums: few alone would wait."""
    conv = geometry.convolution
    (outputs, inputs), (first_tap, tap_count) = size, taps
    width, target_width, vector = geometry.source[2], geometry.target[2], geometry.numbers.vector
    names = [(o, i, k) for o in range(outputs) for i in range(inputs) for k in range(first_tap, first_tap + tap_count)]
    ways = -(-least // len(names))  # sums of each weight, of every other column
    source_row = place(f"r * {conv.stride} + ky - {conv.pad}", geometry.source_rows)
    target_row = place("r", geometry.target_rows)
    row_loop = block(
        "for (int r = first; r < last; r++)",
        [
            f"const {vector} *restrict xs = x + ({source_row} * {geometry.source[0]} + xg) * {width};",
            f"const {vector} *restrict ds = d + ({target_row} * {geometry.target[0]} + dg) * {target_width};",
            *_gradient_columns(geometry, size, taps, ways),
        ],
    )
    sums = [(f"a{o}_{i}_{k}", f"at[{(o * geometry.inputs + i) * conv.kernel**2 + k}]") for o, i, k in names]
    more = [f"{total}_{way}" for total, _ in sums for way in range(1, ways)]
    to = f"((group * {geometry.outputs} + o) * {geometry.inputs} + i) * {conv.kernel**2} + ky * {conv.kernel}"
    return [
        f"const int xg = group * {geometry.inputs} + i, dg = group * {geometry.outputs} + o;",
        f"{'float' if sign else 'V'} *restrict at = out + {to};",
        *(f"V {total}_0 = {'{0}' if sign else slot};" for total, slot in sums),
        *(f"V {total} = {{0}};" for total in more),
        *row_loop,
        *(f"const V {total} = {' + '.join(f'{total}_{way}' for way in range(ways))};" for total, _ in sums),
        *(f"{slot} {sign} sum(valid, {total});" if sign else f"{slot} = {total};" for total, slot in sums),
    ]


def _gradient_columns(geometry: Geometry, size: tuple[int, int], taps: tuple[int, int], ways: int) -> Lines:
    """C loops over a row's columns, so many at a time that read the same taps; each adds to sums of its own."""
    outputs, inputs = size
    (stride, pad), width, target_width = geometry.columns, geometry.source[2], geometry.target[2]
    vector, product_of = geometry.numbers.vector, geometry.numbers.product.format
    lines: Lines = []
    for reads, columns in groupby(range(target_width), key=lambda column: _reads(geometry, column, taps)):
        run = list(columns) if reads else []
        whole = len(run) // ways * ways
        for part, step in ((run[:whole], ways), (run[whole:], 1)):
            body = [f"const {vector} *restrict xr = xs + c * {stride}, *restrict dr = ds + c;"]
            for way in range(step):
                body += [f"const {vector} d{o}_{way} = dr[{o * target_width + way}];" for o in range(outputs)]
                for i, k in product(range(inputs), reads):
                    x = f"x{i}_{k}_{way}"
                    body.append(f"const {vector} {x} = xr[{i * width + k - pad + way * stride}];")
                    body += [product_of(total=f"a{o}_{i}_{k}_{way}", a=f"d{o}_{way}", b=x) for o in range(outputs)]
            lines += block(f"for (int c = {part[0]}; c < {part[-1] + 1}; c += {step})", body) if part else []
    return lines


def _reads(geometry: Geometry, column: int, taps: tuple[int, int]) -> tuple[int, ...]:
    """The taps of a range that lie inside the source for one target column."""
    first, count = taps
    return tuple(tap for tap in range(first, first + count) if geometry.column(column, tap) is not None)
