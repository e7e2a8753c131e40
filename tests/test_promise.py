"""The promise, kept by a real climb."""

from __future__ import annotations

from pathlib import Path

import smallprint
from smallprint.climb import RungJudged


def test_the_last_rung_of_the_digits_keeps_its_contract_in_most_seeds(tmp_path: Path) -> None:
    events = smallprint.climb("digits", rungs=["quiet-end"], seeds=3, runs=tmp_path, threads=1)
    (judged,) = [event for event in events if isinstance(event, RungJudged)]
    verdict = judged.result.verdict
    assert verdict is not None
    assert verdict.of == 3
    assert verdict.passed >= 2, verdict.text
