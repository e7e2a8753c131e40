"""Kills at random times over a climb: nothing damaged, nothing lost, the same bits.

    python -m benchmarks kills [--kills 100] [--seeds 3] [--seed 0] [--json]

A ladder on the digits with every optimiser, the schedules that remember, augmentation, dropout and averaging is climbed
once without a kill, and again and again with `--workers 2` under SIGKILL: mostly the whole process group, sometimes one
worker alone, sometimes the climb without its workers. Killed climbs are started again until they are through, then the
next round begins in an empty folder. The killed climbs have a compiler cache of their own, empty at first.

It counts, and ends with status 1 if any count is not zero: folders that cannot be read whole after a kill; epochs that
were stored or reported and are missing or trained again (an epoch keeps its seconds to the last digit unless it is);
files of finished runs that differ from those of the climb that was never killed, seconds aside; and whatever else
should not have happened, such as a climb that refuses to go on.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from benchmarks._command import started, whole
from benchmarks._document import Benchmark
from smallprint.results.runs import Epoch, Run, read_tensors, stored_run
from smallprint.spec.errors import RunError
from smallprint.spec.ladder_file import parse_ladder
from smallprint.training.checkpoint import unpack
from smallprint.training.native.plan import plan

LADDER = """
title   = "To be killed"
dataset = "digits"

[contract]
accuracy    = ">= 50%"
last_epochs = 2

[recipe]
optimiser = "sgd lr=0.1 momentum=0.9 nesterov"
batch     = 64
epochs    = 12

[[rung]]
name    = "onecycle"
network = "every conv3: pad=1; after conv3: batchnorm relu; conv3-8 maxpool conv3-8 gap conv1-10"
recipe  = { schedule = "onecycle" }

[[rung]]
name    = "plateau"
network = "every conv3: pad=1; after conv3: batchnorm relu dropout=10%; conv3-8 maxpool conv3-16 gap conv1-10"
recipe  = { optimiser = "adam lr=0.02", schedule = "plateau patience=1 times=0.5", augment = "shift=0.5px" }

[[rung]]
name    = "average"
network = "every conv3: pad=1; after conv3: batchnorm relu; conv3-8 maxpool conv3-8 gap conv1-10"
recipe  = { optimiser = "adam lr=0.02", schedule = "cosine warmup=10% tail=15%", average = "ema 0.98" }

