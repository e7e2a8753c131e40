from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from smallprint.spec.dataset import DATASETS, DataPlace
from smallprint.spec.errors import DataError, LadderError
from smallprint.training.data import load_dataset
from smallprint.training.facts import parse_ladder, read_facts, read_ladder

TEXT = """
dataset = "own.npz"
[contract]
accuracy = ">= 50%"
[recipe]
optimiser = "sgd lr=0.1"
[[rung]]
name = "only"
network = "conv3-4 gap conv1-2"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    folder.mkdir()
    images, labels = np.zeros((4, 6, 5, 3), np.uint8), np.array([0, 1, 0, 1])
    np.savez(folder / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    (folder / "own.toml").write_text(TEXT)
    return folder


def test_a_ladder_read_from_its_file_knows_the_data_beside_it(folder: Path) -> None:
    ladder = read_ladder(folder / "own.toml")
    assert ladder.facts.input_shape == (3, 6, 5)
    assert ladder.facts.classes == ("0", "1")
    assert ladder.dataset == "own.npz"
    assert ladder.trace(ladder.rungs[0]).parameters == 4 * 3 * 9 + 2 * 4
    assert load_dataset(ladder.data).facts == ladder.facts
    ladder.check(load_dataset(ladder.data).facts)


def test_a_ladder_read_from_text_finds_data_in_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        LadderError, match=r"^x.toml:2: no data set is called 'own\.npz'|own\.npz: no such folder or file$"
    ):
        parse_ladder(TEXT, name="x")
    monkeypatch.chdir(folder)
    assert parse_ladder(TEXT, name="x").facts == read_ladder(folder / "own.toml").facts


def test_known_facts_are_told_without_numpy_and_others_are_read(folder: Path) -> None:
    assert read_facts(DataPlace(said="emnist-balanced")) is DATASETS["emnist-balanced"]
    assert read_facts(DataPlace(said="own.npz"), folder).train == 4
    with pytest.raises(DataError, match="no data set is called 'nothing'"):
        read_facts(DataPlace(said="nothing"))
    program = "import sys; from smallprint.training.facts import read_ladder; read_ladder('digits'); "
    done = subprocess.run([sys.executable, "-c", f"{program}assert 'numpy' not in sys.modules"], check=False)
    assert done.returncode == 0
