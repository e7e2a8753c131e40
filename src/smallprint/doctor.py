"""doctor: what smallprint finds on this machine, and how it would train there."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def findings(data: Path | None) -> dict[str, Any]:
    """Versions, processors, compiler, GPU, data sets and shipped ladders, by name; `data` is where to look first."""
    from smallprint import __version__
    from smallprint.spec.ladder_file import shipped
    from smallprint.training import machine
    from smallprint.training.data import cache_folder, find_dataset

    return {
        "smallprint": __version__,
        **machine.describe(),
        "step": _step_here(),
        "trainings": _placement_of(64),
        "gpu": gpus[0] if (gpus := machine.gpus()) else None,
        "mnist": str(place) if (place := find_dataset("mnist", data)) else None,
        "cache": str(cache_folder()),
        "ladders": list(shipped()),
    }


def _step_here() -> str:
    """How a step would be computed on the processor, and why."""
    from smallprint.training.native.compiler import NativeError, find_compiler

    try:
        compiler = find_compiler()
        return f"native, compiled by {compiler}{'; products of bfloat16 can be had' if compiler.pairs else ''}"
    except NativeError as fault:
        return f"PyTorch's, many times slower: {fault}"


def _placement_of(seeds: int) -> str:
    """Where a climb would train so many seeds of a small rung, and why."""
    from smallprint.jobs.job import Job
    from smallprint.jobs.placement import place
    from smallprint.spec.ladder_file import read_ladder
    from smallprint.training.data import load_dataset

    ladder = read_ladder("digits")
    jobs = [Job(ladder=ladder, rung=ladder.rungs[-1], seed=seed) for seed in range(seeds)]
    return str(place(jobs, load_dataset(ladder.data)))
