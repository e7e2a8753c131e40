"""assess(ladder, rung, runs): verdict, findings and diff of one rung together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smallprint.results.diagnosis import Finding, diagnose
from smallprint.results.published import PublishedVerdict, judge_published
from smallprint.results.runs import Run, read_runs
from smallprint.results.verdict import Verdict, judge
from smallprint.spec.contract import Contract
from smallprint.spec.errors import listing
from smallprint.spec.ladder import Ladder, Rung, RungDiff, diff
from smallprint.spec.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class RungResult:
    """Everything known of one rung; without runs, nothing was measured."""

    rung: Rung
    trace: Trace
    runs: tuple[Run, ...]
    verdict: Verdict | None  # None: not measured
    findings: tuple[Finding, ...]
    diff: RungDiff | None  # to the rung before; None for the first
    published: PublishedVerdict | None = field(default=None)  # None: the rung has no source


def assess(ladder: Ladder, rung: Rung, runs: Sequence[Run], contract: Contract | None = None) -> RungResult:
    """Judge and diagnose the runs of a rung, under the ladder's contract or another."""
    contract = contract or ladder.contract
    verdict = judge(contract, runs) if runs else None
    place = ladder.rungs.index(rung)
    return RungResult(
        rung=rung,
        trace=ladder.trace(rung),
        runs=tuple(runs),
        verdict=verdict,
        findings=diagnose(ladder, rung, verdict, runs) if verdict else (),
        diff=diff(ladder, ladder.rungs[place - 1], rung) if place else None,
        published=judge_published(contract, ladder, rung),
    )


def assess_stored(ladder: Ladder, root: Path, contract: Contract | None = None) -> tuple[RungResult, ...]:
    """Assess every rung of a ladder from the runs under `root` that are of exactly its network and recipe.

    Raises:
        RunError: a run folder that cannot be read.
    """
    return tuple(
        assess(ladder, rung, read_runs(root, ladder.name, rung.name, ladder.identity(rung)), contract)
        for rung in ladder.rungs
    )


def why_not_measured(ladder: Ladder, results: Sequence[RungResult], root: Path) -> str:
    """What stands under `root` in place of the runs that are missing; empty if none is missing.

    Raises:
        RunError: a run folder that cannot be read.
    """
    missing = [result.rung.name for result in results if result.verdict is None]
    others = [name for name in missing if read_runs(root, ladder.name, name)]
    if others:
        return f"the runs of {listing(others)} under {root / ladder.name} are of another network or recipe"
    return f"no run of {listing(missing)} is stored under {root / ladder.name}" if missing else ""
