"""Tables of what networks reach: published beside ours, certified beside claimed; from records and shipped ladders."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path
from statistics import fmean, median, stdev

from cells import NONE, percent, row

from smallprint.results.assessment import RungResult, assess
from smallprint.results.record import read_record
from smallprint.results.sequential import Certificate
from smallprint.results.verdict import counted_clauses, worst_of_last
from smallprint.searching.goal import Goal
from smallprint.spec.contract import Contract
from smallprint.spec.ladder import Ladder, Taught
from smallprint.spec.ladder_file import parse_ladder, read_ladder

BELOW = 0.15  # points below the published best that ask for a remark
NOT_MEASURED = "not measured"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A rung of which a record has a certificate, whatever that says."""

    name: str  # LADDER:RUNG
    file: str  # of the record
    taught: Taught | None  # None: it learned from the labels alone
    parameters: int
    macs: int
    epochs: int
    seconds: float  # of a training, median over the seeds that count
    work: float  # of a training, in multiply-adds, as a search counts it
    promise: str
    measured: Measured | None
    certificate: Certificate

    @property
    def link(self) -> str:
        return f"**[{self.name}](../records/{self.file})**"

    @property
    def cells(self) -> list[str]:
        """All but the parameters."""
        measured, certificate = self.measured, self.certificate
        return [
            f"{self.macs:,}",
            self.link + (f", {self.taught}" if self.taught else ""),
            str(self.epochs),
            f"{self.seconds:.0f}",
            self.promise,
            f"{min(measured.worst):.2f}, mean {fmean(measured.worst):.2f}" if measured else NONE,
            str(certificate.of),
            str(certificate.passed),
            f"{floor(1000 * certificate.rate_at_least) / 10:.1f}%, {certificate.outcome}",
        ]


