"""C text of what happens between two kernels: pointwise operations and poolings, there and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from smallprint.spec.trace import Shape
from smallprint.training.draws import dropout_factor, dropout_threshold
from smallprint.training.native.kernels import Lines, block
from smallprint.training.native.plan import Activation, Add, Dropout, Norm, Pass, Pointwise, Pool

# Inside the loops: `r`, `ch`, `c` are row, channel and column, `at` the index of the vector they name.
_FORWARD: Mapping[str, str] = {
    "relu": "where(~({v} <= 0.0f), {v})",
    "leakyrelu": "choose({v} > 0.0f, {v}, {v} * {slope}f)",
    "silu": "{v} * sigmoid({v})",
    "gelu": "{v} * normal_distribution({v})",
    "tanh": "hyperbolic_tangent({v})",
}
_BACKWARD: Mapping[str, str] = {  # {v} went in, {y} came out
    "relu": "where(~({v} <= 0.0f), {d})",
    "leakyrelu": "choose({v} > 0.0f, {d}, {d} * {slope}f)",
    "silu": "{d} * sigmoid({v}) * (1.0f + {v} * (1.0f - sigmoid({v})))",
    "gelu": "{d} * (normal_distribution({v}) + {v} * normal_density({v}))",
    "tanh": "{d} * (1.0f - {y} * {y})",
}


def apply(operations: Sequence[Pointwise], tensors: Sequence[int], names: Sequence[str]) -> Lines:
    """C that sends `names[0]` through operations, leaving each result in the next of `names`."""
    lines: Lines = []
    for operation, v, y in zip(operations, names, names[1:], strict=False):
        match operation:
            case Activation(kind=kind, slope=slope):
                value = _FORWARD[kind].format(v=v, slope=float(slope))
            case Norm(weight=weight):
                value = f"{v} * scale{weight} + shift{weight}"
            case Dropout():
                value = f"where({_kept(operation)}, {v} * factor{operation.index})"
            case Add(tensor=tensor):
                value = f"{v} + g->tensors[{tensors[tensor]} + at]"
        lines.append(f"const V {y} = {value};")
    return lines


def undo(operations: Sequence[Pointwise], names: Sequence[str], gradient: str) -> Lines:
    """C that takes the gradient in the variable `gradient` back through operations whose values are in `names`.

    What an Add reads gets its share elsewhere (`backward`).
    """
    lines: Lines = []
    for operation, v, y in reversed(list(zip(operations, names, names[1:], strict=False))):
        match operation:
            case Activation(kind=kind, slope=slope):
                lines.append(f"{gradient} = {_BACKWARD[kind].format(v=v, y=y, d=gradient, slope=float(slope))};")
            case Norm(weight=weight):
                lines.append(f"{gradient} = {gradient} * scale{weight} + {v} * slope{weight} + level{weight};")
            case Dropout():
                lines.append(f"{gradient} = where({_kept(operation)}, {gradient} * factor{operation.index});")
            case Add():
                pass
    return lines


def _kept(dropout: Dropout) -> str:
    return f"lanes(g->masks[{dropout.mask} + {'ch' if dropout.channels else 'at'}])"


def draws(passes: Sequence[Pass]) -> Lines:
    """C that draws the masks of all dropouts of some passes."""
    return [
        f"if (g->training) draw_mask(g, g->masks + {o.mask}, {o.vectors}, {o.index}, {dropout_threshold(o.rate)});"
        for part in passes
        for o in part.operations
        if isinstance(o, Dropout)
    ]


def factors(operations: Sequence[Pointwise]) -> Lines:
    """C of what dropouts multiply with what they keep."""
    return [
        f"const float factor{o.index} = g->training ? {dropout_factor(o.rate)!r}f : 1.0f;"
        for o in operations
        if isinstance(o, Dropout)
    ]


def coefficients(operations: Iterable[Pointwise], rows: Mapping[int, int], wanted: Mapping[str, str]) -> Lines:
    """C of the norms' values for channel `ch`: name in C, and its row."""
    return [
        f"const V {name}{o.weight} = spread(g->norms[{rows[o.weight]} + {row} * {o.channels} + ch]);"
        for o in operations
        if isinstance(o, Norm)
        for name, row in wanted.items()
    ]


_SCALES = {"scale": "SCALE", "shift": "SHIFT"}


