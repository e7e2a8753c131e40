"""Data of your own that is wrong: one message, status 2, no half-made cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smallprint.training.data import images
from tests.bad_data import BAD, arrays, good, idx_files, png, single
from tests.own_data import LADDER, cached
from tests.typed import Say, files, speaker


@pytest.fixture
def say(
    tmp_path: Path,
    empty_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Say:
    """Run a command line in an empty folder, with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty_cache))
    for name in ("SMALLPRINT_DATA", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    return speaker(monkeypatch, capsys)


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_one_message_and_status_2_and_leaves_nothing_in_the_cache(
    say: Say, tmp_path: Path, case: str
) -> None:
    build, message = BAD[case]
    build(tmp_path / "photos")
    before = {} if case == "pipe" else files(tmp_path)
    assert say("data", "photos") == (2, "", f"smallprint: {message}\n")
    assert cached() == []
    assert case == "pipe" or files(tmp_path) == before


@pytest.mark.parametrize(
    ("build", "split", "message"),
    [
        (good, "20% test, seed 0", "photos has train/ and test/ of its own: leave the split out"),
        (arrays(), "20% test, seed 0", "photos/data.npz has test images of its own: leave the split out"),
        (idx_files(), "20% test, seed 0", "photos has test images of its own: leave the split out"),
        (single, "20% test, seed 0", "photos/dog has one image; a split needs two of each class, one for the test"),
    ],
)
def test_a_split_that_does_not_fit_the_data_is_refused(
    say: Say, tmp_path: Path, build: Callable[[Path], None], split: str, message: str
) -> None:
    build(tmp_path / "photos")
    assert say("data", "photos", "--split", split) == (2, "", f"smallprint: {message}\n")
    (tmp_path / "own.toml").write_text(LADDER.format(dataset="photos", split=f'split = "{split}"', outputs=3))
    assert say("show", "own.toml") == (2, "", f"smallprint: own.toml:3: {message}\n")
    assert cached() == []


KNOWN = "mnist, mnist-deskewed, digits, fashion-mnist, kmnist, qmnist, emnist-letters, emnist-digits, emnist-balanced"


@pytest.mark.parametrize(
    ("dataset", "split", "message"),
    [
        ("photo", "", f"3: no data set is called 'photo', and 'photo' is no folder or file; known: {KNOWN}"),
        (
            "digit", "",
            f"3: no data set is called 'digit', and 'digit' is no folder or file; known: {KNOWN}; "
            "did you mean 'digits'?",
        ),
        ("./photos", "", "3: photos: no such folder or file"),
        ("there/photos", "", "3: there/photos: no such folder or file"),
        ("photos.npz", "", "3: photos.npz: no such folder or file"),
        ("own.toml", "", "3: own.toml: a file of your own data is .npz; otherwise name a folder"),
        ("", "", "3: the path of the data is empty"),
        ("digits", 'split = "20% test, seed 0"', "4: digits has test images of its own: leave the split out"),
        ("photos", 'split = "20%"', "4: a split reads '20% test, seed 0', not '20%'"),
        (
            "photos",
            'split = "0% test, seed 0"',
            "4: a split leaves images for the test: more than 0%, not '0% test, seed 0'",
        ),
        ("photos", "split = 20", "4: split is a text in quotes"),
    ],
)  # fmt: skip
def test_a_ladder_that_does_not_say_its_data_is_refused_with_the_line(
    say: Say, tmp_path: Path, dataset: str, split: str, message: str
) -> None:
    (tmp_path / "own.toml").write_text(LADDER.format(dataset=dataset, split=split, outputs=10))
    assert say("show", "own.toml") == (2, "", f"smallprint: own.toml:{message}\n")
    assert cached() == []


def test_a_folder_that_changes_while_it_is_read_is_refused_and_not_kept(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = good(tmp_path / "photos")
    decode = images.decode

    def decode_while_a_file_arrives(content: bytes) -> Any:
        png(folder / "train" / "cat" / "late.png")
        return decode(content)

    monkeypatch.setattr(images, "decode", decode_while_a_file_arrives)
    assert say("data", "photos") == (
        2, "", "smallprint: photos: changed while it was read; start again when it is complete\n"
    )  # fmt: skip
    assert cached() == []
    monkeypatch.setattr(images, "decode", decode)
    assert say("data", "photos").status == 0


def test_a_folder_that_may_not_be_read_is_said(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good(tmp_path / "photos")
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert say("data", "photos") == (2, "", "smallprint: photos/test/dog: cannot be read: Permission denied\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("new digits --data photos", "a ladder called digits is shipped; choose another name"),
        (
            "new there --data photos",
            "there.toml is there already; choose another name, or say --force to write over it",
        ),
        ("new Grö --data photos", "Grö.toml: a ladder's file name is made of a-z, 0-9, '.', '_' and '-'; found 'Grö'"),
        ("new here --data nowhere/x", "nowhere/x: no such folder or file"),
        ("new here --data photos --split 20%", "a split reads '20% test, seed 0', not '20%'"),
        ("new here --data digits --split", "Option '--split' requires an argument."),
        ("data there.toml --split x", "a ladder says its split itself: leave --split out"),
    ],
)
def test_new_writes_nothing_where_something_is_wrong(say: Say, tmp_path: Path, words: str, message: str) -> None:
    good(tmp_path / "photos")
    (tmp_path / "there.toml").write_text(LADDER.format(dataset="photos", split="", outputs=2))
    before = files(tmp_path)
    status, out, err = say(*words.split(" "))
    assert (status, out) == (2, "")
    assert err.endswith(f": {message}\n")
    assert files(tmp_path) == before
    assert say("new", "there", "--data", "photos", "--force").status == 0
    assert files(tmp_path) != before
