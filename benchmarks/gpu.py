"""Many seeds of one network on a GPU: alone, as a CUDA graph, and stacked into one computation.

    python -m benchmarks gpu [--seeds 1,16,64,256,1024] [--precision float32,bfloat16] [--accuracy N] [--json]

Timed are steps of training after some to warm up, the drawing and uploading of an epoch, and the look at the test
images; a run is a rung's whole training, made up of them. `eager` is one seed by PyTorch's step, every other line is a
stack of so many seeds; 1 of them is one seed as a CUDA graph. The share of the memory's speed is against a large copy
in the same run, with the bytes that training must move at least (`stack.traffic`). With `--accuracy N`, N seeds are
trained to their end in stacks as large as the largest timed, and what they reach is held against as many seeds trained
one by one (`--alone`). Without a GPU it says so and ends with status 2; `--device cpu` goes through the same code.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from statistics import fmean, median, stdev
from time import perf_counter
from typing import Any

import torch
from scipy.stats import mannwhitneyu, ttest_ind

from benchmarks._document import Benchmark
from smallprint.results.runs import Precision
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Trace
from smallprint.training import machine
from smallprint.training.data import Dataset, load_dataset
from smallprint.training.draws import Draws
from smallprint.training.eager import PyTorchStep
from smallprint.training.native.initial import initial_state
from smallprint.training.native.plan import plan
from smallprint.training.stack import PRECISIONS, Stack, bytes_needed, traffic
from smallprint.training.stack.batches import Images
from smallprint.training.stack.engine import Engine
from smallprint.training.trainer import Trainer

_WARM_UP = 3  # steps
_ROUNDS = 3  # of the timed steps; the median counts
_COPIES = 5  # of which the fastest says how fast memory is
_STRANGERS = 1_000_000  # first of the seeds that are trained one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is trained, and where."""

    trace: Trace
    recipe: Recipe
    dataset: Dataset
    device: torch.device

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return -(-len(self.dataset.train_labels_N) // self.recipe.batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """So many seeds trained together."""

    way: str  # eager, or stack
    precision: str
    seeds: int
    step: float  # seconds
    draw: float  # seconds to draw an epoch, on the host while the device trains
    upload: float  # seconds to hand it over
    test: float  # seconds of a look at the test images
    traffic: int  # bytes a step must move at least

    def runs_per_hour(self, subject: Subject) -> float:
        """Whole trainings."""
        trained = max(self.draw, subject.steps * self.step)
        return 3600 * self.seeds / (subject.recipe.epochs * (trained + self.upload + self.test))


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done some work."""
    _wait(device)
    started = perf_counter()
    work()
    _wait(device)
    return perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bandwidth(device: torch.device, size: int) -> float:
    """Bytes per second that a copy of `size` bytes reads and writes; the best of a few."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * size / min(timed(lambda: target.copy_(source), device) for _ in range(_COPIES))


def one_by_one(subject: Subject, steps: int) -> Timed:
    """One seed, PyTorch starting every kernel for itself."""
    planned, recipe = plan(subject.trace), subject.recipe
    step = PyTorchStep(
        subject.trace, planned, recipe, subject.dataset, 0,
        device=str(subject.device), threads=machine.threads_for(subject.trace.macs * recipe.batch),
    )  # fmt: skip
    started = perf_counter()
    draws = Draws.of(0, 0, len(subject.dataset.train_labels_N), recipe)
    draw = perf_counter() - started
    upload = timed(lambda: step.begin(draws), subject.device)
    return Timed(
        way="eager",
        precision="float32",
        seeds=1,
        step=_step(lambda: step.train(0, recipe.batch, recipe.optimiser.rates, 0), subject, steps),
        draw=draw,
        upload=upload,
        test=timed(lambda: step.logits(subject.dataset.test_images_NCHW), subject.device),
        traffic=recipe.batch * traffic(subject.trace),
    )


def stacked(subject: Subject, images: Images, seeds: int, steps: int, precision: Precision) -> Timed:
    """So many seeds at once."""
    planned, recipe, total = plan(subject.trace), subject.recipe, len(subject.dataset.train_labels_N)
    recipes, states = [recipe] * seeds, [initial_state(planned, seed) for seed in range(seeds)]
    engine = Engine(subject.trace, planned, recipes, images, states, 0, precision=PRECISIONS[precision])
    started = perf_counter()
    with ThreadPoolExecutor(machine.cores()) as pool:
        draws = list(pool.map(lambda seed: Draws.of(seed, 0, total, recipe), range(seeds)))
    draw = perf_counter() - started
    numbers = engine.numbers_SUK.new_zeros(engine.numbers_SUK.shape).cpu().numpy()
    numbers[:, 2:4] = 1  # a step of no size moves the same bytes
    engine.begin(draws, numbers)  # the first is slower
    upload = timed(lambda: engine.begin(draws, numbers), subject.device)

    def step() -> None:
        engine.step.zero_()
        engine.train(recipe.batch)

    value = PRECISIONS[precision].itemsize
    return Timed(
        way="stack",
        precision=precision,
        seeds=seeds,
        step=_step(step, subject, steps),
        draw=draw,
        upload=upload,
        test=timed(lambda: engine.judged(engine.logits(images.test_NCHW), images.test_labels_N), subject.device),
        traffic=seeds * recipe.batch * traffic(subject.trace, value),
    )


def _step(step: Callable[[], None], subject: Subject, steps: int) -> float:
    """Seconds of one, the median of a few rounds."""

    def several() -> None:
        for _ in range(steps):
            step()

    for _ in range(_WARM_UP):
        step()
    return median(timed(several, subject.device) for _ in range(_ROUNDS)) / steps


def accuracy(subject: Subject, count: int, at_once: int, precision: Precision, alone: int) -> dict[str, Any]:
    """Test images that whole trainings get right: in stacks, and beside them one by one."""
    together: list[int] = []
    started = perf_counter()
    for first in range(0, count, at_once):
        seeds = range(first, min(count, first + at_once))
        stack = Stack(
            subject.trace, [subject.recipe] * len(seeds), subject.dataset, seeds,
            device=str(subject.device), precision=precision,
        )  # fmt: skip
        for _ in stack:
            pass
        together += [epochs[-1].test_correct for epochs in stack.epochs]
    seconds = perf_counter() - started
    others = []
    for seed in range(_STRANGERS, _STRANGERS + alone):
        *_, last = Trainer(subject.trace, subject.recipe, subject.dataset, seed)
        others.append(last.test_correct)
    found: dict[str, Any] = {
        "precision": precision, "seconds": seconds, "of": len(subject.dataset.test_labels_N),
        "stacked": _distribution(together), "alone": _distribution(others),
    }  # fmt: skip
    if len(together) > 1 and len(others) > 1:
        found["same_mean_p"] = float(ttest_ind(together, others, equal_var=False).pvalue)
        found["same_distribution_p"] = float(mannwhitneyu(together, others).pvalue)
    return found


def _distribution(correct: Sequence[int]) -> dict[str, Any]:
    return {
        "correct": list(correct),
        "mean": fmean(correct) if correct else None,
        "sd": stdev(correct) if len(correct) > 1 else None,
    }


def _room(device: torch.device) -> float:
    """Bytes that are free."""
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else float("inf")


def _subject(ladder: Ladder, rung: Rung, asked: Namespace) -> Subject:
    dataset = load_dataset(ladder.data)
    if asked.images:
        dataset = replace(
            dataset,
            train_images_NCHW=dataset.train_images_NCHW[: asked.images],
            train_labels_N=dataset.train_labels_N[: asked.images],
        )
    recipe = replace(rung.recipe, epochs=asked.epochs or rung.recipe.epochs)
    recipe = replace(recipe, batch=min(recipe.batch, len(dataset.train_labels_N)))
    return Subject(trace=ladder.trace(rung), recipe=recipe, dataset=dataset, device=torch.device(asked.device))


def measure(subject: Subject, asked: Namespace, precisions: Sequence[Precision]) -> dict[str, Any]:
    """Everything that is asked for."""
    images = Images(subject.dataset, subject.device)
    speed = bandwidth(subject.device, asked.copy << 20)
    lines = [one_by_one(subject, asked.steps)]
    left_out: list[str] = []
    for precision in precisions:
        for seeds in map(int, asked.seeds.split(",")):
            needed = bytes_needed(
                subject.trace, subject.recipe.batch, seeds,
                images=len(subject.dataset.train_labels_N), value=PRECISIONS[precision].itemsize,
            )  # fmt: skip
            if needed > _room(subject.device):
                left_out.append(f"{seeds} seeds in {precision} need {needed / 2**30:.0f} GiB")
                continue
            lines.append(stacked(subject, images, seeds, asked.steps, precision))
            if subject.device.type == "cuda":
                torch.cuda.empty_cache()
    found: dict[str, Any] = {
        "device": _named(subject.device),
        "parameters": subject.trace.parameters,
        "epochs": subject.recipe.epochs,
        "steps_per_epoch": subject.steps,
        "bandwidth": speed,
        "traffic_per_image": traffic(subject.trace),
        "timed": [
            {
                **asdict(line),
                "runs_per_hour": line.runs_per_hour(subject),
                "share_of_bandwidth": line.traffic / line.step / speed,
            }
            for line in lines
        ],
        "left_out": left_out,
    }
    if asked.accuracy:
        at_once = max((line.seeds for line in lines if line.way == "stack"), default=1)
        found["accuracy"] = [
            accuracy(subject, asked.accuracy, at_once, precision, asked.alone) for precision in precisions
        ]
    return found


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def told(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{found['device']}, memory {found['bandwidth'] / 1e9:,.0f} GB/s",
        f"{found['parameters']:,} parameters, {found['epochs']} epochs of {found['steps_per_epoch']} steps",
        f"{'way':<6} {'precision':<9} {'seeds':>5} {'ms/step':>8} {'draw s':>7} {'upload s':>8} {'test s':>7}"
        f" {'runs/hour':>10} {'of memory':>9}",
        *map(_line, found["timed"]),
    ]
    lines += [f"left out: {reason}" for reason in found["left_out"]]
    for part in found.get("accuracy", ()):
        lines.append(f"right of {part['of']:,} test images, {part['precision']}, {part['seconds']:.0f} s:")
        lines += [f"  {way:<8} {_sentence(part[way])}" for way in ("stacked", "alone") if part[way]["correct"]]
        if "same_mean_p" in part:
            lines.append(
                f"  p = {part['same_mean_p']:.2f} for the same mean (Welch),"
                f" {part['same_distribution_p']:.2f} for the same distribution (Mann and Whitney)"
            )
    return "\n".join(lines)


def _line(said: dict[str, Any]) -> str:
    return (
        f"{said['way']:<6} {said['precision']:<9} {said['seeds']:>5} {1000 * said['step']:>8.2f} {said['draw']:>7.2f}"
        f" {said['upload']:>8.3f} {said['test']:>7.3f} {said['runs_per_hour']:>10,.0f}"
        f" {said['share_of_bandwidth']:>9.1%}"
    )


def _sentence(said: dict[str, Any]) -> str:
    spread = f", standard deviation {said['sd']:.1f}" if said["sd"] is not None else ""
    return f"{len(said['correct'])} seeds: mean {said['mean']:,.1f}{spread}"


def main() -> None:
    benchmark = Benchmark("gpu", __doc__)
    option = benchmark.parser.add_argument
    option("--device", default="cuda", help="cuda, cuda:N or cpu (default cuda)")
    option("--seeds", default="1,16,64,256,1024", help="how many at once (default 1,16,64,256,1024)")
    option("--precision", default=",".join(PRECISIONS), help=f"some of {','.join(PRECISIONS)} (default: all)")
    option("--steps", type=int, default=50, help="timed steps of a round (default 50)")
    option("--rung", default="progressive:steplr-sgd", metavar="LADDER:RUNG", help="what is trained")
    option("--images", type=int, default=0, help="training images of an epoch (default: all)")
    option("--epochs", type=int, default=0, help="of a run (default: the rung's)")
    option("--accuracy", type=int, default=0, metavar="N", help="train N seeds to their end (default 0)")
    option("--alone", type=int, default=0, metavar="N", help="and beside them so many one by one (default 0)")
    option("--copy", type=int, default=1024, metavar="MIB", help="size of the copy that times memory (default 1024)")
    asked = benchmark.read()
    precisions: list[Precision] = [name for name in PRECISIONS if name in asked.precision.split(",")]
    if unknown := set(asked.precision.split(",")) - set(PRECISIONS):
        benchmark.parser.error(f"no precision is called {', '.join(sorted(unknown))}; known: {', '.join(PRECISIONS)}")
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            "this benchmark needs a GPU, and PyTorch sees none (--device cpu goes through the same code)",
            file=sys.stderr,
        )
        sys.exit(2)
    found = measure(_subject(*benchmark.rung(asked.rung), asked), asked, precisions)
    benchmark.tell(asked, found, told(found))


if __name__ == "__main__":
    main()