[[rung]]
name    = "everything"
network = "every conv3: pad=1; after conv3: batchnorm relu dropout=10%; conv3-8 maxpool conv3-16 gap conv1-10"
[rung.recipe]
optimiser = "adamw lr=0.02"
schedule  = "cosine"
average   = "ema 0.95"
augment   = "rotate=10deg shift=0.5px scale=5% brightness=10%"
loss      = "cross-entropy smoothing=0.1"
"""
EARLY, BEGIN_BY, GO_BY = 0.2, 4.0, 2.0  # share of kills before the first epoch is seen; seconds until a kill, at most
WEIGHTS = {"worker": 0.25, "climb": 0.1}  # share of kills that do not go to all
DERIVED = ("weights.safetensors", "answers.safetensors", "rung.toml")
TOO_LONG = 300  # seconds for one climb; something hangs

Place = tuple[str, int, int]  # rung, seed, epoch


@dataclass(slots=True)
class Found:
    """What became of a climb under kills."""

    kills: Counter[str] = field(default_factory=Counter)  # by what was killed: all, worker, climb
    starts: int = 0  # of the climb
    rounds: int = 0  # climbs that came to their end
    compared: int = 0  # finished runs, file by file
    reported: int = 0  # epochs that a climb told of before it was killed
    going_on: int = 0  # starts that went on behind a stored epoch
    damaged: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return [*self.damaged, *self.lost, *self.different, *self.unexpected]

    def document(self) -> dict[str, Any]:
        return {
            "kills": dict(self.kills), "starts": self.starts, "starts_that_went_on": self.going_on,
            "rounds": self.rounds, "epochs_reported": self.reported, "runs_compared": self.compared,
            "damaged_folders": self.damaged, "lost_epochs": self.lost, "different_results": self.different,
            "unexpected": self.unexpected,
        }  # fmt: skip


class Stored:
    """What run folders hold, looked at after every kill; once an epoch is there it must stay as it is."""

    def __init__(self, root: Path, found: Found) -> None:
        self.root, self.found = root, found
        self.epochs: dict[Place, Epoch] = {}

    def look(self) -> None:
        """Read every folder whole, and compare its epochs with what was there before."""
        here: dict[Place, Epoch] = {}
        for folder in sorted(self.root.glob("*/*/seed-*")):
            try:
                here.update(self._epochs_of(folder))
            except RunError as fault:
                self.found.damaged.append(str(fault))
        for (rung, seed, number), epoch in self.epochs.items():
            if here.get((rung, seed, number)) != epoch:
                what = "was trained again" if (rung, seed, number) in here else "is missing"
                self.found.lost.append(f"{rung} seed {seed}: epoch {number} {what}")
        self.epochs = here

    def check(self, reported: set[Place]) -> None:
        """Compare what a climb has told with what is stored."""
        self.found.reported += len(reported)
        for rung, seed, number in sorted(reported - self.epochs.keys()):
            self.found.lost.append(f"{rung} seed {seed}: epoch {number} was reported and is not stored")

    def _epochs_of(self, folder: Path) -> Iterator[tuple[Place, Epoch]]:
        for file in folder.glob("*.safetensors"):
            read_tensors(file)
        run = stored_run(folder)
        if run is None:
            return
        kept = checkpoint_epochs(folder / "resume.npz", run.rung)
        if len(kept) > len(run.epochs) + 1 or (not run.ended and len(kept) < len(run.epochs)):
            raise RunError(f"{folder}: {len(kept)} epochs in its checkpoint, {len(run.epochs)} in its table")
        for epoch in max(list(run.epochs), kept, key=len):
            yield (run.rung, run.seed, epoch.epoch), epoch


def checkpoint_epochs(path: Path, rung: str) -> list[Epoch]:
    """The epochs that the checkpoint of a rung of `LADDER` knows.

    Raises:
        RunError: it is damaged.
    """
    ladder = parse_ladder(LADDER, name="killed")
    try:
        return unpack(path.read_bytes(), plan(ladder.trace(ladder.rung(rung))))[0]
    except FileNotFoundError:
        return []
    except RunError as fault:
        raise RunError(f"{path}: {fault}") from None


def reported(text: str) -> set[Place]:
    """The epochs that a climb's log tells of; its last line counts if it is whole."""
    places, rung, seed = set(), "", 0
    for line in text.splitlines(keepends=True):
        if row := re.match(r"(\S+) +(\d+) +(\d+)/\d+ +[\d.e-]+ .*\n", line):  # side by side
            places.add((row[1], int(row[2]), int(row[3])))
        elif row := re.match(r" *(\d+)/\d+ +[\d.e-]+ .*\n", line):  # one after the other: whose it is stands above
            places.add((rung, seed, int(row[1])))
        elif heading := re.match(r"\d+/\d+ (\S+)  ", line):
            rung = heading[1]
        elif heading := re.match(r"seed (\d+)", line):
            seed = int(heading[1])
    return places


def results(root: Path) -> dict[str, tuple[Run | None, dict[str, bytes]]]:
    """Every run under a root, and the bits of its files: those that no clock has a part in."""
    return {str(folder.relative_to(root)): (stored_run(folder), _bits(folder)) for folder in root.glob("*/*/seed-*")}


def _bits(folder: Path) -> dict[str, bytes]:
    files = {path.name: path for path in folder.iterdir() if path.name != "resume.npz"}
    rows = files["epochs.csv"].read_bytes().splitlines() if "epochs.csv" in files else []
    epochs = b"\n".join(row.rpartition(b",")[0] for row in rows)
    return {name: path.read_bytes() if name in DERIVED else b"" for name, path in files.items()} | {"epochs": epochs}


def compare(root: Path, expected: dict[str, tuple[Run | None, dict[str, bytes]]], found: Found) -> None:
    """Compare a climb that is through with the one that was never killed."""
    there = results(root)
    if there.keys() != expected.keys():
        found.different.append(f"other folders: {', '.join(sorted(there.keys() ^ expected.keys()))}")
    for name in sorted(there.keys() & expected.keys()):
        (run, mine), (other, theirs) = there[name], expected[name]
        names = sorted(file for file in mine.keys() | theirs.keys() if mine.get(file) != theirs.get(file))
        found.different += [f"{name}: {file} is not the same" for file in names]
        if not run or not other or (run.hash, run.status) != (other.hash, "finished"):
            found.different.append(f"{name}: not finished, or another run")
        found.compared += 1


