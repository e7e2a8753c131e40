"""Eight seeds of a rung from the command to the verdict: the course loop, PyTorch side by side, and ours.

    python -m benchmarks contract [--of progressive:steplr-sgd] [--seeds 8] [--rounds 3] [--part SEEDS,EPOCHS] [--json]

`ours` is the command itself, `smallprint climb LADDER --rung RUNG --seeds 8 --workers auto`, started as a process of
its own into an empty folder for its runs, from the start of Python to the verdict and the report. `course` is the loop
of the course notebooks, one seed after the other with all cores, testing after every epoch as they do. `pytorch` is
what the same command does where there is no C compiler: the package's own PyTorch step, one training of one thread on
every core. These two take hours; they are measured on the first images of an epoch and of its test, and scaled. Their
start-up is left out. In a round they are measured before and after ours, and the mean counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks._command import whole
from benchmarks._course import BATCH, course_network, course_testing, course_training
from benchmarks._document import Benchmark
from benchmarks._sides import first_images
from benchmarks._turns import Side, Work, ratio
from smallprint.results.runs import Run, read_runs
from smallprint.spec.ladder import Ladder, Rung
from smallprint.training import machine
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.model import build
from smallprint.training.trainer import Trainer

RUNG = "progressive:steplr-sgd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is trained, and how much of it."""

    ladder: Ladder
    rung: Rung
    seeds: int
    part: tuple[int, int]  # seeds and epochs of ours that are trained; all of them unless only a look is wanted

    @property
    def epochs(self) -> int:
        return self.rung.recipe.epochs


def part_of(asked: Asked, images: int) -> tuple[Dataset, float]:
    """The first training images and the same share of the test images; and that share."""
    dataset = load_dataset(asked.ladder.data)
    train, test = len(dataset.train_labels_N), len(dataset.test_labels_N)
    share = min(images, train) / train
    return first_images(dataset, min(images, train), round(test * share)), share


def prepare_course(asked: Asked, images: int) -> Work:
    """Seconds of an epoch and its test by the notebooks' loop, scaled to all images."""
    dataset, share = part_of(asked, images)
    of_source = f"{asked.ladder.name}:{asked.rung.name}" == RUNG
    model = course_network() if of_source else build(asked.ladder.trace(asked.rung), seed=0)
    batch = BATCH if of_source else asked.rung.recipe.batch
    train, test = course_training(dataset, model, batch=batch), course_testing(dataset, model, batch=batch)

    def epoch() -> float:
        return (train() + test()) / share

    epoch()  # what is done once for all epochs must not be scaled
    return epoch


def prepare_pytorch(asked: Asked, images: int) -> Work:
    """Seconds of an epoch and its test by the package's PyTorch step with one thread, scaled to all images."""
    dataset, share = part_of(asked, images)
    recipe = replace(asked.rung.recipe, epochs=1000)  # as many as any number of rounds asks for
    trainer = Trainer(asked.ladder.trace(asked.rung), recipe, dataset, seed=0, threads=1, way="pytorch")
    epochs = iter(trainer)
    next(epochs)  # what is done once for all epochs must not be scaled
    return lambda: next(epochs).seconds / share


def side_by_side(sides: list[Side]) -> float:
    """Seconds until all of them are done."""
    for side in sides:
        side.start()
    return max([side.seconds() for side in sides])


def climbed(asked: Asked) -> tuple[float, str]:
    """Seconds that the command takes, and the verdict it comes to."""
    seeds, epochs = asked.part
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        ladder: str | Path = asked.ladder.name
        if epochs < asked.epochs:
            shorter = replace(asked.rung, recipe=replace(asked.rung.recipe, epochs=epochs))
            ladder = runs / f"{asked.ladder.name}.toml"
            ladder.write_text(asked.ladder.only(shorter), encoding="utf-8")
        options = ("--rung", asked.rung.name, "--seeds", str(seeds), "--workers", "auto", "--runs", runs, "--json")
        seconds, printed = whole("climb", ladder, *options)
        verdict = json.loads(printed)["rungs"][0]["verdict"]
        return scaled(seconds, read_runs(runs, asked.ladder.name, asked.rung.name), asked), str(verdict["text"])


