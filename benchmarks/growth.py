"""How cost grows: with width, depth, image size, batch, images, seeds, and runs that are stored.

    python -m benchmarks growth [--of width,depth,...] [--sizes 4,8,16] [--rounds 3] [--json]

Each growth measures the same work at several sizes, in turn, and fits seconds = factor * size ** exponent by least
squares of the logarithms. Beside it stands the exponent of the work itself (multiply-adds, or how many there are): a
cost that grows clearly faster than its work is marked. Steps are those of the native step with one thread, on random
images. Stored runs are written by the package's own writer into a temporary folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from math import log
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any
from unittest import mock

import numpy as np

from benchmarks._document import Benchmark
from benchmarks._stored import Shelf
from benchmarks._turns import Work, in_turn
from smallprint.climb import climb
from smallprint.results.assessment import assess_stored
from smallprint.results.runs import read_runs
from smallprint.spec.dataset import DATASETS
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import read_ladder
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Trace, trace
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.native.compiler import find_compiler, load_library
from smallprint.training.native.plan import plan
from smallprint.training.native.source import write_source
from smallprint.training.trainer import Trainer

STEEPER = 0.15  # by which an exponent exceeds its work's before it is marked
_STEPS = 8  # of an epoch whose steps are timed
_RECIPE = Recipe.parse({"optimiser": "sgd lr=0.01 momentum=0.9", "batch": 64, "epochs": 1000})

Prepare = Callable[[int, ExitStack], Work]  # what a size needs, and what is done with it; the stack cleans up


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """One cost against one size."""

    title: str
    size: str  # what the size counts
    cost: str  # what the seconds are of
    sizes: tuple[int, ...]
    prepare: Prepare
    work: Callable[[int], float] = float  # what a fair cost is proportional to


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """seconds = factor * size ** exponent."""

    factor: float
    exponent: float


def fit(sizes: Sequence[float], costs: Sequence[float]) -> Fit:
    """Least squares of the logarithms; at least two different sizes."""
    xs, ys = [log(size) for size in sizes], [log(cost) for cost in costs]
    x, y = fmean(xs), fmean(ys)
    exponent = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)
    return Fit(factor=float(np.exp(y - exponent * x)), exponent=exponent)


def of_width(width: int) -> Trace:
    network = f"after conv3: relu batchnorm; conv3-{width} conv3-{width} maxpool conv3-{width} gap conv1-10"
    return trace(Network.parse(network), (1, 28, 28))


def of_depth(depth: int) -> Trace:
    layers = " ".join(depth * ["conv3-8,pad=1"])
    return trace(Network.parse(f"after conv3: relu batchnorm; {layers} gap conv1-10"), (1, 14, 14))


def of_side(side: int) -> Trace:
    network = "after conv3: relu batchnorm; conv3-8,pad=1 conv3-8,pad=1 maxpool conv3-8,pad=1 gap conv1-10"
    return trace(Network.parse(network), (1, side, side))


def random_images(count: int, side: int) -> Dataset:
    """Images of noise with labels at random: what they show costs nothing."""
    chance = np.random.default_rng(0)
    shape, labels = (1, side, side), chance.integers(0, 10, count)
    facts = replace(DATASETS["mnist"], input_shape=shape)
    images = chance.integers(0, 256, (count, *shape), dtype=np.uint8)
    return Dataset(
        facts=facts, train_images_NCHW=images, train_labels_N=labels, test_images_NCHW=images[:1],
        test_labels_N=labels[:1],
    )  # fmt: skip


def steps_of(traced: Trace, batch: int = 64) -> Work:
    """Seconds of one step."""
    dataset = random_images(_STEPS * batch, traced.steps[0].input_shape[1])
    trainer = Trainer(traced, replace(_RECIPE, batch=batch), dataset, seed=0, threads=1, way="native")
    epochs = iter(trainer)
    next(epochs)
    return lambda: next(epochs).seconds / _STEPS


def whole_epoch(images: int) -> Work:
    """Seconds of one epoch."""
    recipe = replace(_RECIPE, batch=128)
    epochs = iter(Trainer(of_width(4), recipe, random_images(images, 28), seed=0, threads=1, way="native"))
    next(epochs)
    return lambda: next(epochs).seconds


def compiling(depth: int, stack: ExitStack) -> Work:
    """Seconds to write and compile the C of a network."""
    traced = of_depth(depth)

    def compile_it() -> float:
        with tempfile.TemporaryDirectory() as empty, mock.patch.dict(os.environ, XDG_CACHE_HOME=empty):
            begun = perf_counter()
            compiler = find_compiler()
            load_library(compiler, write_source(plan(traced), registers=compiler.registers))
            return perf_counter() - begun

    return compile_it


@cache
def digits() -> Dataset:
    return load_dataset("digits")


@cache
def shelf(ladder: str, rungs: int, data: str = "random") -> Shelf:
    """Stored runs of the first rungs of a shipped ladder."""
    return Shelf(first_rungs(ladder, rungs), data)


def first_rungs(name: str, rungs: int) -> Ladder:
    ladder = read_ladder(name)
    return replace(ladder, rungs=ladder.rungs[:rungs])


def training_seeds(seeds: int, stack: ExitStack) -> Work:
    """Seconds to train so many seeds of a rung for three epochs, one after the other, store and judge them."""
    ladder = first_rungs("digits", 1)
    short = replace(ladder.rungs[0], recipe=replace(ladder.rungs[0].recipe, epochs=3))

    def train() -> float:
        with tempfile.TemporaryDirectory() as runs:
            return climbing(replace(ladder, rungs=(short,)), seeds, Path(runs))

    return train


def climbing_again(seeds: int, stack: ExitStack) -> Work:
    """Seconds of a climb that finds every seed of its rung trained."""
    root = shelf("digits", 1, digits().fingerprint).first(seeds, stack)
    return lambda: climbing(first_rungs("digits", 1), seeds, root)


def climbing(ladder: Ladder, seeds: int, runs: Path) -> float:
    begun = perf_counter()
    for _ in climb(ladder, seeds=seeds, runs=runs, dataset=digits(), threads=1):
        pass
    return perf_counter() - begun


def judging(runs: int, stack: ExitStack) -> Work:
    """Seconds to read, judge and diagnose so many runs of one rung."""
    ladder = first_rungs("progressive", 1)
    root = shelf(ladder.name, 1).first(runs, stack)

    def judge() -> float:
        begun = perf_counter()
        (result,) = assess_stored(ladder, root)
        assert len(result.runs) == runs
        return perf_counter() - begun

    return judge


def listing_runs(runs: int, stack: ExitStack) -> Work:
    """Seconds to read so many runs, spread over the rungs of a ladder."""
    ladder = read_ladder("progressive")
    root = shelf(ladder.name, len(ladder.rungs)).first(runs, stack)

    def read() -> float:
        begun = perf_counter()
        found = sum(len(read_runs(root, ladder.name, rung.name)) for rung in ladder.rungs)
        assert found == runs
        return perf_counter() - begun

    return read


def _of_trace(traced: Callable[[int], Trace]) -> tuple[Prepare, Callable[[int], float]]:
    """Seconds of a step of such a network, and its multiply-adds."""
    return (lambda size, stack: steps_of(traced(size))), (lambda size: float(traced(size).macs))


_width, _depth, _side = (_of_trace(traced) for traced in (of_width, of_depth, of_side))
_RUNS = (100, 300, 1_000)
GROWTHS: dict[str, Growth] = {
    "width": Growth(
        title="Width", size="channels", cost="a step", sizes=(4, 8, 16, 32, 64), prepare=_width[0], work=_width[1]
    ),
    "depth": Growth(
        title="Depth", size="3 x 3 layers", cost="a step", sizes=(1, 2, 4, 8, 16), prepare=_depth[0], work=_depth[1]
    ),
    "side": Growth(
        title="Image size", size="pixels a side", cost="a step", sizes=(8, 12, 16, 24, 32, 48), prepare=_side[0],
        work=_side[1],
    ),
    "batch": Growth(
        title="Batch", size="images", cost="a step", sizes=(16, 32, 64, 128, 256, 512, 1024),
        prepare=lambda batch, stack: steps_of(of_width(4), batch),
    ),
    "images": Growth(
        title="Data set", size="training images", cost="an epoch", sizes=(1_250, 2_500, 5_000, 10_000, 20_000, 40_000),
        prepare=lambda images, stack: whole_epoch(images),
    ),
    "compiling": Growth(
        title="Compiling", size="3 x 3 layers", cost="compiling", sizes=(1, 2, 4, 8, 16),
        prepare=compiling,
    ),
    "trained": Growth(
        title="Seeds trained", size="seeds", cost="a climb", sizes=(1, 2, 4, 8, 16), prepare=training_seeds
    ),
    "stored": Growth(
        title="Seeds found trained", size="stored seeds", cost="finding them trained", sizes=_RUNS,
        prepare=climbing_again,
    ),
    "judged": Growth(title="Judging", size="stored runs", cost="judging them", sizes=_RUNS, prepare=judging),
    "listed": Growth(
        title="Listing", size="stored runs", cost="reading them", sizes=(*_RUNS, 3_000, 10_000), prepare=listing_runs
    ),
}  # fmt: skip


def measure(growth: Growth, sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """All sizes in turn, so many rounds, and what they fit."""
    with ExitStack() as stack:
        works = {str(size): growth.prepare(size, stack) for size in sizes}
        in_turn(works, 1)  # what is done once: imports, first touches of memory
        seconds = in_turn(works, rounds)
    fitted = fit(sizes, [median(seconds[str(size)]) for size in sizes])
    work = fit(sizes, [growth.work(size) for size in sizes]).exponent
    return {
        "title": growth.title, "size": growth.size, "cost": growth.cost, "sizes": list(sizes),
        "seconds": [seconds[str(size)] for size in sizes],
        "factor": fitted.factor, "exponent": fitted.exponent, "exponent_of_work": work,
        "steeper": fitted.exponent > work + STEEPER,
    }  # fmt: skip


def main() -> None:
    benchmark = Benchmark("growth", __doc__)
    add = benchmark.parser.add_argument
    add("--of", default=",".join(GROWTHS), help=f"some of {','.join(GROWTHS)} (default: all)")
    add("--sizes", help="instead of a growth's own, as in 4,8,16; at least two")
    add("--most", type=int, help="leave larger sizes out, but for the two smallest of each growth")
    add("--rounds", type=int, default=3, help="of all sizes, in turn (default 3)")
    asked = benchmark.read()
    names = asked.of.split(",")
    if unknown := set(names) - set(GROWTHS):
        benchmark.parser.error(f"no growth is called {', '.join(sorted(unknown))}; known: {', '.join(GROWTHS)}")
    own = {int(size) for size in asked.sizes.split(",")} if asked.sizes else set()
    if len(own) == 1 or min(own, default=1) < 1:
        benchmark.parser.error(f"--sizes {asked.sizes!r}: two or more different sizes, each at least 1")
    results = {}
    for name in names:
        sizes = sorted(own or GROWTHS[name].sizes)
        kept = [size for size in sizes if asked.most is None or size <= asked.most or size in sizes[:2]]
        results[name] = measure(GROWTHS[name], kept, asked.rounds)
    benchmark.tell(asked, {"results": results}, "\n".join(map(told, results.values())))


def told(result: dict[str, Any]) -> str:
    """One growth for people."""
    pairs = zip(result["sizes"], result["seconds"], strict=True)
    costs = ", ".join(f"{size:,}: {median(seconds):.3g}" for size, seconds in pairs)
    mark = "  steeper than its work" if result["steeper"] else ""
    return (
        f"{result['title']} (seconds of {result['cost']} by {result['size']}): {costs}\n"
        f"    grows with the power {result['exponent']:.2f}, its work with {result['exponent_of_work']:.2f}{mark}"
    )


if __name__ == "__main__":
    main()
