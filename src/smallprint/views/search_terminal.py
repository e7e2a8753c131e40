"""A search in the terminal: a candidate's line, the front so far, what runs, the end; builds them, prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from smallprint.results.runs import Epoch
from smallprint.searching.candidate import START, Candidate, Level
from smallprint.searching.goal import Goal
from smallprint.views import terminal
from smallprint.views.front import FrontPicture, FrontPoint
from smallprint.views.search_result import SearchResult, level_said

_NAME, _TRAINED, _ACCURACY = 9, 15, 10  # characters of the columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One training, with the epochs behind it."""

    name: str  # of the candidate, or of what else is trained
    amount: float | None  # None: it is no candidate
    seed: int
    planned: int  # epochs
    epochs: tuple[Epoch, ...]


class CandidateLines:
    """The lines of judged candidates, in columns that stay where they are."""

    def __init__(self, goal: Goal, most: float) -> None:
        """`most` is the largest amount."""
        self._unit = goal.unit
        self._amount = max(len(goal.unit), len(f"{most:,.0f}"))

    @property
    def header(self) -> str:
        """The names of the columns."""
        return self._columns("candidate", self._unit, "trained for", "held-out %", "").rstrip()

    def line(self, candidate: Candidate, level: Level, *, goes_on: bool, lost: bool) -> Text:
        """One that has been through a level."""
        shown = candidate.at(level.number)
        told = shown and not (shown.diverged or lost)
        accuracy = f"{100 * (1 - shown.error):.2f}" if shown and told else ""
        text = Text(self._columns(candidate.name, f"{candidate.amount:,.0f}", level_said(level), accuracy, ""))
        if lost:
            return text.append("not judged: a training failed; it is tried again at the next start", "yellow")
        if goes_on:
            return text.append("goes on", "green")
        if candidate.fate == "tested":
            return text.append("tested to its end", "bold")
        return text.append(f"dropped: {candidate.why}", "dim")

    def _columns(self, name: str, amount: str, trained: str, accuracy: str, fate: str) -> str:
        return f"{name:<{_NAME}}  {amount:>{self._amount}}  {trained:>{_TRAINED}}  {accuracy:>{_ACCURACY}}  {fate}"


def front_table(picture: FrontPicture, most: int = 1_000) -> Text:
    """The front from small to large, at most so many rows: those nearest to what is needed."""
    front = picture.rows
    nearest = sorted(front, key=lambda point: abs(point.mean - picture.needed))[: max(1, most)]
    rows = [
        (
            point.name,
            f"{point.amount:,.0f}",
            f"{point.mean:.2f}",
            f"{len(point.accuracies)}",
            Text(_standing(point, picture), "bold green" if point.keeps else ""),
        )
        for point in front
        if point in nearest
    ]
    needed = f"needed: {picture.needed:.2f} over {picture.enough_seeds}"
    table = terminal.aligned(rows, left=(0, 4), header=("front", picture.unit, "held-out %", "seeds", needed))
    return _cut(table, len(front) - len(rows))


def running_table(running: Sequence[Running], unit: str, most: int) -> Text:
    """A line for each training, at most so many."""
    rows = [
        (
            one.name,
            "" if one.amount is None else f"{one.amount:,.0f}",
            f"{one.seed}",
            f"{len(one.epochs)}/{one.planned}",
            f"{100 * one.epochs[-1].test_accuracy:.2f}" if one.epochs else "",
        )
        for one in running[: max(1, most)]
    ]
    header = ("running", unit, "seed", "epoch", "held-out %")
    return _cut(terminal.aligned(rows, left=(0,), header=header), len(running) - len(rows))


def counts_text(candidates: Sequence[Candidate]) -> str:
    """How many candidates there are, and what became of them."""
    fates = [one.fate for one in candidates if one.number != START]
    said = [(fates.count("dropped"), "dropped"), (fates.count("tested"), "tested"), (fates.count("racing"), "racing")]
    return ", ".join([f"{len(fates)} drawn", *(f"{count} {what}" for count, what in said if count)])


def result_text(result: SearchResult) -> Text:
    """What the search has come to, and what to do next."""
    parts = [Text(result.verdict, "bold green" if result.found.keeps else "bold yellow")]
    if result.taught:
        parts.append(Text(terminal.printable(str(result.taught))))
    if result.picture.rows:
        parts += [Text(), front_table(result.picture)]
    if result.diff:
        parts += [Text(), Text(f"Changed since {result.start.name}", "bold"), terminal.diff_text(result.diff)]
        parts += [Text(), Text("To paste into the ladder file", "bold"), Text(result.text.strip("\n"))]
    parts += [Text(), *(Text(f"next: {step}") for step in result.next_steps)]
    return Text("\n").join(parts)


def _standing(point: FrontPoint, picture: FrontPicture) -> str:
    """What a point of the front is, in a few words."""
    said = ["the start"] if point.is_start else []
    if point.number == picture.best:
        said.append("found" if point.keeps else "nearest")
    if point.keeps:
        said.append("keeps what is needed")
    return ", ".join(said)


def _cut(table: Text, hidden: int) -> Text:
    if hidden > 0:
        table.append(f"\n... and {hidden} more", "dim")
    table.no_wrap, table.overflow = True, "ellipsis"
    return table
