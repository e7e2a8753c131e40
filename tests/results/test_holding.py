"""One process at a time: the lock, who holds it, and what becomes of it when its file is taken away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smallprint.results.holding import HeldError, Hold
from smallprint.spec.errors import RunError


def test_what_is_held_is_held_by_one_who_says_who_he_is_and_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "small" / "certificate.json"
    with Hold(path) as hold:
        assert hold.ours
        assert (tmp_path / "small" / ".certificate.json.lock").read_text() == str(os.getpid())
        with pytest.raises(HeldError) as caught, Hold(path):
            pass
        assert caught.value.holder == os.getpid()
        assert str(caught.value) == (
            f"{path}: held by process {os.getpid()}; start again when it has ended, or choose another --runs"
        )
    assert (tmp_path / "small" / ".certificate.json.lock").read_text() == ""
    with Hold(path, holder=1), pytest.raises(HeldError, match="held by process 1; "), Hold(path):
        pass
    assert not path.exists()


def test_a_lock_whose_file_is_gone_or_another_one_is_no_longer_ours(tmp_path: Path) -> None:
    with Hold(tmp_path / "thing") as hold:
        (tmp_path / ".thing.lock").unlink()
        assert not hold.ours
        (tmp_path / ".thing.lock").write_text("")
        assert not hold.ours


def test_a_place_that_takes_no_lock_says_so(tmp_path: Path) -> None:
    (tmp_path / "small").write_text("a file")
    with pytest.raises(RunError, match="cannot be written: File exists"), Hold(tmp_path / "small" / "certificate.json"):
        pass
