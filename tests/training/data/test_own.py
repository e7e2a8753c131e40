from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smallprint.spec.dataset import DataPlace, Split
from smallprint.spec.errors import DataError, NotationError
from smallprint.training.data import load_dataset, needs_split
from smallprint.training.data.own import find_own, load_own, own_facts, own_fingerprint


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.full((3, 4), len(name), np.uint8)).save(folder / name / "1.png")
    return folder


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    folder = tmp_path / "arrays"
    folder.mkdir()
    images, labels = np.zeros((2, 3, 4), np.uint8), np.array([0, 1])
    np.savez(folder / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return folder


def test_data_lies_where_the_ladder_file_says_or_in_the_folder_that_stands_in(photos: Path, tmp_path: Path) -> None:
    place = DataPlace(said="photos", folder=tmp_path)
    assert find_own(place) == tmp_path / "photos"
    assert load_own(place).found == str(photos)
    moved = tmp_path / "elsewhere" / "photos"
    shutil.copytree(photos, moved)
    shutil.rmtree(photos)
    assert load_own(place, tmp_path / "elsewhere").found == str(moved)
    assert load_own(place, moved).found == str(moved)
    assert own_facts(place, moved) == load_own(place, moved).facts
    with pytest.raises(DataError, match="photos' is no folder or file"):
        load_own(place)
    with pytest.raises(DataError, match=f"^{tmp_path}/gone: no such folder or file$"):
        load_own(place, tmp_path / "gone")


def test_the_fingerprint_is_that_of_the_data_as_it_is_now(photos: Path, tmp_path: Path) -> None:
    place = DataPlace(said="photos", folder=tmp_path)
    first = own_fingerprint(place)
    assert first == load_own(place).fingerprint == own_fingerprint(place)
    Image.fromarray(np.full((3, 4), 200, np.uint8)).save(photos / "train" / "cat" / "1.png")
    assert own_fingerprint(place) == load_own(place).fingerprint != first
    shutil.rmtree(photos)
    with pytest.raises(DataError, match="photos' is no folder or file"):
        own_fingerprint(place)


def test_an_npz_file_and_the_folder_of_one_are_the_same_data(arrays: Path) -> None:
    by_folder, by_file = load_dataset(arrays), load_dataset(arrays / "data.npz")
    assert by_folder.fingerprint == by_file.fingerprint
    assert by_folder.facts.name == "arrays"
    named = arrays / "other-name.npz"
    (arrays / "data.npz").rename(named)
    assert load_dataset(named).fingerprint == by_file.fingerprint
    with pytest.raises(DataError, match="arrays holds no data"):
        load_dataset(arrays)


def test_only_class_folders_without_halves_need_a_split(photos: Path, arrays: Path) -> None:
    assert not needs_split(DataPlace(said=str(photos)))
    assert not needs_split(DataPlace(said=str(arrays)))
    assert not needs_split(DataPlace(said=str(arrays / "data.npz")))
    assert needs_split(DataPlace(said=str(photos / "train")))
    with pytest.raises(DataError, match="no such folder or file"):
        needs_split(DataPlace(said=str(photos / "gone")))


def test_a_path_may_be_given_as_text_as_a_path_or_as_a_place(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    prints = {
        load_dataset(data).fingerprint
        for data in ("photos", "./photos/", photos, DataPlace(said="photos"), DataPlace(said=str(photos)))
    }
    assert len(prints) == 1
    assert load_dataset("digits", split=None).facts.name == "digits"


def test_a_split_that_does_not_read_or_is_not_needed_is_refused(photos: Path) -> None:
    with pytest.raises(NotationError, match="a split reads '20% test, seed 0', not 'half'"):
        load_dataset(photos / "train", split="half")
    with pytest.raises(DataError, match="digits has test images of its own: leave the split out"):
        load_dataset("digits", split="20% test, seed 0")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("a\0b", r"no data set and no path of your own is called 'a\\x00b'"),
        ("line\nbreak", r"no data set and no path of your own is called 'line\\nbreak'"),
        ("", "the path of the data is empty"),
        ("x" * 5_000, r"'x+\.\.\.: cannot be read: File name too long"),
    ],
)
def test_a_name_that_no_folder_has_is_refused(said: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}$"):
        load_own(DataPlace(said=said, split=Split(percent=20.0, seed=0)))
