"""Every figure of measured numbers: the numbers first, the drawing second.

Each figure is a pure function that returns numbers, and a function that draws those numbers as a standalone SVG.
Shapes: S seeds, E epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from smallprint.results.runs import Run
from smallprint.results.verdict import worst_of_last
from smallprint.spec.contract import Contract
from smallprint.spec.ladder import Published, Rung
from smallprint.views.canvas import PALETTE, AccuracyScale, canvas, short, side_labels, size_axis, spread, svg

_FRAME = 20  # times the error that the promise allows: accuracies below leave the frame
_MARGINS = 0.8  # of an axis's width, at most, for rungs that have no room at their own place
_Scale = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # from a value to its height in the axes


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderPoint:
    """One rung in the ladder's picture."""

    number: int  # of the rung, from 1
    name: str
    parameters: int  # trainable values
    worst: tuple[float, ...]  # percent: the worst of the last epochs, by finished seed
    published: float | None = field(default=None)  # percent: the worst of the last published epochs

    @property
    def mean(self) -> float | None:
        """Mean over seeds, in percent."""
        return fmean(self.worst) if self.worst else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderPicture:
    """Parameters against accuracy, and the corner in which the contract is kept."""

    points: tuple[LadderPoint, ...]
    promise: float  # percent
    limit: int | None  # the most parameters that the contract allows
    last: int  # epochs that the promise covers
    images: int  # of the test set


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """What a rung's runs measured, epoch by epoch; NaN where nothing was, or where it was no number."""

    seeds: tuple[int, ...]
    finished: tuple[bool, ...]  # by seed: trained to its end
    train_SE: NDArray[np.float64]  # percent, as the epoch ran
    test_SE: NDArray[np.float64]  # percent
    train_loss_SE: NDArray[np.float64]  # mean per image
    test_loss_SE: NDArray[np.float64]  # mean per image
    published: tuple[float, ...]  # percent: the source's test curve
    published_train: tuple[float, ...]  # percent: its train curve
    promise: float  # percent
    last: int  # epochs that the promise covers
    planned: int  # epochs
    images: int  # of the test set


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Band:
    """A mean over seeds with its lowest and highest seed, epoch by epoch."""

    mean_E: NDArray[np.float64]
    low_E: NDArray[np.float64]
    high_E: NDArray[np.float64]


def ladder_picture(
    contract: Contract, rungs: Sequence[tuple[Rung, int, Sequence[Run]]], *, images: int = 10_000
) -> LadderPicture:
    """The numbers of a ladder's picture, from each rung with its parameters and its runs."""
    last = contract.last_epochs
    points = tuple(
        LadderPoint(
            number=number,
            name=rung.name,
            parameters=parameters,
            worst=worst_accuracies(runs, last),
            published=published_worst(rung.published, last),
        )
        for number, (rung, parameters, runs) in enumerate(rungs, start=1)
    )
    limit = contract.parameters.nearest_whole() if contract.parameters else None
    totals = [epoch.test_total for _, _, runs in rungs for run in runs for epoch in run.epochs[-1:]]
    return LadderPicture(
        points=points,
        promise=float(contract.accuracy.value),
        limit=limit,
        last=last,
        images=max(totals, default=images),
    )


def worst_accuracies(runs: Sequence[Run], last: int) -> tuple[float, ...]:
    """The worst test accuracy of the last epochs, in percent, of each run that finished."""
    worst = (worst_of_last(run, last) for run in runs if run.status == "finished")
    return tuple(100 * found[1] / found[2] for found in worst if found)


def published_worst(published: Published | None, last: int) -> float | None:
    """The worst of the last published test accuracies, in percent; None without a curve that long."""
    return min(published.test[-last:]) if published and len(published.test) >= last else None


