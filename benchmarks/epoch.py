"""One training epoch of progressive:steplr-sgd: the course notebooks' loop, PyTorch at its best, and ours.

    python -m benchmarks epoch [--rounds 3] [--images 60000] [--threads N] [--sides course,ours] [--json]

All sides train the same network with the same recipe on the same images, in turn, each in a process of its own
that waits while the others work. `course` is what the published notebooks run: a Dataset that decodes, turns and
normalises one PIL image at a time, a DataLoader, and eager PyTorch in NCHW float32 with its counts read back after
every batch. `nchw`, `nhwc`, `bfloat16` and `compile` are plain PyTorch on whole tensors, augmented by the batch:
eager in both memory formats, under bfloat16 autocast, and compiled. `ours` is the native step, `pairs` the same with
products of bfloat16, where the processor has an instruction for two of them. Testing is left out on all sides. Results
are kept by what the processor computes with: AVX512, AVX2.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import Any

import torch

from benchmarks._course import course_network, course_training
from benchmarks._document import Benchmark
from benchmarks._sides import our_training, some_of_mnist, tensor_training, the_rung
from benchmarks._turns import Side, Work, in_turn, ratio
from smallprint.training import machine
from smallprint.training.native.compiler import pairs_here

SIDES = ("course", "nchw", "nhwc", "bfloat16", "compile", "ours", "pairs")


def prepare(side: str, images: int, threads: int, workers: int) -> Work:
    """One side, in its process."""
    torch.set_num_threads(threads)
    if side == "product":
        return matrix_product_rate
    dataset = some_of_mnist(images)
    if side in ("ours", "pairs"):
        return our_training(dataset, threads, "bfloat16" if side == "pairs" else "float32")
    if side == "course":
        return course_training(dataset, course_network(), workers=workers)
    epoch = tensor_training(dataset, side)
    if side == "compile":
        epoch()  # compiles
    return epoch


def matrix_product_rate(size: int = 1536) -> float:
    """Operations per second of the library's float32 product of two square matrices; the best of several."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(8):
        started = perf_counter()
        a @ b
        best = min(best, perf_counter() - started)
    return 2 * size**3 / best


def work_per_image() -> int:
    """Floating-point operations to train on one image: forward, to the weights, and but for the first layer back."""
    trace, _ = the_rung()
    return 2 * (3 * trace.macs - trace.steps[0].macs)


def measure(asked: argparse.Namespace, threads: int) -> dict[str, Any]:
    """All sides in turn, so many rounds, with so many threads."""
    names = asked.sides.split(",")
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Side(prepare, name, asked.images, threads, asked.workers))
            for name in (*names, "product")
        }
        measured = in_turn(sides, asked.rounds)
    product = measured.pop("product")
    result: dict[str, Any] = {
        "threads": threads,
        "seconds": measured,
        "product_gflops": [rate / 1e9 for rate in product],
    }
    if "ours" in names:
        work = work_per_image() * asked.images
        rates = [work / seconds for seconds in measured["ours"]]
        result["gflops"] = [rate / 1e9 for rate in rates]
        result["share_of_product"] = median(ours / theirs for ours, theirs in zip(rates, product, strict=True))
        result["ratios"] = {side: ratio(measured[side], measured["ours"]) for side in names if side != "ours"}
    return result


def main() -> None:
    benchmark = Benchmark("epoch", __doc__)
    add = benchmark.parser.add_argument
    add("--rounds", type=int, default=3, help="epochs of each side, in turn (default 3)")
    add("--images", type=int, default=60_000, help="training images of an epoch (default 60,000)")
    add("--threads", default=str(machine.cores()), help="of every side, as in 1,2 (default: all cores)")
    add("--workers", type=int, default=0, help="the course loop's loader processes (default 0)")
    here = SIDES if pairs_here() else SIDES[:-1]
    add("--sides", default=",".join(here), help=f"some of {','.join(SIDES)} (default: all that pay here)")
    asked = benchmark.read()
    if unknown := set(asked.sides.split(",")) - set(SIDES):
        benchmark.parser.error(f"no side is called {', '.join(sorted(unknown))}; known: {', '.join(SIDES)}")
    results = [measure(asked, int(threads)) for threads in asked.threads.split(",")]
    compared = results[-1].get("ratios", {}).get("course", {}).get("median")
    unit = str(machine.describe()["vector unit"]).lower()
    benchmark.tell(asked, {"ratio": compared, "results": results}, "\n".join(map(told, results)), part=unit)


def told(result: dict[str, Any]) -> str:
    """One number of threads for people."""
    lines = [
        f"{result['threads']} thread(s): seconds per epoch, median (all rounds); times ours, median (lowest to highest)"
    ]
    ratios: dict[str, dict[str, float]] = result.get("ratios", {})
    for side, seconds in result["seconds"].items():
        found = ratios.get(side)
        compared = f"{found['median']:7.2f} ({found['lowest']:.2f} to {found['highest']:.2f})" if found else ""
        lines.append(f"{side:>9} {median(seconds):7.2f}  ({', '.join(f'{s:.2f}' for s in seconds)}) {compared}")
    if "gflops" in result:
        gflops, product = median(result["gflops"]), median(result["product_gflops"])
        share = 100 * result["share_of_product"]
        lines.append(f"ours: {gflops:.0f} GFLOP/s, {share:.0f}% of the matrix product's {product:.0f} in the same run")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
