"""A search as JSON: what --json prints of it."""

from __future__ import annotations

from dataclasses import asdict

from smallprint.searching.margin import Margin
from smallprint.views.documents import Document, diff_document
from smallprint.views.front import FrontPoint
from smallprint.views.search_result import FILE, SearchResult


def search_document(result: SearchResult) -> Document:
    """What a search was asked, what it has found or what came nearest, and the front; accuracies in percent."""
    found, picture = result.found, result.picture
    return {
        "ladder": result.ladder.name,
        "start": result.start.name,
        "contract": result.ladder.contract.clauses(),
        "command": result.command,
        "seed": result.seed,
        "goal": result.goal.name,
        "unit": result.goal.unit,
        "floor": result.floor,
        "ceiling": result.ceiling,
        "seconds": round(result.spent, 1),
        "folder": str(result.folder),
        "held_out_images": result.images,
        "needed": _margin_document(found.margin, result.enough_seeds),
        "stopped": result.stopped,
        "keeps": found.keeps,
        "text": result.verdict,
        "found": _found_document(result),
        "front": [_point_document(point) for point in picture.front],
        "start_measured": next((_point_document(point) for point in picture.points if point.is_start), None),
        "drawn": len(result.drawn),
        "drawn_again": result.twins,
        "levels": [
            {"level": row.said, "trained": row.trained, "went_on": row.went_on, "dropped": dict(row.dropped)}
            for row in result.reached
        ],
        "next": [{"text": step.said, "command": step.command or None} for step in result.next_steps],
    }


def _found_document(result: SearchResult) -> Document | None:
    """The rung that was found or came nearest; None if none was trained at full length."""
    rung, best, difference = result.rung, result.found.best, result.diff
    if rung is None or best is None or difference is None:
        return None
    return {
        "name": rung.name,
        "target": rung.target,
        "network": rung.network.line,
        "recipe": rung.recipe.sentences(),
        "amount": best.amount,
        "parameters": difference.parameters[1],
        "macs": difference.macs[1],
        "taught": result.taught._asdict() if result.taught else None,
        "held_out": [round(100 * (1 - error), 4) for error in best.shown[-1].errors],
        "candidate": best.number,
        "rung": result.text,
        "file": str(result.folder / FILE),
        "diff": diff_document(difference),
    }


def _margin_document(margin: Margin, enough_seeds: int) -> Document:
    """What held-out images must show, and why; shares from 0 to 1."""
    return {**asdict(margin), "accuracy": margin.needed, "over_seeds": enough_seeds, "text": margin.text}


def _point_document(point: FrontPoint) -> Document:
    return {
        "candidate": point.name,
        "amount": point.amount,
        "held_out": [round(accuracy, 4) for accuracy in point.accuracies],
        "mean": round(point.mean, 4),
        "keeps": point.keeps,
    }
