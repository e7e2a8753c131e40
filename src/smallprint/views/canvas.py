"""What figures are drawn on: colours, scales, labels, SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import ceil, floor, log10
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

# The colours of every figure. A page may put its own in their place: each stands for one role only.
PALETTE: Mapping[str, str] = MappingProxyType(
    {
        "paper": "#fffefb",
        "ink": "#1c1f21",
        "muted": "#6a6f72",
        "faint": "#dddcd6",
        "accent": "#0b6b61",
    }
)
_STYLE: Mapping[Any, Any] = MappingProxyType(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "smallprint",
        "text.parse_math": False,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "axes.labelsize": 10,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "text.color": PALETTE["ink"],
        "axes.labelcolor": PALETTE["muted"],
        "axes.edgecolor": PALETTE["muted"],
        "axes.linewidth": 0.6,
        "axes.axisbelow": True,
        "grid.color": PALETTE["faint"],
        "grid.linewidth": 0.6,
        "xtick.color": PALETTE["muted"],
        "ytick.color": PALETTE["muted"],
        "xtick.major.size": 3,
        "xtick.major.width": 0.6,
        "ytick.major.size": 0,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
    }
)
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
_LINE = 14.0  # pixels from one label to the next
_CHARACTER, _GAP = 6.0, 10.0  # pixels: of a tick's label, and between two of them
_TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 100)  # percent
_ENOUGH = 3  # of these; else percents so far apart:
_STEPS = (10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
_DIGITS = (  # that a tick of a logarithmic axis may have, from coarse to fine
    (1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
    tuple(tenth / 10 for tenth in range(10, 100)), tuple(hundredth / 100 for hundredth in range(100, 1000)),
)  # fmt: skip


@contextmanager
def canvas(
    width: int, height: int, *, left: int = 0, right: int = 0, bottom: int = 0, top: int = 0
) -> Iterator[tuple[Figure, Axes]]:
    """A figure of `width` x `height` CSS pixels with one pair of axes inside its margins.

    Nothing of the reader's matplotlib settings enters: same numbers, same bytes.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the text stays text; the reader's fonts have it
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=PALETTE["paper"])
        FigureCanvasSVG(figure)
        inner = (width - left - right) / width, (height - bottom - top) / height
        axes = figure.add_axes((left / width, bottom / height, *inner), facecolor="none")
        yield figure, axes


def svg(figure: Figure) -> str:
    """A figure as a standalone SVG document: text as text, and no id that nothing refers to."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = drawn.getvalue().decode()
    text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'width="([\d.]+)pt" height="([\d.]+)pt"', r'width="\1" height="\2" stroke-linejoin="round"', text)
    text = text.replace("'DejaVu Sans'", _FONT)
    text = re.sub(r' (?:d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    return re.sub(r"\n\s*", "\n", text).strip() + "\n"


class AccuracyScale:
    """The height of an accuracy: the logarithm of its error, so that 99.4% and 99.5% stand apart."""

    def __init__(self, images: int) -> None:
        self.least = 50 / images  # percent: no error is drawn as half an image

    def __call__(self, percent: float) -> float:
        return float(self.of(np.array(percent)))

    def of(self, percent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Heights of accuracies in percent; NaN stays NaN."""
        return np.asarray(-np.log10(np.maximum(100 - percent, self.least)), dtype=np.float64)

    def set_up(self, axes: Axes, percents: Sequence[float], promise: float) -> None:
        """Limits that hold all `percents`, round ticks, and a tick of its own for the promise."""
        heights = self.of(np.array([*percents, promise]))
        low, high = float(heights[np.isfinite(heights)].min()), float(heights[np.isfinite(heights)].max())
        pad = 0.08 * (high - low) + 0.04
        axes.set_ylim(low - pad, high + pad)
        near = 15 * (high - low + 2 * pad) / axes.bbox.height
        ticks: list[float] = []
        for tick in self._round(low - pad, high + pad):
            if all(abs(self(tick) - self(other)) > near for other in (*ticks[-1:], promise)):
                ticks.append(tick)
        axes.set_yticks([*map(self, ticks), self(promise)], [f"{tick:g}" for tick in (*ticks, promise)])
        axes.get_yticklabels()[-1].set(color=PALETTE["accent"], weight="bold")
        axes.grid(visible=True, axis="y")
        axes.get_ygridlines()[-1].set_visible(False)

    def _round(self, low: float, high: float) -> list[float]:
        """Round percents between two heights: at even ratios of the error, at even steps where few of those are."""
        least, most = (100 - 10**-height for height in (low, high))
        found: list[float] = [tick for tick in _TICKS if low <= self(tick) <= high]
        for step in _STEPS:
            if len(found) >= _ENOUGH:
                break
            found = [step * count for count in range(ceil(least / step), floor(most / step) + 1)]
        return found


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move labels apart until neighbours are `gap` from each other: same order, least squares of the moves."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[tuple[float, int]] = []  # with the gaps taken out: mean place of labels that touch, how many
    for rank, index in enumerate(order):
        mean, size = places[index] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    moved = [mean for mean, size in blocks for _ in range(size)]
    result = [0.0] * len(places)
    for rank, index in enumerate(order):
        result[index] = moved[rank] + rank * gap
    return result


