"""Every figure of test images: what they were taken for, the worst of them, samples.

Each figure is a pure function that returns numbers, and a function that draws those numbers.
Shapes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from smallprint.results.runs import Arrays
from smallprint.views.canvas import PALETTE, canvas, pixels, short, svg

_READABLE = 16  # classes whose counts can be read in a cell


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Labelled images as the data set holds them."""

    images_NCHW: NDArray[np.uint8]  # 0 to 255
    labels_N: NDArray[np.int64]  # class of each
    class_names: tuple[str, ...]  # by label


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Confusion:
    """How often each class was taken for which."""

    counts_KK: NDArray[np.int64]  # images: row = the true class, column = what it was taken for
    class_names: tuple[str, ...]
    beyond_K: NDArray[np.int64]  # images of each class taken for an output that stands for no class

    @property
    def wrong(self) -> NDArray[np.int64]:
        """(K,) images of each class that were taken for something else."""
        return np.asarray(self.counts_KK.sum(axis=1) - self.counts_KK.diagonal() + self.beyond_K, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorstImages:
    """The wrongly classified images with the highest loss, worst first."""

    index_N: NDArray[np.int64]  # place in the test set
    images_NCHW: NDArray[np.uint8]
    true: tuple[str, ...]  # class names
    taken_for: tuple[str, ...]  # class names
    confidence_N: NDArray[np.float64]  # 0 to 1, in what it was taken for
    loss_N: NDArray[np.float64]


def confusion(answers: Arrays, pictures: Pictures) -> Confusion:
    """Count the answers of a run over the labels of its test set."""
    classes = len(pictures.class_names)
    predicted_N = answers["predicted"]
    known_N = predicted_N < classes
    counts_KK = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts_KK, (pictures.labels_N[known_N], predicted_N[known_N]), 1)
    beyond_K = np.bincount(pictures.labels_N[~known_N], minlength=classes).astype(np.int64)
    return Confusion(counts_KK=counts_KK, class_names=pictures.class_names, beyond_K=beyond_K)


def worst_images(answers: Arrays, pictures: Pictures, *, most: int = 24) -> WorstImages:
    """The images that a run got most wrong: by loss, then by their place in the test set."""
    wrong_N = np.flatnonzero(answers["predicted"] != pictures.labels_N)
    loss_N = np.nan_to_num(answers["loss"][wrong_N].astype(np.float64), nan=np.inf)
    index_N = wrong_N[np.argsort(-loss_N, kind="stable")][:most]
    names = dict(enumerate(pictures.class_names))
    return WorstImages(
        index_N=index_N,
        images_NCHW=pictures.images_NCHW[index_N],
        true=tuple(names[int(label)] for label in pictures.labels_N[index_N]),
        taken_for=tuple(names.get(int(label), f"output {label}") for label in answers["predicted"][index_N]),
        confidence_N=answers["confidence"][index_N].astype(np.float64),
        loss_N=answers["loss"][index_N].astype(np.float64),
    )


def draw_confusion(confusion: Confusion, *, width: int = 360) -> str:
    """A row per true class, a column per answer; the mistakes are shaded, the right answers are grey."""
    names = [short(name, 9) for name in confusion.class_names]
    counts_KK, classes = confusion.counts_KK, len(names)
    side = 34 + 5 * (max(map(len, names), default=1) - 1)
    with canvas(width, width - 20, left=side, right=44, bottom=8, top=side + 8) as (figure, axes):
        axes.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5))
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        most = max(1, int((counts_KK - np.diag(counts_KK.diagonal())).max(initial=0)))
        for row, column in np.argwhere(counts_KK > 0):
            count, right = int(counts_KK[row, column]), row == column
            if not right:
                depth = 0.12 + 0.48 * float(np.sqrt(count / most))
                axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fc=PALETTE["accent"], alpha=depth, lw=0))
            if classes <= _READABLE:
                axes.text(column, row, f"{count:,}", ha="center", va="center_baseline", size=7.5 if right else 9,
                          color=PALETTE["muted" if right else "ink"], weight="normal" if right else "bold")  # fmt: skip
        for edge in range(classes + 1 if classes <= _READABLE else 0):
            axes.axhline(edge - 0.5, color=PALETTE["faint"], lw=0.5)
        every = -(-classes // 24)
        places = range(0, classes, every)
        for place in places:
            axes.text(classes - 0.5 + 36 * classes / axes.bbox.width, place, f"{int(confusion.wrong[place]):,}",
                      ha="right", va="center_baseline", size=9)  # fmt: skip
        tilt = 90 if max(map(len, names), default=1) > 2 else 0
        axes.set_xticks(places, [names[place] for place in places], rotation=tilt)
        axes.set_yticks(places, [names[place] for place in places])
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False, colors=PALETTE["ink"])
        height = figure.bbox.height
        figure.text(side / width, 1 - 11 / height, "taken for", color=PALETTE["muted"], size=9.5)
        figure.text(6 / width, 1 - (side + 2) / height, "true", color=PALETTE["muted"], size=9.5)
        figure.text(1 - 38 / width, 1 - (side + 2) / height, "wrong", color=PALETTE["muted"], size=9.5)
        return svg(figure)