def scaled(seconds: float, trained: tuple[Run, ...], asked: Asked) -> float:
    """Seconds of all seeds and epochs, from those of the part: what is missing is taken as like what was trained.

    Only epochs are added: start-up and report are in the part already.
    """
    seeds, epochs = asked.part
    if asked.part == (asked.seeds, asked.epochs):
        return seconds
    an_epoch = fmean(epoch.seconds for run in trained for epoch in run.epochs)
    in_a_row, of_the_part = -(-asked.seeds // machine.cores()), -(-seeds // machine.cores())
    return seconds + an_epoch * (in_a_row * asked.epochs - of_the_part * epochs)


def measure(asked: Asked, images: int, rounds: int) -> tuple[dict[str, list[float]], str]:
    """Seconds of all seeds to the verdict by every side, in turn; and the verdict."""
    in_a_row, at_once = asked.seeds * asked.epochs, -(-asked.seeds // machine.cores()) * asked.epochs
    measured: dict[str, list[float]] = {"course": [], "pytorch": [], "ours": []}
    with ExitStack() as stack:
        course = stack.enter_context(Side(prepare_course, asked, images))
        crew = [stack.enter_context(Side(prepare_pytorch, asked, images)) for _ in range(machine.cores())]
        for _ in range(rounds):
            before = course(), side_by_side(crew)
            ours, verdict = climbed(asked)
            after = side_by_side(crew), course()
            measured["course"].append(in_a_row * fmean((before[0], after[1])))
            measured["pytorch"].append(at_once * fmean((before[1], after[0])))
            measured["ours"].append(ours)
    return measured, verdict


def main() -> None:
    benchmark = Benchmark("contract", __doc__)
    add = benchmark.parser.add_argument
    add("--of", default=RUNG, metavar="LADDER:RUNG", help=f"what is trained (default {RUNG})")
    add("--seeds", type=int, default=8, help="seeds to the verdict (default 8)")
    add("--rounds", type=int, default=3, help="of all sides, in turn (default 3)")
    add("--images", type=int, default=6_400, help="of an epoch that the other sides train, scaled (default 6,400)")
    add("--part", metavar="SEEDS,EPOCHS", help="train only so much of ours too, and scale it: a quick look")
    said = benchmark.read()
    asked = _asked(benchmark, said)
    measured, verdict = measure(asked, said.images, said.rounds)
    ratios = {side: ratio(measured[side], measured["ours"]) for side in ("course", "pytorch")}
    found = {
        "ratio": ratios["course"]["median"],
        "rung": f"{asked.ladder.name}:{asked.rung.name}",
        "seeds": asked.seeds,
        "epochs": asked.epochs,
        "scaled": ["course", "pytorch", *([] if said.part is None else ["ours"])],
        "verdict": verdict if said.part is None else None,
        "seconds": measured,
        "runs_per_hour": {side: 3600 * asked.seeds / median(seconds) for side, seconds in measured.items()},
        "ratios": ratios,
    }
    benchmark.tell(said, found, told(found))


def _asked(benchmark: Benchmark, said: argparse.Namespace) -> Asked:
    (ladder, rung), parser = benchmark.rung(said.of), benchmark.parser
    if ladder.facts.input_shape[0] != 1:
        parser.error("the course loop reads grey images")
    try:
        seeds, epochs = map(int, said.part.split(",")) if said.part else (said.seeds, rung.recipe.epochs)
    except ValueError:
        parser.error(f"--part {said.part!r} is no pair of numbers, as in --part 2,1")
    if not (1 <= seeds <= said.seeds and 1 <= epochs <= rung.recipe.epochs):
        parser.error(f"--part is at least 1,1 and at most {said.seeds},{rung.recipe.epochs}: {said.part}")
    return Asked(ladder=ladder, rung=rung, seeds=said.seeds, part=(seeds, epochs))


def told(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{found['seeds']} seeds of {found['rung']}, {found['epochs']} epochs each: minutes to the verdict, median "
        "(all rounds); runs per hour; times ours, median (lowest to highest)"
    ]
    for side, seconds in found["seconds"].items():
        minutes = ", ".join(f"{second / 60:.1f}" for second in seconds)
        times = found["ratios"].get(side)
        compared = f"{times['median']:.1f} ({times['lowest']:.1f} to {times['highest']:.1f})" if times else ""
        note = "  (scaled from a part)" if side in found["scaled"] else ""
        per_hour = found["runs_per_hour"][side]
        lines.append(f"{side:>9} {median(seconds) / 60:7.1f}  ({minutes}) {per_hour:7.1f}  {compared}{note}")
    return "\n".join([*lines, *([found["verdict"]] if found["verdict"] else [])])


if __name__ == "__main__":
    main()
