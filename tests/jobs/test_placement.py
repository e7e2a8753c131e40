from __future__ import annotations

from pathlib import Path

import pytest

from smallprint.jobs import placement
from smallprint.jobs.job import Job
from smallprint.jobs.placement import Placement, place
from smallprint.results.runs import Precision
from smallprint.spec.errors import NotationError
from smallprint.spec.ladder import Ladder
from smallprint.training import machine
from smallprint.training.data import Dataset
from smallprint.training.native import compiler
from smallprint.training.stack import bytes_needed


@pytest.fixture
def jobs(tiny: Ladder) -> list[Job]:
    return [Job(ladder=tiny, rung=rung, seed=seed) for rung in tiny.rungs for seed in range(4)]


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "gpu", lambda: False)


def test_without_a_gpu_there_is_a_training_per_core_or_per_so_many_threads(jobs: list[Job], digits: Dataset) -> None:
    why = "no GPU is here; one per core"
    assert place(jobs, digits) == Placement(device="cpu", at_once=8, why=why)
    assert str(place(jobs, digits)) == f"8 at a time on cpu ({why})"
    assert place(jobs, digits, threads=3).at_once == 2
    assert place(jobs, digits, threads=16).at_once == 1
    assert place(jobs[:3], digits).at_once == 3
    assert place(jobs, digits, device="cpu", workers=5) == Placement(device="cpu", at_once=5)
    assert place([], digits, device="cpu") == Placement(device="cpu", at_once=1)


def test_trainings_have_the_threads_that_were_said_or_one_side_by_side_that_grows(
    jobs: list[Job], digits: Dataset, tmp_path: Path
) -> None:
    said, side_by_side, alone = (
        place(some, digits, threads=n) for some, n in ((jobs, 3), (jobs, None), (jobs[:1], None))
    )
    found = [placed.terms(tmp_path, grows=True) for placed in (said, side_by_side, alone)]
    assert [(terms.threads, terms.grows) for terms in found] == [(3, False), (1, True), (None, False)]
    assert not side_by_side.terms(tmp_path).grows


def test_a_processor_without_an_instruction_for_bfloat16_has_none(
    jobs: list[Job], digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "pairs_here", lambda: False)
    assert place(jobs, digits, device="cpu", precision="auto") == place(jobs, digits, device="cpu")
    with pytest.raises(NotationError, match="--precision bfloat16 needs a GPU"):
        place(jobs, digits, device="cpu", precision="bfloat16")


def test_a_gpu_that_is_asked_for_takes_as_many_as_its_memory_or_as_the_number_says(
    jobs: list[Job], digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, images = jobs[0].rung.recipe, len(digits.train_labels_N)
    one = bytes_needed(jobs[0].ladder.trace(jobs[0].rung), recipe.batch, 1, images=images)
    monkeypatch.setattr(machine, "free_memory", lambda device: 10 * one)
    found = place(jobs, digits, device="cuda:1")
    assert found == Placement(device="cuda:1", at_once=6, together=True)
    assert str(found) == "6 together on cuda:1"
    assert place(jobs, digits, device="cuda:1", workers=3).at_once == 3
    assert place(jobs, digits, device="cuda:1", workers=100).at_once == len(jobs)
    assert place(jobs, digits, device="cuda:1", workers=3, precision="bfloat16").precision == "bfloat16"


@pytest.mark.parametrize(
    ("seconds", "device", "why"),
    [({"cpu": 0.9, "cuda": 0.1}, "cuda", "9.0 times as fast as 8 cores"),
     ({"cpu": 0.1, "cuda": 0.3}, "cpu", "3.0 times as fast as the GPU; one per core")],
)  # fmt: skip
def test_a_short_timing_chooses_between_a_gpu_and_the_processor(
    jobs: list[Job], digits: Dataset, monkeypatch: pytest.MonkeyPatch,
    seconds: dict[str, float], device: str, why: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(machine, "gpu", lambda: True)
    monkeypatch.setattr(machine, "free_memory", lambda device: 1 << 40)
    # No GPU is here to be timed.
    monkeypatch.setattr(placement, "_seconds_per_step", lambda _jobs, _data, where: seconds[where.device])
    found = place(jobs, digits)
    assert (found.device, found.why, found.together) == (device, why, device == "cuda")


@pytest.mark.parametrize(
    ("seconds", "precision", "why"),
    [({"float32": 0.3, "bfloat16": 0.2}, "bfloat16", "bfloat16, 1.5 times as fast as float32; one per core"),
     ({"float32": 0.2, "bfloat16": 0.3}, "float32", "float32, 1.5 times as fast as bfloat16; one per core")],
)  # fmt: skip
def test_a_short_timing_chooses_between_the_precisions_of_a_processor_that_has_both(
    jobs: list[Job], digits: Dataset, monkeypatch: pytest.MonkeyPatch,
    seconds: dict[str, float], precision: str, why: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(compiler, "pairs_here", lambda: True)
    monkeypatch.setattr(placement, "_seconds_per_step", lambda _jobs, _data, where: seconds[where.precision])
    found = place(jobs, digits, device="cpu", precision="auto")
    assert (found.device, found.precision, found.why) == ("cpu", precision, why)
    assert place(jobs, digits, device="cpu", precision="bfloat16").precision == "bfloat16"


@pytest.mark.parametrize("together", [False, True])  # the latter is the same code as on a GPU
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_timing_takes_steps_of_the_rung_with_the_most_jobs(
    jobs: list[Job], digits: Dataset, together: bool, precision: Precision
) -> None:
    there = Placement(device="cpu", at_once=2, together=together, precision=precision)
    assert placement._seconds_per_step(jobs[1:], digits, there) > 0
