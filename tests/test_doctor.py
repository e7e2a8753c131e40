"""What doctor finds."""

from __future__ import annotations

import os
from pathlib import Path

import smallprint
from tests.typed import Say, document


def test_doctor_gives_what_it_finds_as_json(say: Say) -> None:
    said = document(say("doctor", "--json"))
    assert (said["smallprint"], said["mnist"]) == (smallprint.__version__, None)
    assert said["cache"] == str(Path(os.environ["XDG_CACHE_HOME"]) / "smallprint" / "data")
    assert said["ladders"] == list(smallprint.shipped())
    told = say("doctor").out
    assert "'smallprint data mnist' fetches it" in told
    assert f"   trainings: {said['trainings']}\n" in told
    if not said["gpu"]:
        per = "; one per core" if said["cores"] > 1 else ""
        assert said["trainings"] == f"{said['cores']} at a time on cpu (no GPU is here{per})"
    assert said["step"].startswith("native, compiled by /") or "many times slower" in said["step"]
