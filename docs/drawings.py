"""Draws the pictures of docs/native.md and, from benchmarks/results/, of docs/speed.md: the same bytes every time.

python docs/drawings.py            write them
python docs/drawings.py --check    say which would change; status 1 if any
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from pathlib import Path
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

from measured import results, vector_unit

from smallprint.views.canvas import PALETTE

FOLDER = Path(__file__).parent
INK, MUTED, FAINT, ACCENT = (PALETTE[name] for name in ("ink", "muted", "faint", "accent"))
PAPER, TINT = PALETTE["paper"], "#cfe5e1"  # tint: the accent, far away


class Drawing:
    """Boxes, words and arrows on paper; sizes in pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="system-ui, sans-serif" font-size="13">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0L8 4L0 8z" fill="{MUTED}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="6" fill="{PAPER}"/>',
        ]

    def box(self, x: float, y: float, width: float, height: float, *, fill: str = PAPER, edge: str = MUTED) -> None:
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" stroke="{edge}"/>'
        )

    def text(self, x: float, y: float, *lines: str, anchor: str = "start", colour: str = INK, size: int = 13) -> None:
        for index, line in enumerate(lines):
            self.parts.append(
                f'<text x="{x:g}" y="{y + 17 * index:g}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">'
                f"{escape(line)}</text>"
            )

    def arrow(self, x: float, y: float, to_x: float, to_y: float, *, dashed: bool = False, tip: bool = True) -> None:
        dashes = ' stroke-dasharray="4 3"' if dashed else ""
        end = ' marker-end="url(#tip)"' if tip else ""
        line = f"M{x:g} {y:g}L{to_x:g} {to_y:g}"
        self.parts.append(f'<path d="{line}" fill="none" stroke="{MUTED}"{dashes}{end}/>')

    def svg(self) -> str:
        return "\n".join([*self.parts, "</svg>"]) + "\n"


def layout() -> str:
    """Sixteen images side by side in the lanes of a vector, and the order of the vectors in memory."""
    d = Drawing(760, 330, "Sixteen images of a group, one vector, and the order of vectors in memory")
    d.text(24, 30, "a group: 16 images")
    for image in range(15, -1, -1):
        left, top = 24 + 5 * image, 122 - 5 * image
        d.box(left, top, 66, 66)
        d.box(left + 33, top + 22, 11, 11, fill=ACCENT if image == 0 else TINT, edge=ACCENT)
    d.arrow(182, 110, 250, 110)
    d.text(262, 80, "one pixel of one channel, of all 16 images: one vector, 64 bytes")
    for lane in range(16):
        d.box(262 + 28 * lane, 94, 28, 28, fill=TINT, edge=ACCENT)
        d.text(276 + 28 * lane, 112, str(lane), anchor="middle", size=11, colour=ACCENT)
    d.text(262, 142, "lane = image", colour=MUTED, size=12)
    d.text(24, 222, "in memory")
    x = 24.0
    for row, channel in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        for column in range(6):
            d.box(x + 20 * column, 234, 20, 26, fill=TINT if (row, channel, column) == (0, 1, 3) else PAPER)
            d.text(x + 10 + 20 * column, 251, str(column), anchor="middle", size=11, colour=MUTED)
        d.text(x, 276, f"channel {channel}", size=11, colour=MUTED)
        if channel == 0:
            d.text(x, 292, f"row {row}", size=11)
            d.arrow(x, 298, x + (386 if row == 0 else 310), 298, dashed=row == 1, tip=False)
        x += 128 if (row, channel) != (0, 2) else 140
    d.text(24, 318, "tensor[group][row][channel][column][lane]", colour=ACCENT)
    return d.svg()


