"""How many rows a stage takes at a time, so that what it works out on the way stays in the cache."""

from __future__ import annotations

from dataclasses import dataclass

from smallprint.spec.trace import Shape
from smallprint.training.native.plan import Convolution, Stage

_CACHE = 4096  # vectors that what a stage works out may take, but for derivatives; with 16 lanes, 256 KB
_WEIGHTS = 8192  # of a layer whose gradient has a vector for every weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Rows of what a stage's kernel stores; and how many rows of what it works out memory holds, None for all."""

    rows: int
    staged: int | None  # of what the kernel reads
    stored: int | None  # of the gradient of what it stores
    parts: bool  # whether the weights' gradient is kept as vectors until the last row


def ahead(stage: Stage) -> Band:
    """On the way forward."""
    height = stage.output_shape[1]
    whole = Band(rows=height, staged=None, stored=None, parts=False)
    if stage.kept or not (isinstance(stage.kernel, Convolution) and len(stage.passes) == 1):
        return whole
    for rows in range(height, 0, -1):
        staged = _rows_read(stage.kernel, rows)
        if rows == 1 or staged * _row(stage.staged_shape) <= _CACHE:
            break
    if rows == height:
        return whole
    return Band(rows=rows, staged=_held(staged, stage.staged_shape), stored=None, parts=False)


def behind(stage: Stage, reader: Stage | None) -> Band:
    """On the way back; `reader` is the stage that reads what this one stores."""
    height = stage.output_shape[1]
    conv = stage.kernel
    if not isinstance(conv, Convolution):
        return Band(rows=height, staged=None, stored=None, parts=False)
    parts = conv.kernel**2 * stage.staged_shape[0] * stage.output_shape[0] // conv.groups <= _WEIGHTS
    whole = Band(rows=height, staged=None, stored=None, parts=parts)
    window = 1  # rows that only come together
    if reader and reader.passes and reader.plain(0) and (pool := reader.passes[0].pool):
        window = pool.height
    if not parts or len(stage.passes) > 1 or not all(map(stage.plain, range(len(stage.passes)))):
        return whole
    if conv.stride > 1 and reader and stage.source in reader.added:
        return whole  # the skip's share of a row would come after what is added to it
    # What a tensor holds as it is needs no work and no room.
    staged_row = _row(stage.staged_shape) if stage.passes and not stage.kept else 0
    stored_row = _row(stage.output_shape) if reader and reader.passes else 0
    if stage.staged_shape[1] * staged_row + height * stored_row <= _CACHE:
        return whole
    for rows in range(height // window * window, 0, -window):
        staged, stored = _rows_read(conv, rows), rows + conv.kernel - 1
        if rows == window or staged * staged_row + stored * stored_row <= _CACHE:
            break
    return Band(
        rows=rows,
        staged=_held(staged, stage.staged_shape) if staged_row else None,
        stored=_held(stored, stage.output_shape) if stored_row else None,
        parts=True,
    )


def _rows_read(conv: Convolution, rows: int) -> int:
    """Rows that a convolution reads to make so many."""
    return (rows - 1) * conv.stride + max(conv.kernel, conv.stride)


def _row(shape: Shape) -> int:
    """Vectors of one row."""
    return shape[0] * shape[2]


def _held(rows: int, shape: Shape) -> int | None:
    return rows if rows < shape[1] else None
