"""Data of your own through the commands: from a folder to a report, and every way in which it can be wrong."""

from __future__ import annotations

import json
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from smallprint.cli import main
from smallprint.training.data import images

SHAPES = ("circle", "square", "triangle")
MARKUP = "<img src=x onerror=alert(1)>"
LADDER = '''
title   = "Own"
dataset = "{dataset}"
{split}
[contract]
accuracy    = ">= 50%"
last_epochs = 1

[recipe]
optimiser = "adam lr=0.01"
batch     = 16
epochs    = 2

[[rung]]
name    = "only"
target  = "Start."
network = """
after conv3: batchnorm relu
conv3-8 maxpool conv3-8 gap conv1-{outputs}
"""
'''


class Said(NamedTuple):
    status: int
    out: str
    err: str


Say = Callable[..., Said]


@pytest.fixture
def say(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Say:
    """Run a command line in an empty folder, with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    for name in ("SMALLPRINT_DATA", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["smallprint", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Said(end.value.code, *capsys.readouterr())

    return run


def cached() -> list[Path]:
    """Every file in the cache."""
    return [path for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*") if path.is_file()]


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, byte for byte."""
    return {
        os.fsencode(path.relative_to(folder)).decode(errors="replace"): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


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


# Every way in which it can be wrong


def png(path: Path, *, size: tuple[int, int] = (6, 5), mode: str = "L", **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path, **how)


def good(folder: Path) -> Path:
    """train/ and test/ of two classes, three and two images of each."""
    for half, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                png(folder / half / name / f"{number}.png")
    return folder


def unreadable(folder: Path) -> None:
    (good(folder) / "train" / "dog" / "1.png").write_bytes(b"<html>")


def truncated(folder: Path) -> None:
    path = good(folder) / "test" / "cat" / "0.png"
    Image.effect_noise((60, 50), 50).save(path)
    path.write_bytes(path.read_bytes()[:-600])


def many_bad(folder: Path) -> None:
    for path in sorted(good(folder).rglob("*.png"))[:7]:
        path.write_bytes(b"")


def sizes(folder: Path) -> None:
    good(folder)
    png(folder / "train" / "cat" / "0.png", size=(7, 5))
    png(folder / "test" / "dog" / "1.png", size=(7, 5))


def channels(folder: Path) -> None:
    png(good(folder) / "train" / "cat" / "2.png", mode="RGB")


def see_through(folder: Path) -> None:
    png(good(folder) / "train" / "cat" / "2.png", mode="RGBA")


def sixteen(folder: Path) -> None:
    png(good(folder) / "train" / "cat" / "2.png", mode="I;16")


def pages(folder: Path) -> None:
    (good(folder) / "train" / "cat" / "2.png").unlink()
    png(folder / "train" / "cat" / "2.tif", save_all=True, append_images=[Image.new("L", (6, 5))])


def bomb(folder: Path) -> None:
    """A PNG of 20,000 x 20,000 black pixels: some kilobytes, 400 megabytes once it is unpacked."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">2I5B", 10_000, 10_000, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1251) * 10_000, 9)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (good(folder) / "train" / "dog" / "1.png").write_bytes(content)


def empty_class(folder: Path) -> None:
    (good(folder) / "train" / "bird").mkdir()


def foreign_class(folder: Path) -> None:
    png(good(folder) / "test" / "bird" / "0.png")


def one_class(folder: Path) -> None:
    png(folder / "train" / "cat" / "0.png")
    png(folder / "test" / "cat" / "0.png")


def no_test(folder: Path) -> None:
    png(folder / "train" / "cat" / "0.png")


def beside(folder: Path) -> None:
    png(good(folder) / "val" / "cat" / "0.png")


def stray(folder: Path) -> None:
    png(good(folder) / "train" / "0.png")


def note(folder: Path) -> None:
    (good(folder) / "train" / "cat" / "notes.txt").write_text("these are cats")


def inner(folder: Path) -> None:
    png(good(folder) / "train" / "cat" / "more" / "0.png")


def unsplit(folder: Path) -> None:
    for name in ("cat", "dog"):
        png(folder / name / "0.png")
        png(folder / name / "1.png")


def single(folder: Path) -> None:
    unsplit(folder)
    (folder / "dog" / "1.png").unlink()


def link_out(folder: Path) -> None:
    png(folder.parent / "secret.png")
    (good(folder) / "train" / "cat" / "9.png").symlink_to(folder.parent / "secret.png")


def link_nowhere(folder: Path) -> None:
    (good(folder) / "train" / "cat" / "9.png").symlink_to("gone.png")


def pipe(folder: Path) -> None:
    os.mkfifo(good(folder) / "train" / "cat" / "9.png")


def not_utf8(folder: Path) -> None:
    (good(folder) / "train" / os.fsdecode(b"caf\xe9")).mkdir()


def control(folder: Path) -> None:
    png(good(folder) / "train" / "a\x1b[31mb" / "0.png")


def nothing(folder: Path) -> None:
    folder.mkdir()
    (folder / "README.md").write_text("nothing here")


def two_forms(folder: Path) -> None:
    np.savez(good(folder) / "data.npz", x_train=np.zeros(3))


def arrays(**changed: Any) -> Callable[[Path], None]:
    """A good data.npz with some arrays changed; None takes one away."""

    def build(folder: Path) -> None:
        random = np.random.default_rng(0)
        whole: dict[str, Any] = {
            "x_train": random.integers(0, 256, (6, 5, 4), dtype=np.uint8),
            "y_train": np.array([0, 1, 2, 0, 1, 2]),
            "x_test": random.integers(0, 256, (3, 5, 4), dtype=np.uint8),
            "y_test": np.array([0, 1, 2]),
            **changed,
        }
        folder.mkdir()
        np.savez_compressed(folder / "data.npz", **{name: array for name, array in whole.items() if array is not None})

    return build


def floats(value: float) -> Callable[[Path], None]:
    train, test = np.linspace(0, 1, 120).reshape(6, 5, 4), np.linspace(0, 1, 60).reshape(3, 5, 4)
    train[4, 1, 1] = value
    return arrays(x_train=train, x_test=test)


def broken_npz(folder: Path) -> None:
    arrays()(folder)
    path = folder / "data.npz"
    path.write_bytes(path.read_bytes()[:-100])


def cut_array(folder: Path) -> None:
    arrays()(folder)
    whole = np.load(folder / "data.npz")
    with zipfile.ZipFile(folder / "data.npz", "w") as archive:
        for name in whole.files:
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00\x10\x00")


def idx(*shape: int, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def idx_files(**changed: bytes | None) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        folder.mkdir()
        whole = {
            "train-images-idx3-ubyte": idx(4, 3, 3) + bytes(range(36)),
            "train-labels-idx1-ubyte": idx(4) + bytes([0, 1, 0, 1]),
            "t10k-images-idx3-ubyte": idx(2, 3, 3) + bytes(range(18)),
            "t10k-labels-idx1-ubyte": idx(2) + bytes([0, 1]),
        }
        for name, good in whole.items():
            content = changed.get(name.split("-idx")[0].replace("-", "_"), good)
            if content is not None:
                (folder / name).write_bytes(content)

    return build


def idx_twice(folder: Path) -> None:
    idx_files()(folder)
    (folder / "train.labels.idx1.ubyte").write_bytes(b"")


SPLIT_IT = (
    "photos has no train/ and test/, so say which images are for the test: "
    "split = \"20% test, seed 0\" in the ladder, --split '20% test, seed 0' on the command line"
)
NPZ = "photos/data.npz: "
NO_IMAGE = "not an image in one of the formats PNG, JPEG, BMP, TIFF, or cut off"
WHOLE = "not a whole .npz file; write it again with numpy.savez_compressed"
BAD = {
    "unreadable": (unreadable, f"photos/train/dog/1.png: {NO_IMAGE}"),
    "truncated": (truncated, "photos/test/cat/0.png: damaged or cut off"),
    "many bad": (
        many_bad,
        "".join(
            f"photos/{name}.png: {NO_IMAGE}\n"
            for name in ("train/cat/0", "train/cat/1", "train/cat/2", "test/cat/0", "test/cat/1")
        )
        + "and 2 more",
    ),
    "sizes": (
        sizes,
        "photos: images are of one shape, channels x height x width; 8 are 1 x 5 x 6, but\n"
        "  2 are 1 x 5 x 7: train/cat/0.png, test/dog/1.png",
    ),
    "channels": (
        channels,
        "photos: images are of one shape, channels x height x width; 9 are 1 x 5 x 6, but\n"
        "  1 is 3 x 5 x 6: train/cat/2.png",
    ),
    "see-through": (
        see_through,
        "photos/train/cat/2.png: is see-through in places; put it on a background and save it without transparency",
    ),
    "sixteen bits": (
        sixteen,
        "photos/train/cat/2.png: "
        "has pixels of the kind I;16; grey and RGB with 8 bits per channel are read: convert it",
    ),
    "pages": (pages, "photos/train/cat/2.tif: holds 2 pictures; save one of them"),
    "bomb": (
        bomb,
        "photos/train/dog/1.png: more than 89,478,485 pixels, which Pillow takes for a decompression bomb",
    ),
    "empty class": (empty_class, "photos/train/bird: no image is in this class folder; fill it or take it away"),
    "foreign class": (foreign_class, "photos/test/bird: no training image is of this class; train/ has cat, dog"),
    "one class": (one_class, "photos/train has one class, cat; there is nothing to tell apart"),
    "no test": (no_test, "photos has train/ but no test/; a data set has both, or neither and a split"),
    "beside": (beside, "photos/val: beside train/ and test/ no other folder is read; move it away"),
    "stray": (stray, "photos/train/0.png: an image outside the class folders; move it into one"),
    "note": (
        note,
        "photos/train/cat/notes.txt: not an image file (.png, .jpg, .jpeg, .bmp, .tif, .tiff); move it away",
    ),
    "inner": (inner, "photos/train/cat/more: a folder inside a class folder; images lie directly in it"),
    "no split": (unsplit, SPLIT_IT),
    "link out": (
        link_out,
        "photos/train/cat/9.png: a link that leads out of the folder; put the file itself in its place",
    ),
    "link nowhere": (link_nowhere, "photos/train/cat/9.png: a link that leads nowhere; take it away"),
    "pipe": (pipe, "photos/train/cat/9.png: neither a file nor a folder; take it away"),
    "not UTF-8": (not_utf8, "photos/train: a name that is not UTF-8: b'caf\\xe9'"),
    "control": (control, "photos: a class is called 'a\\x1b[31mb'; give it a name that can be shown"),
    "nothing": (
        nothing,
        "photos holds no data: neither class folders of images, nor data.npz, nor four IDX files",
    ),
    "two forms": (two_forms, "photos holds data.npz and folders; keep one of them, or name a folder of its own"),
    "objects": (
        arrays(y_train=np.array([{}, 1, 2, 0, 1, 2], dtype=object)),
        NPZ + "y_train holds Python objects, which could run code when they are read; save it as numbers or strings",
    ),
    "missing array": (
        arrays(y_test=None, Y_test=np.array([0, 1, 2])),
        NPZ + "y_test is missing; it holds x_train, y_train, x_test, Y_test, "
        "a data set is x_train, y_train, x_test, y_test; did you mean 'Y_test'?",
    ),
    "broken npz": (broken_npz, NPZ + WHOLE),
    "cut array": (cut_array, NPZ + WHOLE),
    "whole numbers as images": (
        arrays(x_train=np.zeros((6, 5, 4), dtype=np.int64)),
        NPZ + "x_train is int64; images are uint8, from 0 to 255, or floats",
    ),
    "strings as images": (
        arrays(x_test=np.array(["a"])),
        NPZ + "x_test is <U1; images are uint8, from 0 to 255, or floats",
    ),
    "flat images": (
        arrays(x_train=np.zeros((6, 20), dtype=np.uint8)),
        NPZ + "x_train is 6 x 20; images are N x H x W, N x H x W x C or N x C x H x W: reshape it",
    ),
    "no images": (
        arrays(x_train=np.zeros((0, 5, 4), dtype=np.uint8)),
        NPZ + "x_train is 0 x 5 x 4: there is no image in it",
    ),
    "either axis": (
        arrays(x_train=np.zeros((6, 3, 5, 4), dtype=np.uint8)),
        NPZ + "x_train is 6 x 3 x 5 x 4: both N x H x W x C and N x C x H x W would do; "
        "add an array called layout that holds 'NHWC' or 'NCHW'",
    ),
    "another layout": (arrays(layout=np.array("HWC")), NPZ + "layout is 'NHWC' or 'NCHW', not 'HWC'"),
    "other images in the test": (
        arrays(x_test=np.zeros((3, 5, 5), dtype=np.uint8)),
        NPZ + "x_train has images of 1 x 5 x 4 and those of the test 1 x 5 x 5 (C x H x W)",
    ),
    "bytes and floats": (
        arrays(x_test=np.zeros((3, 5, 4), dtype=np.float32)),
        NPZ + "x_train is uint8, photos/data.npz: x_test is float32; both are bytes or floats",
    ),
    "counts": (
        arrays(y_train=np.array([0, 1, 2])),
        NPZ + "x_train has 6 images, photos/data.npz: y_train has 3 labels",
    ),
    "labels as floats": (
        arrays(y_train=np.array([0, 1, 2, 0, 1, 2.5])),
        NPZ + "y_train is float64; labels are whole numbers, such as int64, or strings",
    ),
    "one-hot labels": (
        arrays(y_train=np.eye(6, dtype=np.int64)),
        NPZ + "y_train is 6 x 6; labels are one row, one label per image",
    ),
    "negative labels": (
        arrays(y_train=np.array([0, 1, -1, 0, 1, 2])),
        NPZ + "y_train holds the labels -1, 0, 1, 2; they count from 0 or 1 and leave none out: "
        "count them anew, or save the classes' names as strings",
    ),
    "a gap": (
        arrays(y_train=np.array([0, 1, 3, 0, 1, 3])),
        NPZ + "y_train holds the labels 0, 1, 3; they count from 0 or 1 and leave none out: "
        "count them anew, or save the classes' names as strings",
    ),
    "labels beyond the classes": (
        arrays(classes=np.array(["cat", "dog"])),
        NPZ + "y_train goes from 0 to 2; 2 classes are 0 to 1",
    ),
    "a class without images": (
        arrays(classes=np.array(["cat", "dog", "bird", "fish"])),
        NPZ + "y_train has no image of fish",
    ),
    "the same name twice": (
        arrays(classes=np.array(["cat", "dog", "cat"])),
        "photos: two classes have the same name among cat, dog, cat",
    ),
    "a foreign label": (
        arrays(y_test=np.array([0, 1, 3])),
        NPZ + "y_test: no training image is of 3; train and test have the same classes",
    ),
    "strings and numbers": (
        arrays(y_test=np.array(["a", "b", "c"])),
        NPZ + "y_train and photos/data.npz: y_test: one holds strings, the other numbers",
    ),
    "one label": (
        arrays(y_train=np.zeros(6, dtype=np.int64), y_test=np.zeros(3, dtype=np.int64)),
        NPZ + "y_train: all images are of one class, 0; there is nothing to tell apart",
    ),
    "not a number": (floats(np.nan), NPZ + "x_train holds a value that is not a number or infinite, first in image 4"),
    "infinity": (floats(np.inf), NPZ + "x_train holds a value that is not a number or infinite, first in image 4"),
    "all the same": (
        arrays(x_train=np.ones((6, 5, 4)), x_test=np.ones((3, 5, 4))),
        NPZ + "x_train: every value is 1; there is nothing to learn from",
    ),
    "three IDX files": (
        idx_files(t10k_labels=None),
        "photos: t10k-labels-idx1-ubyte (or .gz) is missing: IDX files come as four",
    ),
    "an IDX file twice": (
        idx_twice,
        "photos: two files hold the train labels: train-labels-idx1-ubyte, train.labels.idx1.ubyte; keep one",
    ),
    "a cut IDX file": (
        idx_files(train_images=idx(4, 3, 3) + bytes(35)),
        "photos/train-images-idx3-ubyte: cut off: its header says 4 x 3 x 3, 52 bytes in all; 51 are there",
    ),
    "no IDX file": (
        idx_files(train_images=b"<html>"),
        "photos/train-images-idx3-ubyte: not an IDX file: it starts with 3c 68 74 6d",
    ),
    "IDX labels as floats": (
        idx_files(train_labels=idx(4, kind=13) + bytes(16)),
        "photos/train-labels-idx1-ubyte is float32; labels are whole numbers, such as int64, or strings",
    ),
    "IDX images as whole numbers": (
        idx_files(train_images=idx(4, 3, 3, kind=12) + bytes(144)),
        "photos/train-images-idx3-ubyte is int32; images are uint8, from 0 to 255, or floats",
    ),
}  # fmt: skip


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


KNOWN = "mnist, digits, fashion-mnist, kmnist, qmnist, emnist-letters, emnist-digits, emnist-balanced"


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
