"""Searches that nobody ran: candidates with made-up results, in a real race."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from smallprint.jobs.job import EpochEnded, RunEnded, RunStarted
from smallprint.jobs.placement import Placement
from smallprint.results.runs import Environment, Epoch, Run
from smallprint.search import CandidateDrawn, SearchEnded, SearchEvent, SearchStarted
from smallprint.searching.candidate import START, Candidate, Fate
from smallprint.searching.goal import Goal
from smallprint.searching.margin import Margin
from smallprint.searching.race import ENOUGH_SEEDS, Found, Race
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.network import Network
from smallprint.views.search_result import SearchResult
from tests.searching.candidates import candidate, ladder

IMAGES = 1_000
COMMAND = "smallprint search small:start --budget 10m"
CLIMB = "smallprint climb small --rung start --seeds 3 --runs runs"
MARGIN = Margin(  # 90.6% needed
    promised=0.90, offset=0.01, offset_noise=0.0, noise=0.01, rate=0.9, rungs=3, seeds=4
)
HERE = Environment(smallprint="0", python="3", torch="2", numpy="2", platform="any", device="cpu", threads=1)


def raced(*candidates: Candidate, margin: Margin = MARGIN, of: Ladder | None = None, amount: float = 760) -> Race:
    """A race that these candidates have been through."""
    of = of or ladder()
    race = Race(of, of.rungs[0], amount, IMAGES, margin)
    for one in candidates:
        race.candidates[one.number] = one
    return race


def result(
    folder: Path, found: Found, of: Ladder | None = None, goal: str = "parameters", *, stopped: bool = False
) -> SearchResult:
    """What a search around the first rung of a ladder has come to."""
    of = of or ladder()
    return SearchResult(
        ladder=of, start=of.rungs[0], goal=Goal(name=goal), floor=200, ceiling=760, found=found, stopped=stopped,
        enough_seeds=ENOUGH_SEEDS, images=IMAGES, command=COMMAND, climb=CLIMB, seed=7, spent=754.0, folder=folder,
    )  # fmt: skip


def drawn(number: int, amount: float, *errors: tuple[float, ...], fate: Fate = "dropped", why: str = "") -> Candidate:
    """A candidate with a network and a name of its own."""
    network = Network.parse("after conv3: batchnorm relu; conv3-4 conv3-6 gap conv1-10,bare")
    rung = replace(ladder().rungs[0], name=f"candidate-{number}", network=network)
    return replace(candidate(number, amount, *errors, rung=rung), fate=fate, why=why)


def some(*, keeps: bool = True) -> tuple[Candidate, ...]:
    """The start, a keeper (or one that comes near), and others that were dropped on the way."""
    full = (0.05, 0.06, 0.07) if keeps else (0.10, 0.11, 0.12)
    behind = "3 of 4 did better at this level"
    start: Rung = replace(ladder().rungs[0], name="start")
    return (
        candidate(START, 760, (0.3,), (0.2,), (0.06,), (0.06, 0.05, 0.04), rung=start),
        drawn(0, 500, (0.3,), (0.2,), (full[0],), full, (*full, *full, *full[:2]), fate="tested"),
        drawn(1, 300, (0.4,), (0.25,), (0.12,), why=behind),
        drawn(2, 640, (0.6,), why=behind),
        drawn(3, 640, (1.0,), why="it diverged"),
        replace(drawn(4, 500, (0.3,), (0.2,), why="the same as #0"), twin_of=0),
        drawn(5, 420, (0.35,), fate="racing"),
    )


def epoch(number: int, right: int) -> Epoch:
    """One epoch with so many of the held-out images right."""
    return Epoch(
        epoch=number, learning_rate=0.1, train_loss=1, train_correct=1, train_total=1, test_loss=1, test_correct=right,
        test_total=IMAGES, seconds=1,
    )  # fmt: skip


def events(
    folder: Path, rights: Sequence[tuple[Candidate, Sequence[int]]], *, earlier: Sequence[Candidate] = ()
) -> Iterator[SearchEvent]:
    """A search in which each candidate has so many images right, level by level, as long as it goes on."""
    race = raced()
    yield SearchStarted(
        goal=Goal(), floor=200, ceiling=760, margin=MARGIN, placement=Placement(device="cpu", at_once=2),
        candidates=tuple(earlier), spent=60.0 if earlier else 0.0, budget=600.0, folder=folder,
    )  # fmt: skip
    for one in earlier:
        race.enter(one)
    for one, levels in [(race.candidates[START], [850, 900, 950, 955]), *rights]:
        jobs = race.enter(one)
        if one.number != START:
            yield CandidateDrawn(candidate=one)
        for right in levels:
            judged = None
            for job in jobs:
                yield RunStarted(job=job, stored=())
                epochs = tuple(epoch(number, right) for number in range(1, job.rung.recipe.epochs + 1))
                for each in epochs:
                    yield EpochEnded(job=job, epoch=each)
                run = Run(
                    ladder="candidates", rung=job.rung.name, seed=job.seed, status="finished", identity="", data="",
                    parameters=1, macs=1, planned=len(epochs), environment=HERE, epochs=epochs,
                )  # fmt: skip
                ended = RunEnded(job=job, run=run, reused=False)
                judged = race.hear(ended)
                yield ended
            assert judged
            yield judged
            jobs = race.go_on(judged.candidate) if judged.goes_on else []
            if not jobs:
                break
    yield SearchEnded(found=race.found())
