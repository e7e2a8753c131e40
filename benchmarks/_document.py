"""What a benchmark hands over: lines for people, or one JSON document with date, machine, command and settings."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import smallprint
from smallprint.arguments import one_rung_at
from smallprint.spec.errors import SmallprintError
from smallprint.spec.ladder import Ladder, Rung

RESULTS = Path(__file__).parent / "results"
_NO_SETTINGS = ("json", "write", "trial", "runs")  # the last a folder of this machine, which says nothing to others


class Benchmark:
    """One benchmark's command line, and the document it ends with."""

    def __init__(self, name: str, doc: str | None) -> None:
        self.name = name
        self.parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks {name}", description=(doc or "").split("\n")[0], allow_abbrev=False
        )

    def rung(self, said: str) -> tuple[Ladder, Rung]:
        """The rung that `LADDER:RUNG` names; ends with the parser's message where there is none."""
        try:
            return one_rung_at(said)
        except SmallprintError as fault:
            self.parser.error(str(fault))

    def read(self) -> argparse.Namespace:
        """What is asked for; the clock starts."""
        self.parser.add_argument("--json", action="store_true", help="print one JSON document")
        self.parser.add_argument(
            "--write", action="store_true", help=f"write it to benchmarks/results/, as {self.name}"
        )
        self.parser.add_argument("--trial", action="store_true", help="mark it as no final figure")
        asked = self.parser.parse_args()
        self._begun, self._load = perf_counter(), _load()
        return asked

    def tell(self, asked: argparse.Namespace, found: Mapping[str, Any], said: str, *, part: str = "") -> None:
        """Print what was found, and write it where that is asked for; a `part` of a benchmark has a file of its own."""
        document = self.document(asked, found)
        if asked.write:
            RESULTS.mkdir(exist_ok=True)
            file = RESULTS / f"{self.name}{f'-{part}' if part else ''}.json"
            file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(document, indent=1) if asked.json else said)

    def document(self, asked: argparse.Namespace, found: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that is needed to repeat what was found, or to doubt it, and what was found."""
        return {
            "benchmark": self.name,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "command": shlex.join(["python", "-m", "benchmarks", self.name, *_settings(sys.argv[1:])]),
            "trial": asked.trial,
            "seconds_in_all": round(perf_counter() - self._begun, 1),
            "machine": {**_machine(), "load_before": self._load},
            "settings": {key: value for key, value in vars(asked).items() if key not in _NO_SETTINGS},
            **found,
        }


def _settings(words: list[str]) -> list[str]:
    """The words of a command line that say what is measured."""
    flags = [f"--{name}" for name in _NO_SETTINGS]
    behind = {index + 1 for index, word in enumerate(words) if word == "--runs"}  # the folder
    return [word for index, word in enumerate(words) if word.split("=")[0] not in flags and index not in behind]


def _machine() -> dict[str, Any]:
    from smallprint.training import machine  # imports torch, which a benchmark may do without until now

    described = machine.describe()
    return {
        "platform": f"{described['platform']}, {described['vector unit']}",
        "cores": described["cores"],
        "smallprint": smallprint.__version__,
        "python": described["python"],
        "torch": described["torch"],
    }


def _load() -> float | None:
    """Processes that ran or waited to run, mean of the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
