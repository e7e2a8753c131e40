from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from smallprint.spec.dataset import DataPlace, Split
from smallprint.training.data import cache_folder, load_dataset
from smallprint.training.data import images as decoding
from smallprint.training.data.cache import Cache
from smallprint.training.facts import read_facts

SPLIT = "50% test, seed 0"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(random.integers(0, 256, (3, 4), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files were written some while ago."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the images that were decoded."""
    count: list[int] = []
    decode = decoding.decode

    def counted(content: bytes) -> NDArray[np.uint8]:
        count.append(1)
        return decode(content)

    monkeypatch.setattr(decoding, "decode", counted)
    return count


@pytest.mark.usefixtures("later")
def test_what_was_read_once_is_read_from_the_cache_without_a_look_into_a_file(
    photos: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_dataset(photos, split=SPLIT)
    assert len(decoded) == 8
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    again = load_dataset(photos, split=SPLIT)
    facts = read_facts(DataPlace(said=str(photos), split=Split.parse(SPLIT)))
    assert len(decoded) == 8
    assert again.fingerprint == first.fingerprint
    assert again.facts == first.facts == facts
    assert again.found == first.found == str(photos)


@pytest.mark.usefixtures("later")
def test_facts_are_read_without_the_images(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(photos, split=SPLIT)
    monkeypatch.setattr(Cache, "load", lambda *_: pytest.fail("the images were loaded"))
    assert read_facts(DataPlace(said=str(photos), split=Split.parse(SPLIT))) == first.facts


@pytest.mark.usefixtures("later")
def test_any_change_of_the_folder_is_seen_and_there_is_one_file_for_each_path_and_split(
    photos: Path, decoded: list[int], cache: Path
) -> None:
    first = load_dataset(photos, split=SPLIT)
    path = photos / "cat" / "1.png"
    times, size = path.stat(), len(path.read_bytes())
    Image.fromarray(np.full((3, 4), 7, np.uint8)).save(path)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == size
    second = load_dataset(photos, split=SPLIT)
    assert second.fingerprint != first.fingerprint
    assert len(decoded) == 16
    assert len(list(cache.iterdir())) == 1
    load_dataset(photos, split="25% test, seed 0")
    assert len(list(cache.iterdir())) == 2


@pytest.mark.usefixtures("later")
def test_files_that_are_only_touched_are_compared_and_not_decoded_again(
    photos: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_dataset(photos, split=SPLIT)
    for path in photos.rglob("*.png"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    (photos / "README").write_text("is not one of the images")
    assert load_dataset(photos, split=SPLIT).fingerprint == first.fingerprint
    assert len(decoded) == 8
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert load_dataset(photos, split=SPLIT).fingerprint == first.fingerprint


def test_files_so_new_that_a_change_might_not_show_are_compared_again(photos: Path, decoded: list[int]) -> None:
    load_dataset(photos, split=SPLIT)
    path = photos / "cat" / "1.png"
    status = path.stat()
    about = Cache(photos, Split.parse(SPLIT)).about()
    assert about is not None
    assert not about.settled
    assert load_dataset(photos, split=SPLIT).facts.train == 4
    assert len(decoded) == 8
    assert path.stat().st_mtime_ns == status.st_mtime_ns


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "text", "header", "one bit", "gone", "folder"])
def test_a_broken_cache_heals_itself(photos: Path, decoded: list[int], cache: Path, damage: str) -> None:
    first = load_dataset(photos, split=SPLIT)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    place = DataPlace(said=str(photos), split=Split.parse(SPLIT))
    broken = {
        "empty": b"",
        "cut": whole[:-5],
        "zeros": bytes(len(whole)),
        "text": b"no cache",
        "header": whole.replace(b'\\"cat\\"', b'\\"bat\\"'),
        "one bit": whole[:-1] + bytes([whole[-1] ^ 1]),
    }.get(damage)
    file.unlink()
    if broken is not None:
        assert broken != whole
        file.write_bytes(broken)
    elif damage == "folder":
        file.mkdir()
    assert load_dataset(photos, split=SPLIT).fingerprint == first.fingerprint
    assert read_facts(place) == first.facts
    assert len(decoded) >= 16
    if damage != "folder":
        assert file.read_bytes() == whole
    assert [path for path in cache.iterdir() if path != file] == []


def test_a_cache_that_cannot_be_written_is_done_without(photos: Path, cache: Path, decoded: list[int]) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    assert load_dataset(photos, split=SPLIT).fingerprint == load_dataset(photos, split=SPLIT).fingerprint
    assert len(decoded) == 16
    assert cache.read_text() == "in the way"


def test_a_write_that_breaks_off_leaves_nothing(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert load_dataset(photos, split=SPLIT).facts.train == 4
    assert list(cache.iterdir()) == []


def read_many(photos: str, results: multiprocessing.Queue[str]) -> None:
    for _ in range(5):
        for file in (cache_folder() / "own").glob("*"):
            file.unlink(missing_ok=True)
        results.put(load_dataset(photos, split=SPLIT).fingerprint)


def test_processes_that_read_write_and_remove_at_once_all_get_the_whole_data(photos: Path, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=read_many, args=(str(photos), results)) for _ in range(2)]
    for process in processes:
        process.start()
    prints = [results.get(timeout=60) for _ in range(10)]
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}
    assert len(set(prints)) == 1
    assert all(file.name.startswith("photos-") for file in cache.iterdir())
