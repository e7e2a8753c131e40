"""What moves at the bottom of a terminal: the running trainings, and the bar of the whole."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from time import monotonic
from typing import Protocol, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from smallprint.jobs.job import EpochEnded, Job, RunEnded, RunLeft, RunStarted, RunStopped
from smallprint.results.runs import Epoch
from smallprint.spec.ladder import Ladder
from smallprint.views import terminal

_BESIDES = 7  # lines of the screen that are not for running trainings
_Event = TypeVar("_Event")


def end_of(
    events: Generator[_Event, None, None], watched: Callable[[Iterable[_Event]], _Event | None]
) -> _Event | None:
    """The event with which something ends that is watched; Ctrl-C while nobody but the watch hears it ends it too.

    Raises:
        KeyboardInterrupt: what is watched has not begun, or had ended with that.
    """
    try:
        return watched(events)
    except KeyboardInterrupt as stop:  # the events have not seen it, unless that is what they ended with
        return events.throw(stop)


class Running:
    """The trainings that run at the moment, with the epochs behind them."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, int], tuple[Job, tuple[Epoch, ...]]] = {}

    def note(self, event: object) -> None:
        """Take an event into account."""
        match event:
            case RunStarted(job=job, stored=stored):
                self._runs[job.name] = (job, stored)
            case EpochEnded(job=job, epoch=epoch):
                self._runs[job.name] = (job, (*self._runs[job.name][1], epoch))
            case RunEnded(job=job) | RunStopped(job=job) | RunLeft(job=job):
                self._runs.pop(job.name, None)

    def table(self, ladder: Ladder, height: int) -> Text | None:
        """A line for each, in the ladder's order, as many as a screen of that height has room for; None without any."""
        if not self._runs:
            return None
        running = sorted(self._runs.values(), key=lambda run: (ladder.rungs.index(run[0].rung), run[0].seed))
        rows = [(job.rung.name, job.seed, job.rung.recipe.epochs, epochs) for job, epochs in running]
        return terminal.running_table(rows, ladder.contract.last_epochs, height - _BESIDES)


class Course(Protocol):
    """How far something has come."""

    @property
    def share_done(self) -> float:
        """0 to 1."""

    @property
    def seconds_left(self) -> float | None:
        """None: not known yet."""


class LiveBar(Progress):
    """The bar of the whole climb, and above it what runs at the moment; nothing where there is no terminal."""

    def __init__(self, console: Console, doing: str) -> None:
        self._above: Text | None = None
        self._time_left = _TimeLeft()
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(None), self._time_left)
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self.add_task(doing, total=1.0)

    def show(self, doing: str, pace: Course, above: Text | None) -> None:
        """Show what is done, by how much and for how long yet."""
        self._above = above
        self._time_left.set(pace.seconds_left)
        self.update(self._task, completed=pace.share_done, description=doing)

    def get_renderables(self) -> Iterable[RenderableType]:
        """What rich draws."""
        if self._above is not None:
            yield Text()
            yield self._above
        yield self.make_tasks_table(self.tasks)


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
