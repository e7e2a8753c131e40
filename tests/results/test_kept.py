from __future__ import annotations

import os
from pathlib import Path

from smallprint.results.kept import kept_facts
from smallprint.spec.dataset import DataPlace, DatasetFacts, Split
from smallprint.spec.ladder import Ladder, parse_ladder

FACTS = DatasetFacts(
    name="photos", title="photos: data of your own", input_shape=(3, 8, 8), classes=("cat", "dog"), train=8, test=2
)
SPLIT = Split(percent=20.0, seed=0)


def ladder(dataset: str, facts: DatasetFacts, split: str = 'split = "20% test, seed 0"') -> Ladder:
    text = f"""
        dataset = "{dataset}"
        {split}
        [contract]
        accuracy = ">= 50%"
        [recipe]
        optimiser = "sgd lr=0.1"
        [[rung]]
        name = "only"
        network = "conv3-4 gap conv1-10"
    """
    return parse_ladder(text, name="own", facts_of=lambda _: facts)


def keep(root: Path, ladder: Ladder, seed: int, age: int) -> None:
    folder = root / ladder.name / "only" / f"seed-{seed}"
    folder.mkdir(parents=True)
    (folder / "rung.toml").write_text(ladder.only(ladder.rungs[0]))
    os.utime(folder / "rung.toml", (10**9 - age, 10**9 - age))


def test_the_newest_run_on_the_same_data_says_what_it_was(tmp_path: Path) -> None:
    from dataclasses import replace

    keep(tmp_path, ladder("photos", FACTS), 0, age=10)
    keep(tmp_path, ladder("photos", replace(FACTS, train=9)), 1, age=5)
    keep(tmp_path, ladder("others", replace(FACTS, train=99)), 2, age=0)
    keep(tmp_path, ladder("photos", replace(FACTS, train=98), 'split = "20% test, seed 1"'), 3, age=0)
    (tmp_path / "own" / "only" / "seed-4").mkdir()
    (tmp_path / "own" / "only" / "seed-4" / "rung.toml").write_text("damaged")
    found = kept_facts(tmp_path, DataPlace(said="/somewhere/else/photos", split=SPLIT))
    assert found == replace(FACTS, train=9)
    assert kept_facts(tmp_path, DataPlace(said="photos")) is None
    assert kept_facts(tmp_path / "nowhere", DataPlace(said="photos", split=SPLIT)) is None
