"""What a search finds, beside random search and beside narrowing the starting rung, in equal time.

    python -m benchmarks search [--minutes 3] [--repeats 3] [--fresh 20] [--json]

On the embedded digits, from the last rung of the shipped ladder `digits`, under a contract that smaller networks can
keep. All three have the same time on this machine, the same workers, and the same question: the smallest network that
shows on average over three seeds what held-out images must show. `search` is `smallprint search`. `random` draws from
the same space without a memory and trains each at full length, with two more seeds if the first keeps the contract.
`narrowed` halves the interval between the floor and the starting rung's size with the starting rung's own recipe, three
seeds each, then goes on below the smallest that did. What each has found is then trained on all training images with
fresh seeds and judged on the test images, which none of them has seen.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean, median
from time import perf_counter
from typing import Any

import optuna

from benchmarks._document import Benchmark
from smallprint.climb import climb
from smallprint.jobs.job import LAST, Backlog, Job, RunEnded, Terms
from smallprint.jobs.placement import place
from smallprint.results.runs import Run
from smallprint.results.verdict import judge, worst_of_last
from smallprint.search import SearchEnded, search, tested_runs
from smallprint.searching.goal import Goal
from smallprint.searching.margin import Margin, margin
from smallprint.searching.race import ENOUGH_SEEDS
from smallprint.searching.space import Space
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.ladder_file import read_ladder
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.sweep import sweep, trainings
from smallprint.training.data import Dataset, held_out, load_dataset

CONTRACT = "accuracy >= 93%, last_epochs = 5, parameters < 1500, epochs <= 30"
FLOOR = 135  # parameters, a tenth of the starting rung's: none of the three is stopped by it
FIRST_FRESH = 5_000  # seeds that none of them has used


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The smallest network that one way has found."""

    network: Network
    recipe: Recipe
    amount: float
    held_out: float  # mean over its seeds of the worst of the last epochs, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What all three start from."""

    ladder: Ladder
    rung: Rung
    whole: Dataset
    parts: Dataset
    margin: Margin
    seconds: float
    runs: Path  # what is stored of the ladder on the test images


Ask = Callable[[], tuple[Network, Recipe, float, int]]  # network, recipe, amount, and how many seeds at once
Heard = Callable[[Answer, int], int]  # a result over so many seeds -> how many more seeds


class Trials:
    """Trainings on held-out images, for so many seconds: a network is asked for whenever there is room for one."""

    def __init__(self, field: Field, root: Path, ask: Ask, heard: Heard) -> None:
        self.field, self.trained = field, 0
        self._root, self._ask, self._heard = root, ask, heard
        self._backlog, self._until = Backlog(), perf_counter() + field.seconds
        self._runs: dict[str, list[Run]] = {}  # by trial
        self._wanted: dict[str, int] = {}  # seeds, by trial
        self._amounts: dict[str, float] = {}  # by trial

    def run(self) -> int:
        """Train until time is up; how many trainings ended."""
        field = self.field
        placement = place([Job(ladder=field.ladder, rung=field.rung, seed=seed) for seed in range(64)], field.parts)
        terms = Terms(root=self._root, device="cpu", threads=1, holder=os.getpid())
        self._fill(placement.at_once)
        with closing(trainings(self._backlog, field.parts, terms, placement)) as events:
            for event in events:
                if perf_counter() > self._until:
                    break
                if isinstance(event, RunEnded):
                    self._note(event)
                if isinstance(event, LAST):
                    self._fill(1)
        return self.trained

    def _fill(self, jobs: int) -> None:
        while len(self._backlog) < jobs and perf_counter() < self._until:
            network, recipe, amount, seeds = self._ask()
            rung = Rung(name=f"trial-{len(self._amounts)}", target="", network=network, recipe=recipe)
            self._amounts[rung.name] = amount
            self._add(rung, range(seeds))

    def _add(self, rung: Rung, seeds: range) -> None:
        self._wanted[rung.name] = seeds.stop
        ladder = replace(self.field.ladder, name="trials", rungs=(rung,))
        self._backlog.add([Job(ladder=ladder, rung=rung, seed=seed) for seed in seeds])

    def _note(self, event: RunEnded) -> None:
        rung = event.job.rung
        self.trained += 1
        runs = self._runs.setdefault(rung.name, [])
        runs.append(event.run)
        if len(runs) < self._wanted[rung.name]:
            return
        shown = fmean(_right(run, self.field.ladder) for run in runs)
        answer = Answer(
            network=rung.network, recipe=rung.recipe, amount=self._amounts[rung.name], held_out=shown
        )  # fmt: skip
        if more := self._heard(answer, len(runs)):
            self._add(rung, range(len(runs), len(runs) + more))


