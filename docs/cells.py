"""Cells of the Markdown tables: numbers as the pages write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

NONE = "\N{EN DASH}"  # the cell of what there is not


def percent(value: float | None) -> str:
    """With two digits."""
    return NONE if value is None else f"{value:.2f}"


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def spread(measured: Sequence[float], digits: int = 1) -> str:
    """Median, lowest and highest; of a single measurement only itself."""
    if len(measured) == 1:
        return f"{measured[0]:.{digits}f}"
    return f"{median(measured):.{digits}f} ({min(measured):.{digits}f} to {max(measured):.{digits}f})"


def times(ratio: Mapping[str, float], digits: int = 1) -> str:
    """A benchmark's ratio: median, lowest and highest."""
    middle, low, high = (f"{ratio[key]:.{digits}f}" for key in ("median", "lowest", "highest"))
    return middle if low == high else f"{middle} ({low} to {high})"


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    unit, size = next((found for found in (("s", 1.0), ("ms", 1e-3)) if seconds >= found[1]), ("µs", 1e-6))
    value = seconds / size
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
