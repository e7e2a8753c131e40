"""The console: lines, tables, JSON, faults, and what takes its time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

DONE, BROKEN, BAD_INPUT, UNDECIDED, INTERRUPTED = 0, 1, 2, 3, 130  # exit status

# rich is imported where something is drawn with it: --help does without.


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """Say what takes its time, where somebody watches."""
    from rich.text import Text

    screen = console(stderr=True)
    with screen.status(Text(doing)) if screen.is_terminal else nullcontext():
        yield


def console(*, stderr: bool = False) -> Console:
    """rich's, without colours of its own."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def bold(text: str) -> Text:
    """A heading."""
    from rich.text import Text

    return Text(text, "bold")


def write(*what: RenderableType) -> None:
    """One below the other, on standard output."""
    console().print(*what, sep="\n", soft_wrap=True)


def write_json(document: dict[str, Any] | list[dict[str, Any]]) -> None:
    """One document, on standard output."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


def say_fault(message: str) -> None:
    """A line on standard error."""
    typer.echo(f"smallprint: {message}", err=True)