def by_search(field: Field, root: Path, seed: int) -> tuple[Answer | None, int]:
    """`smallprint search`."""
    trained, found = 0, None
    events = search(
        field.ladder, field.rung.name, budget=field.seconds, floor=FLOOR, seed=seed, runs=root, dataset=field.whole
    )  # fmt: skip
    for event in events:
        trained += isinstance(event, RunEnded)
        if isinstance(event, SearchEnded) and event.found.keeps and (best := event.found.best):
            shown = 1 - best.shown[-1].error
            found = Answer(network=best.rung.network, recipe=best.rung.recipe, amount=best.amount, held_out=shown)
    return found, trained


def by_chance(field: Field, root: Path, seed: int) -> tuple[Answer | None, int]:
    """Draws without a memory, each at full length."""
    space, kept = Space(field.ladder, field.rung, Goal(), floor=FLOOR), list[Answer]()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))

    def ask() -> tuple[Network, Recipe, float, int]:
        drawn = space.suggest(study.ask())
        return drawn.network, drawn.recipe, drawn.amount, 1

    def heard(answer: Answer, seeds: int) -> int:
        if seeds < ENOUGH_SEEDS:
            return ENOUGH_SEEDS - seeds if answer.held_out >= field.margin.line else 0
        kept.extend([answer] if answer.held_out >= field.margin.needed else [])
        return 0

    trained = Trials(field, root, ask, heard).run()
    return _smallest(kept), trained


def by_narrowing(field: Field, root: Path, seed: int) -> tuple[Answer | None, int]:
    """The starting rung with fewer and fewer channels."""
    space, kept, draw = Space(field.ladder, field.rung, Goal(), floor=FLOOR), list[Answer](), Random(seed)
    low, high = space.floor, space.ceiling

    def ask() -> tuple[Network, Recipe, float, int]:
        target = (low + high) / 2 if high > 1.02 * low else draw.uniform(space.floor, high)
        drawn = space.scaled(target)
        return drawn.network, drawn.recipe, drawn.amount, ENOUGH_SEEDS

    def heard(answer: Answer, seeds: int) -> int:
        nonlocal low, high
        if answer.held_out >= field.margin.needed:
            kept.append(answer)
            high = min(high, answer.amount)
        else:
            low = max(low, min(answer.amount, high))
        return 0

    trained = Trials(field, root, ask, heard).run()
    return _smallest(kept), trained


WAYS = {"search": by_search, "random": by_chance, "narrowed": by_narrowing}


def prepared(seconds: float, folder: Path) -> Field:
    """The starting rung trained on all training images and on a part of them, so that all three know the margin."""
    ladder = read_ladder("digits")
    ladder = replace(ladder, contract=ladder.contract.amend(CONTRACT))
    rung, whole = ladder.rungs[-1], load_dataset("digits")
    parts = held_out(whole)
    measured = []
    for name, data in (("digits", whole), ("digits-held-out", parts)):
        own = replace(ladder, name=name)
        list(climb(own, rungs=[rung.name], seeds=ENOUGH_SEEDS, runs=folder, dataset=data, workers="auto"))
        measured.append(tested_runs(own, folder, data.fingerprint))
    found = margin(ladder.contract, measured[0], measured[1], parts.facts.test)
    return Field(ladder=ladder, rung=rung, whole=whole, parts=parts, margin=found, seconds=seconds, runs=folder)


