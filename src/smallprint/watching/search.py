"""A search as it is watched: a line per judged candidate; below them the front, what runs and the time left."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from time import monotonic

from rich.console import Console
from rich.text import Text

from smallprint.jobs.job import EpochEnded, Job, JobEvent, RunEnded, RunLeft, RunSetAside, RunStarted, RunStopped
from smallprint.search import CandidateDrawn, MarginLearnt, SearchEnded, SearchEvent, SearchStarted
from smallprint.searching.candidate import START, Candidate
from smallprint.searching.margin import Margin
from smallprint.searching.race import ENOUGH_SEEDS, Judged
from smallprint.spec.ladder import Ladder, Rung
from smallprint.views import search_terminal, terminal
from smallprint.views.front import FrontPicture, front_picture
from smallprint.views.search_result import SearchResult
from smallprint.views.search_terminal import CandidateLines, Running
from smallprint.watching.live import LiveBar, end_of

_BESIDES = 8  # lines of the screen that are neither front nor trainings


class SearchWatch:
    """Writes a search to a console: a line for each candidate that was judged, and at its end what was found.

    On a terminal the front so far, the running trainings and the time left stand below the lines.
    """

    def __init__(
        self, ladder: Ladder, rung: Rung, console: Console, *, command: str, climb: str, seed: int = 0
    ) -> None:
        """Of a search around `rung`.

        `command` is what was typed, `climb` what trains the rung itself, `seed` what the candidates are drawn with.
        """
        self.ladder = ladder
        self.rung = rung
        self.console = console
        self._command, self._climb, self._seed = command, climb, seed
        self._candidates: dict[int, Candidate] = {}
        self._running: dict[tuple[str, int], Running] = {}  # by rung and seed
        self._images = ladder.facts.test  # held out; until the first training tells
        self._said: set[str] = set()  # what need not be said again
        # Set by the search's first event:
        self._began: SearchStarted
        self._clock: _Clock
        self._margin: Margin
        self._lines: CandidateLines
        self._picture: FrontPicture

    def show(self, events: Generator[SearchEvent, None, None]) -> SearchResult:
        """Write what happens; return what the search has come to, also by Ctrl-C.

        Raises:
            KeyboardInterrupt: Ctrl-C before the search has begun.
            SearchError: as the search does.
        """
        with LiveBar(self.console, f"{self.ladder.name}:{self.rung.name}") as bar:
            self._line(Text(terminal.printable(self.ladder.title), "bold"))
            self._line(f"promise: {self.ladder.contract}")
            ended = end_of(events, lambda heard: self._watched(heard, bar))
        assert isinstance(ended, SearchEnded), "a search that ends says so"
        result = self._result(ended)
        self.console.print("", search_terminal.result_text(result), sep="\n", soft_wrap=True)
        return result

    def _watched(self, events: Iterable[SearchEvent], bar: LiveBar) -> SearchEvent | None:
        """Write what happens until the search ends; its last event."""
        for event in events:
            if isinstance(event, SearchEnded):
                return event
            self._note(event)
            self._tell(event)
            above = self._screen() if self.console.is_terminal else None
            bar.show(search_terminal.counts_text(list(self._candidates.values())), self._clock, above)
        return None

    def _note(self, event: SearchEvent) -> None:
        """Keep track of candidates, trainings and the front."""
        match event:
            case SearchStarted():
                self._begin(event)
            case CandidateDrawn(candidate=candidate) | Judged(candidate=candidate):
                self._candidates[candidate.number] = candidate
            case MarginLearnt(margin=margin):
                self._margin = margin
            case SearchEnded():
                pass
            case _:
                self._follow(event)
        if isinstance(event, SearchStarted | Judged | MarginLearnt):
            self._picture = front_picture(
                self._candidates.values(), self._began.goal, self._margin, self.ladder.contract,
                images=self._images, enough_seeds=ENOUGH_SEEDS,
            )  # fmt: skip

    def _begin(self, event: SearchStarted) -> None:
        amount = event.goal.amount(self.ladder.trace(self.rung), self.rung.recipe, train=self.ladder.facts.train)
        self._began, self._margin, self._clock = event, event.margin, _Clock(event.spent, event.budget)
        self._lines = CandidateLines(event.goal, max(amount, event.ceiling))
        start = Candidate(number=START, rung=self.rung, amount=amount)
        self._candidates = {one.number: one for one in (start, *event.candidates)}

    def _follow(self, event: JobEvent) -> None:
        """Keep track of one training."""
        job = event.job
        match event:
            case RunStarted(stored=stored):
                candidate = self._candidate(job)
                self._running[job.name] = Running(
                    name=candidate.name if candidate else job.rung.name,
                    amount=candidate.amount if candidate else None,
                    seed=job.seed,
                    planned=job.rung.recipe.epochs,
                    epochs=stored,
                )
            case EpochEnded(epoch=epoch):
                self._images = epoch.test_total
                one = self._running[job.name]
                self._running[job.name] = replace(one, epochs=(*one.epochs, epoch))
            case RunEnded(run=run):
                self._running.pop(job.name, None)
                if run.epochs:  # of a stored run no epoch is told
                    self._images = run.epochs[-1].test_total
            case RunStopped() | RunLeft():
                self._running.pop(job.name, None)

    def _candidate(self, job: Job) -> Candidate | None:
        """Whose training a job is; None for that of a teacher, or one that tells of the margin alone."""
        name = job.rung.name.removesuffix(f"-{job.rung.recipe.epochs}-epochs")
        if name == self._candidates[START].name:
            return self._candidates[START]
        return next((one for one in self._candidates.values() if one.number != START and one.rung.name == name), None)

    def _tell(self, event: SearchEvent) -> None:
        match event:
            case SearchStarted():
                self._introduce(event)
            case MarginLearnt(margin=margin):
                self._once(f"needed: {margin.text}")
            case Judged(candidate=candidate, level=level, goes_on=goes_on, lost=lost):
                self._once(f"\n{self._lines.header}")
                self._line(self._lines.line(candidate, level, goes_on=goes_on, lost=lost))
            case RunStarted(slow=slow) if slow:
                self._once(terminal.printable(slow))
            case RunEnded(job=job, run=run) if run.status == "failed":
                self._line(f"{self._whose(job)}: failed: {terminal.printable(run.reason)}")
            case RunLeft(job=job, reason=reason):
                self._line(f"{self._whose(job)}: left out: {terminal.printable(reason)}")
            case RunSetAside(job=job, folder=folder):
                self._line(f"{self._whose(job)}: another run stood there, of an earlier search; it is kept in {folder}")

    def _introduce(self, event: SearchStarted) -> None:
        """What is looked for, how, and what an earlier part has found."""
        goal = event.goal
        self._line(
            f"search: fewer {goal.unit} than {self.rung.name}, which has {self._candidates[START].amount:,.0f}; "
            f"from {event.floor:,.0f} to {event.ceiling:,.0f}"
        )
        self._once(f"needed: {event.margin.text}")
        self._line(f"trainings: {event.placement}; kept in {event.folder}")
        left = terminal.duration(max(0.0, event.budget - event.spent))
        if event.candidates:
            counts = search_terminal.counts_text(event.candidates)
            self._line(f"an earlier part took {terminal.duration(event.spent)}: {counts}; time left: {left}")
        else:
            self._line(f"time: {left}")

    def _screen(self) -> Text:
        """The front and the running trainings, as much as the screen has room for."""
        room, running = self.console.height - _BESIDES, list(self._running.values())
        rows = max(1, min(len(running), room // 2))
        parts = [search_terminal.front_table(self._picture, room - rows)] if self._picture.rows else []
        if running:
            parts.append(search_terminal.running_table(running, self._began.goal.unit, rows))
        screen = Text("\n\n").join(parts)
        screen.no_wrap, screen.overflow = True, "ellipsis"
        return screen

    def _result(self, ended: SearchEnded) -> SearchResult:
        began = self._began
        return SearchResult(
            ladder=self.ladder, start=self.rung, goal=began.goal, floor=began.floor, ceiling=began.ceiling,
            found=ended.found, stopped=ended.stopped, enough_seeds=ENOUGH_SEEDS, images=self._images,
            command=self._command, climb=self._climb, seed=self._seed, spent=self._clock.spent, folder=began.folder,
        )  # fmt: skip

    def _whose(self, job: Job) -> str:
        candidate = self._candidate(job)
        return f"{candidate.name if candidate else job.rung.name} seed {job.seed}"

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._line(text)

    def _line(self, text: str | Text) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Clock:
    """How much of a budget is spent, by the clock."""

    def __init__(self, spent: float, budget: float) -> None:
        """In seconds."""
        self._before, self._budget, self._began = spent, budget, monotonic()

    @property
    def spent(self) -> float:
        """Seconds, in earlier parts too."""
        return self._before + monotonic() - self._began

    @property
    def share_done(self) -> float:
        """0 to 1."""
        return min(1.0, self.spent / self._budget) if self._budget > 0 else 1.0

    @property
    def seconds_left(self) -> float:
        """Until the search ends."""
        return max(0.0, self._budget - self.spent)