def draw_worst(worst: WorstImages, *, width: int = 360, columns: int = 6) -> str:
    """The worst images in a grid: true class, what it was taken for, and how surely."""
    cell, line = width / columns, 12
    verdicts = [
        (short(true, 9), f"→ {short(taken, 7)}") for true, taken in zip(worst.true, worst.taken_for, strict=True)
    ]
    if all(len(true) + len(taken) < 9 for true, taken in verdicts):
        verdicts = [(f"{true} {taken}", "") for true, taken in verdicts]
    lines = 3 if any(second for _, second in verdicts) else 2
    tall, rows = cell - 6 + line * lines, -(-len(verdicts) // columns)
    height = max(1, rows) * tall
    with canvas(width, round(height)) as (figure, axes):
        axes.set_axis_off()
        for place, image_CHW in enumerate(worst.images_NCHW):
            left, top = cell * (place % columns), tall * (place // columns)
            _show(axes, image_CHW, left, top, cell - 14)
            sure = f"{100 * worst.confidence_N[place]:.0f}% sure"
            first, *rest = (*(text for text in verdicts[place] if text), sure)
            under = top + cell - 2
            axes.text(left, under, first, size=10 if lines == 2 else 8.5, weight="bold")
            for number, text in enumerate(rest, start=1):
                axes.text(
                    left, under + line * number, text, size=8.5, color=PALETTE["muted" if text == sure else "ink"]
                )
        axes.set(xlim=(0, width), ylim=(height, 0))
        return svg(figure)


def sample_sheet(pictures: Pictures, per_class: int) -> bytes:
    """A PNG sheet with a row per class: its name, then its first `per_class` images."""
    side, names = 44, [short(name, 16) for name in pictures.class_names]
    left = 24 + 7 * max(map(len, names), default=1)
    width, height = left + side * per_class + 8, side * max(1, len(names)) + 8
    with canvas(width, height) as (figure, axes):
        axes.set_axis_off()
        for row, name in enumerate(names):
            top = 4 + row * side
            axes.text(12, top + side / 2, name, va="center")
            chosen = np.flatnonzero(pictures.labels_N == row)[:per_class]
            for column, image_CHW in enumerate(pictures.images_NCHW[chosen]):
                x = left + side * column
                _show(axes, image_CHW, x, top, side - 4)
        axes.set(xlim=(0, width), ylim=(height, 0))
        FigureCanvasAgg(figure)
        sheet = io.BytesIO()
        figure.savefig(sheet, format="png", dpi=144, metadata={"Software": None})
        return sheet.getvalue()


def _show(axes: Axes, image_CHW: NDArray[np.uint8], left: float, top: float, side: float) -> None:
    """An image in the middle of a square, with its own proportions."""
    _, rows, columns = image_CHW.shape
    wide, high = side * columns / max(rows, columns), side * rows / max(rows, columns)
    x, y = left + (side - wide) / 2, top + (side - high) / 2
    axes.imshow(pixels(image_CHW), cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto",
                extent=(x, x + wide, y + high, y))  # fmt: skip
