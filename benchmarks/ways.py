"""The same rung trained the native way and PyTorch's, over many seeds: is where they end the same?

    python -m benchmarks ways [--of progressive:steplr-adam] [--seeds 20] [--runs DIR] [--json]

Both are `smallprint climb LADDER --rung RUNG --seeds 20`, once as it is and once where there is no C compiler, so that
PyTorch trains; from a seed both draw the same initial weights, order of images, augmentation and dropout. Compared is
what the contract judges, the worst of the last epochs on the test images, one number per seed. Two samples are held
against each other by Welch's test, for the means, and by the one of Kolmogorov and Smirnov, for the distributions.

It takes hours. With --runs they stay in that folder, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from unittest import mock

from scipy import stats

from benchmarks._command import whole
from benchmarks._document import Benchmark
from smallprint.arguments import split_place
from smallprint.results.runs import Run, read_runs
from smallprint.results.verdict import judge_seed, worst_of_last
from smallprint.spec.ladder import Ladder, Rung

RUNG = "progressive:steplr-adam"
WAYS = ("native", "pytorch")
SURE = 0.95  # of the interval of a difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is trained, and with how many seeds."""

    place: str  # of the ladder, as it was said
    ladder: Ladder
    rung: Rung
    seeds: int


def climbed(asked: Asked, folder: Path, way: str) -> list[Run]:
    """The runs of all seeds, trained that way; what is stored is not trained again.

    Raises:
        RuntimeError: some were trained another way, or did not come to their end.
    """
    environment = {"CC": "no-compiler"} if way == "pytorch" else {}
    options = ("--rung", asked.rung.name, "--seeds", str(asked.seeds), "--device", "cpu", "--runs", folder / way)
    with mock.patch.dict(os.environ, environment):
        whole("climb", asked.place, *options)
    stored = read_runs(folder / way, asked.ladder.name, asked.rung.name, asked.ladder.identity(asked.rung))
    runs = [run for run in stored if run.seed < asked.seeds]
    if wrong := [run.seed for run in runs if (run.status, run.environment.way) != ("finished", way)]:
        raise RuntimeError(f"{way}: seeds {wrong} have failed, or were trained another way")
    return runs


def compared(ladder: Ladder, rung: Rung, runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Where both samples end, and how surely they differ; accuracies in percent."""
    contract = ladder.contract
    samples = {way: worst(ran, contract.last_epochs) for way, ran in runs.items()}
    native, pytorch = samples["native"], samples["pytorch"]
    welch = stats.ttest_ind(native, pytorch, equal_var=False)
    between = welch.confidence_interval(SURE)
    return {
        "rung": f"{ladder.name}:{rung.name}",
        "epochs": rung.recipe.epochs,
        "last_epochs": contract.last_epochs,
        "sides": {
            way: {
                "worst": sample,
                "mean": fmean(sample),
                "deviation": stdev(sample),
                "best_epoch": fmean(run.best_test for run in runs[way]),
                "kept": sum(judge_seed(contract, run).kept is True for run in runs[way]),
            }
            for way, sample in samples.items()
        },
        "difference": {"mean": fmean(native) - fmean(pytorch), "from": between.low, "to": between.high},
        "p": {"welch": welch.pvalue, "kolmogorov_smirnov": stats.ks_2samp(native, pytorch).pvalue},
    }


def worst(runs: Sequence[Run], last: int) -> list[float]:
    """The worst test accuracy of the last epochs of every run, in percent."""
    found = [worst_of_last(run, last) for run in runs]
    return [100 * one[1] / one[2] for one in found if one]


def told(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{found['rung']}, worst test accuracy of the last {found['last_epochs']} of {found['epochs']} epochs, %"]
    for way, side in found["sides"].items():
        sample = side["worst"]
        lines.append(
            f"{way:>8}  mean {side['mean']:.3f}, standard deviation {side['deviation']:.3f}, "
            f"{min(sample):.2f} to {max(sample):.2f} over {len(sample)} seeds; {side['kept']} keep the contract"
        )
    difference, p = found["difference"], found["p"]
    lines.append(
        f"native minus PyTorch {difference['mean']:+.3f} ({difference['from']:+.3f} to {difference['to']:+.3f} with "
        f"{SURE:.0%} confidence); p = {p['welch']:.2f} (Welch), {p['kolmogorov_smirnov']:.2f} (Kolmogorov and Smirnov)"
    )
    return "\n".join(lines)


def main() -> None:
    benchmark = Benchmark("ways", __doc__)
    add = benchmark.parser.add_argument
    add("--of", default=RUNG, metavar="LADDER:RUNG", help=f"what is trained (default {RUNG})")
    add("--seeds", type=int, default=20, help="of either way (default 20)")
    add("--runs", type=Path, metavar="DIR", help="where runs are kept; else they are thrown away")
    said = benchmark.read()
    ladder, rung = benchmark.rung(said.of)
    if said.seeds < 2:
        benchmark.parser.error(f"--seeds is at least 2, a sample: {said.seeds}")
    asked = Asked(place=split_place(said.of)[0], ladder=ladder, rung=rung, seeds=said.seeds)
    with tempfile.TemporaryDirectory() as thrown_away:
        folder = said.runs or Path(thrown_away)
        runs = {way: climbed(asked, folder, way) for way in WAYS}
    found = compared(asked.ladder, asked.rung, runs)
    benchmark.tell(said, found, told(found), part=asked.rung.name)


if __name__ == "__main__":
    main()