def curves(runs: Sequence[Run], contract: Contract, published: Published | None = None) -> Curves:
    """The numbers of a rung's curves."""
    theirs = published or Published()
    planned = max((run.planned for run in runs), default=len(theirs.test))
    length = max([planned, len(theirs.test), *(len(run.epochs) for run in runs)])

    def table(name: str, scale: float = 1.0) -> NDArray[np.float64]:
        values_SE = np.full((len(runs), length), np.nan)
        for row, run in enumerate(runs):
            values_SE[row, : len(run.epochs)] = [scale * getattr(epoch, name) for epoch in run.epochs]
        return np.where(np.isfinite(values_SE), values_SE, np.nan)

    return Curves(
        seeds=tuple(run.seed for run in runs),
        finished=tuple(run.status == "finished" for run in runs),
        train_SE=table("train_accuracy", 100),
        test_SE=table("test_accuracy", 100),
        train_loss_SE=table("train_loss"),
        test_loss_SE=table("test_loss"),
        published=theirs.test,
        published_train=theirs.train,
        promise=float(contract.accuracy.value),
        last=contract.last_epochs,
        planned=planned,
        images=max((epoch.test_total for run in runs for epoch in run.epochs[-1:]), default=10_000),
    )


def band(values_SE: NDArray[np.float64], finished: Sequence[bool]) -> Band | None:
    """Mean, lowest and highest over the seeds that finished; None if none did."""
    values_SE = values_SE[np.array(finished, dtype=bool)]
    if not len(values_SE):
        return None
    return Band(mean_E=values_SE.mean(axis=0), low_E=values_SE.min(axis=0), high_E=values_SE.max(axis=0))


