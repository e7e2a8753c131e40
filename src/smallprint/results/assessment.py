"""assess(ladder, rung, runs): verdict, findings and diff of one rung together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from smallprint.results.certification import stored_plan
from smallprint.results.diagnosis import Finding, diagnose
from smallprint.results.published import PublishedVerdict, judge_published
from smallprint.results.runs import Run, read_runs
from smallprint.results.sequential import Certificate
from smallprint.results.verdict import Verdict, judge
from smallprint.spec.contract import Contract
from smallprint.spec.errors import listing
from smallprint.spec.ladder import Ladder, Rung, RungDiff, Taught, diff
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
    taught: Taught | None = field(default=None)  # None: it learned from the labels alone
    published: PublishedVerdict | None = field(default=None)  # None: the rung has no source
    other_data: tuple[int, ...] = field(default=())  # seeds of stored runs that do not count: trained on other data
    certificate: Certificate | None = field(default=None)  # what fresh seeds said; None: it was never to be certified


def assess(
    ladder: Ladder,
    rung: Rung,
    runs: Sequence[Run],
    contract: Contract | None = None,
    certificate: Certificate | None = None,
) -> RungResult:
    """Judge and diagnose the runs of a rung, under the ladder's contract or another."""
    contract = contract or ladder.contract
    verdict = judge(contract, runs, certificate) if runs else None
    place = ladder.rungs.index(rung)
    return RungResult(
        rung=rung,
        trace=ladder.trace(rung),
        runs=tuple(runs),
        verdict=verdict,
        findings=diagnose(ladder, rung, verdict, runs) if verdict else (),
        diff=diff(ladder, ladder.rungs[place - 1], rung) if place else None,
        taught=ladder.taught(rung),
        published=judge_published(contract, ladder, rung),
        certificate=certificate,
    )


def assess_stored(
    ladder: Ladder, root: Path, contract: Contract | None = None, *, data: str | None = None
) -> tuple[RungResult, ...]:
    """Assess every rung of a ladder from the runs under `root` that are of exactly its network and recipe.

    With `data`, the fingerprint of the data as it is now, runs that were trained on other data do not count.

    Raises:
        RunError: a run folder, or the plan of a certification, that cannot be read.
    """
    results = []
    for rung in ladder.rungs:
        stored = read_runs(root, ladder.name, rung.name, ladder.identity(rung))
        counted = [run for run in stored if data in (None, run.data)]
        plan = stored_plan(root, ladder, rung, contract)
        certificate = plan.certificate(counted) if plan and data in (None, plan.data) else None
        result = assess(ladder, rung, counted, contract, certificate)
        others = tuple(run.seed for run in stored if data not in (None, run.data))
        results.append(replace(result, other_data=others))
    return tuple(results)


def why_not_counted(ladder: Ladder, results: Sequence[RungResult]) -> str:
    """How many stored runs do not count because they were trained on other data; empty if there are none."""
    runs = [f"{result.rung.name} seed {seed}" for result in results for seed in result.other_data]
    if not runs:
        return ""
    does, they, were = ("does", "it", "was") if len(runs) == 1 else ("do", "they", "were")
    said = f"{len(runs)} stored run{'s' * (len(runs) > 1)} {does} not count ({listing(runs)})"
    return f"{said}: {ladder.dataset} was not the same when {they} {were} trained"


def why_not_measured(ladder: Ladder, results: Sequence[RungResult], root: Path) -> str:
    """What stands under `root` in place of the runs that are missing; empty if none is missing.

    Raises:
        RunError: a run folder that cannot be read.
    """
    missing = [result.rung.name for result in results if result.verdict is None and not result.other_data]
    others = [name for name in missing if read_runs(root, ladder.name, name)]
    if others:
        return f"the runs of {listing(others)} under {root / ladder.name} are of another network or recipe"
    return f"no run of {listing(missing)} is stored under {root / ladder.name}" if missing else ""