def each(shape: Shape, per_channel: Lines, body: Lines, after: Sequence[str] = ()) -> Lines:
    """C loops over all vectors of a tensor."""
    channels, height, width = shape
    inner = block(f"for (int c = 0; c < {width}; c++)", [f"const int at = (r * {channels} + ch) * {width} + c;", *body])
    return block(
        f"for (int r = 0; r < {height}; r++)",
        block(f"for (int ch = 0; ch < {channels}; ch++)", [*per_channel, *inner, *after]),
    )


def values_of(count: int, stem: str = "v") -> list[str]:
    """Variables for a value and what each of `count` operations makes of it."""
    return [f"{stem}{index}" for index in range(count + 1)]


def forward(part: Pass, tensors: Sequence[int], rows: Mapping[int, int], source: str, target: str) -> Lines:
    """C of one pass from the vectors at `source` to those at `target`."""
    values = values_of(len(part.operations))
    head = factors(part.operations)
    scales = coefficients(part.operations, rows, _SCALES)
    if part.pool is None:
        body = [
            f"const V v0 = {source}[at];",
            *apply(part.operations, tensors, values),
            f"{target}[at] = {values[-1]};",
        ]
        return block("", [*head, *each(part.input_shape, scales, body)])
    pool = part.pool
    start = "spread(-__builtin_inff())" if pool.kind == "maxpool" else "{0}"
    gather = (
        f"result = choose(({values[-1]} > result) | ({values[-1]} != {values[-1]}), {values[-1]}, result);"  # keeps NaN
        if pool.kind == "maxpool"
        else f"result += {values[-1]};"
    )
    window = _window(pool, [f"const V v0 = {source}[at];", *apply(part.operations, tensors, values), gather])
    scaled = "result" if pool.kind == "maxpool" else f"result * {pool.share!r}f"
    body = [f"V result = {start};", *window, f"{target}[into] = {scaled};"]
    return block("", [*head, *_targets(pool, scales, body)])


def scatter(part: Pass, tensors: Sequence[int], rows: Mapping[int, int], source: str, d: str, target: str) -> Lines:
    """C that takes the gradient `d` of a pooling's output to its input at `target`, where windows may overlap.

    Of equal values in a window, the first takes all, as in PyTorch.
    """
    pool = part.pool
    assert pool is not None
    values = values_of(len(part.operations))
    last = values[-1]
    clear = f"for (int i = 0; i < {prod(pool.input_shape)}; i++) {target}[i] = (V){{0}};"
    if pool.kind == "avgpool":
        body = [f"const V share = {d}[into] * {pool.share!r}f;", *_window(pool, [f"{target}[at] += share;"])]
        return block("", [clear, *_targets(pool, [], body)])
    value = [f"const V v0 = {source}[at];", *apply(part.operations, tensors, values)]
    body = [
        "V best = spread(-__builtin_inff());",
        *_window(pool, [*value, f"best = choose({last} > best, {last}, best);"]),
        f"V left = {d}[into];",
        *_window(
            pool,
            [
                *value,
                f"const I hit = {last} == best;",
                f"{target}[at] += where(hit, left);",
                "left = where(~hit, left);",
            ],
        ),
    ]
    scales = coefficients(part.operations, rows, _SCALES)
    return block("", [clear, *factors(part.operations), *_targets(pool, scales, body)])


def undo_each(
    part: Pass, tensors: Sequence[int], source: str, d: str, per_channel: Lines, body: Lines, after: Lines
) -> Lines:
    """C loops over what a pass reads, with its operations' values and the gradient `d` of what they made.

    The gradient comes as that of the pass's output, or where its pooling is not `plain`, as `scatter` left it.
    """
    values = values_of(len(part.operations))
    value = [f"const V v0 = {source}[at];", *apply(part.operations, tensors, values)]
    pool = part.pool
    if pool is None or not pool.plain:
        return [*each(part.input_shape, per_channel, [*value, f"V dz = {d}[at];", *body], after)]
    channels, _, width = pool.output_shape
    if pool.kind == "avgpool":
        into = f"((r / {pool.height}) * {channels} + ch) * {width} + c / {pool.width}"
        gradient = f"V dz = {d}[{into}] * {pool.share!r}f;"
        return [*each(part.input_shape, per_channel, [*value, gradient, *body], after)]
    places = [(y, x) for y in range(pool.height) for x in range(pool.width)]
    inside: Lines = ["V best;"]
    for y, x in places:
        best = (
            f"best = {values[-1]};" if (y, x) == (0, 0) else f"best = choose({values[-1]} > best, {values[-1]}, best);"
        )
        inside += block("", [*_place(pool, y, x), *value, best])
    inside.append(f"V left = {d}[into];")
    for y, x in places:
        take = [f"const I hit = {values[-1]} == best;", "V dz = where(hit, left);", "left = where(~hit, left);"]
        inside += block("", [*_place(pool, y, x), *value, *take, *body])
    return _targets(pool, per_channel, inside, after)


