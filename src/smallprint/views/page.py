"""Pages: HTML and Markdown from templates in which a value is never markup, and the pictures beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from smallprint.results.runs import write_whole
from smallprint.spec.trace import Shape
from smallprint.views.canvas import PALETTE

NONE = "\N{EN DASH}"  # in place of a number that there is not
_TIMES = " \N{MULTIPLICATION SIGN} "
_MARKDOWN = re.compile(r"[\\`*_\[\]|#~$!]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One picture of a page."""

    name: str  # of its file, without .svg
    caption: str
    svg: str
    narrow: str = ""  # the same for a phone, where it is not just smaller


def write_pages(folder: Path, name: str, said: Mapping[str, object], figures: Sequence[Figure]) -> tuple[Path, Path]:
    """Write <name>.html, and <name>.md with its pictures in <name>-pictures/, into `folder`; return both paths.

    Raises:
        RunError: a file cannot be written.
    """
    pictures = f"{name}-pictures"
    for figure in figures:
        write_whole(folder / pictures / f"{figure.name}.svg", figure.svg.encode())
    pages = folder / f"{name}.html", folder / f"{name}.md"
    for page, html in zip(pages, (True, False), strict=True):
        template = _environment(html=html).get_template(f"{page.name}.jinja")
        write_whole(page, template.render(said, folder=pictures).encode())
    return pages


def _environment(*, html: bool) -> Environment:
    """Templates whose every value is made harmless for the page it enters."""
    environment = Environment(
        loader=PackageLoader("smallprint.views"),
        autoescape=html,
        finalize=None if html else _harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= _FILTERS
    return environment


def _harmless(value: object) -> str:
    """A value on one line of Markdown in which nothing is markup."""
    if isinstance(value, Markup):
        return value
    text = re.sub(r"\s+", " ", str(value)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _fenced(lines: Sequence[str], language: str = "") -> Markup:
    """Lines as a block of code in Markdown, whatever stands in them."""
    text = "\n".join(lines)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Markup(f"{fence}{language}\n{text}\n{fence}")


def _inline(svg: str, name: str, caption: str) -> Markup:
    """A drawing as a part of a page: ids that are its own, and the page's colours."""
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="1.1"', "", svg)
    for role, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{role})")
    return Markup(svg.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(caption), 1))


def _percent(value: float | None, unit: str = "%") -> str:
    return NONE if value is None else f"{value:.2f}{unit}"


def _points(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.{1 if value >= 1 else 3}f} s"


def _shape(shape: Shape) -> str:
    return _TIMES.join(map(str, shape))


_FILTERS: dict[str, Callable[..., str]] = {
    "percent": _percent,
    "points": _points,
    "count": _count,
    "seconds": _seconds,
    "shape": _shape,
    "fenced": _fenced,
    "inline": _inline,
}