def stage() -> str:
    """What one stage reads, works out on the way, and stores."""
    d = Drawing(760, 300, "One stage, forward and back")
    columns = ((24, "stored", "plain output", "of conv3-8"), (600, "stored", "plain output", "of conv3-16"))
    for x, *words in columns:
        d.box(x, 60, 136, 72, fill=TINT, edge=ACCENT)
        d.text(x + 68, 84, *words, anchor="middle")
    d.box(222, 60, 176, 72)
    d.text(310, 84, "some rows, in scratch:", "relu batchnorm", "dropout", anchor="middle")
    d.box(444, 60, 110, 72)
    d.text(499, 92, "convolution", "from tile to tile", anchor="middle")
    for x, to in ((160, 222), (398, 444), (554, 600)):
        d.arrow(x, 96, to, 96)
    d.text(24, 36, "forward")
    d.arrow(668, 60, 668, 42, dashed=True)
    d.text(660, 30, "sums for the norm that follows", anchor="end", size=12, colour=MUTED)
    d.text(24, 176, "back")
    d.box(600, 196, 136, 72, fill=TINT, edge=ACCENT)
    d.text(668, 220, "gradient of what", "the next stage", "made of it first", anchor="middle")
    d.box(444, 196, 110, 72)
    d.text(499, 220, "through the", "next stage's", "first pass", anchor="middle")
    d.box(290, 196, 108, 72)
    d.text(344, 220, "convolution", "back; weights'", "gradient", anchor="middle")
    d.box(24, 196, 220, 72, fill=TINT, edge=ACCENT)
    d.text(134, 220, "gradient of what this stage", "made of it first;", "sums for its norm", anchor="middle")
    for x, to in ((600, 554), (444, 398), (290, 244)):
        d.arrow(x, 232, to, 232)
    d.arrow(344, 132, 344, 196, dashed=True)
    d.text(352, 168, "worked out again", size=12, colour=MUTED)
    return d.svg()