def on_test_images(field: Field, answer: Answer, fresh: int, root: Path) -> dict[str, Any]:
    """What has been found, on all training images with fresh seeds."""
    rung = Rung(name="found", target="", network=answer.network, recipe=answer.recipe)
    ladder = replace(field.ladder, name="fresh", rungs=(rung,))
    jobs = [Job(ladder=ladder, rung=rung, seed=FIRST_FRESH + seed) for seed in range(fresh)]
    ended = [event.run for event in sweep(jobs, field.whole, root, workers="auto") if isinstance(event, RunEnded)]
    verdict = judge(ladder.contract, ended)
    return {"passed": verdict.passed, "of": verdict.of, "mean": fmean(_right(run, ladder) for run in ended)}


def main() -> None:
    benchmark = Benchmark("search", __doc__)
    add = benchmark.parser.add_argument
    add("--minutes", type=float, default=3.0, help="that each way has (default 3)")
    add("--repeats", type=int, default=3, help="of each way, with another seed (default 3)")
    add("--fresh", type=int, default=20, help="seeds on the test images (default 20)")
    said = benchmark.read()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        field = prepared(60 * said.minutes, Path(folder) / "stored")
        rounds: list[dict[str, Any]] = []
        for repeat in range(said.repeats):
            for name, way in WAYS.items():
                home = Path(folder) / f"{name}-{repeat}"
                if name == "search":  # it learns the margin from what is stored, as the others were told it
                    shutil.copytree(field.runs / "digits", home / "digits")
                answer, trained = way(field, home, repeat)
                rounds.append(
                    {"way": name, "repeat": repeat, "trainings": trained, **_noted(field, answer, said, home)}
                )
    found = {
        "start": {"rung": field.rung.name, "parameters": field.ladder.trace(field.rung).parameters},
        "contract": str(field.ladder.contract),
        "needed": field.margin.needed,
        "rounds": rounds,
    }
    benchmark.tell(said, found, told(found))


def _noted(field: Field, answer: Answer | None, said: argparse.Namespace, home: Path) -> dict[str, Any]:
    if answer is None:
        return {"parameters": None}
    return {
        "parameters": answer.amount,
        "held_out": answer.held_out,
        "network": answer.network.line,
        "recipe": answer.recipe.sentences(),
        "test": on_test_images(field, answer, said.fresh, home),
    }


def _smallest(kept: Sequence[Answer]) -> Answer | None:
    return min(kept, key=lambda answer: answer.amount, default=None)


def _right(run: Run, ladder: Ladder) -> float:
    """Share of images that the worst of the last epochs got right."""
    worst = worst_of_last(run, ladder.contract.last_epochs) if run.status == "finished" else None
    return worst[1] / worst[2] if worst else 0.0


def told(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"from {found['start']['parameters']:,} parameters; {found['contract']}"]
    lines.append(f"held-out images must show {100 * found['needed']:.2f}%")
    for one in found["rounds"]:
        head = f"{one['way']:>9} {one['repeat']}  {one['trainings']:>5} trainings"
        if one["parameters"] is None:
            lines.append(f"{head}  nothing found")
            continue
        test = one["test"]
        lines.append(
            f"{head}  {one['parameters']:>6,.0f} parameters  {100 * one['held_out']:.2f}% held out  "
            f"{test['passed']} of {test['of']} fresh seeds keep it on the test images"
        )
    for name in WAYS:
        sizes = [one["parameters"] for one in found["rounds"] if one["way"] == name and one["parameters"]]
        lines.append(f"{name:>9}: median {median(sizes):,.0f} parameters" if sizes else f"{name:>9}: nothing found")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
