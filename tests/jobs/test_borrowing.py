from dataclasses import replace
from pathlib import Path

import pytest

from smallprint.jobs.borrowing import borrow
from smallprint.jobs.job import Job, Terms, stored_whole
from smallprint.spec.ladder import Ladder
from smallprint.spec.recipe import Recipe
from smallprint.training.data import Dataset
from tests.jobs.trainings import interrupted, trained


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory, tiny: Ladder, digits: Dataset) -> Path:
    """Runs of a rung with two seeds, one whole and one left after an epoch."""
    root = tmp_path_factory.mktemp("lender")
    terms = Terms(root=root, device="cpu", threads=1, holder=0)
    trained(Job(ladder=tiny, rung=tiny.rungs[0], seed=0), digits, terms)
    interrupted(Job(ladder=tiny, rung=tiny.rungs[0], seed=1), digits, terms)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_whole_run_is_copied_as_it_is(tiny: Ladder, digits: Dataset, lender: Path, tmp_path: Path) -> None:
    job = Job(ladder=tiny, rung=tiny.rungs[0], seed=0)
    borrow([job], digits.fingerprint, tmp_path, [tmp_path / "nothing", lender])
    assert stored_whole(job, digits.fingerprint, tmp_path)
    assert contents(job.folder(tmp_path)) == contents(job.folder(lender))
    assert [path.name for path in job.folder(tmp_path).parent.iterdir()] == ["seed-0"]


def test_what_is_not_whole_or_of_other_text_seed_or_data_is_left(
    tiny: Ladder, digits: Dataset, lender: Path, tmp_path: Path
) -> None:
    first = tiny.rungs[0]
    longer = replace(first, recipe=replace(first.recipe, epochs=3))
    jobs = [Job(ladder=tiny, rung=first, seed=seed) for seed in (1, 2)]
    jobs += [Job(ladder=replace(tiny, rungs=(longer,)), rung=longer, seed=0)]
    borrow(jobs, digits.fingerprint, tmp_path, [lender])
    borrow([Job(ladder=tiny, rung=first, seed=0)], "other data", tmp_path, [lender])
    assert list(tmp_path.iterdir()) == []


def test_what_is_here_stays_and_what_is_damaged_there_is_not_taken(
    tiny: Ladder, digits: Dataset, lender: Path, tmp_path: Path
) -> None:
    job = Job(ladder=tiny, rung=tiny.rungs[0], seed=0)
    job.folder(tmp_path / "here").mkdir(parents=True)
    (job.folder(tmp_path / "here") / "mine").write_text("kept")
    borrow([job], digits.fingerprint, tmp_path / "here", [lender])
    assert contents(job.folder(tmp_path / "here")) == {"mine": b"kept"}
    borrow([job], digits.fingerprint, tmp_path / "there", [lender])
    (job.folder(tmp_path / "there") / "run.json").write_text("{")
    borrow([job], digits.fingerprint, tmp_path / "new", [tmp_path / "there"])
    assert not (tmp_path / "new").exists()


def test_what_teaches_comes_too(digits: Dataset, tiny: Ladder, lender: Path, tmp_path: Path) -> None:
    first = tiny.rungs[0]
    taught = Recipe.parse({**first.recipe.sentences(), "loss": f"distilled {first.name}"})
    pupil = replace(first, name="pupil", recipe=taught)
    job = Job(ladder=replace(tiny, rungs=(first, pupil)), rung=pupil, seed=7)
    borrow([job], digits.fingerprint, tmp_path, [lender])
    assert stored_whole(Job(ladder=tiny, rung=first, seed=0), digits.fingerprint, tmp_path)
    assert not job.folder(tmp_path).exists()
