"""What a search has found, as search.html and search.md, and the rung itself as a ladder file, found.toml."""

from __future__ import annotations

from pathlib import Path

from smallprint.results.runs import write_whole
from smallprint.spec.contract import Certainty
from smallprint.views import terminal
from smallprint.views.front import draw_front
from smallprint.views.page import Figure, write_pages
from smallprint.views.search_result import FILE, SearchResult

_WIDE, _NARROW = 820, 360  # pixels: the front on a page, and on a phone


def write_search_report(result: SearchResult) -> tuple[Path, Path]:
    """Write search.html and search.md into the search's folder, with found.toml; return the paths of both pages.

    Raises:
        RunError: a file cannot be written.
    """
    front = _front(result)
    rung = result.rung
    if rung:
        write_whole(result.folder / FILE, result.file.encode())
    contract = result.ladder.contract
    said = {
        "result": result,
        "ladder": result.ladder,
        "margin": result.found.margin,
        "picture": result.picture,
        "rung": rung,
        "diff": result.diff,
        "front": front,
        "file": FILE,
        "judged": "last epoch" if contract.last_epochs == 1 else f"worst of the last {contract.last_epochs} epochs",
        "certainty": contract.certainty or Certainty(),
        "spent": terminal.duration(result.spent),
    }
    return write_pages(result.folder, "search", said, [front] if front else [])


def _front(result: SearchResult) -> Figure | None:
    """The picture of the front, if a candidate was trained at full length."""
    picture = result.picture
    if not picture.points:
        return None
    return Figure(
        name="front",
        caption=(
            f"Each dot is a candidate that was trained at full length: its {picture.unit} and the mean over its seeds. "
            "The line joins those of which none other is both smaller and better, each with a whisker from its lowest "
            f"to its highest seed. Shaded: what held-out images must show, over at least {picture.enough_seeds} seeds; "
            "dots that do are coloured. The square is the start; a ring marks what was found or came nearest; a cross "
            "was stopped early, when it could no longer keep the contract. "
            "The axis of the accuracy is logarithmic in the error, that of the amount logarithmic too."
        ),
        svg=draw_front(picture, width=_WIDE),
        narrow=draw_front(picture, width=_NARROW),
    )
