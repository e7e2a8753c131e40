"""Writes the tables in README and docs from records, shipped ladders and benchmark results.

    python docs/tables.py            write them
    python docs/tables.py --check    say which would change; status 1 if any

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a function of this file, and words behind it
are what the function is given.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from smallprint.results.assessment import RungResult, assess
from smallprint.results.record import read_record
from smallprint.results.verdict import worst_of_last
from smallprint.spec.ladder import Ladder, read_ladder

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BELOW = 0.15  # points below the published best that ask for a remark
NONE, NOT_MEASURED = "\N{EN DASH}", "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the seeds of a rung measured, in percent; only those that trained to their end."""

    best: tuple[float, ...]  # the best test epoch of each seed
    worst: tuple[float, ...]  # the worst of the last test epochs of each seed

    @staticmethod
    def of(result: RungResult, last: int) -> Measured | None:
        """None where nothing was measured."""
        finished = [run for run in result.runs if run.status == "finished"]
        worst = (worst_of_last(run, last) for run in finished)
        measured = Measured(
            best=tuple(run.best_test for run in finished),
            worst=tuple(100 * correct / total for found in worst if found for _, correct, total in [found]),
        )
        return measured if measured.best and measured.worst else None


def progressive() -> str:
    """Source 003's ladder at a glance: what it published, what we measured, what the contract says of it."""
    ladder, command, results = _assessed("progressive")
    last = ladder.contract.last_epochs
    rows = [
        f"| rung | parameters | published best | our best | worst of the last {last} | seeds that keep the contract |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for result in results:
        measured = Measured.of(result, last)
        cells = [result.rung.name, f"{result.trace.parameters:,}", _percent(_published_best(result))]
        if measured and result.verdict:
            kept = f"{result.verdict.passed} of {result.verdict.of}"
            cells += [_percent(fmean(measured.best)), _percent(min(measured.worst)), kept]
        else:
            cells += [NOT_MEASURED, NONE, NONE]
        rows.append(_row(cells))
    return "\n".join([*rows, "", f"Ours: `{command}`; the best epoch is the mean over the seeds."])


def published(name: str) -> str:
    """A ladder rung by rung, published beside ours; then what its sources contradict, and where we stay below them."""
    ladder, command, results = _assessed(name)
    last = ladder.contract.last_epochs
    rows = [
        "| rung | parameters | published best | published run | our best: mean | sd | n | ours minus published "
        f"| our worst of the last {last}: mean | lowest | seeds that keep the contract |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|",
        *(_row([*_published_cells(result), *_our_cells(result, last)]) for result in results),
    ]
    said = f"Ours: `{command}`." if command else f"None of it is measured yet: there is no `records/{name}.json`."
    notes = [
        f"- **{result.rung.name}**: {result.rung.published.note}"
        for result in results
        if result.rung.published and result.rung.published.note
    ]
    lists = {
        "What to know of the published numbers:": notes,
        f"Below the published best by more than {BELOW} points:": list(_below(ladder, results)),
    }
    paragraphs = [["\n".join(rows), said], *([title, "\n".join(lines)] for title, lines in lists.items() if lines)]
    return "\n\n".join(text for paragraph in paragraphs for text in paragraph)


def _assessed(name: str) -> tuple[Ladder, str, list[RungResult]]:
    """A shipped ladder, the command of its record (empty without one), and every rung judged by its recorded runs."""
    ladder, path = read_ladder(name), ROOT / "records" / f"{name}.json"
    record = read_record(path) if path.exists() else None
    runs = {rung.name: rung.runs for rung in record.rungs} if record else {}
    results = [assess(ladder, rung, runs.get(rung.name, ())) for rung in ladder.rungs]
    return ladder, record.command if record else "", results


def _published_best(result: RungResult) -> float | None:
    return result.rung.published.best_test if result.rung.published else None


def _published_cells(result: RungResult) -> list[str]:
    outcome = result.published.outcome if result.published else NONE
    cells = [result.rung.name, f"{result.trace.parameters:,}", _percent(_published_best(result))]
    return [*cells, f"**{outcome}**" if outcome == "kept" else outcome]


def _our_cells(result: RungResult, last: int) -> list[str]:
    measured, verdict, theirs = Measured.of(result, last), result.verdict, _published_best(result)
    if not verdict or not verdict.of:
        return [NOT_MEASURED, *6 * [NONE]]
    low, high = (100 * bound for bound in verdict.interval)
    kept = f"{verdict.passed} of {verdict.of} ({low:.1f} to {high:.1f}%)"
    if not measured:
        return [*6 * [NONE], kept]
    return [
        _percent(fmean(measured.best)),
        f"{stdev(measured.best):.3f}" if len(measured.best) > 1 else NONE,
        str(len(measured.best)),
        NONE if theirs is None else f"{fmean(measured.best) - theirs:+.2f}",
        _percent(fmean(measured.worst)),
        _percent(min(measured.worst)),
        kept,
    ]


def _below(ladder: Ladder, results: Sequence[RungResult]) -> Iterator[str]:
    """A line for each rung whose mean stays clearly below the published best, with the remark on it."""
    remarks = tomllib.loads((ROOT / "docs" / "published-remarks.toml").read_text(encoding="utf-8"))
    for result in results:
        measured, theirs = Measured.of(result, ladder.contract.last_epochs), _published_best(result)
        if measured and theirs is not None and (short := theirs - fmean(measured.best)) > BELOW:
            remark = remarks.get(ladder.name, {}).get(result.rung.name, "not explained yet.")
            yield f"- **{result.rung.name}**, by {short:.2f}: {remark}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def epoch() -> str:
    """All sides of the epoch benchmark, from benchmarks/results/epoch.json."""
    said = json.loads((ROOT / "benchmarks" / "results" / "epoch.json").read_text())
    names = {
        "course": "the notebooks' loop",
        "nchw": "PyTorch on whole tensors",
        "nhwc": "the same, channels_last",
        "bfloat16": "the same, bfloat16 autocast",
        "compile": "the same, torch.compile",
        "ours": "**smallprint**",
    }
    rows = ["| threads | trained by | seconds per epoch | times smallprint's |", "|--:|---|--:|--:|"]
    for result in said["results"]:
        for side, measured in result["seconds"].items():
            seconds = sorted(measured)
            ratio = result["ratios"].get(side)
            times = f"{ratio['median']:.1f} ({ratio['lowest']:.1f} to {ratio['highest']:.1f})" if ratio else "1"
            spread = f"{seconds[len(seconds) // 2]:.1f} ({seconds[0]:.1f} to {seconds[-1]:.1f})"
            rows.append(f"| {result['threads']} | {names[side]} | {spread} | {times} |")
    return "\n".join(rows)


def rewritten(text: str) -> str:
    """A page with every table made anew."""
    return re.sub(
        r"(<!-- table: (\w+)((?: [\w-]+)*) -->\n)(?:(?!<!--).)*(<!-- end -->)",
        lambda found: found[1] + TABLES[found[2]](*found[3].split()) + "\n" + found[4],
        text,
        flags=re.DOTALL,
    )


TABLES: dict[str, Callable[..., str]] = {"progressive": progressive, "published": published, "epoch": epoch}


def main() -> int:
    changed = [
        page for page in PAGES if rewritten(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")
    ]
    for page in changed:
        print(page.relative_to(ROOT))
        if "--check" not in sys.argv:
            page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
    return int(bool(changed) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
