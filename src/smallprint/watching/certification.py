"""A certification as it is watched: a line per seed with what is known by then, and the record at its end."""

from __future__ import annotations

import math
import shlex
from collections.abc import Generator, Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from smallprint.certify import CertifyEnded, CertifyEvent, CertifyStarted, NeverKept, SeedCounted
from smallprint.climb import Pace
from smallprint.console import write, write_json
from smallprint.jobs.job import Job, RunEnded, RunLeft, RunSetAside, RunStarted
from smallprint.results.runs import write_whole
from smallprint.results.sequential import Certificate
from smallprint.results.verdict import worst_of_last
from smallprint.spec.errors import RunError
from smallprint.spec.ladder import Ladder, Rung
from smallprint.sweep import SweepStarted
from smallprint.views import documents, terminal
from smallprint.watching.live import LiveBar, Running, end_of

_COLOURS = {"certified": "bold green", "refuted": "bold red", "undecided": "bold yellow"}


class CertifyWatch:
    """Writes a certification to a console; on a terminal with a bar, and the running trainings, under the lines."""

    def __init__(self, ladder: Ladder, rung: Rung, console: Console) -> None:
        self.ladder = ladder
        self.rung = rung
        self.console = console
        self._pace = Pace()
        self._certificate: Certificate | None = None
        self._said: set[str] = set()  # what need not be said again
        self._running = Running()

    def show(self, events: Generator[CertifyEvent, None, None]) -> NeverKept | CertifyEnded:
        """Write what happens; return the end of it, also by Ctrl-C.

        Raises:
            KeyboardInterrupt: Ctrl-C before the certification has begun.
        """
        place, trace = self.ladder.rungs.index(self.rung) + 1, self.ladder.trace(self.rung)
        with LiveBar(self.console, self._doing) as bar:
            self.console.print(Text(terminal.printable(self.ladder.title), "bold"))
            self._line(f"promise: {self.ladder.contract}")
            self.console.print(terminal.rung_heading(self.rung, place, len(self.ladder.rungs), trace), soft_wrap=True)
            if taught := self.ladder.taught(self.rung):
                self._line(terminal.printable(str(taught)))
            ended = end_of(events, lambda heard: self._watched(heard, bar))
        assert isinstance(ended, NeverKept | CertifyEnded), "a certification that ends says so"
        return ended

    def _watched(self, events: Iterable[CertifyEvent], bar: LiveBar) -> CertifyEvent | None:
        """Write what happens until the certification ends; its last event."""
        for event in events:
            if isinstance(event, NeverKept | CertifyEnded):
                return event
            if not isinstance(event, CertifyStarted | SeedCounted):
                self._pace.note(event)
            self._running.note(event)
            self._tell(event)
            above = self._running.table(self.ladder, self.console.height) if self.console.is_terminal else None
            bar.show(self._doing, self._pace, above)
        return None

    def _tell(self, event: CertifyEvent) -> None:
        match event:
            case CertifyStarted():
                self._begin(event)
            case SweepStarted(jobs=jobs, left=left, placement=placement):
                stored = sum(job.rung == self.rung for job in jobs) - sum(job.rung == self.rung for job in left)
                if stored and self._certificate is None:
                    self._once(f"{stored} of them {'is' if stored == 1 else 'are'} stored and not trained again")
                if placement.at_once > 1:
                    how = str(placement) if placement.together else f"{placement.at_once} trainings at a time"
                    self._once(how)
            case RunSetAside(job=job, folder=folder):
                self._line(
                    f"{_whose(job)}: the network, recipe or data has changed; the earlier run is kept in {folder}"
                )
            case RunStarted(slow=slow) if slow:
                self._once(terminal.printable(slow))
            case RunEnded(job=job, run=run) if not run.ended:
                self._line(f"{_whose(job)} {run.status}: {terminal.printable(run.reason)}")
            case RunEnded(job=job, reused=False) if job.rung != self.rung:
                self._line(f"{_whose(job)}, the teacher: trained")
            case RunLeft(job=job, reason=reason):
                self._line(f"{_whose(job)} left out: {terminal.printable(reason)}")
            case SeedCounted():
                self._row(event)

    def _begin(self, event: CertifyStarted) -> None:
        plan, empty = event.plan, event.plan.certificate(())
        self._line("")
        if self.ladder.contract.certainty is None:
            self._line(f"The contract asks for no certainty: certified is the usual one, {plan.certainty}.")
        needed = f"{empty.more_clean_seeds:,} clean ones" if empty.more_clean_seeds else "no number within reach"
        self._line(
            f"Fresh seeds from {plan.first_seed} on, counted in their order and judged on the test set; "
            f"{needed} would certify {plan.certainty}."
        )
        if event.before.of:
            self._line(f"The record has counted {event.before.of} of them: {event.before.passed} kept the contract.")
        more = event.before.more_clean_seeds
        if event.before.outcome == "undecided" and (more is None or event.before.of + more > event.at_most):
            self._line(f"At most {event.at_most} of them are counted now: too few to certify, whatever they measure.")

    def _row(self, event: SeedCounted) -> None:
        """A seed's line, and what is known with it."""
        last, certificate = self.ladder.contract.last_epochs, event.certificate
        if self._certificate is None:
            names = (
                "seed",
                f"worst of last {last} %",
                "contract",
                "kept so far",
                "pass rate at least %",
                "clean seeds to go",
            )
            self._line("\n" + _columns(names, last))
        self._certificate = certificate
        worst, more = worst_of_last(event.run, last), certificate.more_clean_seeds
        cells = (
            str(event.run.seed),
            f"{100 * worst[1] / worst[2]:.2f}" if worst else event.run.status,
            "kept" if event.verdict.kept else "broken",
            f"{certificate.passed} of {certificate.of}",
            f"{math.floor(1000 * certificate.rate_at_least) / 10:.1f}",
            certificate.outcome if certificate.outcome != "undecided" else f"{more:,}" if more else "out of reach",
        )
        self._line(_columns(cells, last))

    @property
    def _doing(self) -> str:
        """What stands beside the bar."""
        known = f": kept {self._certificate.passed} of {self._certificate.of}" if self._certificate else ""
        return f"{self.ladder.name}:{self.rung.name}{known}"

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._line(text)

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def write_outcome(
    ladder: Ladder, ended: NeverKept | CertifyEnded, place: str, runs: Path, record: Path | None, *, as_json: bool
) -> str:
    """Say on standard output what came of it, and write the record; return certified, refuted or undecided.

    `place` is what the command line calls the rung.

    Raises:
        RunError: the record cannot be written; or a seed could not be counted: then all that was is written first.
    """
    if isinstance(ended, NeverKept):
        if as_json:
            write_json(documents.never_kept_document(ladder, ended.rung, ended.clauses))
        else:
            said = "; ".join(map(str, ended.clauses))
            write(Text(f"\nbroken whatever a seed does, so that nothing is trained: {said}", "bold red"))
        return "refuted"
    result, certificate = ended.result, ended.certificate
    path = record or runs / ladder.name / result.rung.name / "record.json"
    if certificate.of:
        command = shlex.join(["smallprint", "certify", place])
        write_whole(path, documents.record_text(documents.record_document(ladder, [result], command)).encode())
    if as_json:
        written = str(path) if certificate.of else None
        write_json({**documents.certification_document(ladder, result), "record": written})
    else:
        _say_outcome(ladder, ended, path)
    if ended.stuck:
        raise RunError(f"{ended.stuck}; the seeds behind it count when it does: start again")
    return certificate.outcome


def _say_outcome(ladder: Ladder, ended: CertifyEnded, path: Path) -> None:
    result, certificate = ended.result, ended.certificate
    begin = "undecided: " if certificate.outcome == "undecided" else ""
    lines = [Text(f"\n{begin}{certificate.text}", _COLOURS[certificate.outcome])]
    if others := [str(run.seed) for run in result.runs if not certificate.counts(run.seed)]:
        lines.append(Text(f"begun and not counted: seed{'s' * (len(others) > 1)} {', '.join(others)}"))
    if certificate.of:
        kept = f"records/{ladder.name}-{result.rung.name}.json"
        commit = "" if path.as_posix().endswith(kept) else f"; to commit it: cp {shlex.quote(str(path))} {kept}"
        lines.append(Text(f"record: {path}{commit}"))
    write(*lines)


def _whose(job: Job) -> str:
    return f"{job.rung.name} seed {job.seed}"


def _columns(cells: tuple[str, ...], last: int) -> str:
    """Cells under one another, whatever stands in them."""
    widths = (5, len(f"worst of last {last} %"), 8, 11, 20, 17)
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
