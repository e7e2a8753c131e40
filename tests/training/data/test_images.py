from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from smallprint.spec.dataset import Split
from smallprint.spec.errors import DataError
from smallprint.spec.recipe import Recipe
from smallprint.training.data import Dataset, find_dataset, load_dataset
from smallprint.training.data import images as room
from smallprint.training.data.images import decode

needs_mnist = pytest.mark.skipif(
    find_dataset("mnist") is None, reason="needs MNIST: set SMALLPRINT_DATA to the folder that holds mnist/"
)
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str, **how: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **how)
    return content.getvalue()


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_digits(folder: Path, digits: Dataset) -> None:
    """A data set as class folders of PNGs, named by their place."""
    for half in ("train", "test"):
        images, labels = getattr(digits, f"{half}_images_NCHW"), getattr(digits, f"{half}_labels_N")
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            write(folder / half / digits.facts.classes[label] / f"{number:05}.png", image[0])


def by_class(digits: Dataset) -> Dataset:
    """The same data in the order of class folders: class by class, then by file name."""
    train, test = (np.argsort(labels, kind="stable") for labels in (digits.train_labels_N, digits.test_labels_N))
    return replace(
        digits,
        train_images_NCHW=digits.train_images_NCHW[train],
        train_labels_N=digits.train_labels_N[train],
        test_images_NCHW=digits.test_images_NCHW[test],
        test_labels_N=digits.test_labels_N[test],
    )


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_what_is_written_without_loss_is_read_as_it_was(form: str) -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(GREY), form)), GREY[None])
    assert np.array_equal(decode(encoded(Image.fromarray(COLOUR), form)), COLOUR.transpose(2, 0, 1))


def test_a_jpeg_is_what_pillow_reads() -> None:
    content = encoded(Image.fromarray(COLOUR), "JPEG")
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(decode(content), np.asarray(image).transpose(2, 0, 1))


def test_black_and_white_is_grey_and_a_palette_is_colour() -> None:
    bilevel = Image.fromarray(GREY).convert("1")
    assert np.array_equal(decode(encoded(bilevel, "PNG")), np.asarray(bilevel.convert("L"))[None])
    palette = Image.fromarray(COLOUR).quantize(16)
    assert np.array_equal(decode(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")).transpose(2, 0, 1))


def test_transparency_is_dropped_where_nothing_shines_through() -> None:
    opaque = np.dstack([COLOUR, np.full((5, 7), 255, np.uint8)])
    assert np.array_equal(decode(encoded(Image.fromarray(opaque), "PNG")), COLOUR.transpose(2, 0, 1))
    grey = Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (7, 5), 255)])
    assert np.array_equal(decode(encoded(grey, "PNG")), GREY[None])
    see_through = {
        "RGBA": Image.fromarray(np.dstack([COLOUR, GREY])),
        "LA": Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(GREY)]),
    }
    for image in see_through.values():
        with pytest.raises(room._UnfitError, match="see-through"):
            decode(encoded(image, "PNG"))
    with pytest.raises(room._UnfitError, match="see-through"):
        decode(encoded(Image.fromarray(COLOUR).quantize(4), "PNG", transparency=0))


def test_a_picture_stands_as_its_camera_says() -> None:
    image = Image.fromarray(GREY)
    turned = image.getexif()
    turned[0x0112] = 6  # to be turned by 90 degrees, clockwise
    assert np.array_equal(decode(encoded(image, "PNG", exif=turned)), np.rot90(GREY, -1)[None])


def test_the_formats_are_told_by_what_is_inside_and_others_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "train" / name / "1.png", GREY)
        write(tmp_path / "test" / name / "1.png", GREY)
    (tmp_path / "train" / "a" / "2.png").write_bytes(encoded(Image.fromarray(GREY), "BMP"))
    assert load_dataset(tmp_path).facts.train == 3
    (tmp_path / "train" / "a" / "3.PNG").write_bytes(encoded(Image.fromarray(GREY), "GIF"))
    with pytest.raises(DataError, match=r"3\.PNG: not an image in one of the formats PNG, JPEG, BMP, TIFF, or cut off"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    "content", [GREY.tobytes(), b"\x89PNG\r\n\x1a\n" + bytes(50), b"BM" + bytes(60), b"II*\0" + bytes(9)]
)
def test_no_bytes_make_an_image_fail_in_another_way(content: bytes) -> None:
    whole = encoded(Image.fromarray(COLOUR), "PNG")
    for damaged in (content, *(whole[:cut] for cut in range(0, len(whole), 7))):
        try:
            decode(damaged)
        except room._UnfitError as fault:
            assert str(fault)


