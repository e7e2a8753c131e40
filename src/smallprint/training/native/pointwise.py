"""C text of pointwise operations: a value on its way through them, and its gradient on the way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from smallprint.training.draws import dropout_factor, dropout_threshold
from smallprint.training.native.kernels import Lines
from smallprint.training.native.plan import Activation, Add, Dropout, Norm, Pass, Pointwise

# Inside the loops: `r`, `ch`, `c` are row, channel and column, `at` the index of the vector they name.
_FORWARD: Mapping[str, str] = {
    "relu": "where(~({v} <= 0.0f), {v})",
    "leakyrelu": "choose({v} > 0.0f, {v}, {v} * {slope}f)",
    "silu": "{v} * sigmoid({v})",
    "hardswish": "{v} * (within({v} + 3.0f, 0.0f, 6.0f) * 0.16666667f)",
    "gelu": "{v} * normal_distribution({v})",
    "tanh": "hyperbolic_tangent({v})",
}
_BACKWARD: Mapping[str, str] = {  # {v} went in
    "relu": "where(~({v} <= 0.0f), {d})",
    "leakyrelu": "choose({v} > 0.0f, {d}, {d} * {slope}f)",
    "hardswish": "{d} * choose({v} >= 3.0f, spread(1.0f), where(~({v} <= -3.0f), {v} * 0.33333333f + 0.5f))",
}
_DERIVATIVES: Mapping[str, str] = {  # {y} came out; whoever has worked out that has most of this
    "silu": "{y} + sigmoid({v}) * (1.0f - {y})",
    "gelu": "gelu_derivative({v})",
    "tanh": "1.0f - {y} * {y}",
}


def values_of(count: int, stem: str = "v") -> list[str]:
    """Variables for a value and what each of `count` operations makes of it."""
    return [f"{stem}{index}" for index in range(count + 1)]


def apply(operations: Sequence[Pointwise], tensors: Sequence[int], names: Sequence[str]) -> Lines:
    """C that sends `names[0]` through operations, leaving each result in the next of `names`."""
    lines: Lines = []
    for operation, v, y in zip(operations, names, names[1:], strict=False):
        match operation:
            case Activation(kind=kind, slope=slope):
                value = _FORWARD[kind].format(v=v, slope=float(slope))
            case Norm(first=norm):
                value = f"{v} * scale{norm} + shift{norm}"
            case Dropout():
                value = f"where({_kept(operation)}, {v} * factor{operation.index})"
            case Add(tensor=tensor):
                value = f"{v} + g->tensors[{tensors[tensor]} + at]"
        lines.append(f"const V {y} = {value};")
    return lines


def smooth(operation: Pointwise) -> bool:
    """Whether an operation's derivative takes a polynomial or two, so that it is better kept than worked out again."""
    return isinstance(operation, Activation) and operation.kind in _DERIVATIVES


def derivative(operation: Pointwise, v: str, y: str) -> str:
    """C of a smooth activation's derivative at `v`, of which it has made `y`."""
    assert isinstance(operation, Activation)
    return _DERIVATIVES[operation.kind].format(v=v, y=y)


def undo(operations: Sequence[Pointwise], names: Sequence[str], gradient: str, known: str | None = None) -> Lines:
    """C that takes the gradient in the variable `gradient` back through operations whose values are in `names`.

    `known` is C of the derivative of the smooth one among them, where it has been worked out before. What an Add reads
    gets its share elsewhere (`backward`).
    """
    lines: Lines = []
    for operation, v, y in reversed(list(zip(operations, names, names[1:], strict=False))):
        match operation:
            case Activation() if smooth(operation):
                lines.append(f"{gradient} *= {known or derivative(operation, v, y)};")
            case Activation(kind=kind, slope=slope):
                lines.append(f"{gradient} = {_BACKWARD[kind].format(v=v, d=gradient, slope=float(slope))};")
            case Norm(first=norm):
                lines.append(f"{gradient} = {gradient} * scale{norm} + {v} * slope{norm} + level{norm};")
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


def coefficients(operations: Iterable[Pointwise], wanted: Mapping[str, str]) -> Lines:
    """C of the norms' values for channel `ch`: name in C, and its row."""
    return [
        f"const V {name}{o.first} = spread(g->norms[NORM_ROWS * {o.first} + {row} * {o.channels} + ch]);"
        for o in operations
        if isinstance(o, Norm)
        for name, row in wanted.items()
    ]
