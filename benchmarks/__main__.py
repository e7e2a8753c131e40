"""Side-by-side timings: python -m benchmarks NAME [--json]; without a name, what there is; all: every one of them."""

from __future__ import annotations

import argparse
import ast
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What docs/speed.md shows of one benchmark."""

    options: str
    look: str  # the same for a quick look, a minute or two
    minutes: int  # of the whole, on two quiet cores


# In the order in which they are measured. A benchmark that is not named here (one that needs a GPU) is asked for alone.
PLAN: dict[str, Planned] = {
    "epoch": Planned(
        options="--threads 1,2 --images 12800 --rounds 3",
        look="--threads 1,2 --images 1280 --rounds 1 --sides course,nchw,nhwc,bfloat16,ours",
        minutes=10,
    ),
    "contended": Planned(options="--rounds 3", look="--rounds 2 --images 1280", minutes=2),
    "growth": Planned(options="--rounds 2", look="--rounds 1 --most 1000", minutes=6),
    "first": Planned(options="--rounds 3", look="--rounds 1 --kept 0", minutes=8),
    "contract": Planned(options="--rounds 2", look="--rounds 1 --images 1280 --part 2,1", minutes=25),
}


def main() -> None:
    """Hand over to the benchmark that is named."""
    files = sorted(file for file in FOLDER.glob("*.py") if not file.stem.startswith("_"))
    names = [file.stem for file in files]
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked == "all":
        sys.exit(run_all(sys.argv[2:]))
    if asked not in names:
        if asked and not asked.startswith("-"):
            print(f"no benchmark is called {asked!r}; there are:", file=sys.stderr)
        for file in files:
            caption = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]
            print(f"python -m benchmarks {file.stem:11}{caption}")
        minutes = sum(planned.minutes for planned in PLAN.values())
        print(f"python -m benchmarks all        {', '.join(PLAN)}, in turn: about {minutes} minutes")
        sys.exit(2 if asked and not asked.startswith("-") else 0)
    del sys.argv[1]
    import_module(f"benchmarks.{asked}").main()


def run_all(words: Sequence[str]) -> int:
    """Every benchmark as it is planned, one after the other, kept in benchmarks/results/; 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks all", allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(PLAN)} (default: all)")
    parser.add_argument("--look", action="store_true", help="small settings, marked as a trial")
    parser.add_argument("--dry", action="store_true", help="only say what would be run")
    asked = parser.parse_args(words)
    if unknown := set(asked.names) - set(PLAN):
        parser.error(f"nothing planned is called {', '.join(sorted(unknown))}; known: {', '.join(PLAN)}")
    failed = []
    for name in asked.names or PLAN:
        options = f"{PLAN[name].look} --trial" if asked.look else PLAN[name].options
        command = [sys.executable, "-m", "benchmarks", name, *shlex.split(options), "--write"]
        print(f"python {shlex.join(command[1:])}", end="", flush=True)
        print("" if asked.look else f"    about {PLAN[name].minutes} minutes", flush=True)
        if asked.dry:
            continue
        begun = perf_counter()
        failed += [name] if subprocess.run(command, cwd=FOLDER.parent, check=False).returncode else []
        print(f"    took {(perf_counter() - begun) / 60:.1f} minutes\n", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    elif not asked.dry:
        print("then: python docs/tables.py && python docs/drawings.py")
    return int(bool(failed))


if __name__ == "__main__":
    main()
