"""Borrowing: what another folder of runs has already trained is copied, not trained again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from smallprint.jobs.job import Job, stored_whole, with_teachers
from smallprint.spec.errors import RunError


def borrow(jobs: Sequence[Job], data: str, root: Path, others: Sequence[Path]) -> None:
    """Bring whole runs of jobs, and of what teaches them, from other roots to `root`, where nothing of them is.

    A run is that of a job if its network, recipe, data (by fingerprint) and seed are. One that cannot be read or copied
    is trained as if there were none.
    """
    for job in with_teachers(jobs):
        folder = job.folder(root)
        lender = None if folder.exists() else next((other for other in others if _has(job, data, other)), None)
        if lender:
            with suppress(OSError):
                _copy(job.folder(lender), folder)


def _has(job: Job, data: str, root: Path) -> bool:
    try:
        return stored_whole(job, data, root) is not None
    except RunError:
        return False


def _copy(source: Path, target: Path) -> None:
    """As a whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as made:
        shutil.copytree(source, Path(made) / target.name)
        (Path(made) / target.name).rename(target)
