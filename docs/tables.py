"""Writes the tables in README and docs from records and benchmark results.

    python docs/tables.py            write them
    python docs/tables.py --check    say which would change; status 1 if any

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a function of this file.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import fmean

from smallprint.results.record import read_record
from smallprint.results.verdict import judge, worst_of_last
from smallprint.spec.ladder import read_ladder

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def progressive() -> str:
    """Source 003's ladder: what it published, what we measured, what the contract says of it."""
    record = read_record(ROOT / "records" / "progressive.json")
    published = {rung.name: rung.published for rung in read_ladder(record.ladder).rungs}
    last = record.contract.last_epochs
    rows = [
        f"| rung | parameters | published best | our best | worst of the last {last} | verdict |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for rung in record.rungs:
        theirs = published[rung.name]
        best = fmean(run.best_test for run in rung.runs)
        worst = min(
            100 * correct / total
            for run in rung.runs
            if (found := worst_of_last(run, last))
            for _, correct, total in [found]
        )
        verdict = judge(record.contract, rung.runs)
        rows.append(
            f"| {rung.name} | {rung.parameters:,} | {theirs.best_test if theirs else 0:.2f} | {best:.2f} | {worst:.2f} "
            f"| {verdict.outcome} ({verdict.passed} of {verdict.of}) |"
        )
    return "\n".join(rows)


def epoch() -> str:
    """The course loop against ours, from benchmarks/results/epoch.json."""
    said = json.loads((ROOT / "benchmarks" / "results" / "epoch.json").read_text())
    rows = ["| | seconds per training epoch |", "|---|--:|"]
    for side, name in (("course", "the notebooks' loop"), ("ours", "smallprint")):
        seconds = sorted(said["seconds"][side])
        rows.append(f"| {name} | {seconds[len(seconds) // 2]:.1f} ({seconds[0]:.1f} to {seconds[-1]:.1f}) |")
    low, high = said["ratio_spread"]
    return "\n".join([*rows, f"| **ratio** | **{said['ratio']:.2f}** ({low:.2f} to {high:.2f}) |"])


def rewritten(text: str) -> str:
    """A page with every table made anew."""
    return re.sub(
        r"(<!-- table: (\w+) -->\n)(?:(?!<!--).)*(<!-- end -->)",
        lambda found: found[1] + TABLES[found[2]]() + "\n" + found[3],
        text,
        flags=re.DOTALL,
    )


TABLES = {"progressive": progressive, "epoch": epoch}


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