def draw_ladder(picture: LadderPicture, *, width: int = 720) -> str:
    """Every rung as a numbered dot (mean over seeds) with a whisker (lowest to highest); hollow: published.

    Rungs of nearly the same size stand side by side.
    """
    room, step = (150, 16) if width >= 560 else (100, 13)
    height = min(380, width * 9 // 10)
    shown = [point for point in picture.points if point.mean is not None or point.published is not None]
    with canvas(width, height, left=46, right=room, bottom=42, top=26) as (figure, axes):
        scale = AccuracyScale(picture.images)
        values = [value for point in shown for value in (*point.worst, point.published) if value is not None]
        scale.set_up(axes, values, picture.promise)
        places = _places(axes, [point.parameters for point in shown], picture.limit, step)
        _corner(axes, picture, scale)
        dots = [_dot(axes, point, place, scale) for point, place in zip(shown, places, strict=True)]
        names = [f"{point.number}  {short(point.name, room // 8)}" for point in shown]
        labels = [(height, name, PALETTE["ink"]) for (_, height), name in zip(dots, names, strict=True)]
        side_labels(axes, labels, offset=14, leaders=[x for x, _ in dots])
        axes.set_xlabel("parameters", labelpad=6)
        epochs = "the last test accuracy" if picture.last == 1 else f"worst of the last {picture.last} test accuracies"
        figure.text(6 / width, 1 - 13 / height, f"{epochs}, %", color=PALETTE["muted"])
        return svg(figure)


def draw_accuracy(curves: Curves, *, width: int = 360) -> str:
    """Train and test accuracy per epoch on a logarithmic scale of the error, with the promise and its window."""
    with canvas(width, 270, left=46, right=92, bottom=38, top=26) as (figure, axes):
        scale = AccuracyScale(curves.images)
        scale.set_up(axes, _in_frame(curves), curves.promise)
        _window(axes, curves)
        start = curves.planned - curves.last + 0.5
        axes.axhline(scale(curves.promise), color=PALETTE["accent"], lw=0.7, dashes=(1, 2.5))
        axes.plot([start, start + curves.last], 2 * [scale(curves.promise)], color=PALETTE["accent"], lw=1.6)
        labels = [(scale(curves.promise), "promised", PALETTE["accent"])]
        for theirs, colour in ((curves.published_train, PALETTE["muted"]), (curves.published, PALETTE["ink"])):
            heights = scale.of(np.array(theirs))
            axes.plot(range(1, len(heights) + 1), heights, color=colour, lw=0.9, dashes=(4, 2.5))
        if curves.published:
            labels.append((scale(curves.published[-1]), "published", PALETTE["ink"]))
        labels += _lines(axes, curves, "train", curves.train_SE, scale.of, digits=".2f")
        labels += _lines(axes, curves, "test", curves.test_SE, scale.of, digits=".2f")
        side_labels(axes, labels)
        _epoch_axis(axes)
        figure.text(6 / width, 1 - 13 / 270, "accuracy, %", color=PALETTE["muted"])
        return svg(figure)


def draw_loss(curves: Curves, *, width: int = 360) -> str:
    """Train and test loss per epoch on a logarithmic scale, with the window of the promise."""

    def scale(loss: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.log10(np.maximum(loss, 1e-6)), dtype=np.float64)

    with canvas(width, 270, left=46, right=92, bottom=38, top=26) as (figure, axes):
        heights = scale(np.concatenate([curves.train_loss_SE.ravel(), curves.test_loss_SE.ravel()]))
        heights = heights[np.isfinite(heights)]
        low, high = (float(heights.min()), float(heights.max())) if len(heights) else (-1.0, 0.0)
        pad = 0.06 * (high - low) + 0.02
        axes.set_ylim(low - pad, high + pad)
        powers = range(-6, 9)
        ticks = [tick * 10.0**power for power in powers for tick in (1, 2, 5)]
        ticks = [tick for tick in ticks if low - pad <= np.log10(tick) <= high + pad]
        ticks = ticks if len(ticks) < 9 else [10.0**power for power in powers if low - pad <= power <= high + pad]
        axes.set_yticks([float(np.log10(tick)) for tick in ticks], [f"{tick:g}" for tick in ticks])
        axes.grid(visible=True, axis="y")
        _window(axes, curves)
        labels = _lines(axes, curves, "train", curves.train_loss_SE, scale, digits=".3g")
        labels += _lines(axes, curves, "test", curves.test_loss_SE, scale, digits=".3g")
        side_labels(axes, labels)
        _epoch_axis(axes)
        figure.text(6 / width, 1 - 13 / 270, "loss", color=PALETTE["muted"])
        return svg(figure)


def _places(axes: Axes, sizes: Sequence[int], limit: int | None, step: float) -> list[float]:
    """Set the size axis up; where each rung stands along it, in pixels.

    Neighbours are `step` apart, or less where that many do not fit, so that rungs of nearly the same size do not hide
    each other, in the order of their sizes, and none leaves its side of the limit.
    """
    places: list[float] = []
    left = right = 20.0
    step = min(step, (axes.bbox.width - left - right - 2 * step) / max(1, len(sizes)))
    while left + right < _MARGINS * axes.bbox.width:
        size_axis(axes, sizes, limit, left=left, right=right)
        pixels = [float(axes.transData.transform((size, 0))[0]) for size in [*sizes, limit or max(sizes, default=1)]]
        places, edge = spread(pixels[:-1], step), pixels[-1]
        order = sorted(range(len(sizes)), key=lambda rung: places[rung])
        inside, beyond = edge - 5, edge + 5
        for rung in [rung for rung in reversed(order) if limit and sizes[rung] <= limit]:
            places[rung] = min(places[rung], inside)
            inside = places[rung] - step
        for rung in [rung for rung in order if limit and sizes[rung] > limit]:
            places[rung] = max(places[rung], beyond)
            beyond = places[rung] + step
        # Once more with room for those that were moved outside.
        below = max((axes.bbox.x0 + 12 - place for place in places), default=0.0)
        above = max((place - axes.bbox.x1 + 12 for place in places), default=0.0)
        if max(below, above) < 1:
            break
        left, right = left + max(below, 0.0), right + max(above, 0.0)
    return places


def _corner(axes: Axes, picture: LadderPicture, scale: AccuracyScale) -> None:
    """Shade where the contract is kept."""
    (left, right), (_, top) = axes.get_xlim(), axes.get_ylim()
    bottom, limit = scale(picture.promise), picture.limit or right
    axes.fill_between([left, limit], bottom, top, color=PALETTE["accent"], alpha=0.10, lw=0)
    axes.plot([left, limit, limit], [bottom, bottom, top], color=PALETTE["accent"], lw=0.9)
    words = "the contract is kept here"
    wide = axes.transData.transform((limit, 0))[0] - axes.bbox.x0 > 6.5 * len(words)
    at, words = (left, words) if wide else (limit, f"← {words}")
    axes.annotate(words, (at, top), (7, -12), textcoords="offset points", color=PALETTE["accent"])


def _dot(axes: Axes, point: LadderPoint, place: float, scale: AccuracyScale) -> tuple[float, float]:
    """One rung at `place` pixels: whisker, dot and number, and the published value; returns where it stands."""
    x = float(axes.transData.inverted().transform((place, 0))[0])
    height = scale((point.published or 0.0) if point.mean is None else point.mean)
    if point.published is not None:
        axes.plot(x, scale(point.published), "o", ms=5.5, mfc=PALETTE["paper"], mec=PALETTE["muted"], mew=1)
    if point.mean is not None:
        axes.plot([x, x], [scale(min(point.worst)), scale(max(point.worst))], color=PALETTE["ink"], lw=1.2)
        axes.plot(x, height, "o", ms=6.5, color=PALETTE["ink"], mec=PALETTE["paper"], mew=0.8)
    axes.annotate(str(point.number), (x, height), (4, 4), textcoords="offset points", size=9, weight="bold")
    return x, height


def _in_frame(curves: Curves) -> list[float]:
    """The accuracies that set the frame: all that are judged, and the earlier ones unless they would flatten those."""
    judged = slice(curves.planned - curves.last, None)
    kept = [*curves.test_SE[list(curves.finished), judged].flat, *curves.train_SE[list(curves.finished), judged].flat]
    rest = [*curves.test_SE.flat, *curves.train_SE.flat, *curves.published, *curves.published_train]
    lowest = 100 - _FRAME * max(100 - curves.promise, 0.1)
    return [value for value in kept if np.isfinite(value)] + [value for value in rest if value >= lowest]


def _window(axes: Axes, curves: Curves) -> None:
    """Shade the last epochs, which the promise covers."""
    start = curves.planned - curves.last + 0.5
    axes.axvspan(start, start + curves.last, color=PALETTE["accent"], alpha=0.08, lw=0)


def _lines(
    axes: Axes, curves: Curves, name: str, values_SE: NDArray[np.float64], scale: _Scale, *, digits: str
) -> list[tuple[float, str, str]]:
    """Every seed thin, the mean thick with its band; returns the label of the mean's end."""
    colour = PALETTE["accent" if name == "test" else "muted"]
    epochs = np.arange(1, values_SE.shape[1] + 1)
    for values_E, finished in zip(values_SE, curves.finished, strict=True):
        axes.plot(epochs, scale(values_E), color=colour, lw=0.6, alpha=0.6)
        measured = np.flatnonzero(np.isfinite(values_E))
        if not finished and len(measured):
            height = max(float(scale(values_E)[measured[-1]]), axes.get_ylim()[0])
            axes.plot(measured[-1] + 1, height, "x", color=colour, ms=5, mew=1.2, clip_on=False)
    found = band(values_SE, curves.finished)
    if found is None or not np.isfinite(found.mean_E).any():
        return []
    if sum(curves.finished) > 1:
        axes.fill_between(epochs, scale(found.low_E), scale(found.high_E), color=colour, alpha=0.18, lw=0)
    axes.plot(epochs, scale(found.mean_E), color=colour, lw=1.8, solid_capstyle="round")
    end = np.flatnonzero(np.isfinite(found.mean_E))[-1]
    axes.plot(end + 1, scale(found.mean_E)[end], "o", color=colour, ms=3.5)
    return [(float(scale(found.mean_E)[end]), f"{name} {found.mean_E[end]:{digits}}", colour)]


def _epoch_axis(axes: Axes) -> None:
    axes.set_xlabel("epoch", labelpad=4)
    axes.set_xlim(left=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