def _place(pool: Pool, y: int, x: int) -> Lines:
    channels, _, width = pool.input_shape
    return [f"const int at = ((tr * {pool.height} + {y}) * {channels} + ch) * {width} + tc * {pool.width} + {x};"]


def _targets(pool: Pool, per_channel: Lines, body: Lines, after: Sequence[str] = ()) -> Lines:
    channels, height, width = pool.output_shape
    inner = block(
        f"for (int tc = 0; tc < {width}; tc++)", [f"const int into = (tr * {channels} + ch) * {width} + tc;", *body]
    )
    return block(
        f"for (int tr = 0; tr < {height}; tr++)",
        block(f"for (int ch = 0; ch < {channels}; ch++)", [*per_channel, *inner, *after]),
    )


def _window(pool: Pool, body: Lines) -> Lines:
    """C loops over the places of one window that lie inside the image."""
    channels, height, width = pool.input_shape
    inside = [f"const int at = (r * {channels} + ch) * {width} + c;", *body]
    top, left = f"tr * {pool.stride} - {pool.pad}", f"tc * {pool.stride} - {pool.pad}"
    if not pool.pad:  # every window lies inside: loops of constant length, which the compiler unrolls
        return block(
            f"for (int wr = 0; wr < {pool.height}; wr++)",
            block(
                f"for (int wc = 0; wc < {pool.width}; wc++)", [f"const int r = {top} + wr, c = {left} + wc;", *inside]
            ),
        )
    return block(
        f"for (int r = max(0, {top}); r < min({height}, {top} + {pool.height}); r++)",
        block(f"for (int c = max(0, {left}); c < min({width}, {left} + {pool.width}); c++)", inside),
    )


def norm_gradients(part: Pass, tensors: Sequence[int], rows: Mapping[int, int], source: str, d: str) -> Lines:
    """C that sums up the gradients of the batch norm among a pass's operations; empty if there is none.

    `levels` and `slopes` are scratch memory, a vector per channel each.
    """
    found = [index for index, o in enumerate(part.operations) if isinstance(o, Norm)]
    if not found:
        return []
    norm = part.operations[found[0]]
    assert isinstance(norm, Norm)
    values, split, channels = values_of(len(part.operations)), found[0] + 1, norm.channels
    name, before = norm.weight, values[found[0]]
    scales = coefficients([norm], rows, {**_SCALES, "mean": "MEAN", "inverse": "INVERSE"})
    body = undo(part.operations[split:], values[split:], "dz")
    body.append(f"level += dz; slope += dz * (({before} - mean{name}) * inverse{name});")
    after = ["levels[ch] += level; slopes[ch] += slope;"]
    loops = undo_each(part, tensors, source, d, [*scales, "V level = {0}, slope = {0};"], body, after)
    give = [
        f"g->partial[{name} + ch] = sum(g->valid, slopes[ch]);",
        f"g->partial[{name + channels} + ch] = sum(g->valid, levels[ch]);",
    ]
    return block(
        "",
        [
            f"for (int ch = 0; ch < {channels}; ch++) levels[ch] = slopes[ch] = (V){{0}};",
            *factors(part.operations),
            *loops,
            *block(f"for (int ch = 0; ch < {channels}; ch++)", give),
        ],
    )


def backward(
    part: Pass,
    tensors: Sequence[int],
    rows: Mapping[int, int],
    source: str,
    d: str,
    target: str,
    wanted: frozenset[int],
) -> Lines:
    """C that takes the gradient `d` of a pass back to what it read, at `target`.

    What an Add reads gets its share, if it is among the `wanted` tensors.
    """
    values = values_of(len(part.operations))
    body: Lines = []
    for index in reversed(range(len(part.operations))):
        operation = part.operations[index]
        if isinstance(operation, Add) and operation.tensor in wanted:
            body.append(f"g->gradients[{tensors[operation.tensor]} + at] = dz;")
        body += undo([operation], values[index : index + 2], "dz")
    body.append(f"{target}[at] = dz;")
    names = {**_SCALES, "slope": "SLOPE", "level": "LEVEL"}
    scales = coefficients(part.operations, rows, names)
    return block("", [*factors(part.operations), *undo_each(part, tensors, source, d, scales, body, [])])