def climb(words: tuple[str, ...], cache: Path, stored: Stored, left: int, chance: random.Random) -> bool:
    """Start a climb and kill it, and its workers, at random times, `left` times at most; whether it ended by itself."""
    found = stored.found
    found.starts += 1
    found.going_on += bool(stored.epochs)
    with tempfile.TemporaryFile("w+") as log:
        with started("climb", *words, cache=cache, output=log.fileno()) as process:
            latest, killed = monotonic() + TOO_LONG, 0
            while process.poll() is None and monotonic() < latest:
                if killed == left:
                    sleep(0.05)
                elif _wait(process, log.fileno(), chance):
                    what = chance.choices(["all", *WEIGHTS], [1 - sum(WEIGHTS.values()), *WEIGHTS.values()])[0]
                    found.kills[_kill(process, what, chance)] += 1
                    killed += 1
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if monotonic() >= latest else None
            status = process.wait()
        log.seek(0)
        said = log.read()
    stored.look()
    stored.check(reported(said))
    if status not in (0, -signal.SIGKILL) or monotonic() >= latest:
        found.unexpected.append(f"a climb ended with status {status}: {said[-500:]}")
    return status == 0


def _wait(process: subprocess.Popen[str], log: int, chance: random.Random) -> bool:
    """Wait for a random time, mostly counted from the first lines on; whether the process is still there."""
    begun, seen = monotonic(), chance.random() < EARLY
    end = begun + chance.uniform(0, BEGIN_BY) if seen else float("inf")
    go_on = chance.uniform(0, GO_BY)
    while monotonic() < end:
        if process.poll() is not None:
            return False
        if not seen and b"train %" in os.pread(log, 4096, 0):  # the names of the columns stand there
            seen, end = True, monotonic() + go_on
        sleep(0.002)
    return process.poll() is None


def _kill(process: subprocess.Popen[str], what: str, chance: random.Random) -> str:
    """Kill all, a worker, or the climb alone; what it was, since there may be no worker."""
    workers = list(_workers(process.pid)) if what == "worker" else []
    with suppress(ProcessLookupError):
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
            return "worker"
        if what == "climb":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return "climb" if what == "climb" else "all"


def _workers(parent: int) -> Iterator[int]:
    """The processes that train for a climb; none where there is no /proc to see them in."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            child = int(path.read_text().rpartition(") ")[2].split()[1]) == parent
            if child and b"spawn_main" in (path.parent / "cmdline").read_bytes():
                yield int(path.parent.name)


def measure(kills: int, seeds: int, seed: int) -> Found:
    """Climb without a kill, then under so many kills; what was found."""
    found, chance = Found(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "killed.toml").write_text(LADDER, encoding="utf-8")
        words = (str(home / "killed.toml"), "--workers", "2", "--seeds", str(seeds), "--runs")
        whole("climb", *words, home / "whole", cache=home / "cache-of-the-whole")
        expected = results(home / "whole")
        while found.kills.total() < kills:
            root = home / "runs"
            stored = Stored(root, found)
            while not _through(root, len(expected), found):
                climb((*words, str(root)), home / "cache", stored, kills - found.kills.total(), chance)
                if found.faults:
                    return found
            compare(root, expected, found)
            found.rounds += 1
            shutil.rmtree(root)
    return found


def _through(root: Path, runs: int, found: Found) -> bool:
    """Whether every run is finished; one that is neither that nor interrupted was killed with its worker."""
    there = [run for run, _ in results(root).values() if run]
    for run in there:
        if run.status == "diverged" or (run.status == "failed" and "ended by SIGKILL" not in run.reason):
            found.unexpected.append(f"{run.rung} seed {run.seed} {run.status}: {run.reason}")
    return sum(run.status == "finished" for run in there) == runs


def told(found: Found) -> str:
    """For people."""
    kills = ", ".join(f"{count} of {'the whole group' if what == 'all' else f'a {what}'}" for what, count in
                      found.kills.most_common()).replace("a climb", "the climb alone")  # fmt: skip
    lines = [
        f"{found.kills.total()} kills ({kills}) in {found.rounds} climbs of {found.starts} starts, "
        f"{found.going_on} of them behind stored epochs",
        f"{len(found.damaged)} damaged folders",
        f"{len(found.lost)} lost epochs, of {found.reported} reported",
        f"{len(found.different)} different results, in {found.compared} runs",
        f"{len(found.unexpected)} unexpected ends",
    ]
    return "\n".join([*lines, *found.faults])


def main() -> None:
    benchmark = Benchmark("kills", __doc__)
    benchmark.parser.add_argument("--kills", type=int, default=100, help="how many (default 100)")
    benchmark.parser.add_argument("--seeds", type=int, default=3, help="of every rung (default 3)")
    benchmark.parser.add_argument("--seed", type=int, default=0, help="of the times (default 0)")
    asked: Namespace = benchmark.read()
    found = measure(asked.kills, asked.seeds, asked.seed)
    benchmark.tell(asked, found.document(), told(found))
    sys.exit(1 if found.faults else 0)


if __name__ == "__main__":
    main()
