from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallprint.new import new, starter
from smallprint.spec.dataset import DATASETS, DataPlace, DatasetFacts, Split
from smallprint.spec.errors import LadderError
from smallprint.training.facts import read_ladder


def facts(shape: tuple[int, int, int], classes: int, train: int = 1_000) -> DatasetFacts:
    names = tuple(f"class {number}" for number in range(classes))
    return DatasetFacts(name="own", title="own", input_shape=shape, classes=names, train=train, test=train // 5 + 1)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 300), st.integers(1, 300)),
    st.integers(2, 200),
    st.integers(2, 10**6),
    st.text(min_size=1, max_size=20),
    st.sampled_from([None, Split(percent=12.5, seed=3)]),
)
def test_a_starter_reads_and_fits_under_its_own_bound_whatever_the_data(
    shape: tuple[int, int, int], classes: int, train: int, said: str, split: Split | None
) -> None:
    data = DataPlace(said=said, split=split)
    text, ladder = starter("first", data, facts(shape, classes, train))
    assert (ladder.data, ladder.facts.input_shape) == (data, shape)
    assert [rung.name for rung in ladder.rungs] == ["base", "batchnorm", "augment"]
    counts = [ladder.trace(rung).parameters for rung in ladder.rungs]
    assert ladder.contract.parameters
    assert all(ladder.contract.parameters.allows(count) for count in counts)
    assert ladder.contract.parameters.value < 1.2 * max(counts) + 10
    assert ladder.contract.epochs
    assert all(ladder.contract.epochs.allows(rung.recipe.epochs) for rung in ladder.rungs)
    assert all(ladder.trace(rung).output_shape[0] == classes for rung in ladder.rungs)
    assert ladder.trace(ladder.rungs[0]).receptive_field >= min(shape[1:])
    assert text.count("\n# ") + text.count("  #") > 8  # it says why


def test_each_rung_of_a_starter_is_one_idea() -> None:
    from smallprint.spec.ladder import diff

    _, ladder = starter("first", DataPlace(said="own"), facts((3, 32, 32), 10))
    first, second = (diff(ladder, *pair) for pair in (ladder.rungs[:2], ladder.rungs[1:]))
    assert [line for line in first.network if line[0] != " "] == [
        "-after conv3: relu", "+after conv3: batchnorm relu"
    ]  # fmt: skip
    assert first.recipe == ()
    assert all(line[0] == " " for line in second.network)
    assert [key for key, _, _ in second.recipe] == ["schedule", "augment"]
    assert "brightness" in second.recipe[1][2]
    _, grey = starter("first", DataPlace(said="own"), facts((1, 32, 32), 10))
    assert "brightness" not in str(grey.rungs[2].recipe.sentences()["augment"])


def test_a_starter_for_a_known_data_set_needs_nothing_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, ladder = new("clothes", "fashion-mnist")
    assert path == Path("clothes.toml")
    assert read_ladder(path) == ladder
    assert ladder.facts is DATASETS["fashion-mnist"]
    assert "split" not in path.read_text()


def test_a_file_that_is_there_is_written_over_only_by_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, _ = new("mine.toml", "kmnist")
    path.write_text("precious")
    with pytest.raises(LadderError, match=r"^mine\.toml is there already; choose another name, or say --force"):
        new("mine", "kmnist")
    assert path.read_text() == "precious"
    new("mine", "kmnist", force=True)
    assert read_ladder("mine.toml").dataset == "kmnist"


def test_a_folder_with_a_known_name_is_not_taken_for_the_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "mnist").mkdir()
    images, labels = np.zeros((4, 6, 5), np.uint8), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "mnist" / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    path, ladder = new("mine", "./mnist")
    assert ladder.dataset == "./mnist"
    assert read_ladder(path).facts.input_shape == (1, 6, 5)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    path, ladder = new("deep/er/mine", str(tmp_path / "mnist"))
    assert ladder.dataset == "../../mnist"
    assert read_ladder(path).facts.input_shape == (1, 6, 5)
