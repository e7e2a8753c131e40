"""The front of a search: how accurate a network of each size has turned out to be; the numbers, then the drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, log10

from matplotlib.axes import Axes

from smallprint.searching.candidate import START, Candidate, Level, Shown, levels, numbered
from smallprint.searching.goal import Goal
from smallprint.searching.margin import Margin
from smallprint.spec.contract import Contract
from smallprint.views.canvas import PALETTE, AccuracyScale, canvas, log_ticks, short, side_labels, svg

_FRAME = 8  # times the error that is allowed: accuracies below are drawn at the edge


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One candidate that was trained at full length."""

    number: int  # of the candidate
    name: str
    amount: float  # in the goal's unit
    accuracies: tuple[float, ...]  # percent of the held-out images, by seed: the worst of the last epochs
    stopped: bool  # it ended early, when it could no longer keep the contract
    leads: bool  # none other is both smaller and better
    keeps: bool  # what held-out images must show, over enough seeds

    @property
    def is_start(self) -> bool:
        """Whether it is the rung that the search started from."""
        return self.number == START

    @property
    def mean(self) -> float:
        """Over the seeds, in percent."""
        return sum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPicture:
    """Amount against held-out accuracy."""

    points: tuple[FrontPoint, ...]  # from small to large
    unit: str  # of the amounts
    needed: float  # percent: what held-out images must show, so that the test images keep the contract
    enough_seeds: int  # over at least so many
    promise: float  # percent of the test images
    last: int  # epochs that the promise covers
    images: int  # held out
    best: int | None = field(default=None)  # number of the one that was found, or came nearest

    @property
    def front(self) -> tuple[FrontPoint, ...]:
        """The points that lead; each larger one is better."""
        return tuple(point for point in self.points if point.leads)

    @property
    def rows(self) -> tuple[FrontPoint, ...]:
        """What a table shows: the points that lead, the start, and the best, which more seeds may have put behind."""
        return tuple(point for point in self.points if point.leads or point.is_start or point.number == self.best)


def front_picture(
    candidates: Iterable[Candidate],
    goal: Goal,
    margin: Margin,
    contract: Contract,
    *,
    images: int,
    enough_seeds: int,
    best: Candidate | None = None,
) -> FrontPicture:
    """The numbers of the front: every candidate that was trained at full length and did not diverge.

    `best` is the one that was found or came nearest; without it, the smallest that keeps what is needed.
    """
    points: list[FrontPoint] = []
    measured = [(one, shown) for one in candidates if (shown := at_full_length(one, contract)) and not shown.diverged]
    least = inf  # error of those before
    for one, shown in sorted(measured, key=lambda both: (both[0].amount, both[1].error)):
        leads = not shown.stopped and shown.error < least
        least = shown.error if leads else least
        enough = len(shown.errors) >= enough_seeds and not shown.stopped
        points.append(
            FrontPoint(
                number=one.number,
                name=one.name,
                amount=one.amount,
                accuracies=tuple(100 * (1 - error) for error in shown.errors),
                stopped=shown.stopped,
                leads=leads,
                keeps=enough and 1 - shown.error >= margin.needed,
            )
        )
    keeper = next((point.number for point in points if point.keeps and not point.is_start), None)
    return FrontPicture(
        points=tuple(points),
        unit=goal.unit,
        needed=100 * margin.needed,
        enough_seeds=enough_seeds,
        promise=float(contract.accuracy.value),
        last=contract.last_epochs,
        images=images,
        best=best.number if best else keeper,
    )


def level_of(candidate: Candidate, shown: Shown, contract: Contract) -> Level:
    """How thoroughly a candidate was trained for what it has shown."""
    return numbered(levels(candidate.rung.recipe.epochs, contract.last_epochs), shown.level)


def at_full_length(candidate: Candidate, contract: Contract) -> Shown | None:
    """What a candidate has shown at full length, over the most seeds; None if it was not trained so far."""
    shown = candidate.best_known
    return shown if shown and level_of(candidate, shown, contract).full else None