def step() -> str:
    """One step on two threads, and where they wait for each other."""
    d = Drawing(760, 300, "One step on two threads: stages, and the barriers between them")
    d.text(24, 30, "thread 0: groups 0 to 3")
    d.text(24, 160, "thread 1: groups 4 to 7")
    boxes = (
        ("load", 62),
        ("0", 70),
        ("1", 104),
        ("2", 58),
        ("3", 48),
        ("3", 44),
        ("2", 64),
        ("1", 126),
        ("0", 60),
        ("update", 62),
    )
    ends, x = [], 24.0
    for index, (word, width) in enumerate(boxes):
        back = 5 <= index <= 8
        for row, lag in ((0, 0), (1, (5, -4, 7, -6, 3)[index % 5])):
            d.box(x, 44 + 130 * row, width - 10 + lag, 62, fill=TINT if back else PAPER, edge=ACCENT if back else MUTED)
            label = word if index in (0, 9) else f"{'back' if back else 'stage'} {word}"
            turned = f"rotate(-90 {x + (width - 10) / 2 + 4:g} {75 + 130 * row})"
            d.parts.append(
                f'<text x="{x + (width - 10) / 2 + 4:g}" y="{75 + 130 * row}" text-anchor="middle" fill="{INK}" '
                f'font-size="12" transform="{turned}">{label}</text>'
            )
        x += width
        ends.append(x - 3)
    waits = {0: "weights packed", 1: "norm", 2: "norm", 6: "norm", 7: "norm", 8: "gradients", 9: "end"}
    for index, word in waits.items():
        d.arrow(ends[index], 36, ends[index], 246, dashed=True, tip=False)
        d.text(ends[index], 262, word, anchor="middle", size=11, colour=MUTED)
    said = (
        "dashed: every thread waits for the others; between, no thread reads what another writes (widths are not times)"
    )
    d.text(24, 288, said, size=12, colour=MUTED)
    return d.svg()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One measurement: its rounds, drawn as median with a whisker from lowest to highest."""

    label: str
    measured: tuple[float, ...]
    ours: bool = field(default=False)
    said: str = field(default="")  # behind the number


def bars(title: str, unit: str, groups: Mapping[str, Sequence[Bar]], digits: int = 1) -> str:
    """Horizontal bars on one scale from 0, in groups with a heading each (none where it is empty)."""
    left, right, row = 236, 216, 26
    most = max(max(bar.measured) for group in groups.values() for bar in group)
    height = 58 + sum(row * len(group) + (30 if name else 8) for name, group in groups.items())
    d = Drawing(760, height, title)
    d.text(24, 28, title)
    d.text(736, 28, unit, anchor="end", colour=MUTED, size=12)
    y = 44.0
    for name, group in groups.items():
        if name:
            d.text(24, y + 18, name, colour=MUTED, size=12)
        y += 28 if name else 6
        for bar in group:
            scale = (760 - left - right) / most
            middle, low, high = (scale * f(bar.measured) for f in (median, min, max))
            d.text(left - 10, y + 15, bar.label, anchor="end", colour=ACCENT if bar.ours else INK)
            d.box(left, y + 3, max(middle, 1), 17, fill=ACCENT if bar.ours else TINT, edge="none")
            if high - low >= 1:
                d.parts.append(f'<path d="M{left + low:.1f} {y + 11.5:g}H{left + high:.1f}" stroke="{INK}"/>')
            words = " · ".join(filter(None, (f"{median(bar.measured):.{digits}f}", bar.said)))
            d.text(left + max(middle, high) + 8, y + 15, words, size=12, colour=ACCENT if bar.ours else INK)
            y += row
    return d.svg()


def panel(d: Drawing, x: float, y: float, width: float, growth: Mapping[str, Any]) -> None:
    """One growth on logarithmic axes: measurements, the fitted line, and dashed a line as steep as its work."""
    height = 150.0
    sizes, costs = growth["sizes"], [median(seconds) for seconds in growth["seconds"]]
    every = [second for seconds in growth["seconds"] for second in seconds]
    low, high = floor(log10(min(every)) + 0.02), ceil(log10(max(every)) - 0.02)
    first, last = log10(sizes[0]), log10(sizes[-1])

    def at(size: float, cost: float) -> tuple[float, float]:
        across = (log10(size) - first) / (last - first)
        return x + 8 + across * (width - 16), y + height * (high - log10(cost)) / max(1, high - low)

    d.text(x, y - 30, growth["title"])
    d.text(x, y - 13, f"seconds of {growth['cost']}", colour=MUTED, size=11)
    for power in range(low, max(high, low + 1) + 1):
        _, line = at(sizes[0], 10.0**power)
        d.parts.append(f'<path d="M{x:g} {line:g}h{width:g}" stroke="{FAINT}"/>')
        d.text(x - 6, line + 4, f"{10.0**power:g}", anchor="end", size=10, colour=MUTED)
    for size in (sizes[0], sizes[-1]):
        d.text(at(size, costs[0])[0], y + height + 15, f"{size:,}", anchor="middle", size=10, colour=MUTED)
    d.text(x + width / 2, y + height + 15, growth["size"], anchor="middle", size=11, colour=MUTED)
    ends = [growth["factor"] * size ** growth["exponent"] for size in (sizes[0], sizes[-1])]
    work = [costs[0], costs[0] * (sizes[-1] / sizes[0]) ** growth["exponent_of_work"]]
    colour = INK if growth["steeper"] else ACCENT
    clip = f"M{x:g} {y - 8:g}h{width:g}v{height + 16:g}h{-width:g}z"
    name = f"inside-{x:g}-{y:g}".replace(".", "-")
    d.parts.append(f'<clipPath id="{name}"><path d="{clip}"/></clipPath>')
    for (begin, end), stroke in ((work, f'stroke="{MUTED}" stroke-dasharray="4 3"'), (ends, f'stroke="{colour}"')):
        (x0, y0), (x1, y1) = at(sizes[0], begin), at(sizes[-1], end)
        d.parts.append(f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" {stroke} clip-path="url(#{name})"/>')
    for size, seconds in zip(sizes, growth["seconds"], strict=True):
        (place, top), (_, bottom) = at(size, max(seconds)), at(size, min(seconds))
        d.parts.append(f'<path d="M{place:.1f} {top:.1f}V{bottom:.1f}" stroke="{colour}"/>')
        d.parts.append(
            f'<circle cx="{place:.1f}" cy="{at(size, median(seconds))[1]:.1f}" r="3.5" fill="{colour}" '
            f'stroke="{PAPER}"/>'
        )
    mark = "  steeper than its work" if growth["steeper"] else ""
    said = f"power {growth['exponent']:.2f}, its work {growth['exponent_of_work']:.2f}{mark}"
    d.text(x, y + height + 34, said, size=11, colour=colour)


def panels(title: str, names: Sequence[str]) -> str:
    """Some growths side by side: three in a row, or four in two."""
    found = [growth for name in names if (growth := _result("growth")["results"].get(name))]
    columns = 2 if len(found) == 4 else 3
    rows, wide = ceil(len(found) / columns), 720 / columns
    d = Drawing(760, 50 + 245 * rows, title)
    for place, growth in enumerate(found):
        panel(d, 56 + wide * (place % columns), 62 + 245 * (place // columns), wide - 50, growth)
    d.text(736, 36 + 245 * rows, "dashed: as steep as its work", anchor="end", size=11, colour=MUTED)
    return d.svg()


def speed_epoch() -> str:
    """An epoch by every side."""
    names = {
        "course": "the notebooks' loop",
        "nchw": "PyTorch, NCHW",
        "nhwc": "PyTorch, channels_last",
        "bfloat16": "PyTorch, bfloat16 autocast",
        "compile": "PyTorch, torch.compile",
        "ours": "smallprint",
        "pairs": "smallprint, bfloat16",
    }
    every = results(FOLDER.parent, "epoch")
    groups = {
        f"{vector_unit(said)}, {result['threads']} thread{'s' * (result['threads'] > 1)}": [
            Bar(label=names[side], measured=tuple(seconds), ours=side == "ours", said=_as_many(result, side))
            for side, seconds in result["seconds"].items()
        ]
        for said in every
        for result in said["results"]
    }
    (images,) = {said["settings"]["images"] for said in every}
    return bars(f"An epoch of {images:,} images", "seconds", groups)


def speed_contract() -> str:
    """Eight seeds to the verdict."""
    names = {"course": "the notebooks' loop", "pytorch": "without a C compiler", "ours": "smallprint climb"}
    said = _result("contract")
    group = [
        Bar(
            label=names[side], measured=tuple(second / 60 for second in seconds), ours=side == "ours",
            said=f"{said['runs_per_hour'][side]:.3g} runs an hour",
        )
        for side, seconds in said["seconds"].items()
    ]  # fmt: skip
    return bars(f"{said['seeds']} seeds of {said['rung']}, from the command to the verdict", "minutes", {"": group})


def speed_first() -> str:
    """From the start of the process to the first epoch, and the parts of the start-up."""
    said = _result("first")
    starts = {"cold": "nothing compiled before", "warm": "compiled before"}
    parts = {
        "help": "smallprint --help",
        "import": "import smallprint",
        "trainer": "importing what trains",
        "data": "reading the data set",
        "native_warm": "the step, compiled before",
        "native_cold": "the step, compiler included",
    }
    groups = {
        "to the line of the first epoch": [
            Bar(label=label, measured=tuple(said["first_epoch"][state]), ours=True) for state, label in starts.items()
        ],
        "parts of the start-up": [
            Bar(label=label, measured=tuple(said["parts"][part])) for part, label in parts.items()
        ],
    }
    return bars("From the start of the process", "seconds", groups, digits=2)


def speed_contended() -> str:
    """A step alone, and beside a process that keeps one core busy."""
    said = _result("contended")
    names = {"ours": "smallprint", "pytorch": "PyTorch"}
    states = {"alone": "undisturbed", "contended": "one core busy"}
    groups: dict[str, list[Bar]] = {}
    for result in said["results"]:
        group = groups.setdefault(f"{result['threads']} thread{'s' * (result['threads'] > 1)}", [])
        for state, label in states.items():
            measured = tuple(1e3 * seconds for seconds in result["seconds_per_step"][state])
            times = f"{result['slowed']['median']:.2f} times" if state == "contended" else ""
            who = f"{names[result['side']]}, {label}"
            group.append(Bar(label=who, measured=measured, ours=result["side"] == "ours", said=times))
    return bars("A step while another process keeps one core busy", "milliseconds", groups, digits=2)


def _result(name: str) -> dict[str, Any]:
    (found,) = results(FOLDER.parent, name)
    return found


def _as_many(result: Mapping[str, Any], side: str) -> str:
    ratio = result["ratios"].get(side)
    return f"{ratio['median']:.1f} times" if ratio else ""


DRAWINGS: dict[str, Callable[[], str]] = {
    "native-layout.svg": layout,
    "native-stage.svg": stage,
    "native-step.svg": step,
    "speed-epoch.svg": speed_epoch,
    "speed-contract.svg": speed_contract,
    "speed-first.svg": speed_first,
    "speed-contended.svg": speed_contended,
    "speed-steps.svg": lambda: panels("What a step costs", ("width", "depth", "side", "batch")),
    "speed-data.svg": lambda: panels("What data, seeds and the compiler cost", ("images", "trained", "compiling")),
    "speed-stored.svg": lambda: panels("What stored runs cost", ("stored", "judged", "listed")),
}


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = [
        name for name, draw in DRAWINGS.items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != draw()
    ]  # fmt: skip
    for name in stale:
        print(f"docs/{name} {'would change' if check else 'written'}")
        if not check:
            (FOLDER / name).write_text(DRAWINGS[name](), encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
