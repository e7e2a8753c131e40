from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from smallprint.spec.errors import DataError
from smallprint.training.data.tree import Contents, look


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("train/cat/1.png", "train/cat/2.png", "test/dog/1.png", "README"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_tree_has_files_and_folders_in_order_and_nothing_that_systems_leave_behind(folder: Path) -> None:
    for name in (".DS_Store", "train/Thumbs.db", "test/.hidden/1.png", "__MACOSX/cat/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    tree = look(folder)
    assert [file.name for file in tree.files] == ["README", "test/dog/1.png", "train/cat/1.png", "train/cat/2.png"]
    assert tree.folders == ("test", "test/dog", "train", "train/cat")
    assert tree.folders_in("") == ["test", "train"]
    assert tree.folders_in("train") == ["cat"]
    assert [file.size for file in tree.inside["train/cat"]] == [15, 15]
    assert [file.name for file in tree.inside[""]] == ["README"]


def test_a_single_file_is_a_tree_of_one(folder: Path) -> None:
    tree = look(folder / "README")
    assert (tree.root, [file.name for file in tree.files]) == (folder, ["README"])
    assert Contents(tree).read(tree.files[0]) == b"README"


def test_the_digest_shows_every_change_even_one_of_equal_size_whose_time_was_set_back(folder: Path) -> None:
    before = look(folder)
    assert look(folder).digest == before.digest
    seen = {before.digest}

    def changed() -> bool:
        seen.add(look(folder).digest)
        return len(seen) == steps

    path = folder / "train" / "cat" / "1.png"
    times = path.stat()
    steps = 2
    path.rename(path.with_name("3.png"))
    assert changed()
    steps = 3
    path.with_name("3.png").write_bytes(b"longer than it was")
    assert changed()
    steps = 4
    path.with_name("3.png").rename(path)
    path.write_bytes(b"train/cat/9.png")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert changed()
    steps = 5
    (folder / "train" / "empty").mkdir()
    assert changed()


def test_the_sum_of_contents_is_that_of_names_and_bytes_alone(folder: Path) -> None:
    tree = look(folder)
    first = Contents(tree).digest(tree.files)
    os.utime(folder / "README", ns=(1, 1))
    again = look(folder)
    assert again.digest != tree.digest
    assert Contents(again).digest(again.files) == first
    assert Contents(again).digest(again.files[1:]) != first
    (folder / "README").write_bytes(b"readme")
    assert Contents(look(folder)).digest(again.files) != first


def test_a_tree_is_settled_once_its_newest_file_is_seconds_old(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not look(folder).settled
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10)
    assert look(folder).settled
    os.utime(folder / "README", (now + 10**6, now + 10**6))  # a clock that was wrong does not keep it unsettled
    assert look(folder).settled


def test_links_are_followed_inside_and_never_out(folder: Path) -> None:
    (folder / "train" / "cat" / "3.png").symlink_to("1.png")
    (folder / "train" / "lion").symlink_to("cat")
    tree = look(folder)
    assert Contents(tree).read(tree.inside["train/cat"][2]) == b"train/cat/1.png"
    assert "train/lion/3.png" in [file.name for file in tree.files]
    (folder / "circle").symlink_to("circle")
    with pytest.raises(DataError, match=r"photos/circle: a link that leads nowhere; take it away"):
        look(folder)
    (folder / "circle").unlink()
    (folder / "up").symlink_to("..")
    with pytest.raises(DataError, match=r"photos/up: a link that leads out of the folder; put the file itself"):
        look(folder)
    (folder / "up").unlink()
    linked = folder.with_name("linked")
    linked.symlink_to(folder)
    assert look(linked).files == tree.files


def test_a_file_that_is_gone_when_it_is_read_is_named(folder: Path) -> None:
    tree = look(folder)
    (folder / "README").unlink()
    with pytest.raises(DataError, match=r"photos/README: cannot be read: No such file or directory"):
        Contents(tree).read(tree.files[0])
