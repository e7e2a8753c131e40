"""When another process keeps one core busy: seconds per step of ours and of PyTorch, disturbed and undisturbed.

    python -m benchmarks contended [--threads 1,2] [--images 6400] [--rounds 5] [--json]

Both train progressive:steplr-sgd (PyTorch eagerly on whole tensors, channels_last, the images augmented by the batch),
each with 1 and 2 threads, in turn, each in a process of its own that waits while the others work; every round once with
the machine to itself and once beside a process that does nothing but run. Where it runs is left to the system.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from subprocess import PIPE, Popen
from sys import executable
from typing import Any

from benchmarks._course import BATCH
from benchmarks._document import Benchmark
from benchmarks._sides import our_training, some_of_mnist, tensor_training
from benchmarks._turns import Side, Work, ratio
from smallprint.training import machine

SIDES = ("ours", "pytorch")


def prepare(side: str, threads: int, images: int) -> Work:
    """Seconds per step of one side, in its process."""
    machine.prepare(threads)
    dataset = some_of_mnist(images)
    epoch = our_training(dataset, threads) if side == "ours" else tensor_training(dataset, "nhwc")
    epoch()  # what is done once
    steps = -(-images // BATCH)
    return lambda: epoch() / steps


@contextmanager
def disturbance(wanted: bool) -> Iterator[None]:
    """A process that keeps a core busy while the block runs."""
    if not wanted:
        yield
        return
    with Popen([executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # it has begun
        try:
            yield
        finally:
            process.kill()


def measure(threads: list[int], images: int, rounds: int) -> list[dict[str, Any]]:
    """Every side with every number of threads: undisturbed and disturbed, in turn."""
    kinds = [(side, number) for number in threads for side in SIDES]
    measured: dict[tuple[str, int], dict[str, list[float]]] = {kind: {"alone": [], "contended": []} for kind in kinds}
    with ExitStack() as stack:
        sides = {kind: stack.enter_context(Side(prepare, *kind, images)) for kind in kinds}
        for _ in range(rounds):
            for state in ("alone", "contended"):
                with disturbance(state == "contended"):
                    for kind, work in sides.items():
                        measured[kind][state].append(work())
    return [
        {
            "side": side,
            "threads": number,
            "seconds_per_step": found,
            "slowed": ratio(found["contended"], found["alone"]),
            "ratios": {
                state: ratio(measured["pytorch", number][state], measured["ours", number][state]) for state in found
            },
        }
        for (side, number), found in measured.items()
    ]


def main() -> None:
    benchmark = Benchmark("contended", __doc__)
    add = benchmark.parser.add_argument
    add("--threads", default="1,2", help="of every side (default 1,2)")
    add("--images", type=int, default=6_400, help="trained on in every turn (default 6,400: 50 steps)")
    add("--rounds", type=int, default=5, help="of all sides, in turn (default 5)")
    asked = benchmark.read()
    results = measure([int(number) for number in asked.threads.split(",")], asked.images, asked.rounds)
    found = {"ratio": results[-1]["ratios"]["contended"]["median"], "results": results}
    benchmark.tell(asked, found, "\n".join(told(results)))


def told(results: list[dict[str, Any]]) -> Iterator[str]:
    """For people."""
    yield "milliseconds per step: alone, contended (medians); contended over alone: median (lowest to highest)"
    for result in results:
        alone, contended = (1e3 * median(seconds) for seconds in result["seconds_per_step"].values())
        slowed = result["slowed"]
        yield (
            f"{result['side']:>9}, {result['threads']} thread(s) {alone:8.2f} {contended:8.2f}   "
            f"{slowed['median']:.2f} ({slowed['lowest']:.2f} to {slowed['highest']:.2f})"
        )


if __name__ == "__main__":
    main()
