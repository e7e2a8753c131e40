"""A climb as it is watched: a line per epoch or per training, a live bar, judgements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.text import Text

from smallprint.climb import ClimbEvent, Pace, RungJudged, RungStarted
from smallprint.jobs.job import EpochEnded, Job, RunEnded, RunLeft, RunSetAside, RunStarted
from smallprint.results.assessment import RungResult
from smallprint.results.runs import Epoch
from smallprint.spec.ladder import Ladder, Rung
from smallprint.sweep import SweepStarted
from smallprint.views import terminal
from smallprint.watching.live import LiveBar, Running


class ClimbWatch:
    """Writes a climb to a console: to a terminal with a live bar under the lines, to a log without.

    One training at a time: its epochs are a table that grows under its rung's heading. Several side by side: on a
    terminal each has a line above the bar, in a log each epoch's line says whose it is; a rung's heading stands above
    its judgement.
    """

    def __init__(self, ladder: Ladder, rungs: Sequence[Rung], console: Console) -> None:
        self.ladder = ladder
        self.rungs = rungs
        self.console = console
        self.left_out: list[RunLeft] = []
        self._pace = Pace()
        self._many = False  # trainings run side by side
        self._to_do: set[tuple[str, int]] = set()  # rung and seed of what is not trained yet
        self._to_train = 0  # how many they were
        self._headed: Rung | None = None  # whose heading stands above
        self._in_table = False  # the last line was a row
        self._said: set[str] = set()  # what need not be said again
        self._running = Running()

    def show(self, events: Iterable[ClimbEvent]) -> list[RungResult]:
        """Write what happens; return every rung's result, in the ladder's order."""
        results = []
        with LiveBar(self.console, self._doing) as bar:
            self.console.print(Text(terminal.printable(self.ladder.title), "bold"))
            self._line(f"promise: {self.ladder.contract}")
            for event in events:
                self._pace.note(event)
                self._keep_track(event)
                self._tell(event)
                bar.show(self._doing, self._pace, self._screen())
                if isinstance(event, RungJudged):
                    results.append(event.result)
        results.sort(key=lambda result: self.rungs.index(result.rung))
        if len(results) > 1:
            self._block("", terminal.summary_table(self.ladder, results))
        return results

    def why_left_out(self) -> str:
        """Why some jobs were not trained, and what a person can do about it; empty if there are none."""
        names: dict[str, list[str]] = {}
        for event in sorted(self.left_out, key=lambda event: self._place(event.job)):
            who = f"process {event.holder}" if event.holder else "another process"
            names.setdefault(who if event.held else "", []).append(f"{event.job.rung.name} seed {event.job.seed}")
        said = [event.reason for event in self.left_out if not event.held]
        said += [
            f"held by {who}: {len(runs)} run{'s' * (len(runs) > 1)} ({', '.join(runs)}); start again when it has ended"
            for who, runs in names.items()
            if who
        ]
        return "\n".join(said)

    def _keep_track(self, event: ClimbEvent) -> None:
        """Note which trainings run, and what is left of the climb."""
        self._running.note(event)
        if isinstance(event, SweepStarted):
            self._many = event.placement.at_once > 1
            self._to_do = {job.name for job in event.left}
            self._to_train = len(event.left)
        if isinstance(event, RunLeft):
            self.left_out.append(event)
        if isinstance(event, RunEnded | RunLeft):
            self._to_do.discard(event.job.name)

    def _tell(self, event: ClimbEvent) -> None:
        match event:
            case SweepStarted(left=left, placement=placement) if placement.at_once > 1:
                how = str(placement) if placement.together else f"{placement.at_once} at a time"
                self._line(f"{len(left)} trainings, {how}")
            case RungStarted(rung=rung) if not self._many:
                self._heading(rung)
            case RunSetAside(job=job, folder=folder):
                self._of(job, f": the network, recipe or data has changed; the earlier run is kept in {folder}")
            case RunStarted(job=job, stored=stored, slow=slow):
                if slow and slow not in self._said:
                    self._said.add(slow)
                    self._line(terminal.printable(slow))
                self._start(job, stored)
            case EpochEnded(job=job, epoch=epoch) if not (self._many and self.console.is_terminal):
                self._row(job, epoch)
            case RunEnded(job=job, run=run, reused=True):
                self._of(job, f": trained before, {run.status}")
            case RunEnded(job=job, run=run) if run.reason:
                self._of(job, f": {run.status}: {terminal.printable(run.reason)}")
            case RunLeft(job=job, reason=reason):
                self._of(job, f": left out: {terminal.printable(reason)}")
            case RungJudged(result=result):
                self._heading(result.rung)
                place = self.ladder.rungs.index(result.rung)
                before = self.ladder.rungs[place - 1].name if place else None
                self._block(terminal.rung_judgement(result, before))

    @property
    def _doing(self) -> str:
        """What stands beside the bar."""
        if self._many:
            return f"{self.ladder.name}: {self._to_train - len(self._to_do)} of {self._to_train} trained"
        return f"{self.ladder.name}:{self._headed.name}" if self._headed else self.ladder.name

    def _place(self, job: Job) -> tuple[int, int]:
        """Where a job stands in the climb."""
        return self.rungs.index(job.rung), job.seed

    def _start(self, job: Job, stored: Sequence[Epoch]) -> None:
        behind = f", going on behind epoch {len(stored)}" if stored else ""
        if behind or not self._many:
            self._of(job, behind)
        if not self._many:
            self._names()
            for epoch in stored:
                self._row(job, epoch)

    def _heading(self, rung: Rung) -> None:
        """A rung's heading, unless it stands there."""
        if rung != self._headed:
            self._headed = rung
            place, trace = self.rungs.index(rung) + 1, self.ladder.trace(rung)
            self._block(terminal.rung_heading(rung, place, len(self.rungs), trace))

    def _row(self, job: Job, epoch: Epoch) -> None:
        """An epoch's line."""
        self._names()
        line = terminal.epoch_line(epoch, job.rung.recipe.epochs, self._pace.seconds_left)
        self._line(self._whose(job.rung.name, job.seed) + line)
        self._in_table = True

    def _names(self) -> None:
        """The names of the columns, unless they stand above."""
        if not self._in_table:
            self._line("\n" * self._many + self._whose("rung", "seed") + terminal.EPOCH_HEADER)
            self._in_table = True

    def _whose(self, rung: str, seed: str | int) -> str:
        widest = max(len("rung"), *(len(rung.name) for rung in self.rungs))
        return f"{rung:<{widest}}  {seed:>5} " if self._many else ""

    def _of(self, job: Job, said: str) -> None:
        """A line about a run."""
        if not self._many:
            self._heading(job.rung)
        self._line((f"{job.rung.name} " if self._many else "") + f"seed {job.seed}{said}")

    def _line(self, text: str) -> None:
        self._in_table = False
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _block(self, *what: RenderableType) -> None:
        self._in_table = False
        self.console.print(*what, sep="\n", soft_wrap=True)

    def _screen(self) -> Text | None:
        """The running trainings, as many as the screen has room for."""
        if not (self._many and self.console.is_terminal):
            return None
        return self._running.table(self.ladder, self.console.height)