def progressive(root: Path) -> str:
    """The progressive ladder at a glance: what it published, what we measured, what the contract says of it."""
    ladder, command, results = _assessed(root, "progressive")
    last = ladder.contract.last_epochs
    rows = [
        f"| rung | parameters | published best | our best | worst of the last {last} | seeds that keep the contract |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for result in results:
        measured = Measured.of(result, last)
        cells = [result.rung.name, f"{result.trace.parameters:,}", percent(_published_best(result))]
        if measured and result.verdict:
            kept = f"{result.verdict.passed} of {result.verdict.of}"
            cells += [percent(fmean(measured.best)), percent(min(measured.worst)), kept]
        else:
            cells += [NOT_MEASURED, NONE, NONE]
        rows.append(row(cells))
    said = "our best is the mean of the seeds' best epochs, the worst of the last 5 that of the unluckiest seed"
    return "\n".join([*rows, "", f"Ours: `{command}`; {said}."])


def published(root: Path, name: str) -> str:
    """A ladder rung by rung, published beside ours; then what its sources contradict, and where we stay below them."""
    ladder, command, results = _assessed(root, name)
    last = ladder.contract.last_epochs
    rows = [
        "| rung | parameters | published best | published run | our best: mean | sd | n | ours minus published "
        f"| our worst of the last {last}: mean | lowest | seeds that keep the contract |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|",
        *(row([*_published_cells(result), *_our_cells(result, last)]) for result in results),
    ]
    said = f"Ours: `{command}`." if command else f"None of it is measured yet: there is no `records/{name}.json`."
    notes = [
        f"- **{result.rung.name}**: {result.rung.published.note}"
        for result in results
        if result.rung.published and result.rung.published.note
    ]
    lists = {
        "What to know of the published numbers:": notes,
        f"Below the published best by more than {BELOW} points:": list(_below(root, ladder, results)),
    }
    paragraphs = [["\n".join(rows), said], *([title, "\n".join(lines)] for title, lines in lists.items() if lines)]
    return "\n\n".join(text for paragraph in paragraphs for text in paragraph)


def records(root: Path, dataset: str) -> str:
    """Certified rungs on a data set beside what others have claimed, from the smallest network to the largest."""
    ours = [(one.parameters, one.cells) for one in _certified(root, dataset)]
    others = _claimed(root, dataset)
    rows = [
        "| parameters | multiply-adds | network | epochs | seconds | promised test accuracy | worst of the last epochs "
        "| seeds | keep the promise | pass rate at least |",
        "|--:|--:|---|--:|--:|---|---|--:|--:|---|",
        *(row([f"{size:,}", *cells]) for size, cells in sorted([*ours, *others], key=lambda found: found[0])),
    ]
    return "\n".join(rows if ours else [*rows, "", "None of our rungs is certified yet."])


def fewest(root: Path, dataset: str) -> str:
    """For every promise the certified rungs with the fewest parameters, multiply-adds and seconds.

    The seconds are those of its record; which rung has the fewest is decided by the work of a training, as seconds of
    different machines do not compare. Rungs that a larger network taught stand apart: what a teacher costs is in none
    of these.
    """
    by_track: dict[tuple[str, bool], list[Certified]] = {}
    for one in _certified(root, dataset):
        if one.certificate.outcome == "certified":
            by_track.setdefault((one.promise, one.taught is None), []).append(one)
    rows = ["| certified for | fewest parameters | fewest multiply-adds | fewest seconds |", "|---|---|---|---|"]
    for (promise, alone), sure in sorted(by_track.items(), reverse=True):
        smallest = min(sure, key=lambda one: one.parameters)
        leanest, quickest = min(sure, key=lambda one: one.macs), min(sure, key=lambda one: one.work)
        rows.append(
            row(
                [
                    promise if alone else f"{promise}, taught",
                    f"{smallest.parameters:,}: {smallest.link}",
                    f"{leanest.macs:,}: {leanest.link}",
                    f"{quickest.seconds:.0f}: {quickest.link}",
                ]
            )
        )
    return "\n".join(rows)


def _certified(root: Path, dataset: str) -> Iterator[Certified]:
    for path in sorted((root / "records").glob("*.json")):
        record = read_record(path)
        for recorded in record.rungs:
            certificate = recorded.certificate
            if certificate is None or not certificate.of:
                continue
            ladder = parse_ladder(recorded.text, name=record.ladder)
            if ladder.dataset != dataset:
                continue
            rung, contract = ladder.rung(recorded.name), record.contract
            counted = [run for run in recorded.runs if certificate.counts(run.seed)]
            measured = Measured.of(assess(ladder, rung, counted), contract.last_epochs)
            yield Certified(
                name=f"{ladder.name}:{rung.name}", file=path.name, taught=ladder.taught(rung),
                parameters=recorded.parameters, macs=recorded.macs, epochs=rung.recipe.epochs,
                seconds=median(sum(epoch.seconds for epoch in run.epochs) for run in counted),
                work=Goal(name="seconds").amount(ladder.trace(rung), rung.recipe, train=ladder.facts.train),
                promise=_promised(contract), measured=measured, certificate=certificate,
            )  # fmt: skip


def _claimed(root: Path, dataset: str) -> Iterator[tuple[int, list[str]]]:
    """Parameters and the other cells of what others have published of a data set; each rests on one training."""
    said = tomllib.loads((root / "docs" / "public-claims.toml").read_text(encoding="utf-8"))
    contract = Contract.parse(said["contract"])
    for claim in said["claim"] if said["dataset"] == dataset else ():
        size, epochs, last = claim["parameters"], claim["epochs"], claim.get("last")
        if last:
            clauses = counted_clauses(contract, parameters=size, macs=0, epochs=epochs)
            kept = all(clause.kept for clause in clauses)
            kept = kept and all(contract.accuracy.allows(Fraction(str(accuracy))) for accuracy in last)
            found = [_promised(contract), f"{min(last):.2f}", "1", str(int(kept))]
        else:
            found = [NONE, f"not published; {claim['best']:.2f} is the {claim['note']}", "1", "not known"]
        yield size, [NONE, claim["source"], f"{epochs:,}", NONE, *found, NONE]


def _promised(contract: Contract) -> str:
    return f"{contract.accuracy}% in each of the last {contract.last_epochs}"


def _assessed(root: Path, name: str) -> tuple[Ladder, str, list[RungResult]]:
    """A shipped ladder, the command of its record (empty without one), and every rung judged by its recorded runs."""
    ladder, path = read_ladder(name), root / "records" / f"{name}.json"
    record = read_record(path) if path.exists() else None
    runs = {rung.name: rung.runs for rung in record.rungs} if record else {}
    results = [assess(ladder, rung, runs.get(rung.name, ())) for rung in ladder.rungs]
    return ladder, record.command if record else "", results


def _published_best(result: RungResult) -> float | None:
    return result.rung.published.best_test if result.rung.published else None


def _published_cells(result: RungResult) -> list[str]:
    outcome = result.published.outcome if result.published else NONE
    cells = [result.rung.name, f"{result.trace.parameters:,}", percent(_published_best(result))]
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
        percent(fmean(measured.best)),
        f"{stdev(measured.best):.3f}" if len(measured.best) > 1 else NONE,
        str(len(measured.best)),
        NONE if theirs is None else f"{fmean(measured.best) - theirs:+.2f}",
        percent(fmean(measured.worst)),
        percent(min(measured.worst)),
        kept,
    ]


def _below(root: Path, ladder: Ladder, results: Sequence[RungResult]) -> Iterator[str]:
    """A line for each rung whose mean stays clearly below the published best, with the remark on it."""
    remarks = tomllib.loads((root / "docs" / "published-remarks.toml").read_text(encoding="utf-8"))
    for result in results:
        measured, theirs = Measured.of(result, ladder.contract.last_epochs), _published_best(result)
        if measured and theirs is not None and (short := theirs - fmean(measured.best)) > BELOW:
            remark = remarks.get(ladder.name, {}).get(result.rung.name, "not explained yet.")
            yield f"- **{result.rung.name}**, by {short:.2f}: {remark}"
