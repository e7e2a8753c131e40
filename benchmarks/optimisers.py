"""What an optimiser costs: an epoch of a rung moved by SGD, by AdamW and by Muon, with one thread.

    python -m benchmarks optimisers [--of smallest:under-4000-muon] [--images 6400] [--rounds 5] [--json]

All sides train the same network with the rest of the rung's recipe, in turn, each in a process of its own that waits
while the others work. Images have no augmentation, so that the shares are at their highest. Testing is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

from benchmarks._document import Benchmark
from benchmarks._sides import epochs_of, first_images
from benchmarks._turns import Side, Work, in_turn, ratio
from smallprint.arguments import one_rung_at
from smallprint.spec.recipe import Recipe
from smallprint.training.data import load_dataset

OPTIMISERS = {
    "sgd": "sgd lr=0.05 momentum=0.9 nesterov weight_decay=0.0001",
    "adamw": "adamw lr=0.005 weight_decay=0.01",
    "muon": "muon lr=0.005 sgd_lr=0.05 sgd_weight_decay=0.0001",
}


def prepare(place: str, optimiser: str, images: int) -> Work:
    """One side, in its process."""
    ladder, rung = one_rung_at(place)
    rule = Recipe.parse({"optimiser": OPTIMISERS[optimiser]}).optimiser
    recipe = replace(rung.recipe, optimiser=rule, augment=())
    return epochs_of(ladder.trace(rung), recipe, first_images(load_dataset(ladder.data), images, 1))


def main() -> None:
    benchmark = Benchmark("optimisers", __doc__)
    add = benchmark.parser.add_argument
    add("--of", default="smallest:under-4000-muon", metavar="LADDER:RUNG", help="whose network and recipe")
    add("--images", type=int, default=6400, help="of an epoch (default 6400)")
    add("--rounds", type=int, default=5, help="of all sides, in turn (default 5)")
    asked = benchmark.read()
    _, rung = benchmark.rung(asked.of)
    if asked.images < rung.recipe.batch or asked.rounds < 1:
        benchmark.parser.error(f"--images is at least a batch ({rung.recipe.batch}), --rounds at least 1")
    with ExitStack() as stack:
        sides = {name: stack.enter_context(Side(prepare, asked.of, name, asked.images)) for name in OPTIMISERS}
        found = measure(sides, asked.rounds)
    benchmark.tell(asked, found, told(asked.of, asked.images, found))


def measure(sides: Mapping[str, Work], rounds: int) -> dict[str, Any]:
    """Seconds of all sides in turn, so many rounds, and each over SGD's."""
    in_turn(sides, 1)  # compiled, and memory touched
    seconds = in_turn(sides, rounds)
    return {"seconds": seconds, "over_sgd": {name: ratio(took, seconds["sgd"]) for name, took in seconds.items()}}


def told(place: str, images: int, found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{place}, an epoch of {images:,} images, one thread"]
    for name, took in found["seconds"].items():
        over = found["over_sgd"][name]
        lines.append(
            f"{name:>8}  {median(took):.2f} s  {over['median']:.2f} times SGD ({over['lowest']:.2f} to "
            f"{over['highest']:.2f})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
