"""Placement: where jobs are trained and how many at once, found by a short timing where there is a choice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from smallprint.jobs.job import Job, Terms
from smallprint.results.runs import Precision, PrecisionAsked
from smallprint.spec.errors import NotationError
from smallprint.training.data import Dataset

Workers = int | Literal["auto"]
_MEMORY = 0.6  # share of a GPU's free memory that a computation may plan to take


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where jobs are trained, and how many at once."""

    device: str  # cpu, cuda or cuda:N
    at_once: int  # trainings
    together: bool = field(default=False)  # as one computation; else each in a process of its own
    precision: Precision = field(default="float32")  # of products
    threads: int | None = field(default=None)  # of each, if that was said
    why: str = field(default="")

    @property
    def side_by_side(self) -> bool:
        """Whether each training has a process of its own."""
        return self.at_once > 1 and not self.together

    def terms(self, root: Path, *, grows: bool = False) -> Terms:
        """For runs kept under a folder. Where no threads are said, a training has one side by side, else as many as its
        size needs; one that `grows` may have the cores of those that have ended.
        """
        own = 1 if self.side_by_side else None
        return Terms(
            root=root, device=self.device, threads=self.threads or own, holder=os.getpid(), precision=self.precision,
            grows=grows and self.side_by_side and self.threads is None,
        )  # fmt: skip

    def __str__(self) -> str:
        """As in: 2 at a time on cpu (no GPU is here; one per core)."""
        how = "together" if self.together else "at a time"
        why = f" ({self.why})" if self.why else ""
        return f"{self.at_once} {how} on {self.device}{why}"


def place(
    jobs: Sequence[Job],
    dataset: Dataset,
    *,
    device: str = "auto",
    threads: int | None = None,
    workers: Workers = "auto",
    precision: PrecisionAsked = "float32",
) -> Placement:
    """Choose for jobs that are left to train.

    On the processor, trainings of one thread each share no step, so that none waits for another: one per core, or per
    `threads` cores. On a GPU, the seeds of a rung are one computation, as large as its memory allows or as `workers`
    says. "auto" takes the GPU where there is one, and bfloat16 where it can be had, if a short timing of the rung with
    the most jobs finds it faster.

    Raises:
        NotationError: a precision that the device does not have.
    """
    from smallprint.training import machine

    devices = ["cuda", "cpu"] if device == "auto" and machine.gpu() else ["cpu" if device == "auto" else device]
    candidates = [
        _on_processor(jobs, threads, workers, wanted) if where == "cpu"
        else replace(_on_gpu(jobs, dataset, where, workers, wanted), threads=threads)
        for where in devices
        for wanted in _precisions(where, precision)
    ]  # fmt: skip
    if not candidates:
        raise NotationError(
            "--precision bfloat16 needs a GPU, or a processor that takes two products of it in one instruction (AVX512 "
            "BF16, or ARM's BF16) and a C compiler; here training is float32, or say auto"
        )
    chosen, reasons = _fastest(candidates if jobs else candidates[-1:], jobs, dataset)
    if device == "auto" and devices == ["cpu"]:
        reasons.insert(0, "no GPU is here")
    if chosen.device == "cpu" and workers == "auto" and chosen.at_once > 1:
        reasons.append(f"{threads} threads each" if threads and threads > 1 else "one per core")
    return replace(chosen, why="; ".join(reasons))


def _precisions(device: str, asked: PrecisionAsked) -> list[Precision]:
    """Those among what is asked for that a device has."""
    from smallprint.training.native.compiler import pairs_here

    wanted: list[Precision] = ["bfloat16", "float32"] if asked == "auto" else [asked]
    if "bfloat16" in wanted and device == "cpu" and not pairs_here():
        return [precision for precision in wanted if precision != "bfloat16"]
    return wanted


def _on_processor(jobs: Sequence[Job], threads: int | None, workers: Workers, precision: Precision) -> Placement:
    from smallprint.training import machine

    most = max(1, machine.cores() // (threads or 1)) if workers == "auto" else workers
    return Placement(device="cpu", at_once=max(1, min(most, len(jobs))), threads=threads, precision=precision)


def _on_gpu(jobs: Sequence[Job], dataset: Dataset, device: str, workers: Workers, precision: Precision) -> Placement:
    from smallprint.training import machine
    from smallprint.training.stack import bytes_needed

    at_once = len(jobs) if workers == "auto" else workers
    if workers == "auto" and jobs:
        job, _ = _largest(jobs)
        trace, recipe = job.ladder.trace(job.rung), job.rung.recipe
        images, value = len(dataset.train_labels_N), 2 if precision == "bfloat16" else 4
        one = bytes_needed(trace, recipe.batch, 1, images=images, value=value)
        at_once = int(_MEMORY * machine.free_memory(device)) // one
    at_once = max(1, min(at_once, len(jobs)))
    return Placement(device=device, at_once=at_once, together=True, precision=precision)


def _largest(jobs: Sequence[Job]) -> tuple[Job, int]:
    """A job of the rung with the most jobs, and how many those are."""
    counts = Counter(job.rung.name for job in jobs)
    name, count = counts.most_common(1)[0]
    return next(job for job in jobs if job.rung.name == name), count


def _fastest(candidates: Sequence[Placement], jobs: Sequence[Job], dataset: Dataset) -> tuple[Placement, list[str]]:
    """The fastest of some placements, timed where there is more than one, and by how much it is."""
    from smallprint.training import machine

    if len(candidates) == 1:
        return candidates[0], []
    seconds = [_seconds_per_step(jobs, dataset, candidate) for candidate in candidates]
    least, chosen = min(zip(seconds, candidates, strict=True), key=lambda timed: timed[0])
    reasons = []
    elsewhere = [took for took, other in zip(seconds, candidates, strict=True) if other.device != chosen.device]
    if elsewhere:
        there = "the GPU" if chosen.device == "cpu" else f"{machine.cores()} cores"
        reasons.append(f"{min(elsewhere) / least:.1f} times as fast as {there}")
    for took, other in zip(seconds, candidates, strict=True):
        if other.device == chosen.device and other.precision != chosen.precision:
            reasons.append(f"{chosen.precision}, {took / least:.1f} times as fast as {other.precision}")
    return chosen, reasons


def _seconds_per_step(jobs: Sequence[Job], dataset: Dataset, placement: Placement) -> float:
    """Of one training, with all cores busy, or with all of the GPU."""
    from smallprint.training import machine
    from smallprint.training.timing import step_alone, step_together

    job, count = _largest(jobs)
    trace, recipe = job.ladder.trace(job.rung), job.rung.recipe
    if not placement.together:
        return step_alone(trace, recipe, dataset, placement.precision) / min(machine.cores(), len(jobs))
    together = min(count, placement.at_once)
    return step_together(trace, [recipe] * together, dataset, placement.device, placement.precision) / together
