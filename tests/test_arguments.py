from __future__ import annotations

from pathlib import Path

import pytest

from smallprint.arguments import (
    check_device,
    data_at,
    input_shape,
    ladder_at,
    one_rung_at,
    rungs_at,
    seeds_named,
    split_place,
)
from smallprint.spec.dataset import DataPlace, DatasetFacts, Split
from smallprint.spec.errors import LadderError, NotationError


@pytest.mark.parametrize(
    ("place", "parts"),
    [
        ("progressive", ("progressive", None)),
        ("progressive:base", ("progressive", "base")),
        ("folder/my.toml:base", ("folder/my.toml", "base")),
        ("C:\\ladders\\my.toml", ("C:\\ladders\\my.toml", None)),
        ("C:my.toml", ("C:my.toml", None)),
        ("a:b/my.toml", ("a:b/my.toml", None)),
        ("progressive:", ("progressive", "")),
    ],
)
def test_a_place_is_a_ladder_and_perhaps_a_rung(place: str, parts: tuple[str, str | None]) -> None:
    assert split_place(place) == parts


def test_a_file_with_a_colon_in_its_name_is_a_ladder(tmp_path: Path) -> None:
    path = tmp_path / "my:ladder"
    path.touch()
    assert split_place(str(path)) == (str(path), None)


def test_rungs_come_in_the_ladders_order_each_once() -> None:
    ladder, rungs = rungs_at("progressive:dropout", ["base", "dropout"])
    assert ladder.name == "progressive"
    assert [rung.name for rung in rungs] == ["base", "dropout"]
    assert rungs_at("digits")[1] == list(rungs_at("digits")[0].rungs)
    with pytest.raises(LadderError, match="did you mean 'dropout'"):
        rungs_at("progressive:dropuot")


def test_one_rung_is_named_unless_there_is_no_other(tmp_path: Path, tiny_text: str) -> None:
    ladder, rung = one_rung_at("progressive:dropout")
    assert (ladder.name, rung.name) == ("progressive", "dropout")
    with pytest.raises(NotationError, match="say which rung, as in digits:quiet-end; digits has base, batchnorm, "):
        one_rung_at("digits")
    alone = tmp_path / "alone.toml"
    alone.write_text(tiny_text[: tiny_text.rindex("[[rung]]")])
    assert one_rung_at(str(alone))[1].name == "base"


def test_seeds_are_a_number_of_them_or_the_first_and_the_last() -> None:
    assert seeds_named("3") == range(3)
    assert seeds_named("5-9") == range(5, 10)
    assert seeds_named("7-7") == range(7, 8)
    assert seeds_named("10000") == range(10_000)
    for wrong in ("0", "many", "", "-3", "9-5", "5-", "10001", "3-10000", "1,2", "\u0663", "1-2-3"):
        with pytest.raises(NotationError, match=r"the first and the last \(9999 at most\), as in 5-9"):
            seeds_named(wrong)


def test_an_input_shape_is_three_sides() -> None:
    assert input_shape("3x32x24") == (3, 32, 24)
    for wrong in ("28x28", "0x28x28", "1x28", "1x28x28x1", "axbxc", "1X28X28", "\u0661x2x3", "1234567x1x1"):
        with pytest.raises(NotationError, match="reads channels x height x width"):
            input_shape(wrong)
    with pytest.raises(NotationError, match="--network needs its --input"):
        input_shape(None)


def test_a_device_is_one_that_can_train() -> None:
    check_device("cpu")
    check_device("auto")
    for wrong in ("tpu", "cuda:", "cuda:x", "CPU", ""):
        with pytest.raises(NotationError, match="--device is auto, cpu, cuda or cuda:N"):
            check_device(wrong)


def test_data_is_that_of_a_name_a_path_or_a_ladder(tmp_path: Path) -> None:
    assert data_at("mnist") == DataPlace(said="mnist")
    assert data_at("digits") == DataPlace(said="digits")  # a ladder too: its data
    assert data_at("progressive") == DataPlace(said="mnist")
    assert data_at("photos", "20% test, seed 0") == DataPlace(said="photos", split=Split(percent=20.0, seed=0))
    (tmp_path / "own.toml").write_text(
        'dataset = "kmnist"\n[contract]\naccuracy = ">= 90%"\n[recipe]\noptimiser = "sgd lr=0.1"\n'
        '[[rung]]\nname = "a"\nnetwork = "gap conv1-10"\n'
    )
    assert data_at(str(tmp_path / "own.toml")) == DataPlace(said="kmnist")
    for what in ("progressive", str(tmp_path / "own.toml")):
        with pytest.raises(NotationError, match="a ladder says its split itself: leave --split out"):
            data_at(what, "20% test, seed 0")
    with pytest.raises(NotationError, match="a split reads"):
        data_at("photos", "half")


def test_a_ladder_is_read_with_the_facts_that_are_handed_in(tmp_path: Path) -> None:
    facts = DatasetFacts(name="x", title="x", input_shape=(2, 6, 7), classes=("a", "b"), train=5, test=5)
    path = tmp_path / "own.toml"
    path.write_text(
        'dataset = "photos"\n[contract]\naccuracy = ">= 90%"\n[recipe]\noptimiser = "sgd lr=0.1"\n'
        '[[rung]]\nname = "a"\nnetwork = "gap conv1-2"\n'
    )
    assert ladder_at(str(path), lambda _: facts).facts is facts
    assert rungs_at(f"{path}:a", facts_of=lambda _: facts)[0].facts is facts
    with pytest.raises(LadderError, match=r"own\.toml:1: no data set is called 'photos', and '.*photos' is no folder"):
        ladder_at(str(path))
