"""From the start of the process to the first epoch, and to a kept contract; and what start-up is made of.

    python -m benchmarks first [--of LADDER:RUNG] [--rounds 5] [--kept 1] [--seeds 8] [--json]

Every start is a process of its own with a cache of its own: empty, so that the step is compiled (`cold`), then the same
once more (`warm`), in turn. The rung is the one that `records/` shows to keep the published ladders' accuracy most
surely, and among equals in the fewest seconds. For the kept contract that rung is climbed with many seeds side by side
until the first of them has kept every clause; how many seeds had ended by then is told beside it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from subprocess import DEVNULL, run
from sys import executable
from time import perf_counter, sleep
from typing import Any

from benchmarks._command import started, until_line
from benchmarks._document import Benchmark
from benchmarks._turns import Side, Work, in_turn, ratio
from smallprint.results.assessment import assess
from smallprint.results.record import read_record
from smallprint.results.runs import read_runs
from smallprint.results.verdict import judge
from smallprint.spec.ladder import Ladder, Rung
from smallprint.spec.ladder_file import read_ladder, shipped

RECORDS = Path(__file__).parent.parent / "records"
PUBLISHED = "progressive"  # a ladder whose promise of accuracy all published ones share
LIMITS = {"native_warm": 0.2, "native_cold": 15.0}  # seconds that making the step may take
PARTS = {
    "help": "smallprint --help",
    "import": "import smallprint",
    "trainer": "importing what trains",
    "data": "reading and checking the data set",
    "native_warm": "making the native step, compiled before",
    "native_cold": "making the native step, compiler included",
}
_LOOK = 0.25  # seconds between two looks at the run folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How surely a rung keeps its contract, by a record."""

    ladder: str
    rung: str
    passed: int  # seeds
    of: int  # seeds
    at_least: float  # lower end of the interval of its pass rate, 0 to 1
    seconds: float  # of a whole training, mean over the seeds that finished


def kept_by_record(folder: Path = RECORDS) -> list[Kept]:
    """Recorded rungs of shipped ladders that have kept the published accuracy, the surest, then the fastest first."""
    return sorted(_kept(folder), key=lambda kept: (-kept.at_least, kept.seconds))


def _kept(folder: Path) -> Iterator[Kept]:
    published = read_ladder(PUBLISHED).contract
    for path in sorted(folder.glob("*.json")):
        record = read_record(path)
        if record.ladder not in shipped():
            continue
        ladder = read_ladder(record.ladder)
        if (ladder.contract.accuracy, ladder.contract.last_epochs) != (published.accuracy, published.last_epochs):
            continue
        names = {rung.name for rung in ladder.rungs}
        for recorded in record.rungs:
            if recorded.name not in names:
                continue
            verdict = assess(ladder, ladder.rung(recorded.name), recorded.runs).verdict
            if verdict and verdict.passed:
                seconds = [sum(e.seconds for e in run.epochs) for run in recorded.runs if run.status == "finished"]
                yield Kept(
                    ladder=ladder.name, rung=recorded.name, passed=verdict.passed, of=verdict.of,
                    at_least=verdict.interval[0], seconds=fmean(seconds),
                )  # fmt: skip


def first_epoch(ladder: Ladder, rung: Rung, cache: Path) -> float:
    """Seconds from the start of the process to the line of the first epoch."""
    with tempfile.TemporaryDirectory() as runs:
        line = rf"\s1/{rung.recipe.epochs}\s"
        return until_line(line, "climb", ladder.name, "--rung", rung.name, "--runs", runs, cache=cache)


def measure_first_epoch(ladder: Ladder, rung: Rung, rounds: int) -> dict[str, list[float]]:
    """With an empty cache, then with what that start has left in it, in turn."""
    starts = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            starts.append([first_epoch(ladder, rung, Path(folder)) for _ in ("cold", "warm")])
    cold, warm = zip(*starts, strict=True)
    return {"cold": list(cold), "warm": list(warm)}


def until_kept(ladder: Ladder, rung: Rung, seeds: int) -> dict[str, Any]:
    """Seconds until the first of many seeds has kept the contract; None where none has."""
    with tempfile.TemporaryDirectory() as folder:
        begun = perf_counter()
        options = ("--rung", rung.name, "--seeds", str(seeds), "--workers", "auto", "--runs", folder)
        with started("climb", ladder.name, *options, output=DEVNULL) as process:
            ended = False
            while not ended:
                ended = process.poll() is not None
                runs = [run for run in read_runs(Path(folder), ladder.name, rung.name) if run.ended]
                for seed in judge(ladder.contract, runs).seeds:
                    if seed.kept:
                        return {"seconds": perf_counter() - begun, "seed": seed.seed, "ended": len(runs)}
                sleep(_LOOK)
    return {"seconds": None, "seed": None, "ended": seeds}


