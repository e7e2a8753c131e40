"""C text of a pass between two kernels: its pointwise operations and its pooling, there and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from smallprint.spec.trace import Shape
from smallprint.training.native.kernels import Lines, block, place
from smallprint.training.native.plan import Add, Dropout, Norm, Pass, Pointwise, Pool
from smallprint.training.native.pointwise import apply, coefficients, derivative, factors, smooth, undo, values_of

_SCALES = {"scale": "SCALE", "shift": "SHIFT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Where forward notes the winners of a maxpool's windows: backward then has no need of what lost."""

    part: Pass
    values: int  # offset in a group's tensors: what the winners were before the pass
    hits: int  # offset in a group's masks: for every window a word per place, the lanes in which it won

    @property
    def _pool(self) -> Pool:
        assert self.part.pool
        return self.part.pool

    @property
    def vectors(self) -> int:
        """Values that are kept."""
        return prod(self._pool.output_shape)

    @property
    def words(self) -> int:
        """Masks that are kept: of the places, and of every dropout what it said of the winners."""
        dropouts = sum(isinstance(o, Dropout) and not o.channels for o in self.part.operations)
        return self.vectors * (self._pool.height * self._pool.width + dropouts)

    @property
    def won(self) -> Pass:
        """The pass as it is for the winners alone: nothing is left to pool."""
        operations: list[Pointwise] = []
        mask = self.hits + self.vectors * self._pool.height * self._pool.width
        for operation in self.part.operations:
            if isinstance(operation, Dropout) and not operation.channels:
                operations.append(replace(operation, mask=mask, shape=self._pool.output_shape))
                mask += self.vectors
            else:
                operations.append(operation)
        return Pass(operations=tuple(operations), input_shape=self._pool.output_shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of a tensor."""

    first: str = "0"  # C
    last: str  # C; that row no longer

    @staticmethod
    def all(shape: Shape) -> Rows:
        return Rows(last=str(shape[1]))

    def times(self, factor: int) -> Rows:
        """The rows that as many windows of so many rows cover."""
        return Rows(first=f"{self.first} * {factor}", last=f"{self.last} * {factor}") if factor > 1 else self

    def over(self, factor: int) -> Rows:
        """And the way back."""
        return Rows(first=f"{self.first} / {factor}", last=f"{self.last} / {factor}") if factor > 1 else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Memory of a tensor of which it holds so many rows at a time, or all of them."""

    name: str
    rows: int | None = None

    def at(self, shape: Shape, row: str, column: str) -> str:
        """C for the vector of channel `ch`."""
        return f"{self.name}[({place(row, self.rows)} * {shape[0]} + ch) * {shape[2]} + {column}]"


def each(shape: Shape, rows: Rows, per_channel: Lines, body: Lines, after: Sequence[str] = ()) -> Lines:
    """C loops over all vectors of some rows of a tensor."""
    channels, _, width = shape
    inner = block(f"for (int c = 0; c < {width}; c++)", [f"const int at = (r * {channels} + ch) * {width} + c;", *body])
    return block(
        f"for (int r = {rows.first}; r < {rows.last}; r++)",
        block(f"for (int ch = 0; ch < {channels}; ch++)", [*per_channel, *inner, *after]),
    )


def forward(
    part: Pass,
    tensors: Sequence[int],
    source: str,
    target: Held,
    rows: Rows,
    record: Record | None = None,
    derivatives: Held | None = None,
) -> Lines:
    """C of one pass from the vectors at `source` to some rows of `target`; with a `record`, in training, it is kept.

    At `derivatives`, where given, those of the pass's smooth activation are left, which has no pooling then.
    """
    values = values_of(len(part.operations))
    head = factors(part.operations)
    scales = coefficients(part.operations, _SCALES)
    value = [f"const V v0 = {source}[at];", *apply(part.operations, tensors, values)]
    if part.pool is None:
        body = [*value, f"{target.at(part.input_shape, 'r', 'c')} = {values[-1]};"]
        if derivatives:
            index = smooth_behind_norm(part)
            assert index is not None
            known = derivative(part.operations[index], values[index], values[index + 1])
            body.append(f"{derivatives.at(part.input_shape, 'r', 'c')} = {known};")
        return block("", [*head, *each(part.input_shape, rows, scales, body)])
    pool = part.pool
    result = f"{target.at(pool.output_shape, 'tr', 'tc')} = result"
    if record:
        body = [*_contest(record, value, values[-1]), f"{result};"]
    elif pool.kind == "maxpool":
        better = f"({values[-1]} > result) | ({values[-1]} != {values[-1]})"  # keeps NaN
        window = _window(pool, [*value, f"result = choose({better}, {values[-1]}, result);"])
        body = ["V result = spread(-__builtin_inff());", *window, f"{result};"]
    else:
        body = ["V result = {0};", *_window(pool, [*value, f"result += {values[-1]};"]), f"{result} * {pool.share!r}f;"]
    return block("", [*head, *_targets(pool, rows, scales, body)])


def _contest(record: Record, value: Lines, last: str) -> Lines:
    """C that finds the largest value of one window, `result`, and in training keeps the record of it."""
    part, pool = record.part, record.part.pool
    assert pool
    dropouts = [
        (before, after)
        for before, after in zip(part.operations, record.won.operations, strict=True)
        if isinstance(before, Dropout) and isinstance(after, Dropout) and not before.channels
    ]
    places = [(y, x) for y in range(pool.height) for x in range(pool.width)]
    lines = ["V result, winner;", *(f"uint16_t kept{before.index};" for before, _ in dropouts)]
    hits = ["uint16_t lost = 0;"]
    for number, corner in enumerate(places):
        if number == 0:
            take = [f"result = {last}, winner = v0;"]
            take += [f"kept{before.index} = g->masks[{before.mask} + at];" for before, _ in dropouts]
        else:
            lines.append(f"uint16_t won{number};")
            take = [
                f"const I better = ({last} > result) | ({last} != {last});",  # keeps NaN
                f"result = choose(better, {last}, result), winner = choose(better, v0, winner);",
                f"won{number} = bits(better);",
            ]
            for before, _ in dropouts:
                word = f"kept{before.index} ^ g->masks[{before.mask} + at]"
                take.append(f"kept{before.index} ^= won{number} & ({word});")
            hits[1:1] = [
                f"g->masks[{record.hits} + into * {len(places)} + {number}] = (uint16_t)(won{number} & ~lost);",
                f"lost |= won{number};",
            ]
        lines += block("", [*_place(pool, *corner), *value, *take])
    hits.append(f"g->masks[{record.hits} + into * {len(places)}] = (uint16_t)~lost;")
    hits += [f"g->masks[{after.mask} + into] = kept{before.index};" for before, after in dropouts]
    return [*lines, *block("if (g->training)", [f"g->tensors[{record.values} + into] = winner;", *hits])]


def scatter(part: Pass, tensors: Sequence[int], source: str, d: str, target: str) -> Lines:
    """C that takes the gradient `d` of a pooling's output to its input at `target`, where windows may overlap.

    Of equal values in a window, the first takes all, as in PyTorch.
    """
    pool = part.pool
    assert pool is not None
    values = values_of(len(part.operations))
    last = values[-1]
    every = Rows.all(pool.output_shape)
    clear = f"for (int i = 0; i < {prod(pool.input_shape)}; i++) {target}[i] = (V){{0}};"
    if pool.kind == "avgpool":
        body = [f"const V share = {d}[into] * {pool.share!r}f;", *_window(pool, [f"{target}[at] += share;"])]
        return block("", [clear, *_targets(pool, every, [], body)])
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
    scales = coefficients(part.operations, _SCALES)
    return block("", [clear, *factors(part.operations), *_targets(pool, every, scales, body)])


def undo_each(
    part: Pass,
    tensors: Sequence[int],
    source: str,
    d: str,
    rows: Rows,
    per_channel: Lines,
    body: Lines,
    after: Sequence[str] = (),
    record: Record | None = None,
) -> Lines:
    """C loops over rows of what a pass reads, with its operations' values and the gradient `d` of what they made.

    The gradient comes as that of the pass's output where there is a `record` or a mean of windows that share no place;
    then the rows are those of whole windows. Else it comes as `scatter` left it.
    """
    values = values_of(len(part.operations))
    value = [f"const V v0 = {source}[at];", *apply(part.operations, tensors, values)]
    pool = part.pool
    if pool and record:
        places = [(y, x) for y in range(pool.height) for x in range(pool.width)]
        inside: Lines = [f"const V given_here = {d}[into];"]
        for number, corner in enumerate(places):
            hit = f"lanes(g->masks[{record.hits} + into * {len(places)} + {number}])"
            inside += block("", [*_place(pool, *corner), *value, f"V dz = where({hit}, given_here);", *body])
        return _targets(pool, rows.over(pool.height), per_channel, inside, after)
    gradient = f"V dz = {d}[at];"
    if pool and pool.plain and pool.kind == "avgpool":
        channels, _, width = pool.output_shape
        into = f"((r / {pool.height}) * {channels} + ch) * {width} + c / {pool.width}"
        gradient = f"V dz = {d}[{into}] * {pool.share!r}f;"
    return each(part.input_shape, rows, per_channel, [*value, gradient, *body], after)


def _place(pool: Pool, y: int, x: int) -> Lines:
    channels, _, width = pool.input_shape
    return [
        f"const int r = tr * {pool.height} + {y}, c = tc * {pool.width} + {x};",
        f"const int at = (r * {channels} + ch) * {width} + c;",
    ]


def _targets(pool: Pool, rows: Rows, per_channel: Lines, body: Lines, after: Sequence[str] = ()) -> Lines:
    """C loops over the windows of some rows of what a pooling makes."""
    channels, _, width = pool.output_shape
    inner = block(
        f"for (int tc = 0; tc < {width}; tc++)", [f"const int into = (tr * {channels} + ch) * {width} + tc;", *body]
    )
    return block(
        f"for (int tr = {rows.first}; tr < {rows.last}; tr++)",
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


def left(part: Pass) -> int:
    """How many operations of a stage's first pass its gradient has still to be taken back through.

    Those up to the batch norm, if there is one: `norm_gradients` goes through the others on its way and leaves what it
    has worked out. All of them where a skip takes its share on the way, or where values share one gradient.
    """
    norms = [index for index, o in enumerate(part.operations) if isinstance(o, Norm)]
    shared = part.pool is not None and part.pool.plain and part.pool.kind == "avgpool"
    if not norms or shared or any(isinstance(o, Add) for o in part.operations[norms[0] :]):
        return len(part.operations)
    return norms[0] + 1


def smooth_behind_norm(part: Pass) -> int | None:
    """Which operation is a pass's only smooth activation, behind its batch norm and before no pooling; or None.

    Its derivatives may be worked out together with its values, for `norm_gradients`.
    """
    norms = [index for index, o in enumerate(part.operations) if isinstance(o, Norm)]
    places = [index for index, o in enumerate(part.operations) if smooth(o)]
    alone = part.pool is None and len(norms) == len(places) == 1 and norms[0] < places[0]
    return places[0] if alone else None


def norm_gradients(
    part: Pass,
    tensors: Sequence[int],
    source: str,
    d: str,
    rows: Rows,
    derivatives: Held | None = None,
) -> tuple[Lines, Lines, Lines]:
    """C that sums up the gradients of the batch norm among a pass's operations; all empty if there is none.

    It begins, takes some rows of what the pass reads into account, and ends. `levels` and `slopes` are scratch memory,
    a vector per channel each; at `derivatives` there are those that `forward` left. What it has worked out on its way
    to the norm it leaves in `d` (see `left`).
    """
    found = [index for index, o in enumerate(part.operations) if isinstance(o, Norm)]
    if not found:
        return [], [], []
    norm = part.operations[found[0]]
    assert isinstance(norm, Norm)
    values, split, channels = values_of(len(part.operations)), found[0] + 1, norm.channels
    read = values[found[0]]
    scales = coefficients([norm], {**_SCALES, "mean": "MEAN", "inverse": "INVERSE"})
    known = derivatives.at(part.input_shape, "r", "c") if derivatives else None
    body = undo(part.operations[split:], values[split:], "dz", known)
    if left(part) < len(part.operations):
        body.append(f"{d}[at] = dz;")
    body.append(f"level += dz; slope += dz * (({read} - mean{norm.first}) * inverse{norm.first});")
    after = ["levels[ch] += level; slopes[ch] += slope;"]
    loops = undo_each(part, tensors, source, d, rows, [*scales, "V level = {0}, slope = {0};"], body, after)
    give = [
        f"float *sums = g->sums + NORM_SUMS * ({norm.first} + ch);",
        "sums[OF_SCALE] = sum(g->valid, slopes[ch]), sums[OF_SHIFT] = sum(g->valid, levels[ch]);",
        *([] if norm.scale is None else [f"g->partial[{norm.scale} + ch] = sums[OF_SCALE];"]),
        f"g->partial[{norm.shift} + ch] = sums[OF_SHIFT];",
    ]
    return (
        [f"for (int ch = 0; ch < {channels}; ch++) levels[ch] = slopes[ch] = (V){{0}};"],
        block("", [*factors(part.operations), *loops]),
        block(f"for (int ch = 0; ch < {channels}; ch++)", give),
    )


def backward(
    part: Pass,
    tensors: Sequence[int],
    source: str,
    d: str,
    target: Held,
    rows: Rows,
    wanted: Mapping[int, int],
    record: Record | None = None,
) -> Lines:
    """C that takes the gradient `d` of a pass back to some rows of what it read, at `target`; see `undo_each`.

    What `norm_gradients` has gone through is not gone through again. What an Add reads gets its share at the
    offset in `wanted`, if it is there.
    """
    values = values_of(len(part.operations))
    body: Lines = []
    for index in reversed(range(left(part))):
        operation = part.operations[index]
        if isinstance(operation, Add) and operation.tensor in wanted:
            body.append(f"g->gradients[{wanted[operation.tensor]} + at] = dz;")
        body += undo([operation], values[index : index + 2], "dz")
    body.append(f"{target.at(part.input_shape, 'r', 'c')} = dz;")
    names = {**_SCALES, "slope": "SLOPE", "level": "LEVEL"}
    scales = coefficients(part.operations, names)
    loops = undo_each(part, tensors, source, d, rows, scales, body, record=record)
    return block("", [*factors(part.operations), *loops])
