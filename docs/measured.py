"""What the benchmarks have measured: their kept results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def results(root: Path, name: str) -> list[dict[str, Any]]:
    """What a benchmark of the project at `root` found: once, or for each of several rungs or processors."""
    folder = root / "benchmarks" / "results"
    files = [*folder.glob(f"{name}.json"), *sorted(folder.glob(f"{name}-*.json"))]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def vector_unit(said: Mapping[str, Any]) -> str:
    """What the processor of a result computes with, as in AVX2: the last word of its platform."""
    return str(said["machine"]["platform"].rpartition(", ")[2])