def draw_front(picture: FrontPicture, *, width: int = 820) -> str:
    """The front as a step line, what held-out images must show as a line of its own, all other candidates faint."""
    room = 118 if width >= 560 else 92
    height = min(400, width)
    with canvas(width, height, left=46, right=room, bottom=42, top=26) as (figure, axes):
        scale = AccuracyScale(picture.images)
        bottom = 100 - _FRAME * max(100 - picture.needed, 2 * scale.least)
        means = [point.mean for point in picture.points]
        scale.set_up(axes, [value for value in [*means, picture.promise] if value >= bottom], round(picture.needed, 2))
        _amount_axis(axes, [point.amount for point in picture.points] or [1.0])
        _lines(axes, picture, scale)
        for point in picture.points:
            _others(axes, point, scale)
        _steps(axes, picture.front, scale)
        named = [point for point in picture.points if point.is_start or point.number == picture.best]
        for point in named:
            _named(axes, point, scale, best=point.number == picture.best)
        labels = [(_height(axes, scale, point.mean), _label(point, picture, room), _colour(point)) for point in named]
        labels.append((scale(picture.needed), "needed", PALETTE["accent"]))
        if picture.promise != picture.needed:
            labels.append((scale(picture.promise), f"promised {picture.promise:g}", PALETTE["muted"]))
        side_labels(axes, labels, offset=14, leaders=[point.amount for point in named])
        axes.set_xlabel(picture.unit, labelpad=6)
        last = (
            "last held-out accuracy" if picture.last == 1 else f"worst of the last {picture.last} held-out accuracies"
        )
        figure.text(6 / width, 1 - 13 / height, f"{last}, %", color=PALETTE["muted"])
        return svg(figure)


def compact(amount: float) -> str:
    """An amount as a tick or a name says it: 2,866, 1.05M, 34.2G."""
    for power, letter in ((9, "G"), (6, "M")):
        if amount >= 10**power:
            scaled = amount / 10**power
            return f"{scaled:,.0f}{letter}" if scaled >= 100 else f"{scaled:.3g}{letter}"
    return f"{amount:,.0f}"


def _lines(axes: Axes, picture: FrontPicture, scale: AccuracyScale) -> None:
    """What is needed, with the room above it, and what is promised."""
    axes.axhspan(scale(picture.needed), axes.get_ylim()[1], color=PALETTE["accent"], alpha=0.10, lw=0)
    axes.axhline(scale(picture.needed), color=PALETTE["accent"], lw=0.9)
    axes.axhline(scale(picture.promise), color=PALETTE["muted"], lw=0.7, dashes=(1, 2.5))


def _others(axes: Axes, point: FrontPoint, scale: AccuracyScale) -> None:
    """A candidate as a faint dot; as a cross where it was stopped; at the edge where it lies below the frame."""
    below = scale(point.mean) < axes.get_ylim()[0]
    marker = "v" if below else "x" if point.stopped else "o"
    axes.plot(
        point.amount, _height(axes, scale, point.mean), marker, ms=3.5, color=PALETTE["muted"], alpha=0.55, mew=0.8,
        clip_on=False,
    )  # fmt: skip


def _steps(axes: Axes, front: Sequence[FrontPoint], scale: AccuracyScale) -> None:
    """The best accuracy that each amount allows, and from the lowest to the highest seed of each."""
    heights = [_height(axes, scale, point.mean) for point in front]
    for (one, height), (following, above) in pairwise(zip(front, heights, strict=True)):
        axes.plot([one.amount, following.amount, following.amount], [height, height, above], color=PALETTE["ink"], lw=1)
    if front:
        axes.plot([front[-1].amount, axes.get_xlim()[1]], [heights[-1]] * 2, color=PALETTE["ink"], lw=1)
    for point, height in zip(front, heights, strict=True):
        ends = [_height(axes, scale, end) for end in (min(point.accuracies), max(point.accuracies))]
        axes.plot([point.amount] * 2, ends, color=_colour(point), lw=1.2)
        axes.plot(point.amount, height, "o", ms=5.5, color=_colour(point), mec=PALETTE["paper"], mew=0.8)


def _named(axes: Axes, point: FrontPoint, scale: AccuracyScale, *, best: bool) -> None:
    """The starting rung as a square, the one that was found with a ring around it."""
    height = _height(axes, scale, point.mean)
    if best:
        axes.plot(point.amount, height, "o", ms=11, mfc="none", mec=_colour(point), mew=1.2)
    else:
        axes.plot(point.amount, height, "s", ms=6, color=_colour(point), mec=PALETTE["paper"], mew=0.8)


def _label(point: FrontPoint, picture: FrontPicture, room: int) -> str:
    if point.is_start:
        return "start"
    return short(f"{'found' if point.keeps else 'nearest'} {compact(point.amount)}", room // 7)


def _colour(point: FrontPoint) -> str:
    return PALETTE["accent" if point.keeps else "ink"]


def _height(axes: Axes, scale: AccuracyScale, percent: float) -> float:
    """Where an accuracy stands, inside the axes."""
    return max(scale(percent), axes.get_ylim()[0])


def _amount_axis(axes: Axes, amounts: Sequence[float]) -> None:
    """Amounts on a logarithmic axis."""
    low, high = log10(max(min(amounts), 1e-9)), log10(max(*amounts, 1e-9) if len(amounts) > 1 else amounts[0])
    pad = 0.05 * (high - low) + 0.02
    axes.set_xscale("log")
    axes.set_xlim(10 ** (low - pad), 10 ** (high + pad))
    log_ticks(axes, compact)
