"""A climb as it is watched: a line per epoch, a live bar, judgements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from smallprint.climb import ClimbEvent, Pace, RungJudged, RungStarted
from smallprint.results.assessment import RungResult
from smallprint.spec.ladder import Ladder, Rung
from smallprint.sweep import EpochEnded, RunEnded, RunSetAside, RunStarted
from smallprint.views import terminal


class Watch:
    """Writes a climb to a console: to a terminal with a live bar under the lines, to a log without."""

    def __init__(self, ladder: Ladder, rungs: Sequence[Rung], seeds: int, console: Console) -> None:
        self.ladder = ladder
        self.rungs = rungs
        self.pace = Pace(ladder, self.rungs, seeds)
        self.console = console
        self.doing = ladder.name

    def show(self, events: Iterable[ClimbEvent]) -> list[RungResult]:
        """Write what happens; return every rung's result."""
        results = []
        left = _TimeLeft()
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(None), left)
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task(self.doing, total=1.0)
            self.console.print(Text(terminal.printable(self.ladder.title), "bold"))
            self._line(f"promise: {self.ladder.contract}")
            for event in events:
                self.pace.note(event)
                self._tell(event)
                left.set(self.pace.seconds_left)
                bar.update(task, completed=self.pace.share_done, description=self.doing)
                if isinstance(event, RungJudged):
                    results.append(event.result)
        if len(results) > 1:
            self.console.print("", terminal.summary_table(self.ladder, results), sep="\n", soft_wrap=True)
        return results

    def _tell(self, event: ClimbEvent) -> None:
        match event:
            case RungStarted(rung=rung):
                self.doing = f"{self.ladder.name}:{rung.name}"
                place, trace = self.rungs.index(rung) + 1, self.ladder.trace(rung)
                self.console.print(terminal.rung_heading(rung, place, len(self.rungs), trace), soft_wrap=True)
            case RunSetAside(job=job, folder=folder):
                self._line(
                    f"seed {job.seed}: the network, recipe or data has changed; the earlier run is kept in {folder}"
                )
            case RunStarted(job=job, stored=stored):
                self._line(f"seed {job.seed}" + (f", going on behind epoch {len(stored)}" if stored else ""))
                self._line(terminal.EPOCH_HEADER)
                for epoch in stored:
                    self._line(terminal.epoch_line(epoch, job.rung.recipe.epochs, self.pace.seconds_left))
            case EpochEnded(job=job, epoch=epoch):
                self._line(terminal.epoch_line(epoch, job.rung.recipe.epochs, self.pace.seconds_left))
            case RunEnded(run=run, reused=True):
                self._line(f"seed {run.seed}: trained before, {run.status}")
            case RunEnded(run=run) if run.reason:
                self._line(f"seed {run.seed}: {run.status}: {terminal.printable(run.reason)}")
            case RungJudged(result=result):
                place = self.ladder.rungs.index(result.rung)
                before = self.ladder.rungs[place - 1].name if place else None
                self.console.print(terminal.rung_judgement(result, before), soft_wrap=True)

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _TimeLeft(ProgressColumn):
    """The estimate, counted down by the clock until the next epoch brings a new one."""

    def __init__(self) -> None:
        super().__init__()
        self._end: float | None = None

    def set(self, seconds: float | None) -> None:
        self._end = None if seconds is None else monotonic() + seconds

    def render(self, task: Task) -> Text:
        left = None if self._end is None else max(0.0, self._end - monotonic())
        return Text(f"{terminal.duration(left)} left")
