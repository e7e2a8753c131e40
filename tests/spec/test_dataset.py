from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from smallprint.spec.dataset import DATASETS, DataPlace, DatasetFacts, Split, known_facts
from smallprint.spec.errors import DataError, NotationError


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_known_by_its_own_name_and_has_its_facts(name: str) -> None:
    facts = DATASETS[name]
    assert facts.name == name
    assert name.split("-", maxsplit=1)[0] in facts.title.lower().replace("kuzushiji-mnist", "kmnist")
    channels, height, width = facts.input_shape
    assert channels == 1
    assert height == width
    assert len(set(facts.classes)) == len(facts.classes)
    assert facts.train >= facts.test > 0
    assert known_facts(DataPlace(said=name)) is facts
    assert facts.home == ("mnist" if name == "mnist-deskewed" else name)


@pytest.mark.parametrize("name", [name for name, facts in DATASETS.items() if facts.origin])
def test_every_file_has_its_own_checksum_and_more_than_one_mirror(name: str) -> None:
    origin = DATASETS[name].origin
    assert origin
    sums = [*origin.files.values(), *([origin.archive.sha256] if origin.archive else [])]
    assert all(len(checksum) == 64 and set(checksum) <= set("0123456789abcdef") for checksum in sums)
    assert len(set(sums)) == len(sums)
    assert len(origin.mirrors) >= 2
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in origin.mirrors)
    order = [("train", "images"), ("train", "labels"), ("t10k", "images"), ("t10k", "labels")]
    assert len(origin.files) == 4
    for file, (half, kind) in zip(origin.files, order, strict=True):
        assert kind in file
        assert half in file.replace("-test-", "-t10k-")


def test_mnist_and_the_sets_made_like_it_have_its_sizes() -> None:
    sizes = {name: (len(facts.classes), facts.train, facts.test) for name, facts in DATASETS.items()}
    assert sizes == {
        "mnist": (10, 60_000, 10_000),
        "mnist-deskewed": (10, 60_000, 10_000),
        "digits": (10, 1_438, 359),
        "fashion-mnist": (10, 60_000, 10_000),
        "kmnist": (10, 60_000, 10_000),
        "qmnist": (10, 60_000, 60_000),
        "emnist-letters": (26, 124_800, 20_800),
        "emnist-digits": (10, 240_000, 40_000),
        "emnist-balanced": (47, 112_800, 18_800),
    }
    assert {facts.input_shape for name, facts in DATASETS.items() if name != "digits"} == {(1, 28, 28)}


def test_digits_is_what_ships_inside_scikit_learn() -> None:
    facts, inside = DATASETS["digits"], load_digits()
    assert inside.images.shape == (facts.train + facts.test, *facts.input_shape[1:])
    assert tuple(map(str, inside.target_names)) == facts.classes


def test_the_list_of_data_sets_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        DATASETS["mnist"] = DATASETS["digits"]  # type: ignore[index]


# The split


@given(st.floats(0.01, 99.99), st.integers(0, 10**9 - 1))
def test_a_split_reads_as_it_is_written(percent: float, seed: int) -> None:
    split = Split(percent=round(percent, 2), seed=seed)
    assert Split.parse(str(split)) == split


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a split reads '20% test, seed 0', not ''"),
        ("20%", "a split reads '20% test, seed 0', not '20%'"),
        ("20 test, seed 0", "a split reads '20% test, seed 0', not '20 test, seed 0'"),
        ("100% test, seed 0", "a split reads '20% test, seed 0', not '100% test, seed 0'"),
        ("20% test, seed -1", "a split reads '20% test, seed 0', not '20% test, seed -1'"),
        ("0.0% test, seed 0", "a split leaves images for the test: more than 0%, not '0.0% test, seed 0'"),
    ],
)
def test_what_is_no_split_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        Split.parse(text)
    assert str(caught.value) == message


def test_test_images_are_those_whose_seed_and_name_have_the_lowest_sums() -> None:
    """By another way: every name in the documented order, cut where the share ends."""
    names = [f"cat/{number}.png" for number in range(101)]
    split = Split(percent=12.5, seed=3)
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"3 {name}".encode()).hexdigest())
    assert {names[place] for place in split.test_images(names)} == set(ranked[:13])  # 12.625 of 101


