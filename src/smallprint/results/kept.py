"""What run folders still say of data that is gone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from smallprint.results.runs import stored_run
from smallprint.spec.dataset import DataPlace, DatasetFacts
from smallprint.spec.errors import LadderError, RunError
from smallprint.spec.ladder_file import parse_ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptData:
    """Data of your own, as the runs that were trained on it remember it."""

    facts: DatasetFacts
    fingerprint: str  # SHA-256 of its images and labels


def kept_data(root: Path, data: DataPlace) -> KeptData | None:
    """What the runs under `root` say of data of your own: where they disagree, what most of them say.

    Runs that were set aside count only where no other run knows the data. No clock is asked which one is newest.
    """
    current: Counter[KeptData] = Counter()
    aside: Counter[KeptData] = Counter()
    for folder in sorted(root.glob("*/*/seed-*")):
        if kept := _kept(folder, data):
            (current if folder.name.removeprefix("seed-").isdecimal() else aside)[kept] += 1
    known = current or aside
    return known.most_common(1)[0][0] if known else None


def _kept(folder: Path, data: DataPlace) -> KeptData | None:
    try:
        ladder = parse_ladder((folder / "rung.toml").read_text(encoding="utf-8"), name="kept")
        run = stored_run(folder)
    except (OSError, UnicodeDecodeError, LadderError, RunError):
        return None
    if run is None or ladder.data.known or (ladder.dataset, ladder.data.split) != (data.name, data.split):
        return None
    return KeptData(facts=ladder.facts, fingerprint=run.data)
