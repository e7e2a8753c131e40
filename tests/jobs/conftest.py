from __future__ import annotations

import os
from pathlib import Path

import pytest

from smallprint.jobs.job import Job, Terms
from smallprint.spec.ladder import Ladder


@pytest.fixture
def job(tiny: Ladder) -> Job:
    return Job(ladder=tiny, rung=tiny.rungs[0], seed=0)


@pytest.fixture
def terms(tmp_path: Path) -> Terms:
    return Terms(root=tmp_path, device="cpu", threads=1, holder=os.getpid())
