"""How the terminal is written to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.typed import Say, plain_environment


def test_a_closed_pipe_ends_the_command_quietly(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m smallprint show progressive | head -n 1",
        shell=True, cwd=tmp_path, capture_output=True, text=True, check=True, env=plain_environment(),
    )  # fmt: skip
    assert done.stderr == ""


def test_show_aligns_its_columns_however_narrow_the_screen(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = say("show", "progressive:dropout").out
    monkeypatch.setenv("COLUMNS", "40")
    assert say("show", "progressive:dropout").out == wide
    lines = wide.splitlines()
    header = next(line for line in lines if line.startswith("layer"))
    assert all(len(line) == len(header) for line in lines if line.startswith(("conv", "maxpool", "gap")))
    assert lines[-1].split() == ["7,864", "1,045,312"]
    assert not any(line != line.rstrip() for line in lines)
