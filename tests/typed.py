"""Command lines as a user types them, run in this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from smallprint.cli import main


class Said(NamedTuple):
    status: int
    out: str
    err: str


Say = Callable[..., Said]


def speaker(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command line; its status, output and errors."""

    def say(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["smallprint", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Said(end.value.code, *capsys.readouterr())

    return say


def document(said: Said) -> Any:
    assert said.err == ""
    return json.loads(said.out)


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, byte for byte."""
    return {
        os.fsencode(path.relative_to(folder)).decode(errors="replace"): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def plain_environment() -> dict[str, str]:
    """For a process of its own: no colours, no data set."""
    return {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "SMALLPRINT_DATA")}