def test_digits_as_class_folders_are_the_digits_class_by_class_and_file_by_file(
    tmp_path: Path, digits: Dataset
) -> None:
    write_digits(tmp_path, digits)
    own = load_dataset(tmp_path)
    assert own.fingerprint == by_class(digits).fingerprint
    assert own.facts.classes == digits.facts.classes
    assert (own.facts.train, own.facts.test) == (digits.facts.train, digits.facts.test)


@needs_mnist
def test_mnist_as_class_folders_trains_to_the_same_numbers_as_its_idx_files(tmp_path: Path) -> None:
    from smallprint.training.trainer import train

    mnist = load_dataset("mnist")
    part = by_class(
        replace(
            mnist,
            train_images_NCHW=mnist.train_images_NCHW[:1_500],
            train_labels_N=mnist.train_labels_N[:1_500],
            test_images_NCHW=mnist.test_images_NCHW[:500],
            test_labels_N=mnist.test_labels_N[:500],
        )
    )
    write_digits(tmp_path, part)
    own = load_dataset(tmp_path)
    assert np.array_equal(own.train_images_NCHW, part.train_images_NCHW)
    assert own.fingerprint == part.fingerprint
    recipe = Recipe.parse({"optimiser": "sgd lr=0.05 momentum=0.9", "epochs": 2})
    network = "after conv3: batchnorm relu; conv3-4 maxpool conv3-8 gap conv1-10"
    runs = [
        [(epoch.train_loss, epoch.test_loss, epoch.test_correct) for epoch in train(network, recipe, data, threads=1)]
        for data in (part, own)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 2


def unsplit(folder: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        for number in range(count):
            write(folder / name / f"{number}.png", np.full((2, 2), number, np.uint8))
    return folder


def test_a_split_takes_its_share_of_each_class_and_the_same_images_every_time(tmp_path: Path) -> None:
    folder = unsplit(tmp_path / "photos", {"cat": 20, "dog": 10, "owl": 2})
    own = load_dataset(folder, split="20% test, seed 0")
    assert np.bincount(own.test_labels_N).tolist() == [4, 2, 1]
    assert np.bincount(own.train_labels_N).tolist() == [16, 8, 1]
    split = Split.parse("20% test, seed 0")
    chosen = split.test_images([f"cat/{number}.png" for number in sorted(map(str, range(20)))])
    places = [int(sorted(map(str, range(20)))[place]) for place in chosen]
    assert own.test_images_NCHW[own.test_labels_N == 0][:, 0, 0, 0].tolist() == places
    images = {*own.train_images_NCHW[own.train_labels_N == 0][:, 0, 0, 0].tolist(), *places}
    assert images == {*range(20)}
    assert load_dataset(folder, split="20% test, seed 1").fingerprint != own.fingerprint
    assert load_dataset(folder, split="30% test, seed 0").facts.test == 10


def test_a_class_may_be_called_train_and_another_test(tmp_path: Path) -> None:
    own = load_dataset(unsplit(tmp_path / "a", {"train": 2, "plane": 3}), split="50% test, seed 0")
    assert own.facts.classes == ("plane", "train")
    own = load_dataset(unsplit(tmp_path / "b", {"train": 2, "test": 2, "plane": 3}), split="50% test, seed 0")
    assert own.facts.classes == ("plane", "test", "train")
    with pytest.raises(DataError, match=r"c/train/0\.png: an image outside the class folders; move it into one"):
        load_dataset(unsplit(tmp_path / "c", {"train": 2, "test": 2}))


def test_images_that_no_memory_holds_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unsplit(tmp_path / "photos", {"cat": 3, "dog": 3})
    decoded = []

    def counted(content: bytes) -> NDArray[np.uint8]:
        decoded.append(1)
        return decode(content)

    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 23}.__getitem__)
    monkeypatch.setattr(room, "decode", counted)
    with pytest.raises(DataError) as caught:
        load_dataset(folder, split="50% test, seed 0")
    assert str(caught.value) == (
        f"{folder}: 6 images of 1 x 2 x 2 are 0.0 GiB in memory, this machine has 0.0; make them smaller"
    )
    assert decoded == [1]