@given(st.sets(st.text(min_size=1, max_size=5), min_size=2, max_size=40), st.floats(0.01, 99.99), st.integers(0, 99))
def test_a_split_leaves_both_halves_something_and_does_not_hang_on_the_order(
    names: set[str], percent: float, seed: int
) -> None:
    split, one, other = Split(percent=round(percent, 2), seed=seed), sorted(names), sorted(names, reverse=True)
    chosen = split.test_images(one)
    assert 1 <= len(chosen) < len(one)
    assert abs(len(chosen) - len(one) * split.percent / 100) <= 1
    assert {one[place] for place in chosen} == {other[place] for place in split.test_images(other)}
    assert chosen == sorted(set(chosen))


# Where data is


def test_a_place_is_a_name_or_a_path_that_starts_at_the_ladder_file() -> None:
    assert DataPlace(said="mnist").known
    assert not DataPlace(said="./mnist").known
    assert DataPlace(said="photos", folder=Path("ladders")).path == Path("ladders/photos")
    assert DataPlace(said="/data/photos", folder=Path("ladders")).path == Path("/data/photos")
    assert DataPlace(said="photos").path == Path("photos")


def test_pages_and_run_folders_call_data_as_it_was_said_without_the_folders_of_a_machine() -> None:
    assert DataPlace(said="../photos/cats").name == "../photos/cats"
    assert DataPlace(said="/home/somebody/photos/cats/").name == "cats"


def test_only_names_have_facts_here_and_they_have_no_split() -> None:
    with pytest.raises(DataError) as caught:
        known_facts(DataPlace(said="mnits"))
    assert str(caught.value) == (
        "no data set is called 'mnits'; known: mnist, mnist-deskewed, digits, fashion-mnist, kmnist, qmnist, "
        "emnist-letters, emnist-digits, emnist-balanced, or the path of your own; did you mean 'mnist'?"
    )
    with pytest.raises(DataError, match=r"^mnist has test images of its own: leave the split out$"):
        known_facts(DataPlace(said="mnist", split=Split(percent=20.0, seed=0)))


# Facts as a run folder states them

FACTS = DatasetFacts(
    name="own", title="own: data of your own", input_shape=(3, 16, 20), classes=("cat", "dog"), train=9, test=2
)


def test_stated_facts_read_as_they_are_written() -> None:
    assert FACTS.table() == {"input": "3x16x20", "classes": ["cat", "dog"], "train": 9, "test": 2}
    assert DatasetFacts.stated("own", FACTS.table()) == (FACTS, [])


@pytest.mark.parametrize(
    ("changed", "key", "message"),
    [
        ({"input": "16x20"}, "input", "input is channels x height x width, as in '1x28x28'"),
        ({"input": 5}, "input", "input is channels x height x width, as in '1x28x28'"),
        ({"classes": ["cat"]}, "classes", "classes is a list of two or more names, each its own"),
        ({"classes": ["cat", "cat"]}, "classes", "classes is a list of two or more names, each its own"),
        ({"classes": ["cat", 5]}, "classes", "classes is a list of two or more names, each its own"),
        ({"classes": "cat"}, "classes", "classes is a list of two or more names, each its own"),
        ({"train": 0}, "train", "train is a count of images such as 1200"),
        ({"test": True}, "test", "test is a count of images such as 1200"),
        ({"tset": 5}, "tset", "facts has no key 'tset'; known: input, classes, train, test; did you mean 'test'?"),
    ],
)
def test_facts_that_do_not_read_say_which_key_is_wrong(changed: dict[str, Any], key: str, message: str) -> None:
    assert DatasetFacts.stated("own", {**FACTS.table(), **changed}) == (None, [(key, message)])


def test_all_faults_of_stated_facts_are_said_at_once() -> None:
    facts, faults = DatasetFacts.stated("own", {})
    assert facts is None
    assert [key for key, _ in faults] == ["input", "classes", "train", "test"]
