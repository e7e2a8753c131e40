"""Data of your own, every way in which it can be wrong, and what is said of it."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


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