def part(name: str, place: tuple[str, str], folder: str | None) -> Work:
    """One part of the start-up, in a fresh process, after what it stands on is done; with a cache in `folder`."""
    if folder:
        os.environ["XDG_CACHE_HOME"] = folder
    ladder = read_ladder(place[0])

    def trainer() -> float:
        begun = perf_counter()
        import smallprint.training.trainer  # noqa: F401

        return perf_counter() - begun

    def data() -> float:
        from smallprint.training.data import load_dataset

        begun = perf_counter()
        load_dataset(ladder.data)
        return perf_counter() - begun

    def native() -> float:
        from smallprint.training.data import load_dataset
        from smallprint.training.trainer import Trainer

        rung, dataset = ladder.rung(place[1]), load_dataset(ladder.data)
        _ = dataset.mean_and_deviation  # counted over all images: belongs to the data
        begun = perf_counter()
        Trainer(ladder.trace(rung), rung.recipe, dataset, seed=0, way="native")
        return perf_counter() - begun

    return {"trainer": trainer, "data": data, "native_cold": native, "native_warm": native}[name]


def started_anew(name: str, place: tuple[str, str], folder: str | None = None) -> float:
    """Seconds of one part of the start-up, in a process of its own."""
    with Side(part, name, place, folder) as side:
        return side()


def process_seconds(*words: str) -> float:
    """From the start of a Python process to its end."""
    begun = perf_counter()
    run([executable, *words], check=True, stdout=DEVNULL)
    return perf_counter() - begun


def measure_parts(ladder: Ladder, rung: Rung, rounds: int) -> dict[str, list[float]]:
    """The parts of the start-up, in turn."""
    place = (ladder.name, rung.name)
    with tempfile.TemporaryDirectory() as warm:
        started_anew("native_cold", place, warm)

        def cold() -> float:
            with tempfile.TemporaryDirectory() as empty:
                return started_anew("native_cold", place, empty)

        works: dict[str, Work] = {
            "help": lambda: process_seconds("-m", "smallprint", "--help"),
            "import": lambda: process_seconds("-c", "import smallprint"),
            "trainer": lambda: started_anew("trainer", place),
            "data": lambda: started_anew("data", place),
            "native_warm": lambda: started_anew("native_warm", place, warm),
            "native_cold": cold,
        }
        return in_turn(works, rounds)


def main() -> None:
    benchmark = Benchmark("first", __doc__)
    add = benchmark.parser.add_argument
    add("--of", metavar="LADDER:RUNG", help="what is trained (default: the rung that the records show to be surest)")
    add("--rounds", type=int, default=5, help="starts of each kind, in turn (default 5)")
    add("--kept", type=int, default=1, help="climbs to a kept contract (default 1)")
    add("--seeds", type=int, default=8, help="at most, of such a climb (default 8)")
    said = benchmark.read()
    kept = kept_by_record()
    ladder, rung = benchmark.rung(said.of or f"{kept[0].ladder}:{kept[0].rung}")
    known = [one for one in kept if (one.ladder, one.rung) == (ladder.name, rung.name)]
    if "SMALLPRINT_DATA" not in os.environ and (place := _data_place(ladder)):
        os.environ["SMALLPRINT_DATA"] = str(place)  # an empty cache has no data either
    starts = measure_first_epoch(ladder, rung, said.rounds)
    compared = ratio(starts["cold"], starts["warm"])
    found = {
        "ratio": compared["median"],
        "rung": f"{ladder.name}:{rung.name}",
        "record": {"passed": known[0].passed, "of": known[0].of} if known else None,
        "epochs": rung.recipe.epochs,
        "first_epoch": starts,
        "ratios": {"cold": compared},
        "parts": measure_parts(ladder, rung, said.rounds),
        "kept": [until_kept(ladder, rung, said.seeds) for _ in range(said.kept)],
    }
    benchmark.tell(said, found, told(found))


def _data_place(ladder: Ladder) -> Path | None:
    from smallprint.training.data.known import find_dataset

    place = find_dataset(ladder.dataset)
    return place.parent if place else None


def told(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{found['rung']}: seconds from the start of the process, median (all rounds)"]
    for state, seconds in found["first_epoch"].items():
        lines.append(f"{_timed(seconds)}  first epoch, cache {state}")
    for climb in found["kept"]:
        kept = climb["seconds"] is not None
        lines.append(
            f"{climb['seconds']:8.1f}  contract kept by seed {climb['seed']}; seeds that had ended: {climb['ended']}"
            if kept
            else f"    none  of {climb['ended']} seeds kept the contract"
        )
    for name, seconds in found["parts"].items():
        limit = f"; to be under {LIMITS[name]:g}" if name in LIMITS else ""
        lines.append(f"{_timed(seconds)}  {PARTS[name]}{limit}")
    return "\n".join(lines)


def _timed(seconds: list[float]) -> str:
    return f"{median(seconds):8.3f}  ({', '.join(f'{second:.3f}' for second in seconds)})"


if __name__ == "__main__":
    main()