def side_labels(
    axes: Axes, labels: Sequence[tuple[float, str, str]], *, offset: int = 8, leaders: Sequence[float] = ()
) -> None:
    """Write (height, text, colour) labels to the right of the axes, each as near its height as room allows.

    With `leaders`, a faint line leads to each label from its height at that x.
    """
    low, high = axes.get_ylim()
    pixel = (high - low) / axes.bbox.height
    places = spread([height for height, _, _ in labels], _LINE * pixel)
    for place, (_, text, colour) in zip(places, labels, strict=True):
        axes.annotate(
            text, (1, place), xycoords=("axes fraction", "data"), xytext=(offset, 0), textcoords="offset points",
            color=colour, va="center_baseline", annotation_clip=False,
        )  # fmt: skip
    right = axes.get_xlim()[1]
    end = float(axes.transData.inverted().transform((axes.bbox.x1 + offset - 3, 0))[0])
    for x, place, (height, _, _) in zip(leaders, places, labels, strict=False):
        line = axes.plot([x, right, end], [height, height, place], color=PALETTE["faint"], lw=0.8, zorder=1)
        line[0].set_clip_on(False)


def size_axis(axes: Axes, sizes: Sequence[int], limit: int | None, *, left: float, right: float) -> None:
    """Parameters from smallest to largest, so many pixels inside the axes; logarithmic where they differ much."""
    sizes = [*sizes, *([limit] if limit else [])] or [1]
    below, above = (pad / (axes.bbox.width - left - right) for pad in (left, right))  # as shares of what lies between
    if max(sizes) > 4 * min(sizes):
        low, high = float(np.log10(min(sizes))), float(np.log10(max(sizes)))
        axes.set_xscale("log")
        axes.set_xlim(10 ** (low - below * (high - low)), 10 ** (high + above * (high - low)))
        log_ticks(axes, lambda size: f"{size:,.0f}")
    else:
        span = (max(sizes) - min(sizes)) or 0.1 * max(sizes)
        axes.set_xlim(min(sizes) - below * span, max(sizes) + above * span)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))


def log_ticks(axes: Axes, said: Callable[[float], str]) -> None:
    """Round ticks on a logarithmic x axis with limits, as many as leave room between what is said of each."""
    low, high = axes.get_xlim()
    pixels_per_decade = axes.bbox.width / log10(high / low)

    def apart(one: float, other: float) -> bool:
        room = _CHARACTER * (len(said(one)) + len(said(other))) / 2 + _GAP
        return log10(other / one) * pixels_per_decade >= room

    for digits in reversed(_DIGITS):
        powers = range(floor(log10(low)), ceil(log10(high)))
        ticks = [tick for power in powers for digit in digits if low <= (tick := digit * 10.0**power) <= high]
        if all(apart(one, other) for one, other in pairwise(ticks)):
            break
    axes.set_xticks(ticks, [said(float(f"{tick:.6g}")) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def short(text: str, most: int) -> str:
    """A text on one line, cut to `most` characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def pixels(image_CHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image as it is drawn: (H, W) grey, or (H, W, C) of three or four channels."""
    return image_CHW.transpose(1, 2, 0) if len(image_CHW) in (3, 4) else image_CHW[0]
