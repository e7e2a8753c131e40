"""Draws the pictures of docs/native.md: the same bytes every time.

python docs/drawings.py            write them
python docs/drawings.py --check    say which would change; status 1 if any
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

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
    d.text(310, 84, "on the way, in scratch:", "relu batchnorm", "dropout", anchor="middle")
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


DRAWINGS: dict[str, Callable[[], str]] = {
    "native-layout.svg": layout,
    "native-stage.svg": stage,
    "native-step.svg": step,
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
