from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from smallprint.results.kept import KeptData, kept_data
from smallprint.results.runs import Run
from smallprint.results.writer import RunWriter
from smallprint.spec.dataset import DataPlace, DatasetFacts, Split
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder

FACTS = DatasetFacts(
    name="photos", title="photos: data of your own", input_shape=(3, 8, 8), classes=("cat", "dog"), train=8, test=2
)
SPLIT = Split(percent=20.0, seed=0)
MakeRun = Callable[..., Run]


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


def keep(root: Path, ladder: Ladder, make_run: MakeRun, name: str, *, data: str = "a", age: int = 0) -> None:
    folder = root / ladder.name / "only" / name
    with RunWriter(folder) as writer:
        writer.begin(replace(make_run([], status="training"), data=data), ladder.only(ladder.rungs[0]))
    os.utime(folder / "rung.toml", (10**9 - age, 10**9 - age))


PLACE = DataPlace(said="/somewhere/else/photos", split=SPLIT)


def test_data_that_is_gone_is_what_most_runs_on_it_say_whatever_the_clock_said(
    tmp_path: Path, make_run: MakeRun
) -> None:
    more, most = replace(FACTS, train=9), replace(FACTS, train=10)
    keep(tmp_path, ladder("photos", FACTS), make_run, "seed-0", age=-10)
    keep(tmp_path, ladder("photos", more), make_run, "seed-1", data="b", age=5)
    keep(tmp_path, ladder("photos", more), make_run, "seed-2", data="b", age=10)
    for number in range(3):
        keep(tmp_path, ladder("photos", most), make_run, f"seed-{number}.0a1b2c3d")  # set aside
    keep(tmp_path, ladder("others", replace(FACTS, train=99)), make_run, "seed-3")
    keep(tmp_path, ladder("photos", replace(FACTS, train=98), 'split = "20% test, seed 1"'), make_run, "seed-4")
    (tmp_path / "own" / "only" / "seed-5").mkdir()
    (tmp_path / "own" / "only" / "seed-5" / "rung.toml").write_text("damaged")
    keep(tmp_path, ladder("photos", FACTS), make_run, "seed-6")
    (tmp_path / "own" / "only" / "seed-6" / "run.json").write_text("damaged")
    assert kept_data(tmp_path, PLACE) == KeptData(facts=more, fingerprint="b")
    assert kept_data(tmp_path, DataPlace(said="photos")) is None
    assert kept_data(tmp_path / "nowhere", PLACE) is None


def test_what_was_set_aside_knows_the_data_where_nothing_else_does(tmp_path: Path, make_run: MakeRun) -> None:
    keep(tmp_path, ladder("photos", FACTS), make_run, "seed-0.0a1b2c3d")
    assert kept_data(tmp_path, PLACE) == KeptData(facts=FACTS, fingerprint="a")
