"""Data of your own through the commands: from a folder to a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.bad_data import good
from tests.own_data import LADDER
from tests.typed import Say, speaker

SHAPES = ("circle", "square", "triangle")
MARKUP = "<img src=x onerror=alert(1)>"


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


# From a folder to a report


def draw(shape: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """A small shape of some bright colour on a dark ground, 20 x 16 pixels with a little noise."""
    ground, ink = (tuple(random.integers(*span, 3).tolist()) for span in ((0, 80), (120, 256)))
    left, top, side = (int(random.integers(*span)) for span in ((1, 9), (1, 6), (6, 10)))
    picture = Image.new("RGB", (20, 16), ground)
    pen, box = ImageDraw.Draw(picture), (left, top, left + side, top + side)
    if shape == "circle":
        pen.ellipse(box, fill=ink)
    elif shape == "square":
        pen.rectangle(box, fill=ink)
    else:
        pen.polygon([(left, top + side), (left + side, top + side), (left + side // 2, top)], fill=ink)
    return np.clip(np.asarray(picture).astype(int) + random.integers(-20, 21, (16, 20, 3)), 0, 255).astype(np.uint8)


def write_shapes(folder: Path, names: tuple[str, ...] = SHAPES, *, each: int = 40) -> Path:
    """Class folders of PNGs; `names` are what the three shapes are called."""
    random = np.random.default_rng(0)
    for shape, name in zip(SHAPES, names, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(draw(shape, random)).save(folder / name / f"{number:03}.png")
    return folder


def test_a_folder_of_colour_images_is_climbed_to_a_report_by_the_ladder_that_new_writes(
    say: Say, tmp_path: Path
) -> None:
    write_shapes(tmp_path / "data" / "shapes", ("<b>", "square", MARKUP))
    (tmp_path / "ladders").mkdir()
    said = say("new", "ladders/first", "--data", "data/shapes", "--json")
    assert (said.status, said.err) == (0, "")
    outline = json.loads(said.out)
    assert (outline["written"], outline["dataset"]) == ("ladders/first.toml", "../data/shapes")
    path = tmp_path / "ladders" / "first.toml"
    assert 'split   = "20% test, seed 0"' in path.read_text()
    path.write_text(path.read_text().replace("epochs    = 40", "epochs    = 3"))  # a test has no evening

    shown = say("show", "ladders/first.toml:base", "--json")
    assert json.loads(shown.out)["input_shape"] == [3, 16, 20]
    climbed = say("climb", "ladders/first.toml", "--threads", "1", "--workers", "1")
    assert (climbed.status, climbed.err) == (0, "")
    assert "1/3 base" in climbed.out
    assert "augment: none -> rotate=7deg" in climbed.out

    html = (tmp_path / "runs" / "first" / "report.html").read_text()
    markdown = (tmp_path / "runs" / "first" / "report.md").read_text()
    assert "&lt;b&gt;" in html
    for page in (html, markdown):
        assert "<b>b" not in page.replace("<b>Ours", "")
        assert "<img src" not in page
        assert "alert(1)" not in page
        assert str(tmp_path) not in page
    pictures = [path.read_text() for path in (tmp_path / "runs").rglob("*.svg")]
    assert any("&lt;b&gt;" in picture for picture in pictures)
    assert not any("<img src" in picture or "<b>" in picture for picture in pictures)


def test_what_is_shown_of_a_class_with_markup_in_its_name_stays_a_name(say: Say, tmp_path: Path) -> None:
    write_shapes(tmp_path / "shapes", ("circle", "square", MARKUP), each=4)
    said = say("data", "shapes", "--split", "50% test, seed 0", "--sheet", "sheet.png")
    assert (said.status, said.err) == (0, "")
    assert f"{MARKUP}      2     2" in said.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 200


def test_runs_stay_readable_where_the_data_is_gone_and_name_no_folder_of_this_machine(say: Say, tmp_path: Path) -> None:
    shapes = write_shapes(tmp_path / "shapes", each=10)
    text = LADDER.format(dataset=shapes, split='split = "20% test, seed 0"', outputs=3)  # an absolute path
    (tmp_path / "own.toml").write_text(text)
    assert say("climb", "own.toml", "--threads", "1", "--workers", "1").status == 0
    kept = [path.read_text(errors="replace") for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not any(str(tmp_path) in content for content in kept)
    before = say("judge", "own.toml", "--contract", "accuracy >= 1%", "--json")

    shapes.rename(tmp_path / "elsewhere")
    assert say("judge", "own.toml", "--contract", "accuracy >= 1%", "--json") == before
    assert before.status == 0
    status, _, err = say("report", "own.toml")
    assert status == 0
    assert err == (
        f"smallprint: the report is written without pictures of the images: {shapes}: no such folder or file\n"
    )
    assert say("show", "runs/own/only/seed-0/rung.toml").status == 0
    assert say("climb", "own.toml") == (2, "", f"smallprint: own.toml:3: {shapes}: no such folder or file\n")
    reused = say("climb", "own.toml", "--data", "elsewhere", "--workers", "1")
    assert (reused.status, reused.err) == (0, "")
    assert "trained before" in reused.out


def test_runs_on_data_that_has_changed_since_do_not_count_and_one_line_says_so(say: Say, tmp_path: Path) -> None:
    shapes = write_shapes(tmp_path / "shapes", each=10)
    (tmp_path / "own.toml").write_text(
        LADDER.format(dataset="shapes", split='split = "20% test, seed 0"', outputs=3).replace("50%", "1%")
    )
    climb, judge = ("climb", "own.toml", "--threads", "1", "--workers", "1"), ("judge", "own.toml", "--json")
    assert say(*climb, "--seeds", "2").err == ""
    before = json.loads(say(*judge).out)["rungs"][0]
    assert [run["seed"] for run in before["runs"]] == [0, 1]
    assert before["other_data"] == []

    Image.fromarray(draw("circle", np.random.default_rng(7))).save(shapes / "circle" / "000.png")
    both = (
        "smallprint: 2 stored runs do not count (only seed 0, only seed 1): shapes was not the same when they were "
        "trained; 'smallprint climb' with --seeds 2 trains what is missing\n"
    )
    status, out, err = say("judge", "own.toml")
    assert (status, err) == (3, both)
    assert out.endswith("\nonly\nnot measured\n\n'smallprint climb own.toml' measures what is missing\n")
    assert say("report", "own.toml", "--record", "record.json").err == both
    assert json.loads((tmp_path / "record.json").read_text())["rungs"] == []

    one = both.replace("2 stored runs do not count (only seed 0, only", "1 stored run does not count (only").replace(
        "they were", "it was"
    )
    climbed = say(*climb)
    assert "the earlier run is kept in runs/own/only/seed-0." in climbed.out
    assert (climbed.status, climbed.err) == (0, one)
    now = say(*judge)
    document = json.loads(now.out)["rungs"][0]
    assert ([run["seed"] for run in document["runs"]], document["other_data"]) == ([0], [1])
    assert (now.status, now.err) == (0, one)
    shapes.rename(tmp_path / "elsewhere")
    assert say(*judge) == now  # the runs on one state of the data are never counted with those on another


def test_a_network_that_does_not_fit_its_data_is_shown_with_line_and_caret_before_anything_is_trained(
    say: Say, tmp_path: Path
) -> None:
    write_shapes(tmp_path / "shapes", each=5)
    (tmp_path / "own.toml").write_text(LADDER.format(dataset="shapes", split='split = "20% test, seed 0"', outputs=2))
    for command in ("climb", "show", "data"):
        assert say(command, "own.toml") == (
            2,
            "",
            "smallprint: own.toml:19: the last layer leaves 2 values for 3 classes; it needs at least 3\n"
            "    conv3-8 maxpool conv3-8 gap conv1-2\n"
            "                                ^^^^^^^\n",
        )
    assert not (tmp_path / "runs").exists()


def test_a_ladder_whose_stated_facts_are_not_those_of_its_data_is_refused_before_anything_is_trained(
    say: Say, tmp_path: Path
) -> None:
    write_shapes(tmp_path / "shapes", each=5)
    facts = '[facts]\ninput = "3x{}x20"\nclasses = ["circle", "{}", "triangle"]\ntrain = 12\ntest = 3'
    text = LADDER.format(dataset="shapes", split='split = "20% test, seed 0"\n{}', outputs=3)
    (tmp_path / "size.toml").write_text(text.replace("{}", facts.format(18, "square")))
    (tmp_path / "class.toml").write_text(text.replace("{}", facts.format(16, "oval")))
    assert say("climb", "size.toml") == (
        2, "", "smallprint: size is written for images of 3 x 18 x 20; shapes has 3 x 16 x 20\n"
    )  # fmt: skip
    assert say("climb", "class.toml") == (
        2,
        "",
        "smallprint: class is written for the classes circle, oval, triangle; shapes has circle, square, triangle\n",
    )
    assert not (tmp_path / "runs").exists()


def test_data_of_a_ladder_a_name_and_a_path_is_said_alike(say: Say, tmp_path: Path) -> None:
    write_shapes(tmp_path / "shapes", each=10)
    (tmp_path / "own.toml").write_text(LADDER.format(dataset="shapes", split='split = "30% test, seed 7"', outputs=3))
    by_ladder = say("data", "own.toml", "--json")
    assert by_ladder == say("data", "shapes", "--split", "30% test, seed 7", "--json")
    said = json.loads(by_ladder.out)
    assert (said["train"], said["test"]) == (dict.fromkeys(SHAPES, 7), dict.fromkeys(SHAPES, 3))
    other = json.loads(say("data", "shapes", "--split", "30% test, seed 8", "--json").out)
    assert other["fingerprint"] != said["fingerprint"]
    assert json.loads(say("data", "digits", "--json").out)["name"] == "digits"


# What is not loaded


def test_data_of_your_own_is_shown_made_and_described_without_torch(say: Say, tmp_path: Path) -> None:
    import subprocess

    good(tmp_path / "photos")
    program = """
import sys
from smallprint.cli import main
for line in ("new own --data photos", "show own.toml", "data own.toml", "data photos", "judge own.toml"):
    sys.argv = ["smallprint", *line.split()]
    try:
        main()
    except SystemExit as end:
        print("ended:", line, end.code, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended: ")]
    assert [line.split(" ")[-2:] for line in ended] == [["0", "False"]] * 4 + [["3", "False"]]
